"""Matrix products through NumPy's BLAS, shared out among threads, and what is done to each part right after."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtype import DType, float32
from ..plan.lower import rounded
from ..plan.plan import MatmulKernel
from . import functions
from .blas import one_thread, shared_out
from .elementwise import BLOCK
from .evaluate import Call, Evaluator, Scalars, execute
from .record import Binding, Runner, Workers, stored_as_computed, together

Array = NDArray[Any]
WORTH_SHARING = 16_000_000  # multiplications from which waking a second thread costs less than it saves
SHALLOW = 256  # depth up to which a product in several parts costs hardly more than in one


def parts(kernel: MatmulKernel, shares: int, epilogue: bool) -> list[list[tuple[slice | Any, ...]]]:
    """The parts of the output that each share computes, as indices into ``(*batch, rows, columns)``.

    Cut along the batch where there are enough of those, else along the longer side; in a shallow product with an epilogue into parts
    that are still in the cache when that comes.
    """
    shape = (*kernel.batch, kernel.rows, kernel.columns)
    axis = 0 if kernel.batch and shape[0] >= shares else len(shape) - (2 if kernel.rows >= kernel.columns else 1)
    length = shape[axis]
    around = math.prod(shape) // max(length, 1)
    step = max(1, BLOCK // max(around, 1)) if epilogue and kernel.depth <= SHALLOW else max(length, 1)
    before = (slice(None),) * axis
    bounds = [length * k // shares for k in range(shares + 1)]
    return [
        [(*before, slice(at, min(at + step, end)), ...) for at in range(start, end, step)]
        for start, end in pairwise(bounds)
    ]


def matmul(kernel: MatmulKernel, binding: Binding, driver: Workers) -> Runner:
    shape = (*kernel.batch, kernel.rows, kernel.columns)
    a = binding.array(kernel.inputs[0], (*kernel.batch, kernel.rows, kernel.depth))
    b = binding.array(kernel.inputs[1], (*kernel.batch, kernel.depth, kernel.columns))
    late = [binding.array(o, shape) for o in kernel.inputs[2:]]
    outputs = [binding.array(o, shape) for o in kernel.outputs]
    dtype, epilogue = kernel.dtype, kernel.epilogue
    plain = not epilogue.steps and epilogue.results == (0,) and stored_as_computed(dtype)
    if not stored_as_computed(dtype):
        epilogue = rounded(epilogue, float32)
    scalars = Scalars(epilogue, kernel.scalars)
    sharing = shared_out() and math.prod(shape) * kernel.depth >= WORTH_SHARING
    numbered = any(step.opcode == "index" for step in epilogue.steps)  # elements have the numbers that they have in the whole
    cut = parts(kernel, driver.threads if sharing and not numbered else 1, not numbered and not plain)
    rank = len(shape)
    work: list[list[Call]] = []
    for share in cut:
        after = Evaluator(epilogue, scalars, None, frozenset(range(len(outputs))))
        scratch: dict[tuple[int, ...], Array] = {}
        calls: list[Call] = []
        for index in share:
            rows, columns = _operands(a, b, index, rank)
            outs = [x[index] for x in outputs]
            if plain:
                calls.append((_product, (dtype, rows, columns, outs[0])))
                continue
            product = scratch.setdefault(outs[0].shape, np.empty(outs[0].shape, functions.register_dtype(dtype)))
            calls.append((_product, (dtype, rows, columns, product)))
            calls += after.bind([product, *(x[index] for x in late)], outs)
        work.append(calls)

    runs = [partial(execute, calls) for calls in work]

    def run(values: Sequence[float]) -> None:
        scalars.set(values)
        with one_thread():
            together(driver, runs)

    return run


def _operands(a: Array, b: Array, index: tuple[Any, ...], rank: int) -> tuple[Array, Array]:
    """The parts of the operands that a part of the output is computed from."""
    axis = len(index) - 2
    here: Callable[[int], tuple[Any, ...]] = lambda k: (*(slice(None),) * k, index[axis], ...)  # noqa: E731
    if axis == rank - 2:
        return a[here(axis)], b
    return (a, b[here(axis)]) if axis == rank - 1 else (a[here(axis)], b[here(axis)])


def _product(dtype: DType, a: Array, b: Array, out: Array) -> None:
    np.matmul(functions.load(dtype, a), functions.load(dtype, b), out=out)
    functions.narrow(dtype, out)
