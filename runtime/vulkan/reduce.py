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
from ..dtype import DType
from ..plan.plan import ReduceKernel
from . import functions
from .access import Abilities, Tensor
from .elementwise import LINEAR, LOCAL, Words, coordinates, mode, scalars_of, walked
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
    result: DType
    kept: int
    reduced: int
    partial: bool
    linear_out: bool
    rows: bool


def key_of(kernel: ReduceKernel) -> ReduceKey:
    first = kernel.inputs[0].strides
    rows = bool(kernel.reduced) and first[-1] == 1
    out = kernel.outputs[0]
    linear = kernel.splits > 1 or mode(out.strides, kernel.kept) == LINEAR
    return ReduceKey(
        kernel.program, kernel.epilogue, kernel.combine, kernel.accumulate, out.dtype, len(kernel.kept),
        len(kernel.reduced), kernel.splits > 1, linear, rows,
    )  # fmt: skip


def parameters_of(kernel: ReduceKernel, key: ReduceKey, starts: list[int]) -> Parameters:
    made = Parameters()
    outputs = math.prod(kernel.kept)
    made.add(outputs * kernel.splits, outputs, kernel.splits, math.prod(kernel.reduced), *starts)
    made.add(*kernel.kept[1:], *kernel.reduced[1:])
    for operand in kernel.inputs:
        made.add(*operand.strides)
    if not key.linear_out:
        made.add(*kernel.outputs[0].strides)
    made.add_scalars(kernel.scalars, kernel.program.scalars + kernel.epilogue.scalars)
    return made


def emit(key: ReduceKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: inputs, then the output."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    program, count = key.program, len(key.program.inputs)
    sources = [Tensor(m, k, d, abilities, writable=False, aliased=False) for k, d in enumerate(program.inputs)]
    target = Tensor(m, count, key.result, abilities, writable=True, aliased=False)
    words = Words(m, 1)
    outputs, splits, length = words.take(3)
    starts = words.take(count + 1)
    kept_dims, reduced_dims = words.take(max(0, key.kept - 1)), words.take(max(0, key.reduced - 1))
    strides = [words.take(key.kept + key.reduced) for _ in sources]
    out_strides = [] if key.linear_out else words.take(key.kept)
    number = m.invocation()
    with m.if_(m.op(Op.ULessThan, m.bool, number, m.param(0))):
        across, along = (Op.UDiv, Op.UMod) if key.rows else (Op.UMod, Op.UDiv)
        share = splits if key.rows else outputs
        output = m.op(across, m.u32, number, share)
        split = m.op(along, m.u32, number, share)
        position = coordinates(m, output, kept_dims, key.kept) if key.kept else []
        bases = [walked(m, starts[k], position, strides[k][: key.kept]) for k in range(count)]
        scalars, after = scalars_of(m, program, words.at, abilities)

        def value(r: int) -> int:
            inner = coordinates(m, r, reduced_dims, key.reduced) if key.reduced else []
            loaded = [source.load(walked(m, bases[k], inner, strides[k][key.kept :])) for k, source in enumerate(sources)]
            return evaluate(m, program, loaded, scalars, abilities)[0]

        total = _accumulated(m, key, split, splits, length, value, abilities)
        late, _ = scalars_of(m, key.epilogue, after, abilities)
        result = evaluate(m, key.epilogue, [total], late, abilities)[0]
        if key.partial:
            place = m.add(starts[count], m.add(m.mul(output, splits), split))
        elif key.linear_out:
            place = m.add(starts[count], output)
        else:
            place = walked(m, starts[count], position, out_strides)
        target.store(place, result)
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
