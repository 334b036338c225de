"""Sorting and what is read off sorted rows, against PyTorch: every dtype, ties, NaN, both zeros, short and long rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import LAYOUTS, NAN, TORCH, Pair, pair, random, special

SHAPES = [(), (0,), (1,), (6,), (3, 0), (0, 3), (3, 64), (3, 65), (2, 900), (70, 130), (2, 3, 4), (40_000,)]


def tied(shape: tuple[int, ...], dtype: str, device: str) -> Pair:
    """Many equal entries, and everything that is special."""
    generator = np.random.default_rng([len(shape), *shape])
    values = np.array(special(dtype), "float64" if dtype.startswith(("float", "bfloat")) else None)
    if dtype == "float16":
        values = np.clip(values, -6e4, 6e4)
    return pair(generator.choice(values, shape), dtype, device)


def compare(found: Any, expected: Any, what: str = "") -> None:
    assert isinstance(found, tuple)
    assert_close(found[0], expected[0], rtol=0, atol=0, what=f"values {what}")
    assert_close(found[1], expected[1], what=f"indices {what}")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_order_is_pytorchs_stable_one(shape: tuple[int, ...], device: str) -> None:
    for dtype in TORCH:
        x, y = tied(shape, dtype, device)
        for descending in (False, True):
            compare(rt.sort(x, descending=descending), torch.sort(y, descending=descending, stable=True), f"{dtype}, {descending}")
        assert_close(rt.argsort(x), torch.argsort(y, stable=True), what=dtype)


@pytest.mark.every_driver
@pytest.mark.parametrize("dtype", TORCH)
def test_every_driver(dtype: str, device: str) -> None:
    for shape in ((7, 20), (2, 500)):
        x, y = tied(shape, dtype, device)
        compare(x.sort(-1, True), torch.sort(y, dim=-1, descending=True, stable=True))
        compare(x.sort(0), torch.sort(y, dim=0, stable=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), device=device))
    for dim in range(-max(y.ndim, 1), max(y.ndim, 1)):
        compare(x.sort(dim), torch.sort(y, dim=dim, stable=True))
        assert_close(rt.argsort(x, dim, True), torch.argsort(y, dim=dim, descending=True, stable=True))
    if y.ndim:
        assert_close(rt.msort(x), torch.msort(y))


def test_the_order_sorts(device: str) -> None:
    """A million entries, with no reference that takes longer than the work."""
    x = rt.randn(1_000_000, generator=rt.Generator(1), device=device)
    values, indices = x.sort()
    host, ordered, places = x.numpy(), values.numpy(), indices.numpy()
    assert (ordered[1:] >= ordered[:-1]).all() and np.array_equal(host[places], ordered)
    assert np.array_equal(np.sort(places), np.arange(1_000_000))


@pytest.mark.parametrize("largest", [True, False])
def test_topk(largest: bool, device: str) -> None:
    forms = [((5, 7), 3, -1), ((5, 7), 5, 0), ((2, 300), 300, 1), ((3, 500), 0, 1), ((4, 5000), 10, 1), ((9,), 1, 0), ((), 1, 0)]
    for shape, k, dim in forms:
        x, y = random(shape, device=device)
        compare(rt.topk(x, k, dim, largest), torch.topk(y, k, dim, largest), str((shape, k, dim)))
    x, _ = pair([2, 7, 7, 1, 7, 2], "int32", device)
    found = x.topk(4, largest=largest)
    assert found.indices.tolist() == ([1, 2, 4, 0] if largest else [3, 0, 5, 1]), "the first of equal ones"


@pytest.mark.every_driver
@pytest.mark.parametrize("dtype", TORCH)
def test_topk_is_the_head_of_the_stable_order(dtype: str, device: str) -> None:
    for shape, counts in (((3, 40), (2,)), ((2, 300), (1, 5, 16, 17, 299)), ((9000,), (1, 3, 16, 40))):
        x, y = tied(shape, dtype, device)
        for largest in (True, False):
            expected = torch.sort(y, dim=-1, descending=largest, stable=True)
            for k in counts:
                compare(x.topk(k, largest=largest), [t[..., :k] for t in expected], f"{shape}, {k}, {largest}")


def test_kth_and_medians(device: str) -> None:
    for dtype in ("float32", "int32", "uint8", "float16"):
        x, y = random((5, 8), dtype, device, low=-9, high=9)
        for dim in (0, 1, -1):
            for keepdim in (False, True):
                for k in (1, 3, 5):
                    assert_close(rt.kthvalue(x, k, dim, keepdim).values, torch.kthvalue(y, k, dim, keepdim).values)
                assert_close(rt.median(x, dim, keepdim).values, torch.median(y, dim, keepdim).values)
        assert_close(rt.median(x), torch.median(y))
        assert_close(rt.nanmedian(x), torch.nanmedian(y))
    for found, expected in ((rt.kthvalue(x, 2, 0), x), (rt.median(x, 0), x)):
        chosen = np.take_along_axis(np.asarray(expected.numpy()), np.asarray(found.indices.numpy())[None], 0)[0]
        assert np.array_equal(chosen, found.values.numpy())


def test_medians_of_what_is_missing(device: str) -> None:
    x, y = pair([[3.0, NAN, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [NAN, NAN, NAN, NAN], [NAN, 5.0, NAN, 6.0]], device=device)
    compare(x.median(1), y.median(1))
    assert_close(x.nanmedian(1).values, y.nanmedian(1).values)
    assert x.nanmedian(1).indices.tolist()[:2] == y.nanmedian(1).indices.tolist()[:2]
    assert_close(x.median(), y.median())
    assert_close(x.nanmedian(), y.nanmedian())
    assert_close(x[:, :0].median(), y[:, :0].median())


def test_gradients_follow_ties(device: str) -> None:
    x, y = pair([[1.0, 0.0, 1.0, 0.0, 2.0]] * 2, device=device)
    weight = [[1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0]]
    (x.requires_grad_().sort(1, True).values * rt.tensor(weight, device=device)).sum().backward()
    (torch.sort(y.requires_grad_(), dim=1, descending=True, stable=True).values * torch.tensor(weight)).sum().backward()
    assert_close(x.grad, y.grad)


def test_indices_are_not_taped(device: str) -> None:
    x = rt.rand(3, 4, device=device).requires_grad_()
    values, indices = x.topk(2)
    assert values.requires_grad and not indices.requires_grad and not rt.argsort(x).requires_grad


ERRORS = [
    (lambda x: x.sort(2), IndexError, "^sort: dimension 2 is out of range"),
    (lambda x: x.topk(4), rt.ShapeError, r"^topk: 4 entries of dimension -1, which has 3 \(shape \[2, 3\]\)"),
    (lambda x: x.kthvalue(0), rt.ShapeError, "^kthvalue: k is from 1 to the length 3 of dimension -1, got 0"),
    (lambda x: x[:, :0].median(1), rt.ShapeError, r"^median: nothing to choose from along dimension 1 of shape \[2, 0\]"),
    (lambda x: x.median(keepdim=True), TypeError, "^median: keepdim needs a dim"),
    (lambda x: (x > 0).nanmedian(0), rt.DTypeError, "^nanmedian is not defined for bool"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3))
