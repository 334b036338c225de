"""From a plan's kernels to pipelines, parameters and bindings: what stays the same for every recording of the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import settings
from ..errors import VulkanError
from ..plan.convolution import ConvKernel
from ..plan.plan import ElementwiseKernel, Kernel, MatmulKernel, Operand, Plan, ReduceKernel, ShaderKernel
from . import convolution, elementwise, matmul, merge, reduce
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
    """One kernel, or several merged ones, in one or more ``pieces``; ``bindings`` are (value, first byte, bytes), ``formats`` their
    texels' formats, ``written`` the numbers of those that are written.

    ``kernels`` are their numbers in the plan. ``variant`` names what was chosen, where a kernel has several forms.
    """

    pipeline: Any
    layout: Any
    pieces: list[tuple[Extent, Extent]]
    bindings: tuple[tuple[int, int, int], ...]
    formats: Formats
    parameters: Parameters
    written: frozenset[int]
    kernels: tuple[int, ...]
    variant: str = ""


@dataclass(slots=True)
class CompiledPlan:
    """``levels`` hold runs of kernels that may be merged once it is known where their tensors lie."""

    levels: list[list[Dispatch | merge.Run]]
    kernels: int


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
    levels: list[list[Dispatch | merge.Run]] = []
    count = 0
    for level in plan.levels:
        numbered = list(enumerate(level, count))
        count += len(level)
        parts = merge.runs(numbered, driver.traits) if settings.current.fuse else iter(numbered)
        levels.append([part if isinstance(part, merge.Run) else _compile(part, driver, statistics) for part in parts])
    return CompiledPlan(levels, count)


Places = dict[int, tuple[Any, int]]  # per value its VkBuffer and byte offset


def bound(compiled: CompiledPlan, places: Places, driver: VulkanDriver, statistics: Statistics) -> list[list[Dispatch]]:
    """The dispatches of a plan in the memory it is bound to, with a barrier before each list of them."""
    levels: list[list[Dispatch]] = []
    for level in compiled.levels:
        dispatches: list[Dispatch] = []
        for part in level:
            dispatches += _merged(part, places, driver, statistics) if isinstance(part, merge.Run) else [part]
        levels += _apart(dispatches, places)
    return levels


def _unit(driver: VulkanDriver) -> int:
    return max(driver.physical.limits["storage_alignment"], driver.physical.limits["texel_alignment"])


def _merged(run: merge.Run, places: Places, driver: VulkanDriver, statistics: Statistics) -> list[Dispatch]:
    memory = merge.Memory(
        places, _unit(driver), driver.traits.max_range, driver.traits.texels, driver.dispatch_work(), driver.physical.limits["groups"]
    )
    made = []
    for share in memory.shares(run):
        if len(share.kernels) < merge.FEW:
            made += [_compile(numbered, driver, statistics) for numbered in share.kernels]
            continue
        key = run.key
        formats = (*key.formats, *[NO_FORMAT] * (len(share.bindings) - len(key.formats)))
        pipeline = driver.pipelines.get(("merged", key), formats, lambda key=key: merge.emit(key, driver.abilities), statistics)
        groups = sum(merge.groups_of(kernel, key) for _, kernel in share.kernels)
        written = frozenset(key.bindings[len(share.kernels[0][1].inputs) :])
        made.append(
            Dispatch(
                pipeline, driver.layouts.pipeline(formats), [((0, 0, 0), (groups, 1, 1))], share.bindings, formats,
                merge.parameters_of(share, key), written, tuple(number for number, _ in share.kernels),
            )
        )  # fmt: skip
    return made


def _apart(level: list[Dispatch], places: Places) -> list[list[Dispatch]]:
    """A level in parts with barriers between them, where a merged dispatch is bound to memory that another one writes.

    The tensors themselves do not overlap: they share a level. But nobody who only sees what is bound could know that.
    """
    if all(len(dispatch.kernels) == 1 for dispatch in level):
        return [level]
    parts: list[list[Dispatch]] = [[]]
    claims: list[tuple[Any, int, int, bool, bool]] = []
    for dispatch in level:
        mine = []
        for number, (value, first, size) in enumerate(dispatch.bindings):
            buffer, base = places[value]
            mine.append((buffer, base + first, base + first + size, number in dispatch.written, len(dispatch.kernels) > 1))
        if any(
            a[0] == b[0] and a[1] < b[2] and b[1] < a[2] and (a[3] or b[3]) and (a[4] or b[4]) for a in mine for b in claims
        ):
            parts.append([])
            claims = []
        parts[-1].append(dispatch)
        claims += mine
    return parts


def _family(kernel: Kernel) -> Any:
    """The module that knows the kernel."""
    if isinstance(kernel, ElementwiseKernel):
        return elementwise
    if isinstance(kernel, ReduceKernel):
        return reduce
    if isinstance(kernel, MatmulKernel):
        return matmul
    if isinstance(kernel, ConvKernel):
        return convolution
    assert isinstance(kernel, ShaderKernel)
    return FAMILIES[kernel.shader]


def _groups(kernel: Kernel, key: Any, limit: int) -> tuple[int, int, int]:
    if isinstance(kernel, MatmulKernel):
        return matmul.groups(kernel, key, limit)
    family = _family(kernel)
    local = key.local if isinstance(kernel, ConvKernel) else family.LOCAL
    return groups_for(family.invocations(kernel, key), local, limit)


def _bindings(operands: list[Operand], numbers: tuple[int, ...], unit: int) -> list[tuple[int, int, int]]:
    """Value, first byte and bytes of each binding: whole units at the front, whole pieces of four elements at the end."""
    found: dict[int, tuple[int, int, int]] = {}
    for operand, number in zip(operands, numbers, strict=True):
        first = operand.access.start // unit * unit
        size = max(operand.access.end, operand.access.start + 1) - first
        found[number] = operand.value, first, -(-size // 16) * 16
    return list(found.values())


def _compile(numbered: tuple[int, Kernel], driver: VulkanDriver, statistics: Statistics) -> Dispatch:
    number, kernel = numbered
    family = _family(kernel)
    limits = driver.physical.limits
    if isinstance(kernel, MatmulKernel):
        kernel = matmul.oriented(kernel, driver.traits)
    operands: list[Operand] = [*kernel.inputs, *kernel.outputs]
    key = family.key_of(kernel, driver.traits)
    unit = _unit(driver)
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
        parameters, _written(kernel, key), (number,), getattr(key, "variant", ""),
    )  # fmt: skip


def _written(kernel: Kernel, key: Any) -> frozenset[int]:
    """The numbers of the bindings that a kernel writes."""
    numbers = set(key.bindings[len(kernel.inputs) :])
    if kernel.errors is not None:
        numbers.add(len(set(key.bindings)))
    return frozenset(numbers)
