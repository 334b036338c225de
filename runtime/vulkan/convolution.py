"""Convolutions: which tile computes one, and with what parameters. `convolution_tiles` has the generated shader.

Each invocation adds up a tile of the output in registers: ``height`` output channels by `PIXELS` places. Nothing is unfolded: the
source is read where each tap meets it, and what lies outside counts as zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..command import Program
from ..division import division
from ..driver import Traits
from ..dtype import DType
from ..plan.convolution import UNROLLED, ConvAxis, ConvKernel, unrolled
from . import convolution_tiles
from .access import Abilities
from .convolution_tiles import PIXELS, ConvTile
from .descriptors import NO_FORMAT
from .operands import aliased, bindings_of, reads_texels, texel_format
from .parameters import Parameters

FEW, FEW_GROUPS = 256, 8  # invocations, and workgroups of a software device, below which tiles are made smaller
TALL, LARGE = 16, 1 << 23  # output channels per invocation of a software device, for convolutions of so many products
SIGN = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class ConvKey:
    """What makes two convolutions the same shader."""

    tile: ConvTile
    local: int
    dtype: DType
    epilogue: Program
    bindings: tuple[int, ...]
    formats: tuple[int, ...]
    aliased: bool

    @property
    def variant(self) -> str:
        return f"conv {self.tile.height}x{PIXELS}"


def key_of(kernel: ConvKernel, traits: Traits) -> ConvKey:
    software = traits.kind == "software"
    local = 8 if software else 64
    formats = [texel_format(o, False, traits) if reads_texels(traits) else NO_FORMAT for o in kernel.inputs[:2]]
    bindings = bindings_of(kernel, [k for k, f in enumerate(formats) if f != NO_FORMAT])
    depth, fixed = kernel.depth, kernel.depth if kernel.depth <= UNROLLED else 0
    tile = ConvTile(
        _height(kernel, local, software), unrolled(depth), bool(fixed),
        not all(axis.inside() for axis in kernel.axes), any(axis.divisor > 1 for axis in kernel.axes), kernel.swapped,
        kernel.splits > 1,
    )  # fmt: skip
    return ConvKey(tile, local, kernel.dtype, kernel.epilogue, bindings, tuple(formats), aliased(kernel, bindings))


def _height(kernel: ConvKernel, local: int, software: bool) -> int:
    """Output channels per invocation: tiles of nearly one size, and enough of them."""
    layers = _layers(kernel)
    height = (TALL if kernel.work >= LARGE else 8) if software else 4
    least, most = (FEW_GROUPS, _blocks(kernel, local)) if software else (FEW, -(-_places(kernel) // PIXELS))
    while height > 1 and layers * most * -(-kernel.rows // height) < least:
        height //= 2
    return -(-kernel.rows // -(-kernel.rows // height)) if kernel.rows else 1


def _places(kernel: ConvKernel) -> int:
    """Output places of a phase, all items of the batch together."""
    return kernel.batch * math.prod(axis.places for axis in kernel.axes)


def _blocks(kernel: ConvKernel, local: int) -> int:
    return -(-_places(kernel) // (local * PIXELS))


def _layers(kernel: ConvKernel) -> int:
    """What workgroups differ in besides places and rows: groups, phases, splits."""
    return kernel.groups * math.prod(axis.divisor for axis in kernel.axes) * kernel.splits


def invocations(kernel: ConvKernel, key: ConvKey) -> int:
    tiles = -(-kernel.rows // key.tile.height)
    return tiles * _blocks(kernel, key.local) * _layers(kernel) * key.local


def _axis_words(axis: ConvAxis) -> list[int]:
    """As `convolution_tiles.Axis` reads them."""
    delta = axis.skip * axis.step // axis.divisor
    return [
        word & SIGN
        for word in (
            axis.source, axis.output, axis.stride, axis.origin, axis.step, axis.taps, axis.divisor, axis.common, axis.skip,
            axis.inverse, axis.origin % axis.divisor, delta, *division(axis.places),
        )
    ]  # fmt: skip


def parameters_of(kernel: ConvKernel, key: ConvKey, starts: list[int]) -> Parameters:
    made = Parameters()
    tiles, blocks = -(-kernel.rows // key.tile.height), _blocks(kernel, key.local)
    taps = math.prod(axis.taps for axis in kernel.axes)
    made.add(tiles * blocks * _layers(kernel), tiles, blocks, _places(kernel), kernel.batch, kernel.groups, kernel.rows, kernel.depth)
    made.add(-(-taps // kernel.splits), taps)
    for axis in kernel.axes:
        made.add(*_axis_words(axis))
    made.add(*starts)
    for operand in (*kernel.inputs, *kernel.outputs):
        made.add(*operand.strides)
    made.add_scalars(kernel.scalars, kernel.epilogue.scalars)
    return made


def emit(key: ConvKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: source, weight, other inputs of the epilogue, outputs."""
    return convolution_tiles.emit(key.tile, key.local, key.dtype, key.epilogue, key.bindings, key.formats, key.aliased, abilities)
