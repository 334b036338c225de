"""Convolutions through NumPy's BLAS, a few megabytes at a time.

Only one of the two spatial axes is ever unfolded. For the taps of the other, the rows that each of them meets follow one another in the
unfolded array, so a product per row of taps does the rest. Tiles lie as [row, column, item], with the items of the batch side by side:
however small the images are, what is moved then lies in long runs. A transposed convolution goes the other way: a product per row of taps,
added up where they meet, then folded. All of it is bound to memory once, and then only called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..command import Program
from ..dtype import DType
from ..plan.convolution import ConvAxis, ConvKernel, accumulated
from ..plan.lower import rounded
from . import functions
from .blas import product, shared_out
from .calls import Call, execute
from .elementwise import blocks
from .evaluate import Evaluator, Scalars, overlapping
from .record import Binding, Runner, Workers, stored_as_computed
from .scratch import Arena

Array = NDArray[Any]
TILE = 2 << 20  # bytes of a tile: what is unfolded, and what comes out
PIECE = 1 << 15  # elements of a tile that the epilogue is computed of at a time
WORTH_SHARING = 64_000_000  # products from which several threads, which take turns at the interpreter, are quicker than one
FEW_ITEMS = 8  # of a tile; from so many on they lie innermost
FEW_GROUPS = 8  # that are multiplied one by one
KEPT_TILES = 1000  # that are bound to memory once; beyond, again each time
TERMS = 640  # of sums of which there are more than `MANY_SUMS`, per call of BLAS: it is slow where they are much longer
MANY_SUMS = 64


@dataclass(frozen=True, slots=True)
class Tile:
    """Items of the batch, and rows of the output."""

    items: slice
    rows: slice

    @property
    def size(self) -> tuple[int, int]:
        return self.items.stop - self.items.start, self.rows.stop - self.rows.start


def _tiles(batch: int, rows: int, row_bytes: int, least: int) -> list[Tile]:
    """Tiles of at most about `TILE` bytes: whole items, or some rows of one. At least ``least`` of them where that is possible."""
    size = max(1, min(TILE, batch * rows * row_bytes // least))
    item_bytes = max(rows * row_bytes, 1)
    if item_bytes <= size:
        step = max(1, size // item_bytes)
        return [Tile(slice(first, min(first + step, batch)), slice(0, rows)) for first in range(0, batch, step)]
    step = max(1, size // row_bytes)
    return [
        Tile(slice(item, item + 1), slice(first, min(first + step, rows)))
        for item in range(batch) for first in range(0, rows, step)
    ]  # fmt: skip


class Memory:
    """Arrays of one share of the work, in which its tiles are computed one after the other."""

    def __init__(self, arena: Arena, dtype: DType) -> None:
        self._arena = arena
        self._dtype = dtype
        self.register = functions.register_dtype(dtype)
        self.zero = np.zeros((), self.register)

    def take(self, name: str, shape: tuple[int, ...]) -> Array:
        """With anything in it. The next tile gets the same memory by the same name."""
        return self._arena.take(name, shape, self.register)

    def places(self, name: str, before: tuple[int, ...], rows: int, columns: int, items: int) -> tuple[Array, Array]:
        """An array [*before, row, column, item], and the same as [*before, place].

        Items lie innermost where they are many, columns where they are not.
        """
        turned = 1 < items < FEW_ITEMS
        flat = self.take(name, (*before, rows, items, columns) if turned else (*before, rows, columns, items))
        return flat.swapaxes(-1, -2) if turned else flat, flat.reshape(*before, rows * columns * items)

    def load(self, name: str, stored: Array) -> tuple[list[Call], Array]:
        """What loads ``stored[..., row, column, item]`` into an array of registers, where that is not what it is."""
        *before, rows, columns, items = stored.shape
        if stored_as_computed(self._dtype) and items < FEW_ITEMS:
            return [], stored
        into, _ = self.places(name, tuple(before), rows, columns, items)
        return [(functions.load_into, (self._dtype, stored, into))], into

    def move(self, source: Array, into: Array) -> Call:
        """What copies registers, or stored values, into registers."""
        return (np.copyto, (into, source)) if source.dtype == into.dtype else (functions.load_into, (self._dtype, source, into))

    def multiply(self, a: Array, b: Array, out: Array, add: bool, terms: int | None = None) -> list[Call]:
        """``out[g, m, n]`` becomes ``a[g, m, k] @ b[g, k, n]``, or that is added to it."""
        if len(out) <= FEW_GROUPS:
            alone = [product(*matrices, add=add, terms=terms) for matrices in zip(a, b, out, strict=True)]
            if None not in alone:
                return [call for calls in alone if calls is not None for call in calls]
        if not add:
            return [(np.matmul, (a, b, out))]
        further = self.take("further", out.shape)
        return [(np.matmul, (a, b, further)), (np.add, (out, further, out))]


class Unfolding:
    """``channels`` of a source as the taps of the two axes meet them. The axes have no divisor."""

    def __init__(self, groups: int, channels: int, axes: tuple[ConvAxis, ConvAxis], memory: Memory) -> None:
        self._groups = groups
        self._channels = channels
        self.down, self.along = axes
        self._reach = (self.down.taps - 1) * self.down.step  # rows of the source between the first and the last tap
        self._memory = memory

    def row_bytes(self) -> int:
        """Of one output row of one item."""
        taps = self._groups * self._channels * self.along.taps
        return taps * self.down.stride * self.along.output * self._memory.register.itemsize

    def space(self, count: int, items: int) -> tuple[Array, Array]:
        """``[g, channel, j, phase, row, column, item]`` for ``count`` output rows, and the same as ``[g, channel * j, phase, place]``.

        Phases are rows of the source modulo the stride: those that one row of taps meets follow each other in their phase.
        """
        per_phase = count + -(-self._reach // self.down.stride)
        before = self._groups, self._channels, self.along.taps, self.down.stride
        shaped, flat = self._memory.places("space", before, per_phase, self.along.output, items)
        return shaped, flat.reshape(self._groups, -1, self.down.stride, flat.shape[-1])

    def rows_of(self, start: int, phase: int, per_phase: int) -> tuple[int, int, slice]:
        """Which rows of a phase lie inside of the source (first, one after the last), and where. ``start``: the first output row."""
        stride = self.down.stride
        begin = start * stride + self.down.origin + phase
        low = min(max(0, -(begin // stride)), per_phase)
        high = max(low, min(per_phase, -(-(self.down.source - begin) // stride)))
        first = begin + low * stride
        return low, high, slice(first, first + (high - low - 1) * stride + 1, stride) if high > low else slice(0)

    def columns_of(self, tap: int) -> tuple[int, int, slice]:
        """As `rows_of`, of output columns by tap."""
        axis = self.along
        start = axis.origin + tap * axis.step
        first = min(max(0, -(start // axis.stride)), axis.output)
        end = max(first, min(axis.output, -(-(axis.source - start) // axis.stride)))
        at = start + first * axis.stride
        return first, end, slice(at, at + (end - first - 1) * axis.stride + 1, axis.stride) if end > first else slice(0)

    def unfold(self, source: Array, start: int, count: int) -> tuple[list[Call], Array]:
        """What unfolds ``source[g, channel, row, column, item]`` for output rows from ``start`` on, and where to."""
        made, flat = self.space(count, source.shape[-1])
        per_phase, zero = made.shape[4], self._memory.zero
        spans = [self.rows_of(start, phase, per_phase) for phase in range(self.down.stride)]
        met = [rows for low, high, rows in spans if high > low]
        if not met:
            return [(np.copyto, (made, zero))], flat
        first_row, last_row = min(rows.start for rows in met), max(rows.stop for rows in met)
        calls: list[Call] = []
        part = source[:, :, first_row:last_row]
        if self.along.taps > 1:  # turned once, read several times
            calls, part = self._memory.load("source", part)
        for phase, (low, high, rows) in enumerate(spans):
            calls += [(np.copyto, (border, zero)) for border in (made[:, :, :, phase, :low], made[:, :, :, phase, high:]) if border.size]
            if high <= low:
                continue
            here = slice(rows.start - first_row, rows.stop - first_row, rows.step)
            for j in range(self.along.taps):
                first, end, columns = self.columns_of(j)
                into = made[:, :, j, phase, low:high]
                calls += [(np.copyto, (edge, zero)) for edge in (into[..., :first, :], into[..., end:, :]) if edge.size]
                if end > first:
                    calls.append(self._memory.move(part[:, :, here, columns], into[..., first:end, :]))
        return calls, flat

    def fold(self, space: Array, into: Array, start: int, rows: slice) -> list[Call]:
        """What adds ``space`` to ``into[g, channel, row, column, item]``, which are the source's ``rows``."""
        calls: list[Call] = []
        stride = self.down.stride
        for phase in range(stride):
            low, high, places = self.rows_of(start, phase, space.shape[4])
            early = max(0, -(-(rows.start - places.start) // stride)) if high > low else 0
            late = max(0, -(-(places.stop - rows.stop) // stride)) if high > low else 0
            low, high = low + early, high - late
            if high <= low:
                continue
            first = places.start + early * stride - rows.start
            here = slice(first, first + (high - low - 1) * stride + 1, stride)
            for j in range(self.along.taps):
                begin, end, columns = self.columns_of(j)
                if end > begin:
                    part = into[:, :, here, columns]
                    calls.append((np.add, (part, space[:, :, j, phase, low:high, begin:end], part)))
        return calls

    def met(self, flat: Array, tap: int, count: int) -> Array:
        """``[g, channel * j, place]``: what the ``tap``-th row of taps meets."""
        phase, first = (tap * self.down.step) % self.down.stride, (tap * self.down.step) // self.down.stride
        row = flat.shape[-1] // (count + -(-self._reach // self.down.stride))
        return flat[:, :, phase, first * row : (first + count) * row]


def _by_row(weight: Array, dtype: DType, memory: Memory) -> tuple[list[Call], list[Array]]:
    """What loads ``weight[g, m, k, i, j]``, and where each row of taps then lies, as ``[g, m, k * j]``."""
    groups, m, k, taps, along = weight.shape
    made = memory.take("lines", (taps, groups, m, k, along))
    return [(functions.load_into, (dtype, weight.transpose(3, 0, 1, 2, 4), made))], list(made.reshape(taps, groups, m, k * along))


Made = tuple[list[Call], Array]  # what computes a part of the output, and where that then lies


class Method(ABC):
    """One way to compute the product, for one share: what is called is ``prepare``, then each ``tile``."""

    tiles: list[Tile]
    total: Array | None = None  # what tiles are added up in; None where each of them makes a part of the output
    order: tuple[int, ...]  # the output's axes in the order in which parts have them

    def __init__(self, kernel: ConvKernel, source: Array, weight: Array, memory: Memory) -> None:
        self.kernel = kernel
        self.source = source
        self.weight = weight
        self.memory = memory

    @abstractmethod
    def prepare(self) -> list[Call]:
        """What comes before all tiles."""

    @abstractmethod
    def tile(self, tile: Tile) -> Made:
        """One tile; to be made after `prepare`."""


class Gather(Method):
    """The product itself."""

    order = (1, 2, 3, 4, 0)

    def __init__(self, kernel: ConvKernel, source: Array, weight: Array, memory: Memory, shares: int) -> None:
        super().__init__(kernel, source, weight, memory)
        self._unfolding = Unfolding(kernel.groups, kernel.depth, kernel.axes, memory)
        down, along = kernel.axes
        row = self._unfolding.row_bytes() + kernel.groups * kernel.rows * along.output * memory.register.itemsize
        self.tiles = _tiles(kernel.batch, down.output, row, shares)

    def prepare(self) -> list[Call]:
        calls, self._lines = _by_row(self.weight, self.kernel.dtype, self.memory)
        return calls

    def tile(self, tile: Tile) -> Made:
        k = self.kernel
        items, count = tile.size
        calls, flat = self._unfolding.unfold(self.source[tile.items].transpose(1, 2, 3, 4, 0), tile.rows.start, count)
        shaped, out = self.memory.places("product", (k.groups, k.rows), count, k.axes[1].output, items)
        for tap, line in enumerate(self._lines):
            calls += self.memory.multiply(line, self._unfolding.met(flat, tap, count), out, tap > 0)
        return calls, shaped

class Scatter(Method):
    """Transposed: products by tap, added up where they meet."""

    order = (1, 2, 3, 4, 0)

    def __init__(self, kernel: ConvKernel, source: Array, weight: Array, memory: Memory, shares: int) -> None:
        super().__init__(kernel, source, weight, memory)
        down, along = (
            replace(a, source=a.output, output=a.source, stride=a.divisor, origin=-a.origin, step=-a.step, divisor=1) for a in kernel.axes
        )
        self._unfolding = Unfolding(kernel.groups, kernel.rows, (down, along), memory)
        row = -(-self._unfolding.row_bytes() // down.stride) + kernel.groups * kernel.rows * along.source * memory.register.itemsize
        self.tiles = _tiles(kernel.batch, down.source, row, shares)
        self._reach = (down.taps - 1) * down.step

    def prepare(self) -> list[Call]:
        calls, lines = _by_row(self.weight.transpose(0, 2, 1, 3, 4), self.kernel.dtype, self.memory)
        self._lines = [line.transpose(0, 2, 1) for line in lines]  # [g, m * j, k]
        return calls

    def tile(self, tile: Tile) -> Made:
        k, unfolding, rows = self.kernel, self._unfolding, tile.rows
        down, items = unfolding.down, tile.size[0]
        out, _ = self.memory.places("product", (k.groups, k.rows), tile.size[1], k.axes[1].output, items)
        calls: list[Call] = [(np.copyto, (out, self.memory.zero))]
        start = min(max(0, -((down.origin + self._reach - rows.start) // down.stride)), down.output)
        count = max(0, min(down.output, (rows.stop - 1 - down.origin) // down.stride + 1) - start)
        if count:
            space, flat = unfolding.space(count, items)
            calls.append((np.copyto, (space, self.memory.zero)))
            part = self.source[tile.items, :, :, start : start + count].transpose(1, 2, 3, 4, 0)
            shaped, places = self.memory.places("places", part.shape[:2], *part.shape[2:])
            calls.append((functions.load_into, (k.dtype, part, shaped)))
            for tap, line in enumerate(self._lines):
                calls += self.memory.multiply(line, places, unfolding.met(flat, tap, count), True)
            calls += unfolding.fold(space, out, start, rows)
        return calls, out

class Correlation(Method):
    """The gradient of a weight: batch and channels have changed places, and the taps are the output of the product it belongs to."""

    order = (3, 1, 2, 0, 4)

    def __init__(self, kernel: ConvKernel, source: Array, weight: Array, memory: Memory, shares: int) -> None:
        super().__init__(kernel, source, weight, memory)
        down, along = (replace(a, output=a.taps, taps=a.output, stride=a.step, step=a.stride) for a in kernel.axes)
        self._unfolding = Unfolding(kernel.groups, kernel.batch, (down, along), memory)
        row = self._unfolding.row_bytes() + kernel.groups * kernel.rows * along.output * memory.register.itemsize
        self.tiles = _tiles(kernel.depth, down.output, row, shares)
        self._sums = memory.take("total", (down.taps, kernel.groups, kernel.rows, kernel.batch * along.taps))
        self.total = self._sums.reshape(*self._sums.shape[:3], kernel.batch, along.taps)

    def prepare(self) -> list[Call]:
        return [(np.copyto, (self._sums, self.memory.zero))]

    def tile(self, tile: Tile) -> Made:
        count = tile.size[1]
        calls, flat = self._unfolding.unfold(self.source[:, :, tile.items].transpose(1, 0, 3, 4, 2), tile.rows.start, count)
        gradient = self.weight[:, :, tile.items, tile.rows].transpose(0, 1, 3, 4, 2)
        shaped, places = self.memory.places("places", gradient.shape[:2], *gradient.shape[2:])
        calls.append((functions.load_into, (self.kernel.dtype, gradient, shaped)))
        for tap, total in enumerate(self._sums):
            met = self._unfolding.met(flat, tap, count).transpose(0, 2, 1)
            terms = TERMS if total.shape[-1] * total.shape[-2] > MANY_SUMS else met.shape[1]
            calls += self.memory.multiply(places, met, total, True, terms)
        return calls, self._sums


def _method(kernel: ConvKernel) -> type[Gather] | type[Scatter] | type[Correlation]:
    if any(axis.divisor > 1 or axis.step < 0 for axis in kernel.axes):
        return Scatter
    return Correlation if kernel.swapped else Gather


class Epilogue:
    """What is done to parts of the product, and where their results go. ``program`` None: they are the result."""

    def __init__(self, kernel: ConvKernel, binding: Binding, order: tuple[int, ...], program: Program | None, scalars: Scalars) -> None:
        self._dtype = kernel.dtype
        self._late = [binding.array(o, kernel.shape) for o in kernel.inputs[2:]]
        self._outputs = [binding.array(o, kernel.shape) for o in kernel.outputs]
        self._order = order
        self._program = program
        self._scalars = scalars

    def calls(self, part: Array, at: tuple[Any, ...], arena: Arena) -> list[Call]:
        """For the ``part`` that belongs at ``at`` of the output; its axes are in this method's order."""
        outs = [x[at].transpose(self._order) for x in self._outputs]
        calls: list[Call] = [] if stored_as_computed(self._dtype) else [(functions.narrow, (self._dtype, part))]
        if self._program is None:
            return [*calls, (np.copyto, (outs[0], part))]
        inputs = [part, *(x[at].transpose(self._order) for x in self._late)]
        if part.shape[-1] < FEW_ITEMS or not part.flags.c_contiguous:
            return calls + Evaluator(self._program, self._scalars, None, overlapping(inputs, outs), arena).bind(inputs, outs)
        # Computed where neighbours are neighbours in memory, a piece that fits the cache at a time, and then turned.
        after = Evaluator(self._program, self._scalars, arena=arena)
        for box, _ in blocks(part.shape, PIECE):
            targets = [out[box] for out in outs]
            results = [arena.take(f"result {k}", target.shape, target.dtype) for k, target in enumerate(targets)]
            calls += after.bind([x[box] for x in inputs], results)
            calls += [(np.copyto, pair) for pair in zip(targets, results, strict=True)]
        return calls


class _Convolution:
    """A kernel bound to memory, in shares."""

    def __init__(self, kernel: ConvKernel, binding: Binding, driver: Workers, program: Program | None, scalars: Scalars) -> None:
        source, weight = (binding.array(o, shape) for o, shape in zip(kernel.inputs[:2], kernel.walks()[:2], strict=True))
        shares = driver.threads if shared_out() and kernel.work >= WORTH_SHARING else 1
        method = _method(kernel)
        self._arenas = driver.arenas[:shares]
        self._methods = [method(kernel, source, weight, Memory(arena, kernel.dtype), shares) for arena in self._arenas]
        self._epilogue = Epilogue(kernel, binding, method.order, program, scalars)
        self.few = len(self._methods[0].tiles) <= KEPT_TILES

    def shares(self, each: Callable[[Array, tuple[Any, ...], Arena], list[Call]] | None = None) -> list[Iterator[Call]]:
        """What each share calls. ``each`` is done to the parts in place of the epilogue."""
        return [self._share(number, each or self._epilogue.calls) for number in range(len(self._methods))]

    def _share(self, number: int, each: Callable[[Array, tuple[Any, ...], Arena], list[Call]]) -> Iterator[Call]:
        method, arena = self._methods[number], self._arenas[number]
        yield from method.prepare()
        for tile in method.tiles[number :: len(self._methods)]:
            calls, part = method.tile(tile)
            yield from calls
            if method.total is None:
                yield from each(part, (tile.items, slice(None), slice(None), tile.rows), arena)

    def rest(self, each: Callable[[Array, tuple[Any, ...], Arena], list[Call]] | None = None) -> list[Call]:
        """What is to be called when all shares are done."""
        first, *others = (method.total for method in self._methods)
        if first is None:
            return []
        calls: list[Call] = [(np.add, (first, other, first)) for other in others if other is not None]
        return calls + (each or self._epilogue.calls)(first, (...,), self._arenas[0])


def convolution(kernel: ConvKernel, binding: Binding, driver: Workers) -> Runner:
    epilogue, plain = kernel.epilogue, stored_as_computed(kernel.dtype)
    alone = not epilogue.steps and epilogue.results == (0,) and plain
    if not plain:
        epilogue = rounded(epilogue, accumulated(kernel.dtype))
    scalars = Scalars(epilogue, kernel.scalars)
    work = _Convolution(kernel, binding, driver, None if alone else epilogue, scalars)
    if any(step.opcode == "index" for step in epilogue.steps):
        return _numbered(kernel, binding, driver, work, epilogue, scalars)
    kept = [list(share) for share in work.shares()] if work.few else None
    rest = work.rest()

    def run(values: Sequence[float]) -> None:
        scalars.set(values)
        driver.together([partial(execute, share) for share in kept or work.shares()])
        execute(rest)

    return run


def _numbered(
    kernel: ConvKernel, binding: Binding, driver: Workers, work: _Convolution, epilogue: Program, scalars: Scalars
) -> Runner:
    """Elements are numbered over the whole output: that comes first, the epilogue after."""
    late = [binding.array(o, kernel.shape) for o in kernel.inputs[2:]]
    outputs = [binding.array(o, kernel.shape) for o in kernel.outputs]
    shared = overlapping([np.empty(0), *late], outputs)  # the first input is the product, in memory of its own
    after = Evaluator(epilogue, scalars, None, shared)
    order = (1, 2, 0, 3, 4) if kernel.swapped else (0, 1, 2, 3, 4)
    inner = _method(kernel).order

    def run(values: Sequence[float]) -> None:
        scalars.set(values)
        total = np.empty(kernel.shape, functions.register_dtype(kernel.dtype))

        def keep(part: Array, at: tuple[Any, ...], arena: Arena) -> list[Call]:
            return [(np.copyto, (total[at].transpose(inner), part))]

        driver.together([partial(execute, share) for share in work.shares(keep)])
        execute(work.rest(keep))
        functions.narrow(kernel.dtype, total)
        execute(after.bind([x.transpose(order) for x in (total, *late)], [x.transpose(order) for x in outputs]))

    return run
