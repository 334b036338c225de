"""Memory of the host that storages have in common with somebody else: arrays borrowed from users, storages lent to them.

Both may meet again (an exported tensor that comes back, two views of one array), and two storages must never stand for the same
bytes: the engine orders accesses by storage. So whatever is shared is known here by its address.

What the engine cannot order is what others do: commands run later than the call that enqueued them. Who changes shared memory, or
reads what the engine was told to change, synchronises first.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from . import capture
from .errors import BlockingInTrio, RasptorchError
from .fence import Fence
from .storage import Slot, Storage
from .waiting import in_trio_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .device import Device


class SharingError(RasptorchError, BufferError):
    """This memory cannot be shared."""


class HeldMemory:
    """Makes an array of memory at an address, and keeps ``owner`` alive as long as that array, or a view of it, lives."""

    __slots__ = ("__array_interface__", "__weakref__", "owner")

    def __init__(self, address: int, nbytes: int, owner: object) -> None:
        self.owner = owner
        self.__array_interface__ = {"data": (address, False), "shape": (nbytes,), "typestr": "|u1", "version": 3}

    def array(self) -> NDArray[np.uint8]:
        return np.asarray(self)


class Sharing:
    """One host device's shared storages. Their ranges of addresses never overlap."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._known: list[tuple[int, int, ref[Storage]]] = []  # first address, last + 1; sorted
        self._prune_at = 64

    def borrow(self, data: NDArray[np.uint8]) -> tuple[Storage, int]:
        """A storage on ``data``'s own memory, and the byte of it at which ``data`` starts.

        Raises `SharingError` where a part of these bytes is shared already, but not all of them.
        """
        device = self._device
        device.check_process()
        start, end = data.ctypes.data, data.ctypes.data + data.nbytes
        with device.lock:
            for first, last, storage in self._overlapping(start, end):
                if first <= start and end <= last:
                    return storage, start - first
                raise SharingError(
                    f"bytes {start:#x} to {end:#x} overlap memory that another tensor shares ({first:#x} to {last:#x}) and are not "
                    "part of it: share the whole first, and take views of that tensor"
                )
            slot = Slot(device.stream(), data.nbytes)
            slot.buffer = device.pool.borrow(data)
            storage = Storage(slot)
            self._add(start, end, storage)
            return storage, 0

    def lend(self, storage: Storage) -> NDArray[np.uint8]:
        """The bytes of ``storage``, which lives as long as the array; waits for everything that was enqueued on it."""
        self._settle(storage)
        device, slot = self._device, storage.slot
        with device.lock:
            if slot.buffer is None:  # nothing was ever written to it
                from .buffer import Memory

                slot.buffer = device.pool.allocate(slot.nbytes, Memory.DEVICE, None)
            start = slot.buffer.view(slot.nbytes).ctypes.data
            if not any(known is storage for _, _, known in self._overlapping(start, start + slot.nbytes)):
                self._add(start, start + slot.nbytes, storage)
        return HeldMemory(start, slot.nbytes, storage).array()

    def _settle(self, storage: Storage) -> None:
        """Wait until no command that was enqueued so far still reads or writes ``storage``."""
        capture.refuse("sharing a tensor's memory")
        device, slot = self._device, storage.slot
        device.check_process()
        with device.lock:
            if slot.failure is not None:
                raise slot.failure
            holder = device.gathering(slot) if slot.batch else None
            if holder is not None:
                holder.submit()
            fences = [Fence(stream, value) for stream, value in (slot.used or {}).items()]
            if slot.written is not None:
                fences.append(slot.written)
        if in_trio_task() and not all(fence.is_done() for fence in fences):
            raise BlockingInTrio(
                f"sharing a tensor's memory would block the Trio loop: first `await rasptorch.synchronize('{device.name}')`"
            )
        for fence in fences:
            fence.wait()

    def _overlapping(self, start: int, end: int) -> list[tuple[int, int, Storage]]:
        found = []
        at = bisect_right(self._known, start, key=_first)
        for entry in self._known[max(0, at - 1) :]:
            if entry[0] >= end:
                break
            storage = entry[2]()
            if storage is not None and entry[1] > start:
                found.append((entry[0], entry[1], storage))
        return found

    def _add(self, start: int, end: int, storage: Storage) -> None:
        if len(self._known) >= self._prune_at or self._overlaps_dead(start, end):
            self._known = [entry for entry in self._known if entry[2]() is not None]
            self._prune_at = max(64, 2 * len(self._known))
        insort(self._known, (start, end, ref(storage)), key=_first)

    def _overlaps_dead(self, start: int, end: int) -> bool:
        at = bisect_right(self._known, start, key=_first)
        near = self._known[max(0, at - 1) : at + 1]
        return any(first < end and start < last for first, last, _ in near)


def _first(entry: tuple[int, int, Any]) -> int:
    return entry[0]
