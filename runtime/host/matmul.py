"""Matrix products through NumPy's BLAS, and what is done to them right after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..dtype import float32
from ..plan.lower import rounded
from ..plan.plan import MatmulKernel
from . import functions
from .elementwise import apply
from .evaluate import Scalars
from .record import Binding, Runner, Workers, stored_as_computed


def matmul(kernel: MatmulKernel, binding: Binding, driver: Workers) -> Runner:
    shape = (*kernel.batch, kernel.rows, kernel.columns)
    a = binding.array(kernel.inputs[0], (*kernel.batch, kernel.rows, kernel.depth))
    b = binding.array(kernel.inputs[1], (*kernel.batch, kernel.depth, kernel.columns))
    late = [binding.array(o, shape) for o in kernel.inputs[2:]]
    outputs = [binding.array(o, shape) for o in kernel.outputs]
    dtype, epilogue = kernel.dtype, kernel.epilogue
    if not epilogue.steps and epilogue.results == (0,) and stored_as_computed(dtype):
        return lambda values: _into(a, b, outputs[0])
    if not stored_as_computed(dtype):
        epilogue = rounded(epilogue, float32)
    product = np.empty(shape, functions.register_dtype(dtype))
    scalars = Scalars(epilogue, kernel.scalars)
    finish = apply(epilogue, shape, scalars, [product, *late], outputs, driver)

    def run(values: Sequence[float]) -> None:
        np.matmul(functions.load(dtype, a), functions.load(dtype, b), out=product)
        functions.narrow(dtype, product)
        scalars.set(values)
        finish.run()

    return run


def _into(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    np.matmul(a, b, out=out)
