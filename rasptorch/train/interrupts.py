"""Ctrl-C and SIGTERM while a training writes checkpoints: they act between two steps, never in the middle of one.

In the middle of a step some parameters are new and others old; a checkpoint of that would be worth nothing. So a signal is noted,
the step is finished, the checkpoint is written, and then the program ends as it would have. A second signal acts at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_TERMINATED = 128 + signal.SIGTERM  # the exit status that shells give to a program that ended by it


class Interrupts:
    """``react``, if given, is called by the signal handler in place of waiting for `check`: it wakes a Trio task."""

    def __init__(self, react: Callable[[], None] | None = None) -> None:
        self.seen: int | None = None
        self._react = react
        self._at_once = False

    @contextmanager
    def handled(self, *signals: int) -> Iterator[None]:
        """Handle those of ``signals`` that nobody else handles. Only in the main thread; elsewhere nothing changes."""
        before: dict[int, Any] = {}
        usual = (signal.SIG_DFL, signal.default_int_handler)
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._note) for number in signals if signal.getsignal(number) in usual}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.seen = self.seen is not None, number
        if self._react is not None:
            self._react()
        elif self._at_once or again:
            self.check()

    def check(self) -> None:
        """Raise what was noted: `KeyboardInterrupt`, or `SystemExit` for SIGTERM."""
        if self.seen is not None:
            raise KeyboardInterrupt if self.seen == signal.SIGINT else SystemExit(_TERMINATED)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In this block a signal raises where it arrives."""
        self._at_once = True
        try:
            self.check()
            yield
        finally:
            self._at_once = False


def is_interruption(problem: BaseException) -> bool:
    """Whether somebody wants the training to end, and nothing is wrong with it: Ctrl-C, SIGTERM, a cancelled task."""
    trio: Any = sys.modules.get("trio")
    return isinstance(problem, (KeyboardInterrupt, SystemExit)) or (trio is not None and isinstance(problem, trio.Cancelled))
