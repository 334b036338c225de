"""Tensors made after another one, and numbers that are evenly spaced on a logarithmic scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.errors import ShapeError
from ..tensor import Tensor
from .creation import empty, floating, full, shape_of, tensor
from .outputs import makes_out


def _as(x: Tensor, dtype: Any, device: Any) -> dict[str, Any]:
    return {"dtype": x.dtype if dtype is None else dtype, "device": x.device if device is None else device}


def new_full(
    x: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of one value, of ``x``'s dtype and on its device unless told otherwise."""
    return full(shape_of("new_full", (size,)), fill_value, requires_grad=requires_grad, **_as(x, dtype, device))


def new_zeros(x: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of ``x``'s dtype and on its device unless told otherwise."""
    return full(shape_of("new_zeros", size), 0, requires_grad=requires_grad, **_as(x, dtype, device))


def new_ones(x: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of ``x``'s dtype and on its device unless told otherwise."""
    return full(shape_of("new_ones", size), 1, requires_grad=requires_grad, **_as(x, dtype, device))


def new_empty(x: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ``x``'s dtype, on its device, whose values are whatever the memory holds."""
    return empty(shape_of("new_empty", size), requires_grad=requires_grad, **_as(x, dtype, device))


def new_tensor(x: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A copy of ``data`` in ``x``'s dtype and on its device unless told otherwise."""
    return tensor(data, requires_grad=requires_grad, **_as(x, dtype, device))


@makes_out
def logspace(
    start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, out: Any = None,
) -> Tensor:  # fmt: skip
    """``steps`` values from ``base**start`` to ``base**end``, each the same multiple of the one before."""
    if steps < 0:
        raise ShapeError(f"logspace: steps cannot be negative, got {steps}")
    made = tensor(np.logspace(start, end, steps, base=base), dtype=floating(dtype), device=device)
    return made.requires_grad_() if requires_grad else made
