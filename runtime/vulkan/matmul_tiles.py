"""The generated shader of matrix products: each invocation computes a tile of the result from strided operands.

The tile's sums stay in registers while the depth goes by. What comes after the sums is compiled once, inside a loop over the tile's
lines: with a copy per element, drivers took seconds to compile it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from .. import dtype as dt
from ..command import Program
from ..dtype import DType
from . import functions
from .access import Abilities, Tensor
from .descriptors import NO_FORMAT
from .operands import Words, coordinates, scalars_of, tensors_of, walked
from .program import evaluate, narrow
from .spirv import Module, Op
from .spirv_numbers import BUILTIN_LOCAL_ID, BUILTIN_NUM_WORKGROUPS, BUILTIN_WORKGROUP_ID

Mode = Literal["single", "depth", "across"]
SINGLE: Final = "single"
DEPTH: Final = "depth"
ACROSS: Final = "across"
WIDTH = 4  # elements along per invocation


@dataclass(frozen=True, slots=True)
class Tile:
    """``height`` elements down by `WIDTH` along, ``step`` depths at a time.

    ``left`` and ``right`` tell along what their operands are read by four. ``whole``: no tile sticks out along. ``turned``: down are
    the result's columns.
    """

    height: int
    step: int
    left: Mode
    right: Mode
    whole: bool
    turned: bool


class Sums:
    """The tile's sums: a vector of four per line for float32, four scalars for other dtypes."""

    def __init__(self, m: Module, dtype: DType, abilities: Abilities, height: int) -> None:
        self._m = m
        self._dtype = dtype
        self._vectors = dtype is dt.float32
        register = functions.register_type(m, narrow(dtype, abilities))
        zero = m.const(register, 0)
        self._register = m.vector(register, WIDTH) if self._vectors else register
        first = m.composed([zero] * WIDTH) if self._vectors else zero
        count = 1 if self._vectors else WIDTH
        self._lines = [[m.variable(self._register, first) for _ in range(count)] for _ in range(height)]

    def add(self, left: list[int], right: list[int]) -> None:
        """Add the products of one depth: a value per line, and what `Side.load` gives along."""
        m = self._m
        floating = self._dtype.is_floating_point
        multiply, plus = (Op.FMul, Op.FAdd) if floating else (Op.IMul, Op.IAdd)
        if self._vectors:
            multiply = Op.VectorTimesScalar
        for x, line in zip(left, self._lines, strict=True):
            for y, total in zip(right, line, strict=True):
                pair = (y, x) if self._vectors else (x, y)
                m.set(total, m.op(plus, self._register, m.get(total), m.op(multiply, self._register, *pair)))

    def line(self, number: int) -> list[int]:
        """The four sums of a line whose number is known when the shader runs; as the dtype can hold them."""
        m = self._m
        chosen = [m.get(total) for total in self._lines[0]]
        for k, line in enumerate(self._lines[1:], 1):
            here = m.op(Op.IEqual, m.bool, number, m.u(k))
            if self._vectors:
                here = m.composed([here] * WIDTH)
            chosen = [m.select(here, m.get(total), before) for total, before in zip(line, chosen, strict=True)]
        if self._vectors:
            return m.components(chosen[0])
        return [_narrowed(m, self._dtype, value) for value in chosen]


def _narrowed(m: Module, dtype: DType, total: int) -> int:
    """A sum as a value its dtype can hold."""
    if dtype.is_floating_point:
        return functions.round_to(m, dtype, total)
    return m.op(Op.BitwiseAnd, m.i32, total, m.i(0xFF)) if dtype.itemsize == 1 else total


def _at_most(m: Module, index: int, last: int) -> int:
    return m.select(m.op(Op.ULessThan, m.bool, index, last), index, last)


class Side:
    """One operand's part of a tile. Past the edge, its last line is read again; the sums of that are not stored.

    ``strides`` are those across and along the depth; ``vectors`` asks for one vector instead of four values.
    """

    def __init__(
        self, m: Module, tensor: Tensor, base: int, first: int, length: int, strides: list[int], mode: Mode, count: int,
        vectors: bool,
    ) -> None:  # fmt: skip
        self._m = m
        self._tensor = tensor
        self._across, self._along_depth = strides
        self._mode = mode
        self._vectors = vectors
        every = 4 if mode == ACROSS else 1
        last = m.op(Op.ISub, m.u32, length, m.u(every))  # pieces of four start at multiples of four
        at = [_at_most(m, m.add(first, m.u(i)), last) for i in range(0, count, every)]
        self._starts = [m.add(base, i if mode == ACROSS else m.mul(i, self._across)) for i in at]

    def load(self, k: int, steps: int) -> list[list[int]]:
        """What lies at depths ``k`` to ``k + steps - 1``."""
        m, tensor = self._m, self._tensor
        out = []
        if self._mode == DEPTH:
            for first in range(0, steps, 4):
                at = m.add(k, m.u(first)) if first else k
                pieces = [m.components(tensor.load_four(m.add(start, at))) for start in self._starts]
                out += [self._joined([piece[d] for piece in pieces]) for d in range(4)]
            return out
        for d in range(steps):
            along = m.mul(m.add(k, m.u(d)) if d else k, self._along_depth)
            if self._mode == SINGLE:
                out.append(self._joined([tensor.load(m.add(start, along)) for start in self._starts]))
                continue
            fours = [tensor.load_four(m.add(start, along)) for start in self._starts]
            out.append(fours if self._vectors else [x for four in fours for x in m.components(four)])
        return out

    def _joined(self, values: list[int]) -> list[int]:
        return [self._m.composed(values)] if self._vectors else values


class Place:
    """Where a tile lies: its first element down and along, its item of the batch, and how many lines of it there are."""

    def __init__(self, m: Module, tile: Tile, local: int, down: int, layers: int) -> None:
        # Neighbouring invocations lie along; down and batch come from the workgroup alone.
        group = m.add(m.mul(m.builtin(BUILTIN_WORKGROUP_ID, 0), m.u(local)), m.builtin(BUILTIN_LOCAL_ID, 0))
        self.along = m.mul(group, m.u(WIDTH))
        layer = m.builtin(BUILTIN_WORKGROUP_ID, 2)
        self.item = m.op(Op.UDiv, m.u32, layer, layers)
        further = m.mul(m.op(Op.UMod, m.u32, layer, layers), m.builtin(BUILTIN_NUM_WORKGROUPS, 1))
        self.down = m.mul(m.add(m.builtin(BUILTIN_WORKGROUP_ID, 1), further), m.u(tile.height))
        left = m.op(Op.ISub, m.u32, down, self.down)
        self.lines = _at_most(m, left, m.u(tile.height))


def emit(
    tile: Tile, dtype: DType, epilogue: Program, batch: int, local: int, formats: tuple[int, ...], fours: tuple[bool, ...],
    bindings: tuple[int, ...], shared: bool, abilities: Abilities,
) -> bytes:  # fmt: skip
    """The shader. Bindings: left, right, other inputs of the epilogue, outputs."""
    m = Module(local_size=local, preserve_nan=abilities.preserve_nan)
    dtypes = [dtype, dtype, *epilogue.inputs[1:], *(epilogue.dtype_of(r) for r in epilogue.results)]
    by_four = (tile.left != SINGLE, tile.right != SINGLE, *fours)
    texels = [k for k, f in enumerate(formats) if f != NO_FORMAT]
    tensors = tensors_of(
        m, dtypes, bindings, len(epilogue.results), abilities, shared, [k for k, f in enumerate(by_four) if f], texels
    )
    words = Words(m, 0)
    down, along, depth, layers = words.take(4)
    starts = words.take(len(dtypes))
    dims = words.take(max(0, batch - 1))
    strides = [words.take(batch + 2) for _ in dtypes]
    place = Place(m, tile, local, down, layers)
    within = m.op(Op.ULessThan, m.bool, place.along, along)
    with m.if_(m.op(Op.LogicalAnd, m.bool, within, m.op(Op.ULessThan, m.bool, place.down, down))):
        position = coordinates(m, place.item, dims, batch) if batch else []
        bases = [walked(m, start, position, steps[:batch]) for start, steps in zip(starts, strides, strict=True)]
        sums = Sums(m, dtype, abilities, tile.height)
        left = Side(m, tensors[0], bases[0], place.down, down, strides[0][-2:], tile.left, tile.height, False)
        right = Side(
            m, tensors[1], bases[1], place.along, along, strides[1][:-3:-1], tile.right, WIDTH, dtype is dt.float32
        )
        with m.loop(m.u(0), depth, m.u(tile.step)) as k:
            for x, y in zip(left.load(k, tile.step), right.load(k, tile.step), strict=True):
                sums.add(x, y)
        scalars, _ = scalars_of(m, epilogue, words.at, abilities)
        finish = Finish(m, tile, epilogue, scalars, abilities, tensors[2:], fours, bases[2:], [s[-2:] for s in strides[2:]])
        with m.loop(m.u(0), place.lines, m.u(1)) as i:
            finish.line(sums.line(i), m.add(place.down, i), place, down, along)
    return m.finish()


class Finish:
    """The epilogue: from sums to what is stored."""

    def __init__(
        self, m: Module, tile: Tile, epilogue: Program, scalars: list[int], abilities: Abilities, tensors: list[Tensor],
        fours: Sequence[bool], bases: list[int], strides: list[list[int]],
    ) -> None:  # fmt: skip
        self._m = m
        self._tile = tile
        self._epilogue = epilogue
        self._scalars = scalars
        self._abilities = abilities
        self._late = len(epilogue.inputs) - 1
        self._operands = list(zip(tensors, fours, bases, strides, strict=True))
        self._numbered = any(step.opcode == "index" for step in epilogue.steps)

    def line(self, sums: list[int], row: int, place: Place, down: int, along: int) -> None:
        """One line of the tile: ``row`` counts down."""
        m = self._m
        columns = [m.add(place.along, m.u(j)) for j in range(WIDTH)]
        line = m.add(m.mul(place.item, down), row)
        lines = [m.add(base, m.mul(row, strides[0])) for _, _, base, strides in self._operands]
        if self._tile.whole:
            loaded = [self._load(k, start, columns) for k, start in enumerate(lines[: self._late])]
            results = []
            for j, column in enumerate(columns):
                index = self._index(line, row, column, place.item, down, along)
                results.append(self._evaluated([sums[j], *(four[j] for four in loaded)], index))
            for k, start in enumerate(lines[self._late :], self._late):
                self._store(k, start, columns, [values[k - self._late] for values in results])
            return
        for j, column in enumerate(columns):
            with m.if_(m.op(Op.ULessThan, m.bool, column, along)):
                loaded = [self._load(k, start, [column]) for k, start in enumerate(lines[: self._late])]
                index = self._index(line, row, column, place.item, down, along)
                values = self._evaluated([sums[j], *(one[0] for one in loaded)], index)
                for k, start in enumerate(lines[self._late :], self._late):
                    self._store(k, start, [column], [values[k - self._late]])

    def _evaluated(self, inputs: list[int], index: int | None) -> list[int]:
        return evaluate(self._m, self._epilogue, inputs, self._scalars, self._abilities, index)

    def _index(self, line: int, row: int, column: int, item: int, down: int, along: int) -> int | None:
        """The element's number in the result, where the epilogue asks for it."""
        m = self._m
        if not self._numbered:
            return None
        if self._tile.turned:
            return m.add(m.mul(m.add(m.mul(item, along), column), down), row)
        return m.add(m.mul(line, along), column)

    def _load(self, k: int, start: int, columns: list[int]) -> list[int]:
        m = self._m
        tensor, four, _, strides = self._operands[k]
        if four:
            return tensor.load_each(m.add(start, columns[0]))
        return [tensor.load(m.add(start, m.mul(column, strides[1]))) for column in columns]

    def _store(self, k: int, start: int, columns: list[int], values: list[int]) -> None:
        m = self._m
        tensor, four, _, strides = self._operands[k]
        if four:
            tensor.store_each(m.add(start, columns[0]), values)
            return
        for column, value in zip(columns, values, strict=True):
            tensor.store(m.add(start, m.mul(column, strides[1])), value)
