"""Results made ahead of time by threads, handed out in order.

Threads know only the `Prefetcher`, never who takes the results: when that goes away without a word, they are told to stop all the
same. At most ``ahead`` results are made and not yet taken, however quick the threads are.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, TypeVar

from ..runtime.errors import BlockingInTrio
from ..runtime.waiting import in_trio_task

J = TypeVar("J")
T = TypeVar("T")


class NoMore(Exception):
    """All results have been taken, or the threads were told to stop."""


def _attempt(make: Callable[[J], T], job: J) -> tuple[T | None, BaseException | None]:
    """The result or the error; in a function of its own, so that no frame in the error's traceback holds the error."""
    try:
        return make(job), None
    except BaseException as problem:
        return None, problem


class Prefetcher(Generic[J, T]):
    """``make(job)`` for each of ``jobs``, by ``workers`` threads. ``jobs`` is gone through by one thread at a time."""

    def __init__(self, jobs: Iterator[J], make: Callable[[J], T], workers: int, ahead: int) -> None:
        self._jobs: Final = jobs
        self._make: Final = make
        self._ahead: Final = ahead
        self._source: Final = threading.Lock()  # held by whoever takes the next job
        self._changed: Final = threading.Condition()
        self._results: dict[int, tuple[T | None, BaseException | None]] = {}
        self._begun = 0
        self._taken = 0
        self._ended = False  # there are no more jobs
        self._stopped = False
        self._wake: list[Callable[[], None]] = []  # Trio tasks that look again when something changes
        self._alive = workers
        self._threads = [
            threading.Thread(target=self._work, name=f"loader worker {k + 1}", daemon=True) for k in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    # -- in the workers -------------------------------------------------------------------------------------------
    def _work(self) -> None:
        try:
            while self._one():
                continue
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
            self._changed.wait_for(self._ready)
            return self._pop()

    async def take_async(self) -> T:
        """As `take`, in a Trio task. Always a checkpoint; cancelling it loses nothing."""
        import trio

        await trio.lowlevel.checkpoint()
        while True:
            with self._changed:
                if self._ready():
                    return self._pop()
                event = self._event()
            await event.wait()

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
        """Wait until the threads have ended."""
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

    def abandon(self) -> None:
        """From ``__del__``: stop; under Trio, the run does not end before the threads have."""
        self.stop()
        trio: Any = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_run():
            trio.lowlevel.spawn_system_task(self.join_async)
