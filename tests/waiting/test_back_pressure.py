"""How much may be in flight: a script waits for the oldest submission, a Trio task comes and asks."""

from __future__ import annotations

import pytest
import trio

import rasptorch as rt
from rasptorch.runtime import settings
from tests.support.manual import PATIENCE, Manual, started


def test_a_script_waits_for_the_oldest(manual: Manual) -> None:
    device, driver = manual
    x = rt.zeros(2, device=device)

    def work() -> None:
        for _ in range(6):
            x.add_(1)
            device.default_stream.flush()

    with settings.override(in_flight=3):
        thread = started(work)
        driver.until_waiting(1)
        assert len(driver.unfinished) == 4, "three in flight, and the one that is over"
        driver.finish()
        driver.until_waiting(1)
        assert len(driver.unfinished) == 4 and not thread.done()
        driver.finish(2)
        thread.result(PATIENCE)
    driver.finish_all()
    assert x.tolist() == [6, 6]


def test_batches_that_fill_up_wait_too(manual: Manual) -> None:
    device, driver = manual
    with settings.override(in_flight=2, flush_commands=1):
        x = rt.zeros(2, device=device)

        def work() -> None:
            for _ in range(4):
                x.add_(1)

        thread = started(work)
        driver.until_waiting(1)
        assert len(driver.unfinished) == 3
        driver.finish()
        driver.until_waiting(1)
        assert len(driver.unfinished) == 3 and not thread.done()
        driver.finish()
        thread.result(PATIENCE)
        assert len(driver.unfinished) == 3
    driver.finish_all()
    assert x.tolist() == [4, 4]


@pytest.mark.trio
async def test_a_task_does_not_wait_but_has_a_limit(manual: Manual) -> None:
    device, driver = manual
    x = rt.zeros(2, device=device)
    done = 0
    with settings.override(in_flight=2, in_flight_hard=5):
        with pytest.raises(rt.TooMuchInFlight, match=r"6 submissions .* past the limit of 5 .*`await stream.has_room\(\)`"):
            for _ in range(20):
                x.add_(1)
                done += 1
                device.default_stream.flush()
        assert len(driver.unfinished) == 6
        # What was refused has not happened.
        for _ in range(3):
            with pytest.raises(rt.TooMuchInFlight):
                x.add_(1)
        driver.finish_all()
        x.add_(1)
        device.default_stream.flush()
        driver.finish_all()
    assert (await x.readback()).tolist() == [done + 1] * 2


@pytest.mark.trio
async def test_awaiting_a_value_is_possible_also_past_the_limit(manual: Manual) -> None:
    device, driver = manual
    x = rt.zeros(2, device=device)
    with settings.override(in_flight=1, in_flight_hard=2):
        for _ in range(3):
            x.add_(1)
            device.default_stream.submit()
        later = x.readback()
        driver.finish_all()
        assert (await later).tolist() == [3, 3]


@pytest.mark.trio
async def test_has_room(manual: Manual) -> None:
    device, driver = manual
    stream = device.default_stream
    x = rt.zeros(2, device=device)
    most = 0

    async def produce() -> None:
        nonlocal most
        for _ in range(8):
            await stream.has_room()
            x.add_(1)
            stream.flush()
            most = max(most, len(driver.unfinished))

    with settings.override(in_flight=3, in_flight_hard=3), trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce)
            for _ in range(5):
                await trio.testing.wait_all_tasks_blocked()
                assert len(driver.unfinished) == 3
                driver.until_waiting(1)
                driver.finish()
                while len(driver.unfinished) < 3:
                    await trio.sleep(0)
            driver.finish_all()
    assert most == 3
    driver.finish_all()
    assert (await x.readback()).tolist() == [8, 8]


def test_where_waiting_is_forbidden_the_hard_limit_holds(manual: Manual) -> None:
    device, driver = manual
    x = rt.zeros(2, device=device)
    with settings.override(in_flight=1, in_flight_hard=3), rt.forbid_waiting(), pytest.raises(rt.TooMuchInFlight):
        for _ in range(10):
            x.add_(1)
            device.default_stream.flush()
    assert len(driver.unfinished) == 4
    driver.finish_all()
    assert x.tolist() == [4, 4]


def test_streams_have_room_of_their_own(manual: Manual) -> None:
    device, _ = manual
    other = device.new_stream()
    with settings.override(in_flight=2), rt.forbid_waiting():
        for stream in (device.default_stream, other):
            with device.using(stream):
                for _ in range(2):
                    rt.zeros(2, device=device).readback()
                    stream.flush()


@pytest.mark.trio
async def test_a_long_loop_with_has_room_stays_bounded(device: str) -> None:
    found = rt.device(device)
    x = rt.zeros(1000, device=device)
    for _ in range(200):
        await found.default_stream.has_room()
        x.add_(1)
        found.default_stream.flush()
        assert rt.statistics(device).in_flight <= settings.current.in_flight
    assert (await x.readback()).tolist() == [200.0] * 1000
