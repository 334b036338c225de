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
from .scratch import scratch

Array = NDArray[Any]
Meeting = tuple[int, tuple[slice, slice], tuple[slice, slice]]  # place in the window, outputs, inputs


def windows_of(kernel: ShaderKernel) -> Windows:
    (windows,) = kernel.attributes
    assert isinstance(windows, Windows)
    return windows


def _meeting(w: Windows) -> Iterator[Meeting]:
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


def _first_places(x: Array, best: Array, places: Sequence[Meeting]) -> Array:
    """Which place in its window has each largest value first: as many as there are places before it that have not."""
    found = np.zeros(best.shape, np.uint8 if len(places) < 256 else np.int32)
    missing = np.ones(best.shape, np.bool_)
    for _, seen, met in places[:-1]:
        missing[:, seen[0], seen[1]] &= x[:, met[0], met[1]] != best[:, seen[0], seen[1]]
        found += missing
    return found


def _last_nan(x: Array, found: Array, places: Sequence[Meeting]) -> Array:
    """The same where a window has NaN: the last of those, as in PyTorch."""
    found = found.astype(np.int32)
    for number, seen, met in places:
        np.copyto(found[:, seen[0], seen[1]], number, where=np.isnan(x[:, met[0], met[1]]))
    return found


def max_pool(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    w, dtype = windows_of(kernel), kernel.inputs[0].dtype
    source = binding.rows(kernel.inputs[0], (w.planes, math.prod(w.inputs))).reshape(w.planes, *w.inputs)
    target, index = (binding.rows(o, (w.planes, math.prod(w.outputs))).reshape(w.planes, *w.outputs) for o in kernel.outputs)
    register, numbers, places = functions.register_dtype(dtype), _indices(w), list(_meeting(w))
    first, beside = numbers[0], np.asarray(numbers[:, 0, 0] - numbers[0, 0, 0], np.int32)

    def run(values: Sequence[float]) -> None:
        x = functions.load(dtype, source)
        best = np.full(target.shape, -np.inf, register)
        for _, seen, met in places:
            part = best[:, seen[0], seen[1]]
            np.maximum(part, x[:, met[0], met[1]], out=part)
        found = _first_places(x, best, places)
        if np.isnan(best).any():
            found = _last_nan(x, found, places)
        functions.store(dtype, best, target)
        np.add(beside[found], first, out=index)

    return run


def max_pool_back(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    w, dtype = windows_of(kernel), kernel.outputs[0].dtype
    shape = w.planes, math.prod(w.outputs)
    gradient, index = (binding.rows(o, shape).reshape(w.planes, *w.outputs) for o in kernel.inputs)
    target = binding.rows(kernel.outputs[0], (w.planes, math.prod(w.inputs))).reshape(w.planes, *w.inputs)
    numbers, places = _indices(w), list(_meeting(w))
    alone = w.sharing == (1, 1)
    ends = [o * s - p for o, s, p in zip(w.outputs, w.stride, w.padding, strict=True)]
    nothing = np.zeros((), functions.register_dtype(dtype))
    choose = functions.function("where", dtype, dtype)
    whole = alone and w.size == w.stride and all(end >= n for end, n in zip(ends, w.inputs, strict=True))  # every input is in a window

    def run(values: Sequence[float]) -> None:
        g = functions.load(dtype, gradient)
        register = functions.register_dtype(dtype)
        total = target if register == target.dtype else np.empty(target.shape, register)
        if not whole:
            total[...] = 0
        for number, seen, met in places:
            chosen = index[:, seen[0], seen[1]] == numbers[number][seen]
            returned = scratch.take("returned", chosen.shape, g.dtype)
            choose(chosen, g[:, seen[0], seen[1]], nothing, returned)
            if alone:
                total[:, met[0], met[1]] = returned
            else:
                total[:, met[0], met[1]] += returned
        if total is not target:
            functions.store(dtype, total, target)

    return run


def max_pool_pick(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    w = windows_of(kernel)
    source = binding.rows(kernel.inputs[0], (w.planes, math.prod(w.inputs)))
    index, target = (binding.rows(o, (w.planes, math.prod(w.outputs))) for o in (kernel.inputs[1], kernel.outputs[0]))
    return lambda values: np.copyto(target, np.take_along_axis(source, index, 1))
