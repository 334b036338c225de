"""Floating-point instructions that Vulkan leaves open, built from bits, comparisons and selects.

Vulkan promises little about NaN, infinities and signed zeros, and nothing about the quality of a remainder.
The functions here work on the bits where that settles a question, for float32 and float64 alike: the *head*
of a number is the 32-bit word with its sign and exponent.

A driver may treat denormal numbers as zeros. These functions do not fight it: where the device flushes,
arithmetic and comparisons of denormal numbers behave as if they were zeros.
"""

from __future__ import annotations

from typing import Final

from .spirv import Ext, Op
from .values import Value

SIGN: Final = 0x80000000
MAGNITUDE: Final = 0x7FFFFFFF
INFINITE: Final = {32: 0x7F800000, 64: 0x7FF00000}  # the head of an infinity
EXPONENT_AT: Final = {32: 23, 64: 20}  # where the exponent starts in the head
WHOLE: Final = {32: 0x4B000000, 64: 0x43300000}  # the head of 2**FRACTION: from there on, only integers
FRACTION: Final = {32: 23, 64: 52}  # bits after the point
NAN: Final = float("nan")
INF: Final = float("inf")


def _halves(x: Value) -> int:
    return x.m.op(Op.Bitcast, x.m.vector(x.m.u32, 2), x.id)


def head(x: Value) -> Value:
    """The word with sign and exponent, as u32."""
    if x.width == 32:
        return x.bitcast(x.m.u32)
    return Value(x.m, x.m.op(Op.CompositeExtract, x.m.u32, _halves(x), 1))


def with_head(x: Value, word: Value) -> Value:
    """``x`` with its head replaced."""
    if x.width == 32:
        return word.bitcast(x.type)
    m = x.m
    low = m.op(Op.CompositeExtract, m.u32, _halves(x), 0)
    pair = m.op(Op.CompositeConstruct, m.vector(m.u32, 2), low, word.id)
    return Value(m, m.op(Op.Bitcast, x.type, pair))


def _size(x: Value) -> Value:
    """An u32 that is 0 for zeros only, the head of an infinity for infinities, and above it for NaN."""
    word = head(x) & MAGNITUDE
    if x.width == 32:
        return word
    low = Value(x.m, x.m.op(Op.CompositeExtract, x.m.u32, _halves(x), 0))
    return word | low.differs(0).select(word.like(1), 0)


def is_nan(x: Value) -> Value:
    return _size(x) > INFINITE[x.width]


def is_inf(x: Value) -> Value:
    return _size(x).equals(INFINITE[x.width])


def is_finite(x: Value) -> Value:
    return _size(x) < INFINITE[x.width]


def is_zero(x: Value) -> Value:
    """Whether this is +0 or -0: denormal numbers are not."""
    return _size(x).equals(0)


def is_negative(x: Value) -> Value:
    """Whether the sign bit is set, also of zeros and NaN."""
    return head(x) >= SIGN


def absolute(x: Value) -> Value:
    return with_head(x, head(x) & MAGNITUDE)


def negative(x: Value) -> Value:
    return with_head(x, head(x) ^ SIGN)


def copy_sign(magnitude: Value, sign: Value) -> Value:
    """``magnitude`` with the sign bit of ``sign``."""
    return with_head(magnitude, (head(magnitude) & MAGNITUDE) | (head(sign) & SIGN))


def sign(x: Value) -> Value:
    one = copy_sign(x.like(1.0), x)
    return is_zero(x).select(0.0, is_nan(x).select(x, one))


def maximum(a: Value, b: Value) -> Value:
    return is_nan(a).select(a, (a > b).select(a, b))


def minimum(a: Value, b: Value) -> Value:
    return is_nan(a).select(a, (a < b).select(a, b))


def relu(x: Value) -> Value:
    return (x < 0.0).select(0.0, x)


def _keep_whole(x: Value, result: Value) -> Value:
    """``result`` with the sign of ``x``, which zeros need, where ``x`` can have a fraction at all; else
    ``x``.
    """
    fractional = (head(x) & MAGNITUDE) < WHOLE[x.width]
    return fractional.select(with_head(result, head(result) | (head(x) & SIGN)), x)


def _nearest_wide(x: Value) -> Value:
    """|x| of a float64 below 2**52 rounded to even: the instructions of Mesa 22.3 get float64 wrong."""
    return (absolute(x) + 2.0**52) - 2.0**52


def _trunc_wide(x: Value) -> Value:
    nearest = _nearest_wide(x)
    return copy_sign((nearest > absolute(x)).select(nearest - 1.0, nearest), x)


def floor(x: Value) -> Value:
    if x.width == 32:
        return _keep_whole(x, x.ext(Ext.Floor))
    whole = _trunc_wide(x)
    return _keep_whole(x, (whole > x).select(whole - 1.0, whole))


def ceil(x: Value) -> Value:
    if x.width == 32:
        return _keep_whole(x, x.ext(Ext.Ceil))
    whole = _trunc_wide(x)
    return _keep_whole(x, (whole < x).select(whole + 1.0, whole))


def trunc(x: Value) -> Value:
    return _keep_whole(x, x.ext(Ext.Trunc) if x.width == 32 else _trunc_wide(x))


def round_even(x: Value) -> Value:
    return _keep_whole(x, x.ext(Ext.RoundEven) if x.width == 32 else _nearest_wide(x))


def square_root(x: Value) -> Value:
    """Zeros keep their sign, infinity stays, negative numbers give NaN: drivers that go through 1/sqrt
    fail there.
    """
    special = is_zero(x) | (is_inf(x) & ~is_negative(x))
    return special.select(x, (x < 0.0).select(NAN, x.ext(Ext.Sqrt)))


def reciprocal_square_root(x: Value) -> Value:
    return 1.0 / square_root(x)


def fmod(a: Value, b: Value) -> Value:
    """C's ``fmod``, exact: the divisor is doubled up to the dividend, then subtracted where it fits on the
    way back.
    """
    m = a.m
    size_a, size_b = absolute(a), absolute(b)
    at = EXPONENT_AT[a.width]
    exponent_b = head(size_b) >> at
    sensible = is_finite(a) & ~is_nan(b) & ~is_zero(b)
    hidden = exponent_b.equals(0).select(exponent_b.like(FRACTION[a.width] + 1), 1)  # doublings of a denormal
    steps = (sensible & (size_a >= size_b)).select((head(size_a) >> at) - exponent_b + hidden, 0)
    scaled, rest = m.variable(a.type, size_b.id), m.variable(a.type, size_a.id)
    with m.loop(m.u(0), steps.id, m.u(1)):
        twice = Value(m, m.get(scaled)) * 2.0
        m.set(scaled, (twice <= size_a).select(twice, Value(m, m.get(scaled))).id)
    with m.loop(m.u(0), steps.differs(0).select(steps + 1, 0).id, m.u(1)):
        part, left = Value(m, m.get(scaled)), Value(m, m.get(rest))
        m.set(rest, (left >= part).select(left - part, left).id)
        m.set(scaled, (part > size_b).select(part * 0.5, part).id)
    return sensible.select(copy_sign(Value(m, m.get(rest)), a), NAN)


def remainder(a: Value, b: Value) -> Value:
    """Python's ``%``: the sign of the divisor, also where the result is zero."""
    rest = fmod(a, b)
    other_side = is_negative(rest) ^ is_negative(b)
    return is_zero(rest).select(copy_sign(rest, b), (other_side & ~is_nan(rest)).select(rest + b, rest))


def floor_divide(a: Value, b: Value) -> Value:
    """Python's ``//``: from the exact remainder, so that an inexact division cannot land on the wrong
    integer.
    """
    rest = fmod(a, b)
    quotient = (a - rest) / b
    below = ~is_zero(rest) & (is_negative(rest) ^ is_negative(b))
    quotient = below.select(quotient - 1.0, quotient)
    lower = floor(quotient)
    whole = (quotient - lower > 0.5).select(lower + 1.0, lower)
    signed_zero = copy_sign(a.like(0.0), with_head(a, head(a) ^ head(b)))
    result = is_zero(whole).select(signed_zero, whole)
    return is_zero(b).select(a / b, result)


def round_to_half(x: Value) -> Value:
    """float32 to the nearest float16, ties to even, as float32."""
    m = x.m
    word = x.bitcast(m.u32)
    size = word & MAGNITUDE
    normal = (size + 0xFFF + ((size >> 13) & 1)) & 0xFFFFE000
    normal = (normal >= 0x47800000).select(INFINITE[32], normal)
    # Below 2**-14 the spacing is 2**-24 throughout, which is the spacing of float32 in [0.5, 1).
    small = ((size.bitcast(m.f32) + 0.5) - 0.5).bitcast(m.u32)
    result = (size < 0x38800000).select(small, normal)
    result = (size > INFINITE[32]).select(0x7FC00000, result)
    return (result | (word & SIGN)).bitcast(m.f32)


def round_to_bfloat16(x: Value) -> Value:
    """float32 to the nearest bfloat16, ties to even, as float32. NaN becomes one that the upper half can
    hold.
    """
    word = x.bitcast(x.m.u32)
    nearest = (word + 0x7FFF + ((word >> 16) & 1)) & 0xFFFF0000
    nan = (word & SIGN) | 0x7FC00000
    return ((word & MAGNITUDE) > INFINITE[32]).select(nan, nearest).bitcast(x.type)
