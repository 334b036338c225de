"""A driver for tests: submissions finish when the test says so, in the order it says.

Kernels run on the host, as the cpu device runs them, but inside `ManualDriver.finish`; until then a submission stays
unfinished, so that cancellation, back-pressure, deletion in flight, failures and lack of memory can be tested without
chance. A ``null`` driver runs nothing and is done at once: what is left is what the engine itself costs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from . import device as devices
from . import settings
from .buffer import Block, Buffer, Memory
from .device import Device
from .driver import Driver, KernelTimes, Traits
from .host.record import HostRecording, record
from .host.scratch import Arena

if TYPE_CHECKING:
    from .plan.plan import Plan
    from .statistics import Statistics

_numbers = count(1)


class ManualError(Exception):
    """The test asked for something that cannot happen on a device."""


class ManualTimeline:
    """Numbered in the order they are made: a device's default stream has timeline 0."""

    __slots__ = ("number", "submitted", "value")

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self.value = 0
        self.submitted = 0

    def __repr__(self) -> str:
        return f"timeline {self.number}"

    def completed(self) -> int:
        return self.value


@dataclass(frozen=True, slots=True)
class Event:
    """``what`` is ``submitted``, ``finished`` or ``failed``."""

    what: str
    timeline: ManualTimeline
    value: int


@dataclass(frozen=True, slots=True)
class Submission:
    timeline: ManualTimeline
    value: int
    recording: HostRecording
    scalars: tuple[float, ...]
    waits: tuple[tuple[ManualTimeline, int], ...]

    def __str__(self) -> str:
        return f"submission {self.value} of {self.timeline}"


class ManualDriver:
    """``log`` is what happened so far; ``blocks`` are the allocated blocks; ``memory_limit`` is in bytes (None: no limit).

    ``automatic`` finishes every submission as it comes. Keyword arguments that are left over replace entries of `Traits`.
    """

    name = "manual"
    threads = 1

    def __init__(self, *, null: bool = False, automatic: bool = False, **traits: Any) -> None:
        plain = Traits(name="manual", kind="host", alignment=64, parallelism=0, reduce_chunk=1 << 62, reentrant_recordings=True)
        self.traits = replace(plain, **traits)
        self.null: Final = null
        self.automatic = automatic or null
        self.timestamps = False
        self.arenas: Final = [Arena()]
        self.memory_limit: int | None = None
        self.closed = False
        self.log: list[Event] = []
        self.blocks: dict[int, Block] = {}
        self.timelines: list[ManualTimeline] = []
        self.failure: BaseException | None = None
        self._next_failure: BaseException | None = None
        self._next_submit_failure: BaseException | None = None
        self._unfinished: list[Submission] = []
        self._changed = threading.Condition()
        self._interrupts = 0
        self._waiting: list[Callable[[], bool]] = []

    # -- what tests do --------------------------------------------------------------------------------------------
    def give_up(self) -> None:
        """Finish what can be finished; forget planned failures and the rest. For the end of a test, however it ended."""
        with self._changed:
            self._next_failure = self._next_submit_failure = None
            if self.failure is None:
                self.finish_all()
            self._unfinished.clear()

    @property
    def unfinished(self) -> list[tuple[ManualTimeline, int]]:
        """Timeline and value of what was submitted and is neither finished nor failed, oldest first."""
        with self._changed:
            return [(s.timeline, s.value) for s in self._unfinished]

    def finish(self, count: int = 1, timeline: ManualTimeline | None = None) -> None:
        """Run and finish the ``count`` oldest unfinished submissions, of ``timeline`` if that is given.

        Raises `ManualError` where there are not so many, or where one still waits for another timeline.
        """
        with self._changed:
            for _ in range(count):
                mine = [s for s in self._unfinished if timeline is None or s.timeline is timeline]
                if not mine:
                    raise ManualError(f"nothing is left to finish{'' if timeline is None else f' on {timeline}'}")
                self._finish(mine[0])

    def finish_all(self) -> int:
        """Finish everything, oldest first; returns how many submissions that were."""
        done = 0
        with self._changed:
            while self._unfinished:
                self._finish(self._unfinished[0])
                done += 1
        return done

    def fail(self, problem: BaseException) -> None:
        """The next submission to finish fails instead, and with it the device: nothing finishes after it."""
        with self._changed:
            self._next_failure = problem

    def fail_submit(self, problem: BaseException) -> None:
        """The next `submit` raises."""
        self._next_submit_failure = problem

    def until_waiting(self, threads: int = 1, timeout: float = 20.0) -> None:
        """Return once so many threads are blocked in `wait`; `ManualError` after ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._blocked() >= threads, timeout):
                raise ManualError(f"{self._blocked()} threads wait, not {threads}")

    def _blocked(self) -> int:
        """Threads inside `wait` that nothing has woken yet."""
        return sum(not awake() for awake in self._waiting)

    def order(self, what: str = "finished") -> list[tuple[int, int]]:
        """(timeline number, value) of the events of one kind, in the order they happened."""
        with self._changed:
            return [(e.timeline.number, e.value) for e in self.log if e.what == what]

    # -- memory ---------------------------------------------------------------------------------------------------
    @property
    def allocated(self) -> int:
        """Bytes in blocks that were not given back."""
        return sum(block.nbytes for block in self.blocks.values())

    def allocate(self, nbytes: int, memory: Memory) -> Block:
        if self.memory_limit is not None and self.allocated + nbytes > self.memory_limit:
            raise MemoryError(f"{nbytes:,} bytes more than the {self.memory_limit:,} there are")
        raw = np.empty(nbytes + 64, np.uint8)
        start = -raw.ctypes.data % 64
        block = Block(nbytes, memory, raw, raw[start : start + nbytes])
        self.blocks[block.key] = block
        return block

    def free(self, block: Block) -> None:
        if self.blocks.pop(block.key, None) is None:
            raise ManualError(f"block {block.key} was given back twice, or is not of this driver")

    # -- work -----------------------------------------------------------------------------------------------------
    def together(self, parts: Sequence[Callable[[], object]]) -> None:
        (part,) = parts  # one thread, one part
        part()

    def timeline(self) -> ManualTimeline:
        made = ManualTimeline(len(self.timelines))
        self.timelines.append(made)
        return made

    def drop(self, timeline: ManualTimeline) -> None:
        """Nothing to do: tests may still want to look at it."""

    def record(self, plan: Plan, buffers: Sequence[Buffer], statistics: Statistics) -> HostRecording:
        if self.null:
            made = HostRecording([])
            made.dispatches = len(plan.kernels)
            return made
        return record(plan, buffers, self)

    def submit(
        self, timeline: ManualTimeline, value: int, recording: HostRecording, scalars: Sequence[float],
        waits: Sequence[tuple[ManualTimeline, int]], statistics: Statistics, waited: bool = False,
    ) -> None:  # fmt: skip
        problem, self._next_submit_failure = self._next_submit_failure, None
        if problem is not None:
            raise problem
        with self._changed:
            if value <= timeline.submitted:
                raise ManualError(f"value {value} submitted to {timeline} after {timeline.submitted}")
            timeline.submitted = value
            self._unfinished.append(Submission(timeline, value, recording, tuple(scalars), tuple(waits)))
            statistics.dispatches += recording.dispatches
            self.log.append(Event("submitted", timeline, value))
            if self.automatic and self.failure is None:
                self._finish(self._unfinished[0])

    def _finish(self, submission: Submission) -> None:
        if self.failure is not None:
            raise ManualError(f"the device has failed ({self.failure!r}): nothing finishes any more")
        for timeline, value in submission.waits:
            if timeline.value < value:
                raise ManualError(f"{submission} waits for {value} on {timeline}, which is at {timeline.value}")
        problem, self._next_failure = self._next_failure, None
        if problem is None:
            try:
                with np.errstate(all="ignore"):
                    submission.recording.run(submission.scalars)
            except Exception as found:
                problem = found
        self._unfinished.remove(submission)
        if problem is None:
            submission.timeline.value = submission.value
        else:
            self.failure = problem
            self._unfinished.clear()
        what = "finished" if problem is None else "failed"
        self.log.append(Event(what, submission.timeline, submission.value))
        self._changed.notify_all()

    def wait(self, points: Sequence[tuple[ManualTimeline, int]], timeout: float | None, interrupts: int) -> None:
        def awake() -> bool:
            reached = any(timeline.value >= value for timeline, value in points)
            return reached or self.failure is not None or self._interrupts > interrupts

        with self._changed:
            self._waiting.append(awake)
            self._changed.notify_all()
            try:
                self._changed.wait_for(awake, timeout)
            finally:
                self._waiting.remove(awake)
            if self.failure is not None:
                raise self.failure

    def interrupts(self) -> int:
        return self._interrupts

    def interrupt(self) -> None:
        with self._changed:
            self._interrupts += 1
            self._changed.notify_all()

    def kernel_seconds(self, recording: HostRecording) -> KernelTimes | None:
        return recording.kernel_seconds

    def leave(self) -> None:
        self.close()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._unfinished.clear()


@contextmanager
def manual_device(driver: ManualDriver | None = None) -> Iterator[tuple[Device, ManualDriver]]:
    """A device of its own name on a `ManualDriver`, and that driver; what is unfinished at the end is finished, then closed."""
    manual = driver if driver is not None else ManualDriver()
    name, used = f"manual:{next(_numbers)}", _checked(manual)
    device = devices.register(Device(name, used))
    try:
        yield device, manual
    finally:
        manual.give_up()
        devices.forget(device)
        device.close()


def _checked(driver: ManualDriver) -> Driver:
    if not settings.current.check:
        return driver
    from .checked_driver import CheckedDriver

    return CheckedDriver(driver)
