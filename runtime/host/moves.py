"""Entries of rows read or written at given places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..plan.plan import ShaderKernel
from .record import Binding, Runner, Workers


def move(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    """``pick`` reads at the places; ``put`` writes there, and zeros elsewhere."""
    rows, length, count = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(count, int)
    picking = kernel.shader == "pick"
    shapes = [(rows, length), (rows, count)]
    source = binding.rows(kernel.inputs[0], shapes[0 if picking else 1])
    index = binding.rows(kernel.inputs[1], shapes[1])
    target = binding.rows(kernel.outputs[0], shapes[1 if picking else 0])

    def run(scalars: Sequence[float]) -> None:
        if picking:
            np.copyto(target, np.take_along_axis(source, index, axis=-1))
            return
        if count != length:
            target[...] = 0
        np.put_along_axis(target, index, source, axis=-1)

    return run
