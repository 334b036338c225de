"""What devices without 64-bit integers can say of int64: equal or not, and how many of them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import LAYOUTS, pair, random, special

NUMBERS = [0, 1, -1, True, 7, 2**32 + 1, -(2**32), 2**63 - 1, -(2**63)]


@pytest.mark.every_driver
@pytest.mark.parametrize("name", ["eq", "ne"])
def test_special_values(name: str, device: str) -> None:
    # Pairs that agree in one half only are among them.
    values = [*special("int64"), 2**32, 2**32 + 1, 1 - 2**32, -(2**32), 2**31, -(2**31)]
    first, second = zip(*itertools.product(values, values), strict=True)
    (a, c), (b, d) = pair(list(first), "int64", device), pair(list(second), "int64", device)
    assert_close(getattr(rt, name)(a, b), getattr(torch, name)(c, d))
    for number in NUMBERS:
        assert_close(getattr(a, name)(number), getattr(c, name)(number), what=str(number))


@pytest.mark.every_driver
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), "int64", device))
    (v, w) = random(tuple(y.shape[-1:]), "int64", device, seed=1)
    assert_close(x == v, y == w)
    assert_close(v != x, w != y)
    assert_close(x == x, y == y)


@pytest.mark.every_driver
@pytest.mark.parametrize("other", ["bool", "uint8", "int32"])
def test_other_integers(other: str, device: str) -> None:
    (x, y), (v, w) = pair([[0, 1, -1], [2, 255, 2**40]], "int64", device), pair([1, 255, 0], other, device)
    assert_close(x == v, y == w)
    assert_close(v != x, w != y)


@pytest.mark.every_driver
def test_accuracy_of_a_classifier(device: str) -> None:
    x, y = random((50, 5), device=device)
    target, wanted = random((50,), "int64", device, seed=1)
    right = x.argmax(1) == target
    assert_close(right, y.argmax(1) == wanted)
    assert_close(right.sum(), (y.argmax(1) == wanted).sum())
    assert_close((rt.max(x, 1).indices == target).float().mean(), (y.max(1).indices == wanted).float().mean())


@pytest.mark.every_driver
@pytest.mark.parametrize("dtype", ["bool", "uint8"])
def test_counts_are_int64(dtype: str, device: str) -> None:
    x, y = random((300, 7), dtype, device)
    for dim in (None, 0, 1, (0, 1)):
        for keepdim in (False, True):
            assert_close(x.sum(dim, keepdim), y.sum(dim, keepdim))
    assert_close(rt.count_nonzero(x), torch.count_nonzero(y))
    assert_close(rt.count_nonzero(x, 0), torch.count_nonzero(y, 0))


@pytest.mark.every_driver
def test_moving_needs_no_arithmetic(device: str) -> None:
    (x, y), (v, w) = random((2, 3), "int64", device), random((2, 1), "int64", device, seed=1)
    assert_close(rt.cat([x, v, x.to("int32")], 1), torch.cat([y, w, y.int()], 1))
    x[:, 1:] = v
    y[:, 1:] = w
    assert_close(x, y)


@pytest.mark.drivers("swiftshader")
def test_what_needs_arithmetic_is_refused(device: str) -> None:
    x = rt.tensor([1, 2], device=device)
    runs: list[Any] = [lambda: x + 1, lambda: x < 2, lambda: x == 1.5, lambda: x.sum(), lambda: x == rt.ones(2, device=device)]
    for run in runs:
        with pytest.raises(rt.DTypeError, match="does not compute in int64"):
            run()


def test_numbers_that_do_not_fit() -> None:
    """They wrap, as int64 does and as in PyTorch; the next number has nothing to do with it."""
    assert (rt.tensor([1, -(2**63)]) == 2**63).tolist() == (torch.tensor([1, -(2**63)]) == 2**63).tolist()
    assert (rt.tensor([5]) + (2**64 + 1)).tolist() == [6]
