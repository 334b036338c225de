"""Trio tasks in recordings: which task ran when, and when the loop had nothing to do."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import Any

import trio

from ..runtime.trace import Tracer

_SHORT = 1e-5  # seconds; loops look for events all the time, which is no idling


class TaskWatcher(trio.abc.Instrument):
    """Tells a tracer of one run of Trio, from when it is added (in a task, or to ``trio.run``) until `stop`."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._running: tuple[str, float] | None = None
        self._idle: float | None = None
        self._stopped = False

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._running = task.name, perf_counter()
        self._tracer.steps[self._tracer.thread()] = self._running[1]

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._end_step(perf_counter())

    def before_io_wait(self, timeout: float) -> None:
        self._idle = perf_counter() if timeout > 0 else None

    def after_io_wait(self, timeout: float) -> None:
        self._end_idling(perf_counter())

    def start_inside(self, task: trio.lowlevel.Task) -> None:
        """The recording begins in the middle of this task's step."""
        self._running = task.name, self._tracer.origin

    def stop(self, at: float) -> None:
        """The recording is over; what goes on just now ends here."""
        self._end_step(at)
        self._end_idling(at)
        self._stopped = True
        with suppress(RuntimeError, KeyError):  # the run is over, or the caller is not in it
            trio.lowlevel.remove_instrument(self)

    def _end_step(self, at: float) -> None:
        running, self._running = self._running, None
        if running is not None and not self._stopped:
            self._tracer.told("task", running[0], running[1], at, self._tracer.thread())

    def _end_idling(self, at: float) -> None:
        began, self._idle = self._idle, None
        if began is not None and not self._stopped and at - began > _SHORT:
            self._tracer.told("idle", "Trio has nothing to do", began, at, self._tracer.thread())


class TrioRuns:
    """Watches the run of Trio that the caller is in, or all runs that begin until `stop`."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._watchers: list[TaskWatcher] = []
        # The defaults of `trio.run` are changed in place: programs may have imported the function already.
        self._defaults: dict[str, Any] = trio.run.__kwdefaults__ or {}
        self._before = self._defaults["instruments"]
        if trio.lowlevel.in_trio_task():
            watcher = self._watcher()
            watcher.start_inside(trio.lowlevel.current_task())
            trio.lowlevel.add_instrument(watcher)
        else:
            self._defaults["instruments"] = _Each(self)

    def _watcher(self) -> TaskWatcher:
        made = TaskWatcher(self._tracer)
        self._watchers.append(made)
        return made

    def added(self) -> list[trio.abc.Instrument]:
        """The instruments of a run that begins now."""
        return [*self._before, self._watcher()]

    def stop(self) -> None:
        at = perf_counter()
        for watcher in self._watchers:
            watcher.stop(at)
        if isinstance(self._defaults["instruments"], _Each):
            self._defaults["instruments"] = self._before


class _Each:
    """What ``trio.run`` iterates over: a new watcher for every run, also for several at once in several threads."""

    def __init__(self, runs: TrioRuns) -> None:
        self._runs = runs

    def __iter__(self) -> Any:
        return iter(self._runs.added())
