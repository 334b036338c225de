"""A failed submission wakes everybody who waits for its device, with the error, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import rasptorch as rt
from rasptorch.runtime.manual_driver import manual_device
from tests.support.manual import PATIENCE, Manual, started


@pytest.mark.trio
async def test_threads_and_tasks_wake_with_the_error(manual: Manual) -> None:
    device, driver = manual
    later, next_one = rt.ones(2, device=device).readback(), None
    device.default_stream.submit()
    next_one = (rt.ones(2, device=device) + 1).readback()
    device.default_stream.submit()
    caught: list[str] = []

    async def get(value: Any) -> None:
        with pytest.raises(rt.DeviceLost, match="pulled out") as found:
            await value
        caught.append(str(found.value))

    waits: list[Any] = [later.wait, next_one.wait, device.default_stream.flush().wait]
    threads = [started(wait) for wait in waits]
    async with trio.open_nursery() as nursery:
        for value in (later, later, next_one, device.default_stream.flush()):
            nursery.start_soon(get, value)
        await trio.testing.wait_all_tasks_blocked()
        driver.until_waiting(4)
        driver.fail(rt.DeviceLost("pulled out"))
        driver.finish()
    assert caught == ["pulled out"] * 4
    for thread in threads:
        with pytest.raises(rt.DeviceLost, match="pulled out"):
            thread.result(PATIENCE)


def test_other_devices_go_on(manual: Manual) -> None:
    device, driver = manual
    with manual_device() as (other, other_driver):
        x, y = rt.ones(2, device=device), rt.ones(2, device=other)
        device.flush(), other.flush()
        driver.fail(rt.DeviceLost("gone"))
        driver.finish()
        with pytest.raises(rt.DeviceLost):
            x.numpy()
        later = (y + 1).readback()
        other.flush()
        other_driver.finish_all()
        assert later.wait().tolist() == [2, 2]


def test_what_was_done_before_can_still_be_read(manual: Manual) -> None:
    device, driver = manual
    x = rt.full((2,), 5.0, device=device)
    device.flush()
    driver.finish()
    early, y = x.readback(), x + 1
    device.flush()
    driver.fail(rt.DeviceLost("gone"))
    driver.finish()
    assert early.wait().tolist() == [5, 5]
    with pytest.raises(rt.DeviceLost):
        y.readback().wait()


def test_nothing_hangs_afterwards(manual: Manual) -> None:
    device, driver = manual
    x = rt.ones(2, device=device)
    later = x.readback()
    device.flush()
    driver.fail(rt.DeviceLost("gone"))
    driver.finish()
    uses: list[Any] = [
        later.wait, later.wait, x.numpy, x.item, lambda: x + x, lambda: rt.ones(3, device=device),
        lambda: rt.tensor([1.0], device=device) + 1, lambda: rt.synchronize(device), lambda: repr(x), lambda: float(x[0]),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises((rt.DeviceLost, rt.ShapeError)):
            started(use).result(PATIENCE)


@pytest.mark.trio
async def test_no_task_hangs_afterwards(manual: Manual) -> None:
    device, driver = manual
    x = rt.ones(2, device=device)
    later = x.readback()
    device.flush()
    driver.fail(rt.DeviceLost("gone"))
    driver.finish()
    with trio.fail_after(PATIENCE):
        for _ in range(2):
            with pytest.raises(rt.DeviceLost):
                await later
            with pytest.raises(rt.DeviceLost):
                await rt.synchronize(device)


def test_a_kernel_that_raises_on_the_host_fails_its_device() -> None:
    """As `tests.support.manual` cannot: on the cpu device's own driver, with its worker thread."""
    from rasptorch.runtime.device import Device
    from rasptorch.runtime.host.driver import HostDriver

    class Breaking(HostDriver):
        def record(self, *args: Any) -> Any:
            made = super().record(*args)

            def fail(scalars: Any) -> None:
                raise ZeroDivisionError("a bug in a kernel")

            made.runners.append(fail)
            return made

    device = Device("cpu, breaking", Breaking())
    other = device.new_stream()
    x = rt.ones(2, device=device)
    device.default_stream.flush()
    with device.using(other):
        y = x + 1  # depends on what fails
    with pytest.raises(ZeroDivisionError, match="a bug in a kernel"):
        y.numpy()
    with pytest.raises(ZeroDivisionError):
        x.numpy()
    assert (rt.ones(2) + 1).tolist() == [2, 2]
    device.close()


def test_failing_to_submit_wakes_those_who_wait(manual: Manual) -> None:
    device, driver = manual
    later = rt.ones(2, device=device).readback()
    device.default_stream.submit()
    thread = started(later.wait)
    driver.until_waiting(1)
    x = rt.ones(2, device=device)
    driver.fail_submit(rt.DeviceLost("no more queue"))
    with pytest.raises(rt.DeviceLost, match="no more queue"):
        device.flush()
    with pytest.raises(rt.DeviceLost, match="no more queue"):
        thread.result(PATIENCE)
    del x


def test_closing_a_device_wakes_those_who_wait() -> None:
    with manual_device() as (device, driver):
        later = rt.ones(2, device=device).readback()
        device.default_stream.submit()

        async def get() -> Any:
            return (await later).tolist()

        thread = started(lambda: trio.run(get))
        driver.until_waiting(1)
    # What was submitted was finished first.
    assert thread.result(PATIENCE) == [1, 1]
