"""Functions of one or two variables that are made of others, and small things of linear algebra."""

from __future__ import annotations

import math
from typing import Any

from ..runtime import dtype as dt
from ..runtime.errors import ShapeError
from ..tensor import Tensor, _axis
from .arithmetic import where
from .creation import tensor
from .diagonals import diagonal
from .functions import log, log1p, sin, trunc
from .reduction import sum
from .statistics import norm
from .views import cast, narrow


def heaviside(x: Tensor, values: Tensor) -> Tensor:
    """0 below zero, 1 above, and ``values`` at zero."""
    return where(x == 0, values, cast(x > 0, x.dtype))


def sinc(x: Tensor) -> Tensor:
    """``sin(pi x) / (pi x)``, and 1 at zero."""
    angle = where(x == 0, 1.0, x * math.pi)
    return where(x == 0, 1.0, sin(angle) / angle)


def xlogy(x: Any, y: Any) -> Tensor:
    """``x * log(y)``; 0 where ``x`` is 0 and ``y`` is not NaN."""
    if not isinstance(y, Tensor):
        y = tensor(float(y), dtype=x.dtype if x.dtype.is_floating_point else dt.float32, device=x.device)
    zero = (y == y).logical_and(_is_zero(x, y))
    return where(zero, 0.0, x * log(where(zero, 1.0, y)))


def _is_zero(x: Any, like: Tensor) -> Any:
    return x == 0 if isinstance(x, Tensor) else tensor(x == 0, device=like.device)


def frac(x: Tensor) -> Tensor:
    """What is behind the point, with the number's sign."""
    return x - trunc(x)


def deg2rad(x: Tensor) -> Tensor:
    """Degrees as radians."""
    return x * (math.pi / 180.0)


def rad2deg(x: Tensor) -> Tensor:
    """Radians as degrees."""
    return x * (180.0 / math.pi)


def logit(x: Tensor, eps: float | None = None) -> Tensor:
    """``log(x / (1 - x))``, of ``x`` clamped to ``eps`` and ``1 - eps`` if that is given."""
    inside = x if eps is None else x.clamp(eps, 1.0 - eps)
    return log(inside) - log1p(-inside)


def dist(x: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The ``p``-norm of the difference."""
    return norm(x - other, p)


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0) -> Tensor:
    """The ``p``-norms of the differences of all rows: ``[..., n, m]`` and ``[..., k, m]`` to ``[..., n, k]``."""
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(f"cdist: takes matrices with equally long rows, got shapes {list(x1.shape)} and {list(x2.shape)}")
    return norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


def cross(x: Tensor, other: Tensor, dim: int = -1) -> Tensor:
    """The cross product of vectors of three entries along ``dim``."""
    axis = _axis("cross", dim, x.ndim)
    if x.shape[axis] != 3 or x.ndim != other.ndim or other.shape[axis] != 3:
        raise ShapeError(f"cross: vectors have 3 entries along dimension {dim}, got shapes {list(x.shape)} and {list(other.shape)}")
    from .joining import cat

    a, b = ([narrow(t, axis, k, 1) for k in range(3)] for t in (x, other))
    return cat([a[(k + 1) % 3] * b[(k + 2) % 3] - a[(k + 2) % 3] * b[(k + 1) % 3] for k in range(3)], axis)


def trace(x: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if x.ndim != 2:
        raise ShapeError(f"trace: takes a matrix, got shape {list(x.shape)}")
    return sum(diagonal(x))



def _triangle(row: int, column: int, offset: int, upper: bool) -> list[list[int]]:
    pairs = [(r, c) for r in range(row) for c in range(column) if (c - r >= offset if upper else c - r <= offset)]
    return [[r for r, _ in pairs], [c for _, c in pairs]]


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dt.int64, device: Any = None) -> Tensor:
    """Rows and columns, ``[2, n]``, of the elements on and below a diagonal of a matrix."""
    return tensor(_triangle(row, col, offset, False), dtype=dtype, device=device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dt.int64, device: Any = None) -> Tensor:
    """Rows and columns, ``[2, n]``, of the elements on and above a diagonal of a matrix."""
    return tensor(_triangle(row, col, offset, True), dtype=dtype, device=device)
