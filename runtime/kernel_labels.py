"""What kernels are called, how much they do, and which commands of a batch each of them came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import settings
from .plan.decode import decode, drop_dead
from .plan.fuse import fuse
from .plan.lower import Lowering
from .plan.order import levels
from .plan.plan import ElementwiseKernel, Kernel, MatmulKernel, ReduceKernel, ShaderKernel

if TYPE_CHECKING:
    from .device import Device
    from .plan.plan import Plan

_LONGEST_PERIOD = 6  # operations that repeat inside a fused kernel are written once
_MOST_NAMES = 8


def kernel_kind(kernel: Kernel) -> str:
    """``elementwise``, ``reduce``, ``matmul``, or the name of the hand-written kernel."""
    shader = getattr(kernel, "shader", None)
    return type(kernel).__name__.removesuffix("Kernel").lower() if shader is None else str(shader)


def kernel_name(kernel: Kernel) -> str:
    """The operations a kernel came from; what repeats is written once: ``(mul+add)x100``."""
    return repeated(kernel.names)


def repeated(names: Sequence[str]) -> str:
    for period in range(1, min(_LONGEST_PERIOD, len(names) // 2) + 1):
        times, rest = divmod(len(names), period)
        if rest == 0 and list(names) == list(names[:period]) * times:
            head = "+".join(names[:period])
            return f"{head}x{times}" if period == 1 else f"({head})x{times}"
    if len(names) <= _MOST_NAMES:
        return "+".join(names)
    return "+".join(names[: _MOST_NAMES - 1]) + f"+{len(names) - _MOST_NAMES + 1} more"


def kernel_shape(kernel: Kernel) -> str:
    """What it runs over: ``64x64``, ``10 <- 10x512`` for reductions, ``64x512x784`` (rows, columns, depth)
    for matmul.
    """
    known: Any = kernel
    if hasattr(kernel, "kept"):
        return f"{_times(known.kept)} <- {_times((*known.kept, *known.reduced))}" + (
            f" in {known.splits}" if known.splits > 1 else ""
        )
    if hasattr(kernel, "axes"):  # a convolution: channels and taps of each sum
        return f"{_times(known.shape)} <- {_times((known.depth, *(axis.taps for axis in known.axes)))}"
    if hasattr(kernel, "depth"):
        return _times((*known.batch, known.rows, known.columns, known.depth))
    return _times(known.shape) if hasattr(kernel, "shape") else ""


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "1"


def touched(kernels: Sequence[Kernel]) -> int:
    """Bytes the kernels read and write, each operand's range counted once per kernel."""
    return sum(access.end - access.start for kernel in kernels for access in (*kernel.reads(), *kernel.writes()))


def arithmetic(kernel: Kernel) -> int:
    """About how many operations on numbers a kernel does: multiplications and additions of a product, steps of a program."""
    if isinstance(kernel, MatmulKernel):
        each = 2 * kernel.depth + len(kernel.epilogue.steps)
        return math.prod(kernel.batch) * kernel.rows * kernel.columns * each
    if isinstance(kernel, ElementwiseKernel):
        return math.prod(kernel.shape) * len(kernel.program.steps)
    if isinstance(kernel, ReduceKernel):
        kept = math.prod(kernel.kept)
        return kept * (math.prod(kernel.reduced) * (1 + len(kernel.program.steps)) + len(kernel.epilogue.steps))
    assert isinstance(kernel, ShaderKernel)
    return kernel.work


@dataclass(frozen=True, slots=True)
class KernelLabel:
    """One kernel for people: ``moved`` bytes and ``done`` operations on numbers per run; ``operations`` it came from."""

    name: str
    shape: str
    operations: tuple[str, ...]
    moved: int
    done: int


def label(kernel: Kernel) -> KernelLabel:
    return KernelLabel(kernel_name(kernel), kernel_shape(kernel), kernel.names, touched([kernel]), arithmetic(kernel))


@dataclass(slots=True)
class PlanLabels:
    """A plan's kernels, and per kernel the numbers of the batch's commands that it runs; None where the batch was not seen.

    The plan is kept too, so that its ``id`` stays its own.
    """

    plan: Plan
    kernels: tuple[KernelLabel, ...]
    commands: tuple[tuple[int, ...], ...] | None = None


def commands_of(
    plan: Plan, device: Device, key: Sequence[object], living: Sequence[int], join: bool
) -> tuple[tuple[int, ...], ...] | None:
    """Per kernel of ``plan``, which commands of the batch became it, by their numbers.

    Plans do not keep that: nobody but people who look at traces wants to know. So the steps of `plan.planner.make_plan` that decide
    it are taken again. None where they come out differently, as they would with settings that were changed meanwhile.
    """
    decoded = decode(key)
    seen = {id(command): number for number, command in enumerate(decoded.commands)}
    commands = drop_dead(decoded.commands, decoded.made, living)
    numbers = [seen[id(command)] for command in commands]
    lowering = Lowering(device.driver.traits, decoded.values, device.error_layout)
    kernels: list[Kernel] = []
    members: dict[int, tuple[int, ...]] = {}
    for group, stored in fuse(commands, living, decoded.made, device.driver.traits, join):
        own = tuple(numbers[k] for k in range(group.members.bit_length()) if group.members >> k & 1)
        for kernel in lowering.lower(group, stored):
            kernels.append(kernel)
            members[id(kernel)] = own
    ordered = [kernel for level in levels(kernels, device.driver.traits.hazard_alignment) for kernel in level]
    if [kernel.names for kernel in ordered] != [kernel.names for kernel in plan.kernels]:
        return None
    return tuple(members[id(kernel)] for kernel in ordered)


def fusing() -> bool:
    """Whether plans made now fuse commands."""
    return settings.current.fuse
