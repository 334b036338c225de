"""The first few of sorted rows: each invocation keeps the first few of its share of a row, in registers; and the head of sorted rows."""

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
class ChoiceKey:
    """What makes two of these kernels the same shader. ``count`` entries are kept; ``given``: of those at places that are read."""

    shader: str
    dtype: DType
    descending: bool
    count: int
    given: bool
    values: bool
    bindings: tuple[int, ...]


def _numbers(kernel: ShaderKernel) -> tuple[int, int, int, int, int]:
    """Rows, their length, how many places of each are looked at, by how many invocations, and how many entries each of them keeps."""
    rows, length, span, shares, count, _ = kernel.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(span, int)
    assert isinstance(shares, int) and isinstance(count, int)
    return rows, length, span, shares, count


def key_of(kernel: ShaderKernel, traits: Traits) -> ChoiceKey:
    count = _numbers(kernel)[4] if kernel.shader == "sort_few" else 0
    return ChoiceKey(
        kernel.shader, kernel.inputs[0].dtype, bool(kernel.attributes[5]), count, len(kernel.inputs) > 1, len(kernel.outputs) > 1,
        bindings_of(kernel),
    )  # fmt: skip


def invocations(kernel: ShaderKernel, key: ChoiceKey) -> int:
    rows, _, _, shares, count = _numbers(kernel)
    return rows * (shares if kernel.shader == "sort_few" else count)


def parameters_of(kernel: ShaderKernel, key: ChoiceKey, starts: list[int]) -> Parameters:
    _, length, span, shares, count = _numbers(kernel)
    made = Parameters()
    made.add(invocations(kernel, key), length, span, shares if kernel.shader == "sort_few" else count, *starts)
    return made


def emit(key: ChoiceKey, abilities: Abilities) -> bytes:
    """Bindings: entries and perhaps places in, places and perhaps entries out."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    carrier = CARRIERS[key.dtype.itemsize]
    dtypes = [carrier, *[dt.int32] * key.given, dt.int32, *[carrier] * key.values]
    tensors = tensors_of(m, dtypes, key.bindings, 1 + key.values, abilities, True)
    number, length, span, shares = (Value(m, w) for w in [m.invocation(), *Words(m, 1).take(3)])
    starts = [Value(m, w) for w in Words(m, 4).take(len(dtypes))]
    plain = SortKey("", key.dtype, key.descending, False, 0, False, False, ())
    source, into = Entries(m, tensors[0], starts[0].id, plain), 1 + key.given
    with m.if_((number < Value(m, m.param(0))).id):
        row = number / shares
        share = number - row * shares

        def place_of(k: Value) -> Value:
            return Value(m, tensors[1].load((starts[1] + row * span + k).id)).bitcast(m.u32) if key.given else k

        def write(at: Value, place: Value) -> None:
            tensors[into].store((starts[into] + at).id, place.bitcast(m.i32).id)
            if key.values:
                words = source.words(row * length + place)
                Entries(m, tensors[into + 1], starts[into + 1].id, plain).write(at, words)

        if key.shader == "sort_head":
            write(number, place_of(share))
        else:
            size = span / shares
            rest = span - size * shares
            begin = share * size + (share < rest).select(share, rest)
            end = begin + size + (share < rest).select(share.like(1), 0)
            slots = _Slots(m, key.count, 2 if key.dtype.itemsize == 8 else 1)
            with m.loop(begin.id, end.id, m.u(1)) as k:
                entry = Value(m, k)
                place = place_of(entry)
                slots.offer(source.key(source.words(row * length + place)), place, entry - begin)
            for j, place in enumerate(slots.places()):
                write(number * key.count + j, place)
    return m.finish()


class _Slots:
    """The first entries so far in order, in variables."""

    def __init__(self, m: Module, count: int, words: int) -> None:
        self._m = m
        self._keys = [[m.variable(m.u32, m.u(0)) for _ in range(words)] for _ in range(count)]
        self._places = [m.variable(m.u32, m.u(0)) for _ in range(count)]

    def offer(self, key: list[Value], place: Value, number: Value) -> None:
        """Take in entry ``number`` if it comes before one that is here, or there is room. Of equal ones the earlier stays in front."""
        m = self._m
        worst = [Value(m, m.get(v)) for v in self._keys[-1]]
        with m.if_(((number < len(self._keys)) | before(key, worst)[0]).id):
            moved = Value(m, m.const(m.bool, False))
            for j, (variables, kept) in enumerate(zip(self._keys, self._places, strict=True)):
                here, its = [Value(m, m.get(v)) for v in variables], Value(m, m.get(kept))
                # Past where the new entry goes everything moves on by one; so many slots were filled.
                first = moved = moved | before(key, here)[0] | (number <= j)
                for variable, new, old in zip(variables, key, here, strict=True):
                    m.set(variable, first.select(new, old).id)
                m.set(kept, first.select(place, its).id)
                key = [first.select(old, new) for new, old in zip(key, here, strict=True)]
                place = first.select(its, place)

    def places(self) -> list[Value]:
        return [Value(self._m, self._m.get(v)) for v in self._places]
