"""Tensors cut up and put together in other ways against PyTorch, where the table of cases does not reach."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import random


def same(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("sections", [1, 2, 3, 7, [1, 3], [0, 2, 2, 9], [-2], []])
def test_sections(sections: Any, device: str) -> None:
    x, y = random((5, 6, 4), device=device)
    for dim in range(-3, 3):
        same(rt.tensor_split(x, sections, dim), torch.tensor_split(y, sections, dim))
    if not isinstance(sections, int):
        for name in ("hsplit", "vsplit", "dsplit"):
            same(getattr(rt, name)(x, sections), getattr(torch, name)(y, sections))
    same(x[0, 0].hsplit(2), y[0, 0].hsplit(2))


def test_other_shapes(device: str) -> None:
    x, y = random((2, 3, 2), device=device)
    for name in ("atleast_1d", "atleast_2d", "atleast_3d"):
        for take in (lambda t: t, lambda t: t[0], lambda t: t[0, 0], lambda t: t[0, 0, 0]):
            assert_close(getattr(rt, name)(take(x)), getattr(torch, name)(take(y)))
        same(getattr(rt, name)(x, x[0, 0, 0]), getattr(torch, name)(y, y[0, 0, 0]))
    for take in (lambda t: t[0, 0], lambda t: t[0], lambda t: t):
        assert_close(rt.dstack([take(x), take(x)]), torch.dstack([take(y), take(y)]))
        assert_close(rt.column_stack([take(x), take(x)]), torch.column_stack([take(y), take(y)]))
    assert_close(rt.row_stack([x[0, 0], x[0]]), torch.row_stack([y[0, 0], y[0]]))
    assert_close(rt.trapz(x, dim=1), torch.trapz(y, dim=1))
    v, w = random((4,), device=device)
    for r, again in ((0, False), (1, False), (3, True), (5, False), (2, True)):
        assert_close(rt.combinations(v, r, again), torch.combinations(w, r, again))
    assert_close(rt.cartesian_prod(v), torch.cartesian_prod(w))
    assert_close(rt.block_diag(v, x[0], x[0, 0, 0]), torch.block_diag(w, y[0], y[0, 0, 0]))
    assert_close(x.slice_scatter(x[:, :1] * 2, 1, -2, -1), y.slice_scatter(y[:, :1] * 2, 1, -2, -1))
    assert [rt.is_nonzero(rt.tensor([value], device=device)) for value in (0.0, -0.5)] == [False, True]


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda x: x.tensor_split(0), ValueError, "^tensor_split: needs at least one section, got 0"),
    (lambda x: x.tensor_split(rt.tensor([1])), TypeError, r"^tensor_split: .* use .tolist\(\)"),
    (lambda x: x.hsplit(2), rt.ShapeError, "^hsplit: dimension 1 of length 3 has no 2 equal sections; see tensor_split"),
    (lambda x: x[0].vsplit(1), rt.ShapeError, r"^vsplit: needs at least 2 dimensions, got shape \[3\]"),
    (lambda x: x.dsplit(1), rt.ShapeError, r"^dsplit: needs at least 3 dimensions, got shape \[2, 3\]"),
    (lambda x: x.sum().tensor_split(1), rt.ShapeError, "^tensor_split: a 0-d tensor cannot be split"),
    (lambda x: x.split_with_sizes([1], 0), rt.ShapeError, "^split: sizes"),
    (lambda x: rt.block_diag(x[None]), rt.ShapeError, r"^block_diag: takes at most 2 dimensions, got shape \[1, 2, 3\] \(number 0\)"),
    (lambda x: rt.cartesian_prod(x), rt.ShapeError, "^cartesian_prod: takes vectors"),
    (lambda x: rt.combinations(x), rt.ShapeError, "^combinations: takes a vector"),
    (lambda x: rt.combinations(x[0], -1), ValueError, "^combinations: r is not negative, got -1"),
    (lambda x: x.select_scatter(x, 0, 0), rt.ShapeError, r"^select_scatter: src has shape \[2, 3\], what it takes the place of \[3\]"),
    (lambda x: x.slice_scatter(x, 0, 1), rt.ShapeError, r"^slice_scatter: src has shape \[2, 3\], what it takes the place of \[1, 3\]"),
    (lambda x: x.diagonal_scatter(x), rt.ShapeError, r"^diagonal_scatter: src has shape \[2, 3\], the diagonal \[2\]"),
    (lambda x: x.sum_to_size(2, 2), rt.ShapeError, r"^sum_to_size: \[2, 2\] does not stretch to shape \[2, 3\]"),
    (lambda x: rt.is_nonzero(x), rt.ShapeError, r"^is_nonzero: takes one element, got shape \[2, 3\]; see count_nonzero"),
    (lambda x: rt.dstack(x), TypeError, "^dstack takes a sequence of tensors"),
    (lambda x: rt.column_stack([]), ValueError, "^column_stack: there is no tensor to join"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3))
