"""Entries of rows read or written at given places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..plan.plan import ShaderKernel
from .record import Binding, Runner, Workers


def move(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    """``pick`` reads at the places; ``put`` writes there, and zeros elsewhere."""
    rows, length, count, columns = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(count, int) and isinstance(columns, int)
    picking = kernel.shader == "pick"
    lengths = (length, count) if picking else (count, length)
    source = binding.rows(kernel.inputs[0], (rows * lengths[0], columns))
    index = binding.rows(kernel.inputs[1], (rows, count))
    target = binding.rows(kernel.outputs[0], (rows * lengths[1], columns))
    first = np.arange(rows, dtype=np.int64)[:, None] * length

    def run(scalars: Sequence[float]) -> None:
        places = (index + first).reshape(-1)
        if picking:
            np.take(source, places, axis=0, out=target, mode="clip")  # checked before; NumPy would copy for any other mode
            return
        if count != length:
            target[...] = 0
        target[places] = source

    return run
