"""Tensors turned round: entries in reversed order, moved on in a circle, and quarter turns. No stride is negative: these are copies."""

from __future__ import annotations

from collections.abc import Sequence

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime.errors import ShapeError
from ..tensor import Tensor, _axis, axes
from .dispatch import tape
from .joining import cat
from .mapping import Rule, mapped
from .on_host import on_host
from .views import clone, narrow, reshape, transpose


def _grad_flip(n: Node, g: Tensor) -> tuple[Tensor]:
    return (_flipped(g, n.attributes),)


def _flipped(x: Tensor, over: tuple[int, ...]) -> Tensor:
    """Each element from the opposite place."""
    turned = [a for a in over if x.shape[a] > 1]
    if not turned or not x.layout.numel:
        return clone(x)
    with no_grad():
        out = mapped("flip", x.detach(), x.shape, [Rule(a, "reversed", 0, x.shape[a] - 1) for a in turned])
    return tape(out, "flip", _grad_flip, (x,), (), over)


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


def _grad_roll(n: Node, g: Tensor) -> tuple[Tensor]:
    return (_rolled(g, {axis: -shift for axis, shift in n.attributes.items()}),)


def _rolled(x: Tensor, shifts: dict[int, int]) -> Tensor:
    """``x`` with each of its dimensions named in ``shifts`` rolled by so many entries."""
    rules = [Rule(a, "around", -shift % x.shape[a], x.shape[a]) for a, shift in shifts.items() if x.shape[a] and shift % x.shape[a]]
    if not rules or not x.layout.numel:
        return clone(x)
    if on_host(x):
        for axis, _, by, length in rules:
            x = cat([narrow(x, axis, by, length - by), narrow(x, axis, 0, by)], axis)
        return x
    with no_grad():
        out = mapped("roll", x.detach(), x.shape, rules)
    return tape(out, "roll", _grad_roll, (x,), (), shifts)


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Entries moved on by ``shifts`` along ``dims``, those pushed out coming in again at the other end.

    Without ``dims`` the flattened tensor is rolled. A dimension that is named twice is rolled twice.
    """
    steps = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    over = () if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    if not over and len(steps) == 1:
        return reshape(_rolled(reshape(input, -1), {0: steps[0]}), input.shape)
    if len(steps) != len(over):
        raise ShapeError(f"roll: {len(steps)} shifts for {len(over)} dimensions; give one for each")
    total: dict[int, int] = {}
    for step, dim in zip(steps, over, strict=True):
        axis = _axis("roll", dim, input.ndim)
        total[axis] = total.get(axis, 0) + step
    return _rolled(input, total if input.ndim else {})
