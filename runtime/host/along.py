"""Running sums, and places of extremes, along the middle axis of [outer, length, inner]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plan.plan import ShaderKernel
from . import functions
from .calls import Call
from .elementwise import Pieces, stretches
from .record import Binding, Runner, Workers, stored_as_computed
from .sums import STRETCH

Array = NDArray[Any]
UNLOCKED = 512  # outer entries from which NumPy lets go of the interpreter while it accumulates
WIDE = 128  # inner entries from which a call per entry of the axis is quicker than one call for all


def _operands(kernel: ShaderKernel, binding: Binding) -> tuple[Array, Array]:
    outer, length, inner, entries, _ = kernel.attributes
    assert isinstance(outer, int) and isinstance(length, int) and isinstance(inner, int) and isinstance(entries, int)
    x = binding.rows(kernel.inputs[0], (outer, length * inner)).reshape(outer, length, inner)
    return x, binding.rows(kernel.outputs[0], (outer, entries * inner)).reshape(outer, entries, inner)


def _pieces(x: Array, driver: Workers, call: Callable[[slice], Call], least: int = 1) -> Runner:
    """``call`` for each stretch of outer entries, ``least`` or more at a time."""
    if not x.size:
        return lambda values: None
    parts = stretches(len(x), x.size, driver.threads, least)
    pieces = Pieces(x.size, len(parts), 4, driver)
    for part in parts:
        calls = [call(part)]
        pieces.add(lambda share, calls=calls: calls)  # type: ignore[misc]
    return lambda values: pieces.run()


def running_sum(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    backwards = bool(kernel.attributes[4])

    def compute(x: Array, out: Array) -> None:
        if backwards:
            x, out = x[:, ::-1], out[:, ::-1]
        # Stretch by stretch: a long sum of one addition after the other loses digits.
        for start in range(0, x.shape[1], STRETCH):
            _add_along(x[:, start : start + STRETCH], out[:, start : start + STRETCH])
        if x.shape[1] > STRETCH:
            before = np.add.accumulate(out[:, STRETCH - 1 :: STRETCH], axis=1)
            for k, start in enumerate(range(STRETCH, x.shape[1], STRETCH)):
                part = out[:, start : start + STRETCH]
                np.add(part, before[:, k : k + 1], out=part)

    x, out = _operands(kernel, binding)
    return _pieces(x, driver, lambda part: (compute, (x[part], out[part])), UNLOCKED)


def _add_along(x: Array, out: Array) -> None:
    if x.shape[2] < WIDE:
        np.add.accumulate(x, axis=1, out=out)
        return
    np.copyto(out[:, 0], x[:, 0])
    for k in range(1, x.shape[1]):
        np.add(out[:, k - 1], x[:, k], out=out[:, k])


def first_extreme(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    """The first place of the largest entry or of the smallest; of NaN, where there is one."""
    find = {"first_largest": np.ndarray.argmax, "first_smallest": np.ndarray.argmin}[kernel.shader]
    dtype = kernel.inputs[0].dtype
    x, out = _operands(kernel, binding)
    out = out[:, 0]
    if stored_as_computed(dtype) and out.dtype == np.intp:
        return _pieces(x, driver, lambda part: (find, (x[part], 1, out[part])))

    def compute(x: Array, out: Array) -> None:
        np.copyto(out, find(functions.load(dtype, x), 1))

    return _pieces(x, driver, lambda part: (compute, (x[part], out[part])))
