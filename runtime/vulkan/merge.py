"""Several kernels of one level in one dispatch: the same shader on many tensors, as optimisers, copies and norms of gradients do.

The tensors do not share an allocation, but nearly always a block: so an operand is bound once, from its lowest to its highest tensor
in memory, and a table (`runtime.vulkan.table`) says where each begins. Eight storage buffers are then enough for any number of
tensors. Which tensors lie in one block is known when a plan is bound to memory, so this happens while recording; the plan, its
levels and its hazards stay those of the single kernels, and so do the values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..driver import Traits
from ..plan.plan import ElementwiseKernel, Kernel, Operand, ReduceKernel
from . import elementwise, flat, reduce
from .access import Abilities, texel_formats
from .descriptors import NO_FORMAT
from .elementwise import ElementwiseKey
from .flat import FlatKey
from .parameters import Parameters
from .reduce import ReduceKey
from .split import work_of
from .table import rows_that_fit, table_of

if TYPE_CHECKING:
    from typing import Any

FEW = 2  # kernels that are worth merging
LARGE = 1 << 17  # elements from which a kernel is dispatched by itself: that costs nothing beside its work
LARGE_STRIDED = 1 << 14  # of elementwise kernels that are not flat: every few elements they look for their row
Key = FlatKey | ElementwiseKey | ReduceKey
Mergeable = ElementwiseKernel | ReduceKernel


def key_of(kernel: Kernel, traits: Traits) -> Key | None:
    """Kernels with equal keys can be merged; None for one that cannot be: large, of another family, or with notes or look-ups."""
    if kernel.errors is not None or (isinstance(kernel, ElementwiseKernel) and kernel.program.tables):
        return None
    key: Key
    if isinstance(kernel, ElementwiseKernel) and 0 < math.prod(kernel.shape) < LARGE:
        key = flat.key_of(kernel, traits) or replace(elementwise.key_of(kernel, traits), aliased=True)
        if isinstance(key, ElementwiseKey) and math.prod(kernel.shape) >= LARGE_STRIDED:
            return None
    elif isinstance(kernel, ReduceKernel) and 0 < math.prod(kernel.kept + kernel.reduced) < LARGE:
        key = replace(reduce.key_of(kernel, traits), aliased=True)
    else:
        return None
    return key if rows_that_fit(_words(kernel, key)) >= FEW else None


def _family(key: Key) -> Any:
    return flat if isinstance(key, FlatKey) else elementwise if isinstance(key, ElementwiseKey) else reduce


def _words(kernel: Mergeable, key: Key) -> int:
    """How long the kernel's row is."""
    starts = [0] * (len(kernel.inputs) + len(kernel.outputs))
    return len(_family(key).parameters_of(kernel, key, starts).words)


def groups_of(kernel: Mergeable, key: Key) -> int:
    family = _family(key)
    return int(-(-family.invocations(kernel, key) // family.LOCAL))


def parameters_of(share: Share, key: Key) -> Parameters:
    rows = [
        _family(key).parameters_of(kernel, key, starts) for (_, kernel), starts in zip(share.kernels, share.starts, strict=True)
    ]
    return table_of(rows, [groups_of(kernel, key) for _, kernel in share.kernels])


def emit(key: Key, abilities: Abilities) -> bytes:
    """The shader. Bindings as of a single kernel."""
    if isinstance(key, FlatKey):
        return flat.emit(key, abilities)
    return elementwise.emit(key, abilities, True) if isinstance(key, ElementwiseKey) else reduce.emit(key, abilities, True)


# -- which kernels, on which memory -------------------------------------------------------------------------------
Numbered = tuple[int, Mergeable]  # a kernel's number in its plan


@dataclass(slots=True)
class Run:
    """Kernels of a level that are the same but for their tensors."""

    key: Key
    kernels: list[Numbered]


Piece = tuple[int, int, int]  # value with the lowest address, first byte counted from that value, bytes


@dataclass(slots=True)
class Share:
    """Kernels of a run that go out in one dispatch: their operands lie in the same blocks."""

    kernels: list[Numbered]
    starts: list[list[int]]
    bindings: tuple[Piece, ...]


def runs(level: Sequence[tuple[int, Kernel]], traits: Traits) -> Iterator[Run | tuple[int, Kernel]]:
    """The numbered kernels of a level, those that can be merged in runs of at least `FEW`."""
    alike: dict[object, list[tuple[int, Kernel]]] = {}
    for number, kernel in level:
        key = key_of(kernel, traits)
        alike.setdefault(number if key is None else key, []).append((number, kernel))
    for key_or_number, kernels in alike.items():
        if len(kernels) < FEW:
            yield from kernels
        else:
            assert isinstance(key_or_number, FlatKey | ElementwiseKey | ReduceKey)
            yield Run(key_or_number, [(n, k) for n, k in kernels if isinstance(k, ElementwiseKernel | ReduceKernel)])


@dataclass(frozen=True, slots=True)
class Memory:
    """What a run is bound to, and what one dispatch may take of it.

    ``places``: the buffer and the byte offset of each value; ``unit``: the alignment of bindings. At most so many ``nbytes`` and
    ``texels`` of one binding, so much ``work`` (0: any) and so many ``groups`` of a dispatch.
    """

    places: dict[int, tuple[Any, int]]
    unit: int
    nbytes: int
    texels: int
    work: int
    groups: int

    def first_byte(self, operand: Operand) -> int:
        return self.places[operand.value][1] + operand.access.start

    def shares(self, run: Run) -> list[Share]:
        """How a run is dispatched."""
        by_blocks: dict[tuple[int, ...], list[Numbered]] = {}
        for number, kernel in run.kernels:
            blocks = tuple(_address(self.places[o.value][0]) for o in (*kernel.inputs, *kernel.outputs))
            by_blocks.setdefault(blocks, []).append((number, kernel))
        made = []
        rows = rows_that_fit(_words(run.kernels[0][1], run.key))
        for kernels in by_blocks.values():
            # By address: what goes into one dispatch then spans little memory.
            kernels.sort(key=lambda numbered: self.first_byte(numbered[1].outputs[0]))
            gathered: list[Numbered] = []
            for numbered in kernels:
                if gathered and (len(gathered) == rows or not self._fits([*gathered, numbered], run.key)):
                    made.append(self._share(gathered, run.key))
                    gathered = []
                gathered.append(numbered)
            made.append(self._share(gathered, run.key))
        return made

    def _hulls(self, kernels: Sequence[Numbered], key: Key) -> list[tuple[Operand, int, int]]:
        """Per binding: the operand that lies lowest, and the first and last byte of all, whole units at the front."""
        found: dict[int, tuple[Operand, int, int]] = {}
        for _, kernel in kernels:
            for operand, number in zip((*kernel.inputs, *kernel.outputs), key.bindings, strict=True):
                start = self.first_byte(operand)
                end = start + max(operand.access.end - operand.access.start, 1)
                start = start // self.unit * self.unit
                lowest, first, last = found.get(number, (operand, start, end))
                found[number] = operand if start < first else lowest, min(first, start), max(last, end)
        return [found[number] for number in sorted(found)]

    def _fits(self, kernels: Sequence[Numbered], key: Key) -> bool:
        if sum(groups_of(k, key) for _, k in kernels) > self.groups:
            return False
        if self.work and sum(work_of(k) for _, k in kernels) > self.work:
            return False
        for number, (operand, first, last) in enumerate(self._hulls(kernels, key)):
            size = _whole(last - first)
            if size > self.nbytes:
                return False
            formats = texel_formats(operand.dtype)
            if number < len(key.formats) and key.formats[number] != NO_FORMAT and formats is not None:
                each = operand.dtype.itemsize * (4 if key.formats[number] == formats[1] else 1)
                if size // each > self.texels:
                    return False
        return True

    def _share(self, kernels: list[Numbered], key: Key) -> Share:
        hulls = self._hulls(kernels, key)
        starts = []
        for _, kernel in kernels:
            operands = zip((*kernel.inputs, *kernel.outputs), key.bindings, strict=True)
            starts.append([(self.first_byte(o) - hulls[number][1]) // o.dtype.itemsize for o, number in operands])
        bindings = tuple((o.value, first - self.places[o.value][1], _whole(last - first)) for o, first, last in hulls)
        return Share(kernels, starts, bindings)


def _whole(nbytes: int) -> int:
    """In whole pieces of four elements."""
    return -(-nbytes // 16) * 16


def _address(buffer: Any) -> int:
    from .loader import api

    return int(api().ffi.cast("uintptr_t", buffer))
