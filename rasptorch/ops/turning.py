"""Tensors turned round: entries in reversed order, and quarter turns. Strides are never negative, so these are copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.errors import ShapeError
from ..runtime.layout import contiguous_strides, layout_of
from ..tensor import Tensor, axes
from .creation import counted
from .dispatch import tape
from .moving import select_rows
from .views import clone, reshape, transpose


def _grad_flip(n: Node, g: Tensor) -> tuple[Tensor]:
    return (_flipped(g, n.attributes),)


def _flipped(x: Tensor, over: tuple[int, ...]) -> Tensor:
    """Each element from the opposite place: its number is a sum of steps back along ``over`` and ahead elsewhere."""
    strides = contiguous_strides(x.shape)
    turned = [a for a in over if x.shape[a] > 1]
    if not turned or not x.layout.numel:
        return clone(x)
    places: Any = None
    for a, n in enumerate(x.shape):
        if n > 1:
            layout = layout_of(x.device, dt.int32, tuple(n if k == a else 1 for k in range(x.ndim)))
            steps = counted("index", layout, (n - 1) * strides[a], -strides[a]) if a in turned else counted("index", layout, 0, strides[a])
            places = steps if places is None else places + steps
    with no_grad():
        out = reshape(select_rows(reshape(x.detach(), -1), reshape(places, -1)), x.shape)
    return tape(Tensor._make(out.storage, out.offset, out.layout), "flip", _grad_flip, (x,), (), over)


def flip(input: Tensor, dims: int | Sequence[int], *more: int) -> Tensor:
    """The entries in reversed order along ``dims``, numbers or one sequence of them."""
    named = tuple(dims) if isinstance(dims, Sequence) else (dims, *more)
    return _flipped(input, axes("flip", named, input.ndim) if named else ())


def fliplr(input: Tensor) -> Tensor:
    """Columns in reversed order: `flip` along dimension 1."""
    if input.ndim < 2:
        raise ShapeError(f"fliplr: needs at least 2 dimensions, got shape {list(input.shape)}; see flip")
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """Rows in reversed order: `flip` along dimension 0."""
    if input.ndim < 1:
        raise ShapeError("flipud: needs at least 1 dimension")
    return flip(input, 0)


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """``k`` quarter turns in the plane of two dimensions, from the first towards the second."""
    plane = tuple(dims)
    if len(plane) != 2 or len(axes("rot90", plane, input.ndim)) != 2:
        raise ShapeError(f"rot90: a plane has two different dimensions, got {list(plane)}")
    a, b = (d % input.ndim for d in plane)
    turns = k % 4
    if turns == 0:
        return clone(input)
    if turns == 2:
        return flip(input, a, b)
    return clone(transpose(flip(input, b), a, b)) if turns == 1 else flip(transpose(input, a, b), b)
