"""Threads of a loader: how many, what they begin with, how long is waited for them, and those that stay from pass to pass."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final

# Seconds that a finaliser, and the end of the program, wait for what threads are at. They run at any line, also one that holds a lock
# that a thread needs, so they may not wait for ever.
PATIENCE = 5.0
Begin = Callable[[int], Any]
Work = Callable[[BaseException | None], bool]  # gets what the thread's beginning raised; gives whether somebody will be told


def begun(begin: Begin | None, number: int) -> BaseException | None:
    """Begin worker ``number``; what that raised, in a function of its own, so that no frame in its traceback holds it."""
    try:
        if begin is not None:
            begin(number)
    except BaseException as problem:
        problem.add_note(f"raised by worker_init_fn({number})")
        return problem
    return None


def in_trio_run() -> bool:
    trio: Any = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


class Crew:
    """Threads that stay: each does what it is given, in turn. They end when nobody holds the crew any more, which passes do, too."""

    def __init__(self, workers: int, begin: Begin | None) -> None:
        self._process: Final = os.getpid()
        self._failed: Final = threading.Event()
        self._queues: Final[list[SimpleQueue[Work | None]]] = [SimpleQueue() for _ in range(workers)]
        self.threads: Final = [
            threading.Thread(target=_serve, args=(queue, k, begin, self._failed), name=f"loader worker {k + 1}", daemon=True)
            for k, queue in enumerate(self._queues)
        ]
        for thread in self.threads:
            thread.start()
        # At the end of the program passes are stopped (`prefetch`), and threads without work need no one to end them.
        weakref.finalize(self, _dismiss, self._queues, self.threads).atexit = False

    @property
    def usable(self) -> bool:
        """Not so if one of the threads could not begin, or in a child process, which has none of them."""
        return self._process == os.getpid() and not self._failed.is_set()

    def give(self, work: Work) -> None:
        """Have every thread do this after what it is at."""
        for queue in self._queues:
            queue.put(work)


def _serve(queue: SimpleQueue[Work | None], number: int, begin: Begin | None, failed: threading.Event) -> None:
    problem = begun(begin, number)
    if problem is not None:
        failed.set()
    while (work := queue.get()) is not None:
        if work(problem):
            problem = None  # whose traceback, once it is raised, holds whoever was told
        del work  # until there is more to do, nothing is held


def _dismiss(queues: Sequence[SimpleQueue[Work | None]], threads: Sequence[threading.Thread]) -> None:
    """From a finaliser: tell the threads to end. Waits for them, no longer than `PATIENCE`, and not at all under Trio."""
    for queue in queues:
        queue.put(None)
    if in_trio_run() or threading.current_thread() in threads:
        return
    deadline = monotonic() + PATIENCE
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0.0, deadline - monotonic()))


@dataclass(frozen=True, slots=True)
class Workers:
    """``count`` threads (none: batches are made when asked for) make up to ``ahead`` batches that nobody has taken yet. Whoever waits
    for one gives up after ``timeout`` seconds, if that is not 0. ``crew``: threads that are there already and stay.
    """

    count: int = 0
    ahead: int = 0
    timeout: float = 0.0
    begin: Begin | None = None
    crew: Crew | None = None
