"""Deleting, overwriting and reading while submissions are unfinished: what was asked for is what comes."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import rasptorch as rt
from rasptorch.runtime import settings
from rasptorch.runtime.manual_driver import ManualDriver, manual_device
from tests.support.manual import Manual


def in_use(device: Any) -> int:
    return rt.statistics(device).bytes_in_use


def test_a_tensor_deleted_in_flight_is_still_there_for_the_device(manual: Manual) -> None:
    device, driver = manual
    x = rt.full((1000,), 3.0, device=device)
    device.default_stream.submit()
    y = x * 2
    device.default_stream.submit()
    del x
    # Bytes that the device may still be reading go neither to the host nor to another stream.
    z = rt.tensor(np.zeros(1000, np.float32), device=device)
    other = device.new_stream()
    with device.using(other):
        w = rt.ones(1000, device=device)
    other.submit()
    driver.finish_all()
    assert (y.tolist()[0], z.tolist()[0], w.tolist()[0]) == (6.0, 0.0, 1.0)


def test_bytes_of_the_deleted_are_used_again_by_the_same_stream(manual: Manual) -> None:
    device, driver = manual
    device.error_slot()
    rt.zeros(1000, device=device).add_(1)
    for k in range(20):
        x = rt.full((1000,), float(k), device=device)
        device.default_stream.submit()
        del x
        driver.finish()
    assert in_use(device) == device.error_slot().nbytes + 48  # a whole unit of 64 bytes
    assert rt.statistics(device).bytes_peak <= 3 * 4096


def test_memory_comes_back_with_its_fence(manual: Manual) -> None:
    device, driver = manual
    before = in_use(device)
    values = [rt.full((500,), float(k), device=device) for k in range(4)]
    total = values[0] + values[1] + values[2] + values[3]
    later = total.readback()
    device.flush()
    del values, total
    driver.finish_all()
    assert later.wait().tolist() == [6.0] * 500
    del later
    gc.collect()
    assert in_use(device) == before


def test_what_is_never_seen_never_gets_memory(manual: Manual) -> None:
    device, driver = manual
    for _ in range(10):
        rt.ones(1 << 20, device=device) @ rt.ones(1 << 20, 1, device=device)
    device.flush()
    assert rt.statistics(device).allocations == 0 and rt.statistics(device).dispatches == 0
    driver.finish_all()


def test_the_others_are_right_after_some_are_deleted(device: str) -> None:
    keep = []
    for k in range(30):
        x = rt.full((777,), float(k), device=device)
        y = x * 2
        z = y + x
        keep.append((k, y if k % 3 else z))
        del x, y, z
        if k % 5 == 0:
            rt.device(device).flush()
    for k, value in keep:
        np.testing.assert_array_equal(value.numpy(), np.full(777, 2.0 * k if k % 3 else 3.0 * k, np.float32))


def test_a_readback_dropped_before_it_is_done(manual: Manual) -> None:
    device, driver = manual
    x = rt.full((100,), 7.0, device=device)
    later = x.readback()
    gone = weakref.ref(later)
    device.flush()
    del later
    assert gone() is None
    x.add_(1)  # nobody reads the old value any more: nothing has to be kept
    commands = rt.statistics(device).commands
    device.flush()
    assert rt.statistics(device).commands == commands + 1
    driver.finish_all()
    assert x.tolist() == [8.0] * 100


def test_a_readback_keeps_its_bytes_when_the_tensor_goes(manual: Manual) -> None:
    device, driver = manual
    later = rt.full((100,), 7.0, device=device).readback()
    device.flush()
    others = [rt.zeros(100, device=device) for _ in range(5)]
    device.flush()
    driver.finish_all()
    assert later.wait().tolist() == [7.0] * 100
    del others


@pytest.mark.every_driver
@pytest.mark.parametrize("staging", ["auto", "always"])
@pytest.mark.parametrize("flushed", [False, True])
def test_writing_in_place_after_a_readback(device: str, staging: str, flushed: bool) -> None:
    """The value of before the write is read, however often it is written."""
    with settings.override(staging=staging):
        x = rt.tensor(np.arange(600, dtype=np.float32), device=device)
        values = []
        for _ in range(4):
            values.append(x.readback())
            values.append(x[100:200].readback())
            if flushed:
                rt.device(device).flush()
            x.mul_(2.0)
            x[150:].add_(1.0)
        expected = np.arange(600, dtype=np.float32)
        for k in range(4):
            np.testing.assert_array_equal(values[2 * k].wait(), expected)
            np.testing.assert_array_equal(values[2 * k + 1].wait(), expected[100:200])
            expected = expected * 2
            expected[150:] += 1
        np.testing.assert_array_equal(x.numpy(), expected)


def test_writing_on_another_stream_after_a_readback(device: str) -> None:
    found = rt.device(device)
    other = found.new_stream()
    x = rt.full((600,), 1.0, device=device)
    first = x.readback()
    with found.using(other):
        x.add_(1.0)
        second = x.readback()
    x.add_(1.0)
    assert [v.wait()[0] for v in (first, second, x.readback())] == [1.0, 2.0, 3.0]


def test_discrete_memory_goes_through_copies() -> None:
    """Where the host sees no device memory, uploads and readbacks are commands like others."""
    with manual_device(ManualDriver(kind="discrete", automatic=True)) as (device, _):
        data = np.arange(300, dtype=np.float32)
        x = rt.tensor(data, device=device)
        data[:] = -1
        first = x.readback()
        x.add_(1)
        np.testing.assert_array_equal(first.wait(), np.arange(300))
        np.testing.assert_array_equal(x.numpy(), np.arange(300) + 1)
        x[3:10].copy_(rt.zeros(7, device=device))
        assert x[2:11].tolist() == [3.0, *[0.0] * 7, 11.0]
        assert rt.tensor([True, False, True], device=device).tolist() == [True, False, True]


def test_the_callers_array_is_copied_at_the_call(device: str) -> None:
    data = np.arange(1000, dtype=np.float32)
    x = rt.tensor(data, device=device)
    y = x + 0
    data[:] = -5
    np.testing.assert_array_equal(y.numpy(), np.arange(1000))
    np.testing.assert_array_equal(x.numpy(), np.arange(1000))


def test_cycles_are_collected(device: str) -> None:
    class Holder:
        def __init__(self, value: Any) -> None:
            self.value = value
            self.me = self

    rt.synchronize(device)
    before = in_use(device)
    gc.disable()
    try:
        for _ in range(10):
            holder = Holder(rt.ones(1000, device=device) * 2)
            holder.value.numpy()
            del holder
        assert in_use(device) >= before + 40_000
    finally:
        gc.enable()
    gc.collect()
    assert in_use(device) == before


def test_the_engine_makes_no_cycles(device: str) -> None:
    """Everything of a training step dies by itself: the collector has nothing to do."""
    w = rt.ones(20, 20, device=device, requires_grad=True)
    w.detach().numpy()

    def step() -> None:
        loss = ((rt.ones(5, 20, device=device) @ w).relu() * 2).sum()
        loss.backward()
        loss.item()
        w.grad = None

    step()
    gc.collect()
    gc.disable()
    try:
        before = in_use(device)
        for _ in range(5):
            step()
        assert in_use(device) == before
    finally:
        gc.enable()


def test_collecting_in_the_middle_of_enqueueing(device: str) -> None:
    """Storages that die inside the engine's own calls, at any allocation of an object, give their memory back."""
    old = gc.get_threshold()
    gc.set_threshold(1)
    try:
        kept: list[Any] = []
        for k in range(20):
            holder: list[Any] = [rt.full((64,), float(k), device=device) * 2]
            holder.append(holder)
            x = rt.ones(64, device=device) + holder[0]
            kept.append(x.readback())
            del holder, x
        assert [v.wait()[0] for v in kept] == [1.0 + 2 * k for k in range(20)]
    finally:
        gc.set_threshold(*old)
