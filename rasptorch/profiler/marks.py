"""Marks that a program makes in recordings of it: ``with rt.record_function("load a batch"):``."""

from __future__ import annotations

from contextlib import ContextDecorator
from time import perf_counter
from types import TracebackType

from ..runtime import trace
from ..runtime.waiting import task_name


class record_function(ContextDecorator):
    """Show a stretch of a program by ``name`` in the recordings under way (`rasptorch.profile`), in the thread it runs in.

    A context manager and a decorator, as in PyTorch. Without a recording it costs well under a microsecond. In a Trio task the
    stretch may contain ``await``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._began: float | None = None

    def _recreate_cm(self) -> record_function:
        return record_function(self.name)  # a decorated function may run in several threads, and inside itself

    def __enter__(self) -> record_function:
        self._began = perf_counter() if trace.active else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._began is None or not trace.active:
            return
        ended, task = perf_counter(), task_name()
        for tracer in trace.active:
            thread = tracer.thread()
            # Other tasks may have run meanwhile: then it is no part of one step.
            whole = not task or self._began >= tracer.steps.get(thread, 0.0)
            told = {"task": task} if task else {}
            began = max(self._began, tracer.origin)
            tracer.told("user" if whole else "user async", self.name, began, ended, thread, **told)
