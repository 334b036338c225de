"""Where the time went: totals per kernel and per device of a recording, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .runtime.trace import Span, Submission, Tracer, by_device, kernel_times, length

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class KernelTotal:
    """All dispatches of one kernel on one device. Times in seconds; ``share`` of the device's measured kernel
    time.
    """

    device: str
    name: str
    shape: str
    count: int
    total: float
    share: float

    @property
    def mean(self) -> float:
        return self.total / self.count


@dataclass(frozen=True, slots=True)
class DeviceTotal:
    """Where the time of one device went. Times in seconds.

    ``device`` is how long it was busy; ``waiting`` how long threads blocked for it (together, each instant
    counted once); ``overlap`` how long it was busy while no thread blocked for it: what the program did
    besides came for free. ``measured`` is false where some of the device times are only bounds (no
    timestamps).
    """

    name: str
    submissions: int
    commands: int
    kernels: int
    enqueue: float
    plan: float
    submit: float
    waiting: float
    device: float
    overlap: float
    measured: bool


def kernel_totals(tracer: Tracer) -> list[KernelTotal]:
    """The longest first; empty where nothing was measured."""
    sums: dict[tuple[str, str, str], list[float]] = {}
    whole: dict[str, float] = {}
    for submission in tracer.submissions:
        for name, shape, began, ended in kernel_times(submission):
            entry = sums.setdefault((submission.device, name, shape), [])
            entry.append(ended - began)
            whole[submission.device] = whole.get(submission.device, 0.0) + ended - began
    totals = [
        KernelTotal(device, name, shape, len(times), sum(times), sum(times) / (whole[device] or 1.0))
        for (device, name, shape), times in sums.items()
    ]
    return sorted(totals, key=lambda t: -t.total)


def device_totals(tracer: Tracer) -> list[DeviceTotal]:
    """In the order the devices were used."""
    own = own_times(tracer.spans)
    return [_device_total(name, made, tracer, own) for name, made in by_device(tracer.submissions).items()]


def own_times(spans: Sequence[Span]) -> list[float]:
    """Per span, its length without the spans of the same thread inside it. Awaits are no work and count in
    full.
    """
    own = [span.ended - span.began for span in spans]
    inside: dict[int, list[int]] = {}
    order = sorted(
        (k for k, span in enumerate(spans) if span.category != "await"),
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


def _device_total(
    name: str, submissions: Sequence[Submission], tracer: Tracer, own: Sequence[float]
) -> DeviceTotal:
    sums = dict.fromkeys(("enqueue", "plan", "submit", "wait", "await"), 0.0)
    waits: list[Interval] = []
    for span, seconds in zip(tracer.spans, own, strict=True):
        if span.device == name:
            sums[span.category] += seconds
            if span.category == "wait":
                waits.append((span.began, span.ended))
    busy = [(s.started, s.ended) for s in submissions]
    both = length(busy) + length(waits) - length([*busy, *waits])
    return DeviceTotal(
        name=name,
        submissions=len(submissions),
        commands=sum(s.commands for s in submissions),
        kernels=sum(len(s.kernels) for s in submissions),
        enqueue=sums["enqueue"],
        plan=sums["plan"],
        submit=sums["submit"],
        waiting=length(waits),
        device=length(busy),
        overlap=length(busy) - both,
        measured=all(s.exact for s in submissions),
    )


# -- text ----------------------------------------------------------------------------------------------------
def _aligned(rows: Sequence[Sequence[str]], left: int) -> str:
    """Columns; the first ``left`` of them start, the others end at one place."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(widths[k]) if k < left else cell.rjust(widths[k]) for k, cell in enumerate(row))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}"


def devices_text(totals: Sequence[DeviceTotal], seconds: float) -> str:
    rows = [
        (
            "device",
            "submissions",
            "commands",
            "kernels",
            "enqueue",
            "plan",
            "record+submit",
            "host",
            "device",
            "wait",
            "overlap",
            "overlap %",
        )
    ]
    for t in totals:
        share = f"{100 * t.overlap / t.device:.0f}" if t.device else "-"
        rows.append(
            (
                t.name,
                str(t.submissions),
                str(t.commands),
                str(t.kernels),
                _ms(t.enqueue),
                _ms(t.plan),
                _ms(t.submit),
                _ms(t.enqueue + t.plan + t.submit),
                _ms(t.device) + ("" if t.measured else "*"),
                _ms(t.waiting),
                _ms(t.overlap),
                share,
            )
        )
    note = (
        "" if all(t.measured for t in totals) else "\n* partly a bound: seen from outside, without timestamps"
    )
    head = f"{_ms(seconds)} ms in all; times in ms; overlap: device busy while no thread blocks for it"
    return f"{head}\n{_aligned(rows, 1)}{note}"


def kernels_text(totals: Sequence[KernelTotal], rows: int) -> str:
    if not totals:
        return "no kernel was measured"
    lines = [("kernel", "shape", "device", "count", "total", "mean", "share %")]
    lines += [
        (t.name, t.shape, t.device, str(t.count), _ms(t.total), _ms(t.mean), f"{100 * t.share:.1f}")
        for t in totals[:rows]
    ]
    rest = totals[rows:]
    if rest:
        count, total = sum(t.count for t in rest), sum(t.total for t in rest)
        lines.append((f"{len(rest)} more", "", "", str(count), _ms(total), _ms(total / count), ""))
    return _aligned(lines, 3)
