"""Reductions: each invocation combines its share of one output's elements, one after the other.

No shared memory and no barriers inside the shader: on the Raspberry Pi shared memory is ordinary memory, on software devices a
barrier costs more than a dispatch. Long sums are split by the planner into stages, which also bounds their rounding error; the
order is fixed, so results are the same bits every time.

Where elements lie in aligned pieces of four, an invocation takes them four at a time: along the reduction, with four totals that it
combines at the end, or across it, for four neighbouring outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..command import Program
from ..driver import Traits
from ..dtype import DType
from ..plan.plan import Operand, ReduceKernel
from . import functions
from .access import Abilities, Tensor
from .descriptors import NO_FORMAT
from .elementwise import LOCAL, SHORT, weight
from .operands import (
    LINEAR,
    STRIDED,
    Words,
    aliased,
    bindings_of,
    coordinates,
    in_fours,
    mode,
    reads_texels,
    tensors_of,
    texel_format,
    walked,
)
from .parameters import Parameters
from .program import evaluate, narrow
from .spirv import Ext, Module, Op
from .table import Row

FIRST = ("maximum", "minimum")  # start from the first element: they have no identity that keeps NaN and booleans right
SINGLY, ALONG, ACROSS = "singly", "along", "across"
PIECES, REPEATED = "pieces", "repeated"
TOGETHER = 8  # invocations
UNROLLED = 4  # turns of the loop at once, of short programs that add


@dataclass(frozen=True, slots=True)
class ReduceKey:
    """What makes two reductions the same shader.

    ``rows``: neighbouring invocations share an output. ``form``: what an invocation takes at a time; ``modes``: per early input, how
    its four elements lie then.
    """

    program: Program
    epilogue: Program
    combine: str
    accumulate: DType
    kept: int
    reduced: int
    partial: bool
    linear: tuple[bool, ...]  # per late input and output
    rows: bool
    form: str
    modes: tuple[str, ...]
    bindings: tuple[int, ...]
    formats: tuple[int, ...]
    aliased: bool


def key_of(kernel: ReduceKernel, traits: Traits) -> ReduceKey:
    early = len(kernel.inputs) - kernel.late
    sources = kernel.inputs[:early]
    rows = bool(kernel.reduced) and bool(early) and sources[0].strides[-1] == 1
    others = kernel.inputs[early:] + kernel.outputs
    linear = tuple(kernel.splits > 1 or mode(o.strides, kernel.kept) == LINEAR for o in others)
    form, modes = _form(kernel, sources)
    formats = [NO_FORMAT] * early
    if reads_texels(traits):
        formats = [texel_format(o, m == PIECES, traits) for o, m in zip(sources, modes, strict=True)]
    bindings = bindings_of(kernel, [k for k, f in enumerate(formats) if f != NO_FORMAT])
    return ReduceKey(
        kernel.program, kernel.epilogue, kernel.combine, kernel.accumulate, len(kernel.kept), len(kernel.reduced),
        kernel.splits > 1, linear, rows, form, modes, bindings, tuple(formats), aliased(kernel, bindings),
    )  # fmt: skip


def _form(kernel: ReduceKernel, sources: tuple[Operand, ...]) -> tuple[str, tuple[str, ...]]:
    """What an invocation takes at a time, and how that lies in each source."""
    if weight(kernel.program) <= SHORT:
        for form, axis, lengths in ((ALONG, -1, kernel.reduced), (ACROSS, len(kernel.kept) - 1, kernel.kept)):
            if not lengths or lengths[-1] % 4:
                continue
            modes = tuple(
                PIECES if in_fours(o, axis, lengths[-1]) else (STRIDED if o.strides[axis] else REPEATED) for o in sources
            )
            if PIECES in modes:
                return form, modes
    return SINGLY, (STRIDED,) * len(sources)


def invocations(kernel: ReduceKernel, key: ReduceKey) -> int:
    return math.prod(kernel.kept) * kernel.splits // (4 if key.form == ACROSS else 1)


def parameters_of(kernel: ReduceKernel, key: ReduceKey, starts: list[int]) -> Parameters:
    made = Parameters()
    outputs = math.prod(kernel.kept) // (4 if key.form == ACROSS else 1)
    length = math.prod(kernel.reduced)
    turns = length // 4 if key.form == ALONG else length
    # Invocations next to each other read next to each other, as many together as there may be; these groups lie one after the other.
    together = math.gcd(kernel.splits, TOGETHER)
    made.add(outputs * kernel.splits, outputs, kernel.splits, length, turns, together)
    made.add(-(-turns // (kernel.splits // together)), *starts)
    made.add(*kernel.kept[1:], *kernel.reduced[1:])
    early = len(kernel.inputs) - kernel.late
    for operand in kernel.inputs[:early]:
        made.add(*operand.strides)
    for operand, linear in zip(kernel.inputs[early:] + kernel.outputs, key.linear, strict=True):
        if not linear:
            made.add(*operand.strides)
    made.add_scalars(kernel.scalars, kernel.program.scalars + kernel.epilogue.scalars)
    return made


class Source:
    """An early input: where its elements of one output lie."""

    def __init__(self, m: Module, tensor: Tensor, how: str, base: int, strides: list[int], step: int) -> None:
        self._m = m
        self._tensor = tensor
        self._how = how
        self._base = base
        self._strides = strides
        self._step = step

    def load(self, position: list[int], count: int) -> list[int]:
        """The ``count`` elements from ``position`` in the reduction on."""
        m = self._m
        place = walked(m, self._base, position, self._strides)
        if self._how == PIECES:
            return self._tensor.load_each(place)
        if self._how == REPEATED:
            return [self._tensor.load(place)] * count
        return [self._tensor.load(m.add(place, m.mul(self._step, m.u(k))) if k else place) for k in range(count)]


def emit(key: ReduceKey, abilities: Abilities, merged: bool = False) -> bytes:
    """The shader. Bindings: inputs, late inputs, outputs. ``merged``: its parameters are rows of a table."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    program, epilogue, early = key.program, key.epilogue, len(key.program.inputs)
    late = len(epilogue.inputs) - 1
    dtypes = [*program.inputs, *epilogue.inputs[1:], *(epilogue.dtype_of(r) for r in epilogue.results)]
    pieces = [k for k, how in enumerate(key.modes) if how == PIECES]
    texels = [k for k, f in enumerate(key.formats) if f != NO_FORMAT]
    tensors = tensors_of(m, dtypes, key.bindings, len(epilogue.results), abilities, key.aliased, pieces, texels)
    words = Row(m) if merged else Words(m, 0)
    count, outputs, splits, length, turns, together, span = words.take(7)
    starts = words.take(len(dtypes))
    kept_dims, reduced_dims = words.take(max(0, key.kept - 1)), words.take(max(0, key.reduced - 1))
    strides = [words.take(key.kept + key.reduced) for _ in range(early)]
    other_strides = [[] if linear else words.take(key.kept) for linear in key.linear]
    number = words.number()
    with m.if_(m.op(Op.ULessThan, m.bool, number, count)):
        over, along = (Op.UDiv, Op.UMod) if key.rows else (Op.UMod, Op.UDiv)
        share = splits if key.rows else outputs
        output = m.op(over, m.u32, number, share)
        split = m.op(along, m.u32, number, share)
        wide = key.form == ACROSS
        output = m.mul(output, m.u(4)) if wide else output
        position = coordinates(m, output, kept_dims, key.kept) if key.kept else []
        axis = key.kept - 1 if wide else -1
        sources = [
            Source(m, tensors[k], key.modes[k], walked(m, starts[k], position, s[: key.kept]), s[key.kept :], s[axis] if s else m.u(0))
            for k, s in enumerate(strides)
        ]
        scalars = words.scalars(program, abilities)
        numbered = any(step.opcode == "index" for step in program.steps)
        each = 1 if key.form == SINGLY else 4

        def values(turn: int) -> list[int]:
            r = m.mul(turn, m.u(4)) if key.form == ALONG else turn
            inner = coordinates(m, r, reduced_dims, key.reduced) if key.reduced else []
            loaded = [source.load(inner, each) for source in sources]
            out = []
            for k in range(each):
                index = None
                if numbered:  # reduced axes come last then: see fusion
                    line = m.add(output, m.u(k)) if wide else output
                    index = m.add(m.mul(line, length), r if wide else m.add(r, m.u(k)))
                out.append(evaluate(m, program, [four[k] for four in loaded], scalars, abilities, index)[0])
            return out

        first = m.mul(m.op(Op.UDiv, m.u32, split, together), span)
        begin = m.add(first, m.op(Op.UMod, m.u32, split, together))
        end = m.ext(Ext.UMin, m.u32, m.add(first, span), turns)
        totals = _accumulated(m, key, (begin, end, together, turns), each, values, abilities)
        if key.form == ALONG:
            totals = [_joined(m, key, totals, abilities)]
        late_scalars = words.scalars(epilogue, abilities)
        for k, total in enumerate(totals):
            mine = m.add(output, m.u(k)) if k else output
            if key.partial:
                tensors[-1].store(m.add(starts[-1], m.add(m.mul(mine, splits), split)), total)
                continue
            here = [*position[:-1], m.add(position[-1], m.u(k))] if k else position
            places = [
                m.add(start, mine) if linear else walked(m, start, here, steps)
                for start, linear, steps in zip(starts[early:], key.linear, other_strides, strict=True)
            ]
            loaded = [tensor.load(place) for tensor, place in zip(tensors[early:], places[:late], strict=False)]
            results = evaluate(m, epilogue, [total, *loaded], late_scalars, abilities, mine)
            for tensor, place, result in zip(tensors[early + late :], places[late:], results, strict=True):
                tensor.store(place, result)
    return m.finish()


def _combined(m: Module, key: ReduceKey, a: int, b: int, abilities: Abilities) -> int:
    dtype = narrow(key.accumulate, abilities)
    return functions.emit(m, key.combine, dtype, dtype, (a, b))


def _joined(m: Module, key: ReduceKey, totals: list[int], abilities: Abilities) -> int:
    """One total of four."""
    low = _combined(m, key, totals[0], totals[1], abilities)
    return _combined(m, key, low, _combined(m, key, totals[2], totals[3], abilities), abilities)


def _accumulated(
    m: Module, key: ReduceKey, turns: tuple[int, int, int, int], count: int, values: Callable[[int], list[int]], abilities: Abilities
) -> list[int]:
    """The totals over the turns from ``begin`` to ``end`` by ``step``; of all turns there are, the last number."""
    begin, end, step, most = turns
    register = functions.register_type(m, narrow(key.accumulate, abilities))
    if key.combine in FIRST:
        # Without any turn, and with the first one twice, the result is still right.
        last = m.op(Op.ISub, m.u32, most, m.u(1))
        totals = [m.variable(register, value) for value in values(m.ext(Ext.UMin, m.u32, begin, last))]
    else:
        totals = [m.variable(register, m.const(register, 1 if key.combine == "mul" else 0)) for _ in range(count)]

    def add(turn: int) -> None:
        for total, value in zip(totals, values(turn), strict=True):
            m.set(total, _combined(m, key, m.get(total), value, abilities))

    if weight(key.program) <= UNROLLED and key.form != SINGLY and key.combine not in FIRST:
        rest = m.variable(m.u32, begin)
        ahead = m.mul(step, m.u(UNROLLED - 1))
        bound = m.select(m.op(Op.UGreaterThan, m.bool, end, ahead), m.op(Op.ISub, m.u32, end, ahead), m.u(0))
        stride = m.mul(step, m.u(UNROLLED))
        with m.loop(begin, bound, stride) as turn:
            for k in range(UNROLLED):
                add(m.add(turn, m.mul(step, m.u(k))) if k else turn)
            m.set(rest, m.add(turn, stride))
        begin = m.get(rest)
    with m.loop(begin, end, step) as turn:
        add(turn)
    return [m.get(total) for total in totals]
