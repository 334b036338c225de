"""Maximum pooling through NumPy: a pass per place in the window, over all windows at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plan.plan import ShaderKernel
from ..plan.pooling import Windows
from . import functions
from .record import Binding, Runner, Workers

Array = NDArray[Any]


def windows_of(kernel: ShaderKernel) -> Windows:
    (windows,) = kernel.attributes
    assert isinstance(windows, Windows)
    return windows


def _meeting(w: Windows) -> Iterator[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
    """Per place in the window: its number, and which outputs see which inputs there."""
    for number, taps in enumerate(product(range(w.size[0]), range(w.size[1]))):
        outputs, inputs = [], []
        for k, tap in enumerate(taps):
            start, s = tap * w.dilation[k] - w.padding[k], w.stride[k]
            first = min(max(0, -(start // s)), w.outputs[k])
            end = max(first, min(w.outputs[k], -(-(w.inputs[k] - start) // s)))
            at = start + first * s
            outputs.append(slice(first, end))
            inputs.append(slice(at, at + (end - first - 1) * s + 1, s) if end > first else slice(0))
        yield number, (outputs[0], outputs[1]), (inputs[0], inputs[1])


def _indices(w: Windows) -> Array:
    """``[place in the window, y, x]``: the number in its plane of the input that an output sees there."""
    rows, columns = (
        np.arange(w.size[k])[:, None] * w.dilation[k] + np.arange(w.outputs[k]) * w.stride[k] - w.padding[k] for k in (0, 1)
    )
    made = rows[:, None, :, None] * w.inputs[1] + columns[None, :, None, :]
    return np.asarray(made.reshape(-1, *w.outputs), np.int32)


def max_pool(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    w, dtype = windows_of(kernel), kernel.inputs[0].dtype
    source = binding.rows(kernel.inputs[0], (w.planes, math.prod(w.inputs))).reshape(w.planes, *w.inputs)
    target, index = (binding.rows(o, (w.planes, math.prod(w.outputs))).reshape(w.planes, *w.outputs) for o in kernel.outputs)
    register, numbers, places = functions.register_dtype(dtype), _indices(w), list(_meeting(w))

    def run(values: Sequence[float]) -> None:
        x = functions.load(dtype, source)
        best = np.full(target.shape, -np.inf, register)
        place = np.full(target.shape, -1, np.int16 if len(places) < 1 << 15 else np.int32)
        nan = bool(np.isnan(x.sum()))
        for number, seen, met in places:
            part, so_far, chosen = x[:, met[0], met[1]], best[:, seen[0], seen[1]], place[:, seen[0], seen[1]]
            better = part > so_far
            if nan:
                better |= part != part
            np.copyto(so_far, part, where=better)
            np.copyto(chosen, number, where=better)
        if (place < 0).any():  # nothing larger than -inf: the first place there is
            for number, seen, _ in places:
                chosen = place[:, seen[0], seen[1]]
                np.copyto(chosen, number, where=chosen < 0)
        functions.store(dtype, best, target)
        np.copyto(index, np.take_along_axis(numbers[None], place[:, None], 1)[:, 0])

    return run


def max_pool_back(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    w, dtype = windows_of(kernel), kernel.outputs[0].dtype
    shape = w.planes, math.prod(w.outputs)
    gradient, index = (binding.rows(o, shape).reshape(w.planes, *w.outputs) for o in kernel.inputs)
    target = binding.rows(kernel.outputs[0], (w.planes, math.prod(w.inputs))).reshape(w.planes, *w.inputs)
    numbers, places = _indices(w), list(_meeting(w))

    def run(values: Sequence[float]) -> None:
        g = functions.load(dtype, gradient)
        total = np.zeros(target.shape, functions.register_dtype(dtype))
        for number, seen, met in places:
            chosen = index[:, seen[0], seen[1]] == numbers[number][seen]
            total[:, met[0], met[1]] += np.where(chosen, g[:, seen[0], seen[1]], g.dtype.type(0))
        functions.store(dtype, total, target)

    return run


def max_pool_pick(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    w = windows_of(kernel)
    source = binding.rows(kernel.inputs[0], (w.planes, math.prod(w.inputs)))
    index, target = (binding.rows(o, (w.planes, math.prod(w.outputs))) for o in (kernel.inputs[1], kernel.outputs[0]))
    return lambda values: np.copyto(target, np.take_along_axis(source, index, 1))
