"""Embeddings against PyTorch's: values, gradients of both orders, padding rows, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import nn
from rasptorch.nn import functional as F
from tests.support.compare import assert_close
from tests.support.counting import counting

from .both import array, compare

SHAPES = [(), (4,), (2, 3), (2, 0)]


def numbers(shape: tuple[int, ...], rows: int = 7) -> np.ndarray:
    return np.asarray(np.random.default_rng([3, *shape]).integers(0, rows, shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("padding", [None, 2, -1])
def test_function(shape: tuple[int, ...], padding: int | None, device: str) -> None:
    index = numbers(shape)
    ours = rt.tensor(index, device=device)
    compare(
        device, lambda w: F.embedding(ours, w * w, padding), lambda w: torch.nn.functional.embedding(torch.tensor(index), w * w, padding),
        array(7, 4),
    )  # fmt: skip


def test_module(device: str) -> None:
    layer, theirs = nn.Embedding(7, 4, padding_idx=-2, device=device), torch.nn.Embedding(7, 4, padding_idx=-2)
    assert layer.weight[5].tolist() == [0.0] * 4 and layer.padding_idx == theirs.padding_idx == 5
    assert repr(layer) == repr(theirs) and repr(nn.Embedding(3, 2)) == repr(torch.nn.Embedding(3, 2))
    layer.load_state_dict(theirs.state_dict())
    index = np.array([[5, 1], [1, 0]])
    for dtype in ("int64", "int32", "uint8"):
        layer.weight.grad = theirs.weight.grad = None
        out = nn.Sequential(layer)(rt.tensor(index, dtype=dtype, device=device))
        expected = theirs(torch.tensor(index))
        assert_close(out, expected)
        (out * out).sum().backward()
        (expected * expected).sum().backward()
        assert_close(layer.weight.grad, theirs.weight.grad)
        assert layer.weight.grad[5].tolist() == [0.0] * 4


def test_starts_normal() -> None:
    rt.manual_seed(0)
    values = nn.Embedding(200, 100).weight.detach().numpy()
    assert abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02
    rt.manual_seed(0)
    assert np.array_equal(nn.Embedding(200, 100).weight.detach().numpy(), values)


def test_from_pretrained(device: str) -> None:
    table = rt.tensor(array(4, 3), device=device)
    frozen = nn.Embedding.from_pretrained(table)
    assert not frozen.weight.requires_grad and (frozen.num_embeddings, frozen.embedding_dim) == (4, 3)
    assert frozen.weight.storage is table.storage
    assert nn.Embedding.from_pretrained(table, freeze=False, padding_idx=1).weight.requires_grad
    assert_close(frozen(rt.tensor([3], device=device)), table[3:])
    with pytest.raises(rt.ShapeError, match=r"^Embedding.from_pretrained: embeddings are \[rows, columns\], got shape \[3\]"):
        nn.Embedding.from_pretrained(table[0])


@pytest.mark.fresh
def test_dispatches(device: str) -> None:
    """Forward: the check and the rows. The rows fuse with what follows."""
    layer = nn.Embedding(100, 8, device=device)
    index = rt.tensor(numbers((5, 6), 100), device=device)
    rt.synchronize(device)
    with counting(device) as n:
        kept = layer(index) * 2.0
        rt.synchronize(device)
    assert n.dispatches == 2 and kept.shape == (5, 6, 8)


def test_trains(device: str) -> None:
    rt.manual_seed(1)
    layer = nn.Embedding(6, 2, padding_idx=0, device=device)
    index, target = rt.tensor([1, 2, 0, 5, 2], device=device), rt.tensor(array(5, 2), device=device)
    optimizer = rt.optim.SGD(layer.parameters(), lr=0.5)
    before = layer.weight.detach().numpy().copy()
    for _ in range(3):
        optimizer.zero_grad()
        ((layer(index) - target) ** 2).sum().backward()
        optimizer.step()
    after = layer.weight.detach().numpy()
    changed = (before != after).any(axis=1)
    assert changed.tolist() == [False, True, True, False, False, True]


def test_errors(device: str) -> None:
    weight, index = rt.ones(3, 2, device=device), rt.tensor([0], device=device)
    out = F.embedding(rt.tensor([1, 3], device=device), weight)
    with pytest.raises(IndexError, match="^embedding: index 3 is out of range; indices go from 0 to 2"):
        out.numpy()
    with pytest.raises(NotImplementedError, match="^embedding: max_norm "):
        nn.Embedding(3, 2, max_norm=1.0)
    with pytest.raises(NotImplementedError, match="^embedding: there are no sparse gradients"):
        F.embedding(index, weight, sparse=True)
    with pytest.raises(NotImplementedError, match="^embedding: scale_grad_by_freq"):
        F.embedding(index, weight, scale_grad_by_freq=True)
    with pytest.raises(rt.DTypeError, match="^embedding: input are row numbers .* got float32"):
        F.embedding(weight, weight)
    with pytest.raises(rt.ShapeError, match=r"^embedding: weight is \[rows, columns\], got shape \[2\]"):
        F.embedding(index, weight[0])
    with pytest.raises(rt.ShapeError, match="^embedding: padding_idx 3 is none of 3 rows"):
        nn.Embedding(3, 2, padding_idx=3)
