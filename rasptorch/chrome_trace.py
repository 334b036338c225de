"""A recording as the JSON that ``chrome://tracing`` and Perfetto open.

Format: "Trace Event Format", Google, 2016. The host's threads are one process; every device is another, with
a row per stream.
"""

from __future__ import annotations

from typing import Any

from .runtime.trace import Submission, Tracer, by_device, kernel_times, place_on_host_clock


class _Writer:
    """Events with whole nanoseconds from ``origin``: starts and ends are rounded alike, so what nests stays
    nested.
    """

    def __init__(self, origin: float) -> None:
        self._origin = origin
        self.events: list[dict[str, Any]] = []
        self._tracks: dict[tuple[int, object], int] = {}

    def nanoseconds(self, at: float) -> int:
        return round((at - self._origin) * 1e9)

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

    def _about(self, what: str, process: int, track: int, **arguments: Any) -> None:
        self.events.append({"ph": "M", "name": what, "pid": process, "tid": track, "args": arguments})


HOST_PROCESS = 1


def chrome_trace(tracer: Tracer) -> dict[str, Any]:
    """The recording as a JSON object: the host's threads as one process, then a process per device, a row per
    stream.
    """
    writer = _Writer(tracer.origin)
    writer.process(HOST_PROCESS, "host")
    _write_host(writer, tracer)
    for number, (device, submissions) in enumerate(by_device(tracer.submissions).items(), HOST_PROCESS + 1):
        place_on_host_clock(submissions)
        writer.process(number, device)
        for submission in submissions:
            _write_submission(writer, tracer, number, submission)
    return {"traceEvents": writer.events, "displayTimeUnit": "ms"}


def _write_host(writer: _Writer, tracer: Tracer) -> None:
    for number, span in enumerate(tracer.spans):
        row = writer.track(HOST_PROCESS, span.thread, tracer.threads[span.thread])
        told = {"device": span.device, "stream": span.stream, **span.arguments}
        if (
            span.category == "await"
        ):  # tasks of one thread wait at the same time: events of their own, which need not nest
            writer.add("b", span.name, "await", span.began, HOST_PROCESS, row, id=number, args=told)
            writer.add("e", span.name, "await", span.ended, HOST_PROCESS, row, id=number)
        else:
            writer.span(span.name, span.category, span.began, span.ended, HOST_PROCESS, row, told)
        if span.category == "submit":
            flow = f"{span.stream}:{span.arguments['submission']}"
            writer.add("s", "execution", "flow", span.began, HOST_PROCESS, row, id=flow)
    for instant in tracer.instants:
        row = writer.track(HOST_PROCESS, instant.thread, tracer.threads[instant.thread])
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
    flow = f"{submission.stream}:{submission.value}"
    writer.add("f", "execution", "flow", submission.started, process, row, id=flow, bp="e")
    for name, shape, began, end in marks:
        writer.span(name, "kernel", began, end, process, row, {"shape": shape})
