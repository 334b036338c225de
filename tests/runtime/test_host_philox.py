"""Philox on the host driver: published vectors, the paper's definition in Python, runs and single values."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rasptorch.runtime import dtype as dtypes
from rasptorch.runtime.host.functions import function
from rasptorch.runtime.host.philox import philox_4x32

Array = np.ndarray[Any, np.dtype[Any]]


def compute(index: Array, *scalars: Any) -> Array:
    out = np.full(index.shape, 77, np.int32)
    function("philox", dtypes.int32, dtypes.int32)(index, *scalars, out)
    return out


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers published with the Random123 library
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_answers(counter: str, key: str, expected: str) -> None:
    def words(text: str) -> Array:
        return np.array([[int(word, 16)] for word in text.split()], np.uint64)

    for copies in (1, 5):
        got = philox_4x32(np.repeat(words(counter), copies, axis=1), words(key))
        np.testing.assert_array_equal(got, np.repeat(words(expected), copies, axis=1))


def philox_by_the_paper(index: int, offset: int, seed_low: int, seed_high: int) -> int:
    """One value with Python's integers, written from the paper's description of a round."""
    mask = 0xFFFFFFFF
    c = [(index >> 2) & mask, offset & mask, 0, 0]
    key = [seed_low & mask, seed_high & mask]
    for _ in range(10):
        first, second = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(second >> 32) ^ c[1] ^ key[0], second & mask, (first >> 32) ^ c[3] ^ key[1], first & mask]
        key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
    word = c[index & 3]
    return word - 2**32 if word >> 31 else word


def test_philox_of_any_operands() -> None:
    indices = (0, 1, 2, 3, 4, 7, 1001, 2**31 - 1)
    words = (0, 1, -1, 2**31 - 1, -(2**31))
    rows = list(itertools.product(indices, words, words, words))
    operands = np.array(rows, np.int32).T
    assert compute(*operands).tolist() == [philox_by_the_paper(*row) for row in rows]


@pytest.mark.parametrize("start", [0, 4, 5, 2**20 + 3, 2**20 + 4, 2**31 - 1 - 40_000])
@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 1023, 40_000])
def test_philox_of_runs_is_the_same(start: int, count: int) -> None:
    index = np.arange(start, start + count, dtype=np.int32)
    scalars = np.int32(-5), np.array(1234567), np.array([-(2**31)], np.int32)
    got = compute(index, *scalars)
    backwards = compute(index[::-1], *scalars)[::-1]
    np.testing.assert_array_equal(got, backwards)
    for element in {0, count // 2, count - 1}:
        assert got[element] == philox_by_the_paper(start + element, -5, 1234567, -(2**31))
    aliased = index.copy()
    function("philox", dtypes.int32, dtypes.int32)(aliased, *scalars, aliased)
    np.testing.assert_array_equal(aliased, got)
    square = np.zeros((count, 2), np.int32)[:, :1]
    function("philox", dtypes.int32, dtypes.int32)(index[:, None], *scalars, square)
    np.testing.assert_array_equal(square[:, 0], got)


def test_philox_of_almost_a_run() -> None:
    index = np.arange(4096, dtype=np.int32)
    index[[100, 101]] = index[[101, 100]]  # the ends still fit
    got = compute(index, np.int32(1), np.int32(2), np.int32(3))
    assert got[100] == philox_by_the_paper(101, 1, 2, 3)


def unit_uniform(bits: Array) -> Array:
    out = np.full(bits.shape, 77, np.float32)
    function("unit_uniform", dtypes.int32, dtypes.float32)(bits, out)
    return out


def test_unit_uniform() -> None:
    bits = np.array([0, 255, 256, 2**31 - 1, -(2**31), -1, -256], np.int32)
    expected = [(b % 2**32 >> 8) / 2**24 for b in bits.tolist()]
    got = unit_uniform(bits)
    assert got.tolist() == expected
    assert got.min() >= 0
    assert got.max() < 1


def test_uniform_numbers_are_spread_evenly() -> None:
    index = np.arange(1 << 16, dtype=np.int32)
    bits = compute(index, np.int32(0), np.int32(42), np.int32(0))
    numbers = unit_uniform(bits).astype(np.float64)
    counts, _ = np.histogram(numbers, bins=64, range=(0, 1))
    chi_square = ((counts - 1024.0) ** 2 / 1024).sum()
    assert 25 < chi_square < 120  # 63 degrees of freedom: outside with a probability below 1e-5
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02
