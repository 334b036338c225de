"""What must be true after every test: nothing left running, nothing left allocated, nothing the validation
layers saw.
"""

from __future__ import annotations

import gc
import sys
import threading
from time import monotonic, sleep
from typing import Any

import rasptorch as rt
from rasptorch.runtime import device as devices
from rasptorch.runtime.device import Device

# Threads the engine and Trio keep for the next use: they end by themselves, or with the process.
_LONG_LIVED = ("cpu worker", "cpu helper", "Trio thread", "trio.")
_GRACE = 0.3  # seconds in which other threads may end
_WATCHER = " watcher"


def left_over_threads(before: set[threading.Thread]) -> list[str]:
    """Names of new threads that do not end by themselves within the grace period."""
    deadline = monotonic() + _GRACE
    while True:
        strange = [
            thread.name
            for thread in threading.enumerate()
            if thread not in before and not thread.name.startswith(_LONG_LIVED) and not thread.name.endswith(_WATCHER)
        ]
        if not strange or monotonic() > deadline:
            return strange
        sleep(0.01)


def left_over_watchers(seconds: float) -> list[str]:
    """Watchers linger for a moment after the last await: the names of those that are there after
    ``seconds``.
    """
    deadline = monotonic() + seconds
    while True:
        watchers = [t.name for t in threading.enumerate() if t.name.endswith(_WATCHER)]
        if not watchers or monotonic() > deadline:
            return watchers
        sleep(0.02)


def validation_messages() -> list[str]:
    """What the validation layers said since the last call."""
    loader: Any = sys.modules.get("rasptorch.runtime.vulkan.loader")
    if loader is None:
        return []
    said = list(loader.validation_messages)
    loader.validation_messages.clear()
    return said


def bytes_in_use() -> dict[Device, int]:
    """Bytes that storages hold on every open device, once all that was enqueued is done.

    The error words a device keeps for itself are not counted. Devices with a failed stream are left out:
    what their submissions hold never comes back.
    """
    held = {}
    for device in devices.opened():
        streams = list(device.streams)
        if any(stream.failure is not None for stream in streams):
            continue
        for stream in streams:
            stream.flush().wait()
        own = device._error_slot
        held[device] = rt.statistics(device).bytes_in_use - (own.buffer.nbytes if own and own.buffer else 0)
    return held


def leaked(before: dict[Device, int]) -> list[str]:
    """Devices on which more bytes are in use than ``before``, after a collection where that is needed."""
    for attempt in range(2):
        found = [
            f"{device}: {now - before.get(device, 0):,} bytes more in use than before the test"
            for device, now in bytes_in_use().items()
            if now > before.get(device, 0)
        ]
        if not found:
            return []
        if attempt == 0:
            gc.collect()
    return found


def replace_failed_devices() -> None:
    """Forget devices whose default stream has failed: the next test opens them anew instead of failing with
    them.
    """
    for device in devices.opened():
        if device.default_stream.failure is not None:
            for name in [name for name, known in devices._devices.items() if known is device]:
                del devices._devices[name]
