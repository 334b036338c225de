"""Repetition through NumPy: where entries begin, and which one each place has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..plan.plan import ShaderKernel
from .record import Binding, Runner, Workers


def sums_before(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    rows, length = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int)
    counts, out = (binding.rows(o, (rows, length)) for o in (kernel.inputs[0], kernel.outputs[0]))

    def run(values: Sequence[float]) -> None:
        out[:, :1] = 0
        np.add.accumulate(counts[:, :-1], axis=1, out=out[:, 1:])

    return run


def repeated(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    length, count = kernel.attributes
    assert isinstance(length, int) and isinstance(count, int)
    (starts,), (out,) = binding.rows(kernel.inputs[0], (1, length)), binding.rows(kernel.outputs[0], (1, count))
    numbers = np.arange(count, dtype=np.int32)
    return lambda values: np.subtract(np.searchsorted(starts, numbers, "right"), 1, out=out, casting="unsafe")
