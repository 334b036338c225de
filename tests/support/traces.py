"""What must hold of any trace: looked at as the viewers do, in the raw events."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

Event = dict[str, Any]
Events = list[Event]
_PAIRS = {"b": "asynchronous", "e": "asynchronous", "s": "flow", "f": "flow"}


def check_events(events: Events) -> None:
    """Time stamps rise; complete events nest within their row; asynchronous ones and flows come in pairs; rows have names; counters
    are never negative.
    """
    rows: dict[tuple[int, int], Events] = defaultdict(list)
    pairs: dict[tuple[str, object], list[str]] = defaultdict(list)
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    processes = {e["pid"] for e in events if e["name"] == "process_name"}
    before = 0.0
    for event in events:
        assert event["ph"] in "XbeisfMC"
        assert event["pid"] in processes
        if event["ph"] == "M":
            continue
        assert event["ts"] >= before, f"{event} comes after one at {before}"
        before = event["ts"]
        if event["ph"] == "C":
            assert all(value >= 0 for value in event["args"].values()), event
            continue
        assert (event["pid"], event["tid"]) in named
        if event["ph"] == "X":
            rows[event["pid"], event["tid"]].append(event)
        elif event["ph"] in _PAIRS:
            pairs[_PAIRS[event["ph"]], event["id"]].append(event["ph"])
    for spans in rows.values():
        check_nested(spans)
    for (kind, _), phases in pairs.items():
        assert sorted(phases) == (["b", "e"] if kind == "asynchronous" else ["f", "s"])


def ends(event: Event) -> tuple[int, int]:
    """Start and end in whole nanoseconds, so that comparing is exact."""
    return round(event["ts"] * 1000), round((event["ts"] + event["dur"]) * 1000)


def check_nested(spans: Events) -> None:
    """An event of a row is inside another one or beside it."""
    stack: list[tuple[int, int, str]] = []
    for span in sorted(((*ends(s), s["name"]) for s in spans), key=lambda s: (s[0], -s[1])):
        assert span[1] >= span[0]
        while stack and stack[-1][1] <= span[0]:
            stack.pop()
        assert not stack or span[1] <= stack[-1][1], f"{span} crosses the end of {stack[-1]}"
        stack.append(span)


def check_kernels(events: Events) -> None:
    """On a stream submissions do not overlap, nor kernels; kernels lie inside of theirs; each says what it came from."""
    for category in ("execution", "kernel"):
        rows: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for event in of(events, category):
            rows[event["pid"], event["tid"]].append(ends(event))
        for slices in rows.values():
            slices.sort()
            # Rounded to nanoseconds at both ends.
            assert all(a[1] <= b[0] + 1 for a, b in pairwise(slices)), f"{category}s of a stream overlap"
    whole = {(e["pid"], e["tid"], e["args"]["submission"]): ends(e) for e in of(events, "execution")}
    for kernel in of(events, "kernel"):
        began, ended = whole[kernel["pid"], kernel["tid"], kernel["args"]["submission"]]
        start, end = ends(kernel)
        assert began <= start <= end <= ended
        assert kernel["args"]["operations"], f"{kernel} came from nothing"


def arrows(events: Events) -> dict[str, list[str]]:
    """From every kernel (by its flows' first parts) to the names of the enqueued operations that flows come from."""
    starts = {(e["tid"], round(e["ts"] * 1000)): e["name"] for e in of(events, "enqueue")}
    found: dict[str, list[str]] = defaultdict(list)
    for event in of(events, "flow", "s"):
        if event["name"] == "operation":
            found[event["id"].rsplit(":", 1)[0]].append(starts[event["tid"], round(event["ts"] * 1000)])
    return found


def of(events: Events, category: str, phase: str = "X") -> Events:
    return [e for e in events if e.get("cat") == category and e["ph"] == phase]
