"""Values and gradients of every differentiable operation: against PyTorch, and against central differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rasptorch as rt
from rasptorch.autograd import grad, gradcheck, gradgradcheck
from tests.support.compare import assert_close

from .table import CASES, Case
from .values import random

EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def inputs(case: Case, dtype: str, device: str) -> tuple[list[rt.Tensor], list[torch.Tensor]]:
    pairs = [random(shape, dtype, device, low, high, seed) for seed, (shape, low, high) in enumerate(case.inputs)]
    return [a.requires_grad_() for a, _ in pairs], [b.requires_grad_() for _, b in pairs]


def compare(case: Case, dtype: str, device: str) -> None:
    ours, theirs = inputs(case, dtype, device)
    out, expected = case.run(rt, *ours), case.run(torch, *theirs)
    assert_close(out, expected, what=case.id)
    weight, their_weight = random(tuple(out.shape), dtype, device, seed=9)
    out.backward(weight)
    if expected.requires_grad:
        expected.backward(their_weight)
    for k, (x, y) in enumerate(zip(ours, theirs, strict=True)):
        assert x.grad is not None
        wanted = torch.zeros_like(y) if y.grad is None else y.grad
        assert_close(x.grad, wanted, what=f"{case.id}, gradient of input {k}")


@pytest.mark.every_driver
@EVERY
def test_values_and_gradients_are_pytorchs(case: Case, device: str) -> None:
    compare(case, "float32", device)


@EVERY
def test_in_float64(case: Case) -> None:
    compare(case, "float64", "cpu")


# Every family once: the rounding of longer computations makes the rest meaningless to compare.
SHORT = [c for c in CASES if c.name in ("mul", "exp", "sum", "mean", "matmul", "softmax", "getitem")]


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.id)
def test_in_bfloat16(case: Case) -> None:
    compare(case, "bfloat16", "cpu")


@EVERY
def test_central_differences(case: Case) -> None:
    gradcheck(lambda *xs: case.run(rt, *xs), inputs(case, "float64", "cpu")[0])


@pytest.mark.parametrize("case", [case for case in CASES if case.second], ids=lambda case: case.id)
def test_second_derivatives(case: Case) -> None:
    gradgradcheck(lambda *xs: case.run(rt, *xs), inputs(case, "float64", "cpu")[0], atol=1e-4)


@pytest.mark.parametrize("case", [case for case in CASES if case.second], ids=lambda case: case.id)
def test_third_derivatives_are_pytorchs(case: Case) -> None:
    ours, theirs = inputs(case, "float64", "cpu")

    def third(m: Any, xs: list[Any], gradient: Any) -> list[Any]:
        total = case.run(m, *xs).sum()
        for _ in range(2):
            found = [g for g in gradient(total, xs) if g is not None and g.requires_grad]
            if not found:
                return []
            total = sum(((g * g).sum() for g in found), 0.0 * total)
        return [g for g in gradient(total, xs) if g is not None]

    def theirs_of(y: Any, xs: Any) -> Any:
        return torch.autograd.grad(y, xs, create_graph=True, allow_unused=True)

    def ours_of(y: Any, xs: Any) -> Any:
        return grad(y, xs, create_graph=True, allow_unused=True)

    expected = third(torch, theirs, theirs_of)
    found = third(rt, ours, ours_of)
    assert len(found) == len(expected)
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert_close(a, b, rtol=1e-7, atol=1e-8, what=f"{case.id}, input {k}")
