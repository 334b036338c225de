"""Fusion around matrix products and in-place writes, its limits, and a training step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rasptorch as rt
from rasptorch import Tensor, nn
from rasptorch.nn import functional as F
from rasptorch.runtime.plan.fuse import MAX_SCALARS, MAX_STEPS
from rasptorch.runtime.plan.plan import ElementwiseKernel
from tests.support.compare import assert_close
from tests.support.counting import counting

from .looking import RANDOM, arrays, bindings, check, here, kinds, planned, stored


# -- matrix products ----------------------------------------------------------------------------------------------
@pytest.mark.every_driver
def test_a_product_ends_with_its_epilogue(device: str) -> None:
    a, b, c = arrays(1, 5, 8) + arrays(1, 8, 6) + arrays(1, 5, 6)
    bias = arrays(1, 6)[0]
    check(device, lambda x, w, v: abs(x @ w + v), a, b, bias, kernels=1, writes=1)
    check(device, lambda x, w, v, r: x @ w * 2 + v + r, a, b, bias, c, kernels=1, writes=1)
    check(device, lambda x, w: [(y := x @ w), y * 2], a, b, kernels=1, writes=2)
    check(device, lambda x, w: (x @ w).T + 1, a, b, kernels=2)
    check(device, lambda x, w: (x @ w).reshape(3, 10) + 1, a, b, kernels=1)
    check(device, lambda x, w, r: (r * 2 - 1) * (x @ w), a, b, c, kernels=1, writes=1)


@pytest.mark.every_driver
def test_masks_and_batches_in_a_product(device: str) -> None:
    a, b, mask = arrays(1, 3, 4, 5) + arrays(1, 3, 5, 6) + [RANDOM.integers(0, 2, (3, 4, 6)).astype(bool)]
    x, y, m = (here(v, device) for v in (a, b, mask))
    out, plan = planned(device, lambda: rt.where(m, x @ y, 0.0))
    assert kinds(plan) == ["matmul"]
    assert_close(out, np.where(mask, a @ b, 0))
    dropped, plan = planned(device, lambda: F.dropout(x @ y, 0.5))
    assert kinds(plan) == ["matmul"]
    kept = dropped.numpy() != 0
    assert 10 < kept.sum() < 62
    assert_close(dropped.numpy()[kept], (2 * (a @ b))[kept])


def test_a_product_that_is_overwritten_at_once(device: str) -> None:
    a, b = (here(v, device) for v in arrays(1, 4, 5) + arrays(1, 5, 6))
    row = here(np.arange(6, dtype=np.float32), device)

    def overwritten() -> list[Tensor]:
        one, other = a @ b, a @ b
        return [one.fill_(3.0), other.copy_(row.expand(4, 6))]

    (one, other), _ = planned(device, overwritten)
    assert one.tolist() == [[3.0] * 6] * 4 and other.tolist() == [[0, 1, 2, 3, 4, 5]] * 4


def test_two_cores_are_two_kernels(device: str) -> None:
    check(device, lambda x, w: x @ w + x.sum(1, keepdims=True) if isinstance(x, np.ndarray) else x @ w + x.sum(1, keepdim=True),
          *arrays(1, 4, 5), *arrays(1, 5, 6), kernels=2)  # fmt: skip


# -- in place -----------------------------------------------------------------------------------------------------
@pytest.mark.every_driver
def test_what_a_core_reads_is_not_written_by_its_epilogue(device: str) -> None:
    """Other invocations still read what one of them would already have replaced."""
    a, b = arrays(2, 64, 64)
    x, y = here(a, device), here(b, device)
    _, plan = planned(device, lambda: [x.add_(x @ y)])
    assert kinds(plan) == ["matmul", "elementwise"]
    assert_close(x, a + a @ b, rtol=1e-4, atol=1e-4)
    row = here(a[:1].copy(), device)
    _, plan = planned(device, lambda: [row[0].sub_(row.sum(0) * 2)])
    assert kinds(plan) == ["reduce", "elementwise"]
    assert_close(row, -a[:1])


@pytest.mark.every_driver
def test_writes_in_place_inside_a_group(device: str) -> None:
    x = here(np.arange(6, dtype=np.float32), device)

    def changed() -> list[Tensor]:
        before = x * 10
        x.add_(1)
        between = x * 10
        x.mul_(2)
        return [before, between, x + 0]

    made, plan = planned(device, changed)
    assert len(plan.kernels) == 1 and stored(plan) == 4
    base = np.arange(6, dtype=np.float32)
    for got, want in zip(made, [base * 10, (base + 1) * 10, (base + 1) * 2], strict=True):
        assert_close(got, want)
    assert_close(x, (base + 1) * 2)


@pytest.mark.every_driver
def test_two_tensors_change_places(device: str) -> None:
    a, b = here(np.full(5, 3.0, np.float32), device), here(np.full(5, 7.0, np.float32), device)

    def swap() -> None:
        kept = a.clone()
        a.copy_(b)
        b.copy_(kept)

    _, plan = planned(device, swap)
    assert len(plan.kernels) == 1
    assert a.tolist() == [7] * 5 and b.tolist() == [3] * 5


@pytest.mark.every_driver
def test_a_copy_taken_before_a_write(device: str) -> None:
    x = here(np.full(5, 3.0, np.float32), device)

    def copied() -> Tensor:
        before = x.clone()
        x.add_(1)
        return before

    before, plan = planned(device, copied)
    assert len(plan.kernels) == 1
    assert before.tolist() == [3] * 5 and x.tolist() == [4] * 5


def test_writes_to_overlapping_views_keep_their_order(device: str) -> None:
    x = here(np.zeros(6, np.float32), device)

    def changed() -> None:
        x[:4].add_(1)
        x[2:].mul_(3)
        x[1:3].add_(10)
        x[::2].sub_(0.5)

    planned(device, changed)
    expected = np.zeros(6, np.float32)
    expected[:4] += 1
    expected[2:] *= 3
    expected[1:3] += 10
    expected[::2] -= 0.5
    assert_close(x, expected)


def test_a_view_added_to_its_neighbour(device: str) -> None:
    x = here(np.arange(6, dtype=np.float32), device)
    planned(device, lambda: x[1:].add_(x[:-1]))
    assert x.tolist() == [0, 1, 3, 5, 7, 9]


# -- limits -------------------------------------------------------------------------------------------------------
def test_never_more_than_eight_storage_buffers(device: str) -> None:
    values = arrays(20, 7, 5)

    def total(*xs: Any) -> Any:
        out = xs[0]
        for x in xs[1:]:
            out = out + x
        return out

    tensors = [here(v, device) for v in values]
    out, plan = planned(device, lambda: total(*tensors))
    assert len(plan.kernels) == 4  # seven inputs, then six and what came before, three times
    assert max(map(bindings, plan.kernels)) <= 8
    assert_close(out, total(*values))
    made, plan = planned(device, lambda: [t * 2 + tensors[0] for t in tensors])
    assert max(map(bindings, plan.kernels)) <= 8 and stored(plan) == 20
    for got, v in zip(made, values, strict=True):
        assert_close(got, v * 2 + values[0])


def test_never_more_steps_or_numbers_than_a_kernel_takes(device: str) -> None:
    x = here(np.ones(3, np.float32), device)

    def long() -> Tensor:
        out = x
        for k in range(250):
            out = out * (1 + k / 1000) if k % 2 else -out
        return out

    out, plan = planned(device, long)
    assert 3 <= len(plan.kernels) <= 5
    for kernel in plan.kernels:
        assert isinstance(kernel, ElementwiseKernel)
        assert len(kernel.program.steps) <= MAX_STEPS and len(kernel.scalars) <= MAX_SCALARS
    expected = np.prod([1 + k / 1000 for k in range(250) if k % 2]) * -1.0**125
    assert_close(out, np.full(3, expected), check_dtype=False, rtol=1e-4)


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_high_ranks_leave_room_for_the_parameters(device: str, rank: int) -> None:
    shape = (2,) * rank
    values = arrays(10, *shape)
    tensors = [here(v.T.copy(), device).permute(*reversed(range(rank))) for v in values]

    def mixed(*xs: Any) -> Any:
        out = xs[0]
        for k in range(60):
            out = out * 0.5 + xs[k % len(xs)] * float(k)
        return out

    out, _ = planned(device, lambda: mixed(*tensors))
    assert_close(out, mixed(*values), rtol=1e-4)


# -- a training step ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("optimizer", [rt.optim.SGD, rt.optim.Adam, rt.optim.AdamW])
@pytest.mark.fresh
def test_a_training_step_is_sixteen_dispatches(device: str, optimizer: Any) -> None:
    """Forward, cross entropy, backward and update of a network of three layers."""
    rt.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)).to(device)
    update = optimizer(model.parameters(), lr=1e-3)
    x, y = rt.rand(64, 784, device=device), here(np.arange(64) % 10, device)
    rt.device(device).flush()
    losses = []
    for _ in range(3):
        with counting(device) as n:
            update.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            update.step()
        assert n.submissions == 1 and n.dispatches <= 16
        losses.append(float(loss.detach()))
        plan = next(reversed(rt.device(device).plans._plans.values()))
        assert max(map(bindings, plan.kernels)) <= 8
    assert losses[2] < losses[0]


def test_an_empty_part_waits_for_whoever_writes_the_whole(device: str) -> None:
    """It reads nothing, but something has to be bound to read it from, as validation layers see."""
    x = rt.tensor(np.arange(24, dtype=np.float32).reshape(2, 3, 4), device=device)
    w = rt.tensor(np.eye(4, dtype=np.float32) * 2, device=device)
    whole = x @ w
    total = whole[..., :0].sum(-1) + 1.0
    np.testing.assert_array_equal(total.numpy(), np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(whole.numpy(), x.numpy() * 2)
