"""Gradients computed on a device against the cpu device's in float64: for devices that central differences
cannot use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import rasptorch as rt
from rasptorch.autograd import grad

from .compare import TOLERANCES, assert_close, to_array

SEED = 7


def check_device_gradients(
    function: Callable[..., Any], inputs: Sequence[Any], device: str, dtype: str = "float32",
    rtol: float | None = None, atol: float | None = None,
) -> None:  # fmt: skip
    """Run ``function(*inputs)`` on ``device`` in ``dtype`` and on the cpu in float64; compare values and all
    gradients.

    ``inputs`` are arrays (floating-point ones get gradients), or anything else that is handed on as it is.
    The outputs (one tensor or several) are weighted at random, the same way in both. Tolerances are those of
    ``dtype``, with the values first rounded to it.
    """
    rounded = [_rounded(x, dtype) for x in inputs]
    values, gradients = _run(function, rounded, device, dtype)
    expected, expected_gradients = _run(function, rounded, "cpu", "float64")
    default = TOLERANCES[dtype]
    rtol, atol = default[0] if rtol is None else rtol, default[1] if atol is None else atol
    for k, (a, b) in enumerate(zip(values, expected, strict=True)):
        assert_close(a, b, rtol, atol, check_dtype=False, what=f"output {k}")
    for k, g in gradients.items():
        scale = float(np.abs(to_array(expected_gradients[k])).max(initial=1.0))
        assert_close(g, expected_gradients[k], rtol, atol * scale, check_dtype=False, what=f"gradient of input {k}")


def _rounded(x: Any, dtype: str) -> Any:
    """Values that ``dtype`` can hold, as float64: both runs start from the same numbers."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        return np.asarray(rt.tensor(x, dtype=dtype).to("float64").readback().wait())
    return x


def _run(function: Callable[..., Any], inputs: Sequence[Any], device: str, dtype: str) -> tuple[list[rt.Tensor], dict[int, rt.Tensor]]:
    tensors = []
    for x in inputs:
        if isinstance(x, np.ndarray):
            floating = x.dtype.kind == "f"
            made = rt.tensor(x, dtype=dtype if floating else None, device=device, requires_grad=floating)
            tensors.append(made)
        else:
            tensors.append(x)
    made = function(*tensors)
    outputs = [made] if isinstance(made, rt.Tensor) else list(made)
    random = np.random.default_rng(SEED)
    weighted = [(y, rt.tensor(random.uniform(0.5, 1.5, y.shape), dtype=y.dtype, device=device)) for y in outputs if y.requires_grad]
    wanted = {k: x for k, x in enumerate(tensors) if isinstance(x, rt.Tensor) and x.requires_grad}
    found = grad([y for y, _ in weighted], list(wanted.values()), [w for _, w in weighted], allow_unused=True)
    return outputs, {k: rt.zeros_like(wanted[k]) if g is None else g for k, g in zip(wanted, found, strict=True)}
