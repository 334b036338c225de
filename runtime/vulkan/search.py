"""Binary search: how many entries of a sorted row come before a value. Compared are the keys that `sorting` sorts by."""

from __future__ import annotations

from dataclasses import dataclass

from .. import dtype as dt
from ..driver import Traits
from ..dtype import DType
from ..plan.plan import ShaderKernel
from .access import Abilities
from .operands import Words, bindings_of, tensors_of
from .parameters import Parameters
from .sorting import CARRIERS, Entries, SortKey, before
from .spirv import Module
from .values import Value

LOCAL = 64


@dataclass(frozen=True, slots=True)
class SearchKey:
    """What makes two of these kernels the same shader. ``right``: equal entries count; ``shared``: there is one row for all values."""

    dtype: DType
    right: bool
    shared: bool
    bindings: tuple[int, ...]


def key_of(kernel: ShaderKernel, traits: Traits) -> SearchKey:
    *_, right, shared = kernel.attributes
    return SearchKey(kernel.inputs[0].dtype, bool(right), bool(shared), bindings_of(kernel))


def _numbers(kernel: ShaderKernel) -> tuple[int, int, int]:
    """Rows of values, the length of sorted rows, and how many values are in a row."""
    rows, length, count, *_ = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(count, int)
    return rows, length, count


def invocations(kernel: ShaderKernel, key: SearchKey) -> int:
    rows, _, count = _numbers(kernel)
    return rows * count


def parameters_of(kernel: ShaderKernel, key: SearchKey, starts: list[int]) -> Parameters:
    rows, length, count = _numbers(kernel)
    made = Parameters()
    made.add(rows * count, length, count, length.bit_length(), *starts)
    return made


def emit(key: SearchKey, abilities: Abilities) -> bytes:
    """Bindings: sorted rows and values in, numbers of entries out. One invocation looks for one value."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    carrier = CARRIERS[key.dtype.itemsize]
    rows, values, out = tensors_of(m, [carrier, carrier, dt.int32], key.bindings, 1, abilities, True)
    number, length, count, steps = (Value(m, w) for w in [m.invocation(), *Words(m, 1).take(3)])
    starts = Words(m, 4).take(3)
    plain = SortKey("", key.dtype, False, False, 0, False, False, ())
    with m.if_((number < Value(m, m.param(0))).id):
        line = number.like(0) if key.shared else number / count * length
        entries, given = Entries(m, rows, starts[0], plain), Entries(m, values, starts[1], plain)
        wanted = given.key(given.words(number))
        low, high = m.variable(m.u32, m.u(0)), m.variable(m.u32, length.id)
        with m.loop(m.u(0), steps.id, m.u(1)):
            a, b = Value(m, m.get(low)), Value(m, m.get(high))
            middle = (a + b) >> 1
            inside = a < b
            entry = entries.key(entries.words(line + inside.select(middle, 0)))
            further = ~before(wanted, entry)[0] if key.right else before(entry, wanted)[0]
            m.set(low, (inside & further).select(middle + 1, a).id)
            m.set(high, (inside & ~further).select(middle, b).id)
        out.store((Value(m, starts[2]) + number).id, Value(m, m.get(low)).bitcast(m.i32).id)
    return m.finish()
