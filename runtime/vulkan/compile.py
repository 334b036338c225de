"""From a plan's kernels to pipelines, parameters and bindings: what stays the same for every recording of the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import VulkanError
from ..plan.plan import ElementwiseKernel, Kernel, MatmulKernel, Operand, Plan, ReduceKernel, ShaderKernel
from . import elementwise, matmul, reduce
from .descriptors import NO_FORMAT, Formats
from .parameters import Parameters
from .shaders import FAMILIES
from .spirv import PARAM_WORDS
from .split import Extent, pieces, work_of

if TYPE_CHECKING:
    from ..statistics import Statistics
    from .driver import VulkanDriver


@dataclass(slots=True)
class Dispatch:
    """One kernel, in one or more ``pieces``; ``bindings`` are (value, first byte, bytes), ``formats`` their texels' formats.

    ``variant`` names what was chosen, where a kernel has several forms.
    """

    pipeline: Any
    layout: Any
    pieces: list[tuple[Extent, Extent]]
    bindings: tuple[tuple[int, int, int], ...]
    formats: Formats
    parameters: Parameters
    variant: str


@dataclass(slots=True)
class CompiledPlan:
    levels: list[list[Dispatch]]
    kernels: int
    dispatches: int


def groups_for(invocations: int, local: int, limit: int) -> tuple[int, int, int]:
    """Group counts along x and y for this many invocations, ``local`` a group; more than ``limit`` groups spill into y."""
    groups = -(-invocations // local)
    if groups <= limit:
        return groups, 1, 1
    down = -(-groups // limit)
    across = -(-groups // down)
    if down > limit:
        raise VulkanError(f"a dispatch of {invocations:,} invocations", -3)
    return across, down, 1


def compile_plan(plan: Plan, driver: VulkanDriver, statistics: Statistics) -> CompiledPlan:
    levels = [[_compile(kernel, driver, statistics) for kernel in level] for level in plan.levels]
    return CompiledPlan(levels, sum(map(len, levels)), sum(len(d.pieces) for level in levels for d in level))


def _family(kernel: Kernel) -> Any:
    """The module that knows the kernel."""
    if isinstance(kernel, ElementwiseKernel):
        return elementwise
    if isinstance(kernel, ReduceKernel):
        return reduce
    if isinstance(kernel, MatmulKernel):
        return matmul
    assert isinstance(kernel, ShaderKernel)
    return FAMILIES[kernel.shader]


def _groups(kernel: Kernel, key: Any, limit: int) -> tuple[int, int, int]:
    if isinstance(kernel, MatmulKernel):
        return matmul.groups(kernel, key, limit)
    family = _family(kernel)
    return groups_for(family.invocations(kernel, key), family.LOCAL, limit)


def _bindings(operands: list[Operand], numbers: tuple[int, ...], unit: int) -> list[tuple[int, int, int]]:
    """Value, first byte and bytes of each binding: whole units at the front, whole pieces of four elements at the end."""
    found: dict[int, tuple[int, int, int]] = {}
    for operand, number in zip(operands, numbers, strict=True):
        first = operand.access.start // unit * unit
        size = max(operand.access.end, operand.access.start + 1) - first
        found[number] = operand.value, first, -(-size // 16) * 16
    return list(found.values())


def _compile(kernel: Kernel, driver: VulkanDriver, statistics: Statistics) -> Dispatch:
    family = _family(kernel)
    limits = driver.physical.limits
    if isinstance(kernel, MatmulKernel):
        kernel = matmul.oriented(kernel, driver.traits)
    operands: list[Operand] = [*kernel.inputs, *kernel.outputs]
    key = family.key_of(kernel, driver.traits)
    unit = max(limits["storage_alignment"], limits["texel_alignment"])
    starts = [operand.access.start % unit // operand.dtype.itemsize for operand in operands]
    bindings = _bindings(operands, key.bindings, unit)
    if kernel.errors is not None:
        bindings += _bindings([kernel.errors], (0,), unit)
    parameters: Parameters = family.parameters_of(kernel, key, starts)
    if len(parameters.words) > PARAM_WORDS:
        raise VulkanError(f"{'+'.join(kernel.names)} with {len(parameters.words)} parameters", -3)
    chosen = getattr(key, "formats", ())
    formats = (*chosen, *[NO_FORMAT] * (len(bindings) - len(chosen)))
    pipeline = driver.pipelines.get(key, formats, lambda: family.emit(key, driver.abilities), statistics)
    return Dispatch(
        pipeline, driver.layouts.pipeline(formats),
        pieces(_groups(kernel, key, limits["groups"]), work_of(kernel), driver.dispatch_work()), tuple(bindings), formats,
        parameters, getattr(key, "variant", ""),
    )  # fmt: skip
