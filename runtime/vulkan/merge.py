"""Several elementwise kernels of one level in one dispatch: the same program on many tensors, as optimisers and copies do.

The tensors do not share an allocation, but nearly always a block: so an operand is bound once, from its lowest to its highest
tensor in memory, and a table in the parameters says where each tensor begins. Eight storage buffers are then enough for any number
of tensors. Which tensors lie in one block is known when a plan is bound to memory, so this happens while recording; the plan, its
levels and its hazards stay those of the single kernels, and so do the values.

A workgroup works on one tensor. Which one, it finds by bisection: the table holds the number of each tensor's first group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..command import Program
from ..driver import Traits
from ..plan.plan import ElementwiseKernel, Kernel, Operand
from .access import Abilities, Tensor
from .descriptors import NO_FORMAT
from .elementwise import LOCAL, WHOLE, in_four, load_some, results_of, store_some
from .operands import SINGLE, STRIDED, bindings_of, mode, reads_texels, tensors_of, texel_format
from .parameters import Parameters, scalar_in, words_of
from .spirv import PARAM_WORDS, Module, Op
from .spirv_numbers import BUILTIN_LOCAL_ID

if TYPE_CHECKING:
    from typing import Any

FEW = 2  # kernels that are worth merging
EACH = 4  # elements an invocation
GROUP = LOCAL * EACH
MOST = 64  # tensors a dispatch
LARGE = 1 << 20  # elements from which a kernel is dispatched by itself: that costs nothing beside its work
HEADER = 1  # words before the table


@dataclass(frozen=True, slots=True)
class MergedKey:
    """What makes two merged dispatches the same shader. ``columns``: per operand, the column of the table with its first element."""

    program: Program
    modes: tuple[str, ...]
    outputs: int
    bindings: tuple[int, ...]
    formats: tuple[int, ...]
    columns: tuple[int, ...]

    def row(self) -> int:
        """Words of a tensor's row: its first group, its elements, the columns, the scalars."""
        return 2 + max(self.columns) + 1 + sum(map(words_of, self.program.scalars))


def key_of(kernel: ElementwiseKernel, traits: Traits) -> MergedKey | None:
    """Kernels with equal keys can be merged; None for one that cannot be: large, walked by coordinates, or with lookups or notes."""
    if kernel.errors is not None or kernel.program.tables or not 0 < math.prod(kernel.shape) < LARGE:
        return None
    operands = kernel.inputs + kernel.outputs
    modes = [mode(o.strides, kernel.shape) for o in operands]
    if STRIDED in modes:
        return None
    modes = [in_four(o, how, 0) for o, how in zip(operands, modes, strict=True)]
    formats = [NO_FORMAT] * len(kernel.inputs)
    if reads_texels(traits):
        formats = [texel_format(o, how in WHOLE, traits) for o, how in zip(kernel.inputs, modes, strict=False)]
    bindings = bindings_of(kernel, [k for k, f in enumerate(formats) if f != NO_FORMAT])
    places = [(o.value, o.offset, o.dtype) for o in operands]
    columns = tuple(list(dict.fromkeys(places)).index(p) for p in places)
    key = MergedKey(kernel.program, tuple(modes), len(kernel.outputs), bindings, tuple(formats), columns)
    return key if HEADER + 2 * key.row() <= PARAM_WORDS else None


def groups_of(kernel: ElementwiseKernel) -> int:
    return -(-math.prod(kernel.shape) // GROUP)


def parameters_of(kernels: Sequence[ElementwiseKernel], key: MergedKey, starts: Sequence[Sequence[int]]) -> Parameters:
    """``starts``: per kernel and operand the first element, counted from where the operand's binding begins."""
    made = Parameters()
    made.add(len(kernels))
    group = 0
    for kernel, firsts in zip(kernels, starts, strict=True):
        columns = dict(zip(key.columns, firsts, strict=True))
        made.add(group, math.prod(kernel.shape), *(columns[k] for k in range(len(columns))))
        made.add_scalars(kernel.scalars, kernel.program.scalars)
        group += groups_of(kernel)
    return made


def emit(key: MergedKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: inputs, outputs."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    program, count = key.program, len(key.program.inputs)
    dtypes = [*program.inputs, *(program.dtype_of(r) for r in program.results)]
    fours = [k for k, how in enumerate(key.modes) if how in WHOLE]
    texels = [k for k, f in enumerate(key.formats) if f != NO_FORMAT]
    tensors = tensors_of(m, dtypes, key.bindings, key.outputs, abilities, True, fours, texels)
    group = m.group()
    row = _row(m, key, group)
    within = m.op(Op.ISub, m.u32, group, m.param_at(row))
    length = m.param_at(m.add(row, m.u(1)))
    invocation = m.add(m.mul(within, m.u(LOCAL)), m.builtin(BUILTIN_LOCAL_ID, 0))
    first = m.mul(invocation, m.u(EACH))
    with m.if_(m.op(Op.ULessThan, m.bool, first, length)):
        columns = [m.param_at(m.add(row, m.u(2 + k))) for k in range(max(key.columns) + 1)]
        scalars = list(_scalars(m, key, row, len(columns), abilities))
        starts = [columns[k] for k in key.columns]
        places = [start if how == SINGLE else m.add(start, first) for how, start in zip(key.modes, starts, strict=True)]
        one = m.u(1)
        loaded = [load_some(m, t, how, place, one) for t, how, place in zip(tensors[:count], key.modes, places, strict=False)]
        results = results_of(m, program, loaded, scalars, abilities, first)
        left = m.op(Op.ISub, m.u32, length, first)
        for k in range(count, len(tensors)):
            alone = tensors[k]
            if key.modes[k] in WHOLE:
                alone = Tensor(m, key.bindings[k], dtypes[k], abilities, writable=True, aliased=True)
            store_some(m, (tensors[k], alone), key.modes[k], places[k], one, results[k - count], left)
    return m.finish()


def _row(m: Module, key: MergedKey, group: int) -> int:
    """The first word of the row of the last tensor whose first group is not after ``group``."""
    count, width = m.param(0), m.u(key.row())
    last = m.op(Op.ISub, m.u32, count, m.u(1))
    found = m.u(0)
    step = MOST // 2
    while step:
        tried = m.add(found, m.u(step))
        inside = m.op(Op.ULessThanEqual, m.bool, tried, last)
        looked = m.select(inside, tried, last)
        begins = m.param_at(m.add(m.mul(looked, width), m.u(HEADER)))
        reached = m.op(Op.ULessThanEqual, m.bool, begins, group)
        found = m.select(m.op(Op.LogicalAnd, m.bool, inside, reached), tried, found)
        step //= 2
    return m.add(m.mul(found, width), m.u(HEADER))


def _scalars(m: Module, key: MergedKey, row: int, columns: int, abilities: Abilities) -> Iterator[int]:
    at = 2 + columns
    for dtype in key.program.scalars:
        words = [m.param_at(m.add(row, m.u(at + k))) for k in range(words_of(dtype))]
        yield scalar_in(m, words, dtype, int64=abilities.int64)
        at += len(words)


# -- which kernels, on which memory -------------------------------------------------------------------------------
@dataclass(slots=True)
class Run:
    """Kernels next to each other in a level that are the same but for their tensors."""

    key: MergedKey
    kernels: list[ElementwiseKernel]


Piece = tuple[int, int, int]  # value with the lowest address, first byte counted from that value, bytes


@dataclass(slots=True)
class Share:
    """Kernels of a run that go out in one dispatch: their operands lie in the same blocks."""

    kernels: list[ElementwiseKernel]
    starts: list[list[int]]
    bindings: tuple[Piece, ...]


def shares(run: Run, places: dict[int, tuple[Any, int]], unit: int, limits: dict[str, int]) -> list[Share]:
    """How a run is dispatched in the memory it was bound to.

    ``places`` are the buffer and the byte offset of each value, ``unit`` the alignment of bindings. ``limits``: most ``bytes`` of a
    binding, most ``texels`` of one, most ``work`` and ``groups`` of a dispatch (0: any).
    """
    by_blocks: dict[tuple[int, ...], list[ElementwiseKernel]] = {}
    for kernel in run.kernels:
        blocks = tuple(_address(places[o.value][0]) for o in (*kernel.inputs, *kernel.outputs))
        by_blocks.setdefault(blocks, []).append(kernel)
    made = []
    rows = min(MOST, (PARAM_WORDS - HEADER) // run.key.row())
    for kernels in by_blocks.values():
        # By address: what goes into one dispatch then spans little memory.
        kernels.sort(key=lambda k: places[k.outputs[0].value][1] + k.outputs[0].access.start)
        gathered: list[ElementwiseKernel] = []
        for kernel in kernels:
            if gathered and (len(gathered) == rows or not _fits([*gathered, kernel], run.key, places, unit, limits)):
                made.append(_share(gathered, run.key, places, unit))
                gathered = []
            gathered.append(kernel)
        made.append(_share(gathered, run.key, places, unit))
    return made


def _address(buffer: Any) -> int:
    from .loader import api

    return int(api().ffi.cast("uintptr_t", buffer))


def _hulls(
    kernels: Sequence[ElementwiseKernel], key: MergedKey, places: dict[int, tuple[Any, int]], unit: int
) -> list[tuple[Operand, int, int]]:
    """Per binding: the operand that lies lowest, and the first and last byte of all, whole units at the front."""
    found: dict[int, tuple[Operand, int, int]] = {}
    for kernel in kernels:
        for operand, number in zip((*kernel.inputs, *kernel.outputs), key.bindings, strict=True):
            base = places[operand.value][1]
            start = (base + operand.access.start) // unit * unit
            end = base + max(operand.access.end, operand.access.start + 1)
            lowest, first, last = found.get(number, (operand, start, end))
            found[number] = operand if start < first else lowest, min(first, start), max(last, end)
    return [found[number] for number in sorted(found)]


def _fits(
    kernels: Sequence[ElementwiseKernel], key: MergedKey, places: dict[int, tuple[Any, int]], unit: int, limits: dict[str, int]
) -> bool:
    if sum(groups_of(k) for k in kernels) > limits["groups"]:
        return False
    steps = len(key.program.inputs) + key.outputs + len(key.program.steps)
    if limits["work"] and sum(math.prod(k.shape) for k in kernels) * steps > limits["work"]:
        return False
    for number, (operand, first, last) in enumerate(_hulls(kernels, key, places, unit)):
        size = -(-(last - first) // 16) * 16
        if size > limits["bytes"]:
            return False
        if number < len(key.formats) and key.formats[number] != NO_FORMAT:
            each = operand.dtype.itemsize * (EACH if key.modes[number] in WHOLE else 1)
            if size // each > limits["texels"]:
                return False
    return True


def _share(kernels: list[ElementwiseKernel], key: MergedKey, places: dict[int, tuple[Any, int]], unit: int) -> Share:
    hulls = _hulls(kernels, key, places, unit)
    starts = []
    for kernel in kernels:
        firsts = []
        for operand, number in zip((*kernel.inputs, *kernel.outputs), key.bindings, strict=True):
            address = places[operand.value][1] + operand.offset * operand.dtype.itemsize
            firsts.append((address - hulls[number][1]) // operand.dtype.itemsize)
        starts.append(firsts)
    bindings = tuple(
        (operand.value, first - places[operand.value][1], -(-(last - first) // 16) * 16) for operand, first, last in hulls
    )
    return Share(kernels, starts, bindings)


def runs(level: Sequence[Kernel], traits: Traits) -> Iterator[Run | Kernel]:
    """The kernels of a level, those that can be merged in runs of at least `FEW`."""
    gathered: list[ElementwiseKernel] = []
    before: MergedKey | None = None
    for kernel in (*level, None):
        key = key_of(kernel, traits) if isinstance(kernel, ElementwiseKernel) else None
        if gathered and (key is None or key != before):
            assert before is not None
            yield from [Run(before, gathered)] if len(gathered) >= FEW else gathered
            gathered = []
        before = key
        if key is not None:
            assert isinstance(kernel, ElementwiseKernel)
            gathered.append(kernel)
        elif kernel is not None:
            yield kernel
