"""Values written to, or combined at, places that a tensor of indices names: forward and gradient side by side.

Where indices repeat, ``scatter`` and ``index_copy`` keep the entry that comes last in row-major order, and sums are the same bits in
every run. An index out of range becomes an `IndexError` at the next sync point.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import broadcast_shapes, contiguous_strides, layout_of
from ..tensor import Tensor, _axis
from .aliases import takes_axis
from .arithmetic import add, div, floor_divide, maximum, mul, where
from .checked_index import checked_index
from .creation import counted, filled
from .dispatch import same_device, tape
from .moving import select_rows
from .outputs import takes_out
from .scattering import combine_into, sum_into
from .views import cast, clone, reshape

REDUCTIONS = {"sum": "add", "prod": "mul", "mean": "add", "amax": "maximum", "amin": "minimum"}


def _fits(name: str, x: Tensor, axis: int, index: Tensor, src: Tensor | None) -> None:
    """Shapes, dtypes and devices of a scatter; 0-d tensors count as vectors."""
    same_device(name, [t.layout for t in (x, index, src) if t is not None])
    if src is not None and src.dtype is not x.dtype:
        raise DTypeError(f"{name}: the tensor is {x.dtype.name} and the source {src.dtype.name}; convert one with .to(...)")
    shapes = [t.shape or (1,) for t in (x, index)] + ([src.shape or (1,)] if src is not None else [])
    if len({len(s) for s in shapes}) != 1:
        raise ShapeError(f"{name}: tensor, index and source have equally many dimensions, got shapes {[list(s) for s in shapes]}")
    for a, n in enumerate(shapes[1]):
        if (a != axis and n > shapes[0][a]) or (src is not None and n > shapes[2][a]):
            raise ShapeError(
                f"{name}: index of shape {list(shapes[1])} reaches past the tensor of shape {list(shapes[0])} (apart from dimension "
                f"{axis})" + (f" or the source of shape {list(shapes[2])}" if src is not None else "")
            )


def _places(name: str, x: Tensor, axis: int, index: Tensor) -> Tensor:
    """The row-major number in ``x`` of the element that each entry of ``index`` names along ``axis``, as a vector of int32."""
    strides = contiguous_strides(x.shape or (1,))
    index = index.detach() if index.ndim else reshape(index.detach(), 1)
    out = checked_index(index, (x.shape or (1,))[axis], name, wrap=False)
    if strides[axis] != 1:
        out = mul(out, strides[axis])
    for a, n in enumerate(index.shape):
        if a != axis and n > 1:
            shape = tuple(n if k == a else 1 for k in range(index.ndim))
            out = out + counted("index", layout_of(x.device, dt.int32, shape), 0, strides[a])
    return reshape(out, -1)


def _part(src: Tensor, index: Tensor) -> Tensor:
    """The part of a source that an index of smaller shape takes, as a vector."""
    if src.shape != index.shape:
        src = src[tuple(slice(0, n) for n in index.shape)]
    return reshape(src, -1)


def _written(name: str, x: Tensor, places: Tensor, values: Tensor, how: str, fold: bool) -> Tensor:
    """A copy of ``x`` with ``values`` at ``places``, both vectors; no tape."""
    with no_grad():
        out = clone(x.detach())
        flat = Tensor._make(out.storage, 0, layout_of(x.device, x.dtype, (x.layout.numel,)))
        combine_into(name, flat, places, values, how, fold)
    return out


def read(g: Tensor, places: Tensor) -> Tensor:
    """The elements of ``g`` at row-major ``places``, a vector."""
    return select_rows(reshape(g, -1), places)


def scattered_sum(shape: tuple[int, ...], places: Tensor, values: Tensor) -> Tensor:
    """Zeros of ``shape`` with every one of ``values`` added at its row-major place."""
    return reshape(sum_into(math.prod(shape), places, reshape(values, -1)), shape)


# -- one index per element ----------------------------------------------------------------------------------------
def _grad_scatter(n: Node, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    (places,) = n.values()
    return (_overwritten("scatter", g, places, None) if n.needs(0) else None), (read(g, places) if n.needs(1) else None)


def _overwritten(name: str, x: Tensor, places: Tensor, values: Tensor | None) -> Tensor:
    """``x`` with ``values`` (None: zeros) at ``places``."""
    given = filled(name, layout_of(x.device, x.dtype, places.shape), 0) if values is None else values
    return tape(_written(name, x, places, given, "last", False), name, _grad_scatter, (x, given), (places,))


@takes_axis
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Tensor:
    """A copy of ``input`` in which, along ``dim``, the element that each entry of ``index`` names is the entry of ``src`` at its place.

    ``src`` (or ``value``) may be a number. ``reduce`` is None, ``"add"`` or ``"multiply"``. Where indices repeat, the last entry stays,
    and the gradient of ``src`` goes to all of them, as in PyTorch.
    """
    src = value if src is None else src
    if reduce is not None and reduce not in ("add", "multiply"):
        raise ValueError(f"scatter: reduce is 'add', 'multiply' or None, got {reduce!r}; see scatter_reduce")
    axis = _axis("scatter", dim, input.ndim)
    if not isinstance(src, Tensor):
        if src is None:
            raise TypeError("scatter takes a source: a tensor or a number")
        src = filled("scatter", layout_of(input.device, input.dtype, index.shape), src)
    if reduce is not None:
        return scatter_reduce(input, dim, index, src, "sum" if reduce == "add" else "prod")
    _fits("scatter", input, axis, index, src)
    return _overwritten("scatter", input, _places("scatter", input, axis, index), _part(src, index))


def _grad_added(n: Node, g: Tensor) -> tuple[Tensor, Tensor | None]:
    (places,) = n.values()
    return g, (read(g, places) if n.needs(1) else None)


def _added(name: str, x: Tensor, places: Tensor, values: Tensor) -> Tensor:
    if x.dtype is dt.bool_:
        raise DTypeError(f"{name} is not defined for bool; convert with .to(rasptorch.int32)")
    return tape(_written(name, x, places, values, "add", True), name, _grad_added, (x, values), (places,))


@takes_axis
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of ``input`` to which, along ``dim``, every entry of ``src`` is added where ``index`` says. The same bits in every run."""
    axis = _axis("scatter_add", dim, input.ndim)
    _fits("scatter_add", input, axis, index, src)
    return _added("scatter_add", input, _places("scatter_add", input, axis, index), _part(src, index))


def _grad_extreme(n: Node, g: Tensor) -> tuple[Tensor, Tensor]:
    """Shared evenly among all that are equal to the result."""
    x, values, places = n.values()
    result = n.result().detach()
    mine = cast(x.detach() == result, x.dtype)
    if not n.attributes:  # what was there took no part
        mine = _overwritten("scatter_reduce", mine, places, None)
    theirs = cast(values.detach() == read(result, places), x.dtype)
    share = g / _added("scatter_reduce", mine, places, theirs)
    return mine * share, theirs * read(share, places)


def _grad_product(n: Node, g: Tensor) -> tuple[Tensor, Tensor]:
    """Products of the others: exact also where there are zeros, by counting them."""
    x, values, places = n.values()
    include = n.attributes
    taking = x if include else _overwritten("scatter_reduce", x, places, filled("ones", layout_of(x.device, x.dtype, places.shape), 1))
    zeros = _added("scatter_reduce", cast(taking.detach() == 0, dt.int32), places, cast(values.detach() == 0, dt.int32))
    filled_x, filled_v = where(taking == 0, 1.0, taking), where(values == 0, 1.0, values)
    others = _reduced(filled_x, places, filled_v, "prod", True)

    def slope(of: Tensor, filled_: Tensor, product: Tensor, count: Tensor) -> Tensor:
        return where(count == 0, product / filled_, where(count == 1, where(of == 0, product, 0.0), 0.0))

    mine = g * slope(taking, filled_x, others, zeros)
    if not include:
        mine = _overwritten("scatter_reduce", mine, places, None)
    return mine, read(g, places) * slope(values, filled_v, read(others, places), read(zeros, places))


def _reduced(x: Tensor, places: Tensor, values: Tensor, reduce: str, include_self: bool) -> Tensor:
    """One of prod, amax, amin."""
    out = _written("scatter_reduce", x, places, values, REDUCTIONS[reduce], include_self)
    gradient = _grad_product if reduce == "prod" else _grad_extreme
    return tape(out, "scatter_reduce", gradient, (x, values), (x, values, places), include_self, keep_output=True)


@takes_axis
def scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True) -> Tensor:
    """A copy of ``input`` in which, along ``dim``, the elements that ``index`` names are combined.

    They are the ``sum``, ``prod``, ``mean``, ``amax`` or ``amin`` of the entries of ``src`` that go there
    and, with ``include_self``, of what was there.
    """
    if reduce not in REDUCTIONS:
        raise ValueError(f"scatter_reduce: reduce is one of {', '.join(REDUCTIONS)}, got {reduce!r}")
    axis = _axis("scatter_reduce", dim, input.ndim)
    _fits("scatter_reduce", input, axis, index, src)
    if input.dtype is dt.bool_:
        raise DTypeError("scatter_reduce is not defined for bool; convert with .to(rasptorch.int32)")
    places, values = _places("scatter_reduce", input, axis, index), _part(src, index)
    return _combined("scatter_reduce", input, places, values, reduce, include_self)


def _combined(name: str, x: Tensor, places: Tensor, values: Tensor, reduce: str, include_self: bool) -> Tensor:
    if reduce not in ("sum", "mean"):
        return _reduced(x, places, values, reduce, include_self)
    start = x if include_self else _overwritten(name, x, places, None)
    total = _added(name, start, places, values)
    if reduce == "sum":
        return total
    ones = filled("ones", layout_of(x.device, dt.int32, places.shape), 1)
    count = reshape(sum_into(x.layout.numel, places, ones), x.shape)
    count = count + 1 if include_self else maximum(count, 1)
    return div(total, cast(count, x.dtype)) if x.dtype.is_floating_point else floor_divide(total, cast(count, x.dtype))


# -- one index per row --------------------------------------------------------------------------------------------
class _Lines:
    """A tensor as a matrix whose rows are the entries of one dimension."""

    def __init__(self, x: Tensor, axis: int) -> None:
        turned = (x if x.ndim else reshape(x, 1)).transpose(0, axis)
        self._axis, self._shape, self._scalar = axis, turned.shape, x.ndim == 0
        self.count = turned.shape[0]
        self.columns = math.prod(turned.shape[1:])
        self.matrix = reshape(turned, (self.count, self.columns))

    def back(self, matrix: Tensor) -> Tensor:
        out = reshape(matrix, self._shape).transpose(0, self._axis)
        return reshape(out, ()) if self._scalar else out


def _lines(
    name: str, x: Tensor, dim: int, index: Tensor, source: Tensor | None, wrap: bool = False
) -> tuple[_Lines, Tensor, Tensor | None]:
    """``x`` as lines along ``dim``, the lines that ``index`` names, and the lines of a source, one for each."""
    axis = _axis(name, dim, x.ndim)
    if index.ndim > 1:
        raise ShapeError(f"{name}: index is a vector, got shape {list(index.shape)}; see scatter")
    if source is not None and source.dtype is not x.dtype:
        raise DTypeError(f"{name}: the tensor is {x.dtype.name} and the source {source.dtype.name}; convert one with .to(...)")
    lines = _Lines(x, axis)
    places = checked_index(reshape(index.detach(), -1), lines.count, name, wrap)
    if source is None:
        return lines, places, None
    same_device(name, [x.layout, index.layout, source.layout])
    wanted = tuple(index.layout.numel if a == axis else n for a, n in enumerate(x.shape)) if x.ndim else source.shape
    if source.shape != wanted:
        raise ShapeError(
            f"{name}: {index.layout.numel} indices along dimension {axis} of shape {list(x.shape)} take a source of shape "
            f"{list(wanted)}, got {list(source.shape)}"
        )
    return lines, places, _Lines(source, axis).matrix


def _grad_index_add(n: Node, g: Tensor) -> tuple[Tensor, Tensor | None]:
    (places,) = n.values()
    return g, (select_rows(g, places) if n.needs(1) else None)


def _row_values(name: str, x: Tensor, places: Tensor, values: Tensor, how: str, fold: bool) -> Tensor:
    with no_grad():
        out = clone(x.detach())
        combine_into(name, out, places, values, how, fold)
    return out


@takes_out
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1, out: Any = None) -> Tensor:
    """A copy of ``input`` to which ``alpha`` times each entry of ``source`` along ``dim`` is added where ``index``, a vector, says."""
    lines, places, values = _lines("index_add", input, dim, index, source)
    assert values is not None
    if input.dtype is dt.bool_:
        raise DTypeError("index_add is not defined for bool; convert with .to(rasptorch.int32)")
    given = values if alpha == 1 else values * alpha
    out = _row_values("index_add", lines.matrix, places, given, "add", True)
    return lines.back(tape(out, "index_add", _grad_index_add, (lines.matrix, given), (places,)))


def _grad_rows_replaced(n: Node, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    (places,) = n.values()
    return (_replaced("index_copy", g, places, None) if n.needs(0) else None), (select_rows(g, places) if n.needs(1) else None)


def _replaced(name: str, x: Tensor, places: Tensor, values: Tensor | None) -> Tensor:
    """A matrix with ``values`` (None: zeros) as the rows that ``places`` name."""
    given = filled(name, layout_of(x.device, x.dtype, (places.shape[0], *x.shape[1:])), 0) if values is None else values
    return tape(_row_values(name, x, places, given, "last", False), name, _grad_rows_replaced, (x, given), (places,))


@takes_out
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor, *, out: Any = None) -> Tensor:
    """A copy of ``input`` in which the entries along ``dim`` that ``index``, a vector, names are those of ``source``.

    Of equal indices the last one counts.
    """
    lines, places, values = _lines("index_copy", input, dim, index, source)
    return lines.back(_replaced("index_copy", lines.matrix, places, values))


@takes_axis
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of ``input`` in which the entries along ``dim`` that ``index``, a vector, names are ``value``, a number or a 0-d tensor."""
    lines, places, _ = _lines("index_fill", input, dim, index, None, True)
    shape = (places.shape[0], lines.columns)
    if isinstance(value, Tensor):
        if value.ndim:
            raise ShapeError(f"index_fill: value is a number or a 0-d tensor, got shape {list(value.shape)}")
        values = cast(value, input.dtype).expand(shape)
    else:
        values = filled("index_fill", layout_of(input.device, input.dtype, shape), value)
    return lines.back(_replaced("index_fill", lines.matrix, places, values))


def _stretched(what: str, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    lead = len(shape) - x.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(x.shape, shape[lead:], strict=True)):
        raise ShapeError(f"{what} of shape {list(x.shape)} does not stretch to {list(shape)}")
    return x.expand(shape)


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """``input`` with the elements where ``mask`` (bool, stretched to ``input``) holds taken one after another from ``source``.

    Too few of them are an `IndexError` at the next sync point.
    """
    from .scan import cumsum

    if mask.dtype is not dt.bool_:
        raise DTypeError(f"masked_scatter: the mask is bool, got {mask.dtype.name}; compare, or convert with .to(rasptorch.bool)")
    if source.dtype is not input.dtype:
        raise DTypeError(f"masked_scatter: the tensor is {input.dtype.name} and the source {source.dtype.name}; convert one with .to(...)")
    same_device("masked_scatter", [input.layout, mask.layout, source.layout])
    flat = reshape(_stretched("masked_scatter: the mask", mask, input.shape), -1)
    number = where(flat, cumsum(cast(flat, dt.int32), 0, dtype=dt.int32) - 1, 0)
    if not source.layout.numel:
        source = filled("masked_scatter", layout_of(input.device, input.dtype, (1,)), 0)
        number = where(flat, number + 1, 0)  # out of range
    places = checked_index(number, source.layout.numel, "masked_scatter: source", wrap=False)
    return where(mask, reshape(read(source, places), input.shape), input)


def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` in which ``input[indices]`` is ``values``, or with ``accumulate`` has them added.

    ``indices`` are integer tensors for the first dimensions that stretch to one shape; negative numbers count from the end. Where they
    name an element more than once, the last value stays. ``values`` stretch to the shape of what is named.
    """
    given = tuple(indices)
    if not given or len(given) > input.ndim or not all(isinstance(i, Tensor) and i.dtype.category == 1 for i in given):
        what = f"1 to {input.ndim} integer tensors, one for each of the first dimensions"
        raise TypeError(f"index_put: indices are {what}; see also masked_fill")
    same_device("index_put", [input.layout, values.layout, *(i.layout for i in given)])
    if values.dtype is not input.dtype:
        raise DTypeError(f"index_put: the tensor is {input.dtype.name} and the values {values.dtype.name}; convert one with .to(...)")
    shape = broadcast_shapes("index_put", *(i.shape for i in given))
    strides = contiguous_strides(input.shape[: len(given)])
    parts = [
        checked_index(i.detach(), n, "index_put") * s for i, n, s in zip(given, input.shape, strides, strict=False)
    ]
    places = reshape(reduce(add, parts).expand(shape), -1)
    rest = input.shape[len(given) :]
    count, columns = math.prod(input.shape[: len(given)]), math.prod(rest)
    entries = reshape(_stretched("index_put: the values", values, (*shape, *rest)), (places.shape[0], columns))
    matrix = reshape(input, (count, columns))
    if not accumulate:
        return reshape(_replaced("index_put", matrix, places, entries), input.shape)
    if input.dtype is dt.bool_:
        raise DTypeError("index_put with accumulate is not defined for bool; convert with .to(rasptorch.int32)")
    out = _row_values("index_put", matrix, places, entries, "add", True)
    return reshape(tape(out, "index_put", _grad_index_add, (matrix, entries), (places,)), input.shape)
