"""Matrix products with register tiles: each invocation computes a block of the result from strided operands."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..dtype import DType
from ..plan.plan import MatmulKernel
from . import functions
from .access import Abilities, Tensor
from .elementwise import LOCAL, Words, coordinates, walked
from .parameters import Parameters
from .program import narrow
from .spirv import Module, Op


@dataclass(frozen=True, slots=True)
class MatmulKey:
    """What makes two products the same shader. ``tile`` is rows by columns per invocation."""

    dtypes: tuple[DType, DType, DType]
    batch: int
    tile: tuple[int, int]


def tile_for(kernel: MatmulKernel) -> tuple[int, int]:
    """Large tiles reuse what they load; small results need more invocations instead."""
    work = math.prod(kernel.batch) * kernel.rows * kernel.columns
    side = 4 if work >= 4096 else (2 if work >= 1024 else 1)
    return min(side, kernel.rows), min(side, kernel.columns)


def key_of(kernel: MatmulKernel) -> MatmulKey:
    dtypes = (kernel.inputs[0].dtype, kernel.inputs[1].dtype, kernel.outputs[0].dtype)
    return MatmulKey(dtypes, len(kernel.batch), tile_for(kernel))


def invocations(kernel: MatmulKernel, key: MatmulKey) -> int:
    rows, columns = -(-kernel.rows // key.tile[0]), -(-kernel.columns // key.tile[1])
    return math.prod(kernel.batch) * rows * columns


def parameters_of(kernel: MatmulKernel, key: MatmulKey, starts: list[int]) -> Parameters:
    made = Parameters()
    rows, columns = -(-kernel.rows // key.tile[0]), -(-kernel.columns // key.tile[1])
    made.add(invocations(kernel, key), kernel.rows, kernel.columns, kernel.depth, rows, columns, *starts)
    made.add(*kernel.batch[1:])
    for operand in (*kernel.inputs, *kernel.outputs):
        made.add(*operand.strides)
    return made


def emit(key: MatmulKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: left, right, result. Tiles at the edges read their last row or column again and do not store it."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    tensors = [Tensor(m, k, d, abilities, writable=k == 2, aliased=False) for k, d in enumerate(key.dtypes)]
    words = Words(m, 1)
    rows, columns, depth, row_tiles, column_tiles = words.take(5)
    starts = words.take(3)
    dims = words.take(max(0, key.batch - 1))
    strides = [words.take(key.batch + 2) for _ in range(3)]
    number = m.invocation()
    height, width = key.tile
    with m.if_(m.op(Op.ULessThan, m.bool, number, m.param(0))):
        column = m.mul(m.op(Op.UMod, m.u32, number, column_tiles), m.u(width))
        rest = m.op(Op.UDiv, m.u32, number, column_tiles)
        row = m.mul(m.op(Op.UMod, m.u32, rest, row_tiles), m.u(height))
        position = coordinates(m, m.op(Op.UDiv, m.u32, rest, row_tiles), dims, key.batch) if key.batch else []
        bases = [walked(m, starts[k], position, strides[k][: key.batch]) for k in range(3)]
        row_at = [m.add(row, m.u(i)) for i in range(height)]
        column_at = [m.add(column, m.u(j)) for j in range(width)]
        left = [m.add(bases[0], m.mul(_at_most(m, r, rows), strides[0][-2])) for r in row_at]
        right = [m.add(bases[1], m.mul(_at_most(m, c, columns), strides[1][-1])) for c in column_at]
        totals = _accumulated(m, key, tensors, left, right, strides[0][-1], strides[1][-2], depth, abilities)
        for i, r in enumerate(row_at):
            line = m.add(bases[2], m.mul(r, strides[2][-2]))
            for j, c in enumerate(column_at):
                inside = m.op(
                    Op.LogicalAnd, m.bool, m.op(Op.ULessThan, m.bool, r, rows), m.op(Op.ULessThan, m.bool, c, columns)
                )
                with m.if_(inside):
                    tensors[2].store(m.add(line, m.mul(c, strides[2][-1])), m.get(totals[i][j]))
    return m.finish()


def _at_most(m: Module, index: int, length: int) -> int:
    last = m.op(Op.ISub, m.u32, length, m.u(1))
    return m.select(m.op(Op.ULessThan, m.bool, index, length), index, last)


def _accumulated(
    m: Module, key: MatmulKey, tensors: list[Tensor], left: list[int], right: list[int], left_step: int, right_step: int,
    depth: int, abilities: Abilities,
) -> list[list[int]]:  # fmt: skip
    """Variables with the tile's sums of products."""
    dtype = narrow(key.dtypes[2], abilities)
    register = functions.register_type(m, dtype)
    floating = dtype.is_floating_point
    zero = m.const(register, 0)
    totals = [[m.variable(register, zero) for _ in right] for _ in left]
    multiply, plus = (Op.FMul, Op.FAdd) if floating else (Op.IMul, Op.IAdd)
    with m.loop(m.u(0), depth, m.u(1)) as k:
        a = [tensors[0].load(m.add(base, m.mul(k, left_step))) for base in left]
        b = [tensors[1].load(m.add(base, m.mul(k, right_step))) for base in right]
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                product = m.op(multiply, register, x, y)
                m.set(totals[i][j], m.op(plus, register, m.get(totals[i][j]), product))
    return totals
