"""Entries of rows read or written at given places. Only bits move, so every dtype can, whatever the device computes in."""

from __future__ import annotations

from dataclasses import dataclass

from .. import dtype as dt
from ..driver import Traits
from ..plan.plan import ShaderKernel
from .access import Abilities
from .operands import Words, bindings_of, tensors_of
from .parameters import Parameters
from .sorting import CARRIERS
from .spirv import Module
from .values import Value

LOCAL = 64


@dataclass(frozen=True, slots=True)
class MoveKey:
    """What makes two of these kernels the same shader. ``itemsize``: bytes of an entry."""

    shader: str
    itemsize: int
    bindings: tuple[int, ...]


def key_of(kernel: ShaderKernel, traits: Traits) -> MoveKey:
    return MoveKey(kernel.shader, kernel.outputs[0].dtype.itemsize, bindings_of(kernel))


def _numbers(kernel: ShaderKernel) -> tuple[int, int, int]:
    """Rows, their length where places are, and how many places there are for each."""
    rows, length, count = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(count, int)
    return rows, length, count


def invocations(kernel: ShaderKernel, key: MoveKey) -> int:
    rows, _, count = _numbers(kernel)
    return rows * count


def parameters_of(kernel: ShaderKernel, key: MoveKey, starts: list[int]) -> Parameters:
    rows, length, count = _numbers(kernel)
    made = Parameters()
    made.add(rows * count, length, count, *starts)
    return made


def emit(key: MoveKey, abilities: Abilities) -> bytes:
    """Bindings: entries and places in, entries out. ``pick`` reads at the places, ``put`` writes there."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    carrier = CARRIERS[key.itemsize]
    source, index, target = tensors_of(m, [carrier, dt.int32, carrier], key.bindings, 1, abilities, True)
    number, length, count = (Value(m, w) for w in [m.invocation(), *Words(m, 1).take(2)])
    starts = [Value(m, w) for w in Words(m, 3).take(3)]
    with m.if_((number < Value(m, m.param(0))).id):
        place = Value(m, index.load((starts[1] + number).id)).bitcast(m.u32) + number / count * length
        read, write = (place, number) if key.shader == "pick" else (number, place)
        for half in range(2 if key.itemsize == 8 else 1):
            a, b = starts[0] + read, starts[2] + write
            if key.itemsize == 8:
                a, b = a * 2 + half, b * 2 + half
            target.store(b.id, source.load(a.id))
    return m.finish()
