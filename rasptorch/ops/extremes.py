"""Largest and smallest elements together with where they are: forward and gradient side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.errors import ShapeError
from ..runtime.layout import layout_of
from ..tensor import Tensor, _axis, axes
from .arithmetic import maximum, minimum, where
from .comparison import eq, logical_or, ne
from .creation import counted
from .dispatch import tape
from .outputs import takes_out
from .reduction import amax, amin, first_place, reduced, spread, sum
from .views import cast, reshape


class Extremes(NamedTuple):
    """The extreme ``values`` along a dimension, and the first ``indices`` (int64) at which they are."""

    values: Tensor
    indices: Tensor


class Range(NamedTuple):
    """The smallest and the largest values."""

    min: Tensor
    max: Tensor


def _grad_chosen(n: Node, g: Tensor) -> tuple[Tensor]:
    """To the element that was taken, also where others are equal to it."""
    (place,) = n.values()
    shape, over = n.attributes
    if not shape:
        return (g,)
    along = layout_of(g.device, dt.int32, tuple(k if a in over else 1 for a, k in enumerate(shape)))
    taken = eq(spread(place, shape, over), counted("index", along, 0, 1))
    return (where(taken, spread(g, shape, over), 0.0),)


def _grad_whole(n: Node, g: Tensor) -> tuple[Tensor]:
    """Shared evenly among all that are equal to the result, or are NaN, as it is then."""
    (x,) = n.values()
    hit = logical_or(eq(x, n.result().detach()), ne(x, x))
    return (where(hit, g / sum(hit, dtype=dt.int32), 0.0),)


def _along(name: str, x: Tensor, dim: int, keepdim: bool) -> Extremes:
    axis = _axis(name, dim, x.ndim)
    if x.ndim and x.shape[axis] == 0:
        raise ShapeError(f"{name}: nothing to choose from along dimension {dim} of shape {list(x.shape)}")
    over = (axis,) if x.ndim else ()
    with no_grad():
        best = (amax if name == "max" else amin)(x, over or None, True)
        place = first_place(x.detach(), best, axis, True)
        kept = tuple(n for a, n in enumerate(x.shape) if a != axis) if x.ndim and not keepdim else best.shape
        values = reshape(best, kept)
        indices = cast(reshape(place, kept), dt.int64)
    values = Tensor._make(values.storage, values.offset, values.layout)
    if x.dtype.is_floating_point:
        tape(values, name, _grad_chosen, (x,), (place,), (x.shape, over))
    return Extremes(values, indices)


def _extreme(name: str, x: Tensor, dim: Any, keepdim: bool, other: Any) -> Any:
    """``name(x)``, ``name(x, dim, keepdim)`` or ``name(x, other)``."""
    if isinstance(dim, Tensor):
        dim, other = None, dim
    if other is not None:
        return (maximum if name == "max" else minimum)(x, other)
    if dim is not None:
        return _along(name, x, dim, keepdim)
    if keepdim:
        raise TypeError(f"{name}: keepdim needs a dim; without one the result is a single number")
    if x.layout.numel == 0:
        raise ShapeError(f"{name}: nothing to choose from in shape {list(x.shape)}; give a dim that is not empty")
    best, _ = reduced("amax" if name == "max" else "amin", x, None, False, name + "imum", x.dtype)
    return tape(best, name, _grad_whole, (x,), (x,), keep_output=True)


@takes_out
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:
    """The largest element; along ``dim`` as ``(values, indices)``; or of two tensors, ``max(input, other)``, the larger elements.

    NaN counts as the largest. The gradient goes to the element taken along ``dim``; without ``dim`` it is shared among equals.
    """
    return _extreme("max", input, dim, keepdim, other)


@takes_out
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:
    """The smallest element; along ``dim`` as ``(values, indices)``; or of two tensors, ``min(input, other)``, the smaller elements.

    NaN counts as the smallest. The gradient goes to the element taken along ``dim``; without ``dim`` it is shared among equals.
    """
    return _extreme("min", input, dim, keepdim, other)


@takes_out
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False, out: Any = None) -> Range:
    """The smallest and the largest elements, of all or along ``dim``, as ``(min, max)``. Gradients are shared among equals."""
    axes("aminmax", dim, input.ndim)
    return Range(amin(input, dim, keepdim), amax(input, dim, keepdim))
