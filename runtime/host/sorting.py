"""Sorting rows, and sums of entries that go to one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import dtype as dt
from ..dtype import DType
from ..plan.plan import ShaderKernel
from . import functions
from .record import Binding, Runner, Workers

Array = NDArray[Any]
PIECE = 256  # entries that NumPy adds up one after the other


def sort_keys(dtype: DType, x: Array) -> Array:
    """Whole numbers in the order of float32, bfloat16 and float16 elements; elements of other dtypes as they are."""
    if not dtype.is_floating_point or dtype is dt.float64:
        return x
    kind: Any = np.int16 if dtype.itemsize == 2 else np.int32
    bits: Array = x.view(kind)
    size: Array = bits & np.iinfo(kind).max
    keys: Array = np.where(np.less(bits, 0), -size, size)
    keys[size > {dt.float16: 0x7C00, dt.bfloat16: 0x7F80}.get(dtype, 0x7F800000)] = np.iinfo(kind).max
    return keys


def ordered(dtype: DType, x: Array, descending: bool) -> Array:
    """The places of each row's entries in sorted order: of equal ones the earlier first, NaN counts as the largest."""
    keys = sort_keys(dtype, x)
    length = x.shape[1]
    if keys.dtype == np.int32 and length >= 64:
        # Pairs of key and place are all different: any way of sorting gives the stable order, and NumPy's for int64 is quick.
        wide = keys.astype(np.int64)
        if descending:
            np.invert(wide, out=wide)
        wide <<= 32
        wide |= np.arange(length, dtype=np.int64)
        wide.sort(axis=-1)
        return wide.astype(np.int32)
    if descending:
        turned = np.argsort(keys[:, ::-1], axis=-1, kind="stable")[:, ::-1]
        return np.asarray((length - 1 - turned).astype(np.int32))
    return np.asarray(np.argsort(keys, axis=-1, kind="stable").astype(np.int32))


def sort(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    rows, length, descending, _ = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int)
    source, shape = kernel.inputs[0], (rows, length)
    x = binding.rows(source, shape)
    outputs = [binding.rows(o, shape) for o in kernel.outputs]

    def run(values: Sequence[float]) -> None:
        order = ordered(source.dtype, x, bool(descending))
        if len(outputs) > 1:
            np.copyto(outputs[1], np.take_along_axis(x, order, axis=-1))
        np.copyto(outputs[0], order)

    return run


def _added_by_place(index: Array, values: Array, rows: int, out: Array) -> None:
    """Sort by place, then add up the runs, long ones in pieces so that rounding errors stay small."""
    if not index.size:
        out[...] = 0
        return
    order = np.argsort(index.astype(np.uint16) if rows <= 1 << 16 else index, kind="stable")  # NumPy sorts 16 bits by radix
    index, values = index[order], values[order]
    while True:
        starts = np.flatnonzero(np.r_[True, index[1:] != index[:-1]])
        lengths = np.diff(np.r_[starts, index.size])
        longest = int(lengths.max())
        if longest == 1:
            break
        if longest > PIECE:
            pieces = -(-lengths // PIECE)
            first = np.repeat(np.cumsum(pieces) - pieces, pieces)
            starts = np.repeat(starts, pieces) + (np.arange(first.size) - first) * PIECE
        index, values = index[starts], np.add.reduceat(values, starts, axis=0)
    out[...] = 0
    out[index] = values


def sum_into(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    rows, length, columns = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(columns, int)
    places, source = kernel.inputs
    target = kernel.outputs[0]
    index = binding.rows(places, (1, length))[0]
    values, out = binding.rows(source, (length, columns)), binding.rows(target, (rows, columns))

    def run(scalars: Sequence[float]) -> None:
        loaded = functions.load(source.dtype, values)
        made = np.empty((rows, columns), loaded.dtype)
        if columns == 1 and source.dtype.is_floating_point:
            made[:, 0] = np.bincount(index, loaded[:, 0], rows)  # adds up in float64
        elif columns == 1:
            made[...] = 0
            np.add.at(made[:, 0], index, loaded[:, 0])
        else:
            _added_by_place(index, loaded, rows, made)
        functions.store(target.dtype, made, out)

    return run
