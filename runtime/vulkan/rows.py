"""Softmax and its logarithm along rows: three passes over a row by one invocation, shifted by the row's maximum."""

from __future__ import annotations

from dataclasses import dataclass

from .. import dtype as dt
from ..driver import Traits
from ..dtype import DType
from ..plan.plan import ShaderKernel
from . import functions
from .access import Abilities, Tensor
from .elementwise import LOCAL, Words
from .parameters import Parameters
from .spirv import Module, Op


@dataclass(frozen=True, slots=True)
class RowsKey:
    shader: str
    dtype: DType


def key_of(kernel: ShaderKernel, traits: Traits) -> RowsKey:
    return RowsKey(kernel.shader, kernel.inputs[0].dtype)


def parameters_of(kernel: ShaderKernel, key: RowsKey, starts: list[int]) -> Parameters:
    rows, columns = kernel.attributes
    assert isinstance(rows, int) and isinstance(columns, int)
    made = Parameters()
    made.add(rows, columns, *starts)
    return made


def emit(key: RowsKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: rows in, rows out. float16 and bfloat16 are computed in float32."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    source = Tensor(m, 0, key.dtype, abilities, writable=False, aliased=False)
    target = Tensor(m, 1, key.dtype, abilities, writable=True, aliased=False)
    columns, start_in, start_out = Words(m, 1).take(3)
    row = m.invocation()

    def f(opcode: str, *args: int) -> int:
        return functions.emit(m, opcode, dt.float32, dt.float32, args)

    with m.if_(m.op(Op.ULessThan, m.bool, row, m.param(0))):
        line = m.mul(row, columns)
        first, out = m.add(start_in, line), m.add(start_out, line)
        top = m.variable(m.f32, source.load(first))
        with m.loop(m.u(1), columns, m.u(1)) as k:
            m.set(top, f("maximum", m.get(top), source.load(m.add(first, k))))
        highest = m.get(top)
        total = m.variable(m.f32, m.f(0.0))
        with m.loop(m.u(0), columns, m.u(1)) as k:
            raised = f("exp", f("sub", source.load(m.add(first, k)), highest))
            m.set(total, f("add", m.get(total), raised))
        scale = f("log", m.get(total)) if key.shader == "log_softmax" else m.get(total)
        with m.loop(m.u(0), columns, m.u(1)) as k:
            shifted = f("sub", source.load(m.add(first, k)), highest)
            value = f("sub", shifted, scale) if key.shader == "log_softmax" else f("div", f("exp", shifted), scale)
            if key.dtype is not dt.float32:
                value = functions.round_to(m, key.dtype, value)
            target.store(m.add(out, k), value)
    return m.finish()
