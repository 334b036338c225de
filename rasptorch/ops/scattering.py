"""Values added up at given places: the same bits in every run, and accurate however many meet."""

from __future__ import annotations

from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import layout_of
from ..tensor import Tensor
from .dispatch import SpecCache, check_dtype, check_size, enqueue, same_device
from .views import contiguous

_sums = SpecCache()


def _spec(rows: int, index: Tensor, values: Tensor) -> CommandSpec:
    device = same_device("sum_into", (index.layout, values.layout))
    if index.dtype is not dt.int32 or index.ndim != 1:
        raise DTypeError(f"sum_into: places are a vector of int32, got {index.dtype.name} of shape {list(index.shape)}")
    if values.ndim not in (1, 2) or values.shape[0] != index.shape[0]:
        raise ShapeError(f"sum_into: {index.shape[0]} places need values of shape [{index.shape[0]}, m], got {list(values.shape)}")
    if values.dtype is dt.bool_:
        raise DTypeError("sum_into: booleans do not add up; convert with .to(rasptorch.int32)")
    check_dtype("sum_into", device, values.dtype)
    out = layout_of(device, values.dtype, (rows, *values.shape[1:]))
    check_size("sum_into", out)
    length, columns = index.shape[0], values.shape[1] if values.ndim == 2 else 1
    attributes = ("sum_into", 40 * length + 8 * (rows + length) * columns, rows, length, columns)
    return CommandSpec("shader", "sum_into", (index.layout, values.layout), (out,), None, attributes)


def sum_into(rows: int, index: Tensor, values: Tensor) -> Tensor:
    """``out[r]`` is the sum of the ``values[k]`` for which ``index[k] == r``; rows that nobody names are 0.

    ``index`` is ``[n]`` int32, already checked: every entry is in ``0..rows-1``. ``values`` is ``[n, m]`` or ``[n]``, floating-point or
    integer; the result ``[rows, m]`` or ``[rows]``. float16 and bfloat16 add up in float32. Entries are added in their order, in blocks
    that depend on nothing but the index, so the same call gives the same bits every time.

    Follow-up: not on the tape yet. The gradient of ``values`` is the incoming gradient read at ``index``.
    """
    index, values = contiguous(index.detach()), contiguous(values)
    key = (rows, index.layout, values.layout)
    spec = _sums.get(key) or _sums.put(key, _spec(rows, index, values))
    return enqueue(spec, (index, values))
