"""From a plan's kernels to pipelines, parameters and bindings: what stays the same for every recording of the plan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import VulkanError
from ..plan.plan import ElementwiseKernel, Kernel, MatmulKernel, Operand, Plan, ReduceKernel, ShaderKernel
from . import elementwise, matmul, reduce, rows
from .elementwise import LOCAL
from .parameters import Parameters
from .spirv import PARAM_WORDS

if TYPE_CHECKING:
    from ..statistics import Statistics
    from .driver import VulkanDriver


@dataclass(slots=True)
class Dispatch:
    """One vkCmdDispatch: ``bindings`` are (value, first byte, bytes)."""

    pipeline: Any
    layout: Any
    groups: tuple[int, int, int]
    bindings: tuple[tuple[int, int, int], ...]
    parameters: Parameters


@dataclass(slots=True)
class CompiledPlan:
    levels: list[list[Dispatch]]
    dispatches: int


def groups_for(invocations: int, limit: int) -> tuple[int, int, int]:
    """Group counts along x and y for this many invocations; more than ``limit`` groups spill into y."""
    groups = -(-invocations // LOCAL)
    if groups <= limit:
        return groups, 1, 1
    down = -(-groups // limit)
    across = -(-groups // down)
    if down > limit:
        raise VulkanError(f"a dispatch of {invocations:,} invocations", -3)
    return across, down, 1


def compile_plan(plan: Plan, driver: VulkanDriver, statistics: Statistics) -> CompiledPlan:
    levels = [[_compile(kernel, driver, statistics) for kernel in level] for level in plan.levels]
    return CompiledPlan(levels, sum(map(len, levels)))


def _family(kernel: Kernel) -> Any:
    """The module that knows the kernel."""
    if isinstance(kernel, ElementwiseKernel):
        return elementwise
    if isinstance(kernel, ReduceKernel):
        return reduce
    return matmul if isinstance(kernel, MatmulKernel) else rows


def _groups(kernel: Kernel, key: Any, limit: int) -> tuple[int, int, int]:
    if isinstance(kernel, ElementwiseKernel):
        return groups_for(math.prod(kernel.shape), limit)
    if isinstance(kernel, ReduceKernel):
        return groups_for(math.prod(kernel.kept) * kernel.splits, limit)
    if isinstance(kernel, MatmulKernel):
        return matmul.groups(kernel, key, limit)
    assert isinstance(kernel, ShaderKernel) and isinstance(kernel.attributes[0], int)
    return groups_for(kernel.attributes[0], limit)


def _compile(kernel: Kernel, driver: VulkanDriver, statistics: Statistics) -> Dispatch:
    family = _family(kernel)
    operands: list[Operand] = [*kernel.inputs, *kernel.outputs]
    if kernel.errors is not None:
        operands.append(kernel.errors)
    key = family.key_of(kernel)
    bindings, starts = [], []
    unit = driver.physical.limits["storage_alignment"]
    for operand in operands:
        first = operand.access.start // unit * unit
        starts.append((operand.access.start - first) // operand.dtype.itemsize)
        size = max(operand.access.end, operand.access.start + 1) - first
        bindings.append((operand.value, first, -(-size // 4) * 4))
    if kernel.errors is not None:
        starts.pop()
    parameters: Parameters = family.parameters_of(kernel, key, starts)
    if len(parameters.words) > PARAM_WORDS:
        raise VulkanError(f"{'+'.join(kernel.names)} with {len(parameters.words)} parameters", -3)
    pipeline = driver.pipelines.get(key, len(operands), lambda: family.emit(key, driver.abilities), statistics)
    return Dispatch(
        pipeline, driver.layouts.pipeline(len(operands)), _groups(kernel, key, driver.physical.limits["groups"]),
        tuple(bindings), parameters,
    )  # fmt: skip
