"""The instruction set of elementwise programs: what drivers must be able to compute for one element.

Every opcode computes one value from values of the same element. ``takes`` says which dtypes the operands may have
(``f`` floating, ``i`` integer, ``b`` boolean); all operands share one dtype, except the condition of ``where`` and the index of ``lookup``.
``gives`` is the result: ``same`` as the operands, or ``bool``, or a dtype's name. The host driver computes opcodes with
NumPy (`runtime/host/functions.py`), the Vulkan driver emits SPIR-V (`runtime/vulkan/functions.py`).

Meanings where IEEE or PyTorch leave a choice: ``maximum`` and ``minimum`` give NaN when either operand is NaN; ``relu``
keeps NaN; ``round`` goes to even; ``sign`` of NaN is NaN for floats as NumPy (0 in PyTorch: its operation handles it);
``floor_divide`` and ``remainder`` follow Python (the remainder has the divisor's sign), ``fmod`` follows C; integer
division by zero gives 0 on every driver, never a trap; ``pow`` of integers wraps, negative exponents give 0 (1 and -1
apart); shifts by more than the width give 0 (or -1 for a negative ``>>``); ``cast`` to an integer truncates, of values
outside its range is unspecified but harmless; ``cast`` to bool is ``x != 0`` (NaN is true).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Opcode:
    name: str
    arity: int
    takes: str
    gives: str


def _table(*rows: tuple[str, int, str, str]) -> dict[str, Opcode]:
    return {row[0]: Opcode(*row) for row in rows}


OPCODES: Final = _table(
    # arithmetic
    ("add", 2, "fi", "same"), ("sub", 2, "fi", "same"), ("mul", 2, "fi", "same"), ("div", 2, "f", "same"),
    ("floor_divide", 2, "fi", "same"), ("remainder", 2, "fi", "same"), ("fmod", 2, "fi", "same"),
    ("pow", 2, "fi", "same"), ("maximum", 2, "fib", "same"), ("minimum", 2, "fib", "same"), ("atan2", 2, "f", "same"),
    ("neg", 1, "fi", "same"), ("abs", 1, "fi", "same"), ("sign", 1, "fi", "same"), ("relu", 1, "fi", "same"),
    # floating-point functions
    ("sqrt", 1, "f", "same"), ("rsqrt", 1, "f", "same"), ("reciprocal", 1, "f", "same"),
    ("exp", 1, "f", "same"), ("exp2", 1, "f", "same"), ("expm1", 1, "f", "same"),
    ("log", 1, "f", "same"), ("log2", 1, "f", "same"), ("log10", 1, "f", "same"), ("log1p", 1, "f", "same"),
    ("sin", 1, "f", "same"), ("cos", 1, "f", "same"), ("tan", 1, "f", "same"),
    ("asin", 1, "f", "same"), ("acos", 1, "f", "same"), ("atan", 1, "f", "same"),
    ("sinh", 1, "f", "same"), ("cosh", 1, "f", "same"), ("tanh", 1, "f", "same"),
    ("sigmoid", 1, "f", "same"), ("erf", 1, "f", "same"),
    ("floor", 1, "f", "same"), ("ceil", 1, "f", "same"), ("round", 1, "f", "same"), ("trunc", 1, "f", "same"),
    # comparison and logic
    ("eq", 2, "fib", "bool"), ("ne", 2, "fib", "bool"), ("lt", 2, "fib", "bool"), ("le", 2, "fib", "bool"),
    ("gt", 2, "fib", "bool"), ("ge", 2, "fib", "bool"),
    ("isnan", 1, "f", "bool"), ("isinf", 1, "f", "bool"), ("isfinite", 1, "f", "bool"),
    ("logical_and", 2, "b", "bool"), ("logical_or", 2, "b", "bool"), ("logical_xor", 2, "b", "bool"),
    ("logical_not", 1, "b", "bool"),
    ("bitwise_and", 2, "i", "same"), ("bitwise_or", 2, "i", "same"), ("bitwise_xor", 2, "i", "same"),
    ("bitwise_not", 1, "i", "same"), ("shift_left", 2, "i", "same"), ("shift_right", 2, "i", "same"),
    ("where", 3, "fib", "same"),  # condition (bool), yes, no
    # moving and making
    ("copy", 1, "fib", "same"),
    ("cast", 1, "fib", "any"),  # the result's dtype is the instruction's
    ("index", 0, "", "int32"),  # the row-major number of the element in the command's shape
    # number // divisor of numbers from 0 on, by a divisor that is the same everywhere: number, divisor, and the two numbers that
    # `runtime.division.quotient_numbers` makes of it.
    ("quotient", 4, "i", "int32"),
    # Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): word (index & 3) of the
    # block whose counter is (index >> 2, offset, 0, 0) under the key (seed_low, seed_high), as the bits of an int32.
    ("philox", 4, "i", "int32"),  # index, offset, seed_low, seed_high
    ("unit_uniform", 1, "i", "float32"),  # bits of an int32 -> [0, 1): the upper 24 bits times 2**-24
    # index, table: the element number ``index`` (int32, counted from where the operand's walk is at this element) of an input that
    # is read nowhere else in the program; the index is right, because it was checked. Such an input is a *table*: any piece of its
    # memory may be read. Its walk (`CommandSpec.walks`) stays at its first element unless the command says otherwise.
    ("lookup", 2, "fib", "same"),
    # index, bound, tag. A positive bound n allows -n <= index < n, where negative ones count from the end; a negative
    # bound -n allows 0 <= index < n only. Gives the index from the front, or 0 and a note (tag, index, bound) in the
    # stream's error words, from which the next sync point raises IndexError.
    ("check_index", 3, "i", "int32"),
)  # fmt: skip
