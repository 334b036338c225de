"""Products of float32 matrices tile by tile.

Where OpenBLAS has kernels for small products, those read matrices where they lie; large ones it first packs, which with few rows or columns
takes as long as the product. A stack of small products is one call of NumPy's, and faster by a tenth for square matrices and by a third
for a batch of 64 rows. Tiles lie in a grid that depends on shapes only: bits are the same whoever computes which of them.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .blas import found
from .calls import Call

Array = NDArray[Any]
Grid = tuple[int, int]  # rows and columns of a tile

CORES = frozenset({b"SkylakeX"})  # OpenBLAS's names of processors for which this was measured to be faster
SMALL = 1_000_000  # multiplications up to which OpenBLAS takes a product for small
DEEPEST = 800  # terms of a sum up to which tiles are large enough
LARGEST = 1_500_000  # elements of the matrices together, beyond which tiles find them in the cache too seldom
NARROWEST = 16


def grid(a: Array, b: Array) -> Grid | None:
    """Rows and columns of the tiles of ``a @ b``, two matrices; None where BLAS had better compute it as a whole."""
    (rows, depth), columns = a.shape, b.shape[1]
    library = found()
    if library is None or library.core not in CORES or a.dtype != np.float32 or b.dtype != np.float32:
        return None
    elements, work = rows * depth + depth * columns + rows * columns, rows * depth * columns
    if work <= SMALL or elements > LARGEST or depth > DEEPEST or min(rows, columns) < NARROWEST:
        return None
    turned = _turned(a), _turned(b)
    if turned == (False, False):
        return 8, _even(columns, next(width for width in (256, 128, 64) if 8 * width * depth <= 0.65 * SMALL), 16)
    if turned == (True, False) and depth >= 32:
        return 32, _even(columns, max(32, min(256, int(0.8 * SMALL) // (32 * depth) // 16 * 16)), 16)
    if turned == (False, True) and depth >= 128:
        return _even(rows, 64, 8), 16
    return None


def _turned(x: Array) -> bool | None:
    """Whether columns are contiguous rather than rows; None where neither are."""
    if x.strides[1] == x.itemsize:
        return False
    return True if x.strides[0] == x.itemsize else None


def _even(length: int, most: int, multiple: int) -> int:
    """About equal tiles of at most ``most``."""
    return min(most, -(-length // -(-length // most) // multiple) * multiple)


def tiled(a: Array, b: Array, out: Array, tile: Grid) -> list[Call]:
    """What computes ``a @ b`` of two matrices into ``out``; ``tile`` is the `grid` of the product that this is a part of."""
    calls: list[Call] = []
    for (top, bottom), (left, right) in product(_cuts(len(a), tile[0]), _cuts(b.shape[1], tile[1])):
        height, width = min(tile[0], bottom - top), min(tile[1], right - left)
        down, along = (bottom - top) // height, (right - left) // width
        part, depth = out[top:bottom, left:right], a.shape[1]
        rows = as_strided(a[top:bottom], (down, 1, height, depth), (height * a.strides[0], 0, *a.strides))
        columns = as_strided(b[:, left:right], (1, along, depth, width), (0, width * b.strides[1], *b.strides))
        into = as_strided(part, (down, along, height, width), (height * out.strides[0], width * out.strides[1], *out.strides))
        calls.append((np.matmul, (rows, columns, into)))
    return calls


def _cuts(length: int, size: int) -> list[tuple[int, int]]:
    """Where there are whole tiles, and the rest."""
    return [(low, high) for low, high in pairwise((0, length // size * size, length)) if high > low]
