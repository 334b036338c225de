"""Resampling along one axis through NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtype import DType
from ..plan.plan import ShaderKernel
from ..plan.resampling import AREA, CORNERS, CUBIC, CUBIC_CORNERS, CURVE, LINEAR, NEAREST_EXACT, Resampling
from . import functions
from .record import Binding, Runner, Workers

Array = NDArray[Any]
Share = tuple[Array, Array | None]  # per target place, a source place and the part that is taken of it (None: all)


def _area(how: Resampling) -> list[tuple[int, int]]:
    """Per target place the source places it covers: first, one after the last."""
    n, m = how.source, how.target
    return [(place * n // m, -(-(place + 1) * n // m)) for place in range(m)]


def _cubic(how: Resampling, register: type[Any]) -> list[Share]:
    """Four source places each, the weights those of a cubic through the two in the middle."""
    scale, a, one = register(how.scale), register(CURVE), register(1)
    place = np.arange(how.target, dtype=register)
    position = place * scale if how.mode == CUBIC_CORNERS else (place + register(0.5)) * scale - register(0.5)
    first = np.floor(position)
    part = position - first
    near = [((a + 2) * x - (a + 3)) * x * x + one for x in (part, one - part)]
    far = [((a * x - 5 * a) * x + 8 * a) * x - 4 * a for x in (part + one, register(2) - part)]
    at = first.astype(np.int64)
    weights = (far[0], near[0], near[1], far[1])
    return [(np.clip(at + k - 1, 0, how.source - 1), weight.astype(register)) for k, weight in enumerate(weights)]


def _shares(how: Resampling, dtype: DType) -> list[Share]:
    """What each target place takes; in each share source places never decrease."""
    last = how.source - 1
    if how.mode in (CUBIC, CUBIC_CORNERS):
        return _cubic(how, functions.register_dtype(dtype).type)
    if how.mode in (LINEAR, CORNERS):
        register = functions.register_dtype(dtype).type
        place, scale = np.arange(how.target, dtype=register), register(how.scale)
        position = place * scale
        if how.mode == LINEAR:
            position = np.maximum((place + register(0.5)) * scale - register(0.5), register(0))
        first = np.minimum(position.astype(np.int64), last)
        part = np.where(first < last, position - first.astype(register), register(0)).astype(register)
        return [(first, register(1) - part), (np.minimum(first + 1, last), part)]
    place, small = np.arange(how.target, dtype=np.float32), np.float32(how.scale)
    position = (place + np.float32(0.5)) * small if how.mode == NEAREST_EXACT else place * small
    return [(np.minimum(position.astype(np.int64), last), None)]


def _forward(x: Array, shares: list[Share]) -> Array:
    parts = [x[:, at] if weight is None else x[:, at] * weight[:, None] for at, weight in shares]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _backward(g: Array, shares: list[Share], total: Array) -> None:
    """Add to each source place what the target places took of it: those of one source place are neighbours."""
    for at, weight in shares:
        places, starts = np.unique(at, return_index=True)
        total[:, places] += np.add.reduceat(g if weight is None else g * weight[:, None], starts, axis=1)


def resample(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    (how,) = kernel.attributes
    assert isinstance(how, Resampling)
    shapes = [(how.outer, n, how.inner) for n in ((how.target, how.source) if how.adjoint else (how.source, how.target))]
    (operand,), (result,) = kernel.inputs, kernel.outputs
    source, target = (
        binding.rows(o, (shape[0] * shape[1], shape[2])).reshape(shape) for o, shape in zip((operand, result), shapes, strict=True)
    )
    dtype = operand.dtype
    covered = _area(how) if how.mode == AREA else []
    shares = [] if covered else _shares(how, dtype)

    def run(values: Sequence[float]) -> None:
        x = functions.load(dtype, source)
        made = np.zeros(target.shape, x.dtype)
        for place, (first, end) in enumerate(covered):
            if how.adjoint:
                made[:, first:end] += x[:, place : place + 1] / x.dtype.type(end - first)
            else:
                made[:, place] = x[:, first:end].sum(axis=1) / x.dtype.type(end - first)
        if shares and how.adjoint:
            _backward(x, shares, made)
        elif shares:
            made = _forward(x, shares)
        functions.store(dtype, made, target)

    return run
