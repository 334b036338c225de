"""SPIR-V for every opcode of elementwise programs.

Register forms: bool is SPIR-V's bool; float32, float16 and bfloat16 are f32, and the two small ones always
hold a value that their 16 bits can represent (`emit` rounds); float64 is f64; int32 is i32; uint8 is i32
within 0..255; int64 is i64. No 8-bit or 16-bit capability is needed, and 64-bit ones only for operands or
results of these dtypes.

float64 has arithmetic, square roots, rounding, comparisons and casts; `DTypeError` for its transcendental
functions. Where a device flushes denormal numbers, results and comparisons of such numbers are those of
zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..dtype import DType, bfloat16, bool_, float16, float64, int64, uint8
from ..errors import DTypeError
from ..opcodes import OPCODES
from . import elementary, floats, integers, trigonometry
from .spirv import Ext, Module, Op
from .values import Value

Emitter = Callable[..., Value]

_ANY_REAL: Final[dict[str, Emitter]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "floor_divide": floats.floor_divide,
    "remainder": floats.remainder,
    "fmod": floats.fmod,
    "maximum": floats.maximum,
    "minimum": floats.minimum,
    "neg": floats.negative,
    "abs": floats.absolute,
    "sign": floats.sign,
    "relu": floats.relu,
    "sqrt": floats.square_root,
    "rsqrt": floats.reciprocal_square_root,
    "reciprocal": lambda x: 1.0 / x,
    "floor": floats.floor,
    "ceil": floats.ceil,
    "round": floats.round_even,
    "trunc": floats.trunc,
    "isnan": floats.is_nan,
    "isinf": floats.is_inf,
    "isfinite": floats.is_finite,
}
_FLOAT32_ONLY: Final[dict[str, Emitter]] = {
    "pow": elementary.power,
    "exp": elementary.exp,
    "exp2": elementary.exp2,
    "expm1": elementary.expm1,
    "log": elementary.log,
    "log2": elementary.log2,
    "log10": elementary.log10,
    "log1p": elementary.log1p,
    "sinh": elementary.sinh,
    "cosh": elementary.cosh,
    "tanh": elementary.tanh,
    "sigmoid": elementary.sigmoid,
    "erf": elementary.erf,
    "sin": trigonometry.sin,
    "cos": trigonometry.cos,
    "tan": trigonometry.tan,
    "asin": trigonometry.asin,
    "acos": trigonometry.acos,
    "atan": trigonometry.atan,
    "atan2": trigonometry.atan2,
}
_INTEGER: Final[dict[str, Emitter]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floor_divide": integers.floor_divide,
    "remainder": integers.remainder,
    "fmod": integers.fmod,
    "pow": integers.power,
    "maximum": integers.maximum,
    "minimum": integers.minimum,
    "neg": lambda x: x.like(0) - x,
    "abs": integers.absolute,
    "sign": integers.sign,
    "relu": integers.relu,
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "bitwise_xor": lambda a, b: a ^ b,
    "bitwise_not": lambda x: ~x,
    "shift_left": integers.shift_left,
    "shift_right": integers.shift_right,
    "philox": integers.philox,
    "quotient": integers.quotient,
    "unit_uniform": integers.unit_uniform,
}
_COMPARISONS: Final[dict[str, Emitter]] = {
    "eq": lambda a, b: a.equals(b),
    "ne": lambda a, b: a.differs(b),
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
_BOOLEAN: Final[dict[str, Emitter]] = {
    "maximum": lambda a, b: a | b,
    "minimum": lambda a, b: a & b,
    "eq": lambda a, b: a.equals(b),
    "ne": lambda a, b: a.differs(b),
    "lt": lambda a, b: ~a & b,
    "le": lambda a, b: ~a | b,
    "gt": lambda a, b: a & ~b,
    "ge": lambda a, b: a | ~b,
    "logical_and": lambda a, b: a & b,
    "logical_or": lambda a, b: a | b,
    "logical_xor": lambda a, b: a ^ b,
    "logical_not": lambda x: ~x,
}
_BY_CATEGORY: Final = (
    _BOOLEAN,
    _INTEGER | _COMPARISONS,
    _ANY_REAL | _FLOAT32_ONLY | _COMPARISONS,
)
# Results that float16 and bfloat16 can hold as they are: operands, their negatives, integers near them.
_STAYS_16: Final = frozenset({
    "maximum", "minimum", "neg", "abs", "sign", "relu", "floor", "ceil", "round", "trunc",
})  # fmt: skip
_STAYS_BYTE: Final = frozenset({
    "floor_divide", "remainder", "fmod", "maximum", "minimum", "abs", "sign", "relu", "bitwise_and",
    "bitwise_or", "bitwise_xor", "shift_right",
})  # fmt: skip


def register_type(m: Module, dtype: DType) -> int:
    """The SPIR-V type of a dtype's register form."""
    if dtype is bool_:
        return m.bool
    if dtype.is_floating_point:
        return m.f64 if dtype is float64 else m.f32
    return m.i64 if dtype is int64 else m.i32


def round_to(m: Module, dtype: DType, value: int) -> int:
    """An f32 rounded to what float16 or bfloat16 can hold, to nearest even; NaN, infinities and zeros stay.

    Too large numbers become infinite, numbers between the denormal ones of the dtype are rounded to those. Of
    other dtypes the value itself.
    """
    if dtype is float16:
        return floats.round_to_half(Value(m, value)).id
    if dtype is bfloat16:
        return floats.round_to_bfloat16(Value(m, value)).id
    return value


def pack_16(m: Module, dtype: DType, value: int) -> int:
    """The 16 bits of a float16 or bfloat16 in register form, in the lower half of an u32."""
    x = Value(m, value)
    if dtype is bfloat16:
        return (x.bitcast(m.u32) >> 16).id
    if dtype is not float16:
        raise DTypeError(f"{dtype.name} has no 16-bit form")
    pair = m.op(Op.CompositeConstruct, m.vector(m.f32, 2), value, m.f(0.0))
    packed = Value(m, m.ext(Ext.PackHalf2x16, m.u32, pair))
    infinity = (floats.head(x) >> 16 & 0x8000) | 0x7C00  # which SwiftShader would make NaN
    return (floats.is_inf(x).select(infinity, packed) & 0xFFFF).id  # NaN may have bits above, too


def unpack_16(m: Module, dtype: DType, word: int) -> int:
    """The register form of a float16 or bfloat16 from the lower half of an u32; the upper half does not
    matter.
    """
    if dtype is bfloat16:
        return (Value(m, word) << 16).bitcast(m.f32).id
    if dtype is not float16:
        raise DTypeError(f"{dtype.name} has no 16-bit form")
    return m.op(Op.CompositeExtract, m.f32, m.ext(Ext.UnpackHalf2x16, m.vector(m.f32, 2), word), 0)


def supported(opcode: str, operands: DType, *, int64: bool, float64: bool) -> bool:
    """Whether a device can run an opcode on operands of a dtype; the flags tell which 64-bit types it has.

    The result's dtype of a ``cast`` must be asked for by itself, as that of a ``copy``.
    """
    entry = OPCODES[opcode]
    if entry.arity and "bif"[operands.category] not in entry.takes:
        return False
    if operands.name == "float64":
        return float64 and opcode not in _FLOAT32_ONLY
    if opcode in ("philox", "quotient", "unit_uniform", "check_index"):
        return operands.name == "int32"
    return int64 or operands.name != "int64"


def emit(m: Module, opcode: str, operands: DType, result: DType, args: tuple[int, ...]) -> int:
    """Append the instructions of one opcode and give the id of its result; ids are in register form.

    ``operands`` is the dtype the operands share: of ``where``, that of its last two; of ``cast``, the
    source's. ``index`` takes the number of the element, u32 or i32, as its one argument. `DTypeError` where
    the opcode does not take the dtype, or not on this driver.
    """
    if opcode == "check_index" or not supported(opcode, operands, int64=True, float64=True):
        raise DTypeError(f"the vulkan driver has no {opcode} of {operands.name}")
    values = tuple(Value(m, arg) for arg in args)
    if opcode == "copy":
        return args[0]
    if opcode == "index":
        return values[0].bitcast(m.i32).id
    if opcode == "where":
        return values[0].select(values[1], values[2]).id
    if opcode == "cast":
        return cast(values[0], operands, result).id
    computed = _BY_CATEGORY[operands.category][opcode](*values)
    if result is uint8 and opcode not in _STAYS_BYTE:
        computed = computed & 255
    if opcode in _STAYS_16:
        return computed.id
    return round_to(m, result, computed.id)


def cast(x: Value, source: DType, target: DType) -> Value:
    """From one dtype's register form to another's. To float16 and bfloat16 by way of float32."""
    m = x.m
    to = register_type(m, target)
    if source is target:
        return x
    if target is bool_:
        return ~floats.is_zero(x) if x.kind == "f" else x.differs(0)
    if source is bool_:
        one, zero = m.const(to, 1), m.const(to, 0)
        return Value(m, m.op(Op.Select, to, x.id, one, zero))
    converted = x.convert(to)
    if target is uint8:
        return converted & 255
    return converted if source is uint8 else Value(m, round_to(m, target, converted.id))
