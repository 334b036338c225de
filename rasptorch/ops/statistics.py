"""Norms, counts, sums and means that pass over NaN, and variances with their means: reductions made of others."""

from __future__ import annotations

import math
from typing import Any

from ..runtime import dtype as dt
from ..runtime.errors import DTypeError
from ..tensor import Tensor, axes
from .arithmetic import div, power, where
from .comparison import eq, ne
from .functions import absolute, sqrt
from .reduction import Dim, amax, amin, mean, sum, variance
from .views import reshape


def norm(x: Tensor, p: Any = "fro", dim: Dim = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The vector norm ``sum(|x|**p) ** (1/p)`` over ``dim`` (None: all dimensions).

    ``p``: a number, ``inf`` (the largest size), ``-inf`` (the smallest), 0 (how many are not zero), or ``"fro"`` (as 2). Where
    the norm is zero, so is its gradient.
    """
    wanted = x.dtype if dtype is None else dt.as_dtype(dtype)
    if not wanted.is_floating_point:
        raise DTypeError(f"norm is not defined for {wanted.name}: convert first, or pass dtype=rasptorch.float32")
    x = x.to(wanted)
    if p == "fro":
        p = 2
    if not isinstance(p, (int, float)):
        raise ValueError(f"norm: p is a number, inf, -inf or 'fro', got {p!r}")
    if math.isinf(p):
        return (amax if p > 0 else amin)(absolute(x), dim, keepdim)
    if p == 0:
        return sum(ne(x, 0), dim, keepdim, dtype=wanted)
    if p == 1:
        return sum(absolute(x), dim, keepdim)
    total = sum(x * x if p == 2 else power(absolute(x), p), dim, keepdim)
    nothing = eq(total, 0)
    # The slope of a root is infinite at zero, and infinity times zero is NaN: the root only sees what is not zero.
    safe = where(nothing, 1.0, total)
    return where(nothing, 0.0 if p > 0 else math.inf, sqrt(safe) if p == 2 else power(safe, 1.0 / p))


def nansum(x: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over ``dim`` of what is not NaN."""
    return sum(where(ne(x, x), 0.0, x) if x.dtype.is_floating_point else x, dim, keepdim, dtype=dtype)


def nanmean(x: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over ``dim`` of what is not NaN; NaN where there is nothing else."""
    if not x.dtype.is_floating_point:
        raise DTypeError(f"nanmean is not defined for {x.dtype.name}: convert with .to(rasptorch.float32)")
    return div(nansum(x, dim, keepdim, dtype=dtype), sum(eq(x, x), dim, keepdim, dtype=dt.int32))


def count_nonzero(x: Tensor, dim: Dim = None) -> Tensor:
    """How many elements over ``dim`` are not zero (int64)."""
    return sum(ne(x, 0) if x.dtype.category else x, dim)


def _variance_and_mean(name: str, x: Tensor, dim: Dim, correction: float, keepdim: bool) -> tuple[Tensor, Tensor]:
    over = axes(name, dim, x.ndim)
    average = mean(x, over, True)
    kept = average.shape if keepdim else tuple(n for a, n in enumerate(x.shape) if a not in over)
    return variance(x, average, over, correction, keepdim), reshape(average, kept)


def var_mean(x: Tensor, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The variance over ``dim``, divided by ``n - correction``, and the mean."""
    return _variance_and_mean("var_mean", x, dim, correction, keepdim)


def std_mean(x: Tensor, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The standard deviation over ``dim``, with ``n - correction`` in it, and the mean."""
    spread, average = _variance_and_mean("std_mean", x, dim, correction, keepdim)
    return sqrt(spread), average
