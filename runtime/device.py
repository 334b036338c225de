"""Devices by name. A device owns a driver, a pool, its plans and its streams; the driver knows nothing of the rest."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakSet

import numpy as np

from . import capture, settings
from . import dtype as dt
from .buffer import Memory
from .command import CommandSpec, Program, step
from .errors import DeviceError
from .fence import Fence
from .layout import layout_of
from .observers import Observers
from .plan.cache import PlanCache, RecordingCache
from .pool import Pool
from .readback import Readback
from .sharing import Sharing
from .statistics import Statistics
from .storage import Place, Slot, Storage
from .stream import Stream
from .waiting import Watcher

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .driver import Driver
    from .vulkan.report import VulkanReport

T = TypeVar("T")


class Device:
    """One device. ``str(device)`` is the name users write; compare with ``is``."""

    def __init__(self, name: str, driver: Driver) -> None:
        self.name: Final = name
        self.driver: Final = driver
        self.lock: Final = threading.RLock()
        self.statistics: Final = Statistics()
        self.observers: Final = Observers()
        self.pool: Final = Pool(driver, self.statistics, self._reclaim)
        self.pool.poison = getattr(driver, "handed_out", None)  # the checked driver has it
        self.plans: Final = PlanCache(self)
        self.recordings: Final = RecordingCache(self)
        self.sharing: Final = Sharing(self)
        self.watcher: Final = Watcher(self)
        self.streams: Final[WeakSet[Stream]] = WeakSet()
        self.gathering_streams: Final[set[Stream]] = set()
        self.several_streams = False
        self.default_stream: Final = self.new_stream(f"{name}/default")
        self.error_layout: Final = layout_of(self, dt.int32, (4,))
        self._error_slot: Slot | None = None
        self._error_words: NDArray[np.int32] | None = None
        self._error_tags: list[str] = [""]
        self._streams_in_use: ContextVar[Stream | None] = ContextVar(f"stream of {name}", default=None)
        self._discrete = driver.traits.kind == "discrete"
        self._pid = _process
        if settings.current.debug:
            from .debug_print import DebugPrinter

            self.observers.add(DebugPrinter(self))

    def __repr__(self) -> str:
        return f"device('{self.name}')"

    def __str__(self) -> str:
        return self.name

    @property
    def type(self) -> str:
        """What kind of device: the name without its number, ``cpu`` or ``vulkan``."""
        return self.name.partition(":")[0]

    @property
    def index(self) -> int | None:
        """The number in the name; None for the cpu."""
        number = self.name.partition(":")[2]
        return int(number) if number else None

    def __reduce__(self) -> tuple[Callable[[str], Device], tuple[str]]:
        return get, (self.name,)

    # -- streams --------------------------------------------------------------------------------------------------
    def new_stream(self, name: str = "") -> Stream:
        stream = Stream(self, name)
        self.add_stream(stream)
        return stream

    def add_stream(self, stream: Stream) -> None:
        with self.lock:
            self.several_streams = len(self.streams) > 0
            self.streams.add(stream)

    def gathering(self, slot: Slot) -> Stream | None:
        """The stream whose open batch uses a storage. There is at most one; called with the lock held."""
        if not self.several_streams:
            return self.default_stream if self.default_stream.open_batch == slot.batch else None
        return next((stream for stream in list(self.streams) if stream.open_batch == slot.batch), None)

    def check_process(self) -> None:
        """Raise `DeviceError` in a process that was forked after the device was opened."""
        if self._pid is not _process:
            raise DeviceError(
                f"{self.name} was opened before fork() and cannot be used in the child: use threads, or processes started "
                "with the 'spawn' method"
            )

    def stream(self) -> Stream:
        """The stream the calling context enqueues on."""
        if self._pid is not _process:
            self.check_process()
        return self._streams_in_use.get() or self.default_stream

    @contextmanager
    def using(self, stream: Stream) -> Iterator[Stream]:
        if stream.device is not self:
            raise DeviceError(f"{stream.name} belongs to {stream.device}, not to {self}")
        token = self._streams_in_use.set(stream)
        try:
            yield stream
        finally:
            self._streams_in_use.reset(token)

    def flush(self) -> list[Fence]:
        """Submit what every stream has gathered; returns a fence per stream."""
        self.check_process()
        if not self.several_streams:
            return [self.default_stream.flush()]
        return [stream.flush() for stream in list(self.streams)]

    def in_flight(self) -> int:
        """Submissions of all streams that nobody has seen to be done yet; called with the lock held."""
        return sum(stream.in_flight() for stream in list(self.streams))

    def poison(self, problem: BaseException) -> None:
        """Fail every stream of this device."""
        for stream in list(self.streams):
            stream.poison(problem)

    def _reclaim(self) -> None:
        """The pool is out of memory: finish what is in flight and let go of what only caches hold."""
        from .waiting import finish_submitted

        for stream in list(self.streams):
            finish_submitted(stream)

    @property
    def stages_copies(self) -> bool:
        """Whether tensors move to and from the host by copies, which are commands, not by mapped memory."""
        return self._discrete or settings.current.staging == "always"

    # -- bytes in and out -----------------------------------------------------------------------------------------
    def upload(self, data: NDArray[np.uint8]) -> Storage:
        """A storage with a copy of ``data`` (bytes, one axis); the caller may change its array right away."""
        self.check_process()
        stream = self.stream()
        with self.lock:
            began = perf_counter() if self.observers.active else 0.0
            slot = Slot(stream, data.nbytes, Memory.UPLOAD)
            slot.buffer = self.pool.allocate(data.nbytes, Memory.UPLOAD, None)
            storage = Storage(slot)
        # Nobody else knows this memory yet: other threads may use the device while the bytes are copied.
        slot.buffer.view(data.nbytes)[:] = data
        with self.lock:
            self.statistics.uploads += 1
            for observer in self.observers.active:
                observer.transferred(stream, "upload", data.nbytes, began, perf_counter() - began)
            if self.stages_copies:
                return self.copy_bytes(storage, 0, data.nbytes, Memory.DEVICE, stream)[0]
            return storage

    def read(self, storage: Storage, offset: int, nbytes: int, convert: Callable[[NDArray[np.uint8]], T]) -> Readback[T]:
        """Start bringing bytes to the host; ``convert`` turns them into the value, and may not keep the array it gets."""
        if capture.active:
            capture.refuse("reading a value back")
        if self._pid is not _process:
            self.check_process()
        with self.lock:
            slot = storage.slot
            stream = slot.stream
            self.statistics.readbacks += 1
            for observer in self.observers.active:
                observer.readback_asked(stream, nbytes)
            if slot.failure is not None:
                raise slot.failure
            if self.stages_copies and nbytes:
                storage, fence = self.copy_bytes(storage, offset, nbytes, Memory.READBACK, stream)
                offset = 0
            else:
                # Written by an open batch: its submission is the next one. Otherwise the last that wrote it counts.
                holder = self.gathering(slot) if slot.dirty == slot.batch else None
                fence = (slot.written or Fence(stream, 0)) if holder is None else Fence(holder, holder.submitted + 1)
            return Readback(storage, offset, nbytes, fence, convert)

    def copy_bytes(self, storage: Storage, offset: int, nbytes: int, memory: Memory, stream: Stream) -> tuple[Storage, Fence]:
        """Enqueue a copy of ``nbytes`` at byte ``offset`` into a new storage in ``memory``."""
        words = offset % 4 == 0 and nbytes % 4 == 0
        dtype, unit = (dt.int32, 4) if words else (dt.uint8, 1)
        layout = layout_of(self, dtype, (nbytes // unit,))
        with self.lock:
            (made,) = stream.enqueue(_copy_spec(layout, layout), [Place(storage, offset // unit)], memory=memory)
            # The batch may have gone out with this very command; its fence is then already submitted.
            return made, Fence(stream, stream.submitted + (made.slot.buffer is None))

    # -- errors that only the data shows --------------------------------------------------------------------------
    def error_tag(self, text: str) -> int:
        """A number kernels can note in the error words for ``text``: what the index was for."""
        with self.lock:
            if text not in self._error_tags:
                self._error_tags.append(text)
            return self._error_tags.index(text)

    def error_slot(self) -> Slot:
        """The storage of the four error words: tag (0: no error), value, bound, unused."""
        if self._error_slot is None:
            slot = Slot(self.default_stream, 16, Memory.READBACK)
            slot.buffer = self.pool.allocate(16, Memory.READBACK, None)
            slot.buffer.view(16)[:] = 0
            self._error_words = slot.buffer.view(16).view(np.int32)
            self._error_slot = slot
        return self._error_slot

    def raise_noted_errors(self) -> None:
        """Raise `IndexError` for the first offence kernels have noted since the last call."""
        words = self._error_words
        if words is not None and words[0]:
            tag, value, bound = (int(w) for w in words[:3])
            words[:] = 0
            raise IndexError(
                f"{self._error_tags[tag]}: index {value} is out of range; indices go from {-bound} to {bound - 1}"
                if bound >= 0
                else f"{self._error_tags[tag]}: index {value} is out of range; indices go from 0 to {-bound - 1}"
            )

    def finish(self) -> None:
        """Finish what was submitted. Whoever waits is woken; whoever uses the device afterwards gets a `DeviceError`."""
        from .waiting import finish_submitted

        for stream in list(self.streams):
            if stream.failure is None:
                try:
                    finish_submitted(stream)
                except Exception as problem:
                    self.poison(problem)  # as for everybody else who waited; there is nothing left to finish
        for stream in list(self.streams):
            stream.failure = stream.failure or DeviceError(f"{self.name} is closed")
        self.watcher.close()
        self.driver.interrupt()

    def close(self) -> None:
        """`finish`, and give everything back. No other thread may be using the device, except to wait for it."""
        self.finish()
        self._error_words = self._error_slot = None
        with self.lock:
            self.pool.close()
            self.driver.close()

    def leave(self) -> None:
        """`finish`, and leave everything else to the end of the process: threads may still be inside the driver."""
        self.finish()
        self.driver.leave()


_process = object()  # another one after fork()


def _forked() -> None:
    global _process, _opening
    _process = object()
    _opening = threading.RLock()  # another thread may have held it


os.register_at_fork(after_in_child=_forked)

_copies: dict[object, CommandSpec] = {}


def _copy_spec(source: object, target: object) -> CommandSpec:
    from .layout import Layout

    assert isinstance(source, Layout) and isinstance(target, Layout)
    found = _copies.get((source, target))
    if found is None:
        program = Program((source.dtype,), (), (step("copy", source.dtype, (0,)),), (1,))
        found = _copies[source, target] = CommandSpec("elementwise", "copy", (source,), (target,), program)
    return found


on_open: list[Callable[[Device], None]] = []  # called with every device that is opened: profilers add themselves here
_devices: dict[str, Device] = {}
_opening = threading.RLock()


def get(name: str | Device) -> Device:
    """The device called ``cpu``, ``gpu`` or ``vulkan:N``; opened at the first call.

    Raises `MissingDeviceError` with what was looked for and how to get it, `DeviceError` for a name that means nothing.
    """
    if isinstance(name, Device):
        return name
    found = _devices.get(name)
    if found is not None:
        found.check_process()
        return found
    with _opening:
        found = _devices.get(name)
        if found is None:
            found = _open(name)
            opened_now = found.name not in _devices
            _devices[name] = _devices[found.name] = found
            if opened_now:
                for tell in on_open:
                    tell(found)
    return found


def register(device: Device) -> Device:
    """Make a device known by its name, as `get` does with those it opens."""
    with _opening:
        if device.name in _devices:
            raise DeviceError(f"there is a device called {device.name} already")
        _devices[device.name] = device
        for tell in on_open:
            tell(device)
    return device


def forget(device: Device) -> None:
    """The opposite of `register`."""
    with _opening:
        for name in [name for name, known in _devices.items() if known is device]:
            del _devices[name]


def _open(name: str) -> Device:
    driver: Driver
    if name == "cpu":
        from .host.driver import HostDriver

        driver, full = HostDriver(), "cpu"
    elif name == "gpu" or name.startswith("vulkan:"):
        from .vulkan.driver import open_driver

        driver, full = open_driver(name)
        if full in _devices:
            driver.close()
            return _devices[full]
    else:
        raise DeviceError(
            f"there is no device {name!r}: write 'cpu', 'gpu' or 'vulkan:N' (`python -m rasptorch info` lists them)"
        )
    if settings.current.check:
        from .checked_driver import CheckedDriver

        driver = CheckedDriver(driver)
    return Device(full, driver)


def names() -> list[str]:
    """``cpu`` and the Vulkan devices of this machine, usable or not; looks for them now."""
    from .vulkan.loader import device_names

    return ["cpu", *device_names()]


def vulkan_devices() -> list[VulkanReport]:
    """What each Vulkan device of this machine says of itself; `MissingDeviceError` where there is no loader or driver."""
    from .vulkan.report import report

    return report()


def opened() -> list[Device]:
    """The devices in use, each once."""
    return list(dict.fromkeys(_devices.values()))


def close_all() -> None:
    """At interpreter exit: finish all work. Nothing can be enqueued afterwards."""
    for device in opened():
        if device._pid is _process:
            device.leave()
    _devices.clear()


atexit.register(close_all)
