"""Choosing element by element, bound to arrays beforehand: `where` by masking bits, and extremes beside a scalar.

Masks run at the speed of memory, a choice per element at that of guessing branches. ``maximum`` and ``minimum`` of an array and a scalar
take NumPy three times as long as those of two arrays, so the scalar is written into a row that meets all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .calls import Call

Array = NDArray[Any]
Take = Callable[[np.dtype[Any], tuple[int, ...]], Array]  # memory with anything in it

WORDS: Final[dict[int, np.dtype[Any]]] = {1: np.dtype(np.int8), 2: np.dtype(np.int16), 4: np.dtype(np.int32), 8: np.dtype(np.int64)}
FEW: Final = 2048  # elements up to which one pass that chooses is quicker than several that mask
ROW: Final = 1024  # elements of a row with a scalar in it
SHORT: Final = 128  # below it, rows are no longer quicker than the scalar


def where(condition: Array, yes: Array, no: Array, out: Array, take: Take) -> list[Call]:
    """What writes ``yes`` where ``condition`` holds, and ``no`` elsewhere. ``out`` may be any of the three."""
    if out.size <= FEW:
        return [(_choose, (condition, yes, no, out))]
    word = WORDS[out.itemsize]
    memory = take(WORDS[1], condition.shape), take(word, condition.shape), take(word, out.shape)
    return [(_mask, (condition.view(np.int8), yes.view(word), no.view(word), out.view(word), *memory))]


def _choose(condition: Array, yes: Array, no: Array, out: Array) -> None:
    np.copyto(out, np.where(condition, yes, no))


def _mask(condition: Array, ones: Array, zeros: Array, out: Array, flags: Array, mask: Array, taken: Array) -> None:
    """``where`` of words; the last three are memory for the condition as bytes, as words, and for the bits that differ."""
    if not ones.ndim and not ones:
        np.subtract(condition, _ONE, out=flags)
        np.copyto(mask, flags)  # all ones where the condition does not hold
        np.bitwise_and(zeros, mask, out=out)
        return
    np.negative(condition, out=flags)
    np.copyto(mask, flags)  # all ones where it does
    if not zeros.ndim and not zeros:
        np.bitwise_and(ones, mask, out=out)
        return
    np.bitwise_xor(ones, zeros, out=taken)
    np.bitwise_and(taken, mask, out=taken)
    np.bitwise_xor(taken, zeros, out=out)


_ONE: Final = np.int8(1)


def extreme(ufunc: np.ufunc, x: Array, y: Array, out: Array, take: Take) -> list[Call]:
    """What computes ``maximum`` or ``minimum``; ``out`` may be either operand."""
    first = not x.ndim  # of equal values, and of zeros that differ in sign, one operand is taken
    scalar, other = (x, y) if first else (y, x)
    if scalar.ndim or not other.ndim or out.size < FEW:
        return [(_apply, (ufunc, x, y, out))]
    cut = _rows(other, out)
    if cut is None:
        return [(_apply, (ufunc, x, y, out))]
    row = take(out.dtype, cut[0][1].shape[-1:])
    calls: list[Call] = [(np.copyto, (row, scalar))]
    for part, into in cut:
        beside = row[: part.shape[-1]]
        calls.append((_apply, (ufunc, beside, part, into) if first else (ufunc, part, beside, into)))
    return calls


def relu(x: Array, out: Array) -> list[Call]:
    """``maximum`` of zero and ``x``."""
    zero = np.zeros((), out.dtype)
    cut = _rows(x, out) if out.size >= FEW else None
    if cut is None:
        return [(_apply, (np.maximum, zero, x, out))]
    return [(_apply, (np.maximum, _zeros(out.dtype)[: part.shape[-1]], part, into)) for part, into in cut]


@cache
def _zeros(dtype: np.dtype[Any]) -> Array:
    return np.zeros(4 * ROW, dtype)


def _rows(x: Array, out: Array) -> list[tuple[Array, Array]] | None:
    """``x`` and ``out`` as rows that a short one can meet; None where they are not worth it."""
    if SHORT <= out.shape[-1] <= 4 * ROW and x.shape == out.shape:
        return [(x, out)]
    if not (x.flags.c_contiguous and out.flags.c_contiguous and x.shape == out.shape):
        return None
    flat, into, length = x.reshape(-1), out.reshape(-1), out.size // ROW * ROW
    made = [(flat[:length].reshape(-1, ROW), into[:length].reshape(-1, ROW))]
    return made + ([(flat[length:], into[length:])] if out.size > length else [])


def _apply(ufunc: np.ufunc, x: Array, y: Array, out: Array) -> None:
    ufunc(x, y, out=out)  # of these two, NumPy takes the result by keyword only
