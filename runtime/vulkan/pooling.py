"""Maximum pooling: the largest value of each window and where it is, what comes back to there, and what lies there.

One invocation computes one output element. The gradient is gathered: every input looks at the windows that it is in, so nothing is added
up in an order that could change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import dtype as dt
from ..division import division
from ..driver import Traits
from ..dtype import DType
from ..plan.plan import ShaderKernel
from ..plan.pooling import Windows
from . import functions
from .access import Abilities, Tensor
from .descriptors import NO_FORMAT
from .division import WORDS as DIVISION
from .division import divided
from .operands import Words, bindings_of, reads_texels, tensors_of, texel_format
from .parameters import Parameters
from .spirv import Module, Op

LOCAL = 64
FORWARD, BACK, PICK = "max_pool", "max_pool_back", "max_pool_pick"


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What makes two of these kernels the same shader."""

    shader: str
    dtype: DType
    bindings: tuple[int, ...]
    formats: tuple[int, ...]


def windows_of(kernel: ShaderKernel) -> Windows:
    (windows,) = kernel.attributes
    assert isinstance(windows, Windows)
    return windows


def key_of(kernel: ShaderKernel, traits: Traits) -> PoolKey:
    inputs = kernel.inputs
    formats = [texel_format(o, False, traits) if reads_texels(traits) else NO_FORMAT for o in inputs]
    bindings = bindings_of(kernel, [k for k, f in enumerate(formats) if f != NO_FORMAT])
    return PoolKey(kernel.shader, inputs[0].dtype, bindings, tuple(formats))


def invocations(kernel: ShaderKernel, key: PoolKey) -> int:
    w = windows_of(kernel)
    return w.planes * math.prod(w.inputs if kernel.shader == BACK else w.outputs)


def parameters_of(kernel: ShaderKernel, key: PoolKey, starts: list[int]) -> Parameters:
    w = windows_of(kernel)
    made = Parameters()
    made.add(invocations(kernel, key), *starts)
    for k in (0, 1):
        made.add(w.inputs[k], w.outputs[k], w.size[k], w.stride[k], w.padding[k], w.dilation[k], w.sharing[k])
        made.add(*division((w.inputs if kernel.shader == BACK else w.outputs)[k]), *division(w.stride[k]))
    return made


class Axis:
    """One axis' parameters."""

    def __init__(self, words: Words) -> None:
        self.inputs, self.outputs, self.size, self.stride, self.padding, self.dilation, self.sharing = words.take(7)
        self.length, self.windows = words.take(DIVISION), words.take(DIVISION)


def emit(key: PoolKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: values in (and indices in), values out (and indices out)."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    forward = key.shader == FORWARD
    dtypes = [key.dtype, key.dtype, dt.int32] if forward else [key.dtype, dt.int32, key.dtype]
    texels = [k for k, f in enumerate(key.formats) if f != NO_FORMAT]
    tensors = tensors_of(m, dtypes, key.bindings, 2 if forward else 1, abilities, False, (), texels)
    words = Words(m, 1)
    starts = words.take(3)
    down, along = Axis(words), Axis(words)
    number = m.invocation()
    with m.if_(m.op(Op.ULessThan, m.bool, number, m.param(0))):
        rest, x = divided(m, number, along.length)
        plane, y = divided(m, rest, down.length)
        if forward:
            value, index = _largest(m, key, tensors[0], starts[0], down, along, plane, y, x)
            tensors[1].store(m.add(starts[1], number), value)
            tensors[2].store(m.add(starts[2], number), index)
        elif key.shader == PICK:
            index = m.bitcast(m.u32, tensors[1].load(m.add(starts[1], number)))
            at = m.add(m.mul(plane, m.mul(down.inputs, along.inputs)), index)
            tensors[2].store(m.add(starts[2], number), tensors[0].load(m.add(starts[0], at)))
        else:
            tensors[2].store(m.add(starts[2], number), _returned(m, key, tensors, starts, down, along, plane, y, x))
    return m.finish()


def _largest(
    m: Module, key: PoolKey, source: Tensor, start: int, down: Axis, along: Axis, plane: int, y: int, x: int
) -> tuple[int, int]:
    """The first largest value of a window (of NaN the last) and its number in the plane."""
    first = [m.op(Op.ISub, m.u32, m.mul(at, axis.stride), axis.padding) for at, axis in ((y, down), (x, along))]
    register = functions.register_type(m, key.dtype)
    best = m.variable(register, m.const(register, -math.inf))
    index, none = m.variable(m.u32, m.u(0)), m.variable(m.bool, m.const(m.bool, True))
    base = m.add(start, m.mul(plane, m.mul(down.inputs, along.inputs)))
    with m.loop(m.u(0), down.size, m.u(1)) as i:
        row = m.add(first[0], m.mul(i, down.dilation))
        row_in = m.op(Op.ULessThan, m.bool, row, down.inputs)
        with m.loop(m.u(0), along.size, m.u(1)) as j:
            column = m.add(first[1], m.mul(j, along.dilation))
            with m.if_(m.op(Op.LogicalAnd, m.bool, row_in, m.op(Op.ULessThan, m.bool, column, along.inputs))):
                at = m.add(m.mul(row, along.inputs), column)
                value = source.load(m.add(base, at))
                larger = functions.emit(m, "gt", key.dtype, dt.bool_, (value, m.get(best)))
                unordered = m.op(Op.FUnordNotEqual, m.bool, value, value)
                with m.if_(m.op(Op.LogicalOr, m.bool, m.get(none), m.op(Op.LogicalOr, m.bool, larger, unordered))):
                    m.set(best, value)
                    m.set(index, at)
                    m.set(none, m.const(m.bool, False))
    return m.get(best), m.bitcast(m.i32, m.get(index))


def _returned(
    m: Module, key: PoolKey, tensors: list[Tensor], starts: list[int], down: Axis, along: Axis, plane: int, y: int, x: int
) -> int:
    """The sum of what comes back to an input from the windows whose largest value it was."""
    register = functions.register_type(m, key.dtype)
    total = m.variable(register, m.const(register, 0))
    last = [divided(m, m.add(at, axis.padding), axis.windows)[0] for at, axis in ((y, down), (x, along))]
    here = m.bitcast(m.i32, m.add(m.mul(y, along.inputs), x))
    base = m.mul(plane, m.mul(down.outputs, along.outputs))
    with m.loop(m.u(0), down.sharing, m.u(1)) as i:
        row = m.op(Op.ISub, m.u32, last[0], i)
        row_in = m.op(Op.ULessThan, m.bool, row, down.outputs)
        with m.loop(m.u(0), along.sharing, m.u(1)) as j:
            column = m.op(Op.ISub, m.u32, last[1], j)
            with m.if_(m.op(Op.LogicalAnd, m.bool, row_in, m.op(Op.ULessThan, m.bool, column, along.outputs))):
                at = m.add(base, m.add(m.mul(row, along.outputs), column))
                chosen = m.op(Op.IEqual, m.bool, tensors[1].load(m.add(starts[1], at)), here)
                with m.if_(chosen):
                    value = tensors[0].load(m.add(starts[0], at))
                    m.set(total, m.op(Op.FAdd, register, m.get(total), value))
    return functions.round_to(m, key.dtype, m.get(total))
