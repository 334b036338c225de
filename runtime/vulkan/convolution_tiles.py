"""The generated shader of convolutions: each invocation adds up a tile of the output, tap by tap.

Neighbouring invocations have neighbouring output places, so all of them read the same weights at the same time. Per tap it is found once
where each place meets the source and whether it does; the channels go by inside.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..command import Program
from ..dtype import DType
from . import functions
from .access import Abilities
from .descriptors import NO_FORMAT
from .division import WORDS, divided
from .operands import Words, scalars_of, tensors_of, walked
from .program import evaluate
from .spirv import Module, Op
from .spirv_numbers import BUILTIN_LOCAL_ID, BUILTIN_NUM_WORKGROUPS, BUILTIN_WORKGROUP_ID

PIXELS = 4  # output places per invocation


@dataclass(frozen=True, slots=True)
class ConvTile:
    """``height`` output channels, ``step`` input channels at a time; ``fixed``: these are all there are.

    ``bordered``: taps may fall outside of the source. ``phased``: an axis has a divisor. ``swapped`` and ``partial`` (with splits) as
    `ConvKernel` has them.
    """

    height: int
    step: int
    fixed: bool
    bordered: bool
    phased: bool
    swapped: bool
    partial: bool


def _less(m: Module, a: int, b: int) -> int:
    return m.op(Op.ULessThan, m.bool, a, b)


class Axis:
    """One spatial axis: its parameters, and what its phase meets. Numbers that may be negative wrap around, as u32 do."""

    def __init__(self, m: Module, words: Words) -> None:
        self._m = m
        self.source, self.output, self._stride, self._origin, self._step, self._taps, self.divisor = words.take(7)
        self._common, self._skip, self._inverse, self._origin_in, self._delta = words.take(5)
        self.division = words.take(WORDS)
        self._phase = self._first = m.u(0)
        self.count, self._base = self._taps, self._origin

    def enter(self, phase: int) -> None:
        """Work out the first tap that output places of this phase meet, and how many there are; see `plan.convolution.ConvAxis`."""
        m = self._m
        self._phase = phase
        residue = m.op(Op.UMod, m.u32, m.add(phase, self._origin_in), self.divisor)
        meets = m.op(Op.IEqual, m.bool, m.op(Op.UMod, m.u32, residue, self._common), m.u(0))
        first = m.op(Op.UMod, m.u32, m.mul(m.op(Op.UDiv, m.u32, residue, self._common), self._inverse), self._skip)
        left = m.op(Op.ISub, m.u32, m.add(self._taps, m.op(Op.ISub, m.u32, self._skip, m.u(1))), first)
        some = m.op(Op.LogicalAnd, m.bool, meets, _less(m, first, self._taps))
        self.count = m.select(some, m.op(Op.UDiv, m.u32, left, self._skip), m.u(0))
        self._first = first
        place = m.add(m.add(phase, self._origin), m.mul(first, self._step))
        self._base = m.bitcast(m.u32, m.op(Op.SDiv, m.i32, m.bitcast(m.i32, place), m.bitcast(m.i32, self.divisor)))

    def met(self, place: int) -> int:
        """Where an output place (counted within the phase) meets the first tap."""
        return self._m.add(self._m.mul(place, self._stride), self._base)

    def tap(self, number: int) -> int:
        """The number of the phase's ``number``-th tap."""
        return self._m.add(self._first, self._m.mul(number, self._skip))

    def away(self, number: int) -> int:
        """How far from the first tap the ``number``-th is, in the source."""
        return self._m.mul(number, self._delta)

    def out(self, place: int) -> int:
        """The output place itself."""
        return self._m.add(self._phase, self._m.mul(place, self.divisor))


@dataclass(slots=True)
class Pixel:
    """One output place: coordinates, whether it exists, and where it meets the first taps."""

    batch: int
    y: int
    x: int
    exists: int
    row: int
    column: int
    start: int


class Emitter:
    """One shader while it is written."""

    def __init__(
        self, tile: ConvTile, local: int, dtype: DType, epilogue: Program, bindings: tuple[int, ...], formats: tuple[int, ...],
        shared: bool, abilities: Abilities,
    ) -> None:  # fmt: skip
        self.m = m = Module(local_size=local, preserve_nan=abilities.preserve_nan)
        self.tile, self.local, self.dtype, self.epilogue, self.abilities = tile, local, dtype, epilogue, abilities
        outputs = [epilogue.dtype_of(r) for r in epilogue.results]
        dtypes = [dtype, dtype, *epilogue.inputs[1:], *outputs]
        texels = [k for k, f in enumerate(formats) if f != NO_FORMAT]
        self.tensors = tensors_of(m, dtypes, bindings, len(outputs), abilities, shared, (), texels)
        words = Words(m, 0)
        self.total, self.tiles, self.blocks, self.places, self.batch, self.groups, self.rows, self.depth = words.take(8)
        self.share, self.taps = words.take(2)
        self.axes = Axis(m, words), Axis(m, words)
        self.starts = words.take(len(dtypes))
        late = 6 if tile.partial else 5
        self.strides = [words.take(5 if k < 2 else late) for k in range(len(dtypes))]
        self.words_at = words.at

    def place(self) -> None:
        """Decode the workgroup: rows, block of places, group, phases, split. All of it is the same for its invocations."""
        m = self.m
        number = m.add(
            m.builtin(BUILTIN_WORKGROUP_ID, 0), m.mul(m.builtin(BUILTIN_WORKGROUP_ID, 1), m.builtin(BUILTIN_NUM_WORKGROUPS, 0))
        )
        self.inside = _less(m, number, self.total)

        def take(count: int) -> int:
            nonlocal number
            part, number = m.op(Op.UMod, m.u32, number, count), m.op(Op.UDiv, m.u32, number, count)
            return part

        self.row = m.mul(take(self.tiles), m.u(self.tile.height))
        self.block = take(self.blocks)
        self.group = take(self.groups)
        if self.tile.phased:
            for axis in self.axes:
                axis.enter(take(axis.divisor))
        self.split = number

    def pixels(self) -> list[Pixel]:
        m = self.m
        first = m.add(m.mul(self.block, m.u(PIXELS * self.local)), m.builtin(BUILTIN_LOCAL_ID, 0))
        last = m.op(Op.ISub, m.u32, self.places, m.u(1))
        base = m.add(self.starts[0], m.mul(self.group, self.strides[0][1]))
        found = []
        for k in range(PIXELS):
            number = m.add(first, m.u(k * self.local)) if k else first
            exists = _less(m, number, self.places)
            rest, x = divided(m, m.select(exists, number, last), self.axes[1].division)
            batch, y = divided(m, rest, self.axes[0].division)
            if self.tile.phased:
                y_out, x_out = self.axes[0].out(y), self.axes[1].out(x)
                for place, axis in ((y_out, self.axes[0]), (x_out, self.axes[1])):
                    exists = m.op(Op.LogicalAnd, m.bool, exists, _less(m, place, axis.output))
            else:
                y_out, x_out = y, x
            row, column = self.axes[0].met(y), self.axes[1].met(x)
            start = walked(m, base, [batch, row, column], [self.strides[0][k] for k in (0, 3, 4)])
            found.append(Pixel(batch, y_out, x_out, exists, row, column, start))
        return found

    def lines(self) -> list[int]:
        """Where the weights of each of the tile's rows begin. Past the last row, that one is read again."""
        m = self.m
        base = m.add(self.starts[1], m.mul(self.group, self.strides[1][0]))
        last = m.op(Op.ISub, m.u32, self.rows, m.u(1))
        out = []
        for i in range(self.tile.height):
            row = m.add(self.row, m.u(i)) if i else self.row
            if i:
                row = m.select(_less(m, row, self.rows), row, last)
            out.append(m.add(base, m.mul(row, self.strides[1][1])))
        return out

    def sums(self, pixels: list[Pixel], lines: list[int]) -> list[int]:
        """Variables with the tile's sums: per row a vector of the places'."""
        m, register = self.m, functions.register_type(self.m, self.dtype)
        zero = m.composed([m.const(register, 0)] * PIXELS)
        vector = m.type_of[zero]
        totals = [m.variable(vector, zero) for _ in lines]
        down, along = self.axes
        if self.tile.partial:  # without phases: all taps, in order
            begin = m.mul(self.split, self.share)
            end = m.add(begin, self.share)
            end = m.select(_less(m, end, self.taps), end, self.taps)
            i = m.variable(m.u32, m.op(Op.UDiv, m.u32, begin, along.count))
            j = m.variable(m.u32, m.op(Op.UMod, m.u32, begin, along.count))
        else:
            begin, end = m.u(0), m.mul(down.count, along.count)
            i, j = m.variable(m.u32, begin), m.variable(m.u32, begin)

        def add(sources: list[int], weights: list[int], depth: int | None) -> None:
            for k in range(self.tile.step):
                channel = m.u(k) if depth is None else (m.add(depth, m.u(k)) if k else depth)
                along_source, along_weight = m.mul(channel, self.strides[0][2]), m.mul(channel, self.strides[1][2])
                first = k == 0 and depth is None
                values = [self.tensors[0].load(at if first else m.add(at, along_source)) for at in sources]
                if self.tile.bordered:
                    nothing = m.const(register, 0)
                    values = [m.select(hit, value, nothing) for hit, value in zip(hits, values, strict=True)]
                four = m.composed(values)
                for at, total in zip(weights, totals, strict=True):
                    weight = self.tensors[1].load(at if first else m.add(at, along_weight))
                    product = m.op(Op.VectorTimesScalar, vector, four, weight)
                    m.set(total, m.op(Op.FAdd, vector, m.get(total), product))

        hits: list[int] = []
        with m.loop(begin, end, m.u(1)):
            y, x = m.get(i), m.get(j)
            tap_at = m.add(m.mul(down.tap(y), self.strides[1][3]), m.mul(along.tap(x), self.strides[1][4]))
            away = down.away(y), along.away(x)
            source_at = m.add(m.mul(away[0], self.strides[0][3]), m.mul(away[1], self.strides[0][4]))
            hits, sources = self._met(pixels, away, source_at)
            weights = [m.add(line, tap_at) for line in lines]
            if self.tile.fixed:
                add(sources, weights, None)
            else:
                with m.loop(m.u(0), self.depth, m.u(self.tile.step)) as depth:
                    add(sources, weights, depth)
            following = m.add(x, m.u(1))
            over = m.op(Op.IEqual, m.bool, following, along.count)
            m.set(j, m.select(over, m.u(0), following))
            m.set(i, m.select(over, m.add(y, m.u(1)), y))
        return totals

    def _met(self, pixels: list[Pixel], away: tuple[int, int], source_at: int) -> tuple[list[int], list[int]]:
        """For a tap: whether each place meets the source, and where; somewhere inside if it does not."""
        m = self.m
        hits, sources = [], []
        for pixel in pixels:
            at = m.add(pixel.start, source_at)
            if self.tile.bordered:
                row, column = m.add(pixel.row, away[0]), m.add(pixel.column, away[1])
                inside = _less(m, row, self.axes[0].source), _less(m, column, self.axes[1].source)
                hits.append(m.op(Op.LogicalAnd, m.bool, *inside))
                at = m.select(hits[-1], at, self.starts[0])
            sources.append(at)
        return hits, sources

    def finish(self, pixels: list[Pixel], totals: list[int]) -> None:
        """The epilogue, compiled once for all rows: with a copy per element, drivers took seconds to compile it."""
        m = self.m
        scalars, _ = scalars_of(m, self.epilogue, self.words_at, self.abilities)
        late = len(self.epilogue.inputs) - 1
        operands = list(zip(self.tensors[2:], self.starts[2:], self.strides[2:], strict=True))
        bases = []
        for pixel in pixels:
            position = [pixel.batch, self.group, pixel.y, pixel.x, *([self.split] if self.tile.partial else [])]
            bases.append([walked(m, start, position, [*s[:2], *s[3:]]) for _, start, s in operands])
        left = m.op(Op.ISub, m.u32, self.rows, self.row)
        height = m.u(self.tile.height)
        with m.loop(m.u(0), m.select(_less(m, left, height), left, height), m.u(1)) as i:
            row = m.add(self.row, i)
            values = m.components(self._line(totals, i))
            for pixel, base, value in zip(pixels, bases, values, strict=True):
                with m.if_(pixel.exists):
                    at = [m.add(b, m.mul(row, s[2])) for b, (_, _, s) in zip(base, operands, strict=True)]
                    loaded = [tensor.load(place) for (tensor, _, _), place in zip(operands[:late], at, strict=False)]
                    rounded = value if self.tile.partial else functions.round_to(m, self.dtype, value)
                    results = evaluate(m, self.epilogue, [rounded, *loaded], scalars, self.abilities, self._index(pixel, row))
                    for (tensor, _, _), place, result in zip(operands[late:], at[late:], results, strict=True):
                        tensor.store(place, result)

    def _line(self, totals: list[int], number: int) -> int:
        m = self.m
        chosen = m.get(totals[0])
        for k, total in enumerate(totals[1:], 1):
            here = m.composed([m.op(Op.IEqual, m.bool, number, m.u(k))] * PIXELS)
            chosen = m.select(here, m.get(total), chosen)
        return chosen

    def _index(self, pixel: Pixel, row: int) -> int | None:
        """The element's number in the output, where the epilogue asks for it."""
        m = self.m
        if not any(step.opcode == "index" for step in self.epilogue.steps):
            return None
        channel = m.add(m.mul(self.group, self.rows), row)
        if self.tile.swapped:
            line = m.add(m.mul(channel, self.batch), pixel.batch)
        else:
            line = m.add(m.mul(pixel.batch, m.mul(self.groups, self.rows)), channel)
        return m.add(m.mul(m.add(m.mul(line, self.axes[0].output), pixel.y), self.axes[1].output), pixel.x)


def emit(
    tile: ConvTile, local: int, dtype: DType, epilogue: Program, bindings: tuple[int, ...], formats: tuple[int, ...], shared: bool,
    abilities: Abilities,
) -> bytes:  # fmt: skip
    e = Emitter(tile, local, dtype, epilogue, bindings, formats, shared, abilities)
    e.place()
    with e.m.if_(e.inside):
        pixels = e.pixels()
        e.finish(pixels, e.sums(pixels, e.lines()))
    return e.m.finish()
