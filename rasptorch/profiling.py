"""Profiling: ``with rt.profile("trace.json") as p: ...`` and ``print(p.table())``.

What is recorded is what the engine does: enqueueing, planning, submitting, waiting, transfers, and the time of each kernel
on its device. The file opens in ``chrome://tracing`` and at https://ui.perfetto.dev.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Any

from .runtime import device as devices_
from .runtime.device import Device
from .runtime.trace import Span, Submission, Tracer, by_device, chrome_trace, kernel_times, length, place_on_host_clock
from .runtime.waiting import in_trio_task

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class KernelTotal:
    """All dispatches of one kernel on one device. Times in seconds; ``share`` of the device's measured kernel time."""

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

    ``device`` is how long it was busy; ``waiting`` how long threads blocked for it (together, each instant counted
    once); ``overlap`` how long it was busy while no thread blocked for it: what the program did besides came for free.
    ``measured`` is false where some of the device times are only bounds (no timestamps).
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


class profile:  # noqa: N801 - used as a function, like open()
    """Record what the engine does inside a ``with`` block.

    ``path``: where to write the trace (Chrome trace-event JSON) when the block is left; None: nowhere, see `save`.
    ``devices``: names or devices to watch; None: all that are open, and those that are opened inside the block.
    ``timestamps``: measure every kernel. Costs a little per kernel, and kernels that could run side by side do so less on
    some devices; without it, only whole submissions are seen, from outside.
    ``commands``: record each operation as it is enqueued (about a microsecond and 200 bytes each).

    Leaving the block waits for the work that was submitted; in a Trio task write ``async with``, else what is not done by
    then is marked as unfinished. When the block is left by an exception, nothing is waited for.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        devices: Sequence[str | Device] | None = None,
        *,
        timestamps: bool = True,
        commands: bool = True,
    ) -> None:
        self.path = path
        self.tracer = Tracer(timestamps, commands)
        self.seconds = 0.0
        self._names = devices
        self._watched: list[Device] = []

    # -- recording ------------------------------------------------------------------------------------------------
    def __enter__(self) -> profile:
        if self._watched or self.seconds:
            raise RuntimeError("a profile records one block: make a new one")
        chosen = devices_.opened() if self._names is None else [devices_.get(name) for name in self._names]
        self.tracer.origin = perf_counter()
        for device in dict.fromkeys(chosen):
            self._watch(device)
        if self._names is None:
            devices_.on_open.append(self._watch)
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None) -> None:
        try:
            if problem is None and not in_trio_task():
                for device in self._watched:
                    for fence in device.flush():
                        fence.wait()
        finally:
            self._leave()

    async def __aenter__(self) -> profile:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            if problem is None:
                for device in self._watched:
                    for fence in device.flush():
                        await fence
        finally:
            self._leave()

    def _watch(self, device: Device) -> None:
        self._watched.append(device)
        device.observers.add(self.tracer)

    def _leave(self) -> None:
        if self._names is None:
            devices_.on_open.remove(self._watch)
        for device in self._watched:
            for stream in list(device.streams):
                if stream.failure is None:
                    stream.retire()
            device.observers.remove(self.tracer)
        self.seconds = perf_counter() - self.tracer.origin
        self.tracer.forget()
        for submissions in by_device(self.tracer.submissions).values():
            place_on_host_clock(submissions)
        if self.path is not None:
            self.save(self.path)

    # -- results --------------------------------------------------------------------------------------------------
    def trace(self) -> dict[str, Any]:
        """The recording as a Chrome trace-event JSON object; times in microseconds from the start of the block."""
        return chrome_trace(self.tracer)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `trace` to a file."""
        with open(path, "w", encoding="utf-8") as out:
            json.dump(self.trace(), out, separators=(",", ":"))

    def kernels(self) -> list[KernelTotal]:
        """Totals per kernel and device, the longest first; empty without timestamps."""
        sums: dict[tuple[str, str, str], list[float]] = {}
        whole: dict[str, float] = {}
        for submission in self.tracer.submissions:
            for name, shape, began, ended in kernel_times(submission):
                entry = sums.setdefault((submission.device, name, shape), [0, 0.0])
                entry[0] += 1
                entry[1] += ended - began
                whole[submission.device] = whole.get(submission.device, 0.0) + ended - began
        totals = [
            KernelTotal(device, name, shape, int(count), total, total / whole[device] if whole[device] else 0.0)
            for (device, name, shape), (count, total) in sums.items()
        ]
        return sorted(totals, key=lambda t: -t.total)

    def devices(self) -> list[DeviceTotal]:
        """Totals per device, in the order they were used."""
        own = own_times(self.tracer.spans)
        return [_device_total(name, made, self.tracer, own) for name, made in by_device(self.tracer.submissions).items()]

    def table(self, rows: int = 30) -> str:
        """Both totals as text; at most ``rows`` kernels."""
        return "\n\n".join((_devices_text(self.devices(), self.seconds), _kernels_text(self.kernels(), rows)))


def own_times(spans: Sequence[Span]) -> list[float]:
    """Per span, its length without the spans of the same thread inside it. Awaits are no work and count in full."""
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


def _device_total(name: str, submissions: Sequence[Submission], tracer: Tracer, own: Sequence[float]) -> DeviceTotal:
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


# -- text -------------------------------------------------------------------------------------------------------------
def _aligned(rows: Sequence[Sequence[str]], left: int) -> str:
    """Columns; the first ``left`` of them start, the others end at one place."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(widths[k]) if k < left else cell.rjust(widths[k]) for k, cell in enumerate(row)) for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}"


def _devices_text(totals: Sequence[DeviceTotal], seconds: float) -> str:
    rows = [
        (
            "device", "submissions", "commands", "kernels", "enqueue", "plan", "record+submit", "host", "device", "wait",
            "overlap", "overlap %",
        )
    ]  # fmt: skip
    for t in totals:
        share = f"{100 * t.overlap / t.device:.0f}" if t.device else "-"
        rows.append(
            (
                t.name, str(t.submissions), str(t.commands), str(t.kernels), _ms(t.enqueue), _ms(t.plan), _ms(t.submit),
                _ms(t.enqueue + t.plan + t.submit), _ms(t.device) + ("" if t.measured else "*"), _ms(t.waiting),
                _ms(t.overlap), share,
            )
        )  # fmt: skip
    note = "" if all(t.measured for t in totals) else "\n* partly a bound: seen from outside, without timestamps"
    return f"{_ms(seconds)} ms in all; times in ms; overlap: device busy while no thread blocks for it\n{_aligned(rows, 1)}{note}"


def _kernels_text(totals: Sequence[KernelTotal], rows: int) -> str:
    if not totals:
        return "no kernel was measured"
    lines = [("kernel", "shape", "device", "count", "total", "mean", "share %")]
    lines += [
        (t.name, t.shape, t.device, str(t.count), _ms(t.total), _ms(t.mean), f"{100 * t.share:.1f}") for t in totals[:rows]
    ]
    rest = totals[rows:]
    if rest:
        count, total = sum(t.count for t in rest), sum(t.total for t in rest)
        lines.append((f"{len(rest)} more", "", "", str(count), _ms(total), _ms(total / count), ""))
    return _aligned(lines, 3)


# -- the command-line tool --------------------------------------------------------------------------------------------
def main(arguments: Sequence[str]) -> int:
    """``[-o trace.json] [--table] script.py [args...]``: run a script under the profiler; its exit status is ours."""
    import argparse

    parser = argparse.ArgumentParser("profile.py", description="Run a script and record what the engine does.")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write the trace (default: trace.json, unless --table)")
    parser.add_argument("--table", action="store_true", help="print a summary to standard error")
    parser.add_argument("--no-timestamps", action="store_true", help="do not measure single kernels")
    parser.add_argument("script")
    parser.add_argument("args", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    path = options.output or (None if options.table else "trace.json")
    recorded = profile(path, timestamps=not options.no_timestamps)
    status = _run(options.script, options.args, recorded)
    if options.table:
        print(recorded.table(), file=sys.stderr)
    if path is not None:
        print(f"trace written to {path}", file=sys.stderr)
    return status


def _run(script: str, arguments: Sequence[str], recorded: profile) -> int:
    """Run it as Python would, except that its exceptions pass through here."""
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    with recorded:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as leaving:
            if isinstance(leaving.code, str):
                print(leaving.code, file=sys.stderr)
                return 1
            return leaving.code or 0
    return 0
