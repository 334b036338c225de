"""A value on its way to the host: a fence, and how to turn bytes into what the caller wanted."""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from .buffer import Memory
from .storage import Slot, Storage
from .waiting import wait_blocking

if TYPE_CHECKING:
    from .fence import Fence
    from .stream import Stream

T = TypeVar("T")

_UNUSED = (
    "this is a Readback, a value that is still on its way: write `await {0}` in a Trio task, or `.wait()` in a thread, "
    "to get the value"
)


class Readback(Generic[T]):
    """Await it in a Trio task, or call `wait` in a script or thread. Both may be done any number of times.

    It keeps the bytes it needs until it has been read or is dropped. Anything else that is done with it raises a
    `TypeError` that says to write ``await``.
    """

    __slots__ = ("__weakref__", "_convert", "_fence", "_nbytes", "_offset", "_read", "_storage", "_value")
    __hash__ = object.__hash__

    def __init__(
        self, storage: Storage, offset: int, nbytes: int, fence: Fence, convert: Callable[[NDArray[np.uint8]], T]
    ) -> None:
        self._storage: Storage | None = storage
        self._offset = offset
        self._nbytes = nbytes
        self._fence = fence
        self._convert = convert
        self._read = False
        self._value: T | None = None
        readers, storage.slot.readbacks = storage.slot.readbacks, [ref(self)]
        if readers is not None:
            storage.slot.readbacks += [r for r in readers if r() is not None]

    def is_done(self) -> bool:
        """Whether the value is there; never waits."""
        return self._read or (self._fence.value <= self._fence.stream.submitted and self._fence.is_done())

    def wait(self, timeout: float | None = None) -> T:
        """Block until the value is there and return it. ``timeout`` in seconds; raises `TimeoutError` past it."""
        while not self._read:
            self._check_made()
            fence = self._fence
            wait_blocking(fence, timeout)
            if self._take(fence):
                break
        return self._value  # type: ignore[return-value]  # set by `_take`; None may be a value of T

    def __await__(self) -> Generator[Any, Any, T]:
        return self._get().__await__()

    async def _get(self) -> T:
        while True:
            self._check_made()
            fence = self._fence
            await fence  # a checkpoint also when it is done
            if self._take(fence):
                return self._value  # type: ignore[return-value]  # set by `_take`; None may be a value of T

    def _check_made(self) -> None:
        """Raise what kept the value from being computed: its fence may then stand for something else, or for nothing."""
        storage = self._storage
        if storage is not None and storage.slot.failure is not None:
            raise storage.slot.failure

    def _take(self, reached: Fence) -> bool:
        """Convert the value; False where another thread moved it aside meanwhile: it is there after another fence."""
        with reached.stream.device.lock:
            if not self._read:
                if self._fence is not reached:
                    return False
                storage = self._storage
                assert storage is not None
                slot = storage.slot
                if slot.failure is not None:
                    raise slot.failure
                data = (
                    slot.buffer.view(self._nbytes, self._offset)
                    if slot.buffer is not None
                    else np.zeros(self._nbytes, np.uint8)
                )
                observers = self._fence.stream.device.observers.active
                began = perf_counter() if observers else 0.0
                self._value = self._convert(data)
                self._read = True
                for observer in observers:
                    observer.transferred(self._fence.stream, "readback", self._nbytes, began, perf_counter() - began)
                self._leave(slot)
        return True

    def _leave(self, slot: Slot) -> None:
        readers = slot.readbacks
        if readers is not None:
            alone = len(readers) == 1 and readers[0]() is self
            slot.readbacks = None if alone else [r for r in readers if r() is not None and r() is not self] or None
        self._storage = None

    def move_aside(self, stream: Stream) -> None:
        """The storage is about to be overwritten: read from a copy that is made first. Called with the lock held."""
        storage = self._storage
        if self._read or storage is None:
            return
        copy, fence = stream.device.copy_bytes(storage, self._offset, self._nbytes, Memory.READBACK, stream)
        self._storage, self._offset, self._fence = copy, 0, fence

    # -- forgotten awaits are loud --------------------------------------------------------------------------------
    def __repr__(self) -> str:
        return f"<Readback {'done' if self._read else 'pending'}: await it, or call .wait()>"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)  # what copy, pickle and friends look for and may not find
        raise TypeError(_UNUSED.format("it") + f" (attribute {name!r} was asked of it)")

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(_UNUSED.format("it"))

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __divmod__ = __rdivmod__ = __rlshift__ = __rrshift__ = __trunc__ = __floor__ = __ceil__ = _refuse
    __reversed__ = __delitem__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __lshift__ = __rshift__ = _refuse
    __neg__ = __pos__ = __abs__ = __invert__ = __lt__ = __le__ = __gt__ = __ge__ = __ne__ = _refuse
    __eq__ = _refuse
    __getitem__ = __setitem__ = __len__ = __iter__ = __contains__ = __array__ = __format__ = _refuse
    __float__ = __int__ = __index__ = __bool__ = __complex__ = __round__ = __call__ = _refuse
