"""The same values as a tensor of ours and as one of PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import rasptorch as rt

NAN, INF = float("nan"), float("inf")

TORCH = {
    "bool": torch.bool,
    "uint8": torch.uint8,
    "int32": torch.int32,
    "int64": torch.int64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("uint8", "int32", "int64")

# What floating-point operations have to get right apart from ordinary numbers.
SPECIAL = [
    *(NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-30, -1e-30, 1e30, 3e38, -3e38),
    *(100.0, -100.0, 88.5, 20.0, -20.0, 3.0, 0.3, -0.9, 1e-4, -1e-4),
]  # fmt: skip
WHOLE = {
    "bool": [False, True],
    "uint8": [0, 1, 2, 3, 7, 200, 255],
    "int32": [0, 1, -1, 2, -2, 7, -7, 100, 2**31 - 1, -(2**31)],
    "int64": [0, 1, -1, 2, -2, 7, -7, 2**53 + 1, 2**63 - 1, -(2**63)],
}

Pair = tuple[rt.Tensor, torch.Tensor]


def special(dtype: str) -> list[Any]:
    """Values of ``dtype`` that are worth a test."""
    return list(WHOLE[dtype]) if dtype in WHOLE else list(SPECIAL)


def pair(values: Any, dtype: str = "float32", device: str = "cpu") -> Pair:
    """``values`` (nested lists, or an array) in both libraries."""
    theirs = torch.tensor(values, dtype=TORCH[dtype])
    source = theirs.float() if dtype == "bfloat16" else theirs
    return rt.tensor(source.numpy(), dtype=dtype, device=device), theirs


def random(shape: Sequence[int], dtype: str = "float32", device: str = "cpu", low: float = -2.0, high: float = 2.0, seed: int = 0) -> Pair:
    """Random values: uniform between ``low`` and ``high`` for floats, small whole numbers for integers."""
    generator = np.random.default_rng([seed, *shape])
    if dtype in FLOATS:
        return pair(generator.uniform(low, high, tuple(shape)), dtype, device)
    return pair(generator.integers(0, 2 if dtype == "bool" else 5, tuple(shape)), dtype, device)


# Ways for a tensor to lie in memory; each takes a tensor of either library of shape [4, 6] or larger.
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(0, 1),
    "stepped": lambda x: x[1::2, ::3],
    "offset": lambda x: x[1:, 2:5],
    "expanded": lambda x: x[:, :1].expand(x.shape[0], 5),
    "column": lambda x: x[:, 3],
    "0-d": lambda x: x[1, 2],
    "empty": lambda x: x[:0],
    "new axes": lambda x: x[None, :, None],
}
