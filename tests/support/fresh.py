"""Devices that no other test has used: for what depends on where in memory tensors lie, and on how much there is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from rasptorch.runtime import device as devices
from rasptorch.runtime.device import Device
from rasptorch.runtime.vulkan.driver import open_driver

_numbers = count(1)


@contextmanager
def fresh(device: str) -> Iterator[str]:
    """The name of a second device on the same driver, with a pool of its own; the cpu as it is."""
    if device == "cpu":
        yield device
        return
    driver, full = open_driver(device)
    made = devices.register(Device(f"{full} anew {next(_numbers)}", driver))
    try:
        yield made.name
    finally:
        devices.forget(made)
        made.close()
