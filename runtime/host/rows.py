"""Softmax and its logarithm over rows, a few rows at a time so that they stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtype import DType
from ..plan.plan import ShaderKernel
from . import functions
from .calls import Call, execute
from .elementwise import BLOCK, Pieces
from .record import Binding, Runner, Workers, stored_as_computed
from .scratch import Arena
from .sums import sums

Array = NDArray[Any]


def _log_softmax(x: Array, out: Array, raised: Array, ends: Array, add: Callable[[], object]) -> None:
    """Over the last axis. Shifted by the maximum, so large logits neither overflow nor lose the small ones."""
    np.maximum.reduce(x, axis=-1, keepdims=True, out=ends)
    np.subtract(x, ends, out=out)
    np.exp(out, out=raised)
    add()
    np.log(ends, out=ends)
    np.subtract(out, ends, out=out)


def _softmax(x: Array, out: Array, raised: Array, ends: Array, add: Callable[[], object]) -> None:
    np.maximum.reduce(x, axis=-1, keepdims=True, out=ends)
    np.subtract(x, ends, out=raised)
    np.exp(raised, out=raised)
    add()
    np.divide(raised, ends, out=out)


def _adding(x: Array, out: Array) -> Callable[[], object]:
    """What adds up the rows of ``x``."""
    calls = sums(x, 1, out, near=True)
    return partial(execute, calls) if calls else partial(np.add.reduce, x, axis=-1, keepdims=True, out=out)


Compute = Callable[[Array, Array, Array, Array, Callable[[], object]], None]
ROW_KERNELS: dict[str, Compute] = {"log_softmax": _log_softmax, "softmax": _softmax}
STEPS = 5  # passes over the rows: what `Pieces` is to count a piece as
EXPONENTIAL = 4  # elements that are read while one is raised


def rows(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    compute = ROW_KERNELS[kernel.shader]
    source, target = kernel.inputs[0], kernel.outputs[0]
    lines, columns = kernel.attributes
    assert isinstance(lines, int) and isinstance(columns, int)
    x, out = binding.rows(source, (lines, columns)), binding.rows(target, (lines, columns))
    if not lines * columns:
        return lambda values: None
    step = max(1, BLOCK // columns)
    starts = range(0, lines, step)
    pieces = Pieces(EXPONENTIAL * lines * columns, len(starts), STEPS, driver)
    for start in starts:
        given, made = x[start : start + step], out[start : start + step]
        bind = partial(_calls, compute, source.dtype, given, target.dtype, made)
        pieces.add(lambda share, bind=bind: bind(driver.arenas[share]))  # type: ignore[misc]
    return lambda values: pieces.run()


def _calls(compute: Compute, given: DType, x: Array, made: DType, out: Array, arena: Arena) -> Sequence[Call]:
    """For some rows."""
    register = functions.register_dtype(made)
    raised, ends = arena.take("raised", x.shape, register), arena.take("ends", (len(x), 1), register)
    add = _adding(raised, ends)
    if stored_as_computed(made):
        return [(compute, (x, out, raised, ends, add))]
    loaded = arena.take("loaded", x.shape, register)
    return [
        (functions.load_into, (given, x, loaded)),
        (compute, (loaded, loaded, raised, ends, add)),
        (functions.store, (made, loaded, out)),
    ]
