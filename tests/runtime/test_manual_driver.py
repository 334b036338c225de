"""The driver that the other tests rely on: it finishes what it is told to, in the order it is told to, and nothing else."""

from __future__ import annotations

import pytest

import rasptorch as rt
from rasptorch.runtime import device as devices
from rasptorch.runtime import settings
from rasptorch.runtime.manual_driver import ManualDriver, ManualError, manual_device
from tests.support.manual import PATIENCE, Manual, started


def test_nothing_finishes_by_itself(manual: Manual) -> None:
    device, driver = manual
    later = (rt.ones(3, device=device) + 1).readback()
    fence = device.default_stream.flush()
    assert not later.is_done() and fence.state == "submitted"
    assert driver.unfinished == [(device.default_stream.timeline, 1)]
    driver.finish()
    assert later.is_done() and fence.state == "done" and driver.unfinished == []
    assert later.wait().tolist() == [2, 2, 2]
    assert [e.what for e in driver.log] == ["submitted", "finished"]


def test_finishing_by_count(manual: Manual) -> None:
    device, driver = manual
    stream = device.default_stream
    x = rt.zeros(2, device=device)
    for _ in range(3):
        x += 1
        stream.flush()
    driver.finish(2)
    assert (stream.completed(), stream.submitted) == (2, 3)
    with pytest.raises(ManualError, match="nothing is left"):
        driver.finish(2)
    assert stream.completed() == 3 and driver.finish_all() == 0
    assert x.tolist() == [3, 3]


@pytest.mark.parametrize("first", [0, 1])
def test_independent_streams_finish_in_any_order(manual: Manual, first: int) -> None:
    device, driver = manual
    streams = [device.new_stream(), device.new_stream()]
    values = []
    for k, stream in enumerate(streams):
        with device.using(stream):
            values.append(rt.full((2,), float(k), device=device).readback())
        stream.flush()
    driver.finish(timeline=streams[first].timeline)
    assert [v.is_done() for v in values] == [first == 0, first == 1]
    driver.finish(timeline=streams[1 - first].timeline)
    assert driver.order() == [(s.timeline.number, 1) for s in (streams[first], streams[1 - first])]
    assert [v.wait().tolist() for v in values] == [[0, 0], [1, 1]]


def test_a_submission_that_still_waits_cannot_finish(manual: Manual) -> None:
    device, driver = manual
    x = rt.full((2,), 3.0, device=device)
    other = device.new_stream()
    with device.using(other):
        y = x * 2
    other.flush()
    with pytest.raises(ManualError, match="submission 1 of timeline 1 waits for 1 on timeline 0, which is at 0"):
        driver.finish(timeline=other.timeline)
    driver.finish(timeline=device.default_stream.timeline)
    driver.finish(timeline=other.timeline)
    assert driver.order("submitted") == driver.order("finished") == [(0, 1), (1, 1)]
    assert y.tolist() == [6, 6]


def test_a_failure_is_for_the_next_to_finish(manual: Manual) -> None:
    device, driver = manual
    values = []
    for k in range(3):
        values.append(rt.full((2,), float(k), device=device).readback())
        device.flush()
    driver.finish()
    driver.fail(rt.DeviceLost("pulled out"))
    assert driver.failure is None
    driver.finish()
    with pytest.raises(rt.DeviceLost, match="pulled out"):
        values[1].wait()
    with pytest.raises(rt.DeviceLost, match="pulled out"):
        values[2].wait()
    assert values[0].wait().tolist() == [0, 0]
    assert driver.order("failed") == [(0, 2)]


def test_submitting_can_fail(manual: Manual) -> None:
    device, driver = manual
    x = rt.ones(2, device=device)
    driver.fail_submit(rt.DeviceLost("no queue"))
    with pytest.raises(rt.DeviceLost, match="no queue"):
        device.flush()
    with pytest.raises(rt.DeviceLost, match="no queue"):
        x + 1


def test_memory_is_counted(manual: Manual) -> None:
    device, driver = manual
    driver.memory_limit = 1 << 20
    with settings.override(pool_block=1 << 16):
        x = rt.ones(1000, device=device)
        device.flush()
        driver.finish()
        assert 0 < driver.allocated <= 1 << 20 and len(driver.blocks) == 1
    del x
    with pytest.raises(MemoryError, match="more than the 1,048,576 there are"):
        driver.allocate(1 << 20, next(iter(driver.blocks.values())).memory)
    block = driver.allocate(64, next(iter(driver.blocks.values())).memory)
    driver.free(block)
    with pytest.raises(ManualError, match="given back twice"):
        driver.free(block)


def test_the_null_driver_runs_nothing_and_counts_everything() -> None:
    with manual_device(ManualDriver(null=True)) as (device, driver):
        for _ in range(3):
            x = rt.ones(4, device=device)
            y = (x.exp() @ x.reshape(4, 1)).sum()
            y.numpy()
        counts = rt.statistics(device)
        assert counts.submissions == 3 and counts.dispatches >= 3 and counts.in_flight == 0
        assert len(driver.order()) == 3


def test_an_automatic_driver_finishes_at_once() -> None:
    with manual_device(ManualDriver(automatic=True)) as (device, driver):
        assert (rt.ones(4, device=device) * 3).tolist() == [3, 3, 3, 3]
        assert [e.what for e in driver.log] == ["submitted", "finished"]


def test_threads_that_wait_are_seen(manual: Manual) -> None:
    device, driver = manual
    later = rt.ones(2, device=device).readback()
    device.flush()
    with pytest.raises(ManualError, match="0 threads wait, not 1"):
        driver.until_waiting(1, timeout=0)
    waiting = [started(later.wait) for _ in range(2)]
    driver.until_waiting(2)
    driver.finish()
    assert [w.result(PATIENCE).tolist() for w in waiting] == [[1, 1], [1, 1]]


def test_devices_have_names_of_their_own_and_are_closed() -> None:
    with manual_device() as (one, first), manual_device() as (other, _):
        assert one.name != other.name
        assert rt.device(one.name) is one and one in devices.opened()
        kept = rt.ones(2, device=one)
        one.flush()
        assert not first.closed
    assert first.closed and first.blocks == {} and first.order() == [(0, 1)]
    assert one not in devices.opened()
    with pytest.raises(rt.DeviceError, match="is closed"):
        kept + 1
    with pytest.raises(rt.DeviceError, match="there is no device"):
        rt.device(one.name)


def test_traits_can_be_others() -> None:
    with manual_device(ManualDriver(kind="discrete", alignment=256)) as (device, driver):
        x = rt.tensor([1.0, 2.0], device=device)
        later = x.readback()
        device.flush()
        driver.finish_all()
        assert rt.statistics(device).commands == 2  # a copy in and a copy out
        assert later.wait().tolist() == [1, 2]
