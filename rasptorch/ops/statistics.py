"""Norms, counts, sums and means that pass over NaN, and variances with their means: reductions made of others."""

from __future__ import annotations

import math
from typing import Any

from ..runtime import dtype as dt
from ..runtime.errors import DTypeError
from ..tensor import Tensor, axes
from .aliases import takes_axis
from .arithmetic import div, power, where
from .comparison import eq, ne
from .functions import absolute, sqrt
from .outputs import takes_out
from .precision import in_full_precision, in_wide_steps
from .reduction import Dim, amax, amin, divided_by, mean, sum, variance
from .views import cast, reshape


@takes_out
@in_full_precision
def norm(input: Tensor, p: Any = "fro", dim: Dim = None, keepdim: bool = False, dtype: Any = None, *, out: Any = None) -> Tensor:
    """The vector norm ``sum(|input|**p) ** (1/p)`` over ``dim`` (None: all dimensions).

    ``p``: a number, ``inf`` (the largest size), ``-inf`` (the smallest), 0 (how many are not zero), or ``"fro"`` (as 2). Where
    the norm is zero, so is its gradient.
    """
    wanted = input.dtype if dtype is None else dt.as_dtype(dtype)
    if not wanted.is_floating_point:
        raise DTypeError(f"norm is not defined for {wanted.name}: convert first, or pass dtype=rasptorch.float32")
    input = input.to(wanted)
    if p == "fro":
        p = 2
    return _norm(input, p, dim, keepdim)


@in_wide_steps
def _norm(input: Tensor, p: Any, dim: Dim, keepdim: bool) -> Tensor:
    wanted = input.dtype
    if not isinstance(p, (int, float)):
        raise ValueError(f"norm: p is a number, inf, -inf or 'fro', got {p!r}")
    if math.isinf(p):
        return (amax if p > 0 else amin)(absolute(input), dim, keepdim)
    if p == 0:
        return sum(ne(input, 0), dim, keepdim, dtype=wanted)
    if p == 1:
        return sum(absolute(input), dim, keepdim)
    total = sum(input * input if p == 2 else power(absolute(input), p), dim, keepdim)
    nothing = eq(total, 0)
    # The slope of a root is infinite at zero, and infinity times zero is NaN: the root only sees what is not zero.
    safe = where(nothing, 1.0, total)
    return where(nothing, 0.0 if p > 0 else math.inf, sqrt(safe) if p == 2 else power(safe, 1.0 / p))


@takes_out
def nansum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Tensor:
    """The sum over ``dim`` of what is not NaN."""
    return sum(where(ne(input, input), 0.0, input) if input.dtype.is_floating_point else input, dim, keepdim, dtype=dtype)


@takes_out
def nanmean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Tensor:
    """The mean over ``dim`` of what is not NaN; NaN where there is nothing else."""
    if not input.dtype.is_floating_point:
        raise DTypeError(f"nanmean is not defined for {input.dtype.name}: convert with .to(rasptorch.float32)")
    wanted = input.dtype if dtype is None else dt.as_dtype(dtype)
    total = nansum(input, dim, keepdim, dtype=dt.float32 if wanted.itemsize == 2 else wanted)
    return cast(div(total, sum(eq(input, input), dim, keepdim, dtype=dt.int32)), wanted)


@takes_axis
def count_nonzero(input: Tensor, dim: Dim = None) -> Tensor:
    """How many elements over ``dim`` are not zero (int64)."""
    return sum(ne(input, 0) if input.dtype.category else input, dim)


def _variance_and_mean(name: str, x: Tensor, dim: Dim, correction: float, keepdim: bool) -> tuple[Tensor, Tensor]:
    over = axes(name, dim, x.ndim)
    average = mean(x, over, True)
    kept = average.shape if keepdim else tuple(n for a, n in enumerate(x.shape) if a not in over)
    return variance(x, average, over, correction, keepdim), reshape(average, kept)


@takes_out
@in_wide_steps
def var_mean(
    input: Tensor, dim: Dim = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1, out: Any = None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The variance over ``dim``, divided by ``n - correction``, and the mean."""
    return _variance_and_mean("var_mean", input, *divided_by(dim, unbiased, correction), keepdim)


@takes_out
@in_wide_steps
def std_mean(
    input: Tensor, dim: Dim = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1, out: Any = None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The standard deviation over ``dim``, with ``n - correction`` in it, and the mean."""
    spread, average = _variance_and_mean("std_mean", input, *divided_by(dim, unbiased, correction), keepdim)
    return sqrt(spread), average
