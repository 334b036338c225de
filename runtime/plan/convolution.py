"""Convolutions as kernels see them: one formula for the product, both of its gradients, and transposed convolutions.

Every output element is a sum of products over input channels and taps::

    out[b, g, m, y, x] = sum over k, i, j of  source[b, g, k, Y(y, i), X(x, j)] * weight[g, m, k, i, j]

What differs is which axes of which tensors play which part, and how each spatial axis is walked (`ConvAxis`). A gradient of the input
walks the output's gradient backwards; for a gradient of the weight, batch and channels change places, and the output's gradient is the
weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..command import CommandSpec, Program
from ..driver import Traits
from ..dtype import DType, bfloat16, float16, float32
from ..hazards import Access
from ..layout import Layout, Shape, layout_of
from .plan import Kernel, Operand

TERMS = 4096  # products that one invocation adds up, about: keeps the rounding error of long sums small
SHARE_FROM = 2048  # products from which several invocations share a sum where the device has more of them than there are sums
SHARE_LEAST = 64  # products per invocation then
UNROLLED = 4  # channels at a time, or all of them where there are no more
TURNS = 61_440  # of an invocation's loops: software devices cut them off after 65,535
PARTIAL = 8 << 20  # bytes of partial sums past which no more invocations share


@dataclass(frozen=True, slots=True)
class ConvAxis:
    """One spatial axis. Output place ``y`` and tap ``i`` meet at ``(y * stride + origin + i * step) / divisor`` in the source.

    Where that is no whole number, or outside of ``source``, there is no product. Either ``stride`` or ``divisor`` is 1; only a
    ``step`` can be negative besides ``origin``.
    """

    source: int
    output: int
    taps: int
    stride: int
    origin: int
    step: int
    divisor: int

    def inside(self) -> bool:
        """Whether no tap ever falls outside of the source."""
        if self.divisor != 1:
            return False
        ends = [y * self.stride + self.origin + i * self.step for y in (0, self.output - 1) for i in (0, self.taps - 1)]
        return min(ends) >= 0 and max(ends) < self.source

    @property
    def places(self) -> int:
        """Output places of each of the ``divisor`` phases: those of one phase meet the same taps."""
        return -(-self.output // self.divisor)

    @property
    def common(self) -> int:
        return math.gcd(self.divisor, self.step)

    @property
    def skip(self) -> int:
        """From one tap that a phase meets to the next."""
        return self.divisor // self.common

    @property
    def inverse(self) -> int:
        """What turns a phase into the first tap it meets: of ``-step / common``, modulo `skip`."""
        return pow(-self.step // self.common, -1, self.skip) if self.skip > 1 else 0


@dataclass(frozen=True, slots=True)
class ConvKernel(Kernel):
    """The formula above, then ``epilogue`` on the sum and the inputs after the first two.

    Strides are over (b, g, k, source...) of the first input, (g, m, k, taps...) of the second and (b, g, m, output...) of all others.
    ``swapped``: elements are numbered with channels (g, m) before b. With several ``splits`` each of them adds up some of the taps
    and the only output has an axis more, for them.
    """

    batch: int
    groups: int
    rows: int
    depth: int
    axes: tuple[ConvAxis, ConvAxis]
    swapped: bool
    splits: int
    dtype: DType
    epilogue: Program

    @property
    def shape(self) -> Shape:
        """What outputs and late inputs are walked over."""
        shape = self.batch, self.groups, self.rows, *(axis.output for axis in self.axes)
        return (*shape, self.splits) if self.splits > 1 else shape

    @property
    def work(self) -> int:
        """Products, about."""
        terms = math.prod(axis.taps if axis.divisor == 1 else -(-axis.taps // axis.skip) for axis in self.axes)
        return self.batch * self.groups * self.rows * math.prod(axis.output for axis in self.axes) * self.depth * max(terms, 1)

    def walks(self) -> list[Shape]:
        """What each input is walked over."""
        source = self.batch, self.groups, self.depth, *(axis.source for axis in self.axes)
        weight = self.groups, self.rows, self.depth, *(axis.taps for axis in self.axes)
        return [source, weight, *[self.shape] * (len(self.inputs) - 2)]


def strides_over(strides: Shape, shape: Shape, groups: int, swapped: bool) -> Shape:
    """Strides over the natural output (batch, channels, spatial..., or channels first if ``swapped``) as strides over (b, g, m, ...)."""
    first, second, *spatial = strides
    batch, channels = (second, first) if swapped else (first, second)
    count = shape[0] if swapped else shape[1]
    return batch, channels * (count // groups), channels, *spatial


def accumulated(dtype: DType) -> DType:
    """What sums are kept in."""
    return float32 if dtype in (float16, bfloat16) else dtype


def splits_of(spec: CommandSpec, traits: Traits) -> int:
    """How many invocations share each sum; always the same for the same operation on the same device."""
    axes = attributes_of(spec)[2]
    if traits.kind == "host" or any(axis.divisor > 1 for axis in axes):
        return 1
    taps, depth = math.prod(axis.taps for axis in axes), spec.inputs[0].shape[2]
    out = spec.outputs[0]
    terms, invocations = taps * depth, max(out.numel // 16, 1)
    enough = -(-terms // TERMS)
    if terms >= SHARE_FROM:
        enough = max(enough, min(-(-traits.parallelism // invocations), terms // SHARE_LEAST))
    most = max(1, PARTIAL // max(out.numel * 4, 1), -(-terms // (16 * TERMS)))
    return max(1, min(enough, taps, most))


def turns_of(spec: CommandSpec, traits: Traits) -> int:
    """How often the loops of one invocation turn around: over the taps that it meets, and over the channels in each of those."""
    axes, depth = attributes_of(spec)[2], spec.inputs[0].shape[2]
    taps = math.prod(-(-axis.taps // axis.skip) for axis in axes)
    inner = 0 if depth <= UNROLLED else depth // unrolled(depth)
    return -(-taps // splits_of(spec, traits)) * (1 + inner)


def unrolled(depth: int) -> int:
    """How many channels are added up in one turn."""
    return depth if depth <= UNROLLED else next(n for n in (UNROLLED, 2, 1) if depth % n == 0)


Piece = tuple[CommandSpec, int, int]  # and how far from where they began the source and the weight begin


def pieces(spec: CommandSpec, traits: Traits) -> list[Piece]:
    """Convolutions that add up to this one: one, or where a software device would leave its loops too early, halves of halves."""
    if traits.kind != "software" or turns_of(spec, traits) <= TURNS:
        return [(spec, 0, 0)]
    lengths = [spec.inputs[0].shape[2], *(axis.taps for axis in attributes_of(spec)[2])]
    axis = lengths.index(max(lengths))
    middle = lengths[axis] // 2
    middle -= middle % UNROLLED if middle > UNROLLED else 0
    made = []
    for start, length in ((0, middle), (middle, lengths[axis] - middle)):
        half, *begins = _piece(spec, axis, start, length)
        made += [(part, begins[0] + x, begins[1] + w) for part, x, w in pieces(half, traits)]
    return made


def _piece(spec: CommandSpec, axis: int, start: int, length: int) -> Piece:
    """Some of the channels (``axis`` 0) or of the taps of a spatial axis (1, 2)."""
    (source, weight), (swapped, groups, axes) = spec.inputs, attributes_of(spec)
    if axis:
        axes_ = list(axes)
        axes_[axis - 1] = replace(axes[axis - 1], taps=length, origin=axes[axis - 1].origin + start * axes[axis - 1].step)
        axes = (axes_[0], axes_[1])
    inputs = (source if axis else _some(source, 2, length)), _some(weight, axis + 2, length)
    begins = (0 if axis else start * source.strides[2]), start * weight.strides[axis + 2]
    return (CommandSpec(spec.kind, spec.name, inputs, spec.outputs, None, (swapped, groups, axes)), *begins)


def _some(layout: Layout, axis: int, length: int) -> Layout:
    shape = (*layout.shape[:axis], length, *layout.shape[axis + 1 :])
    return layout_of(layout.device, layout.dtype, shape, layout.strides)


def attributes_of(spec: CommandSpec) -> tuple[bool, int, tuple[ConvAxis, ConvAxis]]:
    swapped, groups, axes = spec.attributes
    assert isinstance(swapped, bool) and isinstance(groups, int) and isinstance(axes, tuple)
    return swapped, groups, axes


def kernel_of(
    spec: CommandSpec, names: tuple[str, ...], core: Sequence[tuple[int, int]], reads: Sequence[Access],
    late: Sequence[Operand], outputs: Sequence[Operand], scalars: tuple[int, ...], epilogue: Program, splits: int = 1,
) -> ConvKernel:  # fmt: skip
    """The kernel of a command, whose late inputs and outputs have strides over the natural output (and the splits)."""
    swapped, groups, axes = attributes_of(spec)
    source, weight = spec.inputs
    inputs = [
        Operand(value, offset, layout.dtype, layout.strides, access)
        for (value, offset), layout, access in zip(core, (source, weight), reads, strict=True)
    ]
    shape = spec.outputs[0].shape

    def moved(operand: Operand) -> Operand:
        strides = strides_over(operand.strides[:4], shape, groups, swapped) + operand.strides[4:]
        return Operand(operand.value, operand.offset, operand.dtype, strides, operand.access)

    return ConvKernel(
        names, (*inputs, *map(moved, late)), tuple(map(moved, outputs)), scalars, None, source.shape[0], groups, weight.shape[1],
        source.shape[2], axes, swapped, splits, source.dtype, epilogue,
    )  # fmt: skip
