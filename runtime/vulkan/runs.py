"""Runs of sorted entries that go to one place: their sums, products, extremes, or the last ones. What runs when: `runtime.plan.stages`.

Runs inside one block of `RUN` entries are added up entry by entry. For those that reach further, blocks that lie in one run are added
up first, then blocks of blocks; their sums walk from the run's beginning through larger and larger blocks and then through smaller
ones to its end. So no invocation adds up more than a few hundred numbers, rounding errors stay small, and the order is always the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import dtype as dt
from ..driver import Traits
from ..dtype import DType
from ..plan.plan import Operand, ShaderKernel
from ..plan.stages import RUN
from . import functions
from .access import Abilities, Tensor
from .operands import Words, bindings_of, tensors_of
from .parameters import Parameters
from .spirv import Module
from .values import Value

LOCAL = 64
CLEARED = 16  # elements that one invocation clears


@dataclass(frozen=True, slots=True)
class RunKey:
    """What makes two of these kernels the same shader. ``levels`` of blocks; ``each``: columns that an invocation takes at a time.

    ``single``: there is but one column. ``how``: the opcode that combines two entries, or ``last``. ``fold``: what the place holds
    takes part.
    """

    shader: str
    dtype: DType
    levels: int
    each: int
    single: bool
    how: str
    fold: bool
    bindings: tuple[int, ...]


def _numbers(kernel: ShaderKernel) -> list[int]:
    return [a for a in kernel.attributes[:3] if isinstance(a, int)]


def key_of(kernel: ShaderKernel, traits: Traits) -> RunKey:
    bindings = bindings_of(kernel)
    if kernel.shader == "run_bounds":
        return RunKey(kernel.shader, dt.int32, 0, 1, True, "", False, bindings)
    if kernel.shader == "run_clear":
        (out,) = kernel.outputs
        return RunKey(kernel.shader, out.dtype, 0, 4 if _in_fours(out) else 1, True, "", False, bindings)
    _, columns, levels, how, fold = kernel.attributes
    assert isinstance(columns, int) and isinstance(levels, int) and isinstance(how, str)
    values, sums = kernel.inputs[-1 if kernel.shader == "run_part" else 3], kernel.outputs[0]
    four = columns % 4 == 0 and _in_fours(values) and _in_fours(sums)
    return RunKey(kernel.shader, values.dtype, levels, 4 if four else 1, columns == 1, how, bool(fold), bindings)


def _in_fours(operand: Operand) -> bool:
    return operand.dtype.itemsize <= 4 and operand.offset % 4 == 0


def invocations(kernel: ShaderKernel, key: RunKey) -> int:
    if kernel.shader == "run_clear":
        return -(-_numbers(kernel)[0] // CLEARED)
    if kernel.shader == "run_bounds":
        return _numbers(kernel)[0]
    length, columns, _ = _numbers(kernel)
    count: int = {"run_part": length // RUN**key.levels, "run_sum": length, "run_long": (length - 1) // RUN}[kernel.shader]
    return count * (columns // key.each)


def parameters_of(kernel: ShaderKernel, key: RunKey, starts: list[int]) -> Parameters:
    numbers = _numbers(kernel)
    made = Parameters()
    made.add(invocations(kernel, key), numbers[1] if len(numbers) > 1 else numbers[0], *starts)
    return made


def emit(key: RunKey, abilities: Abilities) -> bytes:
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    {"run_clear": _clear, "run_bounds": _bounds, "run_part": _part, "run_sum": _sum, "run_long": _long}[key.shader](m, key, abilities)
    return m.finish()


def _accumulate(dtype: DType) -> DType:
    return dt.float32 if dtype in (dt.float16, dt.bfloat16) else dtype


def _clear(m: Module, key: RunKey, abilities: Abilities) -> None:
    """Zeros out."""
    (target,) = tensors_of(m, [key.dtype], key.bindings, 1, abilities, True, [0] if key.each == 4 else [])
    count, start = Value(m, m.param(1)), Value(m, m.param(2))
    register = functions.register_type(m, key.dtype)
    zero = m.const(register, 0)
    for k in range(0, CLEARED, key.each):
        at = Value(m, m.invocation()) * CLEARED + k
        with m.if_((at < count).id):
            if key.each == 4:  # bindings end with whole pieces, and what lies behind the last element is nobody's
                target.store_each((start + at).id, [zero] * 4)
            else:
                target.store((start + at).id, zero)


def _bounds(m: Module, key: RunKey, abilities: Abilities) -> None:
    """Bindings: places in order in; per place the first entry of its run and the one after the last out."""
    places, bounds = tensors_of(m, [dt.int32] * 2, key.bindings, 1, abilities, True)
    number, length = Value(m, m.invocation()), Value(m, m.param(1))
    starts = [Value(m, w) for w in Words(m, 2).take(2)]
    with m.if_((number < length).id):
        first, last = number.equals(0), number.equals(length - 1)
        place, before, after = (
            Value(m, places.load((starts[0] + k).id)) for k in (number, first.select(number, number - 1), last.select(number, number + 1))
        )
        at = starts[1] + place.bitcast(m.u32) * 2
        with m.if_((first | place.differs(before)).id):
            bounds.store(at.id, number.bitcast(m.i32).id)
        with m.if_((last | place.differs(after)).id):
            bounds.store((at + 1).id, (number + 1).bitcast(m.i32).id)


class _Totals:
    """What runs combine to, under way, for neighbouring columns."""

    def __init__(self, m: Module, key: RunKey, tensor: Tensor, first: Value) -> None:
        """``first``: where in ``tensor`` an extreme starts from; it may be met again."""
        self._m, self._key, self._dtype = m, key, _accumulate(key.dtype)
        register = functions.register_type(m, self._dtype)
        if key.how in ("add", "mul"):
            begin = [m.const(register, int(key.how == "mul"))] * key.each
        else:
            begin = self._load(tensor, first)
        self._variables = [m.variable(register, value) for value in begin]

    def _load(self, tensor: Tensor, at: Value) -> list[int]:
        return tensor.load_each(at.id) if self._key.each == 4 else [tensor.load(at.id)]

    def add(self, tensor: Tensor, at: Value) -> None:
        m = self._m
        for variable, value in zip(self._variables, self._load(tensor, at), strict=True):
            m.set(variable, functions.emit(m, self._key.how, self._dtype, self._dtype, (m.get(variable), value)))

    def write(self, tensor: Tensor, at: Value, dtype: DType) -> None:
        values = [functions.round_to(self._m, dtype, self._m.get(variable)) for variable in self._variables]
        if self._key.each == 4:
            tensor.store_each(at.id, values)
        else:
            tensor.store(at.id, values[0])


def _split(m: Module, key: RunKey, number: Value, columns: Value) -> tuple[Value, Value]:
    """Which entry (or block), and the first of its columns."""
    if key.single:
        return number, number.like(0)
    pieces = columns if key.each == 1 else columns >> 2
    entry = number / pieces
    return entry, (number - entry * pieces) * key.each


def _part(m: Module, key: RunKey, abilities: Abilities) -> None:
    """Bindings: places in order, the order where these are the smallest blocks, and values or the sums of smaller blocks in; sums of the
    blocks that lie in one run out.
    """
    smallest = key.levels == 1
    dtypes = [dt.int32, *[dt.int32] * smallest, key.dtype, _accumulate(key.dtype)]
    fours = range(len(dtypes) - 2, len(dtypes)) if key.each == 4 else ()
    places, *orders, values, sums = tensors_of(m, dtypes, key.bindings, 1, abilities, True, fours)
    number, columns = Value(m, m.invocation()), Value(m, m.param(1))
    starts = [Value(m, w) for w in Words(m, 2).take(len(dtypes))]
    with m.if_((number < Value(m, m.param(0))).id):
        block, column = _split(m, key, number, columns)
        size = RUN**key.levels
        ends = [Value(m, places.load((starts[0] + block * size + k).id)) for k in (0, size - 1)]
        with m.if_(ends[0].equals(ends[1]).id):

            def at(k: Value) -> Value:
                entry = block * RUN + k
                if smallest:
                    entry = Value(m, orders[0].load((starts[1] + entry).id)).bitcast(m.u32)
                return starts[-2] + entry * columns + column

            totals = _Totals(m, key, values, at(number.like(0)))
            with m.loop(m.u(0), m.u(RUN), m.u(1)) as k:
                totals.add(values, at(Value(m, k)))
            totals.write(sums, starts[-1] + block * columns + column, dtypes[-1])


def _sum(m: Module, key: RunKey, abilities: Abilities) -> None:
    """Bindings: places in order, the order, bounds of runs, and values in; combined values out.

    The invocations of a run's first entry take those that lie in one block; `_long` does the others.
    """
    dtypes = [dt.int32, dt.int32, dt.int32, key.dtype, key.dtype]
    fours = (3, 4) if key.each == 4 else ()
    places, order, bounds, values, out = tensors_of(m, dtypes, key.bindings, 1, abilities, True, fours)
    number, columns = Value(m, m.invocation()), Value(m, m.param(1))
    starts = [Value(m, w) for w in Words(m, 2).take(len(dtypes))]
    with m.if_((number < Value(m, m.param(0))).id):
        begin, column = _split(m, key, number, columns)
        place = Value(m, places.load((starts[0] + begin).id)).bitcast(m.u32)
        first, end = (Value(m, bounds.load((starts[2] + place * 2 + k).id)).bitcast(m.u32) for k in (0, 1))
        target = starts[4] + place * columns + column

        def at(k: Value) -> Value:
            return starts[3] + Value(m, order.load((starts[1] + k).id)).bitcast(m.u32) * columns + column

        last = key.how == "last"
        inside = first.equals(begin) if last else first.equals(begin) & (end <= (begin / RUN + 1) * RUN)
        with m.if_(inside.id):
            totals = _Totals(m, key, values, at(end - 1 if last else begin))
            if key.fold:
                totals.add(out, target)
            if not last:
                with m.loop(begin.id, end.id, m.u(1)) as k:
                    totals.add(values, at(Value(m, k)))
            totals.write(out, target, key.dtype)


def _long(m: Module, key: RunKey, abilities: Abilities) -> None:
    """Bindings: as of `_sum`, with the sums of blocks from small to large after the values.

    Of the invocations for the ends of blocks, those combine a run at which it leaves the block that it began in.
    """
    dtypes = [dt.int32, dt.int32, dt.int32, key.dtype, *[_accumulate(key.dtype)] * key.levels, key.dtype]
    fours = range(3, len(dtypes)) if key.each == 4 else ()
    places, order, bounds, *given, out = tensors_of(m, dtypes, key.bindings, 1, abilities, True, fours)
    number, columns = Value(m, m.invocation()), Value(m, m.param(1))
    starts = [Value(m, w) for w in Words(m, 2).take(len(dtypes))]
    with m.if_((number < Value(m, m.param(0))).id):
        block, column = _split(m, key, number, columns)
        after = (block + 1) * RUN
        place = Value(m, places.load((starts[0] + after - 1).id)).bitcast(m.u32)
        begin, end = (Value(m, bounds.load((starts[2] + place * 2 + k).id)).bitcast(m.u32) for k in (0, 1))
        target = starts[-1] + place * columns + column

        def at(entry: Value, level: int) -> Value:
            entry = entry / RUN**level if level else Value(m, order.load((starts[1] + entry).id)).bitcast(m.u32)
            return starts[3 + level] + entry * columns + column

        with m.if_(((begin >= block * RUN) & (end > after)).id):
            totals = _Totals(m, key, given[0], at(begin, 0))
            if key.fold:
                totals.add(out, target)
            reached = m.variable(m.u32, begin.id)
            for level, upwards in [*((k, True) for k in range(key.levels)), *((k, False) for k in range(key.levels, -1, -1))]:
                size, now = RUN**level, Value(m, m.get(reached))
                stop = end / size * size
                if upwards:
                    larger = (now + (size * RUN - 1)) / (size * RUN) * (size * RUN)
                    stop = (larger < stop).select(larger, stop)
                with m.loop(now.id, stop.id, m.u(size)) as k:
                    totals.add(given[level], at(Value(m, k), level))
                m.set(reached, (now < stop).select(stop, now).id)
            totals.write(out, target, key.dtype)
