"""Elementwise kernels: one small shader per program and way of walking, for any size.

An invocation computes four neighbouring elements where there are that many, and reads and writes them in one piece where they lie
in one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from .. import dtype as dt
from ..command import Program
from ..driver import Traits
from ..plan.plan import ElementwiseKernel, Operand
from . import functions
from .access import Abilities, Tensor
from .descriptors import NO_FORMAT
from .operands import (
    LINEAR,
    SINGLE,
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
from .program import NO_TABLES, evaluate, narrow
from .spirv import Module, Op
from .table import Row

LOCAL = 256
# Besides `LINEAR`, `SINGLE` and `STRIDED`, where an invocation has four elements: `LINEAR` that does not lie in aligned pieces,
# aligned pieces along the last axis, and one element for all four.
SHIFTED, PIECES, REPEATED = "shifted", "pieces", "repeated"
TABLE, ALONG = "table", "along"  # inputs that are looked up, counted from one element or from one that is walked along
WHOLE = (LINEAR, PIECES)
BY_COORDINATES = (STRIDED, PIECES, REPEATED, ALONG)
SIMPLE = frozenset({
    "add", "sub", "mul", "neg", "abs", "maximum", "minimum", "relu", "copy", "cast", "where", "eq", "ne", "lt", "le", "gt", "ge",
    "logical_and", "logical_or", "logical_not", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "index", "div", "sqrt",
})  # fmt: skip
SHORT = 32  # instructions, roughly: programs up to this are compiled once per element of an invocation


@dataclass(frozen=True, slots=True)
class ElementwiseKey:
    """What makes two elementwise kernels the same shader. ``each``: elements per invocation; ``tail``: the last one has fewer."""

    program: Program
    rank: int
    modes: tuple[str, ...]
    outputs: int
    bindings: tuple[int, ...]
    formats: tuple[int, ...]
    each: int
    tail: bool
    errors: bool
    aliased: bool


def key_of(kernel: ElementwiseKernel, traits: Traits) -> ElementwiseKey:
    operands = kernel.inputs + kernel.outputs
    tables = kernel.program.tables
    modes = [
        (ALONG if any(o.strides) else TABLE) if k in tables else mode(o.strides, kernel.shape) for k, o in enumerate(operands)
    ]
    rank = len(kernel.shape) if STRIDED in modes or ALONG in modes else 0
    count = math.prod(kernel.shape)
    # What is computed of elements behind the last one must do no harm: an index from there would be looked up, or an error.
    harmless = (kernel.errors is None and not tables) or count % 4 == 0
    each = 4 if harmless and count >= 4 and (not rank or kernel.shape[-1] % 4 == 0) else 1
    if each == 4:
        modes = [in_four(o, m, kernel.shape[-1]) for o, m in zip(operands, modes, strict=True)]
    formats = [NO_FORMAT] * len(kernel.inputs)
    if reads_texels(traits):
        formats = [
            texel_format(o, each == 4 and m in WHOLE, traits) for o, m in zip(kernel.inputs, modes, strict=False)
        ]
    bindings = bindings_of(kernel, [k for k, f in enumerate(formats) if f != NO_FORMAT])
    return ElementwiseKey(
        kernel.program, rank, tuple(modes), len(kernel.outputs), bindings, tuple(formats), each, count % each != 0,
        kernel.errors is not None, aliased(kernel, bindings),
    )  # fmt: skip


def in_four(operand: Operand, how: str, length: int) -> str:
    """How an invocation with four elements walks an operand; ``length`` is that of the last axis."""
    if how == LINEAR:
        return LINEAR if operand.dtype.itemsize <= 4 and operand.offset % 4 == 0 else SHIFTED
    if how in (SINGLE, TABLE, ALONG):
        return how
    if in_fours(operand, -1, length):
        return PIECES
    return STRIDED if operand.strides[-1] else REPEATED


def invocations(kernel: ElementwiseKernel, key: ElementwiseKey) -> int:
    return -(-math.prod(kernel.shape) // key.each)


def parameters_of(kernel: ElementwiseKernel, key: ElementwiseKey, starts: list[int]) -> Parameters:
    """``starts`` are the operands' first elements, counted from where their bindings begin."""
    made = Parameters()
    made.add(math.prod(kernel.shape), *starts, *(kernel.shape[1:] if key.rank else ()))
    operands: tuple[Operand, ...] = kernel.inputs + kernel.outputs
    for operand, how in zip(operands, key.modes, strict=True):
        if how in BY_COORDINATES:
            made.add(*operand.strides)
    made.add_scalars(kernel.scalars, kernel.program.scalars)
    return made


def emit(key: ElementwiseKey, abilities: Abilities, merged: bool = False) -> bytes:
    """The shader. Bindings: inputs, outputs, then the error words. ``merged``: its parameters are rows of a table."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    program = key.program
    dtypes = [*program.inputs, *(program.dtype_of(r) for r in program.results)]
    count = len(program.inputs)
    fours = [k for k, how in enumerate(key.modes) if key.each == 4 and how in WHOLE]
    texels = [k for k, f in enumerate(key.formats) if f != NO_FORMAT]
    tensors = tensors_of(m, dtypes, key.bindings, key.outputs, abilities, key.aliased or key.tail, fours, texels)
    errors = Tensor(m, len(set(key.bindings)), dt.int32, abilities, writable=True, aliased=False) if key.errors else None
    words = Row(m) if merged else Words(m, 0)
    (length,) = words.take(1)
    starts = words.take(len(dtypes))
    dims = words.take(max(0, key.rank - 1)) if key.rank else []
    strides = [words.take(key.rank) if how in BY_COORDINATES else [] for how in key.modes]
    number = words.number()
    first = m.mul(number, m.u(4)) if key.each == 4 else number
    with m.if_(m.op(Op.ULessThan, m.bool, first, length)):
        position = coordinates(m, first, dims, key.rank) if key.rank else []
        scalars = words.scalars(program, abilities)
        places = []
        for how, start, steps in zip(key.modes, starts, strides, strict=True):
            if how in (LINEAR, SHIFTED):
                places.append(m.add(start, first))
            else:
                places.append(walked(m, start, position, steps) if steps else start)
        along = [steps[-1] if steps else m.u(1) for steps in strides]
        if key.each == 1:
            tables = {k: partial(_look_up, m, tensors[k], places[k]) for k in program.tables}
            values = [m.u(0) if k in tables else tensors[k].load(places[k]) for k in range(count)]
            computed = evaluate(m, program, values, scalars, abilities, first, errors, tables)
            for tensor, place, value in zip(tensors[count:], places[count:], computed, strict=True):
                tensor.store(place, value)
        else:
            tables_at = partial(_tables_at, m, key, tensors, places, along)
            loaded = [load_some(m, *one) for one in zip(tensors[:count], key.modes, places, along, strict=False)]
            results = results_of(m, program, loaded, scalars, abilities, first, tables_at, errors)
            left = m.op(Op.ISub, m.u32, length, first) if key.tail else None
            for k in range(count, len(tensors)):
                alone = tensors[k]
                if key.tail and key.modes[k] in WHOLE:
                    alone = Tensor(m, key.bindings[k], dtypes[k], abilities, writable=True, aliased=True)
                store_some(m, (tensors[k], alone), key.modes[k], places[k], along[k], results[k - count], left)
    return m.finish()


def weight(program: Program) -> int:
    """How long a program is, in simple instructions."""
    return sum(1 if step.opcode in SIMPLE else SHORT // 4 for step in program.steps)


def _look_up(m: Module, table: Tensor, start: int, index: int) -> int:
    """The element of a table whose number is ``index`` (i32)."""
    return table.load(m.add(start, m.bitcast(m.u32, index)))


def _tables_at(
    m: Module, key: ElementwiseKey, tensors: Sequence[Tensor], places: Sequence[int], along: Sequence[int], turn: int
) -> dict[int, Callable[[int], int]]:
    """The tables as the element ``turn`` (u32) of an invocation's four sees them."""
    found: dict[int, Callable[[int], int]] = {}
    for k in key.program.tables:
        place = m.add(places[k], m.mul(along[k], turn)) if key.modes[k] == ALONG else places[k]
        found[k] = partial(_look_up, m, tensors[k], place)
    return found


def load_some(m: Module, tensor: Tensor, how: str, place: int, step: int) -> list[int]:
    """Four elements of an operand; of a table nothing yet."""
    if how in (TABLE, ALONG):
        return [m.u(0)] * 4
    if how in WHOLE:
        return tensor.load_each(place)
    if how in (SINGLE, REPEATED):
        return [tensor.load(place)] * 4
    return [tensor.load(m.add(place, m.mul(step, m.u(k))) if k else place) for k in range(4)]


def store_some(
    m: Module, tensors: tuple[Tensor, Tensor], how: str, place: int, step: int, values: list[int], left: int | None
) -> None:
    """Write four elements, or the ``left`` ones; ``tensors`` are the output as its mode walks it, and by single elements."""
    if left is None and how in WHOLE:
        tensors[0].store_each(place, values)
        return
    if how in WHOLE:
        assert left is not None
        with m.if_(m.op(Op.UGreaterThanEqual, m.bool, left, m.u(4))):
            tensors[0].store_each(place, values)
        left = m.select(m.op(Op.UGreaterThanEqual, m.bool, left, m.u(4)), m.u(0), left)
    for k, value in enumerate(values):
        at = m.add(place, m.mul(step, m.u(k))) if k else place
        if left is None:
            tensors[1].store(at, value)
            continue
        with m.if_(m.op(Op.UGreaterThan, m.bool, left, m.u(k))):
            tensors[1].store(at, value)


def results_of(
    m: Module, program: Program, loaded: Sequence[Sequence[int]], scalars: Sequence[int], abilities: Abilities, first: int,
    tables_at: Callable[[int], Mapping[int, Callable[[int], int]]] = lambda turn: NO_TABLES, errors: Tensor | None = None,
) -> list[list[int]]:  # fmt: skip
    """The program's results for four elements: per result, four values."""
    if weight(program) <= SHORT:
        computed = [
            evaluate(m, program, [four[k] for four in loaded], scalars, abilities, m.add(first, m.u(k)), errors, tables_at(m.u(k)))
            for k in range(4)
        ]
        return [list(values) for values in zip(*computed, strict=True)]
    # Long programs go around a loop: four copies would take drivers four times as long to compile.
    registers = [functions.register_type(m, narrow(program.dtype_of(r), abilities)) for r in program.results]
    kept = [[m.variable(register, m.const(register, 0)) for _ in range(4)] for register in registers]
    with m.loop(m.u(0), m.u(4), m.u(1)) as turn:
        here = [m.op(Op.IEqual, m.bool, turn, m.u(k)) for k in range(3)]
        values = []
        for four in loaded:
            value = four[3]
            for k in range(3):
                value = value if four[k] == four[3] else m.select(here[k], four[k], value)
            values.append(value)
        computed_once = evaluate(m, program, values, scalars, abilities, m.add(first, turn), errors, tables_at(turn))
        for variables, value in zip(kept, computed_once, strict=True):
            for k, variable in enumerate(variables):
                at = m.op(Op.IEqual, m.bool, turn, m.u(k))
                m.set(variable, m.select(at, value, m.get(variable)))
    return [[m.get(variable) for variable in variables] for variables in kept]
