"""Tests on a manual device, and with threads whose results are waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

import pytest

from rasptorch.runtime.device import Device
from rasptorch.runtime.manual_driver import ManualDriver, manual_device

T = TypeVar("T")
PATIENCE = 20.0  # seconds until a test that would hang fails instead


class Manual(NamedTuple):
    device: Device
    driver: ManualDriver


@pytest.fixture
def manual() -> Iterator[Manual]:
    """A device whose submissions finish when the test says so. Afterwards all of its memory is given back."""
    with manual_device() as (device, driver):
        yield Manual(device, driver)
    assert driver.allocated == 0


def started(function: Callable[[], T]) -> Future[T]:
    """Run ``function`` in a thread of its own; ``.result(PATIENCE)`` is what it returned or raised."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as problem:
            future.set_exception(problem)

    threading.Thread(target=run, name="started by a test", daemon=True).start()
    return future
