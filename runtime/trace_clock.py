"""Device time on the host's clock, and arithmetic with intervals of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import inf
from statistics import median_low
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .driver import KernelTimes
    from .kernel_labels import KernelLabel
    from .trace import Submission

Interval = tuple[float, float]


def place_on_host_clock(submissions: Sequence[Submission]) -> None:
    """Fill in ``started`` and ``ended`` of the submissions of one device.

    A device's own clock runs beside the host's at an unknown distance, but no submission can start before its
    driver call or end after it was seen to be done: these bounds hold the distance within a few microseconds
    once the device has been idle before a submission. Where 0 is within them, the device uses the host's
    clock (software devices do). Without times, a submission is taken to begin when its driver call returned, or at the end
    of the one before, and its kernels to last as long as in those of the same plan that were measured (the median of each: one that was
    interrupted would count sixteen times, else). It was over when it was seen to be: where that leaves too little time it began within
    the driver call, and if need be was quicker. Where none of its plan was measured it lasts until it was seen done.
    """
    own = [s for s in submissions if s.times is not None and not s.times.thread]
    low = max((s.began - s.times.began for s in own if s.times is not None), default=0.0)
    high = min(
        (s.seen - s.times.began - sum(s.times) for s in own if s.times is not None and s.seen is not None),
        default=inf,
    )
    distance = 0.0 if low <= 0.0 <= high else low
    ordered = sorted(submissions, key=lambda s: s.began)
    for s in ordered:
        if s.times is not None:
            s.started = s.times.began + (0.0 if s.times.thread else distance)
            s.ended = s.started + sum(s.times)
            s.exact = True
    _place_others(ordered)


def _place_others(ordered: Sequence[Submission]) -> None:
    """Those that were not measured, between those that were."""
    limit, limits = inf, []
    for s in reversed(ordered):
        limits.append(limit)
        limit = s.started if s.exact else limit
    usual = _usual_times(ordered)
    before = -inf
    for s, next_one in zip(ordered, reversed(limits), strict=True):
        if s.times is None:
            earliest = min(max(s.began, before), next_one)
            s.started = min(max(s.began + s.seconds, before), next_one)
            end = next_one if s.seen is None else max(earliest, min(s.seen, next_one))
            like = usual.get(id(s.labels), ())
            if sum(like) > 0.0:
                whole = min(sum(like), end - earliest)
                s.estimate = [seconds * (whole / sum(like)) for seconds in like]
                s.started = min(s.started, end - whole)
                s.ended = s.started + whole
            else:
                s.ended = s.started if s.seen is None else max(s.started, end)
        before = max(before, s.ended)


def _usual_times(submissions: Sequence[Submission]) -> dict[int, list[float]]:
    """By plan, how long each kernel usually takes; of two times the shorter, as drivers compile when a kernel first runs."""
    known: dict[int, list[KernelTimes]] = {}
    for s in submissions:
        if s.times is not None:
            known.setdefault(id(s.labels), []).append(s.times)
    return {plan: [median_low(kernel) for kernel in zip(*times, strict=True)] for plan, times in known.items()}


def kernel_times(submission: Submission) -> Iterator[tuple[int, KernelLabel, float, float]]:
    """Number, label, start and end of every kernel that was measured or can be estimated; after `place_on_host_clock`."""
    times = submission.times if submission.times is not None else submission.estimate
    if not times:
        return
    at = submission.started
    for number, (kernel, seconds) in enumerate(zip(submission.labels.kernels, times, strict=True)):
        yield number, kernel, at, at + seconds
        at += seconds


def by_device(submissions: Sequence[Submission]) -> dict[str, list[Submission]]:
    found: dict[str, list[Submission]] = {}
    for submission in submissions:
        found.setdefault(submission.device, []).append(submission)
    return found


# -- arithmetic with intervals -------------------------------------------------------------------------------
def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The intervals, sorted and joined where they meet; empty ones are gone."""
    joined: list[Interval] = []
    for began, ended in sorted(intervals):
        if ended <= began:
            continue
        if joined and began <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], ended))
        else:
            joined.append((began, ended))
    assert all(a[1] < b[0] for a, b in pairwise(joined))
    return joined


def common(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """What two unions have in common."""
    found: list[Interval] = []
    at = 0
    for began, ended in one:
        while at < len(other) and other[at][1] <= began:
            at += 1
        k = at
        while k < len(other) and other[k][0] < ended:
            found.append((max(began, other[k][0]), min(ended, other[k][1])))
            k += 1
    return found


def without(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """What is in the first union and not in the second."""
    if not one:
        return []
    first, last = one[0][0], one[-1][1]
    edges = [first, *(edge for pair in other for edge in pair), last]
    gaps = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
    return common(one, gaps)


def length(intervals: Iterable[Interval]) -> float:
    """How much of the clock the intervals cover, counted once where they overlap."""
    return sum(ended - began for began, ended in union(intervals))
