"""Sums and rows longer than the 65,535 turns after which a software device leaves a loop without a word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch.nn import functional as F
from tests.support.compare import assert_close

from .values import random


@pytest.mark.parametrize("columns", [16_384, 16_385, 21_847, 50_257, 131_073])
def test_rows_of_softmax(columns: int, device: str) -> None:
    x, y = random((2, columns), device=device)
    for run in (lambda m, t: t.softmax(1) * columns, lambda m, t: t.log_softmax(-1), lambda m, t: t.T.softmax(0) * columns):
        assert_close(run(rt, x), run(torch, y), rtol=1e-4)
    classes = [columns - 1, 3]
    x.requires_grad_()
    y.requires_grad_()
    loss, wanted = F.cross_entropy(x, rt.tensor(classes, device=device)), torch.nn.functional.cross_entropy(y, torch.tensor(classes))
    assert_close(loss.detach(), wanted.detach(), rtol=1e-5)
    loss.backward()
    wanted.backward()
    assert x.grad is not None and y.grad is not None
    assert_close(x.grad * columns, y.grad * columns, rtol=1e-4)


def test_long_rows_of_special_values(device: str) -> None:
    inf, nan, n = float("inf"), float("nan"), 20_001
    for first, last in ((inf, 0.0), (-inf, 0.0), (nan, 0.0), (1e4, -1e4), (inf, -inf), (inf, inf)):
        values = np.zeros((1, n), np.float32)
        values[0, 0], values[0, -1] = first, last
        for run in (lambda t: t.softmax(1), lambda t: t.log_softmax(1)):
            assert_close(run(rt.tensor(values, device=device)), run(torch.from_numpy(values)), rtol=1e-4)
    everything = np.full((1, n), -inf, np.float32)
    assert_close(rt.tensor(everything, device=device).softmax(1), torch.from_numpy(everything).softmax(1))


def test_gradients_of_gradients_of_long_rows(device: str) -> None:
    x, y = random((1, 17_001), device=device)
    grads = []
    for m, t in ((rt, x), (torch, y)):
        m_: Any = m
        t.requires_grad_()
        (g,) = m_.autograd.grad((t.softmax(1) ** 2).sum(), t, create_graph=True)
        grads.append(m_.autograd.grad((g * g).sum() * 1e12, t)[0])
    assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("depth", [61_440, 65_537, 131_073])
def test_inner_dimensions_of_products(depth: int, device: str) -> None:
    a, b = random((2, depth), device=device)
    c, d = random((depth, 3), device=device)
    assert_close(a @ c, b @ d, rtol=1e-4, atol=1e-2)
    assert_close(a[0] @ a[1], b[0] @ b[1], rtol=1e-4, atol=1e-2)
    a.requires_grad_()
    b.requires_grad_()
    (a @ c).sum().backward()
    (b @ d).sum().backward()
    assert_close(a.grad, b.grad, rtol=1e-4)
    half = rt.full((1, depth), 0.5, dtype=rt.float16, device=device)
    assert (half @ half.T).item() == torch.tensor(depth / 4.0).half().item()


@pytest.mark.slow
@pytest.mark.drivers("lavapipe")
def test_many_entries_in_order(device: str) -> None:
    drawn = np.random.default_rng(0).random(17_000_003, dtype=np.float32)
    x, y = rt.tensor(drawn, device=device), torch.from_numpy(drawn)
    assert_close(rt.masked_select(x, x > 0.999), y[y > 0.999])
    assert_close(x.topk(5).values, y.topk(5).values)
    assert np.array_equal(rt.msort(x).numpy(), np.sort(drawn))
    with pytest.raises(rt.ShapeError, match=r"sort: shape \[17000003\] of int64 is 136,000,024 bytes; .* split it"):
        x.sort()
    with pytest.raises(rt.ShapeError, match="to: .* takes at most"):
        x.to(rt.float64)
