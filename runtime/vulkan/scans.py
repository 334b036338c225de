"""Sums over what comes before: blocks of counts are added up, and then replaced by running sums. See `runtime.plan.stages.summed`."""

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
class ScanKey:
    """What makes two of these kernels the same shader. ``offsets``: sums of the blocks before are read."""

    shader: str
    offsets: bool
    bindings: tuple[int, ...]


def key_of(kernel: ShaderKernel, traits: Traits) -> ScanKey:
    return ScanKey(kernel.shader, kernel.shader == "scan" and len(kernel.inputs) > 1, bindings_of(kernel))


def _numbers(kernel: ShaderKernel) -> tuple[int, int, int]:
    """Rows, their length, and the length of a block."""
    rows, length, block = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(block, int)
    return rows, length, block


def invocations(kernel: ShaderKernel, key: ScanKey) -> int:
    rows, length, block = _numbers(kernel)
    return rows * -(-length // block)


def parameters_of(kernel: ShaderKernel, key: ScanKey, starts: list[int]) -> Parameters:
    _, length, block = _numbers(kernel)
    made = Parameters()
    made.add(invocations(kernel, key), length, block, -(-length // block), *starts)
    return made


def emit(key: ScanKey, abilities: Abilities) -> bytes:
    """Bindings of ``scan_sums``: counts in, sums of blocks out. Of ``scan``: sums before each block in if there are several, counts in
    and running sums out. One invocation walks one block.
    """
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    tensors = tensors_of(m, [dt.int32] * len(key.bindings), key.bindings, 1, abilities, True)
    number, length, block, blocks = (Value(m, w) for w in [m.invocation(), *Words(m, 1).take(3)])
    starts = [Value(m, w) for w in Words(m, 4).take(len(tensors))]
    with m.if_((number < Value(m, m.param(0))).id):
        row = number / blocks
        begin = (number - row * blocks) * block
        end = (begin + block < length).select(begin + block, length)
        line = row * length
        before = tensors[0].load((starts[0] + number).id) if key.offsets else m.i(0)
        total = m.variable(m.i32, before)
        counts = tensors[1 if key.offsets else 0]
        first = starts[1 if key.offsets else 0] + line
        with m.loop(begin.id, end.id, m.u(1)) as k:
            count = counts.load((first + Value(m, k)).id)
            if key.shader == "scan":
                tensors[-1].store((starts[-1] + line + Value(m, k)).id, m.get(total))
            m.set(total, m.add(m.get(total), count))
        if key.shader == "scan_sums":
            tensors[1].store((starts[1] + number).id, m.get(total))
    return m.finish()
