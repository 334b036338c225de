"""Integer instructions that never trap and always wrap, and the random bits.

uint8 lives in an int32 within 0..255: after an operation that can leave this range, only the low byte is
kept. SPIR-V leaves division by zero, the quotient of the least number and -1, remainders of negative numbers
and shifts by the width or more undefined, so none of them is ever executed.
"""

from __future__ import annotations

from typing import Final

from .spirv import Ext
from .values import Value

PHILOX_FACTORS: Final = (0xD2511F53, 0xCD9E8D57)
PHILOX_WEYL: Final = (0x9E3779B9, 0xBB67AE85)  # added to the key each round: golden ratio and sqrt(3) - 1
PHILOX_ROUNDS: Final = 10


def absolute(x: Value) -> Value:
    return (x < 0).select(x.like(0) - x, x)


def sign(x: Value) -> Value:
    return (x > 0).select(x.like(1), (x < 0).select(x.like(-1), 0))


def maximum(a: Value, b: Value) -> Value:
    return (a > b).select(a, b)


def minimum(a: Value, b: Value) -> Value:
    return (a < b).select(a, b)


def relu(x: Value) -> Value:
    return (x < 0).select(0, x)


def _divided(a: Value, b: Value) -> tuple[Value, Value]:
    """Quotient towards zero and its remainder; where ``b`` is 0, those of a division by 1."""
    least = -(1 << (a.width - 1))
    wraps = a.equals(least) & b.equals(-1)
    divisor = (wraps | b.equals(0)).select(1, b)
    quotient = a / divisor
    return quotient, a - quotient * divisor


def fmod(a: Value, b: Value) -> Value:
    return b.equals(0).select(0, _divided(a, b)[1])


def remainder(a: Value, b: Value) -> Value:
    rest = _divided(a, b)[1]
    moved = (rest.differs(0) & ((rest ^ b) < 0)).select(rest + b, rest)
    return b.equals(0).select(0, moved)


def floor_divide(a: Value, b: Value) -> Value:
    quotient, rest = _divided(a, b)
    lower = (rest.differs(0) & ((rest ^ b) < 0)).select(quotient - 1, quotient)
    return b.equals(0).select(0, lower)


def _length(x: Value) -> Value:
    """How many bits a number that is not negative needs, as u32."""
    m = x.m
    if x.width == 64:
        upper, lower = (x >> 32).convert(m.i32), x.convert(m.i32)
        word = upper.equals(0).select(lower, upper).bitcast(m.u32)
        return word.ext(Ext.FindUMsb) + upper.equals(0).select(word.like(1), 33)
    return x.bitcast(m.u32).ext(Ext.FindUMsb) + 1  # of 0 it gives -1


def power(base: Value, exponent: Value) -> Value:
    """By repeated squaring, wrapping; negative exponents give 0, except for the bases 1 and -1."""
    m = base.m
    result = m.variable(base.type, base.like(1).id)
    factor = m.variable(base.type, base.id)
    left = m.variable(base.type, exponent.id)
    steps = (exponent > 0).select(_length(exponent), 0)
    with m.loop(m.u(0), steps.id, m.u(1)):
        square, rest, total = (Value(m, m.get(v)) for v in (factor, left, result))
        m.set(result, (rest & 1).differs(0).select(total * square, total).id)
        m.set(factor, (square * square).id)
        m.set(left, (rest >> 1).id)
    alternating = (exponent & 1).equals(0).select(base.like(1), base)
    unit = base.equals(1) | base.equals(-1)
    negative = unit.select(alternating, 0)
    return (exponent < 0).select(negative, Value(m, m.get(result)))


def shift_left(a: Value, count: Value) -> Value:
    inside = (count >= 0) & (count < a.width)
    return inside.select(a << inside.select(count, 0), 0)


def shift_right(a: Value, count: Value) -> Value:
    inside = (count >= 0) & (count < a.width)
    return a >> inside.select(count, a.width - 1)


def quotient(number: Value, divisor: Value, multiplier: Value, shift: Value) -> Value:
    """``number // divisor``, as in `runtime.division`."""
    m = number.m
    high = Value(m, m.wide_mul(number.bitcast(m.u32).id, multiplier.bitcast(m.u32).id)[1]) >> shift.bitcast(m.u32)
    return divisor.equals(1).select(number, high.bitcast(m.i32))


def philox(index: Value, offset: Value, seed_low: Value, seed_high: Value) -> Value:
    """Word ``index & 3`` of the block with counter (index >> 2, offset, 0, 0) and key (seed_low, seed_high),
    as int32.

    Philox 4x32-10: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as
    1, 2, 3", SC 2011.
    """
    m = index.m
    number = index.bitcast(m.u32)
    counter = [number >> 2, offset.bitcast(m.u32), number.like(0), number.like(0)]
    key = [seed_low.bitcast(m.u32), seed_high.bitcast(m.u32)]
    for _ in range(PHILOX_ROUNDS):
        low0, high0 = (Value(m, w) for w in m.wide_mul(counter[0].id, m.u(PHILOX_FACTORS[0])))
        low1, high1 = (Value(m, w) for w in m.wide_mul(counter[2].id, m.u(PHILOX_FACTORS[1])))
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
        key = [key[0] + PHILOX_WEYL[0], key[1] + PHILOX_WEYL[1]]
    word = number & 3
    lower = (word & 1).equals(0)
    chosen = (word < 2).select(
        lower.select(counter[0], counter[1]),
        lower.select(counter[2], counter[3]),
    )
    return chosen.bitcast(m.i32)


def unit_uniform(bits: Value) -> Value:
    """The upper 24 bits times 2**-24, as float32."""
    return (bits.bitcast(bits.m.u32) >> 8).convert(bits.m.f32) * 2.0**-24
