"""Running out of memory: said clearly, nothing lost that was there before, and everything works afterwards."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import pytest

import rasptorch as rt
from rasptorch.runtime import device as devices
from rasptorch.runtime import settings
from rasptorch.runtime.device import Device
from rasptorch.runtime.host.driver import HostDriver
from rasptorch.runtime.manual_driver import ManualDriver, manual_device
from tests.support.manual import PATIENCE, Manual, started

MiB = 1 << 20


def limited(device: str, more: int) -> AbstractContextManager[settings.Settings]:
    """As if the device had only so many bytes more than it has given so far."""
    rt.synchronize(device)
    rt.device(device).pool.trim()
    return settings.override(pool_limit=rt.statistics(device).bytes_reserved + more)


@pytest.mark.fresh  # what is free in a pool that others have filled would be room
def test_out_of_memory_says_who_holds_what(device: str) -> None:
    if device == "cpu":
        made = devices.register(Device("cpu, of its own", HostDriver()))
        try:
            check_what_out_of_memory_says(made.name)
        finally:
            devices.forget(made)
            made.close()
    else:
        check_what_out_of_memory_says(device)


def check_what_out_of_memory_says(device: str) -> None:
    x = rt.ones(1000, device=device)
    x.numpy()
    held = rt.statistics(device).bytes_in_use
    with limited(device, MiB):
        with pytest.raises(rt.OutOfMemory) as caught:
            (rt.zeros(40 * MiB // 4, device=device) + x[0]).numpy()
        for part in (r"no room for 41,943,040 bytes of device memory", "in use", "reserved in", "RASPTORCH_POOL_LIMIT"):
            assert part in str(caught.value)
        assert isinstance(caught.value, MemoryError)
        caught.value.__traceback__ = None
        # What was there is there, and what fits goes on.
        assert (x * 2).tolist() == [2.0] * 1000
    big = rt.zeros(40 * MiB // 4, device=device) + x[0]
    assert big[-1].item() == 1.0
    del big, caught
    rt.synchronize(device)
    assert rt.statistics(device).bytes_in_use == held


def test_out_of_memory_while_uploading(device: str) -> None:
    data = np.zeros(10 * MiB, np.float32)
    with limited(device, MiB), pytest.raises(rt.OutOfMemory, match="of upload memory"):
        rt.tensor(data, device=device)
    assert rt.tensor(data, device=device)[5].item() == 0.0


def test_the_lost_stays_lost_and_nobody_hangs(manual: Manual) -> None:
    device, driver = manual
    kept = rt.full((10,), 5.0, device=device)
    device.flush()
    driver.finish()
    driver.memory_limit = driver.allocated
    small, big = kept + 1, rt.zeros(30 * MiB // 4, device=device)
    later, changed = small.readback(), kept.readback()
    kept.add_(1)
    after = kept.readback()
    with pytest.raises(rt.OutOfMemory):
        device.default_stream.flush()
    for _ in range(2):
        for lost in (later.wait, small.numpy, big.numpy, lambda: small + 1):
            with pytest.raises(rt.OutOfMemory, match="no room for"):
                started(lost).result(PATIENCE)
    # The write in place belonged to the batch that could not run, and so did the copy of the value before it.
    for reading in (after, changed):
        with pytest.raises(rt.OutOfMemory):
            started(reading.wait).result(PATIENCE)
    next_one = (kept * 2).readback()
    device.flush()
    driver.finish_all()
    assert next_one.wait().tolist() == [10.0] * 10
    assert device.default_stream.failure is None


@pytest.mark.trio
async def test_a_task_that_awaits_the_lost_is_told(manual: Manual) -> None:
    device, driver = manual
    driver.memory_limit = 0
    later = rt.zeros(10, device=device).readback()
    for _ in range(2):
        with pytest.raises(rt.OutOfMemory):
            await later
    driver.memory_limit = None
    x = rt.ones(10, device=device).readback()
    device.flush()
    driver.finish_all()
    assert (await x).tolist() == [1] * 10


def test_unused_blocks_make_room() -> None:
    driver = ManualDriver(automatic=True)
    driver.memory_limit = 100 * MiB
    with manual_device(driver) as (device, _), settings.override(pool_block=16 * MiB):
        parts = [rt.full((15 * MiB // 4,), float(k), device=device) for k in range(5)]
        assert [part[0].item() for part in parts] == [0, 1, 2, 3, 4]
        assert driver.allocated == 80 * MiB
        keep, parts = parts[2], []
        big = rt.ones(70 * MiB // 4, device=device)  # only there once the other four blocks have gone
        assert big[:3].tolist() == [1] * 3 and keep[0].item() == 2.0
        assert driver.allocated <= 100 * MiB


def test_unfinished_work_is_waited_for_before_giving_up(manual: Manual) -> None:
    device, driver = manual
    x = rt.ones(20 * MiB // 4, device=device)
    device.default_stream.submit()
    other = device.new_stream()
    del x
    driver.memory_limit = driver.allocated

    def on_another_stream() -> rt.Tensor:
        with device.using(other):
            y = rt.full((20 * MiB // 4,), 3.0, device=device)
            other.submit()
            return y

    thread = started(on_another_stream)
    driver.until_waiting(1)  # the bytes are those that the first submission still uses
    driver.finish()
    y = thread.result(PATIENCE)
    driver.finish_all()
    assert y[7:9].tolist() == [3.0, 3.0]


def test_the_limit_of_the_device_itself() -> None:
    driver = ManualDriver(automatic=True, max_block=10 * MiB)
    with manual_device(driver) as (device, _), settings.override(pool_block=4 * MiB):
        assert rt.ones(9 * MiB // 4, device=device)[0].item() == 1.0
        with pytest.raises(rt.ShapeError, match="at most 10,485,760"):
            rt.ones(11 * MiB // 4, device=device)
        x = rt.ones(1280, 1280, device=device)
        # Both temporaries together are more than one allocation holds: the arena is in two pieces.
        assert (((x @ x) @ (x @ x.t())).numpy() == 1280.0**3).all()
        assert all(block.nbytes <= 10 * MiB for block in driver.blocks.values())


@pytest.mark.drivers("lavapipe", "swiftshader")
def test_tensors_that_no_kernel_can_be_given(device: str) -> None:
    limit = rt.device(device).driver.traits.max_range
    makers = (
        lambda: rt.zeros(limit // 4 + 1, device=device),
        lambda: rt.empty(limit + 1, dtype=rt.uint8, device=device),
        lambda: rt.ones(2, 2, device=device).reshape(4, 1) + rt.zeros(1, limit // 8, device=device),
    )
    for make in makers:
        with pytest.raises(rt.ShapeError, match=f"{limit:,}"):
            make()
    assert rt.ones(3, device=device).tolist() == [1] * 3


@pytest.mark.fresh  # what is free in a pool that others have filled would be room
def test_training_goes_on_after_running_out(device: str) -> None:
    w = rt.ones(64, 64, device=device, requires_grad=True)

    def step(rows: int) -> float:
        loss = ((rt.ones(rows, 64, device=device) @ w).relu() * 0.001).sum()
        loss.backward()
        with rt.no_grad():
            assert w.grad is not None
            w.sub_(0.001 * w.grad)
        w.grad = None
        return float(loss.item())

    first = step(10)
    with limited(device, MiB):
        with pytest.raises(rt.OutOfMemory) as caught:
            step(100_000)
        caught.value.__traceback__ = None
    w.grad = None
    assert step(10) < first
