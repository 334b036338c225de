"""Whole random numbers, normal ones of given means, tensors made after others, logarithmic scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import TORCH


@pytest.mark.every_driver
@pytest.mark.parametrize(("low", "high"), [(0, 10), (-5, 5), (0, 1), (2**31 - 3, 2**31), (-(2**31), -(2**31) + 2), (0, 2**31 - 1)])
def test_randint_is_the_same_everywhere(low: int, high: int, device: str) -> None:
    found = rt.randint(low, high, (500,), generator=rt.Generator(3), device=device)
    assert found.dtype is rt.int64 and found.shape == (500,)
    values = found.numpy()
    assert values.min() >= low and values.max() < high
    assert np.array_equal(values, rt.randint(low, high, (500,), generator=rt.Generator(3)).numpy())


def test_randint_is_uniform(device: str) -> None:
    values = rt.randint(7, (70_000,), generator=rt.Generator(1), device=device).numpy()
    counts = np.bincount(values, minlength=7)
    assert len(counts) == 7
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 30, "6 degrees of freedom: 30 is beyond 1 in 10,000"


def test_wide_ranges(device: str) -> None:
    low, high = -(2**62), 2**62 - 1
    values = rt.randint(low, high, (2000,), generator=rt.Generator(5), device=device).numpy()
    assert values.min() < low + 2**54 and values.max() > high - 2**54
    assert abs(values.astype(np.float64).mean()) < 2**58 and len(np.unique(values & 0xFFFF)) > 1500
    assert values.min() >= low and values.max() < high


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float32", "float64"])
def test_randint_dtypes(dtype: str) -> None:
    x = rt.randint(3, 9, (100,), dtype=dtype, generator=rt.Generator(0))
    assert x.dtype.name == dtype and set(x.numpy().tolist()) == {3, 4, 5, 6, 7, 8}
    like = rt.randint_like(x, 4)
    assert like.layout is x.layout and set(like.numpy().tolist()) <= {0, 1, 2, 3}
    assert rt.randint_like(x, 2, 4, dtype="int32").dtype is rt.int32


def test_randint_spellings() -> None:
    for found in (rt.randint(5, (2, 3)), rt.randint(0, 5, (2, 3)), rt.randint(5, size=(2, 3)), rt.randint(low=1, high=5, size=[2, 3])):
        assert found.shape == (2, 3)
    assert rt.randint(5, ()).shape == () and rt.randint(5, (0,)).shape == (0,)
    assert rt.randint(2, (3,), dtype="float32", requires_grad=True).requires_grad


def test_normal(device: str) -> None:
    mean = rt.tensor([[-5.0], [100.0]], device=device).expand(2, 20_000)
    x = rt.normal(mean, rt.tensor([[0.5], [3.0]], device=device), generator=rt.Generator(2)).numpy().astype(np.float64)
    assert abs(x.mean(1) - [-5, 100]).max() < 0.1 and abs(x.std(1) / [0.5, 3] - 1).max() < 0.02
    y = rt.normal(2.0, 3.0, (20_000,), generator=rt.Generator(1), device=device).numpy()
    assert abs(y.mean() - 2) < 0.1 and abs(y.std() - 3) < 0.1
    z = rt.normal(mean[:, :5], 0.0)
    assert z.tolist() == mean[:, :5].tolist() and z.device is mean.device
    assert rt.normal(0.0, rt.ones(3, dtype="float64")).dtype is rt.float64
    assert not rt.normal(rt.zeros(2, requires_grad=True), 1.0).requires_grad
    assert rt.normal(0, 1, (2,), requires_grad=True, dtype="float16").dtype is rt.float16


@pytest.mark.parametrize("dtype", TORCH)
def test_new_tensors(dtype: str, device: str) -> None:
    x, y = rt.empty(0, dtype=dtype, device=device), torch.empty(0, dtype=TORCH[dtype])
    runs: list[Any] = [
        lambda t: t.new_zeros(2, 3), lambda t: t.new_ones((2,)), lambda t: t.new_full((2, 1), 1), lambda t: t.new_full((), True),
        lambda t: t.new_tensor([[1, 0]]), lambda t: t.new_empty(3, 0), lambda t: t.new_zeros(()),
    ]  # fmt: skip
    for run in runs:
        found = run(x)
        assert_close(found, run(y))
        assert found.device is x.device
    assert x.new_zeros(2, dtype="int32", device="cpu").dtype is rt.int32
    assert rt.empty(0).new_ones(2, requires_grad=True).requires_grad


def test_logspace(device: str) -> None:
    for bounds in ((0, 2, 3), (-2.5, 2.5, 7), (3, 1, 2), (1, 2, 1), (1, 2, 0), (0, 10, 11, 2.0)):
        assert_close(rt.logspace(*bounds, device=device), torch.logspace(*bounds))
    assert_close(rt.logspace(0, 2, 3, dtype="int32"), torch.logspace(0, 2, 3, dtype=torch.int32))
    assert rt.logspace(0, 1, 2, requires_grad=True).requires_grad


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: rt.randint(3, 3, (2,)), ValueError, "^randint: low must be below high, got low=3 and high=3"),
    (lambda: rt.randint(0, 2**64, (2,)), ValueError, "^randint: from 0 to .* is more than int64 holds"),
    (lambda: rt.randint(1.5, 3, (2,)), TypeError, "^randint: bounds are whole numbers, got 1.5"),
    (lambda: rt.randint(5), TypeError, r"^randint\(low, high, size\) takes the size"),
    (lambda: rt.randint(5, (-1,)), rt.ShapeError, "^randint: sizes cannot be negative"),
    (lambda: rt.normal(0.0, -1.0, (2,)), ValueError, "^normal: a standard deviation is not negative, got -1.0"),
    (lambda: rt.normal(0.0, 1.0), TypeError, r"^normal\(mean, std, size\) takes the size"),
    (lambda: rt.normal(rt.ones(2), 1.0, (2,)), TypeError, "^normal: mean and std are tensors, which give the size"),
    (lambda: rt.normal(rt.ones(2, dtype="int32"), 1.0), rt.DTypeError, "^normal: mean is int32"),
    (lambda: rt.logspace(0, 1, -1), rt.ShapeError, "^logspace: steps cannot be negative"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run()
