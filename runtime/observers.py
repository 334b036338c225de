"""Whoever is told what the engine does. The engine itself never prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .batch import Batch
    from .command import CommandSpec
    from .driver import KernelTimes
    from .fence import Fence
    from .plan.plan import Plan
    from .stream import Stream


class Observer:
    """Override what you want to hear. Called on the thread where it happens: be quick, never wait, never raise."""

    wants_timestamps = False  # submissions measure each kernel meanwhile, or one in several (`Traits.timestamp_every`)
    wants_commands = False  # `command_enqueued` is called

    def command_enqueued(self, stream: Stream, spec: CommandSpec, began: float, seconds: float) -> None:
        """A command joined the batch, in ``seconds`` from ``began`` (``perf_counter()``). A flush it causes comes after this."""

    def batch_planned(
        self, stream: Stream, plan: Plan, batch: Batch, living: tuple[int, ...], hit: bool, seconds: float
    ) -> None:
        """A batch got its plan, from the cache (``hit``) or made in ``seconds``; ``living`` are the new storages it was planned for."""

    def recording_made(self, stream: Stream, plan: Plan, began: float, seconds: float) -> None:
        """A plan was bound to buffers: commands were recorded. The submission comes next."""

    def batch_submitted(
        self, stream: Stream, fence: Fence, plan: Plan, commands: int, reused: bool, began: float, seconds: float
    ) -> None:
        """A submission went out; ``reused`` when its recording already existed. ``began`` is ``perf_counter()``."""

    def batch_finished(self, stream: Stream, fence: Fence, kernel_seconds: KernelTimes | None) -> None:
        """A submission was seen to be done; with the time of each dispatch where an observer wanted timestamps."""

    def waited(self, fence: Fence, began: float, seconds: float, blocking: bool) -> None:
        """Somebody waited for ``fence``: a thread (``blocking``) or a Trio task."""

    def readback_asked(self, stream: Stream, nbytes: int) -> None:
        """Somebody wants a value of ``nbytes``."""

    def transferred(self, stream: Stream, direction: str, nbytes: int, began: float, seconds: float) -> None:
        """Bytes were copied to the device's memory (``upload``) or out of it (``readback``), by this thread."""

    def stream_failed(self, stream: Stream, failure: BaseException) -> None:
        """The stream is poisoned; every fence past its completed value has failed."""


class Observers:
    """A device's observers; empty almost always, so the engine asks ``if observers.active`` first."""

    __slots__ = ("active", "epoch", "wants_commands", "wants_timestamps")

    def __init__(self) -> None:
        self.epoch = 0  # counts changes: what was measured for earlier observers is unknown to later ones
        self.active: tuple[Observer, ...] = ()
        self.wants_timestamps = False
        self.wants_commands = False

    def add(self, observer: Observer) -> None:
        self._set((*self.active, observer))

    def remove(self, observer: Observer) -> None:
        self._set(tuple(o for o in self.active if o is not observer))

    def _set(self, observers: tuple[Observer, ...]) -> None:
        self.active = observers
        self.epoch += 1
        self.wants_timestamps = any(o.wants_timestamps for o in observers)
        self.wants_commands = any(o.wants_commands for o in observers)

    @contextmanager
    def watching(self, observer: Observer) -> Iterator[None]:
        self.add(observer)
        try:
            yield
        finally:
            self.remove(observer)
