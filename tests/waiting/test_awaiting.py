"""Awaiting: cancelled, timed out, many at once, and after the loop that awaited is gone."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

import rasptorch as rt
from rasptorch.runtime import settings
from rasptorch.runtime.manual_driver import manual_device
from tests.support.manual import PATIENCE, Manual, started


def counted(device: Any, count: int) -> list[rt.Readback[Any]]:
    """That many values, each in a submission of its own."""
    values = []
    with settings.override(in_flight=64):
        for k in range(count):
            values.append(rt.full((2,), float(k), device=device).readback())
            device.default_stream.submit()
    return values


@pytest.mark.trio
async def test_cancelling_an_await_loses_nothing(manual: Manual) -> None:
    device, driver = manual
    (later,) = counted(device, 1)
    for _ in range(3):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_awaiting, later)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught and not later.is_done()
    driver.finish()
    assert (await later).tolist() == [0, 0]


async def _awaiting(value: Any) -> None:
    await value


@pytest.mark.trio
async def test_cancelling_one_leaves_the_others_waiting(manual: Manual) -> None:
    device, driver = manual
    (later,) = counted(device, 1)
    got = []

    async def get() -> None:
        got.append((await later).tolist())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(get)
        nursery.start_soon(get)
        async with trio.open_nursery() as doomed:
            doomed.start_soon(get)
            await trio.testing.wait_all_tasks_blocked()
            doomed.cancel_scope.cancel()
        assert got == []
        driver.finish()
    assert got == [[0, 0], [0, 0]]


@pytest.mark.trio
async def test_the_device_goes_on_after_a_cancelled_await(manual: Manual) -> None:
    device, driver = manual
    x = rt.zeros(2, device=device)
    for _ in range(5):
        x.add_(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await x.readback()
        assert scope.cancelled_caught
    driver.finish_all()
    device.flush()
    driver.finish_all()
    assert (await x.readback()).tolist() == [5, 5]


@pytest.mark.trio
async def test_cancelled_just_as_it_is_reached(manual: Manual) -> None:
    """The watcher has seen the fence and is about to wake the task, which is cancelled meanwhile."""
    device, driver = manual
    for later in counted(device, 10):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_awaiting, later)
                await trio.testing.wait_all_tasks_blocked()
                driver.until_waiting(1)
                driver.finish()
                scope.cancel()
        assert (await later).size == 2


@pytest.mark.trio
async def test_timeouts_of_trio(manual: Manual) -> None:
    device, driver = manual
    (later,) = counted(device, 1)
    with trio.move_on_after(0.01) as scope:
        await later
    assert scope.cancelled_caught
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(0.01):
            await later
    driver.finish()
    with trio.fail_after(PATIENCE):
        assert (await later).tolist() == [0, 0]


def test_timeouts_of_threads(manual: Manual) -> None:
    device, driver = manual
    later = (rt.ones(2, device=device) * 4).readback()
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError, match=rf"Fence\(manual.*, 1, submitted\) was not reached within {timeout} s"):
            later.wait(timeout)
    with pytest.raises(TimeoutError):
        device.default_stream.flush().wait(timeout=0)
    driver.finish()
    assert later.wait(timeout=0).tolist() == [4, 4]


def test_a_timeout_also_holds_when_the_stream_is_crowded(manual: Manual) -> None:
    """Submitting for a wait must not itself wait for room."""
    device, driver = manual
    counted(device, 3)
    later = rt.ones(2, device=device).readback()
    with settings.override(in_flight=1), pytest.raises(TimeoutError):
        later.wait(timeout=0)
    driver.finish_all()
    assert later.wait().tolist() == [1, 1]


@pytest.mark.trio
@pytest.mark.parametrize("seed", range(4))
async def test_many_tasks_await_in_any_order(manual: Manual, seed: int) -> None:
    device, driver = manual
    values, done = counted(device, 12), []
    order = list(range(12)) * 2
    random.Random(seed).shuffle(order)

    async def get(k: int) -> None:
        assert (await values[k]).tolist() == [k, k]
        done.append(k)

    async with trio.open_nursery() as nursery:
        for k in order:
            nursery.start_soon(get, k)
        for k in range(12):
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(done) == sorted([*range(k), *range(k)])
            driver.finish()
            with trio.fail_after(PATIENCE):
                while len(done) < 2 * (k + 1):
                    await trio.sleep(0)
    assert sorted(done) == sorted(order)


@pytest.mark.trio
async def test_fences_of_several_streams_and_devices(manual: Manual) -> None:
    device, driver = manual
    with manual_device() as (second, other_driver):
        other = device.new_stream()
        order: list[str] = []

        async def note(name: str, fence: Any) -> None:
            await fence
            order.append(name)

        async def told(count: int) -> None:
            with trio.fail_after(PATIENCE):
                while len(order) < count:
                    await trio.sleep(0)

        x, y, z = (rt.ones(2, device=d) for d in (device, device, second))
        first = device.default_stream.flush()
        with device.using(other):
            w = rt.zeros(2, device=device)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, "default", first)
            nursery.start_soon(note, "other", other.flush())
            nursery.start_soon(note, "second", second.default_stream.flush())
            await trio.testing.wait_all_tasks_blocked()
            assert order == []
            other_driver.finish()
            await told(1)
            driver.finish(timeline=other.timeline)
            await told(2)
            driver.finish()
        assert order == ["second", "other", "default"]
        del x, y, z, w


@pytest.mark.trio
async def test_a_thread_and_tasks_wait_for_the_same(manual: Manual) -> None:
    device, driver = manual
    (later,) = counted(device, 1)
    thread = started(later.wait)
    got = []

    async def get() -> None:
        got.append(await later)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(get)
        await trio.testing.wait_all_tasks_blocked()
        driver.until_waiting(2)
        driver.finish()
    assert thread.result(PATIENCE) is got[0]


def test_a_loop_that_ends_while_the_watcher_waits(manual: Manual) -> None:
    """The next loop, in this thread or another, is served all the same."""
    device, driver = manual
    (later,) = counted(device, 1)

    async def give_up() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_awaiting, later)
                await trio.testing.wait_all_tasks_blocked()
                driver.until_waiting(1)
                scope.cancel()

    async def get() -> Any:
        return (await later).tolist()

    async def crash() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_awaiting, later)
            await trio.testing.wait_all_tasks_blocked()
            raise ValueError("the program's own")

    trio.run(give_up)
    with pytest.raises(ExceptionGroup):
        trio.run(crash)
    thread = started(lambda: trio.run(get))
    driver.until_waiting(1)
    driver.finish()
    assert thread.result(PATIENCE) == [0, 0]
    assert trio.run(get) == [0, 0]


def test_loops_in_several_threads(device: str) -> None:
    async def work(seed: int) -> float:
        total = 0.0
        for k in range(10):
            x = rt.full((100,), float(seed * k), device=device)
            total += float(await (x * 2).sum().item())
        return total

    threads = [started(lambda s=seed: trio.run(work, s)) for seed in range(4)]  # type: ignore[misc]
    assert [t.result(PATIENCE) for t in threads] == [200.0 * seed * 45 for seed in range(4)]


@pytest.mark.trio
async def test_awaiting_on_every_device(device: str) -> None:
    found, got = rt.device(device), {}

    async def get(k: int) -> None:
        x = rt.full((1000,), float(k), device=device)
        got[k] = (await (x.exp().log() + 1).sum().item()) / 1000

    async with trio.open_nursery() as nursery:
        for k in range(20):
            nursery.start_soon(get, k)
    assert got == {k: pytest.approx(k + 1, rel=1e-4) for k in range(20)}
    await rt.synchronize(found)
