"""Convolutions through NumPy's BLAS, a few megabytes at a time.

Only one of the two spatial axes is ever unfolded. For the taps of the other, the rows that each of them meets follow one another in the
unfolded array, so a product per row of taps does the rest. Rows of a tile lie as [row, item, column]: small images then still make long
products. A transposed convolution goes the other way: a product per row of taps, added up where they meet, then folded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plan.convolution import ConvAxis, ConvKernel, accumulated
from ..plan.lower import rounded
from . import functions
from .evaluate import Evaluator, Scalars, execute
from .record import Binding, Runner, stored_as_computed
from .scratch import scratch

Array = NDArray[Any]
TILE = 4 << 20  # bytes of a tile: what is unfolded, and what comes out


@dataclass(frozen=True, slots=True)
class Tile:
    """Items of the batch, and rows of the output."""

    items: slice
    rows: slice


def _tiles(batch: int, rows: int, row_bytes: int) -> list[Tile]:
    """Tiles of at most about `TILE` bytes: whole items, or some rows of one."""
    item_bytes = max(rows * row_bytes, 1)
    if item_bytes <= TILE:
        step = max(1, TILE // item_bytes)
        return [Tile(slice(first, min(first + step, batch)), slice(0, rows)) for first in range(0, batch, step)]
    step = max(1, TILE // row_bytes)
    return [
        Tile(slice(item, item + 1), slice(first, min(first + step, rows)))
        for item in range(batch) for first in range(0, rows, step)
    ]  # fmt: skip


class Unfolding:
    """``channels`` of a source as the taps of the two axes meet them. The axes have no divisor."""

    def __init__(self, groups: int, channels: int, axes: tuple[ConvAxis, ConvAxis], dtype: np.dtype[Any]) -> None:
        self._groups = groups
        self._channels = channels
        self.down, self.along = axes
        self._reach = (self.down.taps - 1) * self.down.step  # rows of the source between the first and the last tap
        self._dtype = dtype

    def row_bytes(self) -> int:
        """Of one output row of one item."""
        return self._groups * self._channels * self.along.taps * self.down.stride * self.along.output * self._dtype.itemsize

    def space(self, count: int, items: int) -> Array:
        """``[g, channel, j, phase, row, item, column]`` for ``count`` output rows, filled with anything.

        Phases are rows of the source modulo the stride: those that one row of taps meets follow each other in their phase.
        """
        per_phase = count + -(-self._reach // self.down.stride)
        shape = (self._groups, self._channels, self.along.taps, self.down.stride, per_phase, items, self.along.output)
        return scratch.take("space", shape, self._dtype)

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

    def unfold(self, source: Array, start: int, count: int) -> Array:
        """Of ``source[item, g, channel, row, column]``, for output rows from ``start`` on."""
        made = self.space(count, source.shape[0])
        part = source.transpose(1, 2, 3, 0, 4)
        for phase in range(self.down.stride):
            low, high, rows = self.rows_of(start, phase, made.shape[4])
            made[:, :, :, phase, :low] = 0
            made[:, :, :, phase, high:] = 0
            for j in range(self.along.taps):
                first, end, columns = self.columns_of(j)
                into = made[:, :, j, phase, low:high]
                into[..., :first] = 0
                into[..., end:] = 0
                into[..., first:end] = part[:, :, rows, :, columns]
        return made

    def fold(self, space: Array, into: Array, start: int, rows: slice) -> None:
        """Add what lies in ``space`` to ``into[item, g, channel, row, column]``, which are the source's ``rows``."""
        part = into.transpose(1, 2, 3, 0, 4)
        for phase in range(self.down.stride):
            low, high, places = self.rows_of(start, phase, space.shape[4])
            stride = self.down.stride
            early = max(0, -(-(rows.start - places.start) // stride)) if high > low else 0
            late = max(0, -(-(places.stop - rows.stop) // stride)) if high > low else 0
            low, high = low + early, high - late
            if high <= low:
                continue
            first = places.start + early * stride - rows.start
            here = slice(first, first + (high - low - 1) * stride + 1, stride)
            for j in range(self.along.taps):
                begin, end, columns = self.columns_of(j)
                part[:, :, here, :, columns] += space[:, :, j, phase, low:high, :, begin:end]

    def met(self, space: Array, tap: int, count: int) -> Array:
        """``[g, channel * j, place]``: what the ``tap``-th row of taps meets; places are (row, item, column)."""
        phase, first = (tap * self.down.step) % self.down.stride, (tap * self.down.step) // self.down.stride
        part = space.reshape(self._groups, -1, *space.shape[3:])[:, :, phase, first : first + count]
        return part.reshape(*part.shape[:2], -1)


def _by_row(weight: Array) -> list[Array]:
    """``[g, m, k * j]`` of each row of taps of ``weight[g, m, k, i, j]``."""
    return [np.ascontiguousarray(weight[:, :, :, tap]).reshape(*weight.shape[:2], -1) for tap in range(weight.shape[3])]


def _places(x: Array) -> Array:
    """``x[item, g, channel, row, column]`` as ``[g, channel, place]``."""
    g, m = x.shape[1:3]
    return np.ascontiguousarray(x.transpose(1, 2, 3, 0, 4)).reshape(g, m, -1)


Parts = Iterator[tuple[Tile, Array]]  # pieces of the output [item, g, m, row, column]


class Gather:
    """The product itself."""

    def __init__(self, kernel: ConvKernel, dtype: np.dtype[Any]) -> None:
        self._kernel = kernel
        self._dtype = dtype
        self._unfolding = Unfolding(kernel.groups, kernel.depth, kernel.axes, dtype)
        down, along = kernel.axes
        row = self._unfolding.row_bytes() + 2 * kernel.groups * kernel.rows * along.output * dtype.itemsize
        self._tiles = _tiles(kernel.batch, down.output, row)

    def parts(self, source: Array, weight: Array) -> Parts:
        k, unfolding = self._kernel, self._unfolding
        lines = _by_row(functions.load(k.dtype, weight))
        for tile in self._tiles:
            count = tile.rows.stop - tile.rows.start
            space = unfolding.unfold(functions.load(k.dtype, source[tile.items]), tile.rows.start, count)
            met = unfolding.met(space, 0, count)
            size = k.groups, k.rows, met.shape[2]
            product = np.matmul(lines[0], met, out=scratch.take("product", size, self._dtype))
            further = scratch.take("further", size, self._dtype)
            for tap, line in enumerate(lines[1:], 1):
                product += np.matmul(line, unfolding.met(space, tap, count), out=further)
            shape = k.groups, k.rows, count, tile.items.stop - tile.items.start, k.axes[1].output
            yield tile, product.reshape(shape).transpose(3, 0, 1, 2, 4)


class Scatter:
    """Transposed: products by tap, added up where they meet."""

    def __init__(self, kernel: ConvKernel, dtype: np.dtype[Any]) -> None:
        self._kernel = kernel
        self._dtype = dtype
        down, along = (
            replace(a, source=a.output, output=a.source, stride=a.divisor, origin=-a.origin, step=-a.step, divisor=1) for a in kernel.axes
        )
        self._unfolding = Unfolding(kernel.groups, kernel.rows, (down, along), dtype)
        row = -(-self._unfolding.row_bytes() // down.stride) * 2 + kernel.groups * kernel.rows * along.source * dtype.itemsize
        self._tiles = _tiles(kernel.batch, down.source, row)
        self._reach = (down.taps - 1) * down.step

    def parts(self, source: Array, weight: Array) -> Parts:
        k, unfolding = self._kernel, self._unfolding
        down, lines = unfolding.down, _by_row(functions.load(k.dtype, weight).transpose(0, 2, 1, 3, 4))  # [g, k, m * j]
        for tile in self._tiles:
            items, rows = tile.items.stop - tile.items.start, tile.rows
            out = scratch.take("product", (items, k.groups, k.rows, rows.stop - rows.start, k.axes[1].output), self._dtype)
            out[...] = 0
            start = min(max(0, -((down.origin + self._reach - rows.start) // down.stride)), down.output)
            count = max(0, min(down.output, (rows.stop - 1 - down.origin) // down.stride + 1) - start)
            if count:
                space = unfolding.space(count, items)
                space[...] = 0
                places = _places(functions.load(k.dtype, source[tile.items, :, :, start : start + count]))
                for tap, line in enumerate(lines):
                    met = unfolding.met(space, tap, count)
                    further = scratch.take("further", met.shape, self._dtype)
                    met += np.matmul(line.transpose(0, 2, 1), places, out=further)
                unfolding.fold(space, out, start, rows)
            yield tile, out


class Correlation:
    """The gradient of a weight: batch and channels have changed places, and the taps are the output of the product it belongs to."""

    def __init__(self, kernel: ConvKernel, dtype: np.dtype[Any]) -> None:
        self._kernel = kernel
        self._dtype = dtype
        down, along = (replace(a, output=a.taps, taps=a.output, stride=a.step, step=a.stride) for a in kernel.axes)
        self._unfolding = Unfolding(kernel.groups, kernel.batch, (down, along), dtype)
        row = self._unfolding.row_bytes() + kernel.groups * kernel.rows * along.output * dtype.itemsize
        self._tiles = _tiles(kernel.depth, down.output, row)

    def parts(self, source: Array, weight: Array) -> Parts:
        k, unfolding = self._kernel, self._unfolding
        taps = unfolding.down.taps
        total = np.zeros((taps, k.groups, k.rows, k.batch * unfolding.along.taps), self._dtype)
        for tile in self._tiles:
            count = tile.rows.stop - tile.rows.start
            x = functions.load(k.dtype, source[:, :, tile.items]).transpose(2, 1, 0, 3, 4)
            space = unfolding.unfold(x, tile.rows.start, count)
            gradient = _places(functions.load(k.dtype, weight[:, :, tile.items, tile.rows]).transpose(2, 0, 1, 3, 4))
            for tap in range(taps):
                total[tap] += np.matmul(gradient, unfolding.met(space, tap, count).transpose(0, 2, 1))
        shaped = total.reshape(taps, k.groups, k.rows, k.batch, unfolding.along.taps).transpose(3, 1, 2, 0, 4)
        yield Tile(slice(0, k.batch), slice(0, taps)), shaped


def _method(kernel: ConvKernel) -> type[Gather] | type[Scatter] | type[Correlation]:
    if any(axis.divisor > 1 or axis.step < 0 for axis in kernel.axes):
        return Scatter
    return Correlation if kernel.swapped else Gather


def convolution(kernel: ConvKernel, binding: Binding) -> Runner:
    source, weight, *late = (binding.array(o, shape) for o, shape in zip(kernel.inputs, kernel.walks(), strict=True))
    outputs = [binding.array(o, kernel.shape) for o in kernel.outputs]
    dtype, register = kernel.dtype, functions.register_dtype(kernel.dtype)
    method = _method(kernel)(kernel, register)
    epilogue, plain = kernel.epilogue, stored_as_computed(dtype)
    if not epilogue.steps and epilogue.results == (0,) and plain:

        def store(values: Sequence[float]) -> None:
            for tile, part in method.parts(source, weight):
                outputs[0][tile.items, :, :, tile.rows] = part

        return store
    if not plain:
        epilogue = rounded(epilogue, accumulated(dtype))
    scalars = Scalars(epilogue, kernel.scalars)
    after = Evaluator(epilogue, scalars, None, frozenset(range(len(outputs))))
    numbered = any(step.opcode == "index" for step in epilogue.steps)
    order = (1, 2, 0, 3, 4) if kernel.swapped else (0, 1, 2, 3, 4)

    def run(values: Sequence[float]) -> None:
        scalars.set(values)
        if numbered:  # elements are numbered over the whole output
            total = np.empty(kernel.shape, register)
            for tile, part in method.parts(source, weight):
                total[tile.items, :, :, tile.rows] = part
            functions.narrow(dtype, total)
            execute(after.bind([x.transpose(order) for x in (total, *late)], [x.transpose(order) for x in outputs]))
            return
        for tile, part in method.parts(source, weight):
            at = tile.items, slice(None), slice(None), tile.rows
            functions.narrow(dtype, part)
            execute(after.bind([part, *(x[at] for x in late)], [x[at] for x in outputs]))

    return run
