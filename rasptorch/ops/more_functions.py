"""Functions of one or two variables that are made of others, and small things of linear algebra."""

from __future__ import annotations

import math
from typing import Any

from ..runtime import dtype as dt
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import broadcast_shapes
from ..tensor import Tensor, _axis
from .arithmetic import where
from .creation import tensor
from .diagonals import diagonal
from .dispatch import only_tensors, same_device, stretching
from .functions import log, log1p, sin, trunc
from .outputs import converts_out, takes_out
from .precision import in_full_precision
from .reduction import sum
from .statistics import norm
from .views import cast, narrow


@converts_out
def heaviside(input: Tensor, values: Tensor, *, out: Any = None) -> Tensor:
    """0 below zero, 1 above, and ``values`` at zero."""
    stretching("heaviside", input, values)
    return where(input == 0, values, cast(input > 0, input.dtype))


@converts_out
def sinc(input: Tensor, *, out: Any = None) -> Tensor:
    """``sin(pi input) / (pi input)``, and 1 at zero."""
    only_tensors("sinc", input)
    angle = where(input == 0, 1.0, input * math.pi)
    return where(input == 0, 1.0, sin(angle) / angle)


@converts_out
def xlogy(input: Any, other: Any, *, out: Any = None) -> Tensor:
    """``input * log(other)``; 0 where ``input`` is 0 and ``other`` is not NaN."""
    if isinstance(input, Tensor) and isinstance(other, Tensor):
        stretching("xlogy", input, other)
    else:
        only_tensors("xlogy", other if isinstance(input, (bool, int, float)) else input)
    if not isinstance(other, Tensor):
        other = tensor(float(other), dtype=input.dtype if input.dtype.is_floating_point else dt.float32, device=input.device)
    zero = (other == other).logical_and(_is_zero(input, other))
    return where(zero, 0.0, input * log(where(zero, 1.0, other)))


def _is_zero(x: Any, like: Tensor) -> Any:
    return x == 0 if isinstance(x, Tensor) else tensor(x == 0, device=like.device)


@converts_out
def frac(input: Tensor, *, out: Any = None) -> Tensor:
    """What is behind the point, with the number's sign."""
    only_tensors("frac", input)
    return input - trunc(input)


@converts_out
def deg2rad(input: Tensor, *, out: Any = None) -> Tensor:
    """Degrees as radians."""
    only_tensors("deg2rad", input)
    return input * (math.pi / 180.0)


@converts_out
def rad2deg(input: Tensor, *, out: Any = None) -> Tensor:
    """Radians as degrees."""
    only_tensors("rad2deg", input)
    return input * (180.0 / math.pi)


@converts_out
def logit(input: Tensor, eps: float | None = None, *, out: Any = None) -> Tensor:
    """``log(input / (1 - input))``, of ``input`` clamped to ``eps`` and ``1 - eps`` if that is given."""
    only_tensors("logit", input)
    inside = input if eps is None else input.clamp(eps, 1.0 - eps)
    return log(inside) - log1p(-inside)


def _floating(name: str, *tensors: Tensor) -> None:
    for x in tensors:
        if not x.dtype.is_floating_point:
            raise DTypeError(f"{name} is not defined for {x.dtype.name}; convert with .to(rasptorch.float32)")


@in_full_precision
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The ``p``-norm of the difference."""
    stretching("dist", input, other)
    _floating("dist", input, other)
    return norm(input - other, p)


@in_full_precision
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0) -> Tensor:
    """The ``p``-norms of the differences of all rows: ``[..., n, m]`` and ``[..., k, m]`` to ``[..., n, k]``."""
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(f"cdist: takes matrices with equally long rows, got shapes {list(x1.shape)} and {list(x2.shape)}")
    same_device("cdist", (x1.layout, x2.layout))
    broadcast_shapes("cdist", x1.shape[:-2], x2.shape[:-2])
    _floating("cdist", x1, x2)
    return norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


@takes_out
def cross(input: Tensor, other: Tensor, dim: int | None = None, *, out: Any = None) -> Tensor:
    """The cross product of vectors of three entries along ``dim``; without one, along the first dimension of length 3."""
    if dim is None:
        dim = input.shape.index(3) if 3 in input.shape else -1
    axis = _axis("cross", dim, input.ndim)
    if input.shape[axis] != 3 or input.ndim != other.ndim or other.shape[axis] != 3:
        raise ShapeError(f"cross: vectors have 3 entries along dimension {dim}, got shapes {list(input.shape)} and {list(other.shape)}")
    stretching("cross", input, other)
    from .joining import cat

    a, b = ([narrow(t, axis, k, 1) for k in range(3)] for t in (input, other))
    return cat([a[(k + 1) % 3] * b[(k + 2) % 3] - a[(k + 2) % 3] * b[(k + 1) % 3] for k in range(3)], axis)


def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if input.ndim != 2:
        raise ShapeError(f"trace: takes a matrix, got shape {list(input.shape)}")
    return sum(diagonal(input))



def _triangle(row: int, column: int, offset: int, upper: bool) -> list[list[int]]:
    pairs = [(r, c) for r in range(row) for c in range(column) if (c - r >= offset if upper else c - r <= offset)]
    if row < 0 or column < 0:
        raise ShapeError(f"{'triu' if upper else 'tril'}_indices: sizes cannot be negative, got {row} and {column}")
    return [[r for r, _ in pairs], [c for _, c in pairs]]


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dt.int64, device: Any = None) -> Tensor:
    """Rows and columns, ``[2, n]``, of the elements on and below a diagonal of a matrix."""
    return tensor(_triangle(row, col, offset, False), dtype=dtype, device=device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dt.int64, device: Any = None) -> Tensor:
    """Rows and columns, ``[2, n]``, of the elements on and above a diagonal of a matrix."""
    return tensor(_triangle(row, col, offset, True), dtype=dtype, device=device)
