"""Devices as users meet them: opening, listing, waiting, counting."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from .runtime import device as devices_
from .runtime.device import Device
from .runtime.statistics import Statistics
from .runtime.stream import Stream as EngineStream
from .runtime.waiting import in_trio_task


def device(name: str | Device) -> Device:
    """The device called ``cpu``, ``gpu`` or ``vulkan:N``. Raises `MissingDeviceError` where there is none."""
    return devices_.get(name)


def devices() -> list[str]:
    """The names of all devices of this machine; looks for Vulkan ones, and lists none where there is no loader."""
    return devices_.names()


def statistics(device: str | Device = "cpu") -> Statistics:
    """A snapshot of what the engine has done on a device so far."""
    found = devices_.get(device)
    for stream in list(found.streams):
        stream.retire()
    with found.lock:
        found.pool.collect()
        return found.statistics.snapshot()


class Stream(EngineStream):
    """An ordered queue of commands on ``device``, beside the default one.

    ``record() -> Fence``, ``wait_for(fence)``, ``flush()``, ``synchronize()`` (``await`` it under Trio), ``await has_room()``.
    """

    def __init__(self, device: str | Device = "cpu", name: str = "") -> None:
        found = devices_.get(device)
        super().__init__(found, name)
        found.add_stream(self)


def stream(stream: EngineStream) -> AbstractContextManager[EngineStream]:
    """``with rt.stream(s):`` operations on ``s``'s device go to ``s`` in this context."""
    return stream.device.using(stream)


def current_stream(device: str | Device = "cpu") -> EngineStream:
    """The stream operations on a device go to here."""
    return devices_.get(device).stream()


def synchronize(device: str | Device | None = None) -> Any:
    """Wait until everything enqueued on a device (None: on all that are open) is done; in a Trio task: ``await`` it."""
    targets = devices_.opened() if device is None else [devices_.get(device)]
    fences = [fence for target in targets for fence in target.flush()]
    if in_trio_task():
        return _all(fences)
    for fence in fences:
        fence.wait()
    return None


async def _all(fences: list[Any]) -> None:
    import trio

    await trio.lowlevel.checkpoint()
    for fence in fences:
        await fence
