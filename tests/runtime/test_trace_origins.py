"""What recordings know beyond the engine: lines of the program, marks, Trio's tasks, and who was busy meanwhile."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

import rasptorch as rt
from rasptorch.profiler.totals import host_work
from rasptorch.runtime import settings, trace
from rasptorch.runtime.trace_clock import length
from tests.support.traces import arrows, check_events, check_kernels, of

HERE = Path(__file__).name


def line() -> int:
    return sys._getframe(1).f_lineno


# -- lines ---------------------------------------------------------------------------------------------------
@pytest.mark.every_driver
def test_fused_kernels_point_back_to_all_of_their_operations(device: str) -> None:
    x = rt.rand(24, 24, device=device, requires_grad=True)
    rt.synchronize(device)
    with rt.profile(devices=[device]) as p:
        y = ((x @ x).relu() * 0.5).sum(); here = line()  # fmt: skip  # noqa: E702
        y.backward(); there = line()  # fmt: skip  # noqa: E702
        assert x.grad is not None
        x.grad.sum().item()
    events = p.trace()["traceEvents"]
    check_events(events)
    check_kernels(events)
    (forward,) = (k for k in of(events, "kernel") if k["name"].startswith("matmul+relu"))
    function = "test_fused_kernels_point_back_to_all_of_their_operations"
    assert {f"{name} at {HERE}:{here} {function}" for name in ("matmul", "relu", "mul")} <= set(forward["args"]["operations"])
    assert any(f"{HERE}:{there}" in o for k in of(events, "kernel") for o in k["args"]["operations"])
    assert sorted(n for names in arrows(events).values() for n in names) == sorted(
        e["name"] for e in of(events, "enqueue") if any(e["name"] in k["name"] for k in of(events, "kernel"))
    )


def test_an_operation_that_makes_its_batch_full_belongs_to_it(device: str) -> None:
    x = rt.ones(8, device=device)
    rt.synchronize(device)
    with settings.override(flush_commands=2), rt.profile(devices=[device]) as p:
        y = x.exp().log()
        y.sum().item()
    check_events(p.trace()["traceEvents"])
    assert [[c.name for c in s.operations if c] for s in p.tracer.submissions] == [["exp", "log"], ["sum"]]


def test_operations_from_before_the_recording(device: str) -> None:
    x = rt.ones(8, device=device)
    rt.synchronize(device)
    y = x * 3
    with rt.profile(devices=[device]) as p:
        (y + 1).sum().item()
    (submission,) = p.tracer.submissions
    assert [None if c is None else c.name for c in submission.operations] == [None, "add", "sum"]
    kernels = of(p.trace()["traceEvents"], "kernel")
    assert all(kernel["args"]["operations"] for kernel in kernels)


def test_replays_of_captured_functions_have_names_only(device: str) -> None:
    double = rt.capture(lambda x: (x * 2).exp())
    x = rt.ones(9, device=device)
    double(x)
    with rt.profile(devices=[device]) as p:
        double(x).numpy()
    (kernel,) = of(p.trace()["traceEvents"], "kernel")
    assert kernel["args"]["operations"] == ["mul", "exp"]
    assert not of(p.trace()["traceEvents"], "enqueue")


def test_speeds_are_told_in_what_limits_them() -> None:
    a, x = rt.ones(96, 96), rt.ones(50_000)
    with rt.profile(devices=["cpu"]) as p:
        (a @ a).numpy()
        (x + 1).numpy()
    units = {t.name: t.speed[1] for t in p.kernels()}
    assert units["matmul"] == "FLOP/s" and units["add"] == "B/s"
    (product,) = (t for t in p.kernels() if t.name == "matmul")
    assert product.done == 2 * 96**3 and product.moved == 3 * 4 * 96**2


def test_who_waited_and_where() -> None:
    x = rt.ones(600, 600)

    async def child() -> None:
        await (x @ x).readback()

    with rt.profile(devices=["cpu"]) as p:
        (x @ x).sum().item(); here = line()  # fmt: skip  # noqa: E702
        trio.run(child)
    waits = {(w.who, w.site.split()[0], w.blocking) for w in p.waits()}
    assert (threading.current_thread().name, f"{HERE}:{here}", True) in waits
    assert any(not blocking and "child" in who for who, _, blocking in waits)


# -- marks ---------------------------------------------------------------------------------------------------
@rt.record_function("counted down")
def countdown(n: int) -> int:
    return n if n == 0 else countdown(n - 1)


def test_marks_nest_and_cost_nothing_unheard() -> None:
    assert countdown(3) == 0 and not trace.active
    with rt.profile() as outer:
        with rt.record_function("outside"), rt.profile() as inner:
            countdown(2)
        countdown(0)
    assert [(m.name, m.count) for m in inner.marks()] == [("counted down", 3)]
    assert {m.name: m.count for m in outer.marks()} == {"counted down": 4, "outside": 1}
    check_events(outer.trace()["traceEvents"])


def test_marks_in_tasks_may_await() -> None:
    async def child(name: str) -> None:
        with rt.record_function(f"whole {name}"):
            await trio.sleep(0.001)
        with rt.record_function(f"short {name}"):
            sum(range(100))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, "a")
            nursery.start_soon(child, "b")

    with rt.profile() as p:
        trio.run(main)
    events = p.trace()["traceEvents"]
    check_events(events)
    assert {e["name"] for e in of(events, "user")} == {"short a", "short b"}
    assert {e["name"] for e in of(events, "user async", "b")} == {"whole a", "whole b"}


# -- rows --------------------------------------------------------------------------------------------------
def test_threads_of_one_name_share_a_row_when_they_take_turns() -> None:
    """As the workers of every epoch do: thirty epochs have no more rows than one."""
    both = threading.Barrier(2, timeout=60)

    def alone() -> None:
        with rt.record_function("alone"):
            rt.ones(3)

    def together() -> None:
        with rt.record_function("together"):
            both.wait()

    with rt.profile(devices=["cpu"]) as p:
        for work, threads in ((alone, 1), (alone, 1), (together, 2)):
            group = [threading.Thread(target=work, name="worker") for _ in range(threads)]
            for thread in group:
                thread.start()
            for thread in group:
                thread.join()
    events = p.trace()["traceEvents"]
    check_events(events)
    rows = {e["tid"] for e in events if e["name"] == "thread_name" and e["args"]["name"] == "worker"}
    marks = [(e["name"], e["tid"]) for e in sorted(of(events, "user"), key=lambda e: float(e["ts"]))]
    assert len(rows) == 2 and {row for _, row in marks} == rows
    assert marks[0] == marks[1] and {name for name, _ in marks[2:]} == {"together"}


# -- tasks ---------------------------------------------------------------------------------------------------
def test_tasks_and_idling_are_seen_from_outside_and_from_inside() -> None:
    defaults: Any = trio.run.__kwdefaults__
    before = defaults["instruments"]

    async def child() -> None:
        await trio.sleep(0.002)

    async def inside() -> Any:
        async with rt.profile() as p:
            await child()
        return p

    with rt.profile() as outside:
        trio.run(child)
    assert defaults["instruments"] is before
    for p in (outside, trio.run(inside)):
        events = p.trace()["traceEvents"]
        check_events(events)
        steps = {e["name"].rsplit(".", 1)[-1] for e in of(events, "task")}
        assert steps & {"child", "inside"}
        assert sum(e["dur"] for e in of(events, "idle")) > 1000
        assert length(host_work(p.tracer)) < p.seconds - 0.001


def test_runs_of_trio_after_the_recording_are_left_alone() -> None:
    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    with rt.profile() as p:
        trio.run(nothing)
    spans = len(p.tracer.spans)
    trio.run(nothing)
    assert len(p.tracer.spans) == spans and not trace.active
