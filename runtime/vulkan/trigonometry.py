"""Sine, cosine, tangent and their inverses in float32, from additions, multiplications and bit operations.

Vulkan promises ``sin`` and ``cos`` an absolute 2**-11 within [-pi, pi] and nothing outside, so the driver's
are not used. Arguments up to `NEAR` are reduced with pi/2 in four parts (W. J. Cody and W. Waite, *Software
Manual for the Elementary Functions*, 1980), larger ones with integers (M. H. Payne and R. N. Hanek, "Radian
reduction for trigonometric functions", ACM SIGNUM Newsletter 18, 1983): every finite argument has its full
accuracy. Polynomials are fitted as in `elementary`. NaN comes out as NaN.
"""

from __future__ import annotations

import math
from typing import Final

from .floats import (
    INFINITE,
    MAGNITUDE,
    NAN,
    SIGN,
    absolute,
    copy_sign,
    head,
    is_nan,
    is_negative,
    is_zero,
    square_root,
)
from .spirv import Ext
from .values import Value, polynomial

NEAR: Final = 1600.0  # up to here pi/2 fits into |x| at most 2**10 times
# pi/2: three parts of 14 bits, so that 10 bits times each are exact, and the rest
HALF_PI: Final = (1.5706787109375, 0.00011761486530303955, 9.920313459588215e-10, 6.223371969669989e-14)
# 32 zero bits, then the bits of 2/pi after the point
TWO_OVER_PI: Final = (
    0, 0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB,
)  # fmt: skip

# sin(r) = r + r**3 * p(r**2), |r| <= pi/4: 3.7e-9
SIN: Final = (-0.16666655242443085, 0.008332191035151482, -0.00019518610497470945)
# cos(r) = 1 - r**2 / 2 + r**4 * p(r**2), |r| <= pi/4: 1.1e-10
COS: Final = (0.04166664555668831, -0.00138873013202101, 2.4430661142105237e-05)
# asin(x) = x + x**3 * p(x**2), |x| <= 1/2: 5e-9
ASIN: Final = (
    0.16666753590106964, 0.07495249062776566, 0.04547666013240814, 0.0241481252014637, 0.04221981018781662,
)  # fmt: skip
# atan(x) = x + x**3 * p(x**2), |x| <= tan(pi/8): 6.8e-10
ATAN: Final = (
    -0.33333316445350647, 0.1999852955341339, -0.14244425296783447, 0.10599406063556671, -0.06090549752116203,
)  # fmt: skip
TAN_PI_8: Final = math.sqrt(2) - 1


def _near(x: Value) -> tuple[Value, Value]:
    """The quarter turn nearest to ``x`` (int32) and the angle from there, for |x| <= `NEAR`."""
    n = (x * (2 / math.pi)).ext(Ext.RoundEven)
    r = x
    for part in HALF_PI:
        r = r - n * part
    return n.convert(x.m.i32), r


def _window(position: Value) -> list[Value]:
    """Three words of `TWO_OVER_PI` from a bit position in 0..159 on."""
    index, shift = position >> 5, position & 31
    words = []
    for offset in range(4):
        word = position.like(TWO_OVER_PI[offset])
        for start in range(1, 5):
            word = index.equals(start).select(TWO_OVER_PI[start + offset], word)
        words.append(word)
    # a shift by 32 is undefined: 31 and 1 more
    return [(words[k] << shift) | (words[k + 1] >> (31 - shift) >> 1) for k in range(3)]


def _far(x: Value) -> tuple[Value, Value]:
    """As `_near`, for every finite |x| above it.

    With ``|x| = M 2**e``, bits of 2/pi that make whole turns with 2**e are left out, and 96 bits from there
    on are multiplied by M: the top two bits of the product are the quarter turn, the other 62 kept are the
    fraction.
    """
    m = x.m
    size = x.bitcast(m.u32) & MAGNITUDE
    mantissa = (size & 0x7FFFFF) | 0x800000
    first, second, third = _window((size >> 23) - 120)  # e + 30
    middle_low, middle_high = (Value(m, part) for part in m.wide_mul(mantissa.id, second.id))
    _, low_high = m.wide_mul(mantissa.id, third.id)
    low = middle_low + Value(m, low_high)
    high = mantissa * first + middle_high + (low < middle_low).select(low.like(1), 0)
    turn = (high + 0x20000000) >> 30
    rest = (high - (turn << 30)).bitcast(m.i32)
    inverted = rest >> 31  # all ones below zero: the two's complement, but for the last of 64 bits
    fraction = (rest ^ inverted).convert(m.f32) * 2.0**-30
    fraction = fraction + (low ^ inverted.bitcast(m.u32)).convert(m.f32) * 2.0**-62
    r = fraction * (math.pi / 2)
    flip = (inverted.bitcast(m.u32) ^ head(x)) & SIGN
    r = (r.bitcast(m.u32) ^ flip).bitcast(m.f32)
    signed_turn = turn.bitcast(m.i32)
    return is_negative(x).select(signed_turn.like(0) - signed_turn, signed_turn), r


def _reduced(x: Value) -> tuple[Value, Value]:
    m = x.m
    turn, angle = _near(x)
    turn_variable, angle_variable = m.variable(m.i32, turn.id), m.variable(m.f32, angle.id)
    size = x.bitcast(m.u32) & MAGNITUDE
    large = (absolute(x) > NEAR) & (size < INFINITE[32])
    with m.if_(large.id):
        far_turn, far_angle = _far(x)
        m.set(turn_variable, far_turn.id)
        m.set(angle_variable, far_angle.id)
    return Value(m, m.get(turn_variable)), Value(m, m.get(angle_variable))


def _sin_cos(r: Value) -> tuple[Value, Value]:
    square = r * r
    sine = r + r * square * polynomial(square, *SIN)
    cosine = 1.0 - (0.5 * square - square * square * polynomial(square, *COS))
    return sine, cosine


def _wave(x: Value, ahead: int) -> Value:
    """The sine of ``x`` and so many quarter turns; NaN for infinities."""
    turn, r = _reduced(x)
    turn = turn + ahead
    sine, cosine = _sin_cos(r)
    result = (turn & 1).equals(0).select(sine, cosine)
    flip = (turn & 2).bitcast(x.m.u32) << 30
    result = (result.bitcast(x.m.u32) ^ flip).bitcast(x.m.f32)
    finite = (x.bitcast(x.m.u32) & MAGNITUDE) < INFINITE[32]
    return finite.select(result, NAN)


def sin(x: Value) -> Value:
    return is_zero(x).select(x, _wave(x, 0))


def cos(x: Value) -> Value:
    return _wave(x, 1)


def tan(x: Value) -> Value:
    turn, r = _reduced(x)
    sine, cosine = _sin_cos(r)
    even = (turn & 1).equals(0)
    result = even.select(sine, 0.0 - cosine) / even.select(cosine, sine)
    finite = (x.bitcast(x.m.u32) & MAGNITUDE) < INFINITE[32]
    return is_zero(x).select(x, finite.select(result, NAN))


def _asin_small(x: Value) -> Value:
    square = x * x
    return x + x * square * polynomial(square, *ASIN)


def asin(x: Value) -> Value:
    """Above 1/2 from asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2)). NaN outside [-1, 1]."""
    size = absolute(x)
    large = size > 0.5
    reduced = large.select(square_root((1.0 - size) * 0.5), size)
    small = _asin_small(reduced)
    result = copy_sign(large.select(math.pi / 2 - 2.0 * small, small), x)
    return (size <= 1.0).select(result, NAN)


def acos(x: Value) -> Value:
    """NaN outside [-1, 1]."""
    size = absolute(x)
    large = size > 0.5
    small = _asin_small(large.select(square_root((1.0 - size) * 0.5), x))
    twice = 2.0 * small
    outer = is_negative(x).select(math.pi - twice, twice)
    return (size <= 1.0).select(large.select(outer, math.pi / 2 - small), NAN)


def _first_octant(low: Value, high: Value) -> Value:
    """``atan(low / high)`` for 0 <= low <= high, with one division: by atan(a) = pi/4 + atan((a - 1) / (a
    + 1)).
    """
    steep = low > high * TAN_PI_8
    ratio = steep.select(low - high, low) / steep.select(low + high, high)
    square = ratio * ratio
    return steep.select(ratio.like(math.pi / 4), 0.0) + (ratio + ratio * square * polynomial(square, *ATAN))


def atan(x: Value) -> Value:
    size = absolute(x)
    above = size > 1.0
    one = x.like(1.0)
    angle = _first_octant(above.select(one, size), above.select(size, one))
    infinite = head(size).equals(INFINITE[32])
    angle = infinite.select(math.pi / 2, above.select(math.pi / 2 - angle, angle))
    return is_nan(x).select(x, copy_sign(angle, x))


def atan2(y: Value, x: Value) -> Value:
    """The angle of the point (x, y) in [-pi, pi], with C's rules for zeros and infinities."""
    size_y, size_x = absolute(y), absolute(x)
    above = size_y > size_x
    low, high = above.select(size_x, size_y), above.select(size_y, size_x)
    # Divisors beyond 2**126 have no promised quotients, and low + high must not overflow.
    factor = (high > 2.0**100).select(high.like(2.0**-60), (high < 2.0**-60).select(high.like(2.0**60), 1.0))
    low, high = low * factor, high * factor
    diagonal = head(low).equals(INFINITE[32])  # both infinite
    low = diagonal.select(1.0, low)
    high = diagonal.select(1.0, is_zero(high).select(1.0, high))
    infinite = head(high).equals(INFINITE[32])
    angle = infinite.select(0.0, _first_octant(low, infinite.select(1.0, high)))
    angle = above.select(math.pi / 2 - angle, angle)
    angle = is_negative(x).select(math.pi - angle, angle)
    return (is_nan(x) | is_nan(y)).select(NAN, copy_sign(angle, y))
