"""``RASPTORCH_CHECK=1``: a driver around the real one that holds the engine to its contract.

Plans are checked when they are recorded (`runtime.plan.check`); here is what needs the course of events: memory used after it
was given back, buffers that change hands while unfinished work uses them, submissions that race with those of another
stream, recordings submitted while they run. Memory that nobody uses is filled with 0xFF when it changes hands, so that whoever
reads it before writing sees NaN. `CheckFailed` says what happened.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .buffer import Block, Buffer, Memory
from .driver import Driver, KernelTimes
from .errors import CheckFailed
from .plan.check import check_plan, title

if TYPE_CHECKING:
    from .plan.plan import Plan
    from .statistics import Statistics
    from .stream import Stream

POISON = 0xFF


class Ranges:
    """The bytes a recording uses, by block: sorted, not overlapping, each with whether it is written.

    Outputs may have been carved from the arena: they are part of it here.
    """

    def __init__(self, plan: Plan, buffers: Sequence[Buffer]) -> None:
        written = set(plan.written)
        writes = [value in written for value in plan.bound] + [True]  # the arena
        self._blocks: dict[int, list[tuple[int, int, bool]]] = {}
        for buffer, write in zip(buffers, writes, strict=False):
            piece = (buffer.offset, buffer.offset + buffer.nbytes, write)
            self._blocks.setdefault(buffer.block.key, []).append(piece)
        for block, pieces in self._blocks.items():
            self._blocks[block] = _joined(sorted(pieces))

    def meeting(self, block: int, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """The pieces of ``block`` that share bytes with ``[start, end)``."""
        pieces = self._blocks.get(block, ())
        at = max(0, bisect_right(pieces, (start, 1 << 63, True)) - 1)
        for piece in pieces[at:]:
            if piece[0] >= end:
                return
            if piece[1] > start:
                yield piece

    def conflict(self, other: Ranges) -> tuple[int, int, int] | None:
        """Block, start and end of bytes that both use and one of them writes."""
        for block in self._blocks.keys() & other._blocks.keys():
            for start, end, writes in self._blocks[block]:
                for other_start, other_end, other_writes in other.meeting(block, start, end):
                    if writes or other_writes:
                        return block, max(start, other_start), min(end, other_end)
        return None


def _joined(pieces: list[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
    """Sorted pieces, those that overlap made one."""
    out: list[tuple[int, int, bool]] = []
    for start, end, write in pieces:
        if out and start < out[-1][1]:
            first, last, also = out[-1]
            out[-1] = first, max(last, end), also or write
        else:
            out.append((start, end, write))
    return out


class CheckedRecording:
    """A recording with what it uses, and the last submission of it."""

    def __init__(self, inner: Any, plan: Plan, buffers: Sequence[Buffer]) -> None:
        self.inner = inner
        self.ranges = Ranges(plan, buffers)
        self.blocks = [buffer.block for buffer in buffers]
        self.names = ", ".join(title(kernel) for kernel in plan.kernels[:3])
        self.last: tuple[Any, int] | None = None
        self.released = False

    def busy(self) -> bool:
        return self.last is not None and self.last[0].completed() < self.last[1]

    def release(self) -> None:
        if self.released:
            raise CheckFailed(f"the recording of {self.names} was released twice")
        self.released = True
        self.inner.release()


@dataclass(eq=False, slots=True)
class _Submission:
    """``after`` is what is sure to be done when it begins: a value per timeline."""

    timeline: Any
    value: int
    recording: CheckedRecording
    after: dict[Any, int]

    def done(self) -> bool:
        return bool(self.timeline.completed() >= self.value)


class CheckedDriver:
    """Passes everything on to ``inner``; the device also calls `handed_out` for each buffer the pool hands out."""

    def __init__(self, inner: Driver) -> None:
        self.inner = inner
        self.name = inner.name
        self.traits = inner.traits
        self._freed: set[int] = set()
        self._unfinished: list[_Submission] = []
        self._submitted: dict[Any, int] = {}
        self._after: dict[Any, dict[Any, int]] = {}
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def timestamps(self) -> bool:
        return self.inner.timestamps

    @timestamps.setter
    def timestamps(self, value: bool) -> None:
        self.inner.timestamps = value

    # -- memory ---------------------------------------------------------------------------------------------------
    def allocate(self, nbytes: int, memory: Memory) -> Block:
        return self.inner.allocate(nbytes, memory)

    def free(self, block: Block) -> None:
        if block.key in self._freed:
            raise CheckFailed(f"block {block.key} was given back twice")
        self._still_used(block.key, 0, block.nbytes, None, "was given back to the driver")
        self._freed.add(block.key)
        self.inner.free(block)

    def handed_out(self, buffer: Buffer, stream: Stream | None) -> None:
        """The pool gives ``buffer`` to commands of ``stream``, or to the host where that is None."""
        block, start, end = buffer.block.key, buffer.offset, buffer.offset + buffer.nbytes
        if block in self._freed:
            raise CheckFailed(f"a buffer was cut from block {block}, which was given back")
        timeline = None if stream is None else stream.timeline
        who = "the host" if stream is None else stream.name
        idle = self._still_used(block, start, end, timeline, f"was handed to {who}")
        if idle and buffer.mapped and buffer.block.memory is not Memory.UPLOAD:
            buffer.view(buffer.nbytes)[:] = POISON

    def _still_used(self, block: int, start: int, end: int, timeline: Any, what: str) -> bool:
        """Whether nobody uses the bytes; `CheckFailed` where somebody does who is not on ``timeline``."""
        idle = True
        for submission in self._running():
            for piece in submission.recording.ranges.meeting(block, start, end):
                idle = False
                if submission.timeline is not timeline:
                    raise CheckFailed(
                        f"bytes {piece[0]} to {piece[1]} of block {block}: {start} to {end} {what} while submission "
                        f"{submission.value} ({submission.recording.names}) still uses them"
                    )
        return idle

    def _running(self) -> list[_Submission]:
        """What is submitted and not done. A failed device has nothing to be held to."""
        self._unfinished = [] if self._failed else [s for s in self._unfinished if not s.done()]
        return self._unfinished

    # -- work -----------------------------------------------------------------------------------------------------
    def timeline(self) -> Any:
        return self.inner.timeline()

    def drop(self, timeline: Any) -> None:
        self.inner.drop(timeline)

    def record(self, plan: Plan, buffers: Sequence[Buffer], statistics: Statistics) -> CheckedRecording:
        check_plan(plan, buffers, self.traits)
        for buffer in buffers:
            if buffer.block.key in self._freed:
                raise CheckFailed(f"a plan was bound to block {buffer.block.key}, which was given back")
        return CheckedRecording(self.inner.record(plan, buffers, statistics), plan, buffers)

    def submit(
        self, timeline: Any, value: int, recording: CheckedRecording, scalars: Sequence[float],
        waits: Sequence[tuple[Any, int]], statistics: Statistics, waited: bool = False,
    ) -> None:  # fmt: skip
        self._check_recording(recording)
        before = self._submitted.get(timeline, 0)
        if value <= before:
            raise CheckFailed(f"submission {value} ({recording.names}) comes after {before} on one timeline")
        after = dict(self._after.get(timeline, ()))
        after[timeline] = before
        for other, wanted in waits:
            if wanted > self._submitted.get(other, 0):
                raise CheckFailed(f"submission {value} ({recording.names}) waits for {wanted}, which nobody has submitted")
            self._add_wait(after, other, wanted)
        made = _Submission(timeline, value, recording, after)
        self._check_races(made)
        try:
            self.inner.submit(timeline, value, recording.inner, scalars, waits, statistics, waited)
        except BaseException:
            self._failed = True
            raise
        self._submitted[timeline], self._after[timeline] = value, after
        self._unfinished.append(made)
        recording.last = (timeline, value)

    def _check_recording(self, recording: CheckedRecording) -> None:
        if recording.released:
            raise CheckFailed(f"the recording of {recording.names} was submitted after its release")
        for block in recording.blocks:
            if block.key in self._freed:
                raise CheckFailed(f"{recording.names} use block {block.key}, which was given back")
        if recording.busy() and not self.traits.reentrant_recordings and not self._failed:
            raise CheckFailed(f"the recording of {recording.names} was submitted while it runs")

    def _add_wait(self, after: dict[Any, int], timeline: Any, value: int) -> None:
        """A wait brings with it everything that the submission waited for came after."""
        after[timeline] = max(value, after.get(timeline, 0))
        for submission in self._unfinished:
            if submission.timeline is timeline and submission.value <= value:
                for other, reached in submission.after.items():
                    after[other] = max(reached, after.get(other, 0))

    def _check_races(self, made: _Submission) -> None:
        for other in self._running():
            if made.after.get(other.timeline, 0) >= other.value:
                continue
            found = other.recording.ranges.conflict(made.recording.ranges)
            if found is not None:
                raise CheckFailed(
                    f"submission {made.value} ({made.recording.names}) does not wait for submission {other.value} of another "
                    f"stream ({other.recording.names}), and both use bytes {found[1]} to {found[2]} of block {found[0]}"
                )

    # -- waiting --------------------------------------------------------------------------------------------------
    def wait(self, points: Sequence[tuple[Any, int]], timeout: float | None, interrupts: int) -> None:
        try:
            self.inner.wait(points, timeout, interrupts)
        except Exception:
            self._failed = True
            raise

    def interrupts(self) -> int:
        return self.inner.interrupts()

    def interrupt(self) -> None:
        self.inner.interrupt()

    def kernel_seconds(self, recording: CheckedRecording) -> KernelTimes | None:
        return self.inner.kernel_seconds(recording.inner)

    def close(self) -> None:
        self.inner.close()

    def leave(self) -> None:
        self.inner.leave()
