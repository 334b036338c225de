"""Questions about dtypes, tensors and what comes out of mixing them; nothing is computed."""

from __future__ import annotations

from typing import Any

from ..runtime import dtype as dt
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError, RasptorchError
from ..tensor import Tensor
from .dispatch import result_dtype

# Bits of the fraction, and of the exponent.
_FORMS = {"float16": (10, 5), "bfloat16": (7, 8), "float32": (23, 8), "float64": (52, 11)}
_DIGITS = {"float16": 3, "bfloat16": 2, "float32": 6, "float64": 15}


class finfo:
    """What a floating-point dtype can hold (float32 unless given): ``bits eps max min tiny smallest_normal resolution dtype``."""

    def __init__(self, type: Any = dt.float32) -> None:
        dtype = dt.as_dtype(type)
        if not dtype.is_floating_point:
            raise DTypeError(f"finfo is for floating-point dtypes, not {dtype.name}; use iinfo")
        fraction, exponent = _FORMS[dtype.name]
        bias = (1 << (exponent - 1)) - 1
        self.dtype = dtype.name
        self.bits = dtype.itemsize * 8
        self.eps = 2.0**-fraction
        self.max = (2.0 - 2.0**-fraction) * 2.0**bias
        self.min = -self.max
        self.tiny = self.smallest_normal = 2.0 ** (1 - bias)
        self.resolution = float(f"1e-{_DIGITS[dtype.name]}")

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """What an integer dtype can hold: ``bits min max dtype``."""

    def __init__(self, type: Any) -> None:
        dtype = dt.as_dtype(type)
        if dtype.category != 1:
            raise DTypeError(f"iinfo is for integers, not {dtype.name}" + ("; use finfo" if dtype.is_floating_point else ""))
        self.dtype = dtype.name
        self.bits = dtype.itemsize * 8
        self.min = -(1 << (self.bits - 1)) if dtype.is_signed else 0
        self.max = (1 << (self.bits - dtype.is_signed)) - 1

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


def promote_types(type1: Any, type2: Any) -> DType:
    """The smallest dtype that both go into without another kind of number."""
    return dt.promote(dt.as_dtype(type1), dt.as_dtype(type2))


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype in which two operands, tensors or numbers, meet."""
    operands = [x.layout if isinstance(x, Tensor) else x for x in (tensor1, tensor2)]
    for x in operands:
        if isinstance(x, DType) or (not isinstance(x, (bool, int, float)) and not hasattr(x, "strides")):
            raise TypeError(f"result_type takes tensors and numbers, got {x!r}; for dtypes see promote_types")
    return result_dtype(operands)


def can_cast(from_: Any, to: Any) -> bool:
    """Whether numbers of one dtype may be written into tensors of another: not of another kind that holds less."""
    source, target = dt.as_dtype(from_), dt.as_dtype(to)
    return source.category <= target.category


def is_tensor(obj: Any) -> bool:
    """Whether ``obj`` is a tensor of this library."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether the tensor's dtype is a floating-point one."""
    return input.dtype.is_floating_point


def is_complex(input: Tensor) -> bool:
    """False: there are no complex dtypes."""
    return False


def is_signed(input: Tensor) -> bool:
    """Whether the tensor's dtype has negative numbers."""
    return input.dtype.is_signed


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.layout.numel


def nbytes(input: Tensor) -> int:
    """The bytes of its elements."""
    return input.layout.nbytes


def ndimension(input: Tensor) -> int:
    """The number of dimensions."""
    return len(input.layout.shape)


def storage_offset(input: Tensor) -> int:
    """Where in its storage the tensor begins, in elements."""
    return input.offset


def data_ptr(input: Tensor) -> int:
    """Refused: memory is handed out when commands run, so a tensor has no address that could be kept."""
    raise RasptorchError("data_ptr: a tensor has no address before its commands ran, or on a device; use __dlpack__ to share its memory")


def get_device(input: Tensor) -> int:
    """The number of the Vulkan device; -1 for the cpu."""
    _, _, number = input.device.name.partition(":")
    return int(number) if number else -1


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that all of these stretch to."""
    from ..runtime.layout import broadcast_shapes as stretched

    return stretched("broadcast_shapes", *[(s,) if isinstance(s, int) else tuple(s) for s in shapes])
