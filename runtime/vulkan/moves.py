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
    """What makes two of these kernels the same shader. ``itemsize``: bytes of an element. ``single``: entries are one element."""

    shader: str
    itemsize: int
    single: bool
    bindings: tuple[int, ...]


def key_of(kernel: ShaderKernel, traits: Traits) -> MoveKey:
    return MoveKey(kernel.shader, kernel.outputs[0].dtype.itemsize, kernel.attributes[3] == 1, bindings_of(kernel))


def _numbers(kernel: ShaderKernel) -> tuple[int, int, int, int]:
    """Rows, their length where the places are, how many places there are for each, and the elements of an entry."""
    rows, length, count, columns = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(count, int) and isinstance(columns, int)
    return rows, length, count, columns


def invocations(kernel: ShaderKernel, key: MoveKey) -> int:
    rows, _, count, columns = _numbers(kernel)
    return rows * count * columns


def parameters_of(kernel: ShaderKernel, key: MoveKey, starts: list[int]) -> Parameters:
    rows, length, count, columns = _numbers(kernel)
    made = Parameters()
    made.add(rows * count * columns, length, count, columns, *starts)
    return made


def emit(key: MoveKey, abilities: Abilities) -> bytes:
    """Bindings: entries and places in, entries out. ``pick`` reads at the places, ``put`` writes there."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    carrier = CARRIERS[key.itemsize]
    source, index, target = tensors_of(m, [carrier, dt.int32, carrier], key.bindings, 1, abilities, True)
    number, length, count, columns = (Value(m, w) for w in [m.invocation(), *Words(m, 1).take(3)])
    starts = [Value(m, w) for w in Words(m, 4).take(3)]
    with m.if_((number < Value(m, m.param(0))).id):
        entry = number if key.single else number / columns
        place = Value(m, index.load((starts[1] + entry).id)).bitcast(m.u32) + entry / count * length
        place = place if key.single else place * columns + (number - entry * columns)
        read, write = (place, number) if key.shader == "pick" else (number, place)
        for half in range(2 if key.itemsize == 8 else 1):
            a, b = starts[0] + read, starts[2] + write
            if key.itemsize == 8:
                a, b = a * 2 + half, b * 2 + half
            target.store(b.id, source.load(a.id))
    return m.finish()
