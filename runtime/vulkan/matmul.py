"""Matrix products: which of the variants computes one, and with what parameters. `matmul_tiles` has the generated shader.

Every variant gives each invocation a tile of the result that stays in registers, ``height`` down by `WIDTH` along; neighbouring
invocations lie next to each other *along*. That is the columns, or the rows where the product is computed transposed because
its columns would leave most of a software device's vector idle.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from ... import shaders
from .. import dtype as dt
from .. import settings
from ..command import Program
from ..driver import Traits
from ..dtype import DType
from ..plan.plan import MatmulKernel, Operand
from . import matmul_tiles
from .access import Abilities
from .descriptors import NO_FORMAT, R32F, RGBA32F
from .matmul_tiles import ACROSS, DEPTH, SINGLE, WIDTH, Mode, Tile
from .operands import aliased, bindings_of
from .parameters import Parameters

GROUPS = 65535  # per axis
FEW = 256  # invocations below which a real GPU is given smaller tiles
FEW_GROUPS = 8  # workgroups below which a software device is


@dataclass(frozen=True, slots=True)
class Variant:
    """``height`` elements down and ``local`` invocations per workgroup; ``texels``: operands are read as texel buffers."""

    name: str
    height: int
    local: int
    texels: bool = False


TEXEL = Variant("texel", 8, 8, texels=True)  # software drivers: loads from storage buffers go lane by lane there
TALL = Variant("tall", 16, 8, texels=True)  # the same for products worth its longer compilation
VECTOR = Variant("vector", 8, 8)  # software drivers without texel buffers
WIDE = Variant("wide", 4, 64)  # GPUs
TILED = Variant("tiled", 64, 256)  # GPUs with fast shared memory: the hand-written kernel `matmul_tiled`
VARIANTS = {v.name: v for v in (TEXEL, TALL, VECTOR, WIDE, TILED)}
TILE = 64  # rows and columns per workgroup of `matmul_tiled`
STEPS = (4, 2, 1)  # depths at a time: software drivers pay for every turn of a loop
LARGE = 1 << 28  # products from which `TALL` is taken


@dataclass(frozen=True, slots=True)
class MatmulKey:
    """What makes two products the same shader. ``formats`` are those of the first two bindings."""

    variant: str
    tile: Tile
    local: int
    formats: tuple[int, ...]
    dtype: DType
    epilogue: Program
    batch: int
    fours: tuple[bool, ...]  # per other operand
    bindings: tuple[int, ...]
    aliased: bool


def variant_for(kernel: MatmulKernel, traits: Traits) -> Variant:
    """The variant of a kernel, as the setting ``matmul`` says where that is possible."""
    wish = settings.current.matmul
    if wish != "auto" and wish not in VARIANTS:
        raise ValueError(f"RASPTORCH_MATMUL={wish!r} is no matmul variant; there are: auto, {', '.join(VARIANTS)}")
    large = math.prod(kernel.batch) * kernel.rows * kernel.columns * kernel.depth >= LARGE
    general = (TALL if large else TEXEL) if traits.kind == "software" else WIDE
    best = TILED if traits.kind == "discrete" else general
    chosen = best if wish == "auto" else VARIANTS[wish]
    return general if chosen is TILED and not _plain(kernel) else chosen


def _plain(kernel: MatmulKernel) -> bool:
    """Whether the hand-written kernel can compute it: float32, no epilogue, at most one batch axis, nothing in place."""
    return (
        kernel.dtype is dt.float32 and not kernel.epilogue.steps and kernel.epilogue.results == (0,) and len(kernel.inputs) == 2
        and len(kernel.batch) <= 1 and bindings_of(kernel) == (0, 1, 2)
    )  # fmt: skip


def oriented(kernel: MatmulKernel, traits: Traits) -> MatmulKernel:
    """The kernel, or its transpose where that leaves fewer lanes of a software device idle."""
    variant = variant_for(kernel, traits)
    if traits.kind != "software" or variant is TILED:
        return kernel
    group = WIDTH * variant.local
    work, turned = (-(-along // group) * group * down for along, down in ((kernel.columns, kernel.rows), (kernel.rows, kernel.columns)))
    return transposed(kernel) if turned < work else kernel


def transposed(kernel: MatmulKernel) -> MatmulKernel:
    """The same product as ``(b.T @ a.T).T``: operands change places, rows and columns too."""

    def swapped(operand: Operand) -> Operand:
        *batch, row, column = operand.strides
        return dataclasses.replace(operand, strides=(*batch, column, row))

    left, right, *others = kernel.inputs
    return dataclasses.replace(
        kernel, inputs=(swapped(right), swapped(left), *map(swapped, others)), outputs=tuple(map(swapped, kernel.outputs)),
        rows=kernel.columns, columns=kernel.rows, turned=not kernel.turned,
    )  # fmt: skip


def mode_of(operand: Operand, across: int, depth: int, lengths: tuple[int, int]) -> Mode:
    """How a float32 operand can be read in aligned pieces of four; ``across`` and ``depth`` are its strides, ``lengths`` the axes'."""
    batch = operand.strides[:-2]
    if operand.dtype is not dt.float32 or operand.offset % 4 or any(s % 4 for s in batch):
        return SINGLE
    if depth == 1 and lengths[1] % 4 == 0 and (across % 4 == 0 or lengths[0] == 1):
        return DEPTH
    return ACROSS if across == 1 and lengths[0] % 4 == 0 and (depth % 4 == 0 or lengths[1] == 1) else SINGLE


def _height(kernel: MatmulKernel, variant: Variant, left: Mode, traits: Traits) -> int:
    """Elements down per invocation: tiles of nearly one size, and enough of them."""
    batch, pieces = math.prod(kernel.batch), -(-kernel.columns // WIDTH)
    height = variant.height
    if traits.kind == "software":
        while height > 2 and batch * -(-pieces // variant.local) * -(-kernel.rows // height) < FEW_GROUPS:
            height //= 2
    else:
        while height > 1 and batch * pieces * -(-kernel.rows // height) < FEW:
            height //= 2
    if left == ACROSS:
        return max(4, height // 4 * 4)
    return -(-kernel.rows // -(-kernel.rows // height))


def key_of(kernel: MatmulKernel, traits: Traits) -> MatmulKey:
    variant = variant_for(kernel, traits)
    (a, b), bindings = kernel.inputs[:2], bindings_of(kernel)
    left = mode_of(a, a.strides[-2], a.strides[-1], (kernel.rows, kernel.depth))
    right = mode_of(b, b.strides[-1], b.strides[-2], (kernel.columns, kernel.depth))
    modes = [left, right]
    written = bindings[len(kernel.inputs) :]
    formats = [NO_FORMAT] * 2
    if variant.texels and kernel.dtype is dt.float32 and kernel.depth:
        for k in range(2):
            wanted, size = (R32F, 4) if modes[k] == SINGLE else (RGBA32F, 16)
            operand = kernel.inputs[k].access
            if k not in written and (operand.end - operand.start) // size + 256 <= traits.texels:
                formats[k] = wanted
    whole = kernel.columns % WIDTH == 0
    if variant is TILED:
        fours: tuple[bool, ...] = ()
        tile = Tile(TILE, 1, SINGLE, SINGLE, whole=False, turned=False)
    else:
        step = next(s for s in STEPS if kernel.depth % s == 0)
        fours = _fours(kernel, bindings) if whole else (False,) * (len(bindings) - 2)
        tile = Tile(_height(kernel, variant, left, traits), step, left, right, whole, kernel.turned)
    return MatmulKey(
        variant.name, tile, variant.local, tuple(formats), kernel.dtype, kernel.epilogue, len(kernel.batch), fours, bindings,
        aliased(kernel, bindings),
    )  # fmt: skip


def _fours(kernel: MatmulKernel, bindings: tuple[int, ...]) -> tuple[bool, ...]:
    """Which operands after the first two have aligned pieces of four along; those that share a binding must agree."""
    others = (*kernel.inputs[2:], *kernel.outputs)
    lone = {0, 1} | {
        number
        for operand, number in zip(others, bindings[2:], strict=True)
        if mode_of(operand, operand.strides[-1], operand.strides[-2], (kernel.columns, kernel.rows)) != ACROSS
    }
    return tuple(number not in lone for number in bindings[2:])


def groups(kernel: MatmulKernel, key: MatmulKey, limit: int) -> tuple[int, int, int]:
    """Workgroups along, down and per batch; those down past ``limit`` go on in the third axis."""
    width = TILE if key.variant == TILED.name else WIDTH * key.local
    down = -(-kernel.rows // key.tile.height)
    layers = -(-down // limit)
    return -(-kernel.columns // width), -(-down // layers), math.prod(kernel.batch) * layers


def parameters_of(kernel: MatmulKernel, key: MatmulKey, starts: list[int]) -> Parameters:
    made = Parameters()
    layers = -(-(-(-kernel.rows // key.tile.height)) // GROUPS)
    made.add(kernel.rows, kernel.columns, kernel.depth, layers, *starts)
    made.add(*kernel.batch[1:])
    tiled = key.variant == TILED.name
    for operand in (*kernel.inputs, *kernel.outputs):
        made.add(*((0,) if tiled and not kernel.batch else ()), *operand.strides)
    made.add_scalars(kernel.scalars, kernel.epilogue.scalars)
    return made


def emit(key: MatmulKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: left, right, other inputs of the epilogue, outputs."""
    if key.variant == TILED.name:
        return shaders.load("matmul_tiled")
    return matmul_tiles.emit(
        key.tile, key.dtype, key.epilogue, key.batch, key.local, key.formats, key.fours, key.bindings, key.aliased, abilities
    )
