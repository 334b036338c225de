"""Results made ahead of time by threads, handed out in order.

Threads know only the `Prefetcher`, never who takes the results: when that goes away without a word, they are told to stop all the
same, and waited for. At most ``ahead`` results are made and not yet taken, however quick the threads are.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from math import inf
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from ..runtime.errors import BlockingInTrio
from ..runtime.waiting import in_trio_task
from .crew import PATIENCE, Begin, Workers, begun, in_trio_run
from .errors import DataTimeout

J = TypeVar("J")
T = TypeVar("T")

_AGAIN = 0.05  # seconds until a Ctrl-C that came in a finaliser, which no exception can leave, comes again
_running: weakref.WeakSet[Prefetcher[Any, Any]] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_running.clear)  # a child has none of the threads


class NoMore(Exception):
    """All results have been taken, or the threads were told to stop."""


def _attempt(make: Callable[[J], T], job: J) -> tuple[T | None, BaseException | None]:
    """The result or the error; in a function of its own, so that no frame in the error's traceback holds the error."""
    try:
        return make(job), None
    except BaseException as problem:
        return None, problem


class Prefetcher(Generic[J, T]):
    """``make(job)`` for each of ``jobs``, by the threads of ``workers``. ``jobs`` is gone through by one thread at a time."""

    def __init__(self, jobs: Iterator[J], make: Callable[[J], T], workers: Workers) -> None:
        self._jobs: Final = jobs
        self._make: Final = make
        self._ahead: Final = workers.ahead
        self._timeout: Final = workers.timeout
        self._crew: Final = workers.crew
        self._source: Final = threading.Lock()  # held by whoever takes the next job
        self._changed: Final = threading.Condition()
        self._results: dict[int, tuple[T | None, BaseException | None]] = {}
        self._begun = 0
        self._taken = 0
        self._ended = False  # there are no more jobs
        self._stopped = False
        self._wake: list[Callable[[], None]] = []  # Trio tasks that look again when something changes
        self._alive = workers.count
        _running.add(self)
        if self._crew is not None:
            self._threads = self._crew.threads
            self._crew.give(self._work)
            return
        self._threads = [
            threading.Thread(target=self._start, args=(k, workers.begin), name=f"loader worker {k + 1}", daemon=True)
            for k in range(workers.count)
        ]
        for thread in self._threads:
            thread.start()

    # -- in the workers -------------------------------------------------------------------------------------------
    def _start(self, number: int, begin: Begin | None) -> None:
        self._work(begun(begin, number))

    def _work(self, problem: BaseException | None) -> bool:
        try:
            told = problem is not None and self._fail(problem)
            while self._one():
                continue
            return told
        finally:
            with self._changed:
                self._alive -= 1
                self._tell()

    def _one(self) -> bool:
        """Take a job and do it; False when there is nothing left to do."""
        with self._source:
            with self._changed:
                self._changed.wait_for(lambda: self._over() or self._begun - self._taken < self._ahead)
                if self._over():
                    return False
                number = self._begun
            try:
                job = next(self._jobs)
            except StopIteration:
                self._finish(number, None)
                return False
            except BaseException as problem:
                self._finish(number, problem)
                return False
            with self._changed:
                self._begun += 1
        outcome = _attempt(self._make, job)
        with self._changed:
            if not self._stopped:
                self._results[number] = outcome
            self._tell()
        return True

    def _fail(self, problem: BaseException) -> bool:
        """What a worker could not begin with comes in the place of the next batch, the last one. False: it is over without that."""
        with self._source, self._changed:
            if self._over():
                return False
            self._finish(self._begun, problem)
            return True

    def _over(self) -> bool:
        return self._stopped or self._ended

    def _finish(self, number: int, problem: BaseException | None) -> None:
        with self._changed:
            self._ended = True
            if problem is not None:
                self._results[number] = None, problem
                self._begun += 1
            self._tell()

    def _tell(self) -> None:
        self._changed.notify_all()
        wakers, self._wake = self._wake, []
        for wake in wakers:
            wake()

    # -- for whoever takes them -----------------------------------------------------------------------------------
    def _ready(self) -> bool:
        return self._taken in self._results or self._stopped or (self._ended and self._taken >= self._begun)

    def _pop(self) -> T:
        """The next result. Raises what making it raised; `NoMore` after the last one."""
        found = self._results.pop(self._taken, None)
        if found is None:
            raise NoMore
        self._taken += 1
        self._changed.notify_all()
        value, problem = found
        if problem is not None:
            raise problem
        return value  # type: ignore[return-value]  # None only where T has it

    def take(self) -> T:
        """Block until the next result is there."""
        with self._changed:
            if not self._ready() and in_trio_task():
                raise BlockingInTrio("a loader's next batch is not ready, and this would block the Trio loop: use `async for`")
            if not self._changed.wait_for(self._ready, self._timeout or None):
                raise self._late()
            return self._pop()

    def _late(self) -> DataTimeout:
        return DataTimeout(f"the loader's workers did not finish the next batch within {self._timeout:g} seconds (timeout)")

    async def take_async(self) -> T:
        """As `take`, in a Trio task. Always a checkpoint; cancelling it loses nothing."""
        import trio

        await trio.lowlevel.checkpoint()
        with trio.move_on_after(self._timeout or inf):
            while True:
                with self._changed:
                    if self._ready():
                        return self._pop()
                    event = self._event()
                await event.wait()
        raise self._late()

    def _event(self) -> Any:
        """A Trio event that is set when something changes. With the lock held."""
        import trio

        event, token = trio.Event(), trio.lowlevel.current_trio_token()

        def wake() -> None:
            try:
                token.run_sync_soon(event.set)
            except trio.RunFinishedError:
                self._wake.clear()  # the loop is gone, and the task with it

        self._wake.append(wake)
        return event

    # -- ending ---------------------------------------------------------------------------------------------------
    def stop(self) -> None:
        """Tell the threads to end after what they are at. Never waits."""
        with self._changed:
            self._stopped = True
            self._results.clear()
            self._tell()

    def join(self) -> None:
        """Wait until the threads have ended, or are free for other work if they stay."""
        if self._crew is not None:
            self.join_within(None)
            return
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    async def join_async(self) -> None:
        """As `join`; not to be cancelled, for it takes no longer than what the threads are at."""
        import trio

        with trio.CancelScope(shield=True):
            while True:
                with self._changed:
                    if self._alive == 0:
                        return
                    event = self._event()
                await event.wait()

    def join_within(self, seconds: float | None) -> bool:
        """Wait until the threads have ended (or are free), no longer than ``seconds`` in all: whether they have."""
        if self._crew is not None or seconds is None:
            with self._changed:
                return threading.current_thread() in self._threads or self._changed.wait_for(lambda: self._alive == 0, seconds)
        deadline = monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def abandon(self) -> None:
        """From ``__del__``: stop and wait, up to `PATIENCE`. Under Trio nothing blocks: the run does not end before the threads have."""
        if sys.is_finalizing():
            return  # `_end_all` was here before; threads are frozen now, maybe with the lock
        self.stop()
        if in_trio_run():
            import trio

            trio.lowlevel.spawn_system_task(self.join_async)
        elif threading.current_thread() not in self._threads:  # one of these may be what the others wait for
            self._join_in_finaliser()

    def _join_in_finaliser(self) -> None:
        try:
            ended = self.join_within(PATIENCE)
        except KeyboardInterrupt:
            threading.Timer(_AGAIN, _thread.interrupt_main).start()
            return
        if not ended:
            busy = ", ".join(thread.name for thread in self._threads if thread.is_alive())
            warnings.warn(
                f"a loader was left before its end, and {busy} did not finish a batch within {PATIENCE:g} s: it ends when that is made. "
                "`with iter(loader) as batches:` waits for as long as it takes",
                RuntimeWarning,
                stacklevel=3,
            )


@atexit.register
def _end_all() -> None:
    """No thread works on while the interpreter, and the devices with it, go away."""
    deadline = monotonic() + PATIENCE
    left = list(_running)
    for prefetcher in left:
        prefetcher.stop()
    for prefetcher in left:
        prefetcher.join_within(max(0.0, deadline - monotonic()))
