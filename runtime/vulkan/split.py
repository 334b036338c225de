"""Large dispatches in pieces: small GPUs are reset by their kernel driver when one dispatch takes too long (Pi: 500 ms)."""

from __future__ import annotations

import math

from ..plan.convolution import ConvKernel
from ..plan.plan import ElementwiseKernel, Kernel, MatmulKernel, ReduceKernel, ShaderKernel

Extent = tuple[int, int, int]


def work_of(kernel: Kernel) -> int:
    """About how many element operations a kernel takes."""
    if isinstance(kernel, MatmulKernel):
        return math.prod(kernel.batch) * kernel.rows * kernel.columns * max(kernel.depth, 1)
    if isinstance(kernel, ConvKernel):
        return kernel.work
    operands = len(kernel.inputs) + len(kernel.outputs)
    if isinstance(kernel, ElementwiseKernel):
        return math.prod(kernel.shape) * (operands + len(kernel.program.steps))
    if isinstance(kernel, ReduceKernel):
        return math.prod(kernel.kept + kernel.reduced) * (operands + len(kernel.program.steps))
    assert isinstance(kernel, ShaderKernel)
    return kernel.work


def pieces(groups: Extent, work: int, limit: int) -> list[tuple[Extent, Extent]]:
    """(first workgroup, workgroups) of dispatches that together do ``groups``, each of at most about ``limit`` operations.

    Cut along the last axis that has more than one group: shaders compute with the counts of the axes before it.
    """
    if not limit or work <= limit:
        return [((0, 0, 0), groups)]
    axis = max((a for a in range(3) if groups[a] > 1), default=0)
    step = max(1, groups[axis] * limit // work)
    out = []
    for start in range(0, groups[axis], step):
        base, count = [0, 0, 0], list(groups)
        base[axis], count[axis] = start, min(step, groups[axis] - start)
        out.append(((base[0], base[1], base[2]), (count[0], count[1], count[2])))
    return out
