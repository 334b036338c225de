"""Random index expressions, as plain Python with NumPy arrays for tensors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

import rasptorch as rt

SHAPES = [(), (3,), (2, 3), (1,), (2, 1)]


def _array(r: random.Random, shape: tuple[int, ...], n: int) -> Any:
    return np.array([r.randint(-n, n - 1) for _ in range(int(np.prod(shape)))], np.int64).reshape(shape)


def _slice(r: random.Random, n: int) -> slice:
    ends = [r.randint(-n - 1, n + 1) if r.random() < 0.8 else None for _ in range(2)]
    return slice(*ends, r.choice([None, 1, 2, 3]))


def expression(r: random.Random, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """An index into ``shape``: integers, slices, None, ..., booleans, masks and arrays that stretch to one shape."""
    out: list[Any] = []
    axis, wide = 0, r.choice(SHAPES)
    while axis < len(shape) and r.random() < 0.9:
        n, kind = shape[axis], r.random()
        if kind < 0.2:
            out.append(_slice(r, n))
            axis += 1
        elif kind < 0.35:
            out.append(r.randint(-n, n - 1))
            axis += 1
        elif kind < 0.45:
            out.append(None)
        elif kind < 0.52 and ... not in [e for e in out if e is ...]:
            out.append(...)
            axis = len(shape) if r.random() < 0.5 else axis
        elif kind < 0.6:
            ranks = r.randint(1, min(2, len(shape) - axis))
            whole = shape[axis : axis + ranks]
            out.append(np.array([r.random() < 0.5 for _ in range(int(np.prod(whole)))]).reshape(whole))
            axis += ranks
        elif kind < 0.63:
            out.append(r.random() < 0.7)
        else:
            part = tuple(r.choice([n, 1]) for n in wide[r.randint(0, len(wide)) :])
            out.append(_array(r, part, n))
            axis += 1
    return tuple(out)


def tensors(index: tuple[Any, ...], m: Any, device: str) -> tuple[Any, ...]:
    """The arrays of an expression as tensors of one of the libraries."""

    def one(entry: Any) -> Any:
        if not isinstance(entry, np.ndarray):
            return entry
        return rt.tensor(entry, device=device) if m is rt else torch.tensor(entry)

    return tuple(one(entry) for entry in index)
