"""Running products and extremes, tensors turned round, and small functions against PyTorch, where the table of cases does not reach."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rasptorch as rt
from rasptorch.autograd import gradgradcheck
from tests.support.compare import assert_close

from .values import LAYOUTS, TORCH, pair, random, special

RUNS: dict[str, Any] = {
    "cummax": lambda m, x, d: m.cummax(x, d), "cummin": lambda m, x, d: m.cummin(x, d), "cumprod": lambda m, x, d: (m.cumprod(x, d),),
    "flip": lambda m, x, d: (m.flip(x, (d,)),), "diff": lambda m, x, d: (m.diff(x, 1, d),),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", RUNS)
def test_layouts(name: str, layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), device=device))
    if name == "diff" and not y.ndim:
        return
    for dim in range(-max(y.ndim, 1), max(y.ndim, 1)):
        for found, expected in zip(RUNS[name](rt, x, dim), RUNS[name](torch, y, dim), strict=True):
            assert_close(found, expected)


@pytest.mark.parametrize("dtype", TORCH)
def test_dtypes(dtype: str) -> None:
    x, y = pair(special(dtype) if dtype != "float16" else [1.0, -2.0, float("nan"), 0.0, 5.0, float("inf")], dtype)
    for name in ("flip", "cummax", "cummin"):
        for found, expected in zip(RUNS[name](rt, x, 0), RUNS[name](torch, y, 0), strict=True):
            assert_close(found, expected, rtol=0, atol=0)
    x, y = random((3, 4), dtype)
    assert_close(x.cumprod(1), y.cumprod(1))
    assert_close(rt.diff(x), torch.diff(y))
    assert_close(rt.kron(x, x[:1]), torch.kron(y, y[:1]))


def test_ties_and_what_is_missing(device: str) -> None:
    nan = float("nan")
    x, y = pair([[1.0, 2.0, 2.0, 1.0, 3.0, 3.0], [nan, 5.0, nan, 1.0, 2.0, 9.0], [-0.0, 0.0, -0.0, 0.0, -1.0, -1.0]], device=device)
    for name in ("cummax", "cummin"):
        found, expected = getattr(x, name)(1), getattr(y, name)(1)
        assert_close(found.values, expected.values, signed_zeros=True)
        assert_close(found.indices, expected.indices)
    x, y = pair([float("-inf"), float("-inf"), 1.0, 100.0, float("inf"), 3.0], device=device)
    assert_close(x.logcumsumexp(0), y.logcumsumexp(0))


def test_gradients_of_extremes_are_counted(device: str) -> None:
    x, y = pair([[1.0, 3.0, 2.0, 3.0, 1.0]] * 2, device=device)
    weight = [1.0, 2.0, 4.0, 8.0, 16.0]
    for name in ("cummax", "cummin"):
        (getattr(x.requires_grad_(), name)(1).values * rt.tensor(weight, device=device)).sum().backward()
        (getattr(y.requires_grad_(), name)(1).values * torch.tensor(weight)).sum().backward()
    assert_close(x.grad, y.grad)


@pytest.mark.parametrize("k", range(-5, 6))
def test_quarter_turns(k: int, device: str) -> None:
    x, y = random((2, 3, 4), device=device)
    for dims in ((0, 1), (1, 0), (2, 0), (-1, 1)):
        assert_close(rt.rot90(x, k, dims), torch.rot90(y, k, dims))
    assert_close(x.fliplr(), y.fliplr())
    assert_close(x.flipud(), y.flipud())
    assert_close(x.flip(-1, 0), y.flip(-1, 0))
    assert_close(x.flip(dims=(1,)), y.flip(dims=(1,)))


def test_special_values_of_functions(device: str) -> None:
    values = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1.5, -2.5, 1.0]
    x, y = pair(values, device=device)
    half, theirs = pair(0.5, device=device)
    assert_close(rt.heaviside(x, half), torch.heaviside(y, theirs))
    for name in ("frac", "deg2rad", "rad2deg", "logit"):
        assert_close(getattr(rt, name)(x[3:]), getattr(torch, name)(y[3:]), what=name)
    assert_close(rt.sinc(x[3:]), torch.sinc(y[3:]))
    for other in values:
        assert_close(rt.xlogy(x, rt.full_like(x, other)), torch.xlogy(y, torch.full_like(y, other)), what=str(other))
    assert_close(rt.xlogy(0.0, x), torch.xlogy(0.0, y))


def test_second_derivatives_where_pytorch_has_none() -> None:
    x = random((2, 4), "float64")[0].requires_grad_()
    gradgradcheck(lambda t: t.logcumsumexp(1), [x], atol=1e-4)
    gradgradcheck(lambda t: rt.cdist(t, t[:1] * 3), [x], atol=1e-4)


def test_indices_of_triangles(device: str) -> None:
    for row, column, offset in ((3, 4, 0), (4, 2, 1), (2, 5, -1), (0, 3, 0), (3, 3, -9)):
        assert_close(rt.tril_indices(row, column, offset, device=device), torch.tril_indices(row, column, offset))
        assert_close(rt.triu_indices(row, column, offset, device=device), torch.triu_indices(row, column, offset))


ERRORS = [
    (lambda x: x.cumprod(2), IndexError, "^cumprod: dimension 2 is out of range"),
    (lambda x: (x > 0).logcumsumexp(0), rt.DTypeError, "^logcumsumexp is not defined for bool"),
    (lambda x: x[0, 0].diff(), rt.ShapeError, "^diff: a 0-d tensor has no neighbours"),
    (lambda x: x.diff(-1), ValueError, "^diff: n is not negative, got -1"),
    (lambda x: rt.trapezoid(x, x[0, :2]), rt.ShapeError, "^trapezoid: 2 places for 3 values along dimension 1"),
    (lambda x: rt.trapezoid(x, x, dx=2.0), TypeError, "^trapezoid: takes the places x or their distance dx=2.0, not both"),
    (lambda x: x.flip(2), IndexError, "^flip: dimension 2 is out of range"),
    (lambda x: x[0].fliplr(), rt.ShapeError, r"^fliplr: needs at least 2 dimensions, got shape \[3\]"),
    (lambda x: x[0, 0].flipud(), rt.ShapeError, "^flipud: needs at least 1 dimension"),
    (lambda x: x.rot90(1, (0,)), rt.ShapeError, r"^rot90: a plane has two different dimensions, got \[0\]"),
    (lambda x: rt.cdist(x, x[:, :2]), rt.ShapeError, r"^cdist: .* equally long rows, got shapes \[2, 3\] and \[2, 2\]"),
    (lambda x: x.cross(x, 0), rt.ShapeError, "^cross: vectors have 3 entries along dimension 0"),
    (lambda x: rt.tril_indices(-1, 2), rt.ShapeError, "^tril_indices: sizes cannot be negative, got -1 and 2"),
    (lambda x: rt.triu_indices(2, -1), rt.ShapeError, "^triu_indices: sizes cannot be negative, got 2 and -1"),
    (lambda x: x[0].trace(), rt.ShapeError, r"^trace: takes a matrix, got shape \[3\]"),
    (lambda x: x.take(x), rt.DTypeError, "^take: indices are int64, int32 or uint8, got float32"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3))


def test_cross_finds_its_dimension(device: str) -> None:
    x, y = random((2, 3, 4), device=device)
    assert_close(rt.cross(x, x.flip(0)), torch.linalg.cross(y, y.flip(0), dim=1))
