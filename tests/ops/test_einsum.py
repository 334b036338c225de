"""Einstein summation, and products of vectors and matrices under their own names, against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import TORCH, random

Shapes = tuple[tuple[int, ...], ...]

EQUATIONS: list[tuple[str, Shapes]] = [
    ("i->i", ((4,),)), ("ij->ji", ((2, 3),)), ("ij", ((2, 3),)), ("ji", ((2, 3),)), ("ij->", ((2, 3),)), ("ij->j", ((2, 3),)),
    ("ii", ((3, 3),)), ("ii->i", ((3, 3),)), ("iij->ij", ((2, 2, 3),)), ("iji->j", ((2, 3, 2),)), ("iii->i", ((2, 2, 2),)),
    ("ijij->ij", ((2, 3, 2, 3),)), ("->", ((),)), ("...->...", ((2, 3),)), ("...i->i...", ((2, 3, 4),)), ("...ij->...ji", ((2, 3, 4),)),
    ("i...->...", ((2, 3),)), ("...", ((2, 3),)), ("ba", ((2, 3),)), ("aB", ((2, 3),)), (" i j -> j i ", ((2, 3),)),
    ("i,i", ((3,), (3,))), ("i,i->i", ((3,), (3,))), ("i,j->ij", ((2,), (3,))), ("i,j->ji", ((2,), (3,))), ("i,j->", ((2,), (3,))),
    ("ij,jk", ((2, 3), (3, 4))), ("ij,jk->ki", ((2, 3), (3, 4))), ("ij,kj->ik", ((2, 3), (4, 3))), ("ij,j->i", ((2, 3), (3,))),
    ("ij,ij->", ((2, 3), (2, 3))), ("ij,ij->ij", ((2, 3), (2, 3))), ("ij,kl->ijkl", ((2, 3), (1, 2))), ("ij,kl->k", ((2, 3), (4, 2))),
    ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))), ("bij,bkj->bik", ((2, 3, 4), (2, 5, 4))), ("bij,jk->bik", ((2, 3, 4), (4, 5))),
    ("bi,bi->b", ((2, 3), (2, 3))), ("bhqd,bhkd->bhqk", ((2, 3, 4, 5), (2, 3, 6, 5))), ("ijk,jkl->il", ((2, 3, 4), (3, 4, 5))),
    ("ijk,lkj->il", ((2, 3, 4), (5, 4, 3))), ("...ij,...jk->...ik", ((2, 3, 4), (4, 5))), ("...ij,...jk", ((2, 1, 3, 4), (5, 4, 2))),
    ("b...d,...d->b...", ((2, 3, 4), (3, 4))), ("...,...", ((2, 3), (3,))), ("...i,i->...", ((2, 3), (3,))),
    ("...i,...i->", ((2, 3), (2, 3))),
    ("ij,ij->ij", ((2, 3), (2, 1))), ("ij,ij->i", ((2, 3), (1, 3))), ("ij,jk->ik", ((2, 1), (3, 4))), ("ii,ij->j", ((3, 3), (3, 2))),
    ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 5))), ("i,ij,j->", ((2,), (2, 3), (3,))), ("bn,anm,bm->ba", ((2, 3), (5, 3, 4), (2, 4))),
    ("i,i,i->i", ((3,), (3,), (3,))), (",->", ((), ())), (",i->i", ((), (3,))), ("ij,->ij", ((2, 3), ())),
    ("ab,bc,cd,de->ae", ((2, 3), (3, 3), (3, 3), (3, 3))),
    ("ij,jk->ik", ((2, 0), (0, 3))), ("ij,jk->ik", ((0, 2), (2, 3))), ("ij->i", ((2, 0),)), ("Ab,bC->AC", ((2, 3), (3, 4))),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS, ids=str)
def test_values(equation: str, shapes: Shapes, device: str) -> None:
    pairs = [random(shape, device=device, seed=k) for k, shape in enumerate(shapes)]
    expected = torch.einsum(equation, *(b for _, b in pairs))
    assert_close(rt.einsum(equation, *(a for a, _ in pairs)), expected, atol=1e-5)
    assert_close(rt.einsum(equation, [a for a, _ in pairs]), expected, atol=1e-5)


@pytest.mark.parametrize(("equation", "shapes"), [e for e in EQUATIONS if len(e[1]) > 1], ids=str)
def test_gradients(equation: str, shapes: Shapes) -> None:
    pairs = [random(shape, "float64", seed=k) for k, shape in enumerate(shapes)]
    ours = [a.requires_grad_() for a, _ in pairs]
    theirs = [b.requires_grad_() for _, b in pairs]
    (rt.einsum(equation, *ours) ** 2).sum().backward()
    (torch.einsum(equation, *theirs) ** 2).sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        assert_close(x.grad, y.grad)


@pytest.mark.parametrize("layout", ["transposed", "stepped", "expanded"])
def test_layouts(layout: str, device: str) -> None:
    def laid(t: Any) -> Any:
        return {"transposed": lambda: t[:4, :4].T, "stepped": lambda: t[::2, 1::2], "expanded": lambda: t[:1, :4].expand(4, 4)}[layout]()

    (x, y), (v, w) = random((8, 8), device=device), random((8, 8), device=device, seed=1)
    for equation in ("ij,jk->ik", "ij,kj->ik", "ij,ij->i", "ii,jk->k"):
        assert_close(rt.einsum(equation, laid(x), laid(v)), torch.einsum(equation, laid(y), laid(w)), atol=1e-5)


@pytest.mark.parametrize("dtype", TORCH)
def test_dtypes(dtype: str) -> None:
    (x, y), (v, w) = random((2, 3), dtype), random((2, 3), dtype, seed=1)
    for equation in ("ij,ij->ij", "ij,kj->ik", "ij,ij->i"):
        if dtype == "bool" and "->ij" not in equation:
            with pytest.raises(rt.DTypeError, match="bool"):
                rt.einsum(equation, x, v)
            continue
        assert_close(rt.einsum(equation, x, v), torch.einsum(equation, y, w))
    assert_close(rt.einsum("ij->j", x), torch.einsum("ij->j", y))
    if dtype != "bool":
        assert_close(rt.tensordot(x, v.T, 1), torch.tensordot(y, w.T, 1))
        assert_close(rt.dot(x[0], v[1]), torch.dot(y[0], w[1]))
        assert_close(rt.vdot(x[0], v[1]), torch.vdot(y[0], w[1]))
        assert_close(x.mv(v[0]), y.mv(w[0]))
        assert_close(x.mm(v.T), y.mm(w.T))
    assert_close(x[0].outer(v[1]), y[0].outer(w[1]))


CONTRACTIONS: list[tuple[tuple[int, ...], tuple[int, ...], Any]] = [
    ((2, 3, 4), (3, 4, 5), 2), ((2, 3), (3, 2), 1), ((2,), (3,), 0), ((2, 3), (2, 3), 2), ((), (), 0),
    ((2, 3, 4), (4, 3), ([2, 1], [0, 1])),
    ((2, 3, 4), (4, 3), ((-1,), (0,))), ((2, 0), (0, 3), 1), ((2, 3, 2), (2, 2), ([0, 2], [1, 0])), ((3,), (3,), ([0], [0])),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "dims"), CONTRACTIONS, ids=str)
def test_tensordot(a: tuple[int, ...], b: tuple[int, ...], dims: Any, device: str) -> None:
    (x, y), (v, w) = random(a, device=device), random(b, device=device, seed=1)
    assert_close(rt.tensordot(x, v, dims), torch.tensordot(y, w, dims), atol=1e-5)
    assert_close(rt.tensordot(x, v, dims=dims), torch.tensordot(y, w, dims=dims), atol=1e-5)


def test_products_by_name(device: str) -> None:
    (x, y), (v, w), (a, b) = (random(s, device=device, seed=k) for k, s in enumerate([(2, 3), (3, 4), (3,)]))
    assert_close(rt.mm(x, v), torch.mm(y, w))
    assert_close(rt.mv(x, a), torch.mv(y, b))
    assert_close(rt.dot(a, a), torch.dot(b, b))
    assert_close(a.vdot(x[0]), b.vdot(y[0]))
    assert_close(a.dot(x[1]), b.dot(y[1]))
    assert_close(rt.outer(a, x[0]), torch.outer(b, y[0]))


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda x: rt.einsum("ij,jk", x), ValueError, "^einsum: 'ij,jk' is for 2 operands, got 1"),
    (lambda x: rt.einsum("ij,jk", x, x), rt.ShapeError, r"^einsum: 'j' of 'ij,jk' is 3 and 2 in operands of shapes \[2, 3\] and \[2, 3\]"),
    (lambda x: rt.einsum("...i,...i", x, x.T[:, :1].expand(3, 4)), rt.ShapeError, r"^einsum: .* of '...i,...i' is [23] and [34] in"),
    (lambda x: rt.einsum("ijk", x), rt.ShapeError, r"^einsum: 'ijk' of 'ijk' names 3 dimensions of shape \[2, 3\]"),
    (lambda x: rt.einsum("i", x), rt.ShapeError, r"^einsum: 'i' of 'i' names 1 dimensions of shape \[2, 3\]"),
    (lambda x: rt.einsum("ij->k", x), ValueError, "^einsum: 'k' of the result is in no operand"),
    (lambda x: rt.einsum("ij->ii", x), ValueError, "^einsum: 'i' is twice in the result"),
    (lambda x: rt.einsum("i1", x), ValueError, "^einsum: 'i1' has '1' in it"),
    (lambda x: rt.einsum("i.j", x), ValueError, r"^einsum: 'i.j' has '\.' in it"),
    (lambda x: rt.einsum("ii->i", x), rt.ShapeError, "^einsum: 'i' of 'ii->i' "),
    (lambda x: rt.einsum("ij,ij", x, x.double()), rt.DTypeError, "^einsum: operands are float32 and float64"),
    (lambda x: rt.einsum(x, "ij"), TypeError, "^einsum: the first argument is the equation, a string, got Tensor"),
    (lambda x: rt.einsum("ij,ij", x, 2), TypeError, "^einsum takes tensors, got int"),
    (lambda x: rt.dot(x, x), rt.ShapeError, r"^dot: takes 1 and 1 dimensions, got shapes \[2, 3\] and \[2, 3\]; see matmul"),
    (lambda x: rt.dot(x[0], x[:, 0]), rt.ShapeError, "^dot: vectors of 3 and 2 elements do not fit"),
    (lambda x: rt.mv(x, x), rt.ShapeError, "^mv: takes 2 and 1 dimensions"),
    (lambda x: rt.mm(x, 3), TypeError, "^mm takes two tensors, got int"),
    (lambda x: x.mm(x), rt.ShapeError, r"^matmul: shapes \[2, 3\] and \[2, 3\] do not fit"),
    (lambda x: rt.tensordot(x, x, 3), rt.ShapeError, "^tensordot: 3 dimensions to sum over"),
    (lambda x: rt.tensordot(x, x, ([0], [1])), rt.ShapeError, r"^tensordot: dimension 0 of \[2, 3\] and dimension 1 of \[2, 3\]"),
    (lambda x: rt.tensordot(x, x, ([0, 1], [0])), rt.ShapeError, "^tensordot: dimensions .* do not pair up"),
    (lambda x: rt.tensordot(x, x.double()), rt.DTypeError, "^tensordot: operands are float32 and float64"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3))
