"""Element types, and PyTorch's promotion rules without NumPy."""

from __future__ import annotations

from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from .errors import DTypeError


class DType:
    """An element type. There is exactly one object per type: compare with ``is``.

    ``numpy`` is the NumPy type that holds its bytes; bfloat16 has none of its own and is kept as the upper half
    of a float32, in uint16.
    """

    __slots__ = ("category", "code", "is_floating_point", "itemsize", "name", "numpy")

    def __init__(self, name: str, code: int, itemsize: int, category: int, numpy: str) -> None:
        self.name: Final = name
        self.code: Final = code
        self.itemsize: Final = itemsize
        self.category: Final = category  # 0 boolean, 1 integer, 2 floating point
        self.numpy: Final = np.dtype(numpy)
        self.is_floating_point: Final = category == 2

    def __repr__(self) -> str:
        return f"rasptorch.{self.name}"

    def __reduce__(self) -> str:
        return "bool_" if self.name == "bool" else self.name  # pickles by name, so identity survives

    @property
    def is_signed(self) -> bool:
        return self.name not in ("bool", "uint8")


bool_ = DType("bool", 0, 1, 0, "bool")
uint8 = DType("uint8", 1, 1, 1, "uint8")
int32 = DType("int32", 2, 4, 1, "int32")
int64 = DType("int64", 3, 8, 1, "int64")
float16 = DType("float16", 4, 2, 2, "float16")
bfloat16 = DType("bfloat16", 5, 2, 2, "uint16")
float32 = DType("float32", 6, 4, 2, "float32")
float64 = DType("float64", 7, 8, 2, "float64")

ALL: Final = (bool_, uint8, int32, int64, float16, bfloat16, float32, float64)
BY_NAME: Final = {d.name: d for d in ALL}
_FROM_NUMPY: Final = {d.numpy: d for d in ALL if d is not bfloat16}


def wrapped(value: float, dtype: DType) -> int:
    """A whole number as what is left of it in ``dtype``, an integer type: modulo a power of two, as its arithmetic is."""
    span = 1 << (8 * dtype.itemsize)
    low = span >> 1 if dtype.is_signed else 0
    return (int(value) + low) % span - low


def fits(value: float, dtype: DType) -> bool:
    """Whether a whole number is one of ``dtype``; of unsigned types also the negative of one, which counts from the end."""
    if dtype.category != 1 or value != value or value in (float("inf"), -float("inf")):
        return dtype.category != 1
    most = (1 << (8 * dtype.itemsize - dtype.is_signed)) - 1
    return -most - dtype.is_signed <= int(value) <= most


def from_numpy(dtype: np.dtype) -> DType:
    """The type for a NumPy dtype; `DTypeError` names the ones there are."""
    found = _FROM_NUMPY.get(dtype.newbyteorder("=") if dtype.kind in "iufb" else dtype)
    if found is None:
        names = ", ".join(d.name for d in ALL)
        raise DTypeError(f"arrays of {dtype} cannot become a tensor; convert to one of: {names}")
    return found


def as_dtype(value: object) -> DType:
    """Accept a `DType`, a name, a NumPy dtype, or Python's bool, int and float."""
    if isinstance(value, DType):
        return value
    if value is float:
        return float32
    if value is int:
        return int64
    if isinstance(value, str) and value in BY_NAME:
        return BY_NAME[value]
    try:
        return from_numpy(np.dtype(cast(Any, value)))
    except TypeError:
        raise DTypeError(f"{value!r} is not a dtype; use one of: {', '.join(BY_NAME)}") from None


def promote(a: DType, b: DType) -> DType:
    """The type two operands of equal standing compute in, as ``torch.promote_types``."""
    if a is b:
        return a
    if a.category != b.category:
        return a if a.category > b.category else b
    if a.category == 2 and {a, b} == {float16, bfloat16}:
        return float32
    return a if a.code > b.code else b


def of_scalar(value: bool | int | float) -> DType:
    """The type a Python number has by itself: bool, int64 or float32."""
    if isinstance(value, bool):
        return bool_
    return int64 if isinstance(value, int) else float32


def promote_scalar(a: DType, value: bool | int | float) -> DType:
    """A tensor's type together with a Python number: the number only counts if its category is higher."""
    other = of_scalar(value)
    return other if other.category > a.category else a


def bfloat16_bits(register: NDArray[Any]) -> NDArray[np.uint16]:
    """The upper halves of float32 bits after rounding to nearest, ties to even."""
    bits: NDArray[np.uint32] = np.asarray(register).view(np.uint32)
    rounded = np.right_shift(bits, np.uint32(16), out=np.empty(bits.shape, np.uint32))
    np.bitwise_and(rounded, np.uint32(1), out=rounded)
    np.add(rounded, np.uint32(0x7FFF), out=rounded)
    np.add(rounded, bits, out=rounded)
    np.right_shift(rounded, np.uint32(16), out=rounded)
    nan = np.isnan(register)
    if nan.any():
        # The sum carries out of a NaN's fraction, and cutting may leave infinity: set the quiet bit instead.
        np.copyto(rounded, (bits >> np.uint32(16)) | np.uint32(0x0040), where=nan)
    return rounded.astype(np.uint16)
