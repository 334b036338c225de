"""Softmax and its logarithm over rows, a few rows at a time so that they stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtype import DType
from ..plan.plan import Operand, ShaderKernel
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
    lines, columns = kernel.attributes
    assert isinstance(lines, int) and isinstance(columns, int)
    pieces = row_pieces(kernel.shader, kernel.inputs[0], kernel.outputs[0], (lines, columns), binding, driver)
    return lambda values: pieces.run()


def row_pieces(shader: str, source: Operand, target: Operand, shape: tuple[int, int], binding: Binding, driver: Workers) -> Pieces:
    """The kernel of this name over the rows of a matrix of ``shape``."""
    compute, (lines, columns) = ROW_KERNELS[shader], shape
    x, out = binding.rows(source, shape), binding.rows(target, shape)
    blocks = row_blocks(lines, columns)
    pieces = Pieces(EXPONENTIAL * lines * columns, len(blocks), STEPS, driver)
    for block in blocks:
        bind = partial(_calls, compute, source.dtype, x[block], target.dtype, out[block])
        pieces.add(lambda share, bind=bind: bind(driver.arenas[share]))  # type: ignore[misc]
    return pieces


def row_blocks(lines: int, columns: int) -> list[slice]:
    """The rows of a matrix, as many at a time as fit the cache; none where nothing is in them."""
    step = max(1, BLOCK // max(columns, 1))
    return [slice(start, min(start + step, lines)) for start in range(0, lines if columns else 0, step)]


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
