"""What planning makes of a batch: kernels in levels, and where every value lies."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from ..command import Program
from ..dtype import DType
from ..hazards import Access
from ..layout import Shape


@dataclass(frozen=True, slots=True)
class Operand:
    """One tensor as a kernel walks it: value number, first element, and a stride per axis of the kernel's domain."""

    value: int
    offset: int
    dtype: DType
    strides: Shape
    access: Access


@dataclass(frozen=True, slots=True)
class Kernel:
    """What all kernels have: operands in and out, and ``scalars``: positions in the batch's list of scalars.

    ``names`` are the operations it came from. ``errors`` is the operand of the stream's error words, if it may write them.
    ``donated``: an output lies where one of the inputs does, element by element.
    """

    names: tuple[str, ...]
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    scalars: tuple[int, ...]
    errors: Operand | None
    donated: bool = field(default=False, kw_only=True)

    def reads(self) -> list[Access]:
        return [o.access for o in self.inputs]

    def writes(self) -> list[Access]:
        written = [o.access for o in self.outputs]
        if self.errors is not None:
            written.append(self.errors.access)
        return written


@dataclass(frozen=True, slots=True)
class ElementwiseKernel(Kernel):
    """``program`` for every element of ``shape``."""

    shape: Shape
    program: Program


@dataclass(frozen=True, slots=True)
class ReduceKernel(Kernel):
    """Combine ``program``'s one result over the trailing ``reduced`` axes with ``combine`` (add, mul, maximum, minimum).

    Each element of ``kept`` is reduced by ``splits`` invocations; the driver chooses which elements each of them takes, always the
    same. Each gives one partial result, and the output's axes are ``kept`` and then the splits. With one split, ``epilogue`` turns the
    total (of dtype ``accumulate``) and the last ``late`` inputs into the outputs.
    """

    kept: Shape
    reduced: Shape
    combine: str
    splits: int
    accumulate: DType
    program: Program
    epilogue: Program
    late: int


@dataclass(frozen=True, slots=True)
class MatmulKernel(Kernel):
    """``sum over k of a[b, m, k] * b[b, k, n]``, then ``epilogue`` on that and the inputs after the first two.

    Operands' strides are over (batch..., row, column). ``turned``: a driver has exchanged rows and columns, so elements are
    numbered down the columns.
    """

    batch: Shape
    rows: int
    columns: int
    depth: int
    dtype: DType
    epilogue: Program
    turned: bool = False


@dataclass(frozen=True, slots=True)
class ShaderKernel(Kernel):
    """A kernel with code of its own on each driver, by name: what is no elementwise program, reduction or matrix product.

    ``attributes`` are what it takes besides its operands, ``work`` about how many element operations it does (to split dispatches
    that small GPUs would not finish in time, and to tell small work from large), ``dtypes`` those of its scalars. Drivers find it
    in `runtime.vulkan.shaders` and `runtime.host.shaders`.
    """

    shader: str
    work: int
    attributes: tuple[object, ...]
    dtypes: tuple[DType, ...] = ()


@dataclass(slots=True)
class Plan:
    """``bound`` are the batch's slot numbers that need buffers, in the order recordings take them; ``outputs`` those of
    them that the batch makes. Values that are not bound lie in the arena at ``offsets``; outputs may lie at ``carved`` in it, and
    ``gaps`` (first byte, bytes) is what is left of it then. An arena larger than a ``segment`` is in several pieces of that size, and
    no value lies across two of them.

    ``recordings`` belongs to the device: this plan bound to buffers, most recently used last. ``compiled`` belongs to the driver.
    ``observed`` counts submissions by which observers were there (`Observers.epoch`).
    """

    levels: tuple[tuple[Kernel, ...], ...]
    bound: tuple[int, ...]
    outputs: tuple[int, ...]
    written: tuple[int, ...]
    offsets: dict[int, int]
    sizes: dict[int, int]
    arena: int
    fused: int
    carved: dict[int, int] = field(default_factory=dict)
    gaps: tuple[tuple[int, int], ...] = ()
    segment: int = 1 << 62
    compiled: Any = None
    recordings: OrderedDict[Any, list[Any]] = field(default_factory=OrderedDict)
    observed: tuple[int, int] = (0, 0)

    def arenas(self) -> list[int]:
        """The bytes of each piece of the arena."""
        return [min(self.segment, self.arena - start) for start in range(0, self.arena, self.segment)]

    def spots(self) -> list[tuple[int, int, int]]:
        """Every value that lies in the arena: its number, the piece, and the first byte in there."""
        return [(value, *divmod(offset, self.segment)) for value, offset in self.offsets.items()]

    @property
    def kernels(self) -> list[Kernel]:
        return [kernel for level in self.levels for kernel in level]
