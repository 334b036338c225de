"""Reductions, softmax and matrix products against PyTorch: dimensions, dtypes, layouts, special values, long
sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import FLOATS, INF, LAYOUTS, NAN, TORCH, pair, random

PLAIN = ("sum", "mean", "prod", "amax", "amin", "any", "all", "logsumexp")
ARG = ("argmax", "argmin")
SPREAD = ("var", "std")
SHAPES = [(), (1,), (5,), (2, 3), (2, 3, 4), (1, 5, 1)]


def theirs(name: str, y: torch.Tensor, dim: Any, keepdim: bool) -> torch.Tensor:
    """PyTorch's reduction; some of its functions do not take None or several dimensions."""
    if name == "prod":
        dims = range(y.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
        for d in sorted({d % max(y.ndim, 1) for d in dims}, reverse=True):
            y = y.prod(d, keepdim=True)
        gone = [d % max(y.ndim, 1) for d in dims]
        y = y.prod() if not gone and not y.ndim else y
        return y if keepdim else y.reshape([n for a, n in enumerate(y.shape) if a not in gone])
    if dim is None and name not in ARG:
        dim = tuple(range(y.ndim))
    return getattr(torch, name)(y, dim=dim, keepdim=keepdim)


def dims_of(rank: int, name: str) -> list[Any]:
    several = [(0, rank - 1), tuple(range(rank))] if rank > 1 and name not in ARG else []
    return [*([] if name == "logsumexp" else [None]), *range(-rank, rank), *several]


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [*PLAIN, *ARG, *SPREAD])
def test_dimensions(name: str, shape: tuple[int, ...], device: str) -> None:
    x, y = random(shape, device=device)
    for dim in dims_of(y.ndim, name):
        for keepdim in (False, True):
            ours = getattr(x, name)(dim=dim, keepdim=keepdim)
            assert_close(ours, theirs(name, y, dim, keepdim), what=f"dim={dim}, keepdim={keepdim}")


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("name", [*PLAIN, *ARG])
def test_dtypes(name: str, dtype: str) -> None:
    x, y = random((3, 4), dtype)
    if name == "mean" and dtype not in FLOATS:
        with pytest.raises(rt.DTypeError, match=f"mean is not defined for {dtype}"):
            x.mean()
        return
    if (name in ARG and dtype == "bool") or (dtype == "uint8" and name in ("any", "all")):
        y = y.to(torch.int32)  # PyTorch refuses the first, and gives uint8 for the second
    for dim in (0, 1):
        assert_close(getattr(x, name)(dim), theirs(name, y, dim, False))


@pytest.mark.parametrize("name", ["sum", "mean", "prod"])
def test_dtype_argument(name: str) -> None:
    x, y = random((3, 4), "int32")
    for dtype in ("float32", "float64"):
        assert_close(getattr(x, name)(dtype=dtype), getattr(y, name)(dtype=TORCH[dtype]))
    assert_close(x.sum(1, dtype="int32"), y.sum(1, dtype=torch.int32))


@pytest.mark.parametrize("name", [*PLAIN, *ARG])
def test_nothing_to_reduce(name: str, device: str) -> None:
    x, y = random((2, 0, 3), device=device)
    choosing = name in ("amax", "amin", *ARG)
    for dim in (0, -1) if choosing else (0, 1, -1, *([] if name == "logsumexp" else [None])):
        assert_close(getattr(x, name)(dim), theirs(name, y, dim, False), what=f"dim={dim}")
    if choosing:
        with pytest.raises(rt.ShapeError, match=rf"^{name}: nothing to choose from .*\[2, 0, 3\]"):
            getattr(x, name)(1)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "empty"])
@pytest.mark.parametrize("name", ["sum", "amax", "argmin", "softmax"])
def test_layouts(name: str, layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), device=device))
    for dim in range(y.ndim):
        assert_close(getattr(x, name)(dim), getattr(y, name)(dim))
    if name != "softmax":
        assert_close(getattr(x, name)(), getattr(y, name)())


SPECIALS = [
    [1.0, NAN, 2.0], [NAN, NAN, INF], [INF, -INF, 1.0], [-INF, -INF, -INF], [INF, INF, 0.0], [-0.0, 0.0, -0.0],
    [3e38, 3e38, -3e38], [1e-30, 1e30, 1.0], [2.0, 5.0, 5.0],
]  # fmt: skip


@pytest.mark.parametrize("name", [*PLAIN, *ARG, "softmax", "log_softmax"])
def test_special_values(name: str, device: str) -> None:
    x, y = pair(SPECIALS, device=device)
    if name in ("sum", "mean"):  # the order of an overflowing sum is nobody's promise
        x, y = x[:6], y[:6]
    assert_close(getattr(x, name)(1), getattr(y, name)(1))


def test_argmax_takes_the_first(device: str) -> None:
    x = rt.tensor([[1.0, 3.0, 3.0], [NAN, 7.0, NAN], [2.0, 2.0, 2.0]], device=device)
    assert x.argmax(1).tolist() == [1, 0, 0]
    assert x.argmin(1).tolist() == [0, 0, 0]
    assert x[:1].argmax().item() == 1


@pytest.mark.parametrize("length", [1000, 4097, 100_000])
def test_long_rows(length: int, device: str) -> None:
    """Reductions in several stages, along either dimension."""
    x, y = random((3, length), device=device, low=-1, high=1)
    for a, b in ((x, y), (x.T, y.T)):
        dim = b.shape.index(length)
        wide = b.double()
        assert_close(a.sum(dim), wide.sum(dim).float(), rtol=1e-5, atol=1e-4)
        assert_close(a.amax(dim), b.amax(dim))
        assert_close(a.argmin(dim), b.argmin(dim))
        assert_close(a.logsumexp(dim), wide.logsumexp(dim).float(), rtol=1e-5)


def test_long_sums_are_accurate(device: str) -> None:
    """Adding one after another would stop at 2**24."""
    total = (1 << 24) + 3
    assert rt.ones(total, device=device).sum().item() == pytest.approx(total, rel=1e-7)


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_dimensions(name: str, dim: int, device: str) -> None:
    x, y = random((2, 3, 4), device=device, low=-30, high=30)
    assert_close(getattr(x, name)(dim), getattr(y, name)(dim), rtol=1e-5)
    big, reference = pair([[1e4, -1e4, 0.0], [3e38, 3e38, -3e38]], device=device)
    assert_close(getattr(big, name)(-1), getattr(reference, name)(-1))


def test_softmax_of_nothing_and_of_one_number(device: str) -> None:
    assert rt.ones(2, 0, device=device).softmax(1).shape == (2, 0)
    assert rt.ones(0, 3, device=device).log_softmax(1).shape == (0, 3)
    assert rt.tensor(5.0, device=device).softmax(0).item() == 1.0


PRODUCTS = [
    ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 1)), ((4, 1, 2, 3), (5, 3, 2)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2)),
    ((2, 0), (0, 3)), ((0, 2), (2, 3)), ((2, 2), (2, 0)), ((0, 2, 3), (3, 4)), ((33, 65), (65, 17)), ((1, 300), (300, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), PRODUCTS, ids=str)
def test_matmul_shapes(a: tuple[int, ...], b: tuple[int, ...], device: str) -> None:
    (x, y), (v, w) = random(a, device=device), random(b, device=device, seed=1)
    assert_close(x @ v, y @ w, atol=2e-5)


@pytest.mark.parametrize("dtype", [d for d in TORCH if d != "bool"])
def test_matmul_dtypes(dtype: str) -> None:
    (x, y), (v, w) = random((4, 5), dtype), random((5, 3), dtype, seed=1)
    assert_close(x @ v, y @ w)


@pytest.mark.parametrize("right", ["plain", "transposed", "stepped", "expanded"])
@pytest.mark.parametrize("left", ["plain", "transposed", "stepped", "expanded"])
def test_matmul_layouts(left: str, right: str, device: str) -> None:
    def laid(how: str, t: Any) -> Any:
        made = {
            "plain": lambda: t[:4, :4],
            "transposed": lambda: t[:4, 1:5].T,
            "stepped": lambda: t[1:8:2, ::2],
            "expanded": lambda: t[:1, 2:6].expand(4, 4),
        }
        return made[how]()

    (x, y), (v, w) = random((8, 8), device=device), random((8, 8), device=device, seed=1)
    assert_close(laid(left, x) @ laid(right, v), laid(left, y) @ laid(right, w))


def test_matmul_keeps_nan_and_infinity(device: str) -> None:
    x, y = pair([[NAN, 1.0], [INF, 1.0], [0.0, 0.0]], device=device)
    a, b = pair([[1.0, 0.0], [1.0, 2.0]], device=device)
    assert_close(x @ a, y @ b)


def test_bmm_and_addmm(device: str) -> None:
    (x, y), (v, w) = random((3, 2, 4), device=device), random((3, 4, 5), device=device, seed=1)
    assert_close(rt.bmm(x, v), torch.bmm(y, w))
    (b, c) = random((5,), device=device, seed=2)
    assert_close(rt.addmm(b, x[0], v[0]), torch.addmm(c, y[0], w[0]))
    assert_close(b.addmm(x[0], v[0], beta=0.5, alpha=-2), torch.addmm(c, y[0], w[0], beta=0.5, alpha=-2))


ERRORS = [
    (lambda: rt.ones(2, 3) @ rt.ones(2, 3), rt.ShapeError, r"^matmul: shapes \[2, 3\] and \[2, 3\] do not fit"),
    (lambda: rt.ones(2, 2, 3) @ rt.ones(3, 3, 2), rt.ShapeError, r"^matmul \(batch dimensions\): shapes \[2\] and \[3\]"),
    (lambda: rt.ones(()) @ rt.ones(2), rt.ShapeError, "^matmul: operands need at least one dimension"),
    (lambda: rt.ones(2, 2) @ rt.ones(2, 2, dtype="int32"), rt.DTypeError, "^matmul: operands are float32 and int32"),
    (lambda: rt.bmm(rt.ones(2, 2), rt.ones(2, 2)), rt.ShapeError, "^bmm takes two tensors"),
    (lambda: rt.ones(2, 3).sum(2), IndexError, "^sum: dimension 2 is out of range for a tensor of 2 dimensions"),
    (lambda: rt.ones(2, 3).mean((0, -2)), rt.ShapeError, r"^mean: dimension named twice in \[0, -2\]"),
    (lambda: rt.ones(2, 3).argmax(-3), IndexError, "^argmax: dimension -3 is out of range"),
    (lambda: rt.ones(3, dtype="int32").softmax(0), rt.DTypeError, "^softmax is not defined for int32"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run()


def test_prod_gradient_with_zeros() -> None:
    for values in ([0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [1.0, -2.0, 3.0]):
        x, y = pair(values, "float64")
        x.requires_grad_()
        y.requires_grad_()
        x.prod().backward()
        y.prod().backward()
        assert_close(x.grad, y.grad)


def test_gradients_at_special_places() -> None:
    """Where derivatives jump or do not exist, the choice is PyTorch's."""
    values = [0.0, -0.0, NAN, INF, -INF, 1.0, -1.0]
    for name in ("relu", "abs", "sqrt", "sigmoid", "tanh", "exp", "log", "atan", "sign", "erf", "rsqrt", "reciprocal"):
        x, y = pair(values)
        getattr(x.requires_grad_(), name)().sum().backward()
        getattr(y.requires_grad_(), name)().sum().backward()
        assert_close(x.grad, y.grad, what=name)
    for name in ("maximum", "minimum"):
        x, y = pair([1.0, 1.0, 2.0])
        getattr(x.requires_grad_(), name)(rt.ones(3)).sum().backward()
        getattr(torch, name)(y.requires_grad_(), torch.ones(3)).sum().backward()
        assert_close(x.grad, y.grad, what=name)
    for name in ("amax", "amin", "logsumexp", "softmax", "std"):
        x, y = pair([2.0, 5.0, 5.0, 2.0])
        getattr(x.requires_grad_(), name)(0).sum().backward()
        getattr(y.requires_grad_(), name)(0).sum().backward()
        assert_close(x.grad, y.grad, what=name)


@pytest.mark.parametrize("exponent", [2, 0.5, 0, -1.0])
def test_gradients_of_powers_at_zero(exponent: float) -> None:
    x, y = pair([0.0, 2.0, -1.0])
    (x.requires_grad_() ** exponent).sum().backward()
    (y.requires_grad_() ** exponent).sum().backward()
    assert_close(x.grad, y.grad)
    x, y = pair([0.0, 2.0, -1.0])
    (float(exponent) ** x.requires_grad_()).sum().backward()
    (float(exponent) ** y.requires_grad_()).sum().backward()
    assert_close(x.grad, y.grad)


def test_gradients_of_tensor_powers_at_zero() -> None:
    (a, c), (b, d) = pair([0.0, 0.0, 0.0, 2.0]), pair([2.0, 0.0, -1.0, 0.0])
    (a.requires_grad_() ** b.requires_grad_()).sum().backward()
    (c.requires_grad_() ** d.requires_grad_()).sum().backward()
    assert_close(a.grad, c.grad)
    assert_close(b.grad, d.grad)


def test_sums_are_the_same_bits_every_time(device: str) -> None:
    x, _ = random((200, 300), device=device)
    first, second = x.sum().numpy(), x.sum().numpy()
    assert np.array_equal(first, second)
    kept = x.sum(0)
    (x * 2).exp()
    assert np.array_equal(kept.numpy(), x.sum(0).numpy())
