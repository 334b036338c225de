"""Division by numbers that are known when a dispatch is prepared: a multiplication and a shift, where dividing would take far longer.

`runtime.division` has the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from .spirv import Module, Op

WORDS = 3  # parameters per divisor


def divided(m: Module, number: int, words: Sequence[int]) -> tuple[int, int]:
    """Quotient and remainder of a u32 below 2**31; ``words`` are the parameters that `runtime.division.division` made."""
    divisor, multiplier, shift = words
    high = m.op(Op.ShiftRightLogical, m.u32, m.wide_mul(number, multiplier)[1], shift)
    quotient = m.select(m.op(Op.IEqual, m.bool, divisor, m.u(1)), number, high)
    return quotient, m.op(Op.ISub, m.u32, number, m.mul(quotient, divisor))
