"""Promotion is PyTorch's, for every pair of dtypes and every combination of tensor, 0-d tensor and number."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import rasptorch as rt
from rasptorch.ops.dispatch import result_dtype
from rasptorch.runtime import dtype as dt

from .values import TORCH


@pytest.mark.parametrize(("a", "b"), list(itertools.product(TORCH, TORCH)))
def test_the_table(a: str, b: str) -> None:
    expected = str(torch.promote_types(TORCH[a], TORCH[b])).removeprefix("torch.")
    assert dt.promote(dt.BY_NAME[a], dt.BY_NAME[b]).name == expected


def operands(dtype: str) -> list[tuple[Any, Any]]:
    """A tensor, a 0-d tensor, and the Python number of that category."""
    number = {"bool": True, "float32": 1.5, "int64": 2}.get(dtype)
    made: list[tuple[Any, Any]] = [(rt.ones(shape, dtype=dtype), torch.ones(shape, dtype=TORCH[dtype])) for shape in ((2,), ())]
    return made if number is None else [*made, (number, number)]


@pytest.mark.parametrize(("a", "b"), list(itertools.product(TORCH, TORCH)))
def test_two_operands(a: str, b: str) -> None:
    for (x, y), (v, w) in itertools.product(operands(a), operands(b)):
        if not isinstance(x, rt.Tensor) and not isinstance(v, rt.Tensor):
            continue
        expected = str(torch.result_type(y, w)).removeprefix("torch.")
        kinds = [o.layout if isinstance(o, rt.Tensor) else o for o in (x, v)]
        assert result_dtype(kinds).name == expected, (x, v)
        assert rt.maximum(x, v).dtype.name == expected


@pytest.mark.parametrize(("a", "b"), list(itertools.product(TORCH, TORCH)))
def test_three_operands(a: str, b: str) -> None:
    """`where` promotes what it chooses from; the condition does not count."""
    for (x, y), (v, w) in itertools.product(operands(a), operands(b)):
        if isinstance(x, rt.Tensor) and isinstance(v, rt.Tensor):
            ours = rt.where(rt.ones(2, dtype="bool"), x, v)
            theirs = torch.where(torch.ones(2, dtype=torch.bool), y, w)
            assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
