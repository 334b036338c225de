"""Matrix products through NumPy's BLAS, and what is done to them right after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..dtype import float32
from ..plan.lower import rounded
from ..plan.plan import MatmulKernel
from . import functions
from .elementwise import Evaluator
from .record import Binding, Runner, stored_as_computed


def matmul(kernel: MatmulKernel, binding: Binding) -> Runner:
    shape = (*kernel.batch, kernel.rows, kernel.columns)
    a = binding.array(kernel.inputs[0], (*kernel.batch, kernel.rows, kernel.depth))
    b = binding.array(kernel.inputs[1], (*kernel.batch, kernel.depth, kernel.columns))
    late = [binding.array(o, shape) for o in kernel.inputs[2:]]
    outputs = [binding.array(o, shape) for o in kernel.outputs]
    dtype, epilogue = kernel.dtype, kernel.epilogue
    if not epilogue.steps and epilogue.results == (0,) and stored_as_computed(dtype):
        return lambda values: _into(a, b, outputs[0])
    after = Evaluator(epilogue if stored_as_computed(dtype) else rounded(epilogue, float32), None, frozenset(range(len(outputs))))
    product = np.empty(shape, functions.register_dtype(dtype))

    def run(values: Sequence[float]) -> None:
        np.matmul(functions.load(dtype, a), functions.load(dtype, b), out=product)
        functions.narrow(dtype, product)
        after.run([product, *late], after.scalars([values[p] for p in kernel.scalars]), outputs)

    return run


def _into(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    np.matmul(a, b, out=out)
