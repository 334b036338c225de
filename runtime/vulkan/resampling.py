"""Resampling along one axis: each invocation computes one element, of the output or of the gradient that comes back.

The gradient is gathered: every source place asks the target places that may have taken it for the share they took, computed in the same
way as forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .. import dtype as dt
from ..division import division
from ..driver import Traits
from ..dtype import DType
from ..plan.convolution import accumulated
from ..plan.plan import ShaderKernel
from ..plan.resampling import AREA, CORNERS, CUBIC_CORNERS, CUBICS, CURVE, LINEAR, MARGIN, NEAREST_EXACT, WEIGHED, Resampling
from . import functions
from .access import Abilities
from .descriptors import NO_FORMAT
from .division import WORDS as DIVISION
from .division import divided
from .operands import Words, bindings_of, reads_texels, tensors_of, texel_format
from .parameters import Parameters, load_scalar, scalar_words
from .spirv import Module, Op
from .spirv_numbers import Ext
from .values import Value

LOCAL = 64


@dataclass(frozen=True, slots=True)
class ResampleKey:
    """What makes two of these kernels the same shader."""

    dtype: DType
    mode: str
    adjoint: bool
    shared: bool
    bindings: tuple[int, ...]
    formats: tuple[int, ...]


def resampling_of(kernel: ShaderKernel) -> Resampling:
    (how,) = kernel.attributes
    assert isinstance(how, Resampling)
    return how


def computed(dtype: DType, mode: str) -> DType:
    """What places are computed in, as PyTorch does it."""
    return dt.float64 if dtype is dt.float64 and mode in WEIGHED else dt.float32


def key_of(kernel: ShaderKernel, traits: Traits) -> ResampleKey:
    how, source = resampling_of(kernel), kernel.inputs[0]
    format_ = texel_format(source, False, traits) if reads_texels(traits) else NO_FORMAT
    bindings = bindings_of(kernel, [0] if format_ != NO_FORMAT else [])
    return ResampleKey(source.dtype, how.mode, how.adjoint, how.shares > 1, bindings, (format_,))


def _elements(how: Resampling) -> int:
    return how.outer * how.inner * (how.source if how.adjoint else how.target)


def invocations(kernel: ShaderKernel, key: ResampleKey) -> int:
    how = resampling_of(kernel)
    return _elements(how) * how.shares


def parameters_of(kernel: ShaderKernel, key: ResampleKey, starts: list[int]) -> Parameters:
    how = resampling_of(kernel)
    made = Parameters()
    made.add(invocations(kernel, key), *starts, how.inner, how.source, how.target)
    made.add(*division(how.inner), *division(how.source if how.adjoint else how.target))
    if key.shared:
        made.add(how.share, how.shares - 1, *division(_elements(how)))
    made.add(*scalar_words(how.scale, computed(key.dtype, key.mode)))
    return made


class Part:
    """Which of the places that an element takes this invocation walks: all of them, unless they are shared."""

    def __init__(self, m: Module, words: Words | None) -> None:
        self._m = m
        self._number: int | None = None
        if words is not None:
            self._size, self._last = words.take(2)
            self._elements = words.take(DIVISION)

    def enter(self, number: int) -> int:
        """The element's number, of the invocation's."""
        self._number, element = divided(self._m, number, self._elements)
        return element

    def of(self, begin: int, end: int) -> tuple[int, int]:
        """This one's part of the places from ``begin`` to before ``end``; the last one's reaches to the end whatever the sizes."""
        if self._number is None:
            return begin, end
        m = self._m
        first = m.add(begin, m.mul(self._number, self._size))
        after = m.add(first, self._size)
        whole = m.op(Op.LogicalOr, m.bool, m.op(Op.IEqual, m.bool, self._number, self._last), m.op(Op.ULessThan, m.bool, end, after))
        return first, m.select(whole, end, after)


class Shares:
    """Which source places a target place takes, and how much of each."""

    def __init__(self, m: Module, key: ResampleKey, source: int, target: int, scale: Value) -> None:
        self._m, self._mode, self._scale = m, key.mode, scale
        self._source, self._target = Value(m, source), Value(m, target)
        self._register = functions.register_type(m, key.dtype)

    def of(self, place: int) -> tuple[Value, Value, list[Value] | Value | None]:
        """For target ``place``: first source place, how many, and weights: one each, a divisor of all, or None for 1."""
        m, at = self._m, Value(self._m, place)
        last = self._source - 1
        if self._mode == AREA:
            first = at * self._source / self._target
            count = ((at + 1) * self._source + self._target - 1) / self._target - first
            return first, count, count.convert(m.f32).convert(self._register)
        place_in = at.convert(m.f32).convert(self._scale.type)
        if self._mode in (LINEAR, CORNERS):
            position = place_in * self._scale
            if self._mode == LINEAR:
                position = (place_in + 0.5) * self._scale - 0.5
                position = (position < 0.0).select(0.0, position)
            first = position.convert(m.u32)
            first = (first < last).select(first, last)
            part = position - first.convert(m.f32).convert(self._scale.type)
            two = (first < last).select(first.like(2), first.like(1))
            # At the last place there is nothing after it: all of it is taken from there.
            part = (first < last).select(part, 0.0).convert(self._register)
            return first, two, [1.0 - part, part]
        position = (place_in + 0.5) * self._scale if self._mode == NEAREST_EXACT else place_in * self._scale
        first = position.convert(m.u32)
        return (first < last).select(first, last), first.like(1), None

    def taps(self, place: int) -> list[tuple[Value, Value]]:
        """For target ``place`` in the cubic modes: four source places, which may be the same at the edges, and the weight of each."""
        m, last, a = self._m, self._source - 1, CURVE
        along = Value(m, place).convert(m.f32).convert(self._scale.type)
        position = along * self._scale if self._mode == CUBIC_CORNERS else (along + 0.5) * self._scale - 0.5
        first = position.ext(Ext.Floor)
        part = position - first
        rest = 1.0 - part
        near = [(x * (a + 2) - (a + 3)) * x * x + 1.0 for x in (part, rest)]
        far = [((x * a - 5 * a) * x + 8 * a) * x - 4 * a for x in (part + 1.0, rest + 1.0)]
        start = (first + 1.0).convert(m.u32)  # positions begin at -1/2: two more than the first place's number, never negative
        made = []
        for k, weight in enumerate((far[0], near[0], near[1], far[1])):
            at = start + k
            at = (at < 2).select(at.like(2), at) - 2
            made.append(((at < last).select(at, last), weight.convert(self._register)))
        return made

    def candidates(self, place: int) -> tuple[int, int]:
        """Target places (first, one after the last) among which are all that take source ``place``."""
        m, at = self._m, Value(self._m, place).convert(self._m.f32)
        if self._mode == AREA:
            ratio = self._target.convert(m.f32) / self._source.convert(m.f32)
        else:
            scale = self._scale.convert(m.f32)
            ratio = 1.0 / (scale < 1e-30).select(1e-30, scale)
        reach = 2.0 if self._mode in CUBICS else 1.0
        low = (at - reach) * ratio - MARGIN
        high = (at + (reach + 1.0)) * ratio + (MARGIN + 1)
        low = (low < 0.0).select(0.0, low)
        most = self._target.convert(m.f32)
        low, high = (low < most).select(low, most), (high < most).select(high, most)
        return low.convert(m.u32).id, high.convert(m.u32).id


def emit(key: ResampleKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: values in, values out."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    texels = [0] if key.formats[0] != NO_FORMAT else []
    tensors = tensors_of(m, [key.dtype, accumulated(key.dtype) if key.shared else key.dtype], key.bindings, 1, abilities, False, (), texels)
    words = Words(m, 1)
    start_in, start_out, inner, source, target = words.take(5)
    by_inner, by_length = words.take(DIVISION), words.take(DIVISION)
    part = Part(m, words if key.shared else None)
    compute = computed(key.dtype, key.mode)
    shares = Shares(m, key, source, target, Value(m, load_scalar(m, words.at, compute, int64=abilities.int64)))
    number = m.invocation()
    register = functions.register_type(m, key.dtype)
    with m.if_(m.op(Op.ULessThan, m.bool, number, m.param(0))):
        rest, along = divided(m, part.enter(number) if key.shared else number, by_inner)
        item, place = divided(m, rest, by_length)
        length = target if key.adjoint else source
        base = m.add(m.add(start_in, along), m.mul(item, m.mul(length, inner)))

        def load(at: int) -> Value:
            return Value(m, tensors[0].load(m.add(base, m.mul(at, inner))))

        total = m.variable(register, m.const(register, 0))
        if key.adjoint:
            with m.loop(*part.of(*shares.candidates(place)), m.u(1)) as candidate:
                _come_back(m, key.mode, shares, place, candidate, load, total)
        elif key.mode in CUBICS:
            for at, share in shares.taps(place):
                _add(m, total, load(at.id) * share)
        elif key.mode == AREA:
            first, count, weights = shares.of(place)
            assert isinstance(weights, Value)
            with m.loop(*part.of(m.u(0), count.id), m.u(1)) as k:
                _add(m, total, load(m.add(first.id, k)))
            m.set(total, (Value(m, m.get(total)) / weights).id)
        else:
            first, count, weights = shares.of(place)
            m.set(total, _taken(m, load, first, count, weights).id)
        result = m.get(total) if key.shared else functions.round_to(m, key.dtype, m.get(total))
        tensors[1].store(m.add(start_out, number), result)
    return m.finish()


def _come_back(m: Module, mode: str, shares: Shares, place: int, candidate: int, load: Callable[[int], Value], total: int) -> None:
    """Add what target place ``candidate`` took of source place ``place``."""
    if mode in CUBICS:
        taken = [(at.equals(Value(m, place))).select(weight, 0.0) for at, weight in shares.taps(candidate)]
        _add(m, total, load(candidate) * (taken[0] + taken[1] + taken[2] + taken[3]))
        return
    first, count, weights = shares.of(candidate)
    offset = Value(m, m.op(Op.ISub, m.u32, place, first.id))
    with m.if_((offset < count).id):
        weight = (offset.equals(0)).select(weights[0], weights[1]) if isinstance(weights, list) else weights
        _add(m, total, _weighed(load(candidate), weight, mode))


def _add(m: Module, total: int, value: Value) -> None:
    m.set(total, (Value(m, m.get(total)) + value).id)


def _weighed(value: Value, weight: Value | None, mode: str) -> Value:
    if weight is None:
        return value
    return value / weight if mode == AREA else value * weight


def _taken(m: Module, load: Callable[[int], Value], first: Value, count: Value, weights: list[Value] | Value | None) -> Value:
    """One source place, or two of them in proportion."""
    if not isinstance(weights, list):
        return load(first.id)
    second = first + (count - 1)
    return load(first.id) * weights[0] + load(second.id) * weights[1]
