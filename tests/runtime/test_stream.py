"""What a stream promises: enqueueing only gathers, submissions are few, and streams that share tensors are kept in order."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import rasptorch as rt
from rasptorch.runtime import device as devices
from rasptorch.runtime import settings
from rasptorch.runtime.fence import Fence
from rasptorch.runtime.stream import Stream
from tests.support.counting import counting
from tests.support.manual import PATIENCE, Manual, started


def test_enqueueing_only_gathers(manual: Manual) -> None:
    device, driver = manual
    with counting(device) as n:
        x = rt.ones(3, device=device)
        for _ in range(100):
            x = x + 1
    assert n.submissions == 0 and n.allocations == 0 and driver.log == []
    with counting(device) as n:
        device.default_stream.flush()
    assert (n.submissions, n.commands) == (1, 101)
    driver.finish()
    assert x.tolist() == [101, 101, 101]


def test_flushing_nothing_submits_nothing(manual: Manual) -> None:
    device, driver = manual
    fence = device.default_stream.flush()
    assert fence.value == 0 and fence.is_done() and driver.log == []
    fence.wait()


def test_a_fence_is_open_then_submitted_then_done(manual: Manual) -> None:
    device, driver = manual
    stream = device.default_stream
    rt.ones(3, device=device)
    fence = Fence(stream, 1)
    assert fence.state == "open" and not fence.is_done() and "open" in repr(fence)
    stream.flush()
    assert fence.state == "submitted" and not fence.is_done()
    driver.finish()
    assert fence.state == "done" and fence.is_done() and "completed=1" in repr(stream)


def test_a_fence_that_nothing_leads_to_is_an_error(manual: Manual) -> None:
    with pytest.raises(ValueError, match="is never reached"):
        Fence(manual.device.default_stream, 1).wait()


def test_a_batch_goes_out_when_it_is_full(manual: Manual) -> None:
    device, driver = manual
    with settings.override(flush_commands=10):
        x = rt.zeros(2, device=device)
        for _ in range(24):
            x = x + 1
    assert len(driver.unfinished) == 2
    driver.finish_all()
    later = x.readback()
    device.flush()
    driver.finish_all()
    assert later.wait().tolist() == [24, 24]


def test_an_idle_device_gets_work_early_and_a_busy_one_does_not(manual: Manual) -> None:
    device, driver = manual
    with settings.override(idle_bytes=1000, flush_bytes=10_000):
        x = rt.ones(250, device=device)
        assert len(driver.unfinished) == 1, "the device was idle"
        y = x + 1
        assert len(driver.unfinished) == 1, "the device is busy, so the batch may grow"
        for _ in range(4):
            y = y + 1
        assert len(driver.unfinished) == 2, "10,000 bytes are enough also for a busy device"
    driver.finish_all()
    assert y.tolist() == [6.0] * 250


def test_a_failed_stream_takes_nothing_more(manual: Manual) -> None:
    device, driver = manual
    x = rt.ones(2, device=device)
    device.flush()
    driver.fail(rt.DeviceLost("gone"))
    driver.finish()
    with pytest.raises(rt.DeviceLost, match="gone"):
        x.numpy()
    for use in (lambda: x + 1, lambda: x.add_(1), lambda: rt.zeros(3, device=device)):
        with pytest.raises(rt.DeviceLost, match="gone"):
            use()
    assert device.default_stream.failure is not None


def test_all_streams_of_a_device_fail_together(manual: Manual) -> None:
    device, driver = manual
    other = device.new_stream()
    with device.using(other):
        y = rt.ones(2, device=device)
    rt.ones(2, device=device)
    device.flush()
    driver.fail(rt.DeviceLost("gone"))
    driver.finish()
    with pytest.raises(rt.DeviceLost):
        device.default_stream.flush().wait()
    with pytest.raises(rt.DeviceLost):
        y.numpy()


def test_a_stream_is_used_where_it_is_asked_for(manual: Manual) -> None:
    device, _ = manual
    other = device.new_stream("mine")
    assert device.stream() is device.default_stream
    with device.using(other) as inside:
        assert device.stream() is inside is other and "mine" in repr(other)
        # A thread starts outside of every `with`.
        assert started(device.stream).result(PATIENCE) is device.default_stream
    assert device.stream() is device.default_stream
    with pytest.raises(rt.DeviceError, match="mine belongs to manual"), rt.device("cpu").using(other):
        pytest.fail("a stream of another device was taken")


def two_streams(device: str) -> tuple[Stream, Stream]:
    found = rt.device(device)
    return found.new_stream(), found.new_stream()


@pytest.mark.every_driver
def test_a_value_made_on_one_stream_is_right_on_another(device: str) -> None:
    one, other = two_streams(device)
    with one.device.using(one):
        x = rt.arange(10_000, dtype=rt.float32, device=device)
    with one.device.using(other):
        y = x * 2
    with one.device.using(one):
        z = y + x
    np.testing.assert_array_equal(z.numpy(), np.arange(10_000, dtype=np.float32) * 3)


@pytest.mark.every_driver
def test_two_streams_write_one_tensor_in_turn(device: str) -> None:
    """Each stream's open batch knows the tensor already when the other one writes it."""
    one, other = two_streams(device)
    x, expected = rt.full((1000,), 1.0, device=device), 1.0
    x.numpy()
    for step in range(12):
        with one.device.using(one if step % 2 else other):
            if step % 3:
                x.mul_(2.0)
                expected *= 2
            else:
                x.add_(3.0)
                expected += 3
    assert x.tolist() == [expected] * 1000


def test_what_another_stream_has_gathered_is_read(device: str) -> None:
    _, other = two_streams(device)
    x = rt.ones(4, device=device)
    x.numpy()
    with other.device.using(other):
        x.add_(1)
    assert x.tolist() == [2] * 4
    with other.device.using(other):
        x.add_(1)
    y = x * 10
    assert y.tolist() == [30] * 4


def test_a_reader_on_another_stream_holds_up_the_next_writer(manual: Manual) -> None:
    device, driver = manual
    other = device.new_stream()
    x = rt.ones(4, device=device)
    device.default_stream.flush()
    driver.finish()
    with device.using(other):
        y = x * 2
    other.flush()
    x.add_(5)
    device.default_stream.flush()
    submissions = [(e.timeline.number, e.value) for e in driver.log if e.what == "submitted"]
    assert submissions == [(0, 1), (1, 1), (0, 2)]
    with pytest.raises(Exception, match="waits for 1 on timeline 1"):
        driver.finish(timeline=device.default_stream.timeline)
    driver.finish_all()
    assert (x.tolist(), y.tolist()) == ([6] * 4, [2] * 4)


def test_streams_that_share_nothing_wait_for_nothing(manual: Manual) -> None:
    device, driver = manual
    x, y = rt.ones(4, device=device), rt.zeros(4, device=device)
    device.flush()
    driver.finish_all()
    other = device.new_stream()
    with device.using(other):
        later = (x + 1).readback()
    other.flush()
    y.add_(1)
    device.default_stream.flush()
    driver.finish(timeline=other.timeline)
    assert later.wait().tolist() == [2] * 4
    driver.finish_all()


def test_an_operation_that_is_refused_leaves_nothing_behind(manual: Manual) -> None:
    """The operands that were taken in before the refusal must not shift the numbers of what comes next."""
    device, driver = manual
    good = rt.ones(3, device=device)
    device.flush()
    driver.finish_all()
    bad = rt.zeros(3, device=device)
    bad.storage.slot.failure = rt.OutOfMemory("made up")
    device.flush()
    driver.finish_all()
    with pytest.raises(rt.OutOfMemory, match="made up"):
        good + bad
    assert device.default_stream._batch.commands == 0
    z = rt.full((3,), 7.0, device=device)  # takes no operands: its number is the first free one
    later = z.readback()
    device.flush()
    driver.finish_all()
    assert later.wait().tolist() == [7, 7, 7]


def test_many_threads_share_a_stream(device: str) -> None:
    def work(seed: int) -> float:
        x = rt.full((257,), float(seed), device=device)
        for k in range(60):
            x = x * 0.5 + float(k)
            if k % 20 == 19:
                x.numpy()
        return float(x.sum().item())

    def expected(seed: int) -> float:
        x = np.full(257, seed, np.float64)
        for k in range(60):
            x = x * 0.5 + k
        return float(x.sum())

    running = [started(lambda seed=seed: work(seed)) for seed in range(6)]  # type: ignore[misc]
    for seed, future in enumerate(running):
        assert future.result(PATIENCE) == pytest.approx(expected(seed), rel=1e-5)


def test_reading_what_the_open_batch_only_reads_submits_nothing(device: str) -> None:
    x = rt.ones(3, device=device) * 2
    x.numpy()
    with counting(device) as n:
        y = x + 1
        assert x.tolist() == [2, 2, 2]
    assert n.submissions == 0
    with counting(device) as n:
        x.add_(1)  # now the open batch writes it
        assert x.tolist() == [3, 3, 3]
    assert n.submissions == 1 and y.tolist() == [3, 3, 3]


def test_a_value_that_was_read_before_it_is_overwritten_in_the_same_batch(device: str) -> None:
    x = rt.ones(3, device=device) * 2
    x.numpy()
    y = x + 1
    before = x.readback()
    x.add_(5)
    assert before.wait().tolist() == [2, 2, 2]
    assert x.tolist() == [7, 7, 7] and y.tolist() == [3, 3, 3]


@pytest.mark.drivers("lavapipe", "swiftshader")
def test_semaphores_of_dropped_streams_are_destroyed(device: str) -> None:
    opened = devices.get(device)
    before = len(opened.driver._timelines)
    for _ in range(20):
        with rt.stream(rt.Stream(device)):
            (rt.ones(64, device=device) + 1).sum().item()
    gc.collect()
    rt.Stream(device)  # making one clears up after the others
    assert len(opened.driver._timelines) <= before + 2


@pytest.mark.drivers("lavapipe")
def test_threads_make_and_drop_streams_at_once(device: str) -> None:
    found = devices.get(device)

    def work() -> int:
        for _ in range(300):
            found.new_stream()
        return 1

    running = [started(work) for _ in range(4)]
    assert [thread.result(PATIENCE) for thread in running] == [1] * 4
