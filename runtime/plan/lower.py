"""From commands to kernels: domains with merged axes, reductions in stages, matrix products with strides."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..command import Program
from ..driver import Traits
from ..dtype import DType
from ..hazards import Access
from ..layout import Layout, Shape, collapse, contiguous_strides
from .group import Group
from .plan import ElementwiseKernel, Kernel, MatmulKernel, Operand, ReduceKernel, ShaderKernel

CHUNK_MIN = 64  # fewer are not worth another stage


def operand(value: int, offset: int, layout: Layout, strides: Shape) -> Operand:
    """``layout`` of value ``value`` at ``offset`` elements, walked with ``strides``."""
    size = layout.dtype.itemsize
    access = Access(value, offset * size, (offset + layout.span) * size)
    return Operand(value, offset, layout.dtype, strides, access)


def identity(dtype: DType) -> Program:
    return Program((dtype,), (), (), (0,))


class Lowering:
    """Makes kernels of groups; ``sizes`` collects the temporaries it needs, as value -> bytes."""

    def __init__(self, traits: Traits, values: int) -> None:
        self._traits = traits
        self._values = values
        self.sizes: dict[int, int] = {}

    def lower(self, group: Group) -> list[Kernel]:
        """The kernels of one group, in order; none when there is nothing to compute."""
        if all(layout.numel == 0 for _, _, layout in group.outputs) and group.errors is None:
            return []
        if group.kind == "elementwise":
            return [self._elementwise(group)] if math.prod(group.shape) else []
        if group.kind == "reduce":
            return self._reduce(group)
        if group.kind == "matmul":
            return [self._matmul(group)]
        return [self._shader(group)]

    def _errors(self, group: Group) -> Operand | None:
        if group.errors is None:
            return None
        value, layout = group.errors
        return operand(value, 0, layout, (1,))

    def _elementwise(self, group: Group) -> Kernel:
        everything = group.inputs + group.outputs
        shape, strides = collapse(group.shape, tuple(layout.strides for _, _, layout in everything))
        operands = [operand(v, o, layout, s) for (v, o, layout), s in zip(everything, strides, strict=True)]
        n = len(group.inputs)
        return ElementwiseKernel(
            group.names, tuple(operands[:n]), tuple(operands[n:]), group.scalars, self._errors(group), shape, group.program
        )

    # -- reductions -----------------------------------------------------------------------------------------------
    def _reduce(self, group: Group) -> list[Kernel]:
        combine, axes, accumulate = group.attributes
        assert isinstance(combine, str) and isinstance(axes, tuple) and isinstance(accumulate, DType)
        kept_axes = [a for a in range(len(group.shape)) if a not in axes]
        layouts = [layout for _, _, layout in group.inputs]
        (out_value, out_offset, out_layout) = group.outputs[0]
        n_in = len(layouts)
        kept, kept_strides = collapse(
            tuple(group.shape[a] for a in kept_axes),
            (*(tuple(x.strides[a] for a in kept_axes) for x in layouts), out_layout.strides),
        )
        reduced, reduced_strides = collapse(
            tuple(group.shape[a] for a in axes), tuple(tuple(x.strides[a] for a in axes) for x in layouts)
        )
        inputs = tuple(
            operand(v, o, layout, kept_strides[k] + reduced_strides[k]) for k, (v, o, layout) in enumerate(group.inputs)
        )
        final = operand(out_value, out_offset, out_layout, kept_strides[n_in])
        return self._stages(group, inputs, final, kept, reduced, combine, accumulate)

    def _stages(
        self, group: Group, inputs: tuple[Operand, ...], final: Operand, kept: Shape, reduced: Shape,
        combine: str, accumulate: DType,
    ) -> list[Kernel]:  # fmt: skip
        kernels: list[Kernel] = []
        program, outputs, n_scalars = group.program, math.prod(kept), len(group.program.scalars)
        scalars = group.scalars[:n_scalars]
        while True:
            splits = self.splits(outputs, math.prod(reduced))
            if splits == 1:
                kernels.append(
                    ReduceKernel(
                        group.names, inputs, (final,), scalars + group.scalars[n_scalars:], self._errors(group),
                        kept, reduced, combine, 1, accumulate, program, group.epilogue,
                    )
                )  # fmt: skip
                return kernels
            value = self._temporary(outputs * splits * accumulate.itemsize)
            strides = contiguous_strides((*kept, splits))
            partial = Operand(value, 0, accumulate, strides, Access(value, 0, self.sizes[value]))
            kernels.append(
                ReduceKernel(
                    group.names, inputs, (partial,), scalars, None, kept, reduced, combine, splits, accumulate,
                    program, identity(accumulate),
                )
            )  # fmt: skip
            inputs, reduced, program, scalars = (partial,), (splits,), identity(accumulate), ()

    def splits(self, outputs: int, length: int) -> int:
        """How many invocations share one output's sum of ``length`` elements."""
        enough = -(-length // self._traits.reduce_chunk)
        busy = min(-(-self._traits.parallelism // max(outputs, 1)), length // CHUNK_MIN)
        return max(1, enough, busy)

    def _temporary(self, nbytes: int) -> int:
        value = self._values
        self._values += 1
        self.sizes[value] = nbytes
        return value

    # -- the rest -------------------------------------------------------------------------------------------------
    def _matmul(self, group: Group) -> Kernel:
        layouts = [layout for _, _, layout in group.inputs[:2]]
        out_value, out_offset, out = group.outputs[0]
        rank = len(out.shape) - 2
        batch, strides = collapse(out.shape[:rank], tuple(x.strides[:rank] for x in (*layouts, out)))
        inputs = tuple(
            operand(v, o, layout, strides[k] + layout.strides[rank:]) for k, (v, o, layout) in enumerate(group.inputs[:2])
        )
        result = operand(out_value, out_offset, out, strides[2] + out.strides[rank:])
        rows, depth = layouts[0].shape[rank:]
        return MatmulKernel(
            group.names, inputs, (result,), group.scalars, None, batch, rows, out.shape[-1], depth
        )  # fmt: skip

    def _shader(self, group: Group) -> Kernel:
        def walk(items: Sequence[tuple[int, int, Layout]]) -> tuple[Operand, ...]:
            return tuple(operand(v, o, layout, layout.strides) for v, o, layout in items)

        return ShaderKernel(
            group.names, walk(group.inputs), walk(group.outputs), group.scalars, self._errors(group),
            str(group.attributes[0]), group.attributes[1:],
        )  # fmt: skip
