"""The cpu device's driver: plans run through NumPy on a worker thread.

Submissions run in the order they come, whatever timeline they are on, so waits between timelines hold by themselves.
A thread that waits for a submission runs it itself if the worker has not begun: handing work to another thread and back
costs more than most small batches.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from typing import Final

import numpy as np

from .. import settings
from ..buffer import Block, Buffer, Memory
from ..driver import KernelTimes, Traits
from ..interrupts import Uninterrupted
from ..plan.plan import Plan
from ..statistics import Statistics
from .helpers import Helpers
from .record import HostRecording, record
from .scratch import Arena

LIGHT = 1e-3  # estimated seconds of a submission up to which the thread that submits also runs it


class HostTimeline:
    """Counts finished submissions; ``failure`` is what ended it."""

    __slots__ = ("failure", "value")

    def __init__(self) -> None:
        self.value = 0
        self.failure: BaseException | None = None

    def completed(self) -> int:
        return self.value


Job = tuple[HostTimeline, int, HostRecording, Sequence[float], Sequence[tuple[HostTimeline, int]]]


class HostDriver:
    """Runs on ``threads`` threads, those of its own for large kernels included."""

    name = "host"

    def __init__(self) -> None:
        self.threads: Final = settings.current.host_threads or os.cpu_count() or 1
        self.traits = Traits(
            name=f"NumPy {np.__version__} on {self.threads} threads",
            kind="host",
            alignment=64,
            parallelism=0,
            reduce_chunk=1 << 62,
            reentrant_recordings=True,
        )
        self.timestamps = False
        self.arenas: Final = [Arena() for _ in range(self.threads)]
        self._jobs: deque[Job] = deque()
        self._running = threading.Lock()  # held while a submission runs, by the worker or by a thread that waits
        self._state = threading.RLock()
        self._changed = threading.Condition(self._state)  # for those who wait for submissions
        self._waiting = 0  # how many do
        self._arrived = threading.Condition()  # for the worker, which would only be in the way if the end of one woke it
        self._interrupts = 0
        self._worker: threading.Thread | None = None
        self._closing = False
        self._helpers: Final = Helpers(self.threads - 1)
        self.together: Final = self._helpers.together
        self._quiet: Final = Context()  # in which the program's threads compute: NumPy's warnings are off there
        self._quiet.run(np.seterr, all="ignore")

    # -- memory ---------------------------------------------------------------------------------------------------
    def allocate(self, nbytes: int, memory: Memory) -> Block:
        # Over-allocate to start on a cache line; NumPy's own buffers do not promise it.
        raw = np.empty(nbytes + 64, np.uint8)
        start = -raw.ctypes.data % 64
        return Block(nbytes, memory, raw, raw[start : start + nbytes])

    def free(self, block: Block) -> None:
        """Nothing to do: the array goes with the block's last reference."""

    # -- work -----------------------------------------------------------------------------------------------------
    def timeline(self) -> HostTimeline:
        return HostTimeline()

    def drop(self, timeline: HostTimeline) -> None:
        """Nothing to do: it goes with its last reference."""

    def record(self, plan: Plan, buffers: Sequence[Buffer], statistics: Statistics) -> HostRecording:
        return record(plan, buffers, self)

    def submit(
        self, timeline: HostTimeline, value: int, recording: HostRecording, scalars: Sequence[float],
        waits: Sequence[tuple[HostTimeline, int]], statistics: Statistics, waited: bool = False,
    ) -> None:  # fmt: skip
        statistics.dispatches += recording.dispatches
        if recording.seconds < LIGHT and self._run_at_once((timeline, value, recording, scalars, waits)):
            return
        self._jobs.append((timeline, value, recording, scalars, waits))
        if not waited:
            self._wake_worker()

    def _wake_worker(self) -> None:
        with self._arrived:
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="cpu worker", daemon=True)
                self._worker.start()
            self._arrived.notify()

    def _run_at_once(self, job: Job) -> bool:
        """Run a small submission right here, if nothing is in its way.

        Two Python threads take turns at the interpreter, milliseconds at a time; giving the worker something that takes less than
        that would make both slower.
        """
        if not self._running.acquire(blocking=False):
            return False
        try:
            if self._jobs:
                return False
            self._jobs.append(job)
            self._quiet.run(self._run_next)
            return True
        finally:
            self._running.release()

    def _run_next(self) -> None:
        """Run the oldest submission; with `_running` held."""
        try:
            timeline, value, recording, scalars, waits = self._jobs.popleft()
        except IndexError:
            return
        for other, _ in waits:
            timeline.failure = timeline.failure or other.failure
        if timeline.failure is None:
            try:
                recording.run(scalars)
            except BaseException as problem:
                timeline.failure = problem
        with self._state:
            if timeline.failure is None:
                timeline.value = value
            if self._waiting:
                self._changed.notify_all()

    def _work(self) -> None:
        np.seterr(all="ignore")
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: bool(self._jobs) or self._closing)
                if not self._jobs:
                    return
            with self._running:
                self._run_next()

    def wait(self, points: Sequence[tuple[HostTimeline, int]], timeout: float | None, interrupts: int) -> None:
        try:
            while self._jobs and not self._reached(points, interrupts) and self._help():
                if timeout is not None:
                    break  # the caller looks at its clock
        finally:
            if self._jobs:  # of others, or Ctrl-C came before this thread's own
                self._wake_worker()
        if not self._reached(points, interrupts):
            with self._changed:
                self._waiting += 1
                try:
                    self._changed.wait_for(lambda: self._reached(points, interrupts), timeout)
                finally:
                    self._waiting -= 1
        for timeline, _ in points:
            if timeline.failure is not None:
                raise timeline.failure

    def _help(self) -> bool:
        """Run the oldest submission on this thread, if no other runs one. Ctrl-C must wait: half of one cannot be run again."""
        with Uninterrupted():
            if not self._running.acquire(blocking=False):
                return False
            try:
                self._quiet.run(self._run_next)
            finally:
                self._running.release()
        return True

    def _reached(self, points: Sequence[tuple[HostTimeline, int]], interrupts: int) -> bool:
        for timeline, value in points:
            if timeline.value >= value or timeline.failure is not None:
                return True
        return self._interrupts > interrupts

    def interrupts(self) -> int:
        return self._interrupts

    def interrupt(self) -> None:
        with self._changed:
            self._interrupts += 1
            self._changed.notify_all()

    def kernel_seconds(self, recording: HostRecording) -> KernelTimes | None:
        return recording.kernel_seconds

    def leave(self) -> None:
        """Nothing is worth saving; the worker is a daemon and goes with the process."""

    def close(self) -> None:
        with self._arrived:
            self._closing = True
            self._arrived.notify()
        if self._worker is not None:
            self._worker.join()
        self._helpers.close()
