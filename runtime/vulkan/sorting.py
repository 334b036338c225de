"""Sorting: where entries go by one digit of their keys, and short rows by counting. What runs when is in `runtime.plan.stages`.

Entries are read as bits, never as numbers, so nothing depends on what a driver makes of NaN or denormal numbers; devices without
64-bit types sort those as two words. Keys are unsigned numbers in the order of the entries: NaN is the largest, both zeros are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import dtype as dt
from ..driver import Traits
from ..dtype import DType
from ..plan.plan import ShaderKernel
from .access import Abilities, Tensor
from .operands import Words, bindings_of, tensors_of
from .parameters import Parameters
from .spirv import Module, Op
from .values import Value

LOCAL = 64
SIGN = 0x80000000
CARRIERS = {1: dt.uint8, 2: dt.bfloat16, 4: dt.int32, 8: dt.int32}  # by bytes: what hands on an element's bits as they are
INFINITE = {dt.float16: 0x7C000000, dt.bfloat16: 0x7F800000, dt.float32: 0x7F800000, dt.float64: 0x7FF00000}  # upper words


@dataclass(frozen=True, slots=True)
class SortKey:
    """What makes two kernels of a sort the same shader. ``plain``: of whole numbers that are their own keys.

    ``word``: of the key, which the digit is from. ``given``: an order so far is read. ``values``: the entries are moved, too.
    """

    shader: str
    dtype: DType
    descending: bool
    plain: bool
    word: int
    given: bool
    values: bool
    bindings: tuple[int, ...]


def key_of(kernel: ShaderKernel, traits: Traits) -> SortKey:
    _, _, descending, bits, *digit = kernel.attributes
    word = digit[0] if digit else 0
    assert isinstance(word, int)
    values = len(kernel.outputs) - (kernel.shader == "sort_move") > 1
    return SortKey(
        kernel.shader, kernel.inputs[0].dtype, bool(descending), bool(bits), word, bool(digit and digit[-1]), values, bindings_of(kernel)
    )  # fmt: skip


def _numbers(kernel: ShaderKernel) -> list[int]:
    return [int(a) for a in kernel.attributes if isinstance(a, int)]


def invocations(kernel: ShaderKernel, key: SortKey) -> int:
    rows, length, _, _, *digit = _numbers(kernel)
    return rows * (digit[3] if digit else length)


def parameters_of(kernel: ShaderKernel, key: SortKey, starts: list[int]) -> Parameters:
    rows, length, _, _, *digit = _numbers(kernel)
    made = Parameters()
    if digit:
        _, shift, digits, shares, size, _ = digit
        made.add(rows * shares, length, shares, size, shift, digits)
    else:
        made.add(rows * length, length)
    made.add(*starts)
    return made


class Entries:
    """Elements as 32-bit words, the lower one first, and as keys."""

    def __init__(self, m: Module, tensor: Tensor, start: int, key: SortKey) -> None:
        self._m = m
        self._tensor = tensor
        self._start = Value(m, start)
        self._dtype = key.dtype
        self._plain = key.plain
        self._descending = key.descending

    def words(self, place: Value) -> list[Value]:
        m, at = self._m, self._start + place
        if self._dtype.itemsize == 8:
            return [Value(m, self._tensor.load((at * 2 + k).id)).bitcast(m.u32) for k in (0, 1)]
        return [Value(m, self._tensor.load(at.id)).bitcast(m.u32)]

    def write(self, place: Value, words: Sequence[Value]) -> None:
        m, at = self._m, self._start + place
        if self._dtype.itemsize == 8:
            for k, word in enumerate(words):
                self._tensor.store((at * 2 + k).id, word.bitcast(m.i32).id)
        else:
            self._tensor.store(at.id, words[0].bitcast(m.f32 if self._dtype.itemsize == 2 else m.i32).id)

    def key(self, words: Sequence[Value]) -> list[Value]:
        """Words that compare as the entries do, as unsigned numbers."""
        out = list(words)
        if self._dtype.is_floating_point:
            out = self._float_key(out)
        elif self._dtype in (dt.int32, dt.int64) and not self._plain:
            out[-1] = out[-1] ^ SIGN
        return [~word for word in out] if self._descending else out

    def _float_key(self, words: list[Value]) -> list[Value]:
        upper = words[-1]
        size = upper & (SIGN - 1)
        if len(words) == 2:
            size = size | words[0].differs(0).select(size.like(1), 0)  # infinities have an even upper word
        nan, zero = size > INFINITE[self._dtype], size.equals(0)
        flip = (upper >= SIGN).select(upper.like(0xFFFFFFFF), 0)
        turned = [word ^ flip for word in words[:-1]] + [upper ^ (flip | SIGN)]
        zeros = [words[0].like(0)] * (len(words) - 1) + [upper.like(SIGN)]
        return [nan.select(word.like(0xFFFFFFFF), zero.select(z, word)) for word, z in zip(turned, zeros, strict=True)]


def before(a: Sequence[Value], b: Sequence[Value]) -> tuple[Value, Value]:
    """Whether key ``a`` comes before ``b``, and whether they are equal."""
    less, same = a[0] < b[0], a[0].equals(b[0])
    for x, y in zip(a[1:], b[1:], strict=True):
        equal = x.equals(y)
        less, same = (x < y) | (equal & less), equal & same
    return less, same


def emit(key: SortKey, abilities: Abilities) -> bytes:
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    (_rank if key.shader == "sort_rank" else _digit)(m, key, abilities)
    return m.finish()


def _rank(m: Module, key: SortKey, abilities: Abilities) -> None:
    """Bindings: entries in, order out, entries out. One invocation finds the place of one entry."""
    carrier = CARRIERS[key.dtype.itemsize]
    tensors = tensors_of(m, [carrier, dt.int32, *[carrier] * key.values], key.bindings, 1 + key.values, abilities, True)
    number, length = Value(m, m.invocation()), Value(m, m.param(1))
    starts = Words(m, 2).take(len(tensors))
    with m.if_((number < Value(m, m.param(0))).id):
        entry = Value(m, m.op(Op.UMod, m.u32, number.id, length.id))
        line = number - entry
        source = Entries(m, tensors[0], starts[0], key)
        words = source.words(number)
        mine = source.key(words)
        place = m.variable(m.u32, line.id)
        with m.loop(m.u(0), length.id, m.u(1)) as k:
            other = Value(m, k)
            less, same = before(source.key(source.words(line + other)), mine)
            counts = less | (same & (other < entry))
            m.set(place, (Value(m, m.get(place)) + counts.select(number.like(1), 0)).id)
        found = Value(m, m.get(place))
        tensors[1].store((Value(m, starts[1]) + found).id, entry.bitcast(m.i32).id)
        if key.values:
            Entries(m, tensors[2], starts[2], key).write(found, words)


def _digit(m: Module, key: SortKey, abilities: Abilities) -> None:
    """Bindings: entries and the order so far in; of ``sort_count`` the counts of digits out; of ``sort_move`` the places of digits in,
    then the order, perhaps the entries, and the places out. One invocation walks one share of a row.

    Counts lie by row, digit and share, so that sums over them in this order are places.
    """
    carrier, moving = CARRIERS[key.dtype.itemsize], key.shader == "sort_move"
    read = [carrier, *[dt.int32] * (key.given + moving)]
    written = [dt.int32, *([*[carrier] * key.values, dt.int32] if moving else [])]
    tensors = tensors_of(m, read + written, key.bindings, len(written), abilities, True)
    number, length, shares, size, shift, digits = (Value(m, w) for w in [m.invocation(), *Words(m, 1).take(5)])
    starts = [Value(m, w) for w in Words(m, 6).take(len(tensors))]
    one = number.like(1)
    with m.if_((number < Value(m, m.param(0))).id):
        row = number / shares
        share = number - row * shares
        begin, line = share * size, row * length
        end = (begin + size < length).select(begin + size, length)
        source = Entries(m, tensors[0], starts[0].id, key)
        table = starts[-1] + row * digits * shares + share
        if not moving:
            with m.loop(m.u(0), digits.id, m.u(1)) as k:
                tensors[-1].store((table + Value(m, k) * shares).id, m.i(0))
        with m.loop(begin.id, end.id, m.u(1)) as k:
            entry = Value(m, k)
            if key.given:
                entry = Value(m, tensors[1].load((starts[1] + line + entry).id)).bitcast(m.u32)
            words = source.words(line + entry)
            digit = Value(m, m.op(Op.ShiftRightLogical, m.u32, source.key(words)[key.word].id, shift.id)) & (digits - one)
            at = (table + digit * shares).id
            place = Value(m, tensors[-1].load(at)).bitcast(m.u32)
            tensors[-1].store(at, (place + one).bitcast(m.i32).id)
            if moving:
                tensors[len(read)].store((starts[len(read)] + line + place).id, entry.bitcast(m.i32).id)
                if key.values:
                    Entries(m, tensors[len(read) + 1], starts[len(read) + 1].id, key).write(line + place, words)
