"""Plans are found again by what a batch does, recordings by the buffers they use; both caches are bounded."""

from __future__ import annotations

import numpy as np
import pytest

import rasptorch as rt
from rasptorch.runtime import settings
from rasptorch.runtime.manual_driver import ManualDriver, manual_device
from tests.support.counting import counting
from tests.support.manual import Manual


def step(x: rt.Tensor, factor: float) -> None:
    x.mul_(factor)
    x.add_(1.0)


@pytest.mark.every_driver
def test_the_same_work_on_the_same_buffers_is_recorded_once(device: str) -> None:
    x = rt.ones(100, device=device)
    x.numpy()
    expected = np.ones(100, np.float32)
    with counting(device) as n:
        for k in range(8):
            step(x, 0.5 + k)
            expected = expected * np.float32(0.5 + k) + 1
            x.numpy()
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)
    assert n.submissions == 8
    assert n.plan_misses <= 1 and n.plan_hits >= 7
    assert n.recordings_made <= 1 and n.recordings_reused >= 7


@pytest.mark.every_driver
def test_scalars_change_while_submissions_are_in_flight(device: str) -> None:
    """Each submission has its own numbers, also where its recording is still busy with the one before."""
    x = rt.zeros(50_000, device=device)
    results = []
    with settings.override(in_flight=64):
        for k in range(20):
            x.fill_(0.0)
            x.add_(float(k))
            results.append((x * 1.0).readback())
            rt.device(device).flush()
    for k, later in enumerate(results):
        np.testing.assert_array_equal(later.wait(), np.full(50_000, k, np.float32))


def test_a_busy_recording_is_not_touched() -> None:
    with manual_device(ManualDriver(reentrant_recordings=False)) as (device, driver):
        x = rt.zeros(4, device=device)
        device.flush()
        driver.finish_all()
        with counting(device) as n:
            for k in range(3):
                x.add_(float(k + 1))
                device.default_stream.submit()
        assert (n.recordings_made, n.recordings_reused) == (3, 0)
        driver.finish_all()
        with counting(device) as n:
            x.add_(10.0)
            device.default_stream.submit()
        assert (n.recordings_made, n.recordings_reused) == (0, 1)
        driver.finish_all()
        assert x.tolist() == [16.0] * 4


def test_shapes_that_alternate_keep_their_plans(device: str) -> None:
    tensors = [rt.ones(n, device=device) for n in (10, 200, 3000)]
    for _ in range(2):
        for x in tensors:
            x.add_(1)
            x.numpy()
    with counting(device) as n:
        for _ in range(5):
            for x in tensors:
                x.add_(1)
                x.numpy()
    assert (n.plan_hits, n.plan_misses, n.recordings_made) == (15, 0, 0)
    assert [x.tolist()[0] for x in tensors] == [8, 8, 8]


def test_who_is_alive_is_part_of_the_plan(manual: Manual) -> None:
    device, driver = manual
    x = rt.ones(4, device=device)
    device.flush()
    driver.finish_all()
    counts = []
    for keep in (True, False, True, False):
        with counting(device) as n:
            y = x + 1
            z = y * 2
            if not keep:
                del y
            device.flush()
            driver.finish_all()
        counts.append((n.plan_hits, n.plan_misses))
        assert z.tolist() == [4] * 4
    assert counts == [(0, 1), (0, 1), (1, 0), (1, 0)]


def test_both_caches_are_bounded(manual: Manual) -> None:
    device, driver = manual
    with settings.override(plan_cache=4, recordings=3):
        x = rt.ones(64, device=device)
        for size in range(1, 12):
            x[:size].add_(1)
            device.flush()
            driver.finish_all()
        assert len(device.plans._plans) == 4
        with counting(device) as n:
            x[:1].add_(1)  # its plan has gone
            device.flush()
            driver.finish_all()
        assert (n.plan_hits, n.plan_misses) == (0, 1)
        kept = []
        for _ in range(10):  # the same plan on ever other buffers
            kept.append(x * 2)
            device.flush()
            driver.finish_all()
        plan = next(reversed(device.plans._plans.values()))
        assert len(plan.recordings) == 3
    assert x.tolist() == [13.0, *(float(12 - k) for k in range(1, 11)), *[1.0] * 53]
    assert [k.tolist()[0] for k in kept] == [26.0] * 10


def test_a_plan_that_is_dropped_while_it_runs_finishes(manual: Manual) -> None:
    device, driver = manual
    with settings.override(plan_cache=1, recordings=1):
        x = rt.zeros(8, device=device)
        for size in (2, 4, 6, 8):
            x[:size].add_(1)
            device.default_stream.submit()
        assert len(driver.unfinished) == 4
        driver.finish_all()
    assert x.tolist() == [4, 4, 3, 3, 2, 2, 1, 1]


def test_the_order_of_the_same_commands_matters(device: str) -> None:
    x, y = rt.full((3,), 2.0, device=device), rt.full((3,), 5.0, device=device)
    assert ((x - y).tolist(), (y - x).tolist(), (x - x).tolist()) == ([-3] * 3, [3] * 3, [0] * 3)
    x.sub_(y)
    y.sub_(x)
    assert (x.tolist(), y.tolist()) == ([-3] * 3, [8] * 3)
