"""Sorting, and what is read off sorted rows: forward and gradient side by side.

The order is PyTorch's: NaN counts as the largest, both zeros are equal, and sorting is always stable. Every dtype sorts on every device.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import layout_of
from ..tensor import Tensor, _axis
from .aliases import takes_axis
from .arithmetic import where
from .creation import filled
from .dispatch import SpecCache, check_size, only_tensors, tape
from .moving import pick_rows, put_rows
from .outputs import takes_out
from .reduction import sum
from .views import cast, clone, contiguous, narrow, reshape, squeeze, transpose

_specs = SpecCache()


class Sorted(NamedTuple):
    """Entries in order (of what was asked for), and the ``indices`` (int64) they had."""

    values: Tensor
    indices: Tensor


def sorted_rows(x: Tensor, descending: bool, count: int | None = None) -> tuple[Tensor, Tensor]:
    """The rows of a matrix in order (the first ``count`` entries of them), and the places (int32) the entries had."""
    source = contiguous(x)
    key = (source.layout, descending, count)
    spec = _specs.get(key)
    if spec is None:
        layout = source.layout
        rows, length = layout.shape
        shape = (rows, length if count is None else count)
        outputs = layout_of(layout.device, dt.int32, shape), layout_of(layout.device, layout.dtype, shape)
        for out in outputs:
            check_size("sort", out)
        if count is None:
            name, attributes = "sort", (100 * rows * length, rows, length, descending, 0)
        else:
            name, attributes = "topk", (20 * rows * length, rows, length, descending, count)
        spec = _specs.put(key, CommandSpec("shader", name, (layout,), outputs, None, (name, *attributes)))
    order, values = x.device.stream().enqueue(spec, (source,))
    places = Tensor._make(order, 0, spec.outputs[0])
    return tape(Tensor._make(values, 0, spec.outputs[1]), spec.name, _grad_sorted, (x,), (places,), x.shape[1]), places


def _grad_sorted(n: Node, g: Tensor) -> tuple[Tensor]:
    (places,) = n.values()
    return (put_rows(n.attributes, places, g),)


class Rows:
    """A tensor as rows along one of its dimensions, and results along them as tensors again."""

    def __init__(self, name: str, x: Tensor, dim: int) -> None:
        axis = _axis(name, dim, x.ndim)
        whole = x if x.ndim else reshape(x, 1)
        turned = transpose(whole, axis, -1)
        self.axis, self._outer, self._scalar = axis, turned.shape[:-1], x.ndim == 0
        self.length = turned.shape[-1]
        self.matrix = reshape(turned, (turned.layout.numel // self.length if self.length else _count(self._outer), self.length))

    def back(self, rows: Tensor) -> Tensor:
        """A tensor whose dimension has as many entries as ``rows`` has columns."""
        out = transpose(reshape(rows, (*self._outer, rows.shape[1])), self.axis, -1)
        return reshape(out, ()) if self._scalar else out

    def one(self, rows: Tensor, keepdim: bool) -> Tensor:
        """A tensor of the one entry of each row."""
        out = self.back(rows)
        return out if keepdim or self._scalar else squeeze(out, self.axis)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


@takes_out
def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False, out: Any = None) -> Sorted:
    """The entries along ``dim`` in order, and the indices they had. Equal entries keep their order, whether ``stable`` or not."""
    check_size("sort", layout_of(input.device, dt.int64, input.shape))  # of the indices; `msort` makes none
    rows = Rows("sort", input, dim)
    values, places = sorted_rows(rows.matrix, descending)
    return Sorted(rows.back(values), cast(rows.back(places), dt.int64))


@takes_axis
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices (int64) that put the entries along ``dim`` in order; equal entries keep their order."""
    rows = Rows("argsort", input, dim)
    return cast(rows.back(sorted_rows(rows.matrix.detach(), descending)[1]), dt.int64)


@takes_out
def msort(input: Tensor, *, out: Any = None) -> Tensor:
    """The entries along the first dimension in ascending order."""
    only_tensors("msort", input)
    rows = Rows("msort", input, 0)
    return rows.back(sorted_rows(rows.matrix, False)[0])


@takes_out
def topk(input: Tensor, k: int, dim: int | None = None, largest: bool = True, sorted: bool = True, *, out: Any = None) -> Sorted:
    """The ``k`` largest (smallest) entries along ``dim`` (the last) in order, and their indices; of equal ones the first."""
    dim = -1 if dim is None else dim
    rows = Rows("topk", input, dim)
    if not 0 <= k <= rows.length:
        raise ShapeError(f"topk: {k} entries of dimension {dim}, which has {rows.length} (shape {list(input.shape)})")
    values, places = sorted_rows(rows.matrix, largest, k)
    return Sorted(rows.back(values), cast(rows.back(places), dt.int64))


@takes_out
def kthvalue(input: Tensor, k: int, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Sorted:
    """The ``k``-th smallest entry (counted from 1) along ``dim`` (the last), and its index."""
    dim = -1 if dim is None else dim
    rows = Rows("kthvalue", input, dim)
    if not 1 <= k <= rows.length:
        raise ShapeError(f"kthvalue: k is from 1 to the length {rows.length} of dimension {dim}, got {k}")
    values, places = sorted_rows(rows.matrix, False)
    values, places = clone(narrow(values, 1, k - 1, 1)), narrow(places, 1, k - 1, 1)
    return Sorted(rows.one(values, keepdim), cast(rows.one(places, keepdim), dt.int64))


def _middle(name: str, x: Tensor, dim: int, keepdim: bool, skip_nan: bool) -> Sorted:
    rows = Rows(name, x, dim)
    if rows.length == 0:
        raise ShapeError(f"{name}: nothing to choose from along dimension {dim} of shape {list(x.shape)}")
    if x.dtype is dt.bool_:
        raise DTypeError(f"{name} is not defined for bool; convert with .to(rasptorch.uint8)")
    values, places = sorted_rows(rows.matrix, False)
    if x.dtype.is_floating_point:
        plain = values.detach()
        missing = sum(plain != plain, 1, True, dtype=dt.int32)  # they lie at the end
        if skip_nan:
            place = (rows.length - 1 - missing).clamp(min=0) // 2
        else:
            place = where(missing > 0, rows.length - missing, (rows.length - 1) // 2)
        values, places = pick_rows(values, cast(place, dt.int32)), pick_rows(places, cast(place, dt.int32))
    else:
        middle = (rows.length - 1) // 2
        values, places = clone(narrow(values, 1, middle, 1)), narrow(places, 1, middle, 1)
    return Sorted(rows.one(values, keepdim), cast(rows.one(places, keepdim), dt.int64))


def _median(name: str, x: Tensor, dim: int | None, keepdim: bool, skip_nan: bool) -> Any:
    if dim is not None:
        return _middle(name, x, dim, keepdim, skip_nan)
    if keepdim:
        raise TypeError(f"{name}: keepdim needs a dim; without one the result is a single number")
    if x.layout.numel == 0 and x.dtype.is_floating_point:
        return filled(name, layout_of(x.device, x.dtype, ()), float("nan"))
    return _middle(name, reshape(x, -1), 0, False, skip_nan).values


@takes_out
def median(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The median; along ``dim`` as ``(values, indices)``. Of an even number of entries the lower of the two in the middle.

    NaN if there is one.
    """
    return _median("median", input, dim, keepdim, False)


@takes_out
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """As `median`, of those entries that are not NaN; NaN where there are no others."""
    return _median("nanmedian", input, dim, keepdim, True)
