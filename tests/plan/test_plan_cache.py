"""Plans are found again by what a batch does and how it is to be planned; the caches stay small and never give a wrong one."""

from __future__ import annotations

import random

import numpy as np
import pytest

import rasptorch as rt
from rasptorch import Tensor
from rasptorch.runtime import settings
from tests.support.compare import assert_close
from tests.support.counting import counting
from tests.support.manual import Manual

from .looking import here, kinds, planned


@pytest.mark.every_driver
def test_shapes_that_alternate(device: str) -> None:
    """After each shape was seen once, nothing is planned any more, and every value is its own shape's."""
    arrays = [np.random.default_rng(n).standard_normal((n, 7)).astype(np.float32) for n in (3, 8, 20)]
    tensors = [here(a, device) for a in arrays]

    def work(x: Tensor) -> Tensor:
        return ((x * 2 + 1) @ x.mT).relu().sum(0) - 3

    expected = [np.maximum((a * 2 + 1) @ a.T, 0).sum(0) - 3 for a in arrays]
    for x, want in zip(tensors, expected, strict=True):
        assert_close(work(x), want, rtol=1e-4, atol=1e-4)
    with counting(device) as n:
        for k in range(12):
            assert_close(work(tensors[k % 3]), expected[k % 3], rtol=1e-4, atol=1e-4)
    assert (n.plan_hits, n.plan_misses, n.pipelines_created, n.allocations) == (12, 0, 0, 0)


def test_caches_that_are_too_small_are_only_slow(device: str) -> None:
    order = random.Random(4)
    tensors = {n: here(np.arange(n, dtype=np.float32), device) for n in (2, 5, 9, 40)}
    with settings.override(plan_cache=1, recordings=1):
        for _ in range(40):
            n = order.choice(list(tensors))
            x = tensors[n]
            kept = [x * 2, x + 1] if order.random() < 0.5 else [x * 2]
            assert kept[-1].tolist() == [2 * k if len(kept) == 1 else k + 1 for k in range(n)]
            assert len(rt.device(device).plans._plans) <= 1
            assert all(len(plan.recordings) <= 1 for plan in rt.device(device).plans._plans.values())


def test_whether_to_fuse_is_part_of_the_key(device: str) -> None:
    """Switching back and forth finds each plan again, and never the other's."""
    x = here(np.arange(6, dtype=np.float32), device)
    seen = []
    with counting(device) as n:
        for fuse in (True, False, True, False, True):
            with settings.override(fuse=fuse):
                out, plan = planned(device, lambda: (x * 2 + 1).relu() - 1)
            seen.append(len(plan.kernels))
            assert out.tolist() == [2 * k for k in range(6)]
    assert seen == [1, 4, 1, 4, 1]
    assert n.plan_misses <= 2 and n.plan_hits >= 3


def test_unfused_every_command_is_a_kernel(device: str) -> None:
    x = here(np.ones((4, 4), np.float32), device)

    def work() -> Tensor:
        return ((rt.ones(4, 4, device=device) + x) @ x).relu().sum(1) * 2

    with settings.override(fuse=False):
        out, plan = planned(device, work)
    assert kinds(plan) == ["elementwise", "elementwise", "matmul", "elementwise", "reduce", "elementwise"]
    assert plan.fused == 0
    fused, plan = planned(device, work)
    assert kinds(plan) == ["elementwise", "matmul", "reduce"] and plan.fused == 3
    assert out.tolist() == fused.tolist() == [64] * 4


def test_numbers_in_the_program_are_not_part_of_the_key(device: str) -> None:
    x = here(np.arange(5, dtype=np.float32), device)
    with counting(device) as n:
        for k in range(10):
            assert ((x - k) * 0.5).tolist() == [(j - k) * 0.5 for j in range(5)]
    assert n.plan_misses <= 1 and n.plan_hits >= 9


@pytest.mark.parametrize("what", ["offset", "strides", "dtype", "wiring", "order", "who lives", "dimension"])
def test_what_is_part_of_the_key(device: str, what: str) -> None:
    x, y = here(np.arange(12, dtype=np.float32).reshape(3, 4), device), here(np.full((3, 4), 2.0, np.float32), device)
    k = here(np.arange(12, dtype=np.int32).reshape(3, 4), device)

    def keep_both() -> list[Tensor]:
        a = x * 2
        return [a, a + 1]

    pairs = {
        "offset": (lambda: x[0] + y[0], lambda: x[1] + y[0]),
        "strides": (lambda: x[:, :3] * 1, lambda: x[:, ::2] * 1),
        "dtype": (lambda: x + x, lambda: k + k),
        "wiring": (lambda: x - y, lambda: x - x),
        "order": (lambda: [x * 2, x + 2], lambda: [x + 2, x * 2]),
        "who lives": (keep_both, lambda: [keep_both()[1]]),
        "dimension": (lambda: x.sum(0), lambda: x.sum(1)),
    }
    one, other = pairs[what]
    with counting(device) as n:
        _, first = planned(device, one)
        _, second = planned(device, other)
    assert n.plan_misses + n.plan_hits == 2 and first is not second
    with counting(device) as n:
        assert planned(device, one)[1] is first and planned(device, other)[1] is second
    assert (n.plan_hits, n.plan_misses) == (2, 0)


def test_a_plan_in_use_may_be_dropped(manual: Manual) -> None:
    """Its submissions are unfinished when the caches let go of it."""
    device, driver = manual
    tensors = [rt.full((n,), float(n), device=device) for n in range(1, 8)]
    device.flush()
    driver.finish_all()
    with settings.override(plan_cache=1, recordings=1, in_flight=64):
        later = []
        for _ in range(3):
            for x in tensors:
                later.append((x * 2 + 1).readback())
                device.default_stream.submit()
        assert len(driver.unfinished) == 21 and len(device.plans._plans) == 1
        driver.finish_all()
    assert [r.wait().tolist() for r in later] == [[2.0 * n + 1] * n for n in range(1, 8)] * 3
