"""A recording of what the engine did.

`Tracer` is an observer that keeps what it is told. `place_on_host_clock` puts what a device measured on the
clock of the host. `rasptorch.profile` is how users come by it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .observers import Observer

if TYPE_CHECKING:
    from .command import CommandSpec
    from .driver import KernelTimes
    from .fence import Fence
    from .plan.plan import Kernel, Plan
    from .stream import Stream

_LONGEST_PERIOD = 6  # operations that repeat inside a fused kernel are written once
_MOST_NAMES = 8


@dataclass(slots=True)
class Span:
    """Something a host thread did; times are ``perf_counter()`` seconds."""

    category: str  # "enqueue", "plan", "submit", "wait", "await"
    name: str
    began: float
    ended: float
    thread: int
    device: str
    stream: str
    arguments: dict[str, Any]


@dataclass(slots=True)
class Instant:
    """Something without a length: a transfer that was asked for, a failure."""

    category: str
    name: str
    at: float
    thread: int
    arguments: dict[str, Any]


@dataclass(slots=True)
class Submission:
    """One submission, from its driver call to when somebody saw that it was done.

    ``began`` and ``seconds`` are those of recording and submitting it. ``started`` and ``ended`` are the
    device's, filled in by `place_on_host_clock`; ``exact`` tells whether they were measured.
    """

    device: str
    stream: str
    value: int
    kernels: tuple[str, ...]
    shapes: tuple[str, ...]
    commands: int
    began: float
    seconds: float
    seen: float | None = None
    times: KernelTimes | None = None
    started: float = 0.0
    ended: float = 0.0
    exact: bool = False


@dataclass(slots=True)
class Tracer(Observer):
    """Keeps what it is told. One tracer may watch several devices; calls may come from any thread."""

    wants_timestamps: bool = True
    wants_commands: bool = True
    origin: float = field(default_factory=perf_counter)
    spans: list[Span] = field(default_factory=list)
    instants: list[Instant] = field(default_factory=list)
    submissions: list[Submission] = field(default_factory=list)
    threads: dict[int, str] = field(default_factory=dict)
    _open: dict[tuple[Stream, int], Submission] = field(default_factory=dict)
    _here: threading.local = field(default_factory=threading.local)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _streams: dict[Stream, str] = field(default_factory=dict)
    _planned: dict[Stream, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    _labels: dict[int, tuple[Plan, tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)

    def command_enqueued(self, stream: Stream, spec: CommandSpec, began: float, seconds: float) -> None:
        self._span(stream, "enqueue", spec.name, began, seconds, {})

    def batch_planned(self, stream: Stream, plan: Plan, commands: int, hit: bool, seconds: float) -> None:
        if not hit:
            found = {"commands": commands, "kernels": len(plan.kernels), "fused": plan.fused}
            # Streams tell of planning when they have submitted: `batch_submitted` comes next, with the time.
            self._planned[stream] = seconds, found

    def batch_submitted(
        self,
        stream: Stream,
        fence: Fence,
        plan: Plan,
        commands: int,
        reused: bool,
        began: float,
        seconds: float,
    ) -> None:
        _, names, shapes = self._labelled(plan)
        made = Submission(
            stream.device.name, self._label(stream), fence.value, names, shapes, commands, began, seconds
        )
        self.submissions.append(made)
        self._open[stream, fence.value] = made
        planned = self._planned.pop(stream, None)
        if planned is not None:
            planning, found = planned
            self._span(stream, "plan", "plan", began - planning, planning, found)
        told = {"submission": fence.value, "commands": commands, "recording": "reused" if reused else "made"}
        self._span(stream, "submit", "submit" if reused else "record, submit", began, seconds, told)

    def batch_finished(self, stream: Stream, fence: Fence, kernel_seconds: KernelTimes | None) -> None:
        found = self._open.pop((stream, fence.value), None)
        if found is not None:  # else it was submitted before the tracer came
            found.seen = perf_counter()
            found.times = kernel_seconds

    def waited(self, fence: Fence, began: float, seconds: float, blocking: bool) -> None:
        category = "wait" if blocking else "await"
        self._span(
            fence.stream,
            category,
            f"{category} submission {fence.value}",
            began,
            seconds,
            {"submission": fence.value},
        )

    def transferred(self, stream: Stream, direction: str, nbytes: int) -> None:
        self._instant(stream, "transfer", direction, {"bytes": nbytes})

    def stream_failed(self, stream: Stream, failure: BaseException) -> None:
        self._instant(stream, "failure", "stream failed", {"error": f"{type(failure).__name__}: {failure}"})

    def forget(self) -> None:
        """The recording is over: let go of the engine's objects, keep what was recorded."""
        self._open.clear()
        self._streams.clear()
        self._labels.clear()

    def _span(
        self,
        stream: Stream,
        category: str,
        name: str,
        began: float,
        seconds: float,
        arguments: dict[str, Any],
    ) -> None:
        self.spans.append(
            Span(
                category,
                name,
                began,
                began + seconds,
                self._thread(),
                stream.device.name,
                self._label(stream),
                arguments,
            )
        )

    def _instant(self, stream: Stream, category: str, name: str, arguments: dict[str, Any]) -> None:
        told = {"device": stream.device.name, "stream": self._label(stream), **arguments}
        self.instants.append(Instant(category, name, perf_counter(), self._thread(), told))

    def _label(self, stream: Stream) -> str:
        """The stream's name, with a number where another stream has the same."""
        label = self._streams.get(stream)
        if label is None:
            same = sum(other.name == stream.name for other in self._streams)
            label = self._streams[stream] = f"{stream.name} ({same + 1})" if same else stream.name
        return label

    def _thread(self) -> int:
        """A number of the calling thread's own. The system's numbers are given out again when threads end."""
        found: int | None = getattr(self._here, "number", None)
        if found is None:
            found = self._here.number = next(self._numbers)
            self.threads[found] = threading.current_thread().name
        return found

    def _labelled(self, plan: Plan) -> tuple[Plan, tuple[str, ...], tuple[str, ...]]:
        """Names and shapes of a plan's kernels. The plan is kept too, so that its id stays its own."""
        found = self._labels.get(id(plan))
        if found is None:
            kernels = plan.kernels
            found = plan, tuple(map(kernel_name, kernels)), tuple(map(kernel_shape, kernels))
            self._labels[id(plan)] = found
        return found


# -- what kernels are called ---------------------------------------------------------------------------------
def kernel_kind(kernel: Kernel) -> str:
    """``elementwise``, ``reduce``, ``matmul``, or the name of the hand-written kernel."""
    shader = getattr(kernel, "shader", None)
    return type(kernel).__name__.removesuffix("Kernel").lower() if shader is None else str(shader)


def kernel_name(kernel: Kernel) -> str:
    """The operations a kernel came from; what repeats is written once: ``(mul+add)x100``."""
    return _repeated(kernel.names)


def _repeated(names: Sequence[str]) -> str:
    for period in range(1, min(_LONGEST_PERIOD, len(names) // 2) + 1):
        times, rest = divmod(len(names), period)
        if rest == 0 and list(names) == list(names[:period]) * times:
            head = "+".join(names[:period])
            return f"{head}x{times}" if period == 1 else f"({head})x{times}"
    if len(names) <= _MOST_NAMES:
        return "+".join(names)
    return "+".join(names[: _MOST_NAMES - 1]) + f"+{len(names) - _MOST_NAMES + 1} more"


def kernel_shape(kernel: Kernel) -> str:
    """What it runs over: ``64x64``, ``10 <- 10x512`` for reductions, ``64x512x784`` (rows, columns, depth)
    for matmul.
    """
    known: Any = kernel
    if hasattr(kernel, "kept"):
        return f"{_times(known.kept)} <- {_times((*known.kept, *known.reduced))}" + (
            f" in {known.splits}" if known.splits > 1 else ""
        )
    if hasattr(kernel, "depth"):
        return _times((*known.batch, known.rows, known.columns, known.depth))
    return _times(known.shape) if hasattr(kernel, "shape") else ""


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "1"


# -- device time on the host's clock -------------------------------------------------------------------------
def place_on_host_clock(submissions: Sequence[Submission]) -> None:
    """Fill in ``started`` and ``ended`` of the submissions of one device.

    A device's own clock runs beside the host's at an unknown distance, but no submission can start before its
    driver call or end after it was seen to be done: these bounds hold the distance within a few microseconds
    once the device has been idle before a submission. Where 0 is within them, the device uses the host's
    clock (software devices do). Without times, a submission is taken to last from its driver call, or the end
    of the one before, until it was seen done.
    """
    own = [s for s in submissions if s.times is not None and not s.times.thread]
    low = max((s.began - s.times.began for s in own if s.times is not None), default=0.0)
    high = min(
        (s.seen - s.times.began - sum(s.times) for s in own if s.times is not None and s.seen is not None),
        default=inf,
    )
    distance = 0.0 if low <= 0.0 <= high else low
    before = -inf
    for s in sorted(submissions, key=lambda s: s.began):
        if s.times is not None:
            s.started = s.times.began + (0.0 if s.times.thread else distance)
            s.ended = s.started + sum(s.times)
            s.exact = True
        else:
            s.started = max(s.began + s.seconds, before)
            s.ended = max(s.started, s.seen if s.seen is not None else s.started)
        before = max(before, s.ended)


def kernel_times(submission: Submission) -> Iterator[tuple[str, str, float, float]]:
    """Name, shape, start and end of every dispatch that was measured; after `place_on_host_clock`."""
    times = submission.times
    if times is None:
        return
    known = len(times) == len(submission.kernels)
    at = submission.started
    for number, seconds in enumerate(times):
        name, shape = (
            (submission.kernels[number], submission.shapes[number]) if known else (f"dispatch {number}", "")
        )
        yield name, shape, at, at + seconds
        at += seconds


def by_device(submissions: Sequence[Submission]) -> dict[str, list[Submission]]:
    found: dict[str, list[Submission]] = {}
    for submission in submissions:
        found.setdefault(submission.device, []).append(submission)
    return found


# -- arithmetic with intervals -------------------------------------------------------------------------------
def union(intervals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The intervals, sorted and joined where they meet."""
    joined: list[tuple[float, float]] = []
    for began, ended in sorted(intervals):
        if joined and began <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], ended))
        else:
            joined.append((began, ended))
    assert all(a[1] < b[0] for a, b in pairwise(joined))
    return joined


def length(intervals: Sequence[tuple[float, float]]) -> float:
    """How much of the clock the intervals cover, counted once where they overlap."""
    return sum(ended - began for began, ended in union(intervals))
