"""Bitwise operations and shifts against PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .table import BITS, BITWISE
from .values import INTEGERS, LAYOUTS, pair, random, special

OPERATORS = {
    "&": lambda a, b: a & b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b, "<<": lambda a, b: a << b, ">>": lambda a, b: a >> b,
}  # fmt: skip
COUNTS = [0, 1, 3, 7, 8, 31, 32, 40, 63, 64, 100]


def grid(name: str, dtype: str, device: str = "cpu") -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Every pair of special values; for shifts, every special value with every count."""
    values = special(dtype)
    others = [n for n in COUNTS if dtype != "uint8" or n < 256] + ([] if dtype == "uint8" else [-1, -40]) if "shift" in name else values
    first, second = zip(*itertools.product(values, others), strict=True)
    return pair(list(first), dtype, device), pair(list(second), dtype, device)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", BITWISE)
def test_special_values(name: str, dtype: str, device: str) -> None:
    (a, c), (b, d) = grid(name, dtype, device)
    expected = getattr(torch, name)(c, d)
    assert_close(getattr(rt, name)(a, b), expected)
    assert getattr(a, name + "_")(b) is a
    assert_close(a, expected)


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
@pytest.mark.parametrize("name", BITS)
def test_one_operand(name: str, dtype: str, device: str) -> None:
    x, y = pair(special(dtype), dtype, device)
    assert_close(getattr(rt, name)(x), getattr(torch, name)(y))
    assert_close(~x, ~y)
    assert_close(getattr(x, name + "_")(), ~y)


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
@pytest.mark.parametrize("symbol", OPERATORS)
def test_operators(symbol: str, dtype: str) -> None:
    if dtype == "bool" and symbol in ("<<", ">>"):
        for name in ("bitwise_left_shift", "bitwise_right_shift"):
            with pytest.raises(rt.DTypeError, match=f"^{name} is not defined for bool"):
                getattr(rt, name)(rt.ones(2, dtype="bool"), rt.ones(2, dtype="bool"))
        return
    run = OPERATORS[symbol]
    (x, y), (v, w) = random((2, 3), dtype), random((3,), dtype, seed=1)
    assert_close(run(x, v), run(y, w))
    for number in (True, 3) if dtype != "bool" else (True, 3, False):
        assert_close(run(x, number), run(y, number))
        if symbol in ("<<", ">>") and number is True:
            continue  # PyTorch makes a tensor of booleans of the number, and shifts that
        assert_close(run(number, x), run(number, y))
    for other in ("uint8", "int64"):
        (v, w) = random((3,), other, seed=2)
        assert_close(run(x, v), run(y, w))


def test_augmented_assignment(device: str) -> None:
    x, y = random((4,), "int32", device)
    kept = x
    for a in (x, y):
        a |= 8
        a ^= 3
        a <<= 2
        a >>= 1
        a &= 14
    assert kept is x
    assert_close(x, y)


def test_booleans_have_one_bit(device: str) -> None:
    (x, y), (v, w) = pair([True, True, False, False], "bool", device), pair([True, False, True, False], "bool", device)
    for symbol in "&|^":
        assert_close(OPERATORS[symbol](x, v), OPERATORS[symbol](y, w))
    x &= v
    y &= w
    assert_close(x, y)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), "int32", device))
    assert_close((x & 5) | ~x, (y & 5) | ~y)


def test_floats_have_no_bits() -> None:
    with pytest.raises(rt.DTypeError, match="^bitwise_and is not defined for float32"):
        rt.ones(2) & 1
    with pytest.raises(rt.DTypeError, match="^bitwise_not is not defined for float32"):
        ~rt.ones(2)
    with pytest.raises(TypeError, match="unsupported operand"):
        rt.ones(2, dtype="int32") | "a"
