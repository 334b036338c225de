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
from .record import Binding, Runner, Workers, stored_as_computed
from .reduce import UFUNCS

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


def ordered(dtype: DType, x: Array, descending: bool, count: int) -> Array:
    """The places of the first ``count`` of each row's entries in sorted order: of equal ones the earlier first, NaN is the largest."""
    keys = sort_keys(dtype, x)
    length = x.shape[1]
    if keys.dtype == np.int32 and length >= 64:
        # Pairs of key and place are all different: any way of sorting gives the stable order, and NumPy's for int64 is quick.
        wide = keys.astype(np.int64)
        if descending:
            np.invert(wide, out=wide)
        wide <<= 32
        wide |= np.arange(length, dtype=np.int64)
        if 0 < count <= length // 4:
            wide.partition(count - 1, axis=-1)
            wide = wide[:, :count]
        wide.sort(axis=-1)
        return wide[:, :count].astype(np.int32)
    if descending:
        turned = np.argsort(keys[:, ::-1], axis=-1, kind="stable")[:, ::-1]
        return np.asarray((length - 1 - turned[:, :count]).astype(np.int32))
    return np.asarray(np.argsort(keys, axis=-1, kind="stable")[:, :count].astype(np.int32))


def _in_order(kernel: ShaderKernel, binding: Binding, rows: int, length: int, count: int, descending: bool) -> Runner:
    source = kernel.inputs[0]
    x = binding.rows(source, (rows, length))
    places, values = (binding.rows(o, (rows, count)) for o in kernel.outputs)

    def run(scalars: Sequence[float]) -> None:
        np.copyto(places, ordered(source.dtype, x, descending, count))
        np.copyto(values, np.take_along_axis(x, places, axis=-1))

    return run


def sort(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    rows, length, descending, _ = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int)
    return _in_order(kernel, binding, rows, length, length, bool(descending))


def topk(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    rows, length, descending, count = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(count, int)
    return _in_order(kernel, binding, rows, length, count, bool(descending))


def search(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    """How many entries of a sorted row come before each value."""
    rows, length, count, right, shared = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(count, int)
    dtype = kernel.inputs[0].dtype
    sequence = binding.rows(kernel.inputs[0], (1 if shared else rows, length))
    wanted = binding.rows(kernel.inputs[1], (rows, count))
    out = binding.rows(kernel.outputs[0], (rows, count))

    def run(values: Sequence[float]) -> None:
        keys, given = sort_keys(dtype, sequence), sort_keys(dtype, wanted)
        for k in range(rows):
            out[k] = np.searchsorted(keys[0 if shared else k], given[k], side="right" if right else "left")

    return run


def _sum_by_place(index: Array, values: Array, rows: int) -> tuple[Array, Array]:
    """The places that are named, and the sums there: entries sorted by place, runs added up, long ones in pieces so that rounding
    errors stay small.
    """
    order = np.argsort(index.astype(np.uint16) if rows <= 1 << 16 else index, kind="stable")  # NumPy sorts 16 bits by radix
    index, values = index[order], values[order]
    while index.size:
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
    return index, values


def _add(target: Array, index: Array, values: Array, fold: bool) -> None:
    """Sums of ``values`` into the rows of ``target`` that ``index`` names."""
    if values.shape[1] != 1:
        named, sums = _sum_by_place(index, values, target.shape[0])
        target[named] = target[named] + sums if fold else sums
    elif values.dtype.kind != "f":
        if not fold:
            target[index] = 0
        np.add.at(target[:, 0], index, values[:, 0])
    else:
        sums = np.bincount(index, values[:, 0], target.shape[0])  # adds up in float64
        named = np.zeros(target.shape[0], np.bool_)
        named[index] = True
        np.copyto(target[:, 0], target[:, 0] + sums if fold else sums, where=named, casting="same_kind")


def _combine(target: Array, index: Array, values: Array, how: str, fold: bool) -> None:
    if how == "last":
        target[index] = values  # in order: the last one stays
        return
    if how == "add":
        _add(target, index, values, fold)
        return
    if not fold:
        target[index] = 1 if how == "mul" else values
    columns = values.shape[1]
    places = (index.astype(np.int64)[:, None] * columns + np.arange(columns)).reshape(-1)
    UFUNCS[how].at(target.reshape(-1), places, values.reshape(-1))


def combine_into(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    """``combine_into`` works on rows that are there, ``sum_into`` on new ones of zeros."""
    rows, length, columns, *rest = kernel.attributes
    how, fold = rest or ("add", False)
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(columns, int) and isinstance(how, str)
    places, source, target = *kernel.inputs, kernel.outputs[0]
    index = binding.rows(places, (1, length))[0]
    values, out = binding.rows(source, (length, columns)), binding.rows(target, (rows, columns))
    new = kernel.shader == "sum_into"

    def run(scalars: Sequence[float]) -> None:
        if new:
            out[...] = 0
        if not length * columns:
            return
        if how == "last" or stored_as_computed(target.dtype):
            _combine(out, index, values, how, bool(fold))
            return
        made = functions.load(target.dtype, out)
        _combine(made, index, functions.load(source.dtype, values), how, bool(fold))
        functions.store(target.dtype, made, out)

    return run
