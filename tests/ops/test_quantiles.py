"""Quantiles and most frequent values against PyTorch: every way to interpolate, NaN, infinities, ties, shapes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import INF, LAYOUTS, NAN, TORCH, pair, random

ROWS = [[3.0, 1.0, 2.0, 5.0], [NAN, 2.0, 7.0, 1.0], [NAN] * 4, [INF, -INF, 1.0, 2.0], [-0.0, 0.0, 0.0, -0.0], [4.0, 4.0, 4.0, 4.0]]
WAYS = ("linear", "lower", "higher", "midpoint", "nearest")


@pytest.mark.every_driver
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["quantile", "nanquantile"])
def test_ways_and_special_values(name: str, way: str, device: str) -> None:
    x, y = pair(ROWS, device=device)
    q, p = pair([0.0, 0.3, 0.5, 1.0, 1 / 3], device=device)
    found, expected = getattr(rt, name)(x, q, 1, interpolation=way), getattr(torch, name)(y, p, 1, interpolation=way)
    assert_close(found, expected)
    for number in (0.0, 0.25, 0.9, 1):
        assert_close(getattr(x, name)(number, 0, True, interpolation=way), getattr(y, name)(number, 0, True, interpolation=way))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "empty"])
def test_layouts_and_shapes(layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), device=device))
    (q, p), (one, single) = pair([0.2, 0.8, 0.5], device=device), pair(0.4, device=device)
    for dim in (None, *range(-y.ndim, y.ndim)):
        for keepdim in (False, True):
            assert_close(rt.quantile(x, q, dim, keepdim), torch.quantile(y, p, dim, keepdim))
            assert_close(rt.quantile(x, one, dim, keepdim), torch.quantile(y, single, dim, keepdim))
            assert_close(rt.nanquantile(x, 0.7, dim, keepdim), torch.nanquantile(y, 0.7, dim, keepdim))
    for dim in range(-max(y.ndim, 1), max(y.ndim, 1)):
        assert_close(rt.mode(x, dim, True).values, torch.mode(y, dim, True).values)


def test_long_rows(device: str) -> None:
    x, y = random((2, 5000), device=device)
    q, p = pair(np.linspace(0, 1, 33), device=device)
    assert_close(rt.quantile(x, q, 1), torch.quantile(y, p, 1), rtol=1e-5, atol=1e-6)


def test_gradients_reach_q_and_ties(device: str) -> None:
    x, y = pair([[3.0, 1.0, 2.0, 5.0], [1.0, 2.0, 2.0, 0.0]], device=device)
    q, p = pair([0.3, 0.6], device=device)
    (rt.quantile(x.requires_grad_(), q.requires_grad_(), 1) * q.detach()).sum().backward()
    (torch.quantile(y.requires_grad_(), p.requires_grad_(), 1) * p.detach()).sum().backward()
    assert_close(x.grad.sum(1), y.grad.sum(1))
    assert_close(x.grad[0], y.grad[0])
    assert_close(q.grad, p.grad)


@pytest.mark.every_driver
def test_modes_of_every_dtype(device: str) -> None:
    generator = np.random.default_rng(3)
    for dtype in TORCH:
        x, y = pair(generator.integers(0, 2 if dtype == "bool" else 4, (5, 11)), dtype, device)
        for dim in (0, 1):
            found, expected = rt.mode(x, dim), torch.mode(y, dim)
            assert_close(found.values, expected.values, what=dtype)
            assert_close(found.indices, expected.indices, what=dtype)
    x, y = pair([[1.0, 1.0, NAN, 2.0, 2.0], [3.0, 3.0, 2.0, 2.0, 1.0], [NAN, 5.0, -0.0, 0.0, INF]], device=device)
    assert_close(x.mode().values, y.mode().values)
    assert_close(x.mode(keepdim=True).indices, y.mode(keepdim=True).indices)
    assert_close(x[:0].mode().values, y[:0].mode().values)


ERRORS = [
    (lambda x: x.quantile(1.5), ValueError, "^quantile: q is from 0 to 1, got 1.5"),
    (lambda x: x.quantile(NAN), ValueError, "^quantile: q is from 0 to 1, got nan"),
    (lambda x: x.quantile([0.5]), TypeError, "^quantile: q is a number or a tensor, got list"),
    (lambda x: x.quantile(x), rt.ShapeError, r"^quantile: q is a number or a vector, got shape \[2, 3\]"),
    (lambda x: x.quantile(x[0].double()), rt.DTypeError, "^quantile: q is float64 and input float32; convert"),
    (lambda x: x.quantile(0.5, interpolation="mean"), ValueError, "^quantile: interpolation is one of linear, lower, .*, got 'mean'"),
    (lambda x: x[:0].nanquantile(0.5), rt.ShapeError, r"^nanquantile: nothing to choose from in shape \[0, 3\]"),
    (lambda x: x.half().quantile(0.5), rt.DTypeError, "^quantile is not defined for float16"),
    (lambda x: x[:, :0].mode(), rt.ShapeError, r"^mode: nothing to choose from along dimension -1 of shape \[2, 0\]"),
    (lambda x: rt.mode(3.0), TypeError, "^mode: expected a tensor, got float"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3))


def test_what_the_device_finds_out_of_range(device: str) -> None:
    for wrong in (1.5, -0.1, NAN):
        made = rt.quantile(rt.ones(3, device=device), rt.tensor([0.5, wrong], device=device))
        with pytest.raises(IndexError, match="^quantile: q is not from 0 to 1"):
            made.numpy()
