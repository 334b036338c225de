"""One pass over a loader: an iterator for scripts and for Trio tasks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final

from .crew import Workers
from .errors import DataTimeout
from .prefetch import NoMore, Prefetcher

Job = tuple[int, Any]  # the batch's number, and the indices (or, of an iterable dataset, the items) it is made of


class Batches:
    """Go through it with ``for`` or, in a Trio task, ``async for``. ``number`` is that of the batch that comes next.

    The threads end when the last batch was taken, when making one raised, and when the iterator is closed or dropped, so leaving the
    loop early is enough: when a plain loop is left by ``break`` or an exception, they are gone at its next line. That is waited for
    5 seconds, and a warning names those that are still at a batch. Under Trio it is not waited for, only the run ends after them.
    ``with iter(loader) as batches:`` and ``async with aiter(loader) as batches:`` wait at the end of the block, in any case and for
    as long as it takes.
    """

    def __init__(self, jobs: Iterator[Job], make: Callable[[Job], Any], workers: Workers, first: int = 0) -> None:
        self.number = first
        self._jobs: Final = jobs
        self._make: Final = make
        self._ahead: Prefetcher[Job, Any] | None = Prefetcher(jobs, make, workers) if workers.count else None
        self._closed = False

    # -- in scripts -----------------------------------------------------------------------------------------------
    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        try:
            batch = self._direct() if self._ahead is None else self._ahead.take()
        except NoMore:
            self.close()
            raise StopIteration from None
        except DataTimeout:
            self.stop()
            raise
        except BaseException as problem:
            if not _may_go_on(problem):
                self.close()
            raise
        self.number += 1
        return batch

    def _direct(self) -> Any:
        if self._closed:
            raise NoMore
        for job in self._jobs:
            return self._make(job)
        raise NoMore

    def stop(self) -> None:
        """No more batches: the threads end after what they are at, and are not waited for."""
        self._closed = True
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def close(self) -> None:
        """End the threads and wait until they are gone: no longer than the batches take that they are at."""
        self._closed = True
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead.join()

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- in Trio tasks --------------------------------------------------------------------------------------------
    def __aiter__(self) -> Batches:
        return self

    async def __anext__(self) -> Any:
        try:
            if self._ahead is not None:
                batch = await self._ahead.take_async()
            else:
                import trio

                batch = await trio.to_thread.run_sync(self._direct)
        except NoMore:
            await self.aclose()
            raise StopAsyncIteration from None
        except DataTimeout:
            self.stop()
            raise
        except BaseException as problem:
            if not _may_go_on(problem):
                await self.aclose()
            raise
        self.number += 1
        return batch

    async def aclose(self) -> None:
        """As `close`, in a Trio task."""
        self._closed = True
        if self._ahead is not None:
            self._ahead.stop()
            await self._ahead.join_async()

    async def __aenter__(self) -> Batches:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __del__(self) -> None:
        ahead = getattr(self, "_ahead", None)
        if ahead is not None:
            ahead.abandon()


def _may_go_on(problem: BaseException) -> bool:
    """Whether it came from outside, while waiting: a cancelled ``await``, a wait that is not allowed here. No batch is lost by it."""
    from ..runtime.errors import BlockingInTrio

    trio: Any = sys.modules.get("trio")
    return isinstance(problem, BlockingInTrio) or (trio is not None and isinstance(problem, trio.Cancelled))
