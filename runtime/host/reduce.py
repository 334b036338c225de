"""Reductions through NumPy, in blocks where NumPy itself would add up naively."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plan.plan import ReduceKernel
from . import functions
from .elementwise import Evaluator
from .record import Binding, Runner

Array = NDArray[Any]

UFUNCS = {"add": np.add, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}
IDENTITY = {"add": 0, "mul": 1}
ROWS = 1024  # NumPy adds along an axis that is not the innermost one naively: no more than this many at a time


def combine(x: Array, kept: int, how: str, dtype: np.dtype[Any]) -> Array:
    """Reduce all axes of ``x`` after the first ``kept``."""
    ufunc = UFUNCS[how]
    axes = tuple(range(kept, x.ndim))
    if how == "add" and dtype.kind == "f" and kept and axes and x.shape[kept] > ROWS:
        rows = x.shape[kept]
        head = (slice(None),) * kept
        parts = [combine(x[(*head, slice(i, i + ROWS))], kept, how, dtype) for i in range(0, rows, ROWS)]
        return combine(np.stack(parts, axis=-1), kept, how, dtype)
    if how in IDENTITY:
        return np.asarray(ufunc.reduce(x, axis=axes, dtype=dtype))
    return np.asarray(ufunc.reduce(x, axis=axes))


def reduce(kernel: ReduceKernel, binding: Binding) -> Runner:
    shape = kernel.kept + kernel.reduced
    early = len(kernel.inputs) - kernel.late
    inputs = [binding.array(o, shape) for o in kernel.inputs[:early]]
    late = [binding.array(o, kernel.kept) for o in kernel.inputs[early:]]
    outputs = [binding.array(o, kernel.kept) for o in kernel.outputs]
    program, n_scalars = kernel.program, len(kernel.program.scalars)
    before = Evaluator(program, None)
    after = Evaluator(kernel.epilogue, None, frozenset(range(len(outputs))))
    value = program.dtype_of(program.results[0])
    temporary = np.empty(shape, value.numpy) if program.steps or not inputs else None
    accumulate = functions.register_dtype(kernel.accumulate)
    kept = len(kernel.kept)
    empty = math.prod(kernel.reduced) == 0

    def run(values: Sequence[float]) -> None:
        scalars = [values[p] for p in kernel.scalars]
        if temporary is None:
            x = functions.load(value, inputs[program.results[0]])
        else:
            before.run(inputs, before.scalars(scalars[:n_scalars]), [temporary])
            x = functions.load(value, temporary)
        if empty:
            total = np.full(kernel.kept, IDENTITY[kernel.combine], accumulate)
        else:
            total = combine(x, kept, kernel.combine, accumulate)
        after.run([total.reshape(kernel.kept), *late], after.scalars(scalars[n_scalars:]), outputs)

    return run
