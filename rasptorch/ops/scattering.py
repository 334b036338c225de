"""Values combined at given places: the same bits in every run, and accurate however many meet."""

from __future__ import annotations

from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import layout_of
from ..tensor import Tensor
from .dispatch import SpecCache, check_dtype, check_size, enqueue, enqueue_into, same_device, tape
from .moving import select_rows
from .views import contiguous

_specs = SpecCache()


def _check(name: str, index: Tensor, values: Tensor) -> None:
    device = same_device(name, (index.layout, values.layout))
    if index.dtype is not dt.int32 or index.ndim != 1:
        raise DTypeError(f"{name}: places are a vector of int32, got {index.dtype.name} of shape {list(index.shape)}")
    if values.ndim not in (1, 2) or values.shape[0] != index.shape[0]:
        raise ShapeError(f"{name}: {index.shape[0]} places need values of shape [{index.shape[0]}, m], got {list(values.shape)}")
    check_dtype(name, device, values.dtype)


def _sizes(rows: int, values: Tensor) -> tuple[int, int, int, int]:
    """About how many operations it takes, then rows, entries and columns."""
    length, columns = values.shape[0], values.shape[1] if values.ndim == 2 else 1
    return 40 * length + 8 * (rows + length) * columns, rows, length, columns


def _grad_sum_into(n: Node, g: Tensor) -> tuple[Tensor]:
    (index,) = n.values()
    return (select_rows(g, index),)


def sum_into(rows: int, index: Tensor, values: Tensor) -> Tensor:
    """``out[r]`` is the sum of the ``values[k]`` for which ``index[k] == r``; rows that nobody names are 0.

    ``index`` is ``[n]`` int32, already checked: every entry is in ``0..rows-1``. ``values`` is ``[n, m]`` or ``[n]``, floating-point or
    integer; the result ``[rows, m]`` or ``[rows]``. float16 and bfloat16 add up in float32. Entries are added in their order, in blocks
    that depend on nothing but the index, so the same call gives the same bits every time.
    """
    index, entries = contiguous(index.detach()), contiguous(values)
    key = (rows, index.layout, entries.layout)
    spec = _specs.get(key)
    if spec is None:
        _check("sum_into", index, entries)
        if entries.dtype is dt.bool_:
            raise DTypeError("sum_into: booleans do not add up; convert with .to(rasptorch.int32)")
        out = layout_of(entries.device, entries.dtype, (rows, *entries.shape[1:]))
        check_size("sum_into", out)
        attributes = ("sum_into", *_sizes(rows, entries))
        spec = _specs.put(key, CommandSpec("shader", "sum_into", (index.layout, entries.layout), (out,), None, attributes))
    return tape(enqueue(spec, (index, entries)), "sum_into", _grad_sum_into, (values,), (index,))


def combine_into(name: str, target: Tensor, index: Tensor, values: Tensor, how: str, fold: bool) -> None:
    """Replace the rows of ``target`` that ``index`` names by what ``values`` combine to there; others stay as they are.

    ``how`` is ``add``, ``mul``, ``maximum``, ``minimum`` or ``last`` (the entry that comes last stays). ``fold``: what is there takes
    part. ``target`` is row-major, ``[rows, m]`` or ``[rows]``; index and values are as for `sum_into`. Not taped: callers do that.
    """
    index, entries = contiguous(index.detach()), contiguous(values.detach())
    if how == "last" and entries.dtype.itemsize == 8 and not entries.device.driver.traits.int64:
        target, entries = _as_words(target), _as_words(entries)  # nothing is computed: all devices can move halves
    key = (name, target.layout, index.layout, entries.layout, how, fold)
    spec = _specs.get(key)
    if spec is None:
        _check(name, index, entries)
        attributes = ("combine_into", *_sizes(target.shape[0], entries), how, fold)
        layouts = (index.layout, entries.layout)
        spec = _specs.put(key, CommandSpec("shader", name, layouts, (target.layout,), None, attributes, in_place=1))
    enqueue_into(spec, target, (index, entries))


def _as_words(x: Tensor) -> Tensor:
    """Elements of 64 bits as pairs of int32."""
    rows, columns = x.shape[0], 2 * (x.shape[1] if x.ndim == 2 else 1)
    return Tensor._make(x.storage, 2 * x.offset, layout_of(x.device, dt.int32, (rows, columns)))
