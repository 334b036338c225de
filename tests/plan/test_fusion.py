"""What becomes one kernel, what is written to memory, and that neither shows in the values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rasptorch as rt
from rasptorch import Tensor
from rasptorch.runtime import settings
from rasptorch.runtime.plan.plan import ElementwiseKernel, ReduceKernel
from tests.support.compare import assert_close
from tests.support.counting import counting

from .looking import RANDOM, arrays, check, here, kinds, planned, stored


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


def test_a_group_can_come_to_follow_one_that_began_later(device: str) -> None:
    """The sum does not fit into one kernel with what reads it until nobody else is left to read it."""
    given = arrays(7, 40)
    a, *others = (here(v, device) for v in given)

    def late() -> Tensor:
        rt.manual_seed(8)
        noise = rt.rand(40, device=device)
        total = a + 0.0
        for x in others:
            total = total + x
        mixed = noise + total
        del noise, total
        return mixed * a

    out, plan = planned(device, late)
    assert len(plan.kernels) == 1
    rt.manual_seed(8)
    assert_close(out, (rt.rand(40, device=device).numpy() + sum(given)) * given[0], rtol=1e-4, atol=1e-5)


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
