"""The same computation in both libraries: values, gradients and gradients of gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import rasptorch as rt
from rasptorch.autograd import grad
from tests.support.compare import assert_close

Array = NDArray[Any]


def array(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Array:
    """Uniform float32 numbers."""
    values = np.random.default_rng([seed, *shape]).uniform(low, high, shape)
    return np.asarray(values, np.float32)


def leaves(arrays: Sequence[Array], device: str) -> tuple[list[rt.Tensor], list[torch.Tensor]]:
    """Every array as a leaf of both libraries."""
    ours = [rt.tensor(a, device=device, requires_grad=True) for a in arrays]
    return ours, [torch.tensor(a, requires_grad=True) for a in arrays]


def compare(
    device: str,
    ours: Callable[..., rt.Tensor],
    theirs: Callable[..., torch.Tensor],
    *arrays: Array,
    second: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Run both on the arrays: equal values, gradients and, with ``second``, second derivatives."""
    xs, ys = leaves(arrays, device)
    a, b = ours(*xs), theirs(*ys)
    assert_close(a, b, rtol, atol, what="value")
    weights = array(*a.shape, seed=7)
    first = grad(a, xs, rt.tensor(weights, device=device), create_graph=second)
    wanted = torch.autograd.grad(b, ys, torch.tensor(weights), create_graph=second)
    for k, (g, w) in enumerate(zip(first, wanted, strict=True)):
        assert_close(g, w, rtol, atol, what=f"gradient {k}")
    if not second:
        return
    total = sum(((g * g).sum() for g in first if g is not None), rt.zeros((), device=device))
    expected = sum(((w * w).sum() for w in wanted), torch.zeros(()))
    for one in (total, expected):  # piecewise linear functions end here
        if one.requires_grad:
            one.backward()
    for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
        want = np.zeros(y.shape, np.float32) if y.grad is None else y.grad.numpy(force=True)
        got = np.zeros(x.shape, np.float32) if x.grad is None else x.grad
        assert_close(got, want, rtol or 1e-4, atol or 1e-4, what=f"second derivative {k}")
