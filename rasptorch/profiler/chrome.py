"""A recording as the JSON that ``chrome://tracing`` and Perfetto open.

Format: "Trace Event Format", Google, 2016. The host's threads are one process; every device is another, with
a row per stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from ..runtime.trace import Command, Submission, Tracer
from ..runtime.trace_clock import by_device, kernel_times
from .totals import place

HOST_PROCESS = 1
_ASYNCHRONOUS = ("await", "user async")  # tasks of one thread take turns: events of their own, which need not nest


class _Writer:
    """Events with whole nanoseconds from ``origin``: starts and ends are rounded alike, so what nests stays
    nested.
    """

    def __init__(self, origin: float, shared: Mapping[int, int]) -> None:
        self._origin = origin
        self._shared = shared
        self.about: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self._tracks: dict[tuple[int, object], int] = {}

    def nanoseconds(self, at: float) -> int:
        return max(0, round((at - self._origin) * 1e9))

    def add(
        self, phase: str, name: str, category: str, at: float, process: int, track: int, **more: Any
    ) -> None:
        self.events.append(
            {
                "ph": phase,
                "name": name,
                "cat": category,
                "ts": self.nanoseconds(at) / 1000,
                "pid": process,
                "tid": track,
                **more,
            }
        )

    def span(
        self,
        name: str,
        category: str,
        began: float,
        ended: float,
        process: int,
        track: int,
        arguments: dict[str, Any],
    ) -> None:
        length = (self.nanoseconds(ended) - self.nanoseconds(began)) / 1000
        self.add("X", name, category, began, process, track, dur=length, args=arguments)

    def process(self, number: int, name: str) -> None:
        self._about("process_name", number, 0, name=name)
        self._about("process_sort_index", number, 0, sort_index=number)

    def track(self, process: int, key: object, name: str) -> int:
        """The number of a row of a process; named when first asked for."""
        found = self._tracks.get((process, key))
        if found is None:
            found = self._tracks[process, key] = sum(p == process for p, _ in self._tracks) + 1
            self._about("thread_name", process, found, name=name)
        return found

    def thread(self, tracer: Tracer, thread: int) -> int:
        """The row of a thread of the host."""
        return self.track(HOST_PROCESS, self._shared.get(thread, thread), tracer.threads[thread])

    def _about(self, what: str, process: int, track: int, **arguments: Any) -> None:
        self.about.append({"ph": "M", "name": what, "pid": process, "tid": track, "args": arguments})


def chrome_trace(tracer: Tracer) -> dict[str, Any]:
    """The recording as a JSON object: the host's threads as one process, then a process per device, a row per
    stream. Events come in the order of their beginnings.
    """
    writer = _Writer(tracer.origin, shared_rows(tracer))
    writer.process(HOST_PROCESS, "host")
    writer.track(HOST_PROCESS, tracer.main, tracer.threads.get(tracer.main, "thread"))
    _write_host(writer, tracer)
    for number, (device, submissions) in enumerate(by_device(tracer.submissions).items(), HOST_PROCESS + 1):
        writer.process(number, device)
        for submission in submissions:
            _write_submission(writer, tracer, number, submission)
        _write_counters(writer, tracer, number, device)
    events = [*writer.about, *sorted(writer.events, key=lambda e: e["ts"])]
    seconds = tracer.ended - tracer.origin
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"made by": "rasptorch", "seconds": seconds}}


def shared_rows(tracer: Tracer) -> dict[int, int]:
    """The thread whose row a thread is shown in: its own, or that of an earlier one of its name that had ended before it began, as
    the workers of one epoch have before those of the next.
    """
    lives: dict[int, tuple[float, float]] = {}
    told = chain(
        ((s.thread, s.began, s.ended) for s in tracer.spans if s.category not in _ASYNCHRONOUS),
        ((c.thread, c.began, c.ended) for c in tracer.commands),
        ((i.thread, i.at, i.at) for i in tracer.instants),
        ((s.thread, s.began, s.began + s.seconds) for s in tracer.submissions),
    )
    for thread, began, ended in told:
        first, last = lives.get(thread, (began, ended))
        lives[thread] = min(first, began), max(last, ended)
    rows: dict[int, int] = {}
    ends: dict[int, float] = {}
    for thread, (began, ended) in sorted(lives.items(), key=lambda life: life[1]):
        name = tracer.threads[thread]
        free = (row for row, end in ends.items() if end < began and tracer.threads[row] == name and tracer.main not in (row, thread))
        rows[thread] = next(free, thread)
        ends[rows[thread]] = ended
    return rows


def _write_host(writer: _Writer, tracer: Tracer) -> None:
    for number, span in enumerate(tracer.spans):
        row = writer.thread(tracer, span.thread)
        told = {**span.where._asdict(), **span.arguments} if span.where.device else dict(span.arguments)
        if "site" in told:
            told["site"] = place(told["site"])
        if span.category in _ASYNCHRONOUS:
            writer.add("b", span.name, span.category, span.began, HOST_PROCESS, row, id=number, args=told)
            writer.add("e", span.name, span.category, span.ended, HOST_PROCESS, row, id=number)
        else:
            writer.span(span.name, span.category, span.began, span.ended, HOST_PROCESS, row, told)
    for command in tracer.commands:
        row = writer.thread(tracer, command.thread)
        told = {**command.where._asdict(), "site": place(command.site)}
        writer.span(command.name, "enqueue", command.began, command.ended, HOST_PROCESS, row, told)
    for instant in tracer.instants:
        row = writer.thread(tracer, instant.thread)
        writer.add(
            "i", instant.name, instant.category, instant.at, HOST_PROCESS, row, s="t", args=instant.arguments
        )


def _write_submission(writer: _Writer, tracer: Tracer, process: int, submission: Submission) -> None:
    row = writer.track(process, submission.stream, submission.stream)
    told: dict[str, Any] = {
        "submission": submission.value, "commands": submission.commands, "measured": submission.exact,
    }  # fmt: skip
    if submission.seen is None:
        told["unfinished"] = True
    if submission.times is not None and submission.times.thread:
        told["thread"] = submission.times.thread
    marks = list(kernel_times(submission))
    ended = marks[-1][3] if marks else submission.ended
    writer.span(f"submission {submission.value}", "execution", submission.started, ended, process, row, told)
    host = writer.thread(tracer, submission.thread)
    flow = f"{submission.stream}:{submission.value}"
    writer.add("s", "submission", "flow", submission.began, HOST_PROCESS, host, id=flow)
    writer.add("f", "submission", "flow", submission.started, process, row, id=flow, bp="e")
    for number, kernel, began, end in marks:
        origins = submission.origins(number)
        came = [_origin(command) for command in origins] or list(kernel.operations)
        about = {"shape": kernel.shape, "submission": submission.value, "operations": came, "measured": submission.exact}
        writer.span(kernel.name, "kernel", began, end, process, row, about)
        for k, command in enumerate(origins):
            arrow = f"{flow}:{number}:{k}"
            host = writer.thread(tracer, command.thread)
            writer.add("s", "operation", "flow", command.began, HOST_PROCESS, host, id=arrow)
            writer.add("f", "operation", "flow", began, process, row, id=arrow, bp="e")


def _origin(command: Command) -> str:
    """``add at train.py:12 step``."""
    return f"{command.name} at {place(command.site)}" if command.site else command.name


# -- counters ------------------------------------------------------------------------------------------------
def _write_counters(writer: _Writer, tracer: Tracer, process: int, device: str) -> None:
    for level in tracer.levels:
        if level.device == device:
            told = {"in use": level.used, "free": max(0, level.reserved - level.used)}
            writer.add("C", "pool bytes", "counter", level.at, process, 0, args=told)
    for at, value in flight(tracer, device):
        writer.add("C", "batches in flight", "counter", at, process, 0, args={"batches": value})
    for at, value in depth(tracer, device):
        writer.add("C", "queue depth", "counter", at, process, 0, args={"commands": value})


def flight(tracer: Tracer, device: str) -> Iterator[tuple[float, int]]:
    """How many submissions a device had, and when that changed: from their driver calls until they were done."""
    changes = []
    for submission in tracer.submissions:
        if submission.device == device:
            end = submission.ended if submission.seen is not None else tracer.ended
            changes += [(submission.began, 1), (max(end, submission.began), -1)]
    return _running(sorted(changes, key=lambda c: (c[0], -c[1])))


def depth(tracer: Tracer, device: str) -> Iterator[tuple[float, int]]:
    """How many commands were enqueued and not done; told whenever a submission goes out or is done."""
    changes: list[tuple[float, int]] = []
    for submission in tracer.submissions:
        if submission.device == device:
            seen = sum(command is not None for command in submission.operations)
            end = submission.ended if submission.seen is not None else tracer.ended
            changes += [(submission.began, submission.commands - seen), (max(end, submission.began), -submission.commands)]
    told = {at for at, _ in changes}
    submitted = (c for s in tracer.submissions if s.device == device for c in s.operations if c is not None)
    changes += [(command.began, 1) for command in submitted]
    return (point for point in _running(sorted(changes, key=lambda c: (c[0], -c[1]))) if point[0] in told)


def _running(changes: list[tuple[float, int]]) -> Iterator[tuple[float, int]]:
    """The sum so far after every moment of change."""
    total = 0
    for k, (at, change) in enumerate(changes):
        total += change
        if k + 1 == len(changes) or changes[k + 1][0] > at:
            yield at, total
