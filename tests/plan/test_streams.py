"""Streams for users: independent work overlaps, dependent work is ordered, whoever asks for it or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import trio

import rasptorch as rt
from rasptorch import Tensor
from rasptorch.runtime import settings
from rasptorch.runtime.device import Device
from rasptorch.runtime.manual_driver import ManualDriver, ManualError, manual_device
from rasptorch.runtime.stream import Stream
from tests.support.manual import PATIENCE, Manual, started


@contextmanager
def two_streams(manual: Manual) -> Iterator[tuple[Stream, Stream]]:
    """Two streams beside the default one, on which everything is done."""
    one, other = rt.Stream(manual.device), rt.Stream(manual.device)
    yield one, other


def filled(device: Device, value: float, n: int = 4) -> Tensor:
    """A tensor that is there already."""
    made = rt.full((n,), value, device=device)
    device.flush()
    assert isinstance(device.driver, ManualDriver) or hasattr(device.driver, "finish_all")
    device.driver.finish_all()
    return made


def submitted(manual: Manual, since: int = 0) -> list[tuple[int, int]]:
    return manual.driver.order("submitted")[since:]


# -- overlap ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("last", [0, 1])
def test_independent_work_overlaps(manual: Manual, last: int) -> None:
    """Both streams have work on the device at the same time, and either may be done first."""
    device, driver = manual
    x, y = filled(device, 2.0), filled(device, 3.0)
    with two_streams(manual) as streams:
        results = []
        for stream, value in zip(streams, (x, y), strict=True):
            with rt.stream(stream):
                results.append((value * 10).readback())
            stream.flush()
        timelines = [s.timeline for s in streams]
        assert driver.unfinished == [(t, 1) for t in timelines], "both were submitted before either finished"
        driver.finish(timeline=timelines[1 - last])
        assert [r.is_done() for r in results] == [last == 1, last == 0]
        driver.finish(timeline=timelines[last])
        assert [r.wait().tolist() for r in results] == [[20] * 4, [30] * 4]


def test_in_flight_counts_all_streams(manual: Manual) -> None:
    """Not only those of the stream that changed last."""
    device, driver = manual
    x = filled(device, 2.0)

    def seen() -> int:
        return rt.statistics(device).in_flight

    with two_streams(manual) as streams, settings.override(in_flight=64):
        kept = []
        for number, stream in enumerate((*streams, streams[0])):
            with rt.stream(stream):
                kept.append(x * number)
            stream.flush()
            assert seen() == number + 1
        driver.finish(timeline=streams[1].timeline)
        assert seen() == 2
        driver.finish(timeline=streams[0].timeline)
        assert seen() == 1
        driver.finish_all()
        assert seen() == 0


def test_a_long_stream_does_not_hold_up_a_short_one(manual: Manual) -> None:
    device, driver = manual
    x, y = filled(device, 2.0), filled(device, 3.0)
    with two_streams(manual) as (slow, quick), settings.override(in_flight=64):
        with rt.stream(slow):
            for _ in range(5):
                x = x + 1
                slow.flush()
        for k in range(3):
            with rt.stream(quick):
                y = y * 2
                later = y.readback()
            quick.flush()
            driver.finish(timeline=quick.timeline)
            assert later.wait().tolist() == [3 * 2 ** (k + 1)] * 4
        assert len(driver.unfinished) == 5
        driver.finish_all()
    assert x.tolist() == [7] * 4


def test_reading_back_and_uploading_overlap_computing(manual: Manual) -> None:
    device, driver = manual
    ready, x = filled(device, 5.0), filled(device, 1.0)
    compute = rt.Stream(device)
    with rt.stream(compute):
        busy = x + 1
    compute.flush()
    assert ready.tolist() == [5] * 4  # waits for nothing
    loader = rt.Stream(device)
    with rt.stream(loader):
        batch = rt.tensor(np.arange(4, dtype=np.float32), device=device) / 2
        later = batch.readback()
    loader.flush()
    driver.finish(timeline=loader.timeline)
    assert later.wait().tolist() == [0, 0.5, 1, 1.5]
    assert driver.unfinished == [(compute.timeline, 1)]
    with rt.stream(compute):
        out = busy * batch
    compute.flush()
    driver.finish_all()
    assert out.tolist() == [0, 1, 2, 3]


def test_on_a_device_with_its_own_memory_copies_are_commands() -> None:
    with manual_device(ManualDriver(kind="discrete")) as (device, driver):
        compute, loader = rt.Stream(device), rt.Stream(device)
        with rt.stream(compute):
            busy = rt.ones(4, device=device) + 1
        compute.flush()
        with rt.stream(loader):
            batch = rt.tensor([1.0, 2.0, 3.0, 4.0], device=device)
        loader.flush()
        driver.finish(timeline=loader.timeline)
        assert driver.unfinished == [(compute.timeline, 1)]
        with rt.stream(compute):
            later = (busy * batch).readback()
        compute.flush()
        driver.finish_all()
        assert later.wait().tolist() == [2, 4, 6, 8]


# -- dependencies -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("flushed", [True, False])
def test_a_value_made_on_another_stream(manual: Manual, asked: bool, flushed: bool) -> None:
    """With and without the user's ``wait_for``, and also where the maker's commands are still being gathered."""
    device, driver = manual
    with two_streams(manual) as (maker, user):
        with rt.stream(maker):
            x = rt.full((4,), 3.0, device=device)
        if flushed:
            maker.flush()
        if asked:
            user.wait_for(maker.record())
        with rt.stream(user):
            y = x * 2
        user.flush()
        with pytest.raises(ManualError, match="waits for 1"):
            driver.finish(timeline=user.timeline)
        driver.finish(timeline=maker.timeline)
        driver.finish(timeline=user.timeline)
        assert y.tolist() == [6] * 4


def test_wait_for_orders_what_shares_nothing(manual: Manual) -> None:
    device, driver = manual
    x, y = filled(device, 1.0), filled(device, 2.0)
    with two_streams(manual) as (first, second):
        with rt.stream(second):
            before = y + 1  # enqueued before the wait: not held up by it
        with rt.stream(first):
            a = x + 1
        second.wait_for(first.record())
        with rt.stream(second):
            b = y * 5
        second.flush()
        driver.finish(timeline=second.timeline)
        assert before.tolist() == [3] * 4
        with pytest.raises(ManualError, match="waits for 1"):
            driver.finish(timeline=second.timeline)
        driver.finish(timeline=first.timeline)
        driver.finish(timeline=second.timeline)
        with rt.stream(second):
            c = b + 1  # and only once
        second.flush()
        driver.finish_all()
        assert (a.tolist()[0], b.tolist()[0], c.tolist()[0]) == (2, 10, 11)


def test_waiting_for_oneself_or_for_what_is_done_costs_nothing(manual: Manual) -> None:
    device, driver = manual
    x = filled(device, 1.0)
    with two_streams(manual) as (one, other):
        with rt.stream(one):
            y = x + 1
            one.wait_for(one.record())
        one.flush()
        driver.finish_all()
        other.wait_for(one.record())
        with rt.stream(other):
            z = x + 2
        other.flush()
        driver.finish(timeline=other.timeline)
        assert (y.tolist(), z.tolist()) == ([2] * 4, [3] * 4)
    with pytest.raises(rt.DeviceError, match="cannot wait for a fence of cpu"):
        one.wait_for(rt.current_stream("cpu").record())


def test_a_writer_waits_for_readers_of_other_streams(manual: Manual) -> None:
    device, driver = manual
    x = filled(device, 1.0)
    with two_streams(manual) as (reader, writer):
        with rt.stream(reader):
            y = x * 10  # only gathered
        with rt.stream(writer):
            x.add_(1)
        writer.flush()
        assert submitted(manual)[-2:] == [(reader.timeline.number, 1), (writer.timeline.number, 1)]
        with pytest.raises(ManualError, match="waits for 1"):
            driver.finish(timeline=writer.timeline)
        driver.finish(timeline=reader.timeline)
        driver.finish(timeline=writer.timeline)
        assert (y.tolist(), x.tolist()) == ([10] * 4, [2] * 4)


def test_a_writer_waits_for_all_of_several_readers(manual: Manual) -> None:
    device, driver = manual
    x = filled(device, 1.0)
    readers = [rt.Stream(device) for _ in range(3)]
    made = []
    for k, stream in enumerate(readers):
        with rt.stream(stream):
            made.append(x + k)
        stream.flush()
    x.mul_(100)
    device.default_stream.flush()
    for stream in readers:
        with pytest.raises(ManualError, match="waits for 1"):
            driver.finish(timeline=device.default_stream.timeline)
        driver.finish(timeline=stream.timeline)
    driver.finish_all()
    assert [m.tolist()[0] for m in made] == [1, 2, 3] and x.tolist() == [100] * 4


def test_two_writers_keep_the_programs_order(manual: Manual) -> None:
    device, driver = manual
    x = filled(device, 1.0)
    with two_streams(manual) as (one, other):
        for stream, change in ((one, lambda: x.add_(2)), (other, lambda: x.mul_(10)), (one, lambda: x.sub_(5))):
            with rt.stream(stream):
                change()
        one.flush()
        with pytest.raises(ManualError, match="waits for"):
            driver.finish(timeline=other.timeline)
        driver.finish_all()
    assert x.tolist() == [25] * 4


def test_readers_of_one_value_do_not_wait_for_each_other(manual: Manual) -> None:
    device, driver = manual
    x = filled(device, 7.0)
    with two_streams(manual) as (one, other):
        made = []
        for stream in (one, other):
            with rt.stream(stream):
                made.append(x + 1)
            stream.flush()
        driver.finish(timeline=other.timeline)
        driver.finish(timeline=one.timeline)
        assert [m.tolist() for m in made] == [[8] * 4] * 2


def test_a_value_read_back_before_another_stream_changes_it(manual: Manual) -> None:
    device, driver = manual
    x = filled(device, 1.0)
    later = x.readback()
    other = rt.Stream(device)
    with rt.stream(other):
        x.add_(1)
    other.flush()
    driver.finish_all()
    assert later.wait().tolist() == [1] * 4
    again = x.readback()
    driver.finish_all()
    assert again.wait().tolist() == [2] * 4


# -- fences, flushing, waiting ------------------------------------------------------------------------------------
def test_recording_and_flushing(manual: Manual) -> None:
    device, driver = manual
    stream = rt.Stream(device, "mine")
    assert stream.record().is_done() and stream.flush().is_done() and stream.name == "mine"
    with rt.stream(stream):
        x = rt.ones(2, device=device)
        open_fence = stream.record()
        y = x + 1
    assert open_fence.state == "open" and driver.unfinished == []
    fence = stream.flush()
    assert (fence.value, fence.state) == (1, "submitted") and open_fence.state == "submitted"
    assert stream.flush().value == 1, "nothing more to submit"
    driver.finish()
    assert open_fence.is_done() and y.tolist() == [2, 2]


def test_synchronizing_in_a_script(manual: Manual) -> None:
    device, driver = manual
    stream = rt.Stream(device)
    with rt.stream(stream):
        x = rt.ones(2, device=device) * 3
    elsewhere = rt.ones(2, device=device) + 1
    future = started(stream.synchronize)
    driver.until_waiting()
    assert driver.unfinished == [(stream.timeline, 1)], "only this stream was submitted"
    driver.finish()
    assert future.result(PATIENCE) is None
    assert x.readback().is_done()
    future = started(lambda: rt.synchronize(device))
    driver.until_waiting()
    driver.finish_all()
    future.result(PATIENCE)
    assert elsewhere.readback().is_done()


@pytest.mark.trio
async def test_synchronizing_under_trio(manual: Manual) -> None:
    device, driver = manual
    stream = rt.Stream(device)
    with rt.stream(stream):
        x = rt.ones(2, device=device) * 3
    done: list[bool] = []

    async def wait() -> None:
        fence = stream.synchronize()
        assert fence is not None
        await fence
        done.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert done == [] and driver.unfinished == [(stream.timeline, 1)]
        driver.finish()
    assert done == [True]
    assert list(await x.tolist()) == [3, 3]


@pytest.mark.trio
async def test_room_is_per_stream(manual: Manual) -> None:
    device, driver = manual
    with two_streams(manual) as (full, free), settings.override(in_flight=2):
        x, y = rt.ones(2, device=device), rt.ones(2, device=device)
        device.flush()
        driver.finish_all()
        with rt.stream(full):
            for _ in range(3):
                x = x + 1
                full.flush()
        with trio.fail_after(PATIENCE):
            await free.has_room()
            with rt.stream(free):
                y = y * 2
            free.flush()
            went_on: list[bool] = []

            async def wait() -> None:
                await full.has_room()
                went_on.append(True)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                driver.finish(timeline=full.timeline)
                await trio.testing.wait_all_tasks_blocked()
                assert went_on == [], "two are unfinished, and there is room for two"
                driver.finish(timeline=full.timeline)
            assert went_on == [True]
        driver.finish_all()
    assert list(await x.tolist()) == [4, 4] and list(await y.tolist()) == [2, 2]


def test_contexts_nest(manual: Manual) -> None:
    device, driver = manual
    with two_streams(manual) as (outer, inner):
        with rt.stream(outer):
            with rt.stream(inner):
                a = rt.ones(2, device=device)
                assert rt.current_stream(device) is inner
            b = a + 1
            assert rt.current_stream(device) is outer
        assert rt.current_stream(device) is device.default_stream
        device.flush()
        driver.finish_all()
        assert b.tolist() == [2, 2]
        assert (inner.submitted, outer.submitted, device.default_stream.submitted) == (1, 1, 0)
