"""Values written to and combined at places that indices name, against PyTorch: dtypes, layouts, repeated indices, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .sorting_cases import APART, ROWS, SCATTERED
from .values import LAYOUTS, TORCH, Pair, random

HOWS = ("sum", "prod", "mean", "amax", "amin")


def indices(values: Any, device: str) -> Pair:
    return rt.tensor(np.array(values, np.int64), device=device), torch.tensor(values)


@pytest.mark.parametrize("dtype", TORCH)
def test_dtypes(dtype: str, device: str) -> None:
    if device != "cpu" and dtype == "float64" and not rt.device(device).driver.traits.float64:
        return
    (x, y), (v, w) = random((4, 3), dtype, device), random((4, 3), dtype, device, seed=1)
    (i, j), (k, n) = indices(ROWS, device), indices(APART, device)
    assert_close(rt.scatter(x, 0, k, v), torch.scatter(y, 0, n, w))
    assert_close(x.scatter(0, k, 1), y.scatter(0, n, 1))
    line, theirs = indices([2, 0], device)
    assert_close(x.index_copy(0, line, v[:2]), y.index_copy(0, theirs, w[:2]))
    assert_close(x.index_fill(1, line, 1), y.index_fill(1, theirs, 1))
    assert_close(x.index_put((line,), v[:2]), y.index_put((theirs,), w[:2]))
    if dtype == "bool":
        for run in (lambda: x.scatter_add(0, i, v), lambda: x.index_add(0, line, v[:2]), lambda: x.scatter_reduce(0, i, v, "amax")):
            with pytest.raises(rt.DTypeError, match="is not defined for bool"):
                run()
        return
    assert_close(x.scatter_add(0, i, v), y.scatter_add(0, j, w))
    assert_close(x.index_add(0, line, v[:2], alpha=2), y.index_add(0, theirs, w[:2], alpha=2))
    for how in HOWS:
        for include in (True, False):
            if dtype != "uint8" or how != "mean" or include:
                found = x.scatter_reduce(0, i, v, how, include_self=include)
                assert_close(found, y.scatter_reduce(0, j, w, how, include_self=include), what=f"{how}, {include}")


@pytest.mark.every_driver
def test_every_driver(device: str) -> None:
    (x, y), (v, w) = random((300, 5), device=device), random((4000, 5), device=device, seed=1)
    rows = np.random.default_rng(0).integers(0, 300, (4000, 5))
    i, j = indices(rows, device)
    for how in ("sum", "amax", "amin", "mean"):
        assert_close(x.scatter_reduce(0, i, v, how), y.scatter_reduce(0, j, w, how), atol=2e-5, what=how)
    assert_close(x.index_add(0, i[:, 0], v), y.index_add(0, j[:, 0], w), atol=2e-5)
    whole, wanted = random((300, 5), "int64", device)
    more, theirs = random((4000, 5), "int64", device, seed=1)
    scattered = whole.scatter(0, i, more + 2**40 if device == "cpu" else more)
    last = np.asarray(wanted.numpy().copy())
    entries = theirs.numpy() + (2**40 if device == "cpu" else 0)
    for r, line in enumerate(rows):
        last[line, np.arange(5)] = entries[r]
    assert np.array_equal(scattered.numpy(), last), "the last of those with the same index stays"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), device=device))
    v, w = (LAYOUTS[layout](t) for t in random((4, 6), device=device, seed=1))
    if y.ndim == 0:
        i, j = indices(0, device)
        assert_close(rt.scatter_add(x, 0, i, v), torch.scatter_add(y, 0, j, w))
        return
    for dim in range(y.ndim):
        i, j = indices(np.random.default_rng(dim).integers(0, max(y.shape[dim], 1), tuple(y.shape)), device)
        assert_close(x.scatter_add(dim, i, v), y.scatter_add(dim, j, w))
        assert_close(x.scatter_reduce(dim, i, v, "amax"), y.scatter_reduce(dim, j, w, "amax"))
        line, theirs = indices(np.arange(y.shape[dim])[::-1].copy(), device)
        assert_close(x.index_copy(dim, line, v), y.index_copy(dim, theirs, w))
        assert_close(x.index_add(dim, line, v), y.index_add(dim, theirs, w))


@pytest.mark.filterwarnings("ignore:.*reduce argument")
def test_forms_that_reduce(device: str) -> None:
    (x, y), (v, w) = random((4, 3), device=device), random((4, 3), device=device, seed=1)
    i, j = indices(ROWS, device)
    assert_close(x.scatter(0, i, v, reduce="add"), y.scatter(0, j, w, reduce="add"))
    assert_close(x.scatter(0, i, 2.0, reduce="multiply"), y.scatter(0, j, 2.0, reduce="multiply"))
    assert_close(x.scatter(0, i, value=2.0), y.scatter(0, j, value=2.0))
    (x, y), (v, w) = random((4, 3), "int32", device), random((4, 3), "int32", device, seed=1)
    assert_close(rt.scatter_reduce(x - 2, 0, i, v - 2, "mean"), torch.scatter_reduce(y - 2, 0, j, w - 2, "mean"))


def test_in_place(device: str) -> None:
    i, j = indices(ROWS, device)
    line, theirs = indices([2, 0], device)
    (x, y), (v, w) = random((4, 3), device=device), random((4, 3), device=device, seed=1)
    for t, s, n, k in ((x, v, i, line), (y, w, j, theirs)):
        base = t
        t = t.clone() * 1
        t.scatter_add_(0, n, s)
        t.scatter_(0, n[:1], s)
        t.scatter_reduce_(0, n, s, "amin")
        t.index_add_(0, k, s[:2])
        t.index_copy_(1, k, s[:, :2])
        t.index_fill_(0, k[:1], 3.0)
        t.index_put_((k,), s[0], accumulate=True)
        t.masked_scatter_(s > 0, s)
        base.copy_(t)
    assert_close(x, y)


def test_gradients_through_writing_in_place(device: str) -> None:
    i, j = indices(ROWS, device)
    (x, y), (v, w) = random((4, 3), device=device), random((4, 3), device=device, seed=1)
    ours, theirs = x.requires_grad_() * 2, y.requires_grad_() * 2
    ours.scatter_add_(0, i, v.requires_grad_())
    theirs.scatter_add_(0, j, w.requires_grad_())
    (ours * ours).sum().backward()
    (theirs * theirs).sum().backward()
    assert_close(x.grad, y.grad)
    assert_close(v.grad, w.grad)


def test_products_with_zeros_have_exact_gradients() -> None:
    values = [[0.0, 2.0, 3.0], [4.0, 0.0, 0.0], [5.0, 6.0, 7.0], [0.0, 8.0, 9.0]]
    i, j = indices(ROWS, "cpu")
    for include in (True, False):
        x, v = (rt.tensor(values, requires_grad=True) for _ in range(2))
        y, w = (torch.tensor(values, requires_grad=True) for _ in range(2))
        x.scatter_reduce(0, i, v, "prod", include_self=include).sum().backward()
        y.scatter_reduce(0, j, w, "prod", include_self=include).sum().backward()
        assert_close(v.grad, w.grad)
        assert_close(x.grad, y.grad)


def test_nothing_is_named(device: str) -> None:
    x, y = random((4, 3), device=device)
    none, theirs = rt.zeros(0, dtype="int64", device=device), torch.zeros(0, dtype=torch.int64)
    assert_close(x.scatter_add(0, none.reshape(0, 3), x[:0]), y.scatter_add(0, theirs.reshape(0, 3), y[:0]))
    assert_close(x.index_add(1, none, x[:, :0]), y.index_add(1, theirs, y[:, :0]))
    assert_close(x.scatter_reduce(0, none.reshape(0, 3), x, "mean"), y)


@pytest.mark.parametrize("case", [c for c in SCATTERED if c.name == "index_put"], ids=lambda case: case.id)
def test_index_put_stretches(case: Any) -> None:
    x, y = random(case.inputs[0][0])
    v, w = random(case.inputs[1][0], seed=1)
    assert_close(case.run(rt, x, v), case.run(torch, y, w))


OUTSIDE = [
    (lambda x, i: x.scatter(0, i, 1.0), r"scatter: index 7 is out of range"),
    (lambda x, i: x.scatter_add(0, i, x[:1]), r"scatter_add: index 7 is out of range"),
    (lambda x, i: x.scatter_reduce(0, i, x[:1], "amax"), r"scatter_reduce: index 7 is out of range"),
    (lambda x, i: x.index_add(0, i[0], x), r"index_add: index 7 is out of range"),
    (lambda x, i: x.index_fill(1, i[0], 0.0), r"index_fill: index 7 is out of range"),
    (lambda x, i: x.index_put((i[0],), x), r"index_put: index 7 is out of range"),
    (lambda x, i: x.masked_scatter(x > 0, x[0, :2]), "masked_scatter: source: index 2 is out of range"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "text"), OUTSIDE, ids=[text for _, text in OUTSIDE])
def test_what_is_out_of_range_is_raised_at_the_next_wait(run: Any, text: str, device: str) -> None:
    x = rt.ones(3, 3, device=device)
    i = rt.tensor([[0, 7, 1]], device=device)
    out = run(x, i)
    with pytest.raises(IndexError, match=text):
        out.numpy()


ERRORS = [
    (lambda x, i: x.scatter(2, i, x), IndexError, "^scatter: dimension 2 is out of range"),
    (lambda x, i: x.scatter(0, i), TypeError, "^scatter takes a source"),
    (lambda x, i: x.scatter(0, i, x, reduce="max"), ValueError, "^scatter: reduce is 'add', 'multiply' or None, got 'max'"),
    (lambda x, i: x.scatter(0, i[0], x), rt.ShapeError, r"^scatter: .* equally many dimensions, got shapes \[\[2, 3\], \[3\], \[2, 3\]\]"),
    (lambda x, i: x[:, :2].scatter(0, i, x), rt.ShapeError, r"^scatter: index of shape \[2, 3\] reaches past the tensor of shape \[2, 2\]"),
    (lambda x, i: x.scatter_add(0, i, x[:1]), rt.ShapeError, r"^scatter_add: .* or the source of shape \[1, 3\]"),
    (lambda x, i: x.scatter_add(0, i, x.to("float16")), rt.DTypeError, "^scatter_add: the tensor is float32 and the source float16"),
    (lambda x, i: x.scatter(0, x, x), rt.DTypeError, "^scatter: indices are int64, int32 or uint8, got float32"),
    (lambda x, i: x.scatter_reduce(0, i, x, "max"), ValueError, "^scatter_reduce: reduce is one of sum, prod, mean, amax, amin, got 'max'"),
    (lambda x, i: x.index_add(0, i, x), rt.ShapeError, r"^index_add: index is a vector, got shape \[2, 3\]"),
    (lambda x, i: x.index_copy(0, i[0], x), rt.ShapeError, r"^index_copy: 3 indices along dimension 0 .* take a source of shape \[3, 3\]"),
    (lambda x, i: x.index_fill(0, i[0], x), rt.ShapeError, r"^index_fill: value is a number or a 0-d tensor, got shape \[2, 3\]"),
    (lambda x, i: x.index_put((i[0], None), x), TypeError, "^index_put: indices are 1 to 2 integer tensors"),
    (lambda x, i: x.masked_scatter(i, x), rt.DTypeError, "^masked_scatter: the mask is bool, got int64"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3), rt.zeros((2, 3), dtype="int64"))
