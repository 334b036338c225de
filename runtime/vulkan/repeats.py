"""Repetition: which entry each place has, where entry ``i`` is repeated until the next one begins at ``starts[i + 1]``."""

from __future__ import annotations

from dataclasses import dataclass

from .. import dtype as dt
from ..driver import Traits
from ..plan.plan import ShaderKernel
from .access import Abilities
from .operands import Words, bindings_of, tensors_of
from .parameters import Parameters
from .spirv import Module
from .values import Value

LOCAL = 64


@dataclass(frozen=True, slots=True)
class RepeatKey:
    """What makes two of these kernels the same shader."""

    bindings: tuple[int, ...]


def key_of(kernel: ShaderKernel, traits: Traits) -> RepeatKey:
    return RepeatKey(bindings_of(kernel))


def _numbers(kernel: ShaderKernel) -> tuple[int, int]:
    """How many entries there are, and how many places."""
    length, count = kernel.attributes
    assert isinstance(length, int) and isinstance(count, int)
    return length, count


def invocations(kernel: ShaderKernel, key: RepeatKey) -> int:
    return _numbers(kernel)[1]


def parameters_of(kernel: ShaderKernel, key: RepeatKey, starts: list[int]) -> Parameters:
    length, count = _numbers(kernel)
    made = Parameters()
    made.add(count, length, length.bit_length(), *starts)
    return made


def emit(key: RepeatKey, abilities: Abilities) -> bytes:
    """Bindings: starts in, numbers of entries out. One invocation looks for the last entry that begins at its place or before.

    The first begins at 0, so there is always one, whatever the others say.
    """
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    begins, out = tensors_of(m, [dt.int32] * 2, key.bindings, 1, abilities, True)
    words = Words(m, 1)
    length, steps, first, target = words.take(4)
    number = Value(m, m.invocation())
    with m.if_((number < Value(m, m.param(0))).id):
        low, high = m.variable(m.u32, m.u(0)), m.variable(m.u32, length)
        with m.loop(m.u(0), steps, m.u(1)):
            a, b = Value(m, m.get(low)), Value(m, m.get(high))
            middle = (a + b) >> 1
            inside = a < b
            start = Value(m, begins.load((Value(m, first) + inside.select(middle, 0)).id))
            later = number.bitcast(m.i32) < start
            m.set(low, (inside & ~later).select(middle + 1, a).id)
            m.set(high, (inside & later).select(middle, b).id)
        out.store((Value(m, target) + number).id, (Value(m, m.get(low)) - 1).bitcast(m.i32).id)
    return m.finish()
