"""Softmax and its logarithm along rows: three passes over a row by one invocation, shifted by the row's maximum.

Rows whose length is a multiple of four are read and written in pieces of four, with four maxima and four sums that are combined at
the end of a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .. import dtype as dt
from ..driver import Traits
from ..dtype import DType
from ..plan.plan import ShaderKernel
from . import functions
from .access import Abilities
from .descriptors import NO_FORMAT
from .operands import Words, bindings_of, reads_texels, tensors_of, texel_format
from .parameters import Parameters
from .spirv import Module, Op

LOCAL = 64


@dataclass(frozen=True, slots=True)
class RowsKey:
    """What makes two kernels over rows the same shader. ``each``: elements that are read and written at a time."""

    shader: str
    dtype: DType
    each: int
    bindings: tuple[int, ...]
    formats: tuple[int, ...]


def key_of(kernel: ShaderKernel, traits: Traits) -> RowsKey:
    (source,), (target,) = kernel.inputs, kernel.outputs
    _, columns = kernel.attributes
    assert isinstance(columns, int)
    four = source.dtype.itemsize <= 4 and columns % 4 == 0 and source.offset % 4 == 0 and target.offset % 4 == 0
    format_ = texel_format(source, four, traits) if reads_texels(traits) else NO_FORMAT
    bindings = bindings_of(kernel, [0] if format_ != NO_FORMAT else [])
    return RowsKey(kernel.shader, source.dtype, 4 if four else 1, bindings, (format_,))


def invocations(kernel: ShaderKernel, key: RowsKey) -> int:
    rows = kernel.attributes[0]
    assert isinstance(rows, int)
    return rows


def parameters_of(kernel: ShaderKernel, key: RowsKey, starts: list[int]) -> Parameters:
    rows, columns = kernel.attributes
    assert isinstance(rows, int) and isinstance(columns, int)
    made = Parameters()
    made.add(rows, columns, *starts)
    return made


def emit(key: RowsKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: rows in, rows out. float16 and bfloat16 are computed in float32."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    fours = [0, 1] if key.each == 4 else []
    texels = [0] if key.formats[0] != NO_FORMAT else []
    source, target = tensors_of(m, [key.dtype] * 2, key.bindings, 1, abilities, True, fours, texels)
    columns, start_in, start_out = Words(m, 1).take(3)
    row = m.invocation()

    def f(opcode: str, *args: int) -> int:
        return functions.emit(m, opcode, dt.float32, dt.float32, args)

    def load(place: int) -> list[int]:
        return source.load_each(place) if key.each == 4 else [source.load(place)]

    def passed(first: list[int], values: Callable[[int], list[int]], combine: str) -> int:
        """All values of the row combined."""
        totals = [m.variable(m.f32, value) for value in first]
        with m.loop(m.u(0), columns, m.u(key.each)) as k:
            for total, value in zip(totals, values(k), strict=True):
                m.set(total, f(combine, m.get(total), value))
        out = [m.get(total) for total in totals]
        while len(out) > 1:
            out = [f(combine, a, b) for a, b in zip(out[::2], out[1::2], strict=True)]
        return out[0]

    with m.if_(m.op(Op.ULessThan, m.bool, row, m.param(0))):
        line = m.mul(row, columns)
        begin, out = m.add(start_in, line), m.add(start_out, line)
        highest = passed(load(begin), lambda k: load(m.add(begin, k)), "maximum")
        total = passed(
            [m.f(0.0)] * key.each, lambda k: [f("exp", f("sub", x, highest)) for x in load(m.add(begin, k))], "add"
        )
        logarithm = key.shader == "log_softmax"
        scale = f("log", total) if logarithm else total
        with m.loop(m.u(0), columns, m.u(key.each)) as k:
            shifted = [f("sub", x, highest) for x in load(m.add(begin, k))]
            values = [f("sub", x, scale) if logarithm else f("div", f("exp", x), scale) for x in shifted]
            if key.dtype is not dt.float32:
                values = [functions.round_to(m, key.dtype, value) for value in values]
            if key.each == 4:
                target.store_each(m.add(out, k), values)
            else:
                target.store(m.add(out, k), values[0])
    return m.finish()
