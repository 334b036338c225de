"""Every opcode of `runtime/opcodes.py` in NumPy, one callable per opcode and dtypes.

A **register** is an array in the form values are computed in: as stored, except float16 and bfloat16, which
are computed in float32 (`load` and `store` convert, `narrow` rounds in place). A callable takes the operands'
registers (arrays, 0-d arrays or NumPy scalars that broadcast) and, last, the register that gets the result;
it may be one of the operands. Many are NumPy's ufuncs themselves, so a call costs no Python besides.

The callables do not guard against floating-point warnings: overflow, division by zero and NaN are results
here, and ``np.errstate`` costs more than a small block. **The caller turns them off:** the driver does for each of its
threads once, and for the program's threads in a context that those compute in.

Constants in here are typed NumPy scalars.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import dtype as dtypes
from ..dtype import DType, bfloat16_bits
from ..errors import DTypeError
from ..opcodes import OPCODES
from .calls import Call, execute
from .choosing import Take, extreme, relu, where
from .erf import erf
from .philox import philox

Array = NDArray[Any]
Function = Callable[..., None]

_BY_CALLER: Final = frozenset({"index", "check_index", "lookup"})
_INT32_ONLY: Final = frozenset({"philox", "quotient", "unit_uniform"})
_CATEGORY_LETTERS: Final = "bif"


@cache
def function(opcode: str, operands: DType, result: DType) -> Function:
    """What computes ``opcode`` of registers of ``operands`` into a register of ``result``.

    The condition of ``where`` is bool whatever ``operands`` is. Raises `DTypeError` for dtypes the opcode
    does not take or give, and ``KeyError`` for a name that is no opcode, or that the caller makes itself
    (``index``, ``check_index``, ``lookup``).
    """
    spec = OPCODES[opcode]
    if opcode in _BY_CALLER:
        raise KeyError(f"{opcode} needs to know where in the command's shape or memory it is: the caller makes it")
    if opcode in _INT32_ONLY and operands is not dtypes.int32:
        raise DTypeError(f"{opcode} works on int32, not {operands.name}")
    gives = {"same": operands.name, "any": result.name}.get(spec.gives, spec.gives)
    if _CATEGORY_LETTERS[operands.category] not in spec.takes or result.name != gives:
        raise DTypeError(f"{opcode} does not compute {result.name} of {operands.name}")
    if opcode == "cast":
        return _cast(result)
    if opcode == "pow" and operands.category == 1:
        return _pow_unsigned if operands is dtypes.uint8 else _pow_signed
    if opcode in _CHOOSING:
        return partial(_at_once, opcode)
    made = _MADE_FOR_DTYPE.get(opcode)
    return made(register_dtype(operands)) if made else _PLAIN[opcode]


# registers


def register_dtype(dtype: DType) -> np.dtype[Any]:
    """The NumPy dtype of registers of ``dtype``."""
    return np.dtype(np.float32) if dtype in (dtypes.float16, dtypes.bfloat16) else dtype.numpy


def load(dtype: DType, stored: Array) -> Array:
    """Stored values of any shape and strides as a register: the array itself where the forms are the same."""
    if dtype is dtypes.float16:
        return stored.astype(np.float32)
    if dtype is dtypes.bfloat16:
        wide = stored.astype(np.uint32)
        np.left_shift(wide, np.uint32(16), out=wide)
        return wide.view(np.float32)
    return stored


def load_into(dtype: DType, stored: Array, register: Array) -> None:
    """As `load`, into a contiguous register that exists."""
    if dtype is dtypes.bfloat16:
        bits = register.view(np.uint32)
        np.copyto(bits, stored)
        np.left_shift(bits, np.uint32(16), out=bits)
    else:
        np.copyto(register, stored)


def store(dtype: DType, register: Array, stored: Array) -> None:
    """Write a register (it broadcasts) into ``stored``, an array of ``dtype.numpy``; ties round to even."""
    if dtype is dtypes.bfloat16:
        np.copyto(stored, bfloat16_bits(register))
    else:
        np.copyto(stored, register, casting="same_kind")


def narrow(dtype: DType, register: Array) -> None:
    """Round a register, in place, to the values ``dtype`` can hold; nothing to do for most."""
    if dtype is dtypes.float16:
        np.copyto(register, register.astype(np.float16))
    elif dtype is dtypes.bfloat16:
        np.copyto(register, load(dtype, bfloat16_bits(register)))


# moving and choosing


def _copy(x: Array, out: Array) -> None:
    np.copyto(out, x)


def _convert(x: Array, out: Array) -> None:
    np.copyto(out, x, casting="unsafe")  # truncates floats for integers, and is != 0 for bool


def _cast(result: DType) -> Function:
    if register_dtype(result) == result.numpy:
        return _convert

    def convert_and_round(x: Array, out: Array) -> None:
        np.copyto(out, x, casting="unsafe")
        narrow(result, out)

    return convert_and_round


def choosing(opcode: str, arguments: Sequence[Array], out: Array, take: Take) -> list[Call] | None:
    """What computes an opcode that chooses, bound to its arguments and to memory from ``take``; None for other opcodes."""
    if opcode == "where":
        condition, yes, no = arguments
        return where(condition, yes, no, out, take)
    if opcode == "relu":
        return relu(arguments[0], out)
    ufunc = _EXTREMES.get(opcode)
    return extreme(ufunc, arguments[0], arguments[1], out, take) if ufunc is not None else None


_EXTREMES: Final = {"maximum": np.maximum, "minimum": np.minimum}
_CHOOSING: Final = frozenset({"where", "relu", *_EXTREMES})


def _at_once(opcode: str, *arguments: Array) -> None:
    *operands, out = arguments
    execute(choosing(opcode, [np.asarray(x) for x in operands], out, lambda dtype, shape: np.empty(shape, dtype)) or [])


# floating-point functions


def _alike(ufunc: np.ufunc) -> Function:
    """``ufunc``, whose values do not depend on how its operands lie.

    On processors with wide vectors NumPy has two codes for many functions, one for long contiguous arrays and one for
    all others, and their last bits differ. A value here is the same whatever it was computed with: so only the former
    is ever used, on copies where that is needed.
    """

    def compute(*operands: Array) -> None:
        out = operands[-1]
        if out.size >= 2 and all(x.flags.c_contiguous and x.shape == out.shape for x in operands):
            ufunc(*operands)
            return
        copies = []
        for x in operands:
            copies.append(np.ones(max(out.size, 2), x.dtype))
            copies[-1][: out.size] = np.broadcast_to(x, out.shape).ravel()
        ufunc(*copies)
        out[...] = copies[-1][: out.size].reshape(out.shape)

    return compute


def _rsqrt(x: Array, out: Array) -> None:
    np.sqrt(x, out)
    np.reciprocal(out, out)


def _sigmoid(dtype: np.dtype[Any]) -> Function:
    one = dtype.type(1)
    exp = _alike(np.exp)

    def sigmoid(x: Array, out: Array) -> None:
        # exp overflows to infinity for very negative x, of which the reciprocal is the 0 wanted.
        np.negative(x, out)
        exp(out, out)
        np.add(out, one, out)
        np.reciprocal(out, out)

    return sigmoid


# integers


def _pow_unsigned(base: Array, exponent: Array, out: Array) -> None:
    np.power(base, exponent, out)


def _pow_signed(base: Array, exponent: Array, out: Array) -> None:
    negative = np.less(exponent, exponent.dtype.type(0))
    if negative.any():
        # NumPy refuses negative exponents. 1 and -1 keep the exponent's parity, everything else becomes 0 **
        # 2 or 3.
        kind = exponent.dtype.type
        unit = (base == kind(1)) | (base == kind(-1))
        base = np.where(negative & ~unit, kind(0), base)
        exponent = np.where(negative, (exponent & kind(1)) + kind(2), exponent)
    np.power(base, exponent, out)


# random numbers


def _unit_uniform(bits: Array, out: Array) -> None:
    upper = np.asarray(bits, np.int32).view(np.uint32) >> np.uint32(8)
    # Below 2**24 the conversion is exact, and from signed integers it is faster.
    np.copyto(out, upper.view(np.int32), casting="same_kind")
    np.multiply(out, np.float32(2.0**-24), out)


_MADE_FOR_DTYPE: Final[dict[str, Callable[[np.dtype[Any]], Function]]] = {
    "sigmoid": _sigmoid,
    "erf": erf,
}

# Integer division by zero gives 0, the most negative number by -1 wraps, and shifts past the width give 0 or
# -1 in NumPy itself; comparing and ``maximum`` see NaN as `runtime/opcodes.py` asks.
_PLAIN: Final[dict[str, Function]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "floor_divide": np.floor_divide,
    "remainder": np.remainder,
    "fmod": np.fmod,
    "pow": _alike(np.power),
    "atan2": _alike(np.arctan2),
    "neg": np.negative,
    "abs": np.absolute,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "rsqrt": _rsqrt,
    "reciprocal": np.reciprocal,
    "exp": _alike(np.exp),
    "exp2": _alike(np.exp2),
    "expm1": _alike(np.expm1),
    "log": _alike(np.log),
    "log2": _alike(np.log2),
    "log10": _alike(np.log10),
    "log1p": _alike(np.log1p),
    "sin": _alike(np.sin),
    "cos": _alike(np.cos),
    "tan": _alike(np.tan),
    "asin": _alike(np.arcsin),
    "acos": _alike(np.arccos),
    "atan": _alike(np.arctan),
    "sinh": _alike(np.sinh),
    "cosh": _alike(np.cosh),
    "tanh": _alike(np.tanh),
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "logical_not": np.logical_not,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "bitwise_not": np.invert,
    "shift_left": np.left_shift,
    "shift_right": np.right_shift,
    "copy": _copy,
    "philox": philox,
    "quotient": lambda number, divisor, multiplier, shift, out: np.floor_divide(number, divisor, out=out),
    "unit_uniform": _unit_uniform,
}
