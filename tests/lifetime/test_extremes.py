"""Sizes at which things break: nothing, one, and more than a device's counters were made for."""

from __future__ import annotations

import numpy as np
import pytest

import rasptorch as rt

MANY = 17_000_000  # more than 65,535 groups of 256, and more than float32 can count to by ones


@pytest.mark.every_driver
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)], ids=str)
def test_nothing(device: str, shape: tuple[int, ...]) -> None:
    x = rt.ones(*shape, device=device)
    y = (x + 1).exp() * x
    assert y.shape == shape and y.numel() == 0 and y.numpy().shape == shape
    assert x.sum().item() == 0.0 and (x * 2).tolist() == np.ones(shape).tolist()
    x.add_(1)
    assert "[]" in repr(x)
    assert x.reshape(-1).tolist() == [] and x.clone().numpy().size == 0
    assert rt.tensor(np.zeros(shape, np.float32), device=device).numpy().shape == shape


@pytest.mark.every_driver
def test_products_with_nothing(device: str) -> None:
    a, b = rt.ones(3, 0, device=device), rt.ones(0, 4, device=device)
    assert (a @ b).tolist() == [[0.0] * 4] * 3
    assert (rt.ones(0, 5, device=device) @ rt.ones(5, 2, device=device)).shape == (0, 2)
    assert a.sum(1).tolist() == [0.0] * 3 and a.sum(0).tolist() == []


@pytest.mark.every_driver
def test_one(device: str) -> None:
    x = rt.tensor(3.0, device=device)
    assert x.shape == () and x.numpy().shape == () and x.item() == 3.0 and x.tolist() == 3.0
    assert (x + 1).item() == 4.0 and x.sum().item() == 3.0 and x.reshape(1, 1).tolist() == [[3.0]]
    x.mul_(2)
    assert float(x) == 6.0
    assert (x * rt.ones(2, 2, device=device)).tolist() == [[6.0] * 2] * 2


@pytest.mark.every_driver
def test_more_groups_than_an_axis_has(device: str) -> None:
    x = rt.arange(MANY, dtype=rt.float32, device=device)
    y = x * 2 + 1
    places = [0, 1, 255, 256, 65_535 * 256 - 1, 65_535 * 256, 65_535 * 256 + 1, MANY - 1]
    for place in places:
        assert y[place].item() == np.float32(np.float32(place) * 2 + 1)
    y.fill_(1.0)
    assert y.sum().item() == MANY
    assert (y.reshape(2, MANY // 2).sum(0)[-1]).item() == 2.0
    wrong = (y.reshape(MANY // 2, 2).sum(1) != 2.0).sum()
    assert wrong.item() == 0


def test_uneven_sizes_do_not_touch_their_neighbours(device: str) -> None:
    for n in (1, 2, 3, 63, 64, 65, 255, 256, 257, 1023, 1025):
        for dtype in (rt.uint8, rt.float32):
            parts = [rt.full((n,), k, dtype=dtype, device=device) for k in range(4)]
            rt.device(device).flush()
            parts[1].add_(5)
            assert [p.tolist() for p in parts] == [[k + 5 * (k == 1)] * n for k in range(4)]
