"""Threads that compute parts of large kernels beside the one that runs a recording.

They sleep until they are needed, and handing a part out costs little: it is a queue's entry, and who has finished its own part takes back
what nobody has begun. A core that is busy with something else costs its share and no more. Helpers keep off the core on which the thread
that wakes them runs: the scheduler likes to put them there, where each would wait for the other.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from _thread import allocate_lock
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import numpy as np

Part = Callable[[], object]
WAKING = 30e-6  # seconds until a thread that waited goes on
HANDING = 15e-6  # seconds by which a helper begins later than the thread that has woken it


def bounds(length: int, step: int, work: float, delays: Sequence[float]) -> list[int]:
    """Where the parts of an axis begin and end, at multiples of ``step``, so that all of them end soon.

    ``work`` is seconds for all parts, of which there is one per entry of ``delays``: seconds until it begins. The first is that of the
    thread that waits for the others.
    """
    tiles, others = -(-length // step), len(delays) - 1
    if not others or not tiles:
        return [*[0] * len(delays), length]

    def end(mine: int) -> float:
        own, last = delays[0] + work * mine / tiles, max(delays[1:]) + work * (tiles - mine) / tiles / others
        return own if last < own else last + WAKING

    middle = min(max(0, round(tiles * (work / others + max(delays[1:]) - delays[0]) / (work + work / others))), tiles)
    first = min(range(max(0, middle - 2), min(tiles, middle + 2) + 1), key=end)
    return [0, *(min(length, (first + round((tiles - first) * k / others)) * step) for k in range(others)), length]


class _Handed:
    """A part that another thread may take."""

    __slots__ = ("_ended", "_failure", "_part")

    def __init__(self, part: Part) -> None:
        self._part = [part]
        self._failure: BaseException | None = None
        self._ended = allocate_lock()
        self._ended.acquire()

    def run_once(self) -> bool:
        """Run the part, unless another thread has begun it."""
        try:
            part = self._part.pop()
        except IndexError:
            return False
        part()
        return True

    def run(self) -> None:
        """What a helper does, if it is not too late."""
        try:
            begun = self.run_once()
        except BaseException as problem:
            self._failure, begun = problem, True
        if begun:
            self._ended.release()

    def wait(self) -> None:
        """Until it has ended elsewhere. Raises what it raised."""
        self._ended.acquire()
        if self._failure is not None:
            raise self._failure


class Helpers:
    """``count`` threads at most; they are started when there is something to do."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._queues: list[SimpleQueue[_Handed | None]] = []
        self._threads: list[threading.Thread] = []
        self._cores: frozenset[int] = frozenset()  # that threads may run on
        self._avoided = -1  # the core that helpers keep off

    def together(self, parts: Sequence[Part]) -> None:
        """Run all ``parts`` at once, the first one here, and return when all have ended. Raises what one of them raised.

        For one thread at a time.
        """
        if len(parts) == 1:
            parts[0]()
            return
        while len(self._threads) < min(self._count, len(parts) - 1):
            self._start()
        if _core is not None and self._threads:
            core = _core()
            if core != self._avoided:
                self._keep_off(core)
        handed, queues = [_Handed(part) for part in parts[1:]], self._queues
        if queues:
            for number, entry in enumerate(handed):
                queues[number % len(queues)].put(entry)
        failure: BaseException | None = None
        try:
            parts[0]()
        except BaseException as problem:
            failure = problem
        begun = []
        for entry in handed:  # first what nobody has begun by now
            try:
                if not entry.run_once():
                    begun.append(entry)
            except BaseException as problem:
                failure = failure or problem
        for entry in begun:
            try:
                entry.wait()
            except BaseException as problem:
                failure = failure or problem
        if failure is not None:
            raise failure

    def _keep_off(self, core: int) -> None:
        self._avoided = core
        others = self._cores - {core}
        for thread in self._threads:
            if others and thread.native_id is not None:
                try:
                    os.sched_setaffinity(thread.native_id, others)
                except OSError:  # the cores that this process may use were changed from outside: they are the scheduler's again
                    self._cores = frozenset()

    def _start(self) -> None:
        if sys.platform == "linux" and not self._threads:
            self._cores = frozenset(os.sched_getaffinity(0))
        queue: SimpleQueue[_Handed | None] = SimpleQueue()
        thread = threading.Thread(target=_help, args=(queue,), name="cpu helper", daemon=True)
        thread.start()
        self._queues.append(queue)
        self._threads.append(thread)
        self._avoided = -1

    def close(self) -> None:
        """End the threads."""
        for queue in self._queues:
            queue.put(None)
        for thread in self._threads:
            thread.join()
        self._queues.clear()
        self._threads.clear()


# Called without giving up the interpreter: it takes less time than that.
_core: Callable[[], int] | None = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None


def _help(queue: SimpleQueue[_Handed | None]) -> None:
    np.seterr(all="ignore")
    while True:
        entry = queue.get()
        if entry is None:
            return
        entry.run()
        del entry  # it holds on to memory
