"""Where the time went: totals per kernel, operation, device, wait and mark of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..runtime.statistics import Statistics
from ..runtime.trace import Site, Span, Submission, Tracer
from ..runtime.trace_clock import Interval, by_device, common, kernel_times, length, union, without

COMPUTING = 4.0  # operations per byte from which a kernel's speed is told in operations, not bytes


@dataclass(frozen=True, slots=True)
class KernelTotal:
    """All dispatches of one kernel on one device. Times in seconds; ``share`` of the device's kernel time.

    ``moved`` are the bytes its operands span, ``done`` about how many operations on numbers it does, all dispatches together.
    ``measured`` is false where some of them were not, and are taken to have lasted as long as those that were.
    """

    device: str
    name: str
    shape: str
    count: int
    total: float
    share: float
    moved: int
    done: int
    measured: bool

    @property
    def mean(self) -> float:
        return self.total / self.count

    @property
    def speed(self) -> tuple[float, str]:
        """What it reached: operations per second (``FLOP/s``) if it computes a lot per byte, else bytes per second (``B/s``)."""
        computes = self.done >= COMPUTING * self.moved
        return (self.done if computes else self.moved) / (self.total or 1.0), "FLOP/s" if computes else "B/s"


@dataclass(frozen=True, slots=True)
class OperationTotal:
    """Host time of enqueueing an operation from one line of the program."""

    name: str
    site: str
    count: int
    total: float


@dataclass(frozen=True, slots=True)
class WaitTotal:
    """Who waited where: a thread that was blocked (``blocking``), or a Trio task."""

    who: str
    site: str
    blocking: bool
    count: int
    total: float


@dataclass(frozen=True, slots=True)
class MarkTotal:
    """A stretch marked with `record_function`; ``beside`` is how much of it went on while a device computed for the program."""

    name: str
    count: int
    total: float
    beside: float


@dataclass(frozen=True, slots=True)
class DeviceTotal:
    """Where the time of one device went. Times in seconds.

    ``device`` is how long it was busy; ``host`` how long the program's threads worked (together, each instant counted once): neither
    blocked, nor idle in Trio, nor computing for a device themselves; ``overlap`` how long both were the case. So ``overlap / device``
    is the share of device time that is hidden behind the host's, ``overlap / host`` the reverse. ``waiting`` is how long threads
    blocked for the device. ``measured`` is false where some of the device times are estimates, or only bounds.
    """

    name: str
    submissions: int
    commands: int
    kernels: int
    barriers: int
    plan_hits: int
    plan_misses: int
    enqueue: float
    plan: float
    submit: float
    waiting: float
    device: float
    host: float
    overlap: float
    measured: bool


def kernel_totals(tracer: Tracer) -> list[KernelTotal]:
    """The longest first; empty where nothing was measured."""
    sums: dict[tuple[str, str, str], list[float]] = {}
    work: dict[tuple[str, str, str], tuple[int, int]] = {}
    whole: dict[str, float] = {}
    estimated: set[tuple[str, str, str]] = set()
    for submission in tracer.submissions:
        for _, kernel, began, ended in kernel_times(submission):
            key = submission.device, kernel.name, kernel.shape
            sums.setdefault(key, []).append(ended - began)
            moved, done = work.get(key, (0, 0))
            work[key] = moved + kernel.moved, done + kernel.done
            whole[submission.device] = whole.get(submission.device, 0.0) + ended - began
            if not submission.exact:
                estimated.add(key)
    totals = [
        KernelTotal(*key, len(times), sum(times), sum(times) / (whole[key[0]] or 1.0), moved, done, key not in estimated)
        for (key, times), (moved, done) in zip(sums.items(), work.values(), strict=True)
    ]
    return sorted(totals, key=lambda t: -t.total)


def operation_totals(tracer: Tracer) -> list[OperationTotal]:
    """The longest first."""
    sums: dict[tuple[str, str], list[float]] = {}
    for command in tracer.commands:
        sums.setdefault((command.name, place(command.site)), []).append(command.ended - command.began)
    totals = [OperationTotal(name, site, len(times), sum(times)) for (name, site), times in sums.items()]
    return sorted(totals, key=lambda t: -t.total)


def wait_totals(tracer: Tracer) -> list[WaitTotal]:
    """The longest first."""
    sums: dict[tuple[str, str, bool], list[float]] = {}
    for span in tracer.spans:
        if span.category in ("wait", "await"):
            who = span.arguments.get("task") or tracer.threads[span.thread]
            key = who, place(span.arguments.get("site")), span.category == "wait"
            sums.setdefault(key, []).append(span.ended - span.began)
    return sorted((WaitTotal(*key, len(times), sum(times)) for key, times in sums.items()), key=lambda t: -t.total)


def mark_totals(tracer: Tracer) -> list[MarkTotal]:
    """The longest first."""
    busy = union((s.started, s.ended) for s in tracer.submissions)
    sums: dict[str, list[Interval]] = {}
    for span in tracer.spans:
        if span.category in ("user", "user async"):
            sums.setdefault(span.name, []).append((span.began, span.ended))
    totals = [
        MarkTotal(name, len(spans), sum(e - b for b, e in spans), sum(length(common([s], busy)) for s in spans))
        for name, spans in sums.items()
    ]
    return sorted(totals, key=lambda t: -t.total)


def place(site: Site | None) -> str:
    """``file.py:12 function``."""
    if site is None:
        return ""
    name, line, function = site
    return f"{name.rsplit('/', 1)[-1]}:{line}" + ("" if function == "<module>" else f" {function}")


def device_totals(tracer: Tracer, counts: Mapping[str, Statistics]) -> list[DeviceTotal]:
    """In the order the devices were used. ``counts`` is what the engine counted meanwhile, by device."""
    own = own_times(tracer.spans)
    working = host_work(tracer)
    found = by_device(tracer.submissions)
    return [_device_total(name, made, tracer, own, working, counts.get(name, Statistics())) for name, made in found.items()]


def own_times(spans: Sequence[Span]) -> list[float]:
    """Per span, its length without the spans of the same thread inside it. Awaits are no work and count in full."""
    own = [span.ended - span.began for span in spans]
    inside: dict[int, list[int]] = {}
    order = sorted(
        (k for k, span in enumerate(spans) if span.category not in ("await", "user async")),
        key=lambda k: (spans[k].thread, spans[k].began, -spans[k].ended),
    )
    for k in order:
        span = spans[k]
        stack = inside.setdefault(span.thread, [])
        while stack and spans[stack[-1]].ended <= span.began:
            stack.pop()
        if stack:
            own[stack[-1]] -= span.ended - span.began
        stack.append(k)
    return own


def host_work(tracer: Tracer) -> list[Interval]:
    """When any thread of the program worked, as far as is known.

    The thread that began the recording works from its beginning to its end, except while it is blocked, while Trio has nothing for it
    to do, and while it computes for a device itself (small submissions of the cpu device run in the thread that submits them). Of
    other threads only what was seen counts: marks, enqueueing, planning, submitting, copying.
    """
    whole: dict[int, list[Interval]] = {tracer.main: [(tracer.origin, tracer.ended)]}
    away: dict[int, list[Interval]] = {}
    for span in tracer.spans:
        interval = span.began, span.ended
        if span.category in ("wait", "idle"):
            away.setdefault(span.thread, []).append(interval)
        elif span.category not in ("await", "user async") and span.thread != tracer.main:
            whole.setdefault(span.thread, []).append(interval)
    for command in tracer.commands:
        if command.thread != tracer.main:
            whole.setdefault(command.thread, []).append((command.began, command.ended))
    for submission in tracer.submissions:
        if computed_here(submission, tracer):
            away.setdefault(submission.thread, []).append((submission.started, submission.ended))
    return union(
        interval for thread, seen in whole.items() for interval in without(union(seen), union(away.get(thread, ())))
    )


def computed_here(submission: Submission, tracer: Tracer) -> bool:
    """Whether the thread that submitted it computed it right then."""
    times = submission.times
    if times is None or times.thread != tracer.threads[submission.thread]:
        return False
    return submission.began <= submission.started and submission.ended <= submission.began + submission.seconds


def _device_total(
    name: str, submissions: Sequence[Submission], tracer: Tracer, own: Sequence[float], working: Sequence[Interval],
    counts: Statistics,
) -> DeviceTotal:  # fmt: skip
    sums: dict[str, float] = {}
    waits: list[Interval] = []
    for span, seconds in zip(tracer.spans, own, strict=True):
        if span.where.device == name:
            sums[span.category] = sums.get(span.category, 0.0) + seconds
            if span.category == "wait":
                waits.append((span.began, span.ended))
    busy = union((s.started, s.ended) for s in submissions)
    return DeviceTotal(
        name=name,
        submissions=len(submissions),
        commands=sum(s.commands for s in submissions),
        kernels=sum(len(s.labels.kernels) for s in submissions),
        barriers=counts.barriers,
        plan_hits=counts.plan_hits,
        plan_misses=counts.plan_misses,
        enqueue=_enqueueing(tracer, name),
        plan=sums.get("plan", 0.0),
        submit=sums.get("record", 0.0) + sums.get("submit", 0.0) - _computing(submissions, tracer),
        waiting=length(waits),
        device=length(busy),
        host=length(working),
        overlap=length(common(working, busy)),
        measured=all(s.exact for s in submissions),
    )


def _enqueueing(tracer: Tracer, device: str) -> float:
    return sum(command.ended - command.began for command in tracer.commands if command.where.device == device)


def _computing(submissions: Iterable[Submission], tracer: Tracer) -> float:
    """How much of the time of submitting was computing."""
    return sum(s.ended - s.started for s in submissions if computed_here(s, tracer))
