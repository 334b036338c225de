"""Tables on the host: memory of which programs look up any element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from ..command import Program
from ..dtype import DType
from . import functions

Array = NDArray[Any]

WORTH = 8  # entries of the last axis from which rows are copied whole


class Table:
    """Flat memory in stored form, and how far along look-ups begin at each element of a domain: one stretched array per axis."""

    __slots__ = ("flat", "in_rows", "walks")

    def __init__(self, flat: Array, walks: Sequence[Array], in_rows: bool) -> None:
        self.flat = flat
        self.walks = walks
        self.in_rows = in_rows

    @staticmethod
    def over(flat: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Table:
        """A table with a walk of ``strides`` over ``shape``."""
        walks = []
        for axis, (n, s) in enumerate(zip(shape, strides, strict=True)):
            if s:
                steps = np.arange(n, dtype=np.intp) * s
                walks.append(np.broadcast_to(steps.reshape(n, *[1] * (len(shape) - axis - 1)), shape))
        return Table(flat, walks, bool(shape) and strides[-1] == 1)

    def piece(self, index: tuple[Any, ...]) -> Table:
        """The same memory as a piece of the domain looks at it."""
        return Table(self.flat, [w[index] for w in self.walks], self.in_rows)

    def aside(self) -> tuple[Table, Array, Array]:
        """A table on memory of its own, that memory, and what has to be copied into it."""
        copy = np.empty_like(self.flat)
        return Table(copy, self.walks, self.in_rows), copy, self.flat


def lookup(dtype: DType, index: Array, table: Table, out: Array) -> None:
    """The opcode ``lookup``: elements of a table, as registers. Indices are known to be right.

    ``index`` may have one entry along the last axis of ``out``: the same for all of it.
    """
    plain = functions.register_dtype(dtype) == dtype.numpy
    if table.in_rows and index.shape != out.shape and out.shape[-1] >= WORTH:
        found = _rows(index, table, out if plain and out.flags.c_contiguous else None, out.shape)
        if found is None:
            return
    else:
        number: Array = index
        for walk in table.walks:
            number = np.add(number, walk, dtype=np.intp)
        if plain and number.shape == out.shape:
            table.flat.take(number, None, out, "clip")  # of the modes the one that needs no buffer
            return
        found = table.flat.take(number, None, None, "clip")
    if plain:
        np.copyto(out, found)
    else:
        functions.load_into(dtype, np.broadcast_to(found, out.shape), out)


def _rows(index: Array, table: Table, out: Array | None, shape: tuple[int, ...]) -> Array | None:
    """Whole rows of a table; into ``out`` where that is given, and then returns None."""
    length = shape[-1]
    number: Array = index
    for walk in table.walks:  # along the last axis, too: a piece of it may begin anywhere
        number = np.add(number, walk[..., :1], dtype=np.intp)
    number = np.broadcast_to(number, (*shape[:-1], 1)).reshape(-1)
    rest = number % length
    if table.flat.size % length == 0 and not rest.any():
        rows = table.flat.reshape(-1, length)
        if out is not None:
            np.take(rows, number // length, axis=0, out=out.reshape(-1, length), mode="clip")
            return None
        return np.take(rows, number // length, axis=0, mode="clip").reshape(shape)
    size = table.flat.itemsize
    windows = as_strided(table.flat, (table.flat.size - length + 1, length), (size, size))
    return np.asarray(windows[number]).reshape(shape)


def narrow_steps(program: Program, inputs: Sequence[Any], length: int) -> frozenset[int]:
    """The registers of steps that are the same along the last axis (of ``length``) and serve nothing but look-ups.

    ``inputs`` are arrays over one domain, and tables. One entry of that axis is enough for those registers.
    """
    if not program.tables or length < WORTH:
        return frozenset()
    base = len(program.inputs) + len(program.scalars)
    varying = {k for k, x in enumerate(inputs) if not isinstance(x, Table) and x.strides[-1]}
    for number, step in enumerate(program.steps):
        walked = [inputs[a] for a in step.args if a < len(inputs) and isinstance(inputs[a], Table)]
        if step.opcode == "index" or any(a in varying for a in step.args) or any(t.walks for t in walked):
            varying.add(base + number)
    narrow = {base + n for n in range(len(program.steps))} - varying - set(program.results)
    for number in reversed(range(len(program.steps))):
        step = program.steps[number]
        if step.opcode == "lookup":
            continue
        if base + number not in narrow:
            narrow -= set(step.args)
    return frozenset(narrow)
