"""What the profiler records is what the engine did, and the file is one that trace viewers can open."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import trio

import rasptorch as rt
from rasptorch.profiler.totals import own_times
from rasptorch.runtime import settings
from rasptorch.runtime.driver import KernelTimes
from rasptorch.runtime.kernel_labels import KernelLabel, PlanLabels, repeated
from rasptorch.runtime.trace import Span, Submission, Where
from rasptorch.runtime.trace_clock import common, length, place_on_host_clock, union, without
from tests.support.counting import counting
from tests.support.traces import check_events, of


@pytest.fixture(autouse=True)
def _all_measured() -> Iterator[None]:
    """Also where timestamps are so dear that by default not every submission is."""
    with settings.override(timestamp_every=1):
        yield


def work(x: rt.Tensor, w: rt.Tensor) -> rt.Tensor:
    return ((x @ w).relu() * 0.5 + x).sum()


def operands(device: str) -> tuple[rt.Tensor, rt.Tensor]:
    values = np.random.RandomState(0).randn(2, 48, 48).astype(np.float32)
    return rt.tensor(values[0], device=device), rt.tensor(values[1], device=device)


@pytest.mark.every_driver
def test_a_trace_shows_what_was_done(device: str, tmp_path: Path) -> None:
    x, w = operands(device)
    work(x, w).item()
    path = tmp_path / "trace.json"
    with counting(device) as n, rt.profile(path, devices=[device]) as p:
        for _ in range(3):
            work(x, w).item()
    trace = json.loads(path.read_text("utf-8"))
    assert trace == p.trace()
    events = trace["traceEvents"]
    check_events(events)
    assert len(of(events, "enqueue")) == n.commands
    assert len(of(events, "submit")) == len(of(events, "execution")) == n.submissions == 3
    assert len(of(events, "kernel")) == n.dispatches
    assert len(of(events, "wait")) == n.waits
    assert len(of(events, "transfer", "i")) == len(of(events, "transfer")) == n.readbacks
    assert any("matmul" in e["name"] for e in of(events, "kernel"))
    assert all(e["args"]["measured"] for e in of(events, "execution"))


@pytest.mark.every_driver
def test_only_some_submissions_are_measured_where_that_is_dear(device: str) -> None:
    x, w = operands(device)
    with settings.override(timestamp_every=3):
        for _ in range(2):  # each recording measures for itself
            with counting(device) as n, rt.profile(devices=[device]) as p:
                for _ in range(8):
                    work(x, w).item()
            submissions = p.tracer.submissions
            assert [s.exact for s in submissions] == [True, True, False, True, False, False, True, False]
            for s in submissions:
                assert bool(s.times) == s.exact == (not s.estimate)
                assert len(s.times or s.estimate) == len(s.labels.kernels)
                assert s.seen is not None and s.began <= s.started <= s.ended <= s.seen + 1e-3
                assert s.ended - s.started == pytest.approx(sum(s.times or s.estimate))
            events = p.trace()["traceEvents"]
            check_events(events)
            kernels = of(events, "kernel")
            assert len(kernels) == n.dispatches
            assert {e["args"]["submission"] for e in kernels if not e["args"]["measured"]} == {
                s.value for s in submissions if not s.exact
            }
            assert not p.devices()[0].measured and "* partly estimated" in p.table()
            assert sum(k.count for k in p.kernels()) == n.dispatches


def test_planning_is_shown_once(device: str) -> None:
    x, w = operands(device)
    with rt.profile(devices=[device]) as p:
        for _ in range(2):
            (work(x, w) * 17.0 - 3.0).item()
    plans = of(p.trace()["traceEvents"], "plan")
    assert len(plans) <= 1  # an earlier test may have planned the same
    submits = of(p.trace()["traceEvents"], "submit")
    assert all(e["ts"] + e["dur"] <= submits[0]["ts"] + 0.01 for e in plans)


@pytest.mark.every_driver
def test_executions_lie_between_submitting_and_seeing(device: str) -> None:
    x, w = operands(device)
    with rt.profile(devices=[device]) as p:
        for _ in range(4):
            work(x, w).item()
    before = 0.0
    for submission in p.tracer.submissions:
        assert submission.exact and submission.seen is not None
        assert submission.began <= submission.started <= submission.ended <= submission.seen + 1e-3
        assert submission.started >= before  # one queue: in order
        before = submission.started
        assert submission.times is not None and all(t >= 0 for t in submission.times)
        assert sum(submission.times) > 0


def test_recordings_with_and_without_times_are_kept_apart(device: str) -> None:
    x = rt.ones(37, 41, device=device)  # a shape, and so a plan, of its own

    def made() -> int:
        before = rt.statistics(device)
        (x.exp() * 3).sum().item()
        return (rt.statistics(device) - before).recordings_made

    for _ in range(4):  # until the pool hands out the same buffers again
        made()
    assert made() == 0
    with rt.profile(devices=[device]):
        assert made() == 1
        assert made() == 0
    assert made() == 0


def test_without_timestamps_there_are_bounds(device: str) -> None:
    x, w = operands(device)
    with rt.profile(devices=[device], timestamps=False, commands=False) as p:
        work(x, w).item()
    (submission,) = p.tracer.submissions
    assert submission.times is None and not submission.exact
    assert submission.began < submission.started <= submission.ended
    events = p.trace()["traceEvents"]
    check_events(events)
    assert of(events, "kernel") == of(events, "enqueue") == []
    assert p.kernels() == [] and "no kernel was measured" in p.table()
    assert "*" in p.table()


def test_leaving_waits_and_watches_no_longer(device: str) -> None:
    x, w = operands(device)
    observers = rt.device(device).observers
    with rt.profile(devices=[device]) as p:
        y = work(x, w)
        assert observers.active == (p.tracer,)
    assert not observers.active and not observers.wants_timestamps
    assert [s.seen is not None for s in p.tracer.submissions] == [True]
    work(x, w).item()
    assert len(p.tracer.submissions) == 1
    del y
    with pytest.raises(RuntimeError, match="one block"), p:
        raise AssertionError("not reached")


def test_an_exception_leaves_a_trace(tmp_path: Path) -> None:
    x, w = operands("cpu")
    path = tmp_path / "trace.json"
    with pytest.raises(KeyError), rt.profile(path, devices=["cpu"]):
        work(x, w).item()
        raise KeyError("mine")
    assert rt.device("cpu").observers.active == ()
    check_events(json.loads(path.read_text("utf-8"))["traceEvents"])


def test_awaits_of_several_tasks(device: str) -> None:
    x, w = operands(device)

    async def task() -> None:
        for _ in range(3):
            await work(x, w).readback()

    async def main() -> Any:
        async with rt.profile(devices=[device]) as p, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(task)
        return p

    p = trio.run(main)
    events = p.trace()["traceEvents"]
    check_events(events)
    assert len(of(events, "await", "b")) == sum(s.category == "await" for s in p.tracer.spans)
    assert all(s.seen is not None for s in p.tracer.submissions)


def test_waiting_for_long_work_is_seen() -> None:
    x = rt.ones(700, 700)

    async def main() -> Any:
        async with rt.profile(devices=["cpu"]) as p:
            await (x @ x @ x).readback()
        return p

    assert of(trio.run(main).trace()["traceEvents"], "await", "b")
    with rt.profile(devices=["cpu"]) as p:
        (x @ x @ x).readback().wait()
    assert of(p.trace()["traceEvents"], "wait")
    (total,) = p.devices()
    assert total.waiting > total.device / 2 and total.overlap < total.device / 2


def test_streams_and_threads_have_rows_of_their_own(device: str) -> None:
    opened = rt.device(device)
    x, w = operands(device)
    rt.synchronize(device)
    streams = [opened.new_stream("mine") for _ in range(2)]

    def run(stream: Any) -> None:
        with opened.using(stream):
            work(x, w).item()

    with rt.profile(devices=[device]) as p:
        threads = [threading.Thread(target=run, args=(s,), name=f"runner {k}") for k, s in enumerate(streams)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = p.trace()["traceEvents"]
    check_events(events)
    names = {e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert {"mine", "mine (2)", "runner 0", "runner 1"} <= names
    assert len({e["tid"] for e in of(events, "execution")}) == 2


def test_cpu_kernels_name_their_thread() -> None:
    x, w = operands("cpu")
    with rt.profile(devices=["cpu"]) as p:
        work(x, w).item()
    (submission,) = p.tracer.submissions
    assert submission.times is not None
    assert submission.times.thread in ("cpu worker", threading.current_thread().name)
    assert abs(submission.times.began - perf_counter()) < 60


def test_a_failure_is_an_instant() -> None:
    stream = rt.device("cpu").default_stream
    with rt.profile(devices=["cpu"]) as p:
        p.tracer.stream_failed(stream, ValueError("gone"))
    (event,) = of(p.trace()["traceEvents"], "failure", "i")
    assert event["args"]["error"] == "ValueError: gone"


def test_the_table(device: str) -> None:
    x, w = operands(device)
    with rt.profile(devices=[device]) as p:
        for _ in range(5):
            work(x, w).item()
    (total,) = p.devices()
    assert total.name == rt.device(device).name and total.measured
    assert total.submissions == 5 and total.commands == len(of(p.trace()["traceEvents"], "enqueue"))
    assert 0 <= total.overlap <= total.device
    assert total.waiting >= 0 and total.submit > 0 and total.enqueue > 0
    assert total.enqueue + total.plan + total.submit + total.waiting < p.seconds
    assert total.overlap <= total.host <= p.seconds
    kernels = p.kernels()
    assert sum(k.share for k in kernels) == pytest.approx(1)
    assert all(k.count % 5 == 0 and k.mean * k.count == pytest.approx(k.total) for k in kernels)
    text = p.table(rows=1)
    assert "matmul" in p.table() and "enqueue" in text and f"{len(kernels) - 1} more" in text


def span(category: str, began: float, ended: float, thread: int = 1) -> Span:
    return Span(category, category, began, ended, thread, Where("cpu", "cpu/default"), {})


def test_own_times_leave_out_what_is_inside() -> None:
    spans = [
        span("submit", 2, 5),
        span("enqueue", 0, 10),
        span("plan", 1, 2),
        span("wait", 12, 15),
        span("enqueue", 3, 4, 2),
    ]
    assert own_times(spans) == [3, 6, 1, 3, 1]
    assert own_times([span("await", 0, 5), span("enqueue", 1, 2)]) == [5, 1]


def test_unions_of_intervals() -> None:
    assert union([(3, 4), (0, 1), (0.5, 2), (2, 2.5)]) == [(0, 2.5), (3, 4)]
    assert length([(0, 2), (1, 3), (5, 6)]) == 4
    assert length([]) == 0
    assert common([(0, 4), (6, 8)], [(1, 2), (3, 7)]) == [(1, 2), (3, 4), (6, 7)]
    assert without([(0, 4), (6, 8)], [(1, 2), (3, 7)]) == [(0, 1), (2, 3), (7, 8)]
    assert without([(0, 4)], [(0, 5)]) == without([], [(0, 1)]) == [] and without([(2, 3)], [(0, 1), (5, 6)]) == [(2, 3)]


def submission(value: int, began: float, seen: float, times: KernelTimes | None) -> Submission:
    plan: Any = None
    labels = PlanLabels(plan, (KernelLabel("add", "4", ("add",), 48, 4),))
    return Submission("gpu", "gpu/default", value, labels, 1, 1, began, 0.001, (), seen, times)


@pytest.mark.parametrize("distance", [0.0, 1000.0, -1000.0])
def test_a_device_with_its_own_clock(distance: float) -> None:
    """The second submission starts at once, so it tells the distance of the clocks."""
    made = [
        submission(1, 10.0, 10.6, KernelTimes([0.2, 0.2], 10.15 + distance)),
        submission(2, 11.0, 11.3, KernelTimes([0.25], 11.0 + distance)),
        submission(3, 12.0, 12.9, None),
    ]
    place_on_host_clock(made)
    assert made[0].started == pytest.approx(10.15) and made[0].ended == pytest.approx(10.55)
    assert made[1].started == pytest.approx(11.0) and made[1].exact
    assert (made[2].started, made[2].ended, made[2].exact) == (12.001, 12.9, False)


def test_one_long_measurement_is_not_taken_for_the_usual() -> None:
    """The first one compiled, the fourth was interrupted; estimates end where it is known that something else went on."""
    plan: Any = None
    labels = PlanLabels(plan, (KernelLabel("add", "4", ("add",), 48, 4), KernelLabel("sum", "4", ("sum",), 48, 4)))
    times = [(5.0, 0.2), (0.1, 0.3), None, (0.1, 7.0), None, (0.2, 0.3)]
    made = [
        Submission("gpu", "gpu/default", k, labels, 2, 2, 10.0 * k, 0.0, (), 10.0 * k + 9, t and KernelTimes(t, 10.0 * k))
        for k, t in enumerate(times)
    ]
    made.append(Submission("gpu", "gpu/default", 6, labels, 2, 2, 60.0, 0.0, (), 60.2))
    made.append(Submission("gpu", "gpu/default", 7, labels, 2, 2, 70.0, 0.5, (), 70.6))
    place_on_host_clock(made)
    assert (made[7].started, made[7].ended) == pytest.approx((70.2, 70.6)), "the driver call took long to return"
    assert made[2].estimate == made[4].estimate == pytest.approx([0.1, 0.3])
    assert made[6].estimate == pytest.approx([0.05, 0.15]) and made[6].ended == pytest.approx(60.2)
    assert [bool(s.estimate) for s in made] == [not s.exact for s in made] == [t is None for t in (*times, None, None)]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("add", "add"),
        ("mul add relu", "mul+add+relu"),
        ("mul add " * 100, "(mul+add)x100"),
        ("exp exp exp", "expx3"),
        ("a b c d e f g h i j", "a+b+c+d+e+f+g+3 more"),
    ],
)
def test_names_of_kernels(names: str, text: str) -> None:
    assert repeated(names.split()) == text


def test_a_plain_with_in_a_task_does_not_wait(device: str) -> None:
    x, w = operands(device)

    async def main() -> Any:
        with rt.profile(devices=[device]) as p:
            y = work(x, w)
            rt.device(device).flush()
        await y.readback()
        return p

    p = trio.run(main)
    events = p.trace()["traceEvents"]
    check_events(events)
    (submission,) = p.tracer.submissions
    (execution,) = of(events, "execution")
    assert execution["args"].get("unfinished", False) == (submission.seen is None)
    assert not of(events, "wait") and not of(events, "await", "b")
