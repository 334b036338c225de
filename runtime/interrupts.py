"""Ctrl-C only where nothing is half done."""

from __future__ import annotations

import os
import sys
import threading
from _thread import get_ident
from importlib import import_module
from signal import SIGINT
from types import FrameType
from typing import Any

# What the signal module is made of: its own functions turn numbers into enumerations and back, ten times as slowly.
_signal: Any = import_module("_signal")
_SIGINT = int(SIGINT)
_main = threading.main_thread().ident


def in_main_thread() -> bool:
    """Whether signals are handled in the thread that asks."""
    return get_ident() == _main


def _after_fork() -> None:
    global _main
    _main = get_ident()  # the thread that forked is the only one, and so the main thread, of the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Uninterrupted:
    """``with Uninterrupted():`` holds SIGINT back until the block is left; whoever handled it before then gets it.

    Only the main thread of a Python program handles signals, so elsewhere there is nothing to do. Costs 2 microseconds: for
    a submission, not for a command.
    """

    __slots__ = ("_handler", "_noted")

    def __enter__(self) -> None:
        self._handler: Any = None
        if get_ident() == _main:
            handler = _signal.getsignal(_SIGINT)
            if callable(handler):  # otherwise the signal is ignored, or ends the process
                self._handler = handler
                self._noted = False
                _signal.signal(_SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        if self._handler is not None:
            _signal.signal(_SIGINT, self._handler)
            if self._noted:
                self._handler(_SIGINT, sys._getframe())

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = True
