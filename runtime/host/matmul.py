"""Matrix products through NumPy's BLAS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..plan.plan import MatmulKernel
from . import functions
from .record import Binding, Runner, stored_as_computed


def matmul(kernel: MatmulKernel, binding: Binding) -> Runner:
    a = binding.array(kernel.inputs[0], (*kernel.batch, kernel.rows, kernel.depth))
    b = binding.array(kernel.inputs[1], (*kernel.batch, kernel.depth, kernel.columns))
    out = binding.array(kernel.outputs[0], (*kernel.batch, kernel.rows, kernel.columns))
    dtype = kernel.outputs[0].dtype
    direct = stored_as_computed(dtype)
    left, right = kernel.inputs[0].dtype, kernel.inputs[1].dtype

    def run(values: Sequence[float]) -> None:
        if direct:
            np.matmul(a, b, out=out)
        else:
            functions.store(dtype, np.matmul(functions.load(left, a), functions.load(right, b)), out)

    return run
