"""Running products, extremes and log-sums; differences and areas along a dimension: forward and gradient side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import contiguous_strides, layout_of
from ..tensor import Tensor, _axis
from .aliases import takes_axis
from .arithmetic import maximum, minimum, where
from .creation import counted
from .dispatch import only_tensors, same_device, stretching, tape
from .gathering import gathered
from .joining import cat
from .outputs import takes_out
from .placing import scattered_sum
from .precision import in_full_precision
from .reduction import sum
from .scan import cumsum
from .variants import logaddexp
from .views import cast, clone, narrow, reshape


class Running(NamedTuple):
    """The extreme ``values`` so far, and the last ``indices`` (int64) at which they were met."""

    values: Tensor
    indices: Tensor


def _doubled(x: Tensor, axis: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Every entry combined with all before it, by doubling (see `scan`). Made of operations that have gradients."""
    length, reach = x.shape[axis], 1
    while reach < length:
        rest = length - reach
        x = cat([narrow(x, axis, 0, reach), combine(narrow(x, axis, reach, rest), narrow(x, axis, 0, rest))], axis)
        reach *= 2
    return x


@takes_out
@in_full_precision
def cumprod(input: Tensor, dim: int, *, dtype: Any = None, out: Any = None) -> Tensor:
    """The products of the entries up to each along ``dim``. Integers and booleans multiply in int64."""
    axis = _axis("cumprod", dim, input.ndim)
    wanted = dt.as_dtype(dtype) if dtype is not None else input.dtype if input.dtype.is_floating_point else dt.int64
    input = input.to(wanted)
    out = _doubled(input, axis, lambda a, b: a * b) if input.ndim else input
    return clone(out) if out is input else out


@takes_out
@in_full_precision
def logcumsumexp(input: Tensor, dim: int, *, out: Any = None) -> Tensor:
    """The logarithms of the running sums of ``exp(input)`` along ``dim``, without overflow."""
    axis = _axis("logcumsumexp", dim, input.ndim)
    if not input.dtype.is_floating_point:
        raise DTypeError(f"logcumsumexp is not defined for {input.dtype.name}; convert with .to(rasptorch.float32)")
    out = _doubled(input, axis, logaddexp) if input.ndim else input
    return clone(out) if out is input else out


def _grad_running(n: Node, g: Tensor) -> tuple[Tensor]:
    """To the entries that were taken, as often as they were."""
    (places,) = n.values()
    return (scattered_sum(n.attributes, places, g),)


def _running(name: str, x: Tensor, dim: int, combine: Callable[[Any, Any], Tensor]) -> Running:
    axis = _axis(name, dim, x.ndim)
    if x.ndim == 0:
        return Running(clone(x), cast(counted("index", layout_of(x.device, dt.int32, ()), 0, 0), dt.int64))
    plain = x.detach()
    with no_grad():
        best = _doubled(plain, axis, combine)
        shape = tuple(n if a == axis else 1 for a, n in enumerate(x.shape))
        number = counted("index", layout_of(x.device, dt.int32, shape), 0, 1)
        hit = plain == best
        if x.dtype.is_floating_point:
            hit = hit.logical_or(plain != plain)
        place = _doubled(where(hit, number, 0), axis, maximum)
        best = gathered(plain, axis, place, name)  # of 0.0 and -0.0, which are equal, the one that is there
    values = Tensor._make(best.storage, best.offset, best.layout)
    if x.dtype.is_floating_point and x.requires_grad:
        places = place * contiguous_strides(x.shape)[axis]
        for a, n in enumerate(x.shape):
            if a != axis and n > 1:
                other = layout_of(x.device, dt.int32, tuple(n if k == a else 1 for k in range(x.ndim)))
                places = places + counted("index", other, 0, contiguous_strides(x.shape)[a])
        tape(values, name, _grad_running, (x,), (reshape(places, -1),), x.shape)
    return Running(values, cast(place, dt.int64))


@takes_out
def cummax(input: Tensor, dim: int, *, out: Any = None) -> Running:
    """The largest entry so far along ``dim`` and the last index at which it was met; NaN counts as the largest."""
    return _running("cummax", input, dim, maximum)


@takes_out
def cummin(input: Tensor, dim: int, *, out: Any = None) -> Running:
    """The smallest entry so far along ``dim`` and the last index at which it was met; NaN counts as the smallest."""
    return _running("cummin", input, dim, minimum)


@takes_axis
def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None) -> Tensor:
    """The ``n``-th differences of neighbours along ``dim``, with ``prepend`` and ``append`` put on its ends first."""
    if input.ndim == 0:
        raise ShapeError("diff: a 0-d tensor has no neighbours")
    if n < 0:
        raise ValueError(f"diff: n is not negative, got {n}")
    axis = _axis("diff", dim, input.ndim)
    for name, extra in (("prepend", prepend), ("append", append)):
        if extra is not None:
            same_device("diff", (input.layout, extra.layout))
            if extra.ndim != input.ndim or any(n != m for a, (n, m) in enumerate(zip(extra.shape, input.shape, strict=True)) if a != axis):
                raise ShapeError(f"diff: {name} of shape {list(extra.shape)} differs from {list(input.shape)} apart from dimension {axis}")
    pieces = [t for t in (prepend, input, append) if t is not None]
    out = cat(pieces, axis) if len(pieces) > 1 else input
    for _ in range(min(n, out.shape[axis])):
        length = max(out.shape[axis] - 1, 0)
        later, earlier = narrow(out, axis, out.shape[axis] - length, length), narrow(out, axis, 0, length)
        out = later != earlier if out.dtype is dt.bool_ else later - earlier
    return clone(out) if out is input else out


def _strips(name: str, y: Tensor, x: Tensor | None, dx: float | None, dim: int) -> tuple[Tensor, int]:
    axis = _axis(name, dim, y.ndim)
    length = max(y.shape[axis] - 1, 0)  # no values, no strips, as with a single one
    pairs = narrow(y, axis, y.shape[axis] - length, length) + narrow(y, axis, 0, length)
    if x is None:
        return pairs * ((1.0 if dx is None else dx) / 2), axis
    if dx is not None:
        raise TypeError(f"{name}: takes the places x or their distance dx={dx}, not both")
    if x.ndim == 1:
        if x.shape[0] != y.shape[axis]:
            raise ShapeError(f"{name}: {x.shape[0]} places for {y.shape[axis]} values along dimension {axis}")
        x = reshape(x, tuple(-1 if a == axis else 1 for a in range(y.ndim)))
    steps = diff(x, 1, axis)
    stretching(name, pairs, steps)
    return pairs * steps / 2, axis


@takes_axis
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1) -> Tensor:
    """The area below ``y`` along ``dim`` by the trapezoidal rule, at the places ``x`` or ``dx`` (1) apart."""
    strips, axis = _strips("trapezoid", y, x, dx, dim)
    return sum(strips, axis)


@takes_axis
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1) -> Tensor:
    """The areas below ``y`` up to each place but the first along ``dim``, by the trapezoidal rule."""
    strips, axis = _strips("cumulative_trapezoid", y, x, dx, dim)
    return cumsum(strips, axis)


@takes_out
def kron(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """The Kronecker product: every element of ``input`` times all of ``other``, side by side."""
    only_tensors("kron", input, other)
    same_device("kron", (input.layout, other.layout))
    rank = max(input.ndim, other.ndim)
    first, second = (1,) * (rank - input.ndim) + input.shape, (1,) * (rank - other.ndim) + other.shape
    wide = reshape(input, [n for k in first for n in (k, 1)]) * reshape(other, [n for k in second for n in (1, k)])
    return reshape(wide, [math.prod(pair) for pair in zip(first, second, strict=True)])
