"""From groups to kernels: domains with merged axes, reductions in stages, matrix products with strides."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..command import Program
from ..driver import Traits
from ..dtype import DType
from ..hazards import Access
from ..layout import Layout, Shape, collapse, contiguous_strides
from . import convolution
from .group import PROLOGUE, Group, span
from .places import Place, access
from .plan import ElementwiseKernel, Kernel, MatmulKernel, Operand, ReduceKernel, ShaderKernel
from .stages import staged

CHUNK_MIN = 64  # elements per invocation at least, where a sum is shared
SHARE_FROM = 2048  # elements of a sum below which another stage costs more than it saves


def identity(dtype: DType) -> Program:
    return Program((dtype,), (), (), (0,))


class Lowering:
    """Makes kernels of groups; ``sizes`` collects the temporaries it needs, as value -> bytes."""

    def __init__(self, traits: Traits, values: int, errors: Layout) -> None:
        self._traits = traits
        self._values = values
        self._error_layout = errors
        self.sizes: dict[int, int] = {}

    def lower(self, group: Group, stored: Sequence[Place]) -> list[Kernel]:
        """The kernels of one group, in order."""
        if group.kind == "elementwise":
            return [self._elementwise(group, stored)]
        if group.kind == "reduce":
            return self._reduce(group, stored)
        if group.kind == "matmul":
            return [self._matmul(group, stored)]
        if group.kind == "conv":
            return self._convolution(group, stored)
        return staged(self._shader(group), self._traits, self._temporary)

    def _errors(self, group: Group) -> Operand | None:
        if group.errors is None:
            return None
        return Operand(group.errors, 0, self._error_layout.dtype, (1,), Access(group.errors, 0, 16))

    def _elementwise(self, group: Group, stored: Sequence[Place]) -> Kernel:
        program, inputs, scalars = group.epilogue.finish(stored)
        everything = [*inputs, *stored]
        shape, strides = collapse(group.shape, tuple(p.strides for p in everything))
        operands = _operands(everything, group.shape, strides)
        n = len(inputs)
        return ElementwiseKernel(
            tuple(group.names), operands[:n], operands[n:], tuple(scalars), self._errors(group), shape, program
        )

    # -- reductions -----------------------------------------------------------------------------------------------
    def _reduce(self, group: Group, stored: Sequence[Place]) -> list[Kernel]:
        assert group.core is not None
        combine, axes, accumulate = group.core.attributes
        assert isinstance(combine, str) and isinstance(axes, tuple) and isinstance(accumulate, DType)
        program, early, scalars = group.prologue.finish([PROLOGUE])
        epilogue, late, late_scalars = group.epilogue.finish(stored)
        kept_axes = [a for a in range(len(group.inner)) if a not in axes]
        kept, kept_strides = collapse(
            group.shape,
            (*(tuple(p.strides[a] for a in kept_axes) for p in early), *(p.strides for p in (*late, *stored))),
        )
        reduced, reduced_strides = collapse(
            tuple(group.inner[a] for a in axes), tuple(tuple(p.strides[a] for a in axes) for p in early)
        )
        n = len(early)
        sources = _operands(early, group.inner, tuple(k + r for k, r in zip(kept_strides, reduced_strides, strict=False)))
        others = _operands([*late, *stored], group.shape, kept_strides[n:])
        return self._stages(
            group, sources, others[: len(late)], others[len(late) :], kept, reduced, (combine, accumulate),
            (program, tuple(scalars)), (rounded(epilogue, accumulate), tuple(late_scalars)),
        )  # fmt: skip

    def _stages(
        self, group: Group, inputs: tuple[Operand, ...], late: tuple[Operand, ...], outputs: tuple[Operand, ...], kept: Shape,
        reduced: Shape, how: tuple[str, DType], early: tuple[Program, tuple[int, ...]], epilogue: tuple[Program, tuple[int, ...]],
    ) -> list[Kernel]:  # fmt: skip
        """One kernel, or several whose partial results shrink from stage to stage."""
        kernels: list[Kernel] = []
        names, count = tuple(group.names), math.prod(kept)
        combine, accumulate = how
        program, scalars = early
        while True:
            splits = self.splits(count, math.prod(reduced))
            if splits == 1:
                kernels.append(
                    ReduceKernel(
                        names, inputs + late, outputs, scalars + epilogue[1], None, kept, reduced, combine, 1, accumulate,
                        program, epilogue[0], len(late),
                    )
                )  # fmt: skip
                return kernels
            value = self._temporary(count * splits * accumulate.itemsize)
            partial = Operand(value, 0, accumulate, contiguous_strides((*kept, splits)), Access(value, 0, self.sizes[value]))
            kernels.append(
                ReduceKernel(
                    names, inputs, (partial,), scalars, None, kept, reduced, combine, splits, accumulate, program,
                    identity(accumulate), 0,
                )
            )  # fmt: skip
            inputs, reduced, program, scalars = (partial,), (splits,), identity(accumulate), ()

    def splits(self, outputs: int, length: int) -> int:
        """How many invocations share one output's sum of ``length`` elements."""
        enough = -(-length // self._traits.reduce_chunk)
        busy = min(-(-self._traits.parallelism // max(outputs, 1)), length // CHUNK_MIN) if length >= SHARE_FROM else 1
        wanted = max(1, enough, busy)
        return wanted if wanted < 64 else -(-wanted // 8) * 8  # eight together read next to each other

    def _temporary(self, nbytes: int) -> int:
        value = self._values
        self._values += 1
        self.sizes[value] = nbytes
        return value

    # -- the rest -------------------------------------------------------------------------------------------------
    def _matmul(self, group: Group, stored: Sequence[Place]) -> Kernel:
        epilogue, late, scalars = group.epilogue.finish(stored)
        layouts = [layout for _, _, layout in group.core_inputs]
        rank = len(group.shape) - 2
        others = [*late, *stored]
        batch, strides = collapse(
            group.shape[:rank], tuple(x[:rank] for x in (*(o.strides for o in layouts), *(p.strides for p in others)))
        )
        inputs = [
            Operand(v, o, layout.dtype, strides[k] + layout.strides[rank:], group.core_reads()[k])
            for k, (v, o, layout) in enumerate(group.core_inputs)
        ]
        rest = _operands(others, group.shape, tuple(s + p.strides[rank:] for s, p in zip(strides[2:], others, strict=True)))
        rows, depth = layouts[0].shape[rank:]
        n = len(late)
        return MatmulKernel(
            tuple(group.names), (*inputs, *rest[:n]), rest[n:], tuple(scalars), None, batch, rows, group.shape[-1], depth,
            layouts[0].dtype, epilogue,
        )  # fmt: skip

    def _convolution(self, group: Group, stored: Sequence[Place]) -> list[Kernel]:
        """One kernel, or one that makes partial sums and a reduction of those."""
        spec, names = group.core, tuple(group.names)
        assert spec is not None
        epilogue, late, scalars = group.epilogue.finish(stored)
        others, shape = [*late, *stored], group.shape
        core, reads = [(v, o) for v, o, _ in group.core_inputs], group.core_reads()
        splits, n = convolution.splits_of(spec, self._traits), len(late)
        if splits == 1:
            rest = _operands(others, shape, [p.strides for p in others])
            return [convolution.kernel_of(spec, names, core, reads, rest[:n], rest[n:], tuple(scalars), epilogue)]
        kept, strides = collapse(shape, (contiguous_strides(shape), *(p.strides for p in others)))
        rest = _operands(others, shape, strides[1:])
        count, accumulate = math.prod(shape), convolution.accumulated(epilogue.inputs[0])
        value = self._temporary(count * splits * accumulate.itemsize)
        everything = Access(value, 0, self.sizes[value])
        partial = Operand(value, 0, accumulate, (*contiguous_strides(shape), count), everything)
        summed = Operand(value, 0, accumulate, (*strides[0], count), everything)
        return [
            convolution.kernel_of(spec, names, core, reads, (), (partial,), (), identity(accumulate), splits),
            ReduceKernel(
                names, (summed, *rest[:n]), rest[n:], tuple(scalars), None, kept, (splits,), "add", 1, accumulate, identity(accumulate),
                rounded(epilogue, accumulate), n,
            ),
        ]  # fmt: skip

    def _shader(self, group: Group) -> ShaderKernel:
        assert group.core is not None
        reads = group.core_reads()
        inputs = tuple(
            Operand(v, o, layout.dtype, layout.strides, reads[k]) for k, (v, o, layout) in enumerate(group.core_inputs)
        )
        # All outputs, also those that nobody wants to see: a kernel writes what it was made to write.
        outputs = tuple(
            Operand(v, o, layout.dtype, layout.strides, span(v, o, layout))
            for (v, o), layout in zip(group.core_outputs, group.core.outputs, strict=True)
        )
        name, work, *attributes = group.core.attributes
        assert isinstance(name, str) and isinstance(work, int)
        program = group.core.program
        return ShaderKernel(
            tuple(group.names), inputs, outputs, group.core_scalars, self._errors(group), name, work, tuple(attributes),
            () if program is None else program.scalars,
        )  # fmt: skip


def _operands(places: Sequence[Place], shape: Shape, strides: Sequence[Shape]) -> tuple[Operand, ...]:
    return tuple(
        Operand(p.value, p.offset, p.dtype, s, access(p, shape)) for p, s in zip(places, strides, strict=True)
    )


def rounded(epilogue: Program, accumulate: DType) -> Program:
    """The epilogue as it takes what the reduction adds up in, where that is wider than the operation's dtype."""
    from ..command import step

    wanted = epilogue.inputs[0]
    if wanted is accumulate:
        return epilogue
    base = len(epilogue.inputs) + len(epilogue.scalars)

    def moved(register: int) -> int:
        return base if register == 0 else (register + 1 if register >= base else register)

    steps = [step("cast", accumulate, (0,), wanted)]
    for s in epilogue.steps:
        steps.append(type(s)(s.opcode, s.operands, s.result, tuple(moved(a) for a in s.args)))
    return Program(
        (accumulate, *epilogue.inputs[1:]), epilogue.scalars, tuple(steps), tuple(moved(r) for r in epilogue.results)
    )
