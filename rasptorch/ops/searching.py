"""Binary search, counting into bins, and membership: where values lie among others."""

from __future__ import annotations

import math
from typing import Any

from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import layout_of
from ..tensor import Tensor
from .arithmetic import where
from .creation import filled, full
from .dispatch import SpecCache, check_size, enqueue, same_device
from .gathering import take_along_dim
from .outputs import takes_out
from .reduction import amax, amin
from .scattering import sum_into
from .sorting import sorted_rows
from .views import cast, contiguous, reshape

_specs = SpecCache()


def places(rows: Tensor, values: Tensor, right: bool) -> Tensor:
    """How many entries of a sorted row are below each value (``right``: or equal), as int32. One row may serve all rows of values."""
    rows, values = contiguous(rows.detach()), contiguous(values.detach())
    key = (rows.layout, values.layout, right)
    spec = _specs.get(key)
    if spec is None:
        length, (count, columns) = rows.shape[1], values.shape
        out = layout_of(values.device, dt.int32, values.shape)
        check_size("searchsorted", out)
        work = 8 * count * columns * max(length.bit_length(), 1)
        shared = rows.shape[0] == 1
        attributes = ("search", work, count, length, columns, right, shared)
        spec = _specs.put(key, CommandSpec("shader", "searchsorted", (rows.layout, values.layout), (out,), None, attributes))
    return enqueue(spec, (rows, values))


@takes_out
def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None, out: Any = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where each of ``input`` would go in ``sorted_sequence`` so that it stays sorted: before equal entries, with ``right`` after them.

    The sequence is a vector, or has the input's shape but for the last dimension. int64, or int32 on request. With ``sorter`` (indices,
    as of `argsort`) the sequence need not be sorted itself.
    """
    if side not in (None, "left", "right"):
        raise ValueError(f"searchsorted: side is 'left' or 'right', got {side!r}")
    sequence = sorted_sequence if sorter is None else take_along_dim(sorted_sequence, sorter, -1)
    values = input if isinstance(input, Tensor) else full((), input, dtype=sequence.dtype, device=sequence.device)
    same_device("searchsorted", (sequence.layout, values.layout))
    if values.dtype is not sequence.dtype:
        names = f"the sequence is {sequence.dtype.name} and the values {values.dtype.name}"
        raise DTypeError(f"searchsorted: {names}; convert one with .to(...)")
    if sequence.ndim != 1 and (sequence.ndim != values.ndim or sequence.shape[:-1] != values.shape[:-1]):
        raise ShapeError(
            f"searchsorted: a sequence of shape {list(sequence.shape)} is neither a vector nor of the shape of the values, "
            f"{list(values.shape)}, but for the last dimension"
        )
    lines = math.prod(sequence.shape[:-1])
    rows = reshape(sequence, (lines, sequence.shape[-1]))
    matrix = reshape(values, (lines, values.layout.numel // lines if lines else 0))  # a vector is one line
    out = reshape(places(rows, matrix, right or side == "right"), values.shape)
    return out if out_int32 else cast(out, dt.int64)


@takes_out
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False, out: Any = None) -> Tensor:
    """The number of the bucket that each of ``input`` is in, between sorted ``boundaries``, a vector. As `searchsorted`."""
    if boundaries.ndim != 1:
        raise ShapeError(f"bucketize: boundaries are a vector, got shape {list(boundaries.shape)}")
    if isinstance(input, Tensor):
        same_device("bucketize", (input.layout, boundaries.layout))
        if input.dtype is not boundaries.dtype:
            raise DTypeError(f"bucketize: boundaries are {boundaries.dtype.name} and input {input.dtype.name}; convert one with .to(...)")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each of ``elements`` is among ``test_elements``. Numbers may stand for tensors on either side; NaN is never among them."""
    given = elements if isinstance(elements, Tensor) else test_elements
    if not isinstance(given, Tensor):
        raise TypeError("isin: at least one side is a tensor")
    x, among = (t if isinstance(t, Tensor) else full((), t, dtype=given.dtype, device=given.device) for t in (elements, test_elements))
    same_device("isin", (x.layout, among.layout))
    dtype = dt.promote(x.dtype, among.dtype)
    x, among = cast(x.detach(), dtype), cast(among.detach(), dtype)
    if not among.layout.numel:
        return filled("isin", layout_of(x.device, dt.bool_, x.shape), invert)
    ordered, _ = sorted_rows(reshape(among, (1, -1)), False)
    flat = reshape(x, (1, -1)) if x.layout.numel else reshape(x, (1, 0))
    found = reshape(places(ordered, flat, True) > places(ordered, flat, False), x.shape)
    if dtype.is_floating_point:
        found = found.logical_and(x == x)
    return found.logical_not() if invert else found


@takes_out
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0, *, out: Any = None) -> Tensor:
    """How many elements are in each of ``bins`` equal parts of ``min`` to ``max``, in ``input``'s dtype; others do not count.

    Where ``min`` and ``max`` are equal, the smallest and largest element take their place.
    """
    if not input.dtype.is_floating_point:
        raise DTypeError(f"histc is not defined for {input.dtype.name}; convert with .to(rasptorch.float32)")
    if bins < 1:
        raise ValueError(f"histc: bins is at least 1, got {bins}")
    if not min <= max:
        raise ValueError(f"histc: min is not above max, got {min} and {max}")
    flat = reshape(input.detach(), -1)
    if not flat.layout.numel:
        return filled("histc", layout_of(input.device, input.dtype, (bins,)), 0)
    low: Any = min
    high: Any = max
    if min == max:
        low, high = amin(flat), amax(flat)
        same = low == high
        low, high = where(same, low - 1.0, low), where(same, high + 1.0, high)
    inside = (flat >= low).logical_and(flat <= high)
    number = cast(where(inside, (flat - low) / (high - low) * bins, 0.0), dt.int32).clamp(0, bins - 1)
    return cast(sum_into(bins, number, cast(inside, dt.int32)), input.dtype)
