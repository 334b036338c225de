"""Division by numbers that are known when a dispatch is prepared: a multiplication and a shift, where dividing would take far longer.

Granlund and Montgomery, *Division by Invariant Integers using Multiplication* (1994), theorem 4.2.
"""

from __future__ import annotations


def division(divisor: int) -> tuple[int, int, int]:
    """``divisor``, multiplier and shift: ``n // divisor == n * multiplier >> 32 >> shift`` for n below 2**31 and divisors above 1."""
    if divisor <= 1:
        return 1, 0, 0
    length = (divisor - 1).bit_length()
    return divisor, (1 << (31 + length)) // divisor + 1, length - 1


def quotient_numbers(divisor: int) -> tuple[int, int, int]:
    """What the opcode ``quotient`` takes besides the number, as int32: see `division`."""
    divisor, multiplier, shift = division(divisor)
    return divisor, multiplier - (1 << 32) if multiplier >= 1 << 31 else multiplier, shift
