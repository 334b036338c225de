"""Datasets and samplers: which items, in which order, and that a seed decides it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import data


class Squares(data.Dataset[int]):
    def __init__(self, n: int) -> None:
        self.n = n

    def __getitem__(self, index: int) -> int:
        if index >= self.n:
            raise IndexError(index)
        return index * index

    def __len__(self) -> int:
        return self.n


def test_tensor_dataset(device: str) -> None:
    x = rt.arange(12, dtype=rt.float32, device=device).reshape(4, 3)
    ds = data.TensorDataset(x, np.arange(4))
    x.add_(100)  # what it holds are the values at the time it was made
    assert len(ds) == 4
    row, label = ds[2]
    assert row.shape == (3,) and label == 2
    batch = ds.__getitems__([3, 0]).batch
    assert batch[0].tolist() == [[9, 10, 11], [0, 1, 2]] and batch[1].tolist() == [3, 0]


ODD = [[1.0, 3.140625], [float("inf"), -0.0], [2.0**-133, 1e38], [-5.5, 0.0]]  # bfloat16 holds most of these exactly, 1e38 rounded


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("there", ["cpu", "device"])
def test_tensors_of_bfloat16(device: str, workers: int, there: str) -> None:
    """Their batches have the same bits, by whatever way they come."""
    x = rt.tensor(ODD, dtype=rt.bfloat16, device=device if there == "device" else "cpu")
    ds = data.TensorDataset(x, np.arange(4))
    order = [3, 1, 0, 2]
    expected = torch.tensor(ODD).bfloat16()[order].view(torch.int16).tolist()

    def bits(loader: data.DataLoader) -> list[object]:
        found = [inputs for inputs, _ in loader]
        assert all(part.dtype is rt.bfloat16 and str(part.device) == device for part in found)
        return torch.tensor(rt.cat(found).tolist()).bfloat16().view(torch.int16).tolist()  # type: ignore[no-any-return]

    options = {"num_workers": workers, "device": device}
    assert bits(data.DataLoader(ds, 3, sampler=order, **options)) == expected
    assert bits(data.DataLoader(data.Subset(ds, order), 3, **options)) == expected
    assert bits(data.DataLoader(data.ConcatDataset([ds, ds]), 3, sampler=order, **options)) == expected  # item by item


def test_functions_of_bfloat16_batches() -> None:
    """They are given float32 arrays. What they give back in float32 is bfloat16 again, anything else is as it is."""
    ds = data.TensorDataset(rt.tensor([[0.5], [1.5], [2.5]], dtype=rt.bfloat16), rt.tensor([1.0, 0.0, 2.0], dtype=rt.bfloat16))
    options = {"transform": lambda a: a + np.float32(0.001), "target_transform": lambda a: a.astype(np.int64)}
    ((x, y),) = data.DataLoader(ds, 3, **options)
    assert x.dtype is rt.bfloat16 and x.tolist() == [[0.5], [1.5], [2.5]]
    assert y.dtype is rt.int64 and y.tolist() == [1, 0, 2]
    (own,) = data.DataLoader(ds, 3, collate_fn=lambda items: np.stack([row for row, _ in items]))
    assert own.dtype is rt.float32 and own.tolist() == [[0.5], [1.5], [2.5]]


def test_tensor_dataset_refuses() -> None:
    with pytest.raises(data.DataError, match=r"equal length are needed, got \[2, 3\]"):
        data.TensorDataset(np.zeros(2), np.zeros(3))
    with pytest.raises(data.DataError, match="at least one"):
        data.TensorDataset()
    with pytest.raises(data.DataError, match="0-d"):
        data.TensorDataset(np.float32(1))


def test_subset_and_concat() -> None:
    ds = data.ConcatDataset([Squares(3), data.Subset(Squares(10), [9, 8]), Squares(1)])
    assert [ds[k] for k in range(len(ds))] == [0, 1, 4, 81, 64, 0]
    assert ds[-2] == 64
    assert len(Squares(2) + Squares(3)) == 5
    with pytest.raises(IndexError, match="item 6 of a dataset of 6"):
        ds[6]
    with pytest.raises(data.DataError, match="at least one"):
        data.ConcatDataset([])


def test_random_split() -> None:
    parts = data.random_split(Squares(10), [7, 3], rt.Generator(5))
    again = data.random_split(Squares(10), [0.7, 0.3], rt.Generator(5))
    assert [p.indices for p in parts] == [p.indices for p in again]
    assert sorted(k for p in parts for k in p.indices) == list(range(10))
    assert [len(p) for p in data.random_split(Squares(10), [1 / 3, 1 / 3, 1 / 3])] == [4, 3, 3]
    with pytest.raises(data.DataError, match="add up to the dataset's 10 items"):
        data.random_split(Squares(10), [5, 4])
    with pytest.raises(data.DataError, match="add up to 1"):
        data.random_split(Squares(10), [0.5, 0.4])


def test_random_sampler() -> None:
    sampler = data.RandomSampler(Squares(50), generator=rt.Generator(1))
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50)) and first != second
    assert list(data.RandomSampler(Squares(50), generator=rt.Generator(1))) == first
    assert len(list(data.RandomSampler(Squares(3), num_samples=8, generator=rt.Generator(1)))) == 8
    drawn = list(data.RandomSampler(Squares(4), replacement=True, num_samples=4000, generator=rt.Generator(1)))
    assert all(900 < n < 1100 for n in Counter(drawn).values()) and set(drawn) == set(range(4))
    with pytest.raises(data.DataError, match="empty"):
        list(data.RandomSampler(Squares(0), num_samples=1))
    assert list(data.RandomSampler(Squares(0))) == []


def test_manual_seed_decides_without_a_generator() -> None:
    rt.manual_seed(3)
    first = list(data.RandomSampler(Squares(20)))
    rt.manual_seed(3)
    assert list(data.RandomSampler(Squares(20))) == first


def test_every_place_is_as_likely() -> None:
    generator = rt.Generator(0)
    seen = np.zeros((5, 5))
    for _ in range(2000):
        for place, item in enumerate(data.RandomSampler(Squares(5), generator=generator)):
            seen[place, item] += 1
    assert abs(seen / 2000 - 0.2).max() < 0.04


def test_weighted_sampler() -> None:
    weights = [1.0, 0.0, 3.0, 0.0]
    drawn = Counter(data.WeightedRandomSampler(weights, 4000, generator=rt.Generator(2)))
    assert set(drawn) == {0, 2} and 0.7 < drawn[2] / 4000 < 0.8
    assert sorted(data.WeightedRandomSampler(weights, 2, replacement=False, generator=rt.Generator(2))) == [0, 2]
    firsts = Counter(next(iter(data.WeightedRandomSampler(weights, 1, False, rt.Generator(k)))) for k in range(1000))
    assert set(firsts) == {0, 2} and 0.7 < firsts[2] / 1000 < 0.8
    for bad in ([], [-1.0], [float("nan")], [0.0]):
        with pytest.raises(data.DataError, match="WeightedRandomSampler"):
            data.WeightedRandomSampler(bad, 1)
    with pytest.raises(data.DataError, match="3 samples of 2 items"):
        data.WeightedRandomSampler(weights, 3, replacement=False)


def test_batch_sampler() -> None:
    assert list(data.BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(data.BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert len(data.BatchSampler(range(5), 2, False)) == 3 and len(data.BatchSampler(range(5), 2, True)) == 2
    with pytest.raises(data.DataError, match="at least 1, got 0"):
        data.BatchSampler(range(5), 0, False)
