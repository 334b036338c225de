"""Sums of float32 and float64 as products with ones: BLAS adds up as fast as memory can be read."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .blas import found
from .calls import Call

Array = NDArray[Any]
STRETCH = 1024  # terms that are added up one after the other
NARROW = 128  # columns up to which products with ones beat NumPy also where rows come from memory


def sums(x: Array, kept: int, out: Array, near: bool) -> list[Call] | None:
    """What adds up all axes of ``x`` after the first ``kept`` into ``out``.

    A product adds up no more than `STRETCH` terms one after the other, or its rounding errors would be larger than NumPy's. ``near``: ``x``
    is in the cache. None where NumPy is as fast, or ``x`` no matrix whose rows or columns are contiguous.
    """
    library, size = found(), x.itemsize
    left, right = _merged(x.shape[:kept], x.strides[:kept]), _merged(x.shape[kept:], x.strides[kept:])
    if library is None or x.dtype not in library.gemm or out.dtype != x.dtype or not x.size or left is None or right is None:
        return None
    (rows, down), (columns, along), ones = left, right, _ones(x.dtype)
    if not out.flags.c_contiguous or columns == 1:
        return None
    into = out.reshape(-1)
    if rows == 1 and along == size and columns > STRETCH:
        # One long row, as a matrix whose columns are added up first.
        flat = as_strided(x, (columns,), (size,))
        length, made = columns // STRETCH * STRETCH, np.empty(STRETCH + columns % STRETCH, x.dtype)
        calls = _of_columns(flat[:length].reshape(-1, STRETCH), made[:STRETCH])
        if columns > length:
            calls.append((np.copyto, (made[STRETCH:], flat[length:])))
        return [*calls, (np.add.reduce, (made, 0, None, into.reshape(())))]
    if down == size and along >= rows * size:
        return _of_columns(as_strided(x, (columns, rows), (along, down)), into)
    if along != size or (rows > 1 and down < columns * size) or not (near or columns <= NARROW):
        return None
    matrix, cuts = as_strided(x, (rows, columns), (down, along)), range(0, columns, STRETCH)
    if len(cuts) == 1:
        return [(np.matmul, (matrix, ones[:columns], into))]
    parts = np.empty((len(cuts), rows), x.dtype)
    calls = [(np.matmul, (matrix[:, at : at + STRETCH], ones[: columns - at], part)) for at, part in zip(cuts, parts, strict=True)]
    return [*calls, (np.add.reduce, (parts.T, 1, None, into))]


def _of_columns(x: Array, out: Array) -> list[Call]:
    """What adds up the columns of a matrix whose rows are contiguous."""
    cuts, ones = range(0, len(x), STRETCH), _ones(x.dtype)
    if len(cuts) == 1:
        return [(np.matmul, (ones[: len(x)], x, out))]
    parts = np.empty((len(cuts), x.shape[1]), x.dtype)
    calls: list[Call] = [
        (np.matmul, (ones[: len(x) - at], x[at : at + STRETCH], part)) for at, part in zip(cuts, parts, strict=True)
    ]  # fmt: skip
    return [*calls, (np.add.reduce, (parts.T, 1, None, out))]


def _merged(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int] | None:
    """Axes as one: its length and stride. None where they do not follow each other in memory."""
    axes = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    if not axes:
        return 1, 0
    length, stride = axes[-1]
    for n, s in reversed(axes[:-1]):
        if s != length * stride:
            return None
        length *= n
    return length, stride


@cache
def _ones(dtype: np.dtype[Any]) -> Array:
    return np.ones(STRETCH, dtype)
