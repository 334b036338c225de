"""Exponentials, logarithms, powers and their relatives in float32, from additions, multiplications and bit
operations.

Vulkan allows drivers errors that grow with the argument (``exp``: 3 + 2|x| ULP, ``pow`` from those), so none
of the driver's transcendental functions is used. Polynomials are near-minimax fits made for this library
(weighted least squares, Lawson's iteration, on Chebyshev nodes in 40 digits; coefficients rounded to float32
from the lowest on, the rest fitted again after each); each states the largest relative error of the fit.
Range reduction follows W. J. Cody and W. Waite, *Software Manual for the Elementary Functions*, 1980: a
constant is split so that products with its upper part are exact. Arguments and results are register values of
float32; NaN comes out as NaN.
"""

from __future__ import annotations

import math
from typing import Final

from .floats import INF, NAN, absolute, copy_sign, head, is_nan, is_negative, is_zero, negative
from .spirv import Ext
from .values import Value, polynomial

LOG2_E: Final = 1.4426950408889634
# ln 2, log10 2 and 2 / ln 2, each as a part with few enough bits and a rest
LN2: Final = (0.693145751953125, 1.428606765330187e-06)
LOG10_2: Final = (0.301025390625, 4.605039066518657e-06)
TWO_LOG2_E: Final = (2.884765625, 0.0006244567921385169)
SPLIT: Final = 0xFFFFF000  # keeps 12 bits of a float32's significand: products of two such are exact

# exp(r) - 1 = r + r**2 * p(r), |r| <= ln(2) / 2: 1.4e-8
EXP_TAIL: Final = (0.5, 0.1666654348373413, 0.041666414588689804, 0.008366570807993412, 0.0013939677737653255)
# 2**r - 1 = r * p(r), |r| <= 1/2: 3.1e-9
EXP2: Final = (
    0.6931471824645996, 0.24022650718688965, 0.05550359562039375, 0.009618062525987625, 0.0013390984386205673,
    0.00015462869487237185,
)  # fmt: skip
# log(1 + f) = f - f**2 / 2 + f**3 * p(f), sqrt(1/2) <= 1 + f <= sqrt(2): 5.8e-9
LOG_TAIL: Final = (
    0.3333333134651184, -0.2500081956386566, 0.20001240074634552, -0.166234090924263, 0.14201620221138,
    -0.1315964013338089, 0.12761929631233215, -0.07636018842458725,
)  # fmt: skip
# log2((1 + s) / (1 - s)) = s * (2 / ln(2) + s**2 * p(s**2)), |s| <= 0.1716: 8.2e-10
LOG2_TAIL: Final = (0.9617982506752014, 0.5767563581466675, 0.43090811371803284)
# sinh(x) = x + x**3 * p(x**2), |x| <= 1: 3.2e-10
SINH: Final = (0.1666666716337204, 0.008333311416208744, 0.00019842635083477944, 2.783925083349459e-06)
# tanh(x) = x + x**3 * p(x**2), |x| <= 0.625: 4.2e-9
TANH: Final = (
    -0.3333328366279602, 0.133314847946167, -0.05374298617243767, 0.020648980513215065,
    -0.0057152993977069855,
)  # fmt: skip
# erf(x) = x + x * p(x**2), |x| <= 1: 1.3e-9
ERF: Final = (
    0.12837916612625122, -0.3761262893676758, 0.11283618211746216, -0.02685512602329254, 0.005190733820199966,
    -0.0008030761382542551, 7.920368079794571e-05,
)  # fmt: skip
# -log(1 - erf(x)) = p(x), 1 <= x <= 3.95: 1e-9 of erf
ERFC_LOG: Final = (
    0.0003517685690894723, 1.1270476579666138, 0.6382135152816772, 0.10304750502109528, -0.02180996909737587,
    0.0029407208785414696, -0.00018568274390418082,
)  # fmt: skip


def clamp(x: Value, low: float, high: float) -> Value:
    """``x`` within bounds; NaN stays."""
    return (x < low).select(low, (x > high).select(high, x))


def power_of_two(n: Value) -> Value:
    """2**n of an int32 in -126..127."""
    return ((n + 127) << 23).bitcast(n.m.f32)


def scale(x: Value, n: Value) -> Value:
    """``x * 2**n`` of an int32 in -252..254: in two steps, because 2**n itself may not be a number."""
    half = n >> 1
    return x * power_of_two(half) * power_of_two(n - half)


def _reduced(x: Value) -> tuple[Value, Value]:
    """``x = n ln 2 + r``, |r| <= ln(2) / 2, for |x| up to 110: n (as float32), and r."""
    n = (x * LOG2_E).ext(Ext.RoundEven)
    return n, x - n * LN2[0] - n * LN2[1]


def _exp_minus_one(r: Value) -> Value:
    return r + r * r * polynomial(r, *EXP_TAIL)


def _exp_scaled(x: Value, shift: int) -> Value:
    """``exp(x) * 2**shift``."""
    n, r = _reduced(clamp(x, -106.0, 92.0))
    return scale(1.0 + _exp_minus_one(r), n.convert(x.m.i32) + shift)


def exp(x: Value) -> Value:
    return is_nan(x).select(x, _exp_scaled(x, 0))


def exp2(x: Value) -> Value:
    bounded = clamp(x, -152.0, 130.0)
    n = bounded.ext(Ext.RoundEven)
    r = bounded - n
    return is_nan(x).select(x, scale(1.0 + r * polynomial(r, *EXP2), n.convert(x.m.i32)))


def expm1(x: Value) -> Value:
    n, r = _reduced(clamp(x, -25.0, 92.0))
    whole = n.convert(x.m.i32)
    # 2**n (exp(r) - 1) + (2**n - 1), divided by 2**n so that it cannot overflow early
    result = scale(_exp_minus_one(r) + (1.0 - scale(x.like(1.0), whole.like(0) - whole)), whole)
    tiny = absolute(x) < 2.0**-25
    return (tiny | is_nan(x)).select(x, result)


def _log_parts(x: Value) -> tuple[Value, Value]:
    """``x = 2**e (1 + f)`` with 1 + f in [sqrt(1/2), sqrt(2)]: e as float32, and f, which is exact.

    The bits of a denormal number are its value over 2**-149, so these work where the device flushes, too.
    """
    word = x.bitcast(x.m.u32)
    denormal = word < 0x00800000
    word = denormal.select(word.convert(x.m.f32).bitcast(x.m.u32), word)
    moved = word + (0x3F800000 - 0x3F3504F3)
    biased = (moved >> 23).bitcast(x.m.i32)
    e = biased - denormal.select(biased.like(127 + 149), 127)
    return e.convert(x.m.f32), ((moved & 0x7FFFFF) + 0x3F3504F3).bitcast(x.m.f32) - 1.0


def _log_rest(f: Value) -> Value:
    """``log(1 + f) - f``."""
    square = f * f
    return f * square * polynomial(f, *LOG_TAIL) - 0.5 * square


def _log_special(x: Value, result: Value) -> Value:
    """``result`` for positive numbers; what logarithms give for everything else."""
    word = x.bitcast(x.m.u32)
    result = word.equals(0x7F800000).select(INF, (word > 0x7F800000).select(NAN, result))
    return is_zero(x).select(-INF, result)


def _log(x: Value) -> Value:
    e, f = _log_parts(x)
    return e * LN2[0] + (f + (_log_rest(f) + e * LN2[1]))


def log(x: Value) -> Value:
    return _log_special(x, _log(x))


def log2(x: Value) -> Value:
    e, f = _log_parts(x)
    return _log_special(x, e + (f + _log_rest(f)) * LOG2_E)


def log10(x: Value) -> Value:
    e, f = _log_parts(x)
    return _log_special(x, e * LOG10_2[0] + ((f + _log_rest(f)) * (1 / math.log(10)) + e * LOG10_2[1]))


def log1p(x: Value) -> Value:
    u = 1.0 + x
    # what rounding took from 1 + x, as a part of u
    lost = (x < 1.0).select(x - (u - 1.0), 1.0 - (u - x))
    result = _log_special(u, _log(u) + lost / u)
    return (absolute(x) < 2.0**-25).select(x, result)


def sinh(x: Value) -> Value:
    size = absolute(x)
    square = x * x
    small = x + x * square * polynomial(square, *SINH)
    half = _exp_scaled(size, -1)
    large = copy_sign(half - 0.25 / half, x)
    return is_nan(x).select(x, (size < 1.0).select(is_zero(x).select(x, small), large))


def cosh(x: Value) -> Value:
    half = _exp_scaled(absolute(x), -1)
    return is_nan(x).select(x, half + 0.25 / half)


def tanh(x: Value) -> Value:
    size = absolute(x)
    square = x * x
    small = x + x * square * polynomial(square, *TANH)
    large = copy_sign(1.0 - 2.0 / (_exp_scaled(clamp(size, 0.0, 20.0) * 2.0, 0) + 1.0), x)
    return is_nan(x).select(x, (size < 0.625).select(is_zero(x).select(x, small), large))


def sigmoid(x: Value) -> Value:
    e = _exp_scaled(copy_sign(x, x.like(-1.0)), 0)
    return is_nan(x).select(x, is_negative(x).select(e, 1.0) / (1.0 + e))


def erf(x: Value) -> Value:
    size = absolute(x)
    square = x * x
    small = x + x * polynomial(square, *ERF)
    # There the second term might be flushed although the first is not.
    small = (size < 2.0**-60).select(x * (1.0 + ERF[0]), small)
    bounded = clamp(size, 0.0, 3.95)
    large = copy_sign(1.0 - _exp_scaled(0.0 - polynomial(bounded, *ERFC_LOG), 0), x)
    return is_nan(x).select(x, (size < 1.0).select(small, large))


def _split(x: Value) -> tuple[Value, Value]:
    """``x`` as a part with 12 significant bits and the rest, also of 12."""
    high = (x.bitcast(x.m.u32) & SPLIT).bitcast(x.type)
    return high, x - high


def _log2_double(x: Value) -> tuple[Value, Value]:
    """log2 of a positive number as an unevaluated sum, good to about 2**-32 of itself.

    From log2((1 + s) / (1 - s)) with s = f / (2 + f), in double-float steps: T. J. Dekker, "A floating-point
    technique for extending the available precision", Numerische Mathematik 18, 1971. An inexact division
    costs nothing: its rest is computed.
    """
    e, f = _log_parts(x)
    below = f + 2.0
    below_rest = f - (below - 2.0)
    s = f / below
    s_high, _ = _split(s)
    d_high, d_low = _split(below)
    s_low = ((f - s_high * d_high) - s_high * (d_low + below_rest)) / below
    s = s_high + s_low
    square = s * s
    high = s_high * TWO_LOG2_E[0]
    low = s_high * TWO_LOG2_E[1] + s_low * sum(TWO_LOG2_E) + s * square * polynomial(square, *LOG2_TAIL)
    total = e + high
    low = (high - (total - e)) + low
    result = total + low
    return result, low - (result - total)


def _pow_positive(x: Value, y: Value) -> Value:
    """``x ** y`` of finite positive x and finite y: 2 ** (y log2 x), the product in double-float steps."""
    log_high, log_low = _log2_double(x)
    first, second = _split(log_high)
    y_high, y_low = _split(y)
    high = y_high * first
    low = y * (second + log_low) + y_low * first
    total = high + low
    n = clamp(total, -160.0, 160.0).ext(Ext.RoundEven)
    r = clamp((high - n) + low, -1.0, 1.0)
    result = scale(1.0 + r * polynomial(r, *EXP2), n.convert(x.m.i32))
    return (total > 129.0).select(INF, (total < -151.0).select(0.0, result))


def power(x: Value, y: Value) -> Value:
    """C's ``pow``: its rules for zeros, infinities, NaN and negative bases (ISO C, annex F.10.4.4)."""
    m = x.m
    size = absolute(x)
    bounded = clamp(y, -(2.0**100), 2.0**100)  # as good as infinite, and the steps stay numbers
    result = _pow_positive(size, bounded)
    extreme = is_zero(x) | head(size).equals(0x7F800000)
    result = extreme.select((is_zero(x) ^ is_negative(y)).select(x.like(0.0), INF), result)
    small = absolute(y) < 2.0**24  # from there on every number is an even integer
    whole = small.select(y, 0.0).convert(m.i32)
    integral = ~small | whole.convert(m.f32).equals(y)
    odd = small & integral & (whole & 1).differs(0)
    result = (odd & is_negative(x)).select(negative(result), result)
    result = (is_negative(x) & ~integral & ~extreme).select(NAN, result)
    result = (is_nan(x) | is_nan(y)).select(NAN, result)
    return (is_zero(y) | x.equals(1.0)).select(1.0, result)
