"""What operations do inside `rasptorch.autocast`: products take the low dtype, sums and functions of wide range float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from ..autograd.precision import low_dtypes
from ..runtime import dtype as dt
from ..runtime.device import Device
from ..runtime.dtype import DType
from ..tensor import Tensor
from .views import cast

P = ParamSpec("P")
R = TypeVar("R")

# Elementwise operations that overflow, or lose what matters, in 16 bits.
FULL: Final = frozenset({
    "acos", "asin", "cosh", "exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "pow", "reciprocal", "rsqrt", "sinh", "tan",
})  # fmt: skip


def low_dtype(device: Device) -> DType | None:
    """The low dtype on ``device``, if autocast is on for it here."""
    low = low_dtypes.get()
    return None if low is None else low[device.name != "cpu"]


def lowered(*tensors: Any) -> tuple[Any, ...]:
    """The tensors of 32 bits or fewer in the low dtype: for operands of products, before dtypes are compared."""
    return tuple([_low(x) for x in tensors])


def _low(x: Any) -> Any:
    if isinstance(x, Tensor) and x.dtype.is_floating_point and x.dtype.itemsize <= 4:
        wanted = low_dtype(x.device)
        if wanted is not None and x.dtype is not wanted:
            return cast(x, wanted)
    return x


def full(x: Any) -> Any:
    """A 16-bit tensor as float32, where autocast is on; anything else as it is."""
    if isinstance(x, Tensor) and x.dtype.is_floating_point and x.dtype.itemsize < 4 and low_dtype(x.device) is not None:
        return cast(x, dt.float32)
    return x


def in_full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """The function takes its 16-bit tensors as float32 inside autocast: reductions, softmax, norms, losses."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if low_dtypes.get() is None:
            return function(*args, **kwargs)
        return function(*[full(x) for x in args], **{k: full(x) for k, x in kwargs.items()})

    return wrapped
