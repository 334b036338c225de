"""Indexing by tensors: which elements an index with tensors, arrays, lists or masks names, reading and replacing them.

The rules are PyTorch's: integers and slices first make a view; the index tensors are stretched to one shape, which takes the place of
their dimensions where those are neighbours, and comes first otherwise. A mask stands for the coordinates of its true elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import Shape, broadcast_shapes, broadcast_strides, contiguous_strides, layout_of
from ..tensor import Tensor
from .arithmetic import add, where
from .creation import counted, filled, tensor
from .dispatch import same_device, tape
from .elementwise import fitted
from .gathering import looked_up, usable
from .indexing import IndexingError
from .nonzero import coordinates, true_places
from .scattering import combine_into, sum_into
from .views import cast, clone, copy_into, expand, permute, reshape

Entry = tuple[int, Tensor]  # a dimension, and the checked numbers (int32) that choose from it


def as_index(entry: Any, like: Tensor) -> Tensor:
    """A tensor, array or list as an index tensor on the device of ``like``."""
    if isinstance(entry, Tensor):
        same_device("x[...]", [like.layout, entry.layout])
        made = entry
    else:
        array = np.asarray(entry) if len(np.shape(entry)) and np.size(entry) else np.asarray(entry, np.int64)
        if array.dtype.kind not in "iub":
            raise IndexingError(f"an index of {array.dtype} is no index: use integers or booleans")
        made = tensor(array if array.dtype.kind == "b" else array.astype(np.int64), device=like.device)
    if made.dtype is dt.uint8:
        raise IndexingError("a uint8 tensor could be a mask or an index: write .to(rasptorch.bool) or .to(rasptorch.int64)")
    if made.dtype.category == 2:
        raise DTypeError(f"an index tensor holds integers or booleans, got {made.dtype.name}; convert with .to(rasptorch.int64)")
    return made.detach()


class Spots:
    """The elements of a tensor of shape ``shape`` that index tensors name.

    ``entries``: chosen dimensions in order. ``wide``: the shape that the index tensors stretch to; ``out`` that of what is named, in
    which ``wide`` begins at dimension ``at``; ``rest``: the dimensions that are not chosen from.
    """

    def __init__(self, shape: Shape, entries: Sequence[Entry]) -> None:
        self.shape = shape
        self.entries = tuple(entries)
        chosen = [d for d, _ in entries]
        self.rest = tuple(d for d in range(len(shape)) if d not in chosen)
        try:
            self.wide = broadcast_shapes("x[...]", *(i.shape for _, i in entries))
        except ShapeError as problem:
            raise IndexingError(f"index tensors do not broadcast: {problem}") from None
        # Single numbers choose as integers do, before it is looked who is whose neighbour.
        many = [d for d, i in entries if i.ndim]
        gone = [d for d, i in entries if not i.ndim]
        between = [d for d in range(min(many), max(many)) if d not in gone] if many else []
        together = all(d in many for d in between)
        self.at = sum(d not in gone for d in range(min(many))) if many and together else 0
        kept = tuple(shape[d] for d in self.rest)
        self.out = (*kept[: self.at], *self.wide, *kept[self.at :])

    @property
    def order(self) -> tuple[int, ...]:
        """The dimensions with those that are chosen from in front."""
        return (*(d for d, _ in self.entries), *self.rest)

    @property
    def rows(self) -> int:
        return math.prod(self.shape[d] for d, _ in self.entries)

    def along(self, strides: Shape, inside: Shape | None = None) -> Shape:
        """Strides over ``out``: ``inside`` over the index tensors' shape (default: none) and ``strides`` over the rest."""
        kept = tuple(strides[d] for d in self.rest)
        return (*kept[: self.at], *(inside if inside is not None else (0,) * len(self.wide)), *kept[self.at :])

    def numbers(self, steps: Sequence[int]) -> Tensor:
        """The index tensors times ``steps``, added up: ``wide`` of int32."""
        parts = [i * s if s != 1 else i for (_, i), s in zip(self.entries, steps, strict=True)]
        return expand(reduce(add, parts), self.wide)

    def row_numbers(self) -> Tensor:
        """Per choice its row, where the chosen dimensions are in front, as a vector."""
        return reshape(self.numbers(contiguous_strides(tuple(self.shape[d] for d, _ in self.entries))), -1)

    def in_rows(self, values: Tensor) -> Tensor:
        """Values of shape ``out`` as ``[choices, others]``."""
        count = len(self.wide)
        order = (*range(self.at, self.at + count), *(d for d in range(values.ndim) if not self.at <= d < self.at + count))
        return reshape(permute(values, *order), (math.prod(self.wide), math.prod(self.shape[d] for d in self.rest)))

    def from_rows(self, matrix: Tensor) -> Tensor:
        """``[rows, others]`` as a tensor of ``shape``."""
        order = self.order
        back = [order.index(d) for d in range(len(order))]
        return permute(reshape(matrix, tuple(self.shape[d] for d in order)), *back)


def spots_of(x: Tensor, indices: Sequence[tuple[int, Tensor, int]]) -> Spots:
    """Index tensors and masks, each with the first dimension of ``x`` that it is about, as spots. Waits if there is a mask.

    The third number is that dimension as the user counts it.
    """
    entries: list[Entry] = []
    for axis, index, told in indices:
        if index.dtype is dt.bool_:
            places = true_places(index, "x[mask]")
            # A mask of no dimensions chooses from one of length 1.
            entries += [(axis + k, c) for k, c in enumerate(coordinates(places, index.shape or (1,)))]
        else:
            entries.append((axis, usable(f"x[...] along dimension {told}", index, x.shape[axis], True)))
    return Spots(x.layout.shape, entries)


# -- reading ------------------------------------------------------------------------------------------------------
def indexed(x: Tensor, spots: Spots) -> Tensor:
    """The elements of ``x`` at ``spots``."""
    strides = x.layout.strides
    indices = [(i, spots.along((0,) * x.ndim, broadcast_strides(i.layout, spots.wide)), strides[d]) for d, i in spots.entries]
    out = looked_up("index", x.detach(), indices, spots.out, spots.along(strides))
    return tape(out, "index", _grad_indexed, (x,), (), spots)


def _grad_indexed(n: Node, g: Tensor) -> tuple[Tensor]:
    spots = n.attributes
    return (spots.from_rows(sum_into(spots.rows, spots.row_numbers(), spots.in_rows(g))),)


# -- replacing ----------------------------------------------------------------------------------------------------
def write(x: Tensor, spots: Spots, values: Tensor, accumulate: bool) -> None:
    """Replace the elements of ``x`` at ``spots`` (or add to them): the last of equals stays. Not taped."""
    name, combine = "index_put_", "add" if accumulate else "last"
    count = math.prod(spots.wide) * math.prod(x.layout.shape[d] for d in spots.rest)
    if not count:
        return
    with no_grad():
        entries = spots.in_rows(expand(cast(values.detach(), x.dtype), spots.out))
        if spots.order == tuple(range(x.ndim)) and x.layout.contiguous:
            matrix = Tensor._make(x.storage, x.offset, layout_of(x.device, x.dtype, (spots.rows, entries.shape[1])))
            combine_into(name, matrix, spots.row_numbers(), entries, combine, accumulate)
        elif count * 8 < x.layout.numel:
            flat = Tensor._make(x.storage, x.offset, layout_of(x.device, x.dtype, (x.layout.span,)))
            combine_into(name, flat, _elements(x, spots), reshape(entries, -1), combine, accumulate)
        else:
            front = clone(permute(x.detach(), *spots.order))
            matrix = reshape(front, (spots.rows, entries.shape[1]))
            combine_into(name, matrix, spots.row_numbers(), entries, combine, accumulate)
            copy_into(x, spots.from_rows(matrix))


def _elements(x: Tensor, spots: Spots) -> Tensor:
    """The element numbers, counted from ``x``'s first, of all elements at ``spots``: by choice, then by the other dimensions."""
    strides = x.layout.strides
    numbers = reshape(spots.numbers([strides[d] for d, _ in spots.entries]), (-1, *(1 for _ in spots.rest)))
    for k, d in enumerate(spots.rest):
        n = x.layout.shape[d]
        if n != 1:
            shape = tuple(n if j == k + 1 else 1 for j in range(len(spots.rest) + 1))
            numbers = numbers + counted("index", layout_of(x.device, dt.int32, shape), 0, strides[d])
    return reshape(numbers, -1)


def put(x: Tensor, spots: Spots, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of ``x`` with ``values`` at ``spots``."""
    with no_grad():
        out = clone(x.detach())
        write(out, spots, values, accumulate)
    return tape(out, "index_put", _grad_put, (x, values), (), (spots, values.layout, accumulate))


def _grad_put(n: Node, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    spots, layout, accumulate = n.attributes
    dx = None
    if n.needs(0):
        dx = g if accumulate else put(g, spots, filled("index_put", layout_of(g.device, g.dtype, ()), 0))
    return dx, fitted(indexed(g, spots), layout) if n.needs(1) else None


# -- masks in assignments: nobody has to know how many elements are true --------------------------------------------
def masked(x: Tensor, axis: int, mask: Tensor, value: Tensor) -> Tensor:
    """``x`` with ``value`` where ``mask``, which lies along dimensions ``axis`` and following, is true."""
    after = x.ndim - axis - mask.ndim
    wide = reshape(mask, (*mask.shape, *(1,) * after))
    value = cast(value, x.dtype)
    rest = (*x.shape[:axis], *x.shape[axis + mask.ndim :])
    if value.ndim > axis + 1 + after:
        raise ShapeError(f"x[mask] = value: shape {list(value.shape)} does not stretch to [..., count of true] of {list(rest)}")
    # Of the value's dimensions one stands for the true elements.
    entries = (1,) * (axis + 1 + after - value.ndim) + value.shape
    if any(n not in (1, m) for n, m in zip(entries[:axis] + entries[axis + 1 :], rest, strict=True)):
        raise ShapeError(f"x[mask] = value: shape {list(value.shape)} does not stretch to the true elements and {list(rest)}")
    value = reshape(value, entries)
    if entries[axis] == 1:
        return where(wide, reshape(value, (*entries[:axis], *(1,) * mask.ndim, *entries[axis + 1 :])), x)
    return where(wide, _in_order(value, axis, mask), x)


def _in_order(value: Tensor, axis: int, mask: Tensor) -> Tensor:
    """The entries of ``value`` along ``axis`` at the true elements of ``mask``, one after another."""
    from .checked_index import checked_index
    from .scan import cumsum

    flat = reshape(cast(mask, dt.int32), -1)
    numbers = cumsum(flat, 0, dtype=dt.int32)
    given = value.shape[axis]
    # A difference other than 0 is noted, and raised at the next sync point.
    name = f"x[mask] = value: {given} entries, more (or, below 0, fewer) true elements than that"
    total = numbers[-1:] - given if numbers.layout.numel else filled("masked", layout_of(value.device, dt.int32, (1,)), -given)
    checked_index(total, 1, name, wrap=False)
    places = where(flat > 0, numbers - 1, 0).clamp(max=max(given - 1, 0))
    if not given:
        return filled("masked", layout_of(value.device, value.dtype, (1,) * value.ndim), 0)
    spots = Spots(value.layout.shape, [(axis, reshape(places, mask.shape))])
    return indexed(value, spots)

