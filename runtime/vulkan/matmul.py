"""Matrix products with register tiles: each invocation computes a block of the result from strided operands."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import dtype as dt
from ..command import Program
from ..dtype import DType
from ..plan.plan import MatmulKernel, Operand
from . import functions
from .access import Abilities, Tensor
from .elementwise import Words, aliased, bindings_of, coordinates, scalars_of, tensors_of, walked
from .parameters import Parameters
from .program import evaluate, narrow
from .spirv import Module, Op
from .spirv_numbers import BUILTIN_LOCAL_ID, BUILTIN_NUM_WORKGROUPS, BUILTIN_WORKGROUP_ID

SINGLE, DEPTH, ACROSS = "single", "depth", "across"
TILES = ((4, 4), (2, 2), (1, 1))  # best first
LOCAL = 8
GROUPS = 65535  # per axis
FEW = 256  # invocations below which a smaller tile is taken


@dataclass(frozen=True, slots=True)
class MatmulKey:
    """What makes two products the same shader. ``tile`` is rows by columns per invocation.

    ``left`` and ``right`` say along which index an operand is read four elements at a time (``row``, ``depth``, ``column``), or
    ``single``.
    """

    dtype: DType
    epilogue: Program
    batch: int
    tile: tuple[int, int]
    left: str
    right: str
    local: int
    bindings: tuple[int, ...]
    aliased: bool


def by_four(operand: Operand, row: str, column: str, rows: int, columns: int) -> str:
    """The index along which four elements lie in one aligned piece, if there is one for every access."""
    *batch, down, across = operand.strides
    if operand.dtype is not dt.float32 or operand.offset % 4 or any(s % 4 for s in batch):
        return SINGLE
    if across == 1 and down % 4 == 0 and columns % 4 == 0:
        return column
    return row if down == 1 and across % 4 == 0 and rows % 4 == 0 else SINGLE


def tile_for(kernel: MatmulKernel) -> tuple[int, int]:
    """Large tiles reuse what they load; small results need more invocations instead."""
    work = math.prod(kernel.batch) * kernel.rows * kernel.columns
    wide = next((t for t in TILES if work >= t[0] * t[1] * FEW), TILES[-1])
    return min(wide[0], kernel.rows), min(wide[1], kernel.columns)


def key_of(kernel: MatmulKernel) -> MatmulKey:
    a, b = kernel.inputs[:2]
    left = by_four(a, "row", "depth", kernel.rows, kernel.depth)
    right = by_four(b, "depth", "column", kernel.depth, kernel.columns)
    if kernel.depth % 4:
        left = right = SINGLE
    height, width = tile_for(kernel)
    if left == "row":
        height = max(4, height // 4 * 4)
    if right == "column":
        width = max(4, width // 4 * 4)
    bindings = bindings_of(kernel)
    return MatmulKey(
        kernel.dtype, kernel.epilogue, len(kernel.batch), (height, width), left, right, local_for(kernel, width), bindings,
        aliased(kernel, bindings),
    )  # fmt: skip


def local_for(kernel: MatmulKernel, width: int) -> int:
    """Invocations per workgroup: no more than there are pieces of columns."""
    pieces = -(-kernel.columns // width)
    return min(LOCAL, max(8, 1 << (pieces - 1).bit_length()))


def groups(kernel: MatmulKernel, key: MatmulKey, limit: int) -> tuple[int, int, int]:
    """Workgroups along columns, rows and batch; rows past ``limit`` go on in the third axis."""
    across = -(-(-(-kernel.columns // key.tile[1])) // key.local)
    down = -(-kernel.rows // key.tile[0])
    layers = -(-down // limit)
    return across, -(-down // layers), math.prod(kernel.batch) * layers


def parameters_of(kernel: MatmulKernel, key: MatmulKey, starts: list[int]) -> Parameters:
    made = Parameters()
    layers = -(-(-(-kernel.rows // key.tile[0])) // GROUPS)
    made.add(kernel.rows, kernel.columns, kernel.depth, layers, *starts)
    made.add(*kernel.batch[1:])
    for operand in (*kernel.inputs, *kernel.outputs):
        made.add(*operand.strides)
    made.add_scalars(kernel.scalars, kernel.epilogue.scalars)
    return made


def emit(key: MatmulKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: left, right, other inputs of the epilogue, outputs.

    Tiles at the edges read their last row or column again and do not store it.
    """
    m = Module(local_size=key.local, preserve_nan=abilities.preserve_nan)
    epilogue, late = key.epilogue, len(key.epilogue.inputs) - 1
    dtypes = [key.dtype, key.dtype, *epilogue.inputs[1:], *(epilogue.dtype_of(r) for r in epilogue.results)]
    fours = [k for k, how in enumerate((key.left, key.right)) if how != SINGLE]
    tensors = tensors_of(m, dtypes, key.bindings, len(epilogue.results), abilities, key.aliased, fours)
    words = Words(m, 0)
    rows, columns, depth, layers = words.take(4)
    starts = words.take(len(dtypes))
    dims = words.take(max(0, key.batch - 1))
    strides = [words.take(key.batch + 2) for _ in dtypes]
    height, width = key.tile
    # Neighbouring invocations take neighbouring columns; rows and batch come from the workgroup, so that what is read of the left
    # operand is the same for all of them, and drivers see that it is.
    group = m.add(m.mul(m.builtin(BUILTIN_WORKGROUP_ID, 0), m.u(key.local)), m.builtin(BUILTIN_LOCAL_ID, 0))
    column = m.mul(group, m.u(width))
    layer = m.builtin(BUILTIN_WORKGROUP_ID, 2)
    item = m.op(Op.UDiv, m.u32, layer, layers)
    tile = m.add(
        m.builtin(BUILTIN_WORKGROUP_ID, 1),
        m.mul(m.op(Op.UMod, m.u32, layer, layers), m.builtin(BUILTIN_NUM_WORKGROUPS, 1)),
    )
    row = m.mul(tile, m.u(height))
    inside = m.op(Op.LogicalAnd, m.bool, m.op(Op.ULessThan, m.bool, column, columns), m.op(Op.ULessThan, m.bool, row, rows))
    with m.if_(inside):
        position = coordinates(m, item, dims, key.batch) if key.batch else []
        bases = [walked(m, start, position, steps[: key.batch]) for start, steps in zip(starts, strides, strict=True)]
        row_at = [m.add(row, m.u(i)) for i in range(height)]
        column_at = [m.add(column, m.u(j)) for j in range(width)]
        left = Side(m, tensors[0], bases[0], row_at, rows, strides[0][-2:], key.left, "row")
        right = Side(m, tensors[1], bases[1], column_at, columns, strides[1][-2:][::-1], key.right, "column")
        totals = _accumulated(m, key, left, right, depth, abilities)
        scalars, _ = scalars_of(m, epilogue, words.at, abilities)
        for i, r in enumerate(row_at):
            for j, c in enumerate(column_at):
                inside = m.op(Op.LogicalAnd, m.bool, m.op(Op.ULessThan, m.bool, r, rows), m.op(Op.ULessThan, m.bool, c, columns))
                with m.if_(inside):
                    places = [walked(m, b, [r, c], s[-2:]) for b, s in zip(bases[2:], strides[2:], strict=True)]
                    loaded = [tensor.load(place) for tensor, place in zip(tensors[2:], places[:late], strict=False)]
                    line = m.add(m.mul(item, rows), r)
                    index = m.add(m.mul(line, columns), c)
                    total = m.get(totals[i][j])
                    if not key.dtype.is_floating_point or key.dtype.itemsize < 4:
                        total = _narrowed(m, key.dtype, total)
                    results = evaluate(m, epilogue, [total, *loaded], scalars, abilities, index)
                    for tensor, place, result in zip(tensors[2 + late :], places[late:], results, strict=True):
                        tensor.store(place, result)
    return m.finish()


def _narrowed(m: Module, dtype: DType, total: int) -> int:
    """A sum as a value its dtype can hold."""
    if dtype.is_floating_point:
        return functions.round_to(m, dtype, total)
    return m.op(Op.BitwiseAnd, m.i32, total, m.i(0xFF)) if dtype.itemsize == 1 else total


def _at_most(m: Module, index: int, length: int) -> int:
    last = m.op(Op.ISub, m.u32, length, m.u(1))
    return m.select(m.op(Op.ULessThan, m.bool, index, length), index, last)


class Side:
    """One operand's part of a tile: ``at`` are the rows (or columns) it covers, ``strides`` those along them and along the depth."""

    def __init__(
        self, m: Module, tensor: Tensor, base: int, at: list[int], length: int, strides: list[int], fours: str, along: str
    ) -> None:
        self._m = m
        self._tensor = tensor
        self._depth_stride = strides[1]
        self._mode = DEPTH if fours == "depth" else (ACROSS if fours == along else SINGLE)
        if self._mode == ACROSS:
            # Groups of four never straddle the edge: the length is a multiple of four.
            groups = [_at_most(m, start, length) for start in at[::4]]
            groups = [m.op(Op.BitwiseAnd, m.u32, g, m.u(0xFFFFFFFC)) for g in groups]
            self._starts = [m.add(base, g) for g in groups]
        else:
            self._starts = [m.add(base, m.mul(_at_most(m, i, length), strides[0])) for i in at]
        self._count = len(at)

    def load(self, k: int, steps: int) -> list[list[int]]:
        """Elements for depths ``k`` to ``k + steps - 1``: per depth one value per row (or column)."""
        m, tensor = self._m, self._tensor
        if self._mode == DEPTH:
            loaded = [m.components(tensor.load_four(m.add(start, k))) for start in self._starts]
            return [[values[d] for values in loaded] for d in range(steps)]
        out = []
        for d in range(steps):
            along = m.mul(m.add(k, m.u(d)) if d else k, self._depth_stride)
            if self._mode == ACROSS:
                fours = [m.components(tensor.load_four(m.add(start, along))) for start in self._starts]
                out.append([x for four in fours for x in four][: self._count])
            else:
                out.append([tensor.load(m.add(start, along)) for start in self._starts])
        return out


def _accumulated(m: Module, key: MatmulKey, left: Side, right: Side, depth: int, abilities: Abilities) -> list[list[int]]:
    """Variables with the tile's sums of products."""
    dtype = narrow(key.dtype, abilities)
    register = functions.register_type(m, dtype)
    zero = m.const(register, 0)
    totals = [[m.variable(register, zero) for _ in range(key.tile[1])] for _ in range(key.tile[0])]
    multiply, plus = (Op.FMul, Op.FAdd) if dtype.is_floating_point else (Op.IMul, Op.IAdd)
    steps = 1 if key.left == key.right == SINGLE else 4
    with m.loop(m.u(0), depth, m.u(steps)) as k:
        for a, b in zip(left.load(k, steps), right.load(k, steps), strict=True):
            for x, line in zip(a, totals, strict=True):
                for y, total in zip(b, line, strict=True):
                    m.set(total, m.op(plus, register, m.get(total), m.op(multiply, register, x, y)))
    return totals
