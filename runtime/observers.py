"""Whoever is told what the engine does. The engine itself never prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .command import CommandSpec
    from .driver import KernelTimes
    from .fence import Fence
    from .plan.plan import Plan
    from .stream import Stream


class Observer:
    """Override what you want to hear. Called on the thread where it happens: be quick, never wait, never raise."""

    wants_timestamps = False  # recordings made meanwhile measure each kernel
    wants_commands = False  # `command_enqueued` is called

    def command_enqueued(self, stream: Stream, spec: CommandSpec, began: float, seconds: float) -> None:
        """A command joined the batch, in ``seconds`` from ``began`` (``perf_counter()``); a flush it caused is part of it."""

    def batch_planned(self, stream: Stream, plan: Plan, commands: int, hit: bool, seconds: float) -> None:
        """A batch of ``commands`` got its plan, from the cache (``hit``) or made in ``seconds``."""

    def batch_submitted(
        self, stream: Stream, fence: Fence, plan: Plan, commands: int, reused: bool, began: float, seconds: float
    ) -> None:
        """A submission went out; ``reused`` when its recording already existed. ``began`` is ``perf_counter()``."""

    def batch_finished(self, stream: Stream, fence: Fence, kernel_seconds: KernelTimes | None) -> None:
        """A submission was seen to be done; with the time of each dispatch where an observer wanted timestamps."""

    def waited(self, fence: Fence, began: float, seconds: float, blocking: bool) -> None:
        """Somebody waited for ``fence``: a thread (``blocking``) or a Trio task."""

    def transferred(self, stream: Stream, direction: str, nbytes: int) -> None:
        """``direction`` is ``upload`` or ``readback``."""

    def stream_failed(self, stream: Stream, failure: BaseException) -> None:
        """The stream is poisoned; every fence past its completed value has failed."""


class Observers:
    """A device's observers; empty almost always, so the engine asks ``if observers.active`` first."""

    __slots__ = ("active", "wants_commands", "wants_timestamps")

    def __init__(self) -> None:
        self.active: tuple[Observer, ...] = ()
        self.wants_timestamps = False
        self.wants_commands = False

    def add(self, observer: Observer) -> None:
        self._set((*self.active, observer))

    def remove(self, observer: Observer) -> None:
        self._set(tuple(o for o in self.active if o is not observer))

    def _set(self, observers: tuple[Observer, ...]) -> None:
        self.active = observers
        self.wants_timestamps = any(o.wants_timestamps for o in observers)
        self.wants_commands = any(o.wants_commands for o in observers)

    @contextmanager
    def watching(self, observer: Observer) -> Iterator[None]:
        self.add(observer)
        try:
            yield
        finally:
            self.remove(observer)
