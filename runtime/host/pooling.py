"""Maximum pooling through NumPy: a pass per place in the window, over many windows at once, or a pass per window where it is long."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtype import DType
from ..plan.plan import ShaderKernel
from ..plan.pooling import Windows
from . import functions
from .elementwise import BLOCK
from .record import Binding, Runner, Workers, stored_as_computed
from .scratch import Arena

Array = NDArray[Any]
LONG = 1024  # places of a window, above which a pass per window is quicker than one per place
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


def _taps(x: Array, w: Windows, places: Sequence[Meeting], arena: Arena) -> list[Array]:
    """Per place in the window what all outputs see there, -inf outside: side by side, so that comparing them runs through memory once."""
    shape = len(x), *w.outputs
    taps = []
    for number, seen, met in places:
        everywhere = (seen[0].stop - seen[0].start, seen[1].stop - seen[1].start) == w.outputs
        part = x[:, met[0], met[1]]
        if not (everywhere and w.stride[1] == 1):
            tap = arena.take(f"tap {number}", shape, x.dtype)
            if not everywhere:
                tap[...] = -np.inf
            np.copyto(tap[:, seen[0], seen[1]], part)
            part = tap
        taps.append(part)
    return taps


def _first_places(taps: Sequence[Array], best: Array, places: Sequence[Meeting], arena: Arena) -> Array:
    """Which place in its window has each largest value first: as many as there are places before it that have not."""
    found = arena.take("found", best.shape, np.dtype(np.uint8 if len(places) < 256 else np.int32))
    missing, differs = (arena.take(name, best.shape, np.dtype(np.bool_)) for name in ("missing", "differs"))
    found[...] = 0
    missing[...] = True
    for tap, (_, seen, _) in zip(taps[:-1], places, strict=False):
        here = np.s_[:, seen[0], seen[1]]  # outside there is nothing that could be the largest, not even -inf
        np.not_equal(tap[here], best[here], out=differs[here])
        np.logical_and(missing[here], differs[here], out=missing[here])
        np.add(found, missing.view(np.uint8), out=found)
    return found


def _last_nan(taps: Sequence[Array], found: Array, places: Sequence[Meeting]) -> Array:
    """The same where a window has NaN: the last of those, as in PyTorch."""
    found = found.astype(np.int32)
    for tap, (number, seen, _) in zip(taps, places, strict=True):
        np.copyto(found[:, seen[0], seen[1]], number, where=np.isnan(tap[:, seen[0], seen[1]]))
    return found


def _seen(w: Windows, k: int) -> list[slice]:
    """What each output sees along an axis."""
    d, made = w.dilation[k], []
    for first in range(-w.padding[k], w.outputs[k] * w.stride[k] - w.padding[k], w.stride[k]):
        begin = first if first >= 0 else first % d  # the first place inside that is a whole number of steps away
        made.append(slice(begin, max(begin, min(first + (w.size[k] - 1) * d + 1, w.inputs[k])), d))
    return made


def _by_window(source: Array, target: Array, index: Array, w: Windows, dtype: DType) -> Runner:
    planes, width = np.arange(w.planes), w.inputs[1]
    windows = [(y, x, rows, columns) for y, rows in enumerate(_seen(w, 0)) for x, columns in enumerate(_seen(w, 1))]

    def run(values: Sequence[float]) -> None:
        for y, x, rows, columns in windows:
            part = source[:, rows, columns]
            long, stored = part.shape[2], part.reshape(w.planes, part.shape[1] * part.shape[2])
            flat = functions.load(dtype, stored)
            at = flat.argmax(axis=1)
            unordered = np.isnan(flat[planes, at])
            if unordered.any():  # the last of those, as in PyTorch
                at[unordered] = flat.shape[1] - 1 - np.isnan(flat[unordered])[:, ::-1].argmax(axis=1)
            target[:, y, x] = stored[planes, at]
            index[:, y, x] = (rows.start + at // long * rows.step) * width + columns.start + at % long * columns.step

    return run


def max_pool(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    w, dtype = windows_of(kernel), kernel.inputs[0].dtype
    source = binding.rows(kernel.inputs[0], (w.planes, math.prod(w.inputs))).reshape(w.planes, *w.inputs)
    target, index = (binding.rows(o, (w.planes, math.prod(w.outputs))).reshape(w.planes, *w.outputs) for o in kernel.outputs)
    if math.prod(w.size) > LONG and all(s.start < s.stop for k in (0, 1) for s in _seen(w, k)):
        return _by_window(source, target, index, w, dtype)
    register, numbers, places, arena = functions.register_dtype(dtype), _indices(w), list(_meeting(w)), driver.arenas[0]
    first, beside = numbers[0], np.asarray(numbers[:, 0, 0] - numbers[0, 0, 0], np.int32)
    step = max(1, BLOCK // max(len(places) * math.prod(w.outputs), 1)) * 4  # planes at a time

    def run(values: Sequence[float]) -> None:
        for start in range(0, w.planes, step):
            rows = slice(start, start + step)
            taps = _taps(functions.load(dtype, source[rows]), w, places, arena)
            best = target[rows] if stored_as_computed(dtype) else np.empty(target[rows].shape, register)
            np.copyto(best, taps[0])
            for tap in taps[1:]:
                np.maximum(best, tap, out=best)
            found = _first_places(taps, best, places, arena)
            if np.isnan(best).any():
                found = _last_nan(taps, found, places)
            if not stored_as_computed(dtype):
                functions.store(dtype, best, target[rows])
            wide = arena.take("wide", found.shape, np.dtype(np.intp))  # NumPy takes by these without looking at each
            np.copyto(wide, found)
            np.take(beside, wide, out=index[rows], mode="wrap")
            np.add(index[rows], first, out=index[rows])

    return run


def max_pool_back(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    w, dtype = windows_of(kernel), kernel.outputs[0].dtype
    shape = w.planes, math.prod(w.outputs)
    gradient, index = (binding.rows(o, shape).reshape(w.planes, *w.outputs) for o in kernel.inputs)
    target = binding.rows(kernel.outputs[0], (w.planes, math.prod(w.inputs))).reshape(w.planes, *w.inputs)
    places = [] if w.sharing == (1, 1) else list(_meeting(w))
    numbers = _indices(w) if places else np.empty(0)
    planes, arena = (np.arange(w.planes) * math.prod(w.inputs)).reshape(-1, 1, 1), driver.arenas[0]
    nothing = np.zeros((), functions.register_dtype(dtype))
    choose = functions.function("where", dtype, dtype)

    def scatter(values: Sequence[float]) -> None:
        """Where no two windows meet, each gradient has a place of its own."""
        target[...] = 0
        flat = arena.take("flat", index.shape, np.dtype(np.intp))
        np.add(index, planes, out=flat)
        target.reshape(-1)[flat.reshape(-1)] = gradient.reshape(-1)

    def add_up(values: Sequence[float]) -> None:
        g = functions.load(dtype, gradient)
        register = functions.register_dtype(dtype)
        total = target if register == target.dtype else np.empty(target.shape, register)
        total[...] = 0
        for number, seen, met in places:
            chosen = index[:, seen[0], seen[1]] == numbers[number][seen]
            returned = arena.take("returned", chosen.shape, g.dtype)
            choose(chosen, g[:, seen[0], seen[1]], nothing, returned)
            total[:, met[0], met[1]] += returned
        if total is not target:
            functions.store(dtype, total, target)

    return scatter if w.sharing == (1, 1) else add_up


def max_pool_pick(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    w = windows_of(kernel)
    source = binding.rows(kernel.inputs[0], (w.planes, math.prod(w.inputs)))
    index, target = (binding.rows(o, (w.planes, math.prod(w.outputs))) for o in (kernel.inputs[1], kernel.outputs[0]))
    return lambda values: np.copyto(target, np.take_along_axis(source, index, 1))
