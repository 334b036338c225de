"""Functions of two numbers and products added to tensors, each made of others in one line; their gradients come with those."""

from __future__ import annotations

import math
from typing import Any

from ..runtime import dtype as dt
from ..runtime.errors import ShapeError
from ..tensor import Tensor
from .arithmetic import mul, power, where
from .comparison import eq, ge, le, logical_or, ne
from .dispatch import only_tensors, stretching
from .linalg import added, matmul
from .outputs import converts_out, takes_out
from .precision import lowered
from .products import mv, outer
from .reduction import sum
from .variants import logaddexp
from .views import cast


@converts_out
def fmax(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """The larger of both; the number, where only one is NaN."""
    stretching("fmax", input, other)
    return where(logical_or(ge(input, other), ne(other, other)), input, other)


@converts_out
def fmin(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """The smaller of both; the number, where only one is NaN."""
    stretching("fmin", input, other)
    return where(logical_or(le(input, other), ne(other, other)), input, other)


@converts_out
def logaddexp2(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """``log2(2**input + 2**other)`` without overflow."""
    stretching("logaddexp2", input, other)
    return logaddexp(input * math.log(2.0), other * math.log(2.0)) * (1.0 / math.log(2.0))


@converts_out
def ldexp(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """``input * 2**other``."""
    stretching("ldexp", input, other)
    return mul(input, power(2.0, other))


@converts_out
def isposinf(input: Tensor, *, out: Any = None) -> Tensor:
    """Whether an element is positive infinity."""
    only_tensors("isposinf", input)
    return eq(input, math.inf)


@converts_out
def isneginf(input: Tensor, *, out: Any = None) -> Tensor:
    """Whether an element is negative infinity."""
    only_tensors("isneginf", input)
    return eq(input, -math.inf)


def positive(input: Tensor) -> Tensor:
    """The tensor itself."""
    only_tensors("positive", input)
    return input


# -- products added to tensors --------------------------------------------------------------------------------------
def _batches(name: str, a: Tensor, b: Tensor) -> None:
    only_tensors(name, a, b)
    if a.ndim != 3 or b.ndim != 3 or a.shape[0] != b.shape[0]:
        raise ShapeError(f"{name}: takes as many matrices as matrices, [b, n, m] and [b, m, p], got {list(a.shape)} and {list(b.shape)}")


@takes_out
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1, out: Any = None) -> Tensor:
    """``beta * input + alpha * (mat @ vec)`` of a matrix and a vector."""
    input, mat, vec = lowered(input, mat, vec)
    return added(input, mv(mat, vec), beta, alpha)


@takes_out
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1, out: Any = None) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)``."""
    return added(input, outer(vec1, vec2), beta, alpha)


@takes_out
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1, out: Any = None) -> Tensor:
    """``beta * input + alpha * (batch1 @ batch2)`` of equally many matrices: ``[b, n, m]`` and ``[b, m, p]``."""
    _batches("baddbmm", batch1, batch2)
    input, batch1, batch2 = lowered(input, batch1, batch2)
    return added(input, matmul(batch1, batch2), beta, alpha)


@takes_out
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1, out: Any = None) -> Tensor:
    """As `baddbmm`, with the products of all matrices added up: ``[n, p]``."""
    _batches("addbmm", batch1, batch2)
    input, batch1, batch2 = lowered(input, batch1, batch2)
    return added(input, sum(matmul(batch1, batch2), 0), beta, alpha)


@takes_out
def inner(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """Sums of products over the last dimensions: ``[..., m], [*, m] -> [..., *]``; with a 0-d tensor, plain products."""
    only_tensors("inner", input, other)
    if not (input.ndim and other.ndim):
        return mul(input, other)
    if input.shape[-1] != other.shape[-1]:
        raise ShapeError(f"inner: last dimensions are equally long, got shapes {list(input.shape)} and {list(other.shape)}")
    shape, length = (*input.shape[:-1], *other.shape[:-1]), input.shape[-1]
    rows, columns = math.prod(input.shape[:-1]), math.prod(other.shape[:-1])
    return matmul(input.reshape(rows, length), other.reshape(columns, length).mT).reshape(shape)


# -- covariance ------------------------------------------------------------------------------------------------------
def _observed(name: str, x: Tensor) -> Tensor:
    only_tensors(name, x)
    if x.ndim > 2:
        raise ShapeError(f"{name}: takes variables in rows and what was observed in columns, got shape {list(x.shape)}")
    return x.reshape(1, -1) if x.ndim < 2 else x


def cov(input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None) -> Tensor:
    """The covariances ``[n, n]`` of the ``n`` rows of ``input``, whose columns are what was observed; a number for a vector.

    Divided by the number of columns less ``correction``. ``fweights`` (whole numbers) say how often each column was observed,
    ``aweights`` how much it counts.
    """
    rows = _observed("cov", input)
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is not None and given.shape != (rows.shape[1],):
            raise ShapeError(f"cov: {name} are a vector of {rows.shape[1]} elements, one per column, got shape {list(given.shape)}")
    if not rows.dtype.is_floating_point:
        rows = cast(rows, dt.float32)
    weights = None if fweights is None else cast(fweights, rows.dtype)
    if aweights is not None:
        weights = cast(aweights, rows.dtype) if weights is None else weights * cast(aweights, rows.dtype)
    total: Any = rows.shape[1] if weights is None else sum(weights)
    lost: Any = correction
    if aweights is not None and weights is not None:
        lost = sum(weights * cast(aweights, rows.dtype)) / total * correction
    away = rows - sum(rows if weights is None else rows * weights, 1, True) / total
    divisor = max(total - lost, 0) if isinstance(total, int) else (total - lost).clamp(min=0)
    made = matmul(away if weights is None else away * weights, away.mT)
    made = made * math.nan if isinstance(divisor, int) and not divisor else made / divisor
    return made.reshape(()) if input.ndim < 2 else made


def corrcoef(input: Tensor) -> Tensor:
    """The correlation coefficients ``[n, n]`` of the ``n`` rows of ``input``, kept within -1 and 1; 1 for a vector."""
    rows = _observed("corrcoef", input)
    made = cov(rows)
    spread = made.diagonal().sqrt()
    found = (made / spread.unsqueeze(1) / spread).clamp(-1, 1)
    return found.reshape(()) if input.ndim < 2 else found
