"""Where temporaries lie: lifetimes over levels become offsets in one arena, so that dead values' bytes are used again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..command import Program
from ..driver import Traits
from .convolution import ConvKernel
from .plan import ElementwiseKernel, Kernel, MatmulKernel, Operand, ReduceKernel

CARVE_FROM = 4 << 20  # bytes from which outputs may share an arena: below, whole buffers are found again faster
CARVE_LEAST = 1 << 15  # bytes of each of them at least
CARVE_GAIN = 16  # and if that saves at least one part in so many
FOREVER = 1 << 60  # the last level of what outlives the batch


def lifetimes(
    levels: Sequence[Sequence[Kernel]], values: Collection[int], lasting: Collection[int] = ()
) -> dict[int, tuple[int, int]]:
    """First and last level that touches each of ``values``; those that are ``lasting`` live on."""
    lives: dict[int, tuple[int, int]] = {}
    for number, level in enumerate(levels):
        for kernel in level:
            for access in (*kernel.reads(), *kernel.writes()):
                if access.value in values:
                    first, _ = lives.get(access.value, (number, number))
                    lives[access.value] = first, FOREVER if access.value in lasting else number
    return lives


@dataclass(slots=True)
class Placement:
    """``offsets`` in an arena of ``size`` bytes. ``donated`` maps values to those whose bytes they took over in the same kernel."""

    offsets: dict[int, int] = field(default_factory=dict)
    donated: dict[int, int] = field(default_factory=dict)
    size: int = 0


def place(
    levels: Sequence[Sequence[Kernel]], sizes: Mapping[int, int], alignment: int, lasting: Collection[int] = (), segment: int = 1 << 62
) -> Placement:
    """Offsets for ``sizes`` (value -> bytes); values that are ``lasting`` keep theirs to the end.

    No value lies across a multiple of ``segment``, unless it is larger than that.

    Levels are walked in order; a value takes the smallest gap that holds it. Two values share bytes only if one's last level
    comes strictly before the other's first, so that the barrier between levels separates them, or if one kernel reads the one for
    the last time and writes the other, element by element at the same places: then each element is read before it is replaced.

    What lasts lies side by side at the front, so that the rest stays in one piece; the latest comes first: whatever dies early enough
    for one of them does so for all that lie before it.
    """
    lives = lifetimes(levels, sizes, lasting)
    born: dict[int, list[int]] = {}
    for value, (first, _) in lives.items():
        if value not in lasting:
            born.setdefault(first, []).append(value)
    made = Placement()
    kept: list[tuple[int, int, int]] = []  # start, end, first level; sorted by start
    for value in sorted((v for v in lasting if v in lives), key=lambda v: (-lives[v][0], v)):
        made.offsets[value] = made.size
        size = -(-max(sizes[value], 1) // alignment) * alignment
        kept.append((made.size, made.size + size, lives[value][0]))
        made.size += size
    busy: list[tuple[int, int, int]] = []  # start, end, last level; sorted by start
    for number, level in enumerate(levels):
        busy = [piece for piece in busy if piece[2] >= number]
        gifts = donations(level, number, lives, sizes)
        for value in sorted(born.get(number, ()), key=lambda v: -sizes[v]):
            size = -(-max(sizes[value], 1) // alignment) * alignment
            giver = gifts.get(value)
            if giver is not None and (not kept or _free(kept, made.offsets[giver], size, lives[value][1])):
                start = made.offsets[giver]
                at, piece = next((k, p) for k, p in enumerate(busy) if p[0] == start)
                busy[at] = (start, piece[1], lives[value][1])
                made.donated[value] = giver
            else:
                last = lives[value][1]
                start = _gap(sorted([*busy, *(piece for piece in kept if piece[2] <= last)]) if kept else busy, size, segment)
                busy.append((start, start + size, last))
                busy.sort()
            made.offsets[value] = start
            made.size = max(made.size, start + size)
    return made


def arrange(
    levels: Sequence[Sequence[Kernel]], temporaries: Mapping[int, int], outputs: Mapping[int, int], traits: Traits
) -> Placement:
    """Offsets for the temporaries, and for large outputs where that saves memory.

    Outputs that come late, such as the gradients of a deep model, then lie where temporaries lay that are dead by then. Small ones
    stay apart: somebody may keep them (a loss per step, say), and they would keep the arena from being whole again.
    """
    segment = segment_of(traits)
    alone = place(levels, temporaries, traits.alignment, (), segment)
    large = {value: nbytes for value, nbytes in outputs.items() if nbytes >= CARVE_LEAST}
    apart = alone.size + sum(large.values())
    if alone.size == 0 or apart < CARVE_FROM:
        return alone
    together = place(levels, {**temporaries, **large}, traits.alignment, large, segment)
    return together if together.size <= min(apart - apart // CARVE_GAIN, segment) else alone


def segment_of(traits: Traits) -> int:
    """The largest piece an arena can be made of."""
    return traits.max_block // traits.alignment * traits.alignment


def gaps(carved: Mapping[int, int], sizes: Mapping[int, int], arena: int, alignment: int) -> tuple[tuple[int, int], ...]:
    """What is left of an arena without the outputs in it: first byte and bytes of each piece."""
    out, cursor = [], 0
    for value, offset in sorted(carved.items(), key=lambda item: item[1]):
        if offset > cursor:
            out.append((cursor, offset - cursor))
        cursor = offset + -(-max(sizes[value], 1) // alignment) * alignment
    if cursor < arena:
        out.append((cursor, arena - cursor))
    return tuple(out)


def marked(levels: Sequence[Sequence[Kernel]], donated: Collection[int]) -> tuple[tuple[Kernel, ...], ...]:
    """The kernels, those whose outputs lie on their inputs told so."""
    if not donated:
        return tuple(map(tuple, levels))
    return tuple(
        tuple(replace(k, donated=True) if any(o.value in donated for o in k.outputs) else k for k in level) for level in levels
    )


def donations(
    level: Sequence[Kernel], number: int, lives: Mapping[int, tuple[int, int]], sizes: Mapping[int, int]
) -> dict[int, int]:
    """What is born on a level -> a value that dies there and can give its bytes; both of them among ``sizes``."""
    touching: dict[int, int] = {}
    for kernel in level:
        for access in (*kernel.reads(), *kernel.writes()):
            touching[access.value] = touching.get(access.value, 0) + 1
    gifts: dict[int, int] = {}
    for kernel in level:
        program, inputs = _element_by_element(kernel)
        givers = [
            (o, register) for o, register in inputs
            if touching[o.value] == 1 and o.value in lives and lives[o.value][0] < number == lives[o.value][1]
        ]  # fmt: skip
        for position, output in enumerate(kernel.outputs if givers else ()):
            if touching[output.value] == 1 and output.value in lives and lives[output.value][0] == number:
                for giver, register in givers:
                    same = _same_place(giver, output) and sizes[giver.value] == sizes[output.value]
                    if same and register in _needed(program, position):
                        gifts[output.value] = giver.value
                        givers.remove((giver, register))
                        break
    return gifts


def _element_by_element(kernel: Kernel) -> tuple[Program, list[tuple[Operand, int]]]:
    """Inputs of which the invocation that writes an element reads just that one, with their registers in the program that follows."""
    if isinstance(kernel, ElementwiseKernel):
        return kernel.program, [(o, k) for k, o in enumerate(kernel.inputs) if k not in kernel.program.tables]
    if isinstance(kernel, (MatmulKernel, ConvKernel)):
        return kernel.epilogue, [(o, k) for k, o in enumerate(kernel.inputs[2:], 1)]
    if isinstance(kernel, ReduceKernel) and kernel.splits == 1:
        return kernel.epilogue, [(o, k) for k, o in enumerate(kernel.inputs[len(kernel.inputs) - kernel.late :], 1)]
    return Program((), (), (), ()), []


def _needed(program: Program, position: int) -> set[int]:
    """The registers that a result is computed from. What is read for another result might be read after this one is written."""
    first = len(program.inputs) + len(program.scalars)
    needed = {program.results[position]}
    for k in range(len(program.steps) - 1, -1, -1):
        if first + k in needed:
            needed.update(program.steps[k].args)
    return needed


def _same_place(a: Operand, b: Operand) -> bool:
    """The same bytes for every element, if both values lie at the same address."""
    return a.dtype.itemsize == b.dtype.itemsize and (a.offset, a.strides) == (b.offset, b.strides)


def _free(kept: Sequence[tuple[int, int, int]], start: int, size: int, last: int) -> bool:
    """Whether nothing that lasts is born on these bytes before ``last`` is over."""
    return not any(first <= last and a < start + size and start < b for a, b, first in kept)


def _gap(busy: Sequence[tuple[int, int, int]], size: int, segment: int) -> int:
    """Start of the smallest gap of at least ``size`` bytes within a segment, or the first possible start after everything."""
    best: tuple[int, int] | None = None
    cursor = 0
    for start, end, _ in busy:
        first = _whole(cursor, size, segment)
        if start - first >= size and (best is None or start - cursor < best[0]):
            best = (start - cursor, first)
        cursor = max(cursor, end)
    return _whole(cursor, size, segment) if best is None else best[1]


def _whole(start: int, size: int, segment: int) -> int:
    """The first place from ``start`` on where ``size`` bytes are in one segment."""
    return start if start % segment + size <= segment else -(-start // segment) * segment
