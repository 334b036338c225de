"""int64 on devices that compute in it and on those that only store it: made, filled, copied and joined without losing a bit."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

pytestmark = pytest.mark.every_driver

WIDE = [[2**40 + 1, -1, 5], [1, 2**63 - 1, -(2**63)]]


def test_constants(device: str) -> None:
    for value in (0, 1, -1, 2**31, -(2**40) - 7, 2**63 - 1):
        assert_close(rt.full((2, 3), value, dtype=rt.int64, device=device), torch.full((2, 3), value))
    x = rt.tensor(WIDE, device=device)
    assert_close(rt.zeros_like(x), torch.zeros(2, 3, dtype=torch.int64))
    assert_close(x.new_full((2,), 2**50), torch.full((2,), 2**50))
    assert rt.ones(0, 3, dtype=rt.int64, device=device).tolist() == []
    with pytest.raises(OverflowError):
        rt.full((2,), 2**63, dtype=rt.int64, device=device).numpy()


def test_arange(device: str) -> None:
    assert_close(rt.arange(2, 20, 3, device=device), torch.arange(2, 20, 3))
    assert_close(rt.arange(5, -5, -2, device=device), torch.arange(5, -5, -2))


def test_copies(device: str) -> None:
    x, y = rt.tensor(WIDE, device=device), torch.tensor(WIDE)
    assert_close(x.clone(), y)
    assert_close(x.T.contiguous(), y.T)
    assert_close(x[:, 1:].reshape(-1), y[:, 1:].reshape(-1))
    assert_close(rt.cat([x, x[:1]]), torch.cat([y, y[:1]]))
    assert_close(rt.stack([x, x], 1), torch.stack([y, y], 1))
    assert_close(x.expand(2, 2, 3).clone(), y.expand(2, 2, 3))
    assert_close(x[None, :, None, :, None, None, None].clone(), y[None, :, None, :, None, None, None])
    assert_close(x.roll(1), y.roll(1))


def test_writing(device: str) -> None:
    x, y = rt.tensor(WIDE, device=device), torch.tensor(WIDE)
    for t in (x, y):
        t[0] = 7
        t[:, 1].fill_(-3)
        t[1:, ::2] = t[1:, ::2].clone()
    x[0, 0].copy_(rt.tensor(2**45, device=device))
    y[0, 0].copy_(torch.tensor(2**45))
    assert_close(x, y)
    before = x.storage.version
    x.zero_()
    assert x.storage.version == before + 1
    assert x.tolist() == [[0, 0, 0]] * 2


LOOKUPS: dict[str, Callable[[rt.Tensor, rt.Tensor], rt.Tensor]] = {
    "x[...] along dimension 0": lambda x, i: x[i],
    "index_select": lambda x, i: x.index_select(0, i),
    "gather": lambda x, i: x.gather(0, i),
    "take": rt.take,
    "embedding": lambda x, i: rt.nn.functional.embedding(i, x.reshape(5, 1)),
}


@pytest.mark.parametrize("name", LOOKUPS)
@pytest.mark.parametrize("index", [(1 << 32) + 1, 1 << 31, (1 << 63) - 1, -(1 << 31) - 1, 1 - (1 << 32), -(1 << 63)])
def test_indices_that_32_bits_do_not_hold(name: str, index: int, device: str) -> None:
    """Their low halves may be good indices: they are out of range all the same, whether the device computes in int64 or not."""
    x = rt.arange(5, dtype=rt.float32, device=device)
    places = rt.tensor([[0, 7], [index, 7], [4, 7]], device=device)[:, 0]
    found = LOOKUPS[name](x, places)
    with pytest.raises(IndexError, match=rf"{re.escape(name)}: index -?2147483\d+ is out of range"):
        found.numpy()
    places = rt.tensor([[0, 7], [3, 7], [4, 7]], device=device)[:, 0]
    assert LOOKUPS[name](x, places).reshape(-1).tolist() == [0, 3, 4]
