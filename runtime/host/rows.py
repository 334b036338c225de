"""Softmax and its logarithm over rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plan.plan import ShaderKernel
from . import functions
from .record import Binding, Runner, Workers, stored_as_computed

Array = NDArray[Any]


def _log_softmax(x: Array, out: Array) -> None:
    """Over the last axis. Shifted by the maximum, so large logits neither overflow nor lose the small ones."""
    shifted = x - x.max(axis=-1, keepdims=True)
    np.subtract(shifted, np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), out=out)


def _softmax(x: Array, out: Array) -> None:
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    np.divide(raised, raised.sum(axis=-1, keepdims=True), out=out)


ROW_KERNELS: dict[str, Callable[[Array, Array], None]] = {"log_softmax": _log_softmax, "softmax": _softmax}


def rows(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    compute = ROW_KERNELS[kernel.shader]
    source, target = kernel.inputs[0], kernel.outputs[0]
    lines, columns = kernel.attributes
    assert isinstance(lines, int) and isinstance(columns, int)
    shape = (lines, columns)
    x, out = binding.rows(source, shape), binding.rows(target, shape)
    direct = stored_as_computed(target.dtype)

    def run(values: Sequence[float]) -> None:
        if direct:
            compute(x, out)
        else:
            result = np.empty(shape, functions.register_dtype(target.dtype))
            compute(functions.load(source.dtype, x), result)
            functions.store(target.dtype, result, out)

    return run
