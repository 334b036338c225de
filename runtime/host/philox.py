"""Philox 4x32-10 in NumPy, in chunks that stay in the cache.

The generator is that of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC
2011): ten rounds of two 32x32 -> 64 bit multiplications over a counter of four words, with a key of two words
that moves by a constant between rounds. Words are held one to a uint64 because the product is needed whole.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

ROUNDS: Final = 10
BLOCKS_PER_CHUNK: Final = 8192  # the three work arrays of a chunk take 128 KiB each: second-level cache
_MULTIPLIERS: Final = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_KEY_STEPS: Final = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)
_LOW: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)


def philox_4x32(counter: Words, key: Words) -> Words:
    """The blocks of counters (4, n) under keys (2, 1) or (2, n): (4, n). Every entry is a word below 2**32.

    The rows that get multiplied (0 and 2) and the others (1 and 3) live in two (2, n) arrays, so a round is
    five NumPy calls: the products, turned upside down, give the next multiplied rows from their upper halves
    and the next other rows from their lower ones. The lower ones are cut to 32 bits a round later, together
    with the sum of the upper ones.
    """
    multiplied = counter[0::2].copy()
    others = counter[1::2].copy()
    products = np.empty_like(others)
    for _ in range(ROUNDS):
        np.multiply(multiplied, _MULTIPLIERS, out=products)
        np.right_shift(products[::-1], _HALF, out=multiplied)
        np.bitwise_xor(multiplied, others, out=multiplied)
        np.bitwise_xor(multiplied, key, out=multiplied)
        np.bitwise_and(multiplied, _LOW, out=multiplied)
        # The products become the other rows, in their new order, and the old ones scratch.
        products, others = others, products[::-1]
        key = key + _KEY_STEPS  # carries past 32 bits are cut with everything else
    blocks = np.empty_like(counter)
    blocks[0::2] = multiplied
    np.bitwise_and(others, _LOW, out=blocks[1::2])
    return blocks


def philox(index: Any, offset: Any, seed_low: Any, seed_high: Any, out: NDArray[np.int32]) -> None:
    """Word ``index & 3`` of block ``(index >> 2, offset, 0, 0)`` under the key ``(seed_low, seed_high)``.

    All operands are int32 and broadcast to ``out`` (int32, any shape). Element numbers that count up from a
    multiple of 4 in one row, as the driver's blocks do, take one block for four values; any others take one
    block each.
    """
    index = np.asarray(index)
    single = all(np.size(a) == 1 for a in (offset, seed_low, seed_high))
    if single and index.size == out.size and out.flags.c_contiguous and _counts_up_by_blocks(index):
        _fill_run(int(index.flat[0]), _word(offset), _key(seed_low, seed_high), out.reshape(-1))
    else:
        _fill_any(index, offset, seed_low, seed_high, out)


def _word(values: Any) -> Words:
    """The bits of int32 values, widened."""
    return np.asarray(values, np.int32).reshape(-1).view(np.uint32).astype(np.uint64)


def _key(low: Any, high: Any) -> Words:
    return np.stack((_word(low), _word(high)))


def _counts_up_by_blocks(index: NDArray[np.int32]) -> bool:
    """Whether the values in row-major order are 4k, 4k + 1, ... without a gap, from 0 or more."""
    if index.size < 4 or not index.flags.c_contiguous:
        return False
    flat = index.reshape(-1)
    first = int(flat[0])
    if first < 0 or first % 4 or int(flat[-1]) - first != flat.size - 1:
        return False
    return bool(np.array_equal(flat, np.arange(first, first + flat.size, dtype=np.int32)))


def _fill_run(first: int, offset: Words, key: Words, out: NDArray[np.int32]) -> None:
    step = 4 * BLOCKS_PER_CHUNK
    for start in range(0, out.size, step):
        part = out[start : start + step]
        count = -(-part.size // 4)
        counter = np.zeros((4, count), np.uint64)
        block = (first + start) >> 2
        counter[0] = np.arange(block, block + count, dtype=np.uint64)
        counter[1] = offset
        words = philox_4x32(counter, key)
        whole = part.size // 4
        part[: 4 * whole].view(np.uint32).reshape(whole, 4)[...] = words[:, :whole].T
        part[4 * whole :].view(np.uint32)[...] = words[: part.size % 4, -1]


def _fill_any(index: Any, offset: Any, seed_low: Any, seed_high: Any, out: NDArray[np.int32]) -> None:
    given = (index, offset, seed_low, seed_high)
    operands = [np.broadcast_to(np.asarray(a, np.int32), out.shape) for a in given]
    result = np.empty(out.size, np.uint32)
    for start in range(0, out.size, BLOCKS_PER_CHUNK):
        picked = slice(start, start + BLOCKS_PER_CHUNK)
        numbers, offsets, low, high = (a.flat[picked] for a in operands)
        counter = np.zeros((4, numbers.size), np.uint64)
        counter[0] = _word(numbers >> 2)
        counter[1] = _word(offsets)
        words = philox_4x32(counter, _key(low, high))
        result[picked] = np.take_along_axis(words, (numbers & 3)[None].astype(np.intp), axis=0)[0]
    np.copyto(out, result.view(np.int32).reshape(out.shape))
