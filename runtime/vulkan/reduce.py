"""Reductions: each invocation combines its share of one output's elements, one after the other.

No shared memory and no barriers inside the shader: on the Raspberry Pi shared memory is ordinary memory, on software devices a
barrier costs more than a dispatch. Long sums are split by the planner into stages, which also bounds their rounding error; the
order is fixed, so results are the same bits every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..command import Program
from ..driver import Traits
from ..dtype import DType
from ..plan.plan import ReduceKernel
from . import functions
from .access import Abilities
from .elementwise import LINEAR, LOCAL, Words, aliased, bindings_of, coordinates, mode, scalars_of, tensors_of, walked
from .parameters import Parameters
from .program import evaluate, narrow
from .spirv import Module, Op

FIRST = ("maximum", "minimum")  # start from the first element: they have no identity that keeps NaN and booleans right


@dataclass(frozen=True, slots=True)
class ReduceKey:
    """What makes two reductions the same shader. ``rows``: neighbouring invocations share an output."""

    program: Program
    epilogue: Program
    combine: str
    accumulate: DType
    kept: int
    reduced: int
    partial: bool
    linear: tuple[bool, ...]  # per late input and output
    rows: bool
    bindings: tuple[int, ...]
    aliased: bool


def key_of(kernel: ReduceKernel, traits: Traits) -> ReduceKey:
    early = len(kernel.inputs) - kernel.late
    rows = bool(kernel.reduced) and bool(early) and kernel.inputs[0].strides[-1] == 1
    others = kernel.inputs[early:] + kernel.outputs
    linear = tuple(kernel.splits > 1 or mode(o.strides, kernel.kept) == LINEAR for o in others)
    bindings = bindings_of(kernel)
    return ReduceKey(
        kernel.program, kernel.epilogue, kernel.combine, kernel.accumulate, len(kernel.kept), len(kernel.reduced),
        kernel.splits > 1, linear, rows, bindings, aliased(kernel, bindings),
    )  # fmt: skip


def parameters_of(kernel: ReduceKernel, key: ReduceKey, starts: list[int]) -> Parameters:
    made = Parameters()
    outputs = math.prod(kernel.kept)
    made.add(outputs * kernel.splits, outputs, kernel.splits, math.prod(kernel.reduced), *starts)
    made.add(*kernel.kept[1:], *kernel.reduced[1:])
    early = len(kernel.inputs) - kernel.late
    for operand in kernel.inputs[:early]:
        made.add(*operand.strides)
    for operand, linear in zip(kernel.inputs[early:] + kernel.outputs, key.linear, strict=True):
        if not linear:
            made.add(*operand.strides)
    made.add_scalars(kernel.scalars, kernel.program.scalars + kernel.epilogue.scalars)
    return made


def emit(key: ReduceKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: inputs, late inputs, outputs."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    program, epilogue, early = key.program, key.epilogue, len(key.program.inputs)
    late = len(epilogue.inputs) - 1
    dtypes = [*program.inputs, *epilogue.inputs[1:], *(epilogue.dtype_of(r) for r in epilogue.results)]
    tensors = tensors_of(m, dtypes, key.bindings, len(epilogue.results), abilities, key.aliased)
    sources = tensors[:early]
    words = Words(m, 1)
    outputs, splits, length = words.take(3)
    starts = words.take(len(dtypes))
    kept_dims, reduced_dims = words.take(max(0, key.kept - 1)), words.take(max(0, key.reduced - 1))
    strides = [words.take(key.kept + key.reduced) for _ in sources]
    other_strides = [[] if linear else words.take(key.kept) for linear in key.linear]
    number = m.invocation()
    with m.if_(m.op(Op.ULessThan, m.bool, number, m.param(0))):
        across, along = (Op.UDiv, Op.UMod) if key.rows else (Op.UMod, Op.UDiv)
        share = splits if key.rows else outputs
        output = m.op(across, m.u32, number, share)
        split = m.op(along, m.u32, number, share)
        position = coordinates(m, output, kept_dims, key.kept) if key.kept else []
        bases = [walked(m, starts[k], position, strides[k][: key.kept]) for k in range(early)]
        scalars, after = scalars_of(m, program, words.at, abilities)

        numbered = any(step.opcode == "index" for step in program.steps)

        def value(r: int) -> int:
            inner = coordinates(m, r, reduced_dims, key.reduced) if key.reduced else []
            loaded = [source.load(walked(m, bases[k], inner, strides[k][key.kept :])) for k, source in enumerate(sources)]
            index = m.add(m.mul(output, length), r) if numbered else None  # reduced axes come last then: see fusion
            return evaluate(m, program, loaded, scalars, abilities, index)[0]

        total = _accumulated(m, key, split, splits, length, value, abilities)
        if key.partial:
            place = m.add(m.mul(output, splits), split)
            tensors[-1].store(m.add(starts[-1], place), total)
        else:
            places = [
                m.add(start, output) if linear else walked(m, start, position, steps)
                for start, linear, steps in zip(starts[early:], key.linear, other_strides, strict=True)
            ]
            loaded = [tensor.load(place) for tensor, place in zip(tensors[early:], places[:late], strict=False)]
            late_scalars, _ = scalars_of(m, epilogue, after, abilities)
            results = evaluate(m, epilogue, [total, *loaded], late_scalars, abilities, output)
            for tensor, place, result in zip(tensors[early + late :], places[late:], results, strict=True):
                tensor.store(place, result)
    return m.finish()


def _accumulated(
    m: Module, key: ReduceKey, split: int, splits: int, length: int, value: Callable[[int], int], abilities: Abilities
) -> int:
    dtype = narrow(key.accumulate, abilities)
    register = functions.register_type(m, dtype)
    if key.combine in FIRST:
        total = m.variable(register, value(split))
        start = m.add(split, splits)
    else:
        total = m.variable(register, m.const(register, 1 if key.combine == "mul" else 0))
        start = split
    with m.loop(start, length, splits) as r:
        m.set(total, functions.emit(m, key.combine, dtype, dtype, (m.get(total), value(r))))
    return m.get(total)
