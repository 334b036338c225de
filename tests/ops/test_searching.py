"""Binary search, bins, unique values, permutations and samples: against PyTorch and against what they must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import trio

import rasptorch as rt
from tests.support.compare import assert_close

from .values import INF, NAN, TORCH, pair, random


@pytest.mark.every_driver
@pytest.mark.parametrize("dtype", TORCH)
def test_searchsorted(dtype: str, device: str) -> None:
    generator = np.random.default_rng(1)
    for length in (0, 1, 5, 64, 200):
        s, z = pair(np.sort(generator.integers(0, 2 if dtype == "bool" else 50, length)), dtype, device)
        x, y = pair(generator.integers(0, 2 if dtype == "bool" else 52, (3, 7)), dtype, device)
        for right in (False, True):
            if dtype == "bool":  # PyTorch has none
                expected = torch.searchsorted(z.byte(), y.byte(), right=right)
            else:
                expected = torch.searchsorted(z, y, right=right)
            assert_close(rt.searchsorted(s, x, right=right), expected)
            assert_close(rt.bucketize(x, s, right=right, out_int32=True), expected.int())


def test_rows_of_their_own(device: str) -> None:
    s, z = pair(np.sort(np.random.default_rng(0).integers(0, 9, (2, 3, 6)), -1), "float32", device)
    x, y = random((2, 3, 4), device=device, low=0, high=9)
    assert_close(rt.searchsorted(s, x, side="right"), torch.searchsorted(z, y, side="right"))
    assert_close(rt.searchsorted(s.flip(-1), x, sorter=s.flip(-1).argsort(-1)), torch.searchsorted(z, y))
    assert_close(rt.searchsorted(s, x[..., :0]), torch.searchsorted(z, y[..., :0]))
    assert_close(rt.searchsorted(s[0, 0], 4.0), torch.searchsorted(z[0, 0], 4.0))
    s, z = pair([-INF, -1.0, 0.0, 2.0, INF], device=device)
    x, y = pair([NAN, -INF, INF, -0.0, 0.0, 3.0], device=device)
    assert_close(rt.searchsorted(s, x), torch.searchsorted(z, y))


def test_membership(device: str) -> None:
    for dtype in ("float32", "int32", "int64", "uint8"):
        (x, y), (t, w) = random((4, 5), dtype, device), random((3,), dtype, device, seed=5)
        assert_close(rt.isin(x, t), torch.isin(y, w))
        assert_close(x.isin(t[:0], invert=True), torch.isin(y, w[:0], invert=True))
        assert_close(rt.isin(x, 1), torch.isin(y, 1))
    x, y = pair([NAN, 0.0, -0.0, INF], device=device)
    assert_close(rt.isin(x, x[:3]), torch.isin(y, y[:3]))


def test_bins(device: str) -> None:
    x, y = pair([0.0, 0.1, 0.5, 1.0, 1.0, 2.0, -3.0, 7.0], device=device)
    for bins, low, high in ((4, 0, 1), (3, 0, 0), (5, -2, 2), (1, 0, 0)):
        assert_close(rt.histc(x, bins, low, high), torch.histc(y, bins, low, high))
    assert_close(rt.histc(x[:1], 4), torch.histc(y[:1], 4))
    assert_close(x[:0].histc(3), y[:0].histc(3))
    number, theirs = pair(np.random.default_rng(2).integers(0, 30, 2000), "int64", device)
    weight, wanted = random((2000,), device=device, low=0, high=1)
    assert_close(number.bincount(), theirs.bincount())
    assert_close(rt.bincount(number, weight, 50), torch.bincount(theirs, wanted, 50), rtol=1e-5)
    assert_close(rt.bincount(number[:0], minlength=3), torch.bincount(theirs[:0], minlength=3))


@pytest.mark.parametrize("dtype", TORCH)
def test_unique(dtype: str, device: str) -> None:
    x, y = random((7, 30), dtype, device)
    if dtype.startswith(("float", "bfloat")):
        x, y = x.round(), y.round()
    if device != "cpu" and dtype == "float64" and not rt.device(device).driver.traits.float64:
        return
    for name in ("unique", "unique_consecutive"):
        options = {"return_inverse": True, "return_counts": True}
        for found, expected in zip(getattr(rt, name)(x, **options), getattr(torch, name)(y, **options), strict=True):
            assert_close(found, expected, what=name)
    assert_close(x.unique(), y.unique())
    assert_close(x[:0].unique(), y[:0].unique())


def _both(name: str, x: rt.Tensor, y: torch.Tensor, **options: Any) -> None:
    found = getattr(rt, name)(x, return_inverse=True, return_counts=True, **options)
    expected = getattr(torch, name)(y, return_inverse=True, return_counts=True, **options)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, rtol=0, atol=0, what=f"{name}, {options}, {tuple(y.shape)}")


@pytest.mark.every_driver
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "uint8"])
def test_unique_along_dimensions(dtype: str, device: str) -> None:
    generator = np.random.default_rng(7)
    for shape in ((20, 3), (2, 9, 2), (5,), (1, 4), (3, 1)):
        values = generator.integers(0, 2, shape) * (1 if dtype == "bool" else 3)
        for dim in range(-len(shape), len(shape)):
            x, y = pair(values, dtype, device)
            for name in ("unique", "unique_consecutive"):
                _both(name, x, y, dim=dim)
                _both(name, x.transpose(0, -1), y.transpose(0, -1), dim=dim)


def test_unique_along_dimensions_of_nothing_and_of_what_is_missing(device: str) -> None:
    x, y = (t[:0] for t in random((2, 3), device=device))
    for name in ("unique", "unique_consecutive"):
        _both(name, x, y, dim=0)
        with pytest.raises(rt.ShapeError, match=rf"^{name}: the entries of dimension 1 of shape \[0, 3\] are empty"):
            getattr(rt, name)(x, dim=1)
        with pytest.raises(rt.ShapeError, match=f"^{name}: a 0-d tensor has no dimension 0"):
            getattr(x.sum(), name)(dim=0)
        with pytest.raises(IndexError, match=f"^{name}: dimension 2 is out of range"):
            getattr(x, name)(dim=2)
    rows = rt.tensor([[0.0, float("nan")], [-0.0, 1.0], [0.0, float("nan")], [0.0, 1.0]], device=device)
    values, inverse, counts = rows.unique(return_inverse=True, return_counts=True, dim=0)
    assert (inverse.tolist(), counts.tolist()) == ([1, 0, 2, 0], [2, 1, 1])
    assert values.isnan().tolist() == [[False, False], [False, True], [False, True]]


def test_sizes_are_awaited_in_trio(device: str) -> None:
    x = rt.tensor([3, 1, 3, 2], device=device)

    async def main() -> None:
        for run, instead in (
            (lambda: rt.unique(x + 1), "unique_async"), (lambda: rt.unique_consecutive(x + 1), "unique_consecutive_async"),
            (lambda: rt.bincount(x + 1), "bincount_async"), (lambda: x.repeat_interleave(x + 1), "give output_size"),
        ):  # fmt: skip
            with pytest.raises(rt.BlockingInTrio, match=instead):
                run()
        values, counts = await rt.unique_async(x, return_counts=True)
        assert await values.tolist() == [1, 2, 3] and await counts.tolist() == [1, 1, 2]
        assert await (await rt.unique_consecutive_async(x)).tolist() == [3, 1, 3, 2]
        assert await (await rt.unique_async(x, dim=0)).tolist() == await (await rt.unique_async(x)).tolist()
        assert await (await rt.bincount_async(x)).tolist() == [0, 1, 1, 2]
        assert await x.repeat_interleave(rt.tensor([0, 2, 1, 0], device=device), output_size=3).tolist() == [1, 1, 3]

    trio.run(main)


@pytest.mark.every_driver
def test_permutations_are_the_same_everywhere(device: str) -> None:
    for n in (0, 1, 50, 5000):
        found = rt.randperm(n, generator=rt.Generator(3), device=device)
        assert found.dtype is rt.int64 and np.array_equal(np.sort(found.numpy()), np.arange(n))
        assert np.array_equal(found.numpy(), rt.randperm(n, generator=rt.Generator(3)).numpy())
    assert rt.randperm(3, dtype="int32", device=device).dtype is rt.int32


def test_permutations_are_fair() -> None:
    """All orders of three are about equally likely."""
    generator = rt.Generator(1)
    drawn = np.stack([np.asarray(rt.randperm(3, generator=generator).numpy()) for _ in range(600)])
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 6 and ((counts - 100) ** 2 / 100).sum() < 26, "5 degrees of freedom: 26 is beyond 1 in 10,000"


def test_samples(device: str) -> None:
    weights = rt.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, 2.0]], device=device)
    drawn = rt.multinomial(weights, 20_000, True, generator=rt.Generator(1)).numpy()
    shares = np.stack([np.bincount(row, minlength=3) for row in drawn]) / 20_000
    assert np.abs(shares - [[0, 0.25, 0.75], [0.5, 0, 0.5]]).max() < 0.02 and shares[0, 0] == shares[1, 1] == 0
    rows = rt.tensor([0.0, 1.0, 3.0], device=device).expand(8000, 3)
    first, second = rows.multinomial(2, generator=rt.Generator(2)).numpy().T
    assert (first != second).all() and first.min() > 0 and second.min() > 0, "what has weights comes before what has none"
    assert abs((first == 2).mean() - 0.75) < 0.03
    assert rows[0].multinomial(2).shape == (2,)


ERRORS = [
    (lambda x: rt.searchsorted(x, x[:1]), rt.ShapeError, r"^searchsorted: a sequence of shape \[2, 3\] is neither a vector"),
    (lambda x: rt.searchsorted(x[0], x.to("float16")), rt.DTypeError, "^searchsorted: the sequence is float32 and the values float16"),
    (lambda x: rt.searchsorted(x[0], x, side="up"), ValueError, "^searchsorted: side is 'left' or 'right', got 'up'"),
    (lambda x: rt.bucketize(x, x), rt.ShapeError, r"^bucketize: boundaries are a vector, got shape \[2, 3\]"),
    (lambda x: rt.bucketize(x, x[0].to("int32")), rt.DTypeError, "^bucketize: boundaries are int32 and input float32"),
    (lambda x: rt.isin(1, 2), TypeError, "^isin: at least one side is a tensor"),
    (lambda x: x.histc(0), ValueError, "^histc: bins is at least 1, got 0"),
    (lambda x: x.histc(2, 3, 1), ValueError, "^histc: min is not above max, got 3 and 1"),
    (lambda x: x.to("int32").histc(), rt.DTypeError, "^histc is not defined for int32"),
    (lambda x: x.bincount(), rt.DTypeError, "^bincount: takes a vector of whole numbers, got float32"),
    (lambda x: (x[0].to("int32") - 3).bincount(), ValueError, "^bincount: numbers are not negative, got -2"),
    (lambda x: rt.randperm(-1), rt.ShapeError, "^randperm: n is not negative"),
    (lambda x: x.multinomial(4), ValueError, "^multinomial: 4 samples of 3 entries without replacement"),
    (lambda x: x.to("int32").multinomial(1), rt.DTypeError, "^multinomial: weights are floating-point, got int32"),
    (lambda x: x[None].multinomial(1), rt.ShapeError, r"^multinomial: weights are a vector or a matrix, got shape \[1, 2, 3\]"),
    (
        lambda x: x.repeat_interleave(rt.tensor([1, 2]), 1), rt.ShapeError,
        "^repeat_interleave: 2 repeats for 3 entries along dimension 1",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3))
