"""What becomes one kernel, what is written to memory, and that neither shows in the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rasptorch as rt
from rasptorch import Tensor, nn
from rasptorch.nn import functional as F
from rasptorch.runtime import settings
from rasptorch.runtime.plan.fuse import MAX_SCALARS, MAX_STEPS
from rasptorch.runtime.plan.plan import ElementwiseKernel, ReduceKernel
from tests.support.compare import assert_close
from tests.support.counting import counting

from .looking import bindings, here, kinds, planned, stored

RANDOM = np.random.default_rng(0)
Arrays = list[np.ndarray[Any, Any]]


def arrays(count: int, *shape: int) -> Arrays:
    return [RANDOM.standard_normal(shape).astype(np.float32) for _ in range(count)]


def check(device: str, compute: Callable[..., Any], *given: Any, kernels: int | None = None, writes: int | None = None) -> None:
    """``compute`` on tensors gives what it gives on arrays, in so many kernels that write so many values; unfused it does too."""
    __tracebackhide__ = True
    tensors = [here(x, device) for x in given]
    made, plan = planned(device, lambda: compute(*tensors))
    if kernels is not None:
        assert len(plan.kernels) == kernels, kinds(plan)
    if writes is not None:
        assert stored(plan) == writes
    with settings.override(fuse=False):
        alone, _ = planned(device, lambda: compute(*tensors))
    expected = compute(*given)
    several = isinstance(made, (list, tuple))
    for got, one, want in zip(*(x if several else [x] for x in (made, alone, expected)), strict=True):
        assert_close(got, want, check_dtype=False)
        assert_close(one, want, check_dtype=False)


# -- chains and trees ---------------------------------------------------------------------------------------------
def test_three_operations_are_one_dispatch(device: str) -> None:
    x, y = (here(a, device) for a in arrays(2, 8, 9))
    with counting(device) as n:
        z = (x * y + x).relu()
        z.numpy()
    assert (n.commands, n.dispatches, n.submissions, n.kernels_fused) == (3, 1, 1, 2)
    assert_close(z, np.maximum(x.numpy() * y.numpy() + x.numpy(), 0))


def long_chain(x: Any, y: Any, length: int) -> Any:
    for k in range(length):
        x = (x * 0.75 + y) if k % 4 == 0 else (abs(x) if k % 4 == 1 else (x - y if k % 4 == 2 else -x))
    return x


@pytest.mark.every_driver
def test_a_chain_of_200_is_a_few_dispatches(device: str) -> None:
    a, b = arrays(2, 64, 64)
    x, y = here(a, device), here(b, device)
    with counting(device) as n:
        out = long_chain(x, y, 160)  # every fourth turn is two operations
        values = out.numpy()
    assert n.commands == 200 and n.submissions == 1
    assert n.dispatches <= 14
    assert_close(values, long_chain(a, b, 160))


def test_diamonds_and_trees(device: str) -> None:
    def diamond(x: Any, y: Any) -> Any:
        left, right = x * 2, x + y
        return left * right - left

    check(device, diamond, *arrays(2, 5, 7), kernels=1, writes=1)

    def tree(*leaves: Any) -> Any:
        level = list(leaves)
        while len(level) > 1:
            level = [a * b + a for a, b in zip(level[::2], level[1::2], strict=True)]
        return level[0]

    check(device, tree, *arrays(4, 33), kernels=1, writes=1)


def test_the_same_computation_is_done_once(device: str) -> None:
    x = here(np.ones(5, np.float32), device)
    _, plan = planned(device, lambda: (x * x) + (x * x) + (x * x))
    (kernel,) = plan.kernels
    assert isinstance(kernel, ElementwiseKernel)
    assert [step.opcode for step in kernel.program.steps] == ["mul", "add", "add"]


# -- what is written ----------------------------------------------------------------------------------------------
def test_only_what_somebody_sees_is_written(device: str) -> None:
    x = here(np.ones((4, 5), np.float32), device)

    def nobody() -> Tensor:
        a = x + 1
        b = a * 2
        return b - 3

    out, plan = planned(device, nobody)
    assert (len(plan.kernels), stored(plan), plan.arena) == (1, 1, 0)

    def somebody() -> list[Tensor]:
        a = x + 1
        b = a * 2
        return [a, b, b - 3]

    made, plan = planned(device, somebody)
    assert (len(plan.kernels), stored(plan)) == (1, 3)
    assert [t.tolist()[0][0] for t in made] == [2, 4, 1] and out.tolist()[0][0] == 1


def test_nothing_anybody_sees_is_nothing_at_all(device: str) -> None:
    x = here(np.ones(4, np.float32), device)

    def unseen() -> None:
        (x + 1).sum()

    _, plan = planned(device, unseen)
    assert plan.kernels == [] and plan.bound == ()


def test_a_reference_by_a_view_or_the_tape_counts(device: str) -> None:
    x = here(np.full((4, 4), 2.0, np.float32), device).requires_grad_()

    def with_view() -> list[Tensor]:
        a = x.detach() * 3
        return [a[1:3], a + 1]

    made, plan = planned(device, with_view)
    assert (len(plan.kernels), stored(plan)) == (1, 2)
    assert made[0].tolist() == [[6.0] * 4] * 2

    out, plan = planned(device, lambda: (x * x).exp())  # exp keeps its result for backward; nobody keeps x * x
    assert (len(plan.kernels), stored(plan)) == (1, 1)
    out.sum().backward()
    assert_close(x.grad, np.full((4, 4), 4 * np.exp(4.0), np.float32))


def test_several_outputs_of_one_group(device: str) -> None:
    check(device, lambda x, y: [x + y, x - y, x * y], *arrays(2, 6, 6), kernels=1, writes=3)


def test_commands_that_only_share_an_input_share_a_kernel(device: str) -> None:
    check(device, lambda x: [x + 1, x * 2, abs(x)], *arrays(1, 50), kernels=1, writes=3)


# -- shapes -------------------------------------------------------------------------------------------------------
@pytest.mark.every_driver
def test_broadcasting(device: str) -> None:
    a, row, column, number = arrays(1, 4, 6) + arrays(1, 6) + arrays(1, 4, 1) + arrays(1)
    check(device, lambda x, r, c, n: (x + r) * c - n, a, row, column, number, kernels=1, writes=1)
    check(device, lambda r, c: (r + c) * (r - c), row, column, kernels=1, writes=1)


@pytest.mark.every_driver
def test_strided_and_transposed_inputs(device: str) -> None:
    check(device, lambda x, y: x.T * 2 + y, *arrays(1, 6, 4), *arrays(1, 4, 6), kernels=1, writes=1)
    check(device, lambda x: x[:, ::2] * x[:, 1::2] + 1, *arrays(1, 5, 8), kernels=1, writes=1)
    check(device, lambda x: x[1:, 1:] - x[:-1, :-1], *arrays(1, 5, 8), kernels=1, writes=1)
    check(device, lambda x: (x[::2].reshape(1, 3, 8) * 2)[0] + 1, *arrays(1, 6, 8), writes=1)


def test_axes_of_length_one_do_not_keep_apart(device: str) -> None:
    check(device, lambda x: (x.reshape(4, 1, 6) * 2).reshape(4, 6) + 1, *arrays(1, 4, 6), kernels=1, writes=1)


def test_a_new_shape_of_the_same_elements(device: str) -> None:
    check(device, lambda x: abs((x * 2).reshape(6, 4) + 1).reshape(24) - 3, *arrays(1, 4, 6), kernels=1, writes=1)


@pytest.mark.every_driver
def test_a_value_read_back_transposed_is_another_kernel(device: str) -> None:
    """Elements at other places: they have to be in memory first."""
    check(device, lambda x: (x * 2).T + x.T * 0 + x.reshape(-1)[0], *arrays(1, 5, 5))
    check(device, lambda x: (x + 1) * (x + 1).T, *arrays(1, 5, 5), kernels=2)
    check(device, lambda x: (x * 2)[1:] + (x * 2)[:-1], *arrays(1, 9), kernels=2)


# -- constants ----------------------------------------------------------------------------------------------------
def test_constants_are_never_in_memory_where_they_are_only_read(device: str) -> None:
    x = here(np.full((3, 4), 5.0, np.float32), device)

    def filled() -> Tensor:
        ones, row = rt.ones(3, 4, device=device), rt.full((4,), 2.0, device=device)
        return (x + ones) * row + rt.zeros((), device=device) + rt.zeros_like(x)

    out, plan = planned(device, filled)
    assert (len(plan.kernels), stored(plan), plan.arena) == (1, 1, 0)
    assert len(plan.kernels[0].inputs) == 1
    assert_close(out, np.full((3, 4), 12.0, np.float32))


def test_constants_feed_reductions_as_numbers(device: str) -> None:
    def total() -> Tensor:
        return rt.full((3, 5), 2.0, device=device).sum(1)

    out, plan = planned(device, total)
    assert kinds(plan) == ["reduce"] and plan.arena == 0 and plan.kernels[0].inputs == ()
    assert out.tolist() == [10.0] * 3


def test_constants_that_are_seen_are_written(device: str) -> None:
    x = here(np.ones((2, 2), np.float32), device)

    def seen() -> list[Tensor]:
        ones = rt.ones(2, 2, device=device)
        return [ones, x + ones]

    made, plan = planned(device, seen)
    assert stored(plan) == 2 and [m.tolist() for m in made] == [[[1, 1], [1, 1]], [[2, 2], [2, 2]]]
    out, plan = planned(device, lambda: x @ rt.ones(2, 2, device=device))
    assert kinds(plan) == ["elementwise", "matmul"] and out.tolist() == [[2, 2], [2, 2]]


def test_a_constant_that_is_changed_is_none(device: str) -> None:
    def changed() -> list[Tensor]:
        z = rt.zeros(4, device=device)
        before = z + 1
        z[1:3].add_(5)
        return [before, z * 2]

    made, _ = planned(device, changed)
    assert [m.tolist() for m in made] == [[1] * 4, [0, 10, 10, 0]]


def test_numbers_are_not_part_of_the_kernel(device: str) -> None:
    x = here(np.arange(4, dtype=np.float32), device)
    results = []
    with counting(device) as n:
        for k in range(5):
            results.append(((x + k) * 2.5).readback())
            rt.device(device).flush()
    assert n.plan_misses <= 1
    for k, result in enumerate(results):
        assert_close(result.wait(), (np.arange(4, dtype=np.float32) + np.float32(k)) * np.float32(2.5))


# -- dtypes -------------------------------------------------------------------------------------------------------
@pytest.mark.every_driver
def test_casts_comparisons_and_where(device: str) -> None:
    x, y = arrays(2, 4, 6)
    k = RANDOM.integers(-5, 5, (4, 6)).astype(np.int32)
    tensors = [here(a, device) for a in (x, y, k)]

    def chosen() -> list[Tensor]:
        a, b, c = tensors
        mask = (a > b).logical_and(c != 0)
        return [rt.where(mask, a * 2, c.to(rt.float32)), mask, (c * 3).to(rt.uint8), mask.to(rt.int32) + c]

    made, plan = planned(device, chosen)
    assert (len(plan.kernels), stored(plan)) == (1, 4)
    mask = (x > y) & (k != 0)
    expected = [np.where(mask, x * 2, k.astype(np.float32)), mask, (k * 3).astype(np.uint8), mask.astype(np.int32) + k]
    for got, want in zip(made, expected, strict=True):
        assert_close(got, want)


@pytest.mark.every_driver
def test_short_floats_round_at_every_operation(device: str) -> None:
    """Fused, too: each result of the program is one that the dtype can hold."""
    a = here(RANDOM.standard_normal((3, 40)).astype(np.float16), device)

    def chain() -> Tensor:
        return ((a * 1.7 + 0.3) * a - 2.0).sigmoid() * 100

    fused, plan = planned(device, chain)
    assert len(plan.kernels) == 1
    with settings.override(fuse=False):
        alone, plan = planned(device, chain)
    assert len(plan.kernels) == 6
    np.testing.assert_array_equal(fused.numpy(), alone.numpy())


@pytest.mark.every_driver
def test_special_values_are_the_same_as_unfused(device: str) -> None:
    """NaN, infinities and the sign of zero, through operations that could lose them."""
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 3e38, 1e-38], np.float32)
    left, right = (here(a, device) for a in np.broadcast_arrays(special[:, None], special[None, :]))

    def mixed() -> list[Tensor]:
        a, b = left * 1, right * 1
        return [
            a + b, a - b, a * b, a / b, rt.maximum(a, b), rt.minimum(a, b), (a * b).relu(), rt.where(a < b, a, -b), -(a * 0.0) + b,
            (a - b).abs(), rt.sqrt(a) + b, a.sign() * b, (a > b).to(rt.float32) - a,
        ]  # fmt: skip

    def groups() -> list[Tensor]:
        # Each on its own, so that every one is fused with what comes before it.
        return [out * 1 for out in mixed()]

    fused, plan = planned(device, groups)
    with settings.override(fuse=False):
        alone, unfused = planned(device, groups)
    assert len(plan.kernels) < len(unfused.kernels) / 3
    for one, other in zip(fused, alone, strict=True):
        a, b = one.numpy(), other.numpy()
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(np.signbit(a)[~np.isnan(a)], np.signbit(b)[~np.isnan(b)])  # a NaN's sign means nothing


# -- reductions ---------------------------------------------------------------------------------------------------
@pytest.mark.every_driver
def test_a_reduction_computes_its_input_and_what_follows(device: str) -> None:
    x, y = arrays(2, 6, 10)
    check(device, lambda a, b: abs(a * b + 1).sum(1), x, y, kernels=1, writes=1)
    check(device, lambda a: (a.sum(1) * 2 + 1) * 0.5, x, kernels=1, writes=1)
    check(device, lambda a, b: (a - b).sum(0) / 6 - b.sum(0), x, y, kernels=2)
    check(device, lambda a: ((a * a).sum() + 1) * 3, x, kernels=1, writes=1)


def test_an_input_that_is_seen_is_not_computed_twice(device: str) -> None:
    def both(a: Any, b: Any) -> Any:
        product = a * b
        return [product, product.sum(1)]

    check(device, both, *arrays(2, 6, 10), kernels=2, writes=2)

    def twice(a: Any) -> Any:
        moved = a - 1
        return [moved.sum(0), moved.sum(1)]

    check(device, twice, *arrays(1, 6, 10), kernels=3, writes=3)


def test_reductions_of_broadcasts_and_transposes(device: str) -> None:
    a, row = arrays(1, 6, 10) + arrays(1, 10)
    check(device, lambda x, r: (x * r).sum(0) + r, a, row, kernels=1)
    check(device, lambda x: (x.T * 2).sum(0), a, kernels=1)
    check(device, lambda x: (x.T * 2).sum(1), a, kernels=1)
    check(device, lambda x: (x.reshape(2, 3, 10) + 1).sum((0, 2)), a, kernels=1)


def test_random_numbers_inside_a_reduction(device: str) -> None:
    """Elements are numbered as the tensor has them, whatever the reduction's order is."""

    def drawn(dim: int) -> list[Tensor]:
        rt.manual_seed(5)
        return [(rt.rand(7, 9, device=device) * 2).sum(dim)]

    rt.manual_seed(5)
    values = rt.rand(7, 9, device=device).numpy() * 2
    for dim in (0, 1):
        (made,), _ = planned(device, lambda dim=dim: drawn(dim))
        assert_close(made, values.sum(dim))


def test_a_long_reduction_ends_with_its_epilogue(device: str) -> None:
    x = RANDOM.standard_normal((3, 20_000)).astype(np.float32)
    t = here(x, device)
    out, plan = planned(device, lambda: ((t * 2).sum(1) - 1).abs())
    assert all(isinstance(k, ReduceKernel) for k in plan.kernels)
    assert_close(out, np.abs((x.astype(np.float64) * 2).sum(1) - 1), check_dtype=False, rtol=1e-4)


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
