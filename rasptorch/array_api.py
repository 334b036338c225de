"""The array API standard (2024.12) as far as it fits: what ``x.__array_namespace__()`` gives.

Functions have the standard's names and arguments (``axis``, ``keepdims``, ``correction``); tensors stay rasptorch's. What does not fit,
because tensors follow PyTorch there: ``x.size`` is a method; results of 0-d tensors with others promote by PyTorch's rules; sums of
uint8 are int64; there are no complex numbers, no unsigned integers but uint8, no int8 and int16. Functions whose result has a shape that
depends on values (``unique_*``, and ``nonzero`` where it is not there) are left out, as the standard allows.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

from . import ops
from .ops import reduction
from .runtime import dtype as dt
from .runtime.dtype import DType
from .tensor import Tensor, axes

__array_api_version__ = "2024.12"

e, inf, nan, newaxis, pi = math.e, math.inf, math.nan, None, math.pi
bool, int32, int64, uint8, float32, float64 = dt.bool_, dt.int32, dt.int64, dt.uint8, dt.float32, dt.float64

# The same here and in PyTorch, arguments included.
_SAME = (
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and", "bitwise_left_shift", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "broadcast_to", "can_cast", "ceil", "copysign", "cos", "cosh", "divide", "empty_like", "exp",
    "expm1", "floor", "floor_divide", "from_dlpack", "full_like", "greater", "greater_equal", "hypot", "isfinite", "isinf", "isnan",
    "less", "less_equal", "log", "log10", "log1p", "log2", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor",
    "matmul", "maximum", "meshgrid", "minimum", "moveaxis", "multiply", "negative", "nextafter", "not_equal", "ones_like", "pow",
    "reciprocal", "remainder", "reshape", "round", "searchsorted", "sign", "signbit", "sin", "sinh", "sqrt", "square", "subtract",
    "tan", "tanh", "tile", "trunc", "where", "zeros_like", "finfo", "iinfo",
)  # fmt: skip
globals().update({name: getattr(ops, name) for name in _SAME if hasattr(ops, name)})
bitwise_invert, equal, broadcast_arrays = ops.bitwise_not, ops.eq, ops.broadcast_tensors

Axis = int | Sequence[int] | None


def _there(name: str) -> Callable[..., Any]:
    """The operation of this name, if there is one."""
    found: Callable[..., Any] | None = getattr(ops, name, None)
    if found is None:
        raise NotImplementedError(f"{name}: rasptorch has no such operation yet")
    return found


# -- making -------------------------------------------------------------------------------------------------------
def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Tensor:
    return ops.asarray(obj, dtype=dtype, device=device, copy=copy)


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Tensor:
    first, last = (0, start) if stop is None else (start, stop)
    return ops.arange(first, last, step, dtype=dtype, device=device)


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    return ops.zeros(shape, dtype=dtype or float32, device=device)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    return ops.ones(shape, dtype=dtype or float32, device=device)


def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    return ops.empty(shape, dtype=dtype or float32, device=device)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    return ops.full((shape,) if isinstance(shape, int) else shape, fill_value, dtype=dtype, device=device)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    column = ops.arange(n_rows if n_cols is None else n_cols, dtype=int32, device=device)
    return (ops.arange(k, n_rows + k, dtype=int32, device=device).reshape(-1, 1) == column).to(dt.as_dtype(dtype or float32))


def linspace(start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: Any = True) -> Tensor:
    made = ops.linspace(start, stop, num if endpoint else num + 1, dtype=dtype or float32, device=device)
    return made if endpoint else made[:num]


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    return ops.tril(x, k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    return ops.triu(x, k)


# -- dtypes -------------------------------------------------------------------------------------------------------
_KINDS = {
    "bool": ("bool",), "signed integer": ("int32", "int64"), "unsigned integer": ("uint8",), "complex floating": (),
    "real floating": ("float16", "bfloat16", "float32", "float64"),
}  # fmt: skip
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"]


def astype(x: Tensor, dtype: Any, /, *, copy: Any = True, device: Any = None) -> Tensor:
    made = x.to(x.device if device is None else device, dt.as_dtype(dtype))
    return made.clone() if copy and made.storage is x.storage else made


def isdtype(dtype: DType, kind: Any) -> Any:
    if isinstance(kind, tuple):
        return builtins.any(isdtype(dtype, each) for each in kind)
    if isinstance(kind, DType):
        return dtype is kind
    if kind not in _KINDS:
        raise ValueError(f"isdtype: {kind!r} is not a kind of dtype; there are {', '.join(map(repr, _KINDS))}")
    return dtype.name in _KINDS[kind]


def result_type(*arrays_and_dtypes: Any) -> DType:
    found: Any = None
    numbers = [x for x in arrays_and_dtypes if not isinstance(x, (Tensor, DType))]
    for x in arrays_and_dtypes:
        if isinstance(x, (Tensor, DType)):
            dtype = x.dtype if isinstance(x, Tensor) else x
            found = dtype if found is None else dt.promote(found, dtype)
    if found is None:
        raise ValueError("result_type: at least one array or dtype is needed")
    for number in numbers:
        found = dt.promote_scalar(found, number)
    return found  # type: ignore[no-any-return]


# -- shapes -------------------------------------------------------------------------------------------------------
def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    return ops.cat([x.reshape(-1) for x in arrays], 0) if axis is None else ops.cat(arrays, axis)


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    return ops.stack(arrays, axis)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    return ops.unbind(x, axis)


def expand_dims(x: Tensor, /, *, axis: int = 0) -> Tensor:
    return ops.unsqueeze(x, axis)


def squeeze(x: Tensor, /, axis: int | tuple[int, ...]) -> Tensor:
    for a in axes("squeeze", axis, x.ndim):
        if x.shape[a] != 1:
            raise ValueError(f"squeeze: axis {a} of shape {list(x.shape)} is not of length 1")
    return ops.squeeze(x, axis)


def permute_dims(x: Tensor, /, axes: tuple[int, ...]) -> Tensor:
    return ops.permute(x, axes)


def matrix_transpose(x: Tensor, /) -> Tensor:
    return x.mT


def flip(x: Tensor, /, *, axis: Axis = None) -> Tensor:
    found: Tensor = _there("flip")(x, axes("flip", axis, x.ndim))
    return found


def roll(x: Tensor, /, shift: Any, *, axis: Axis = None) -> Tensor:
    if isinstance(shift, int) and isinstance(axis, tuple):
        shift = (shift,) * len(axis)
    return ops.roll(x, shift, axis)


def repeat(x: Tensor, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    return ops.repeat_interleave(x, repeats, axis)


# -- computing ----------------------------------------------------------------------------------------------------
def positive(x: Tensor, /) -> Tensor:
    return ops.clone(x)


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    return x if min is None and max is None else ops.clamp(x, min, max)


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    return ops.sum(x1 * x2, axis, dtype=result_type(x1, x2))


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: Any = 2) -> Tensor:
    return ops.tensordot(x1, x2, axes)


def sum(x: Tensor, /, *, axis: Axis = None, dtype: Any = None, keepdims: Any = False) -> Tensor:
    return ops.sum(x, axis, keepdims, dtype=dtype)


def prod(x: Tensor, /, *, axis: Axis = None, dtype: Any = None, keepdims: Any = False) -> Tensor:
    return reduction.prod(x, axis, keepdims, dtype=dtype)  # over several axes, which PyTorch's prod does not do


def mean(x: Tensor, /, *, axis: Axis = None, keepdims: Any = False) -> Tensor:
    return ops.mean(x, axis, keepdims)


def std(x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: Any = False) -> Tensor:
    return ops.std(x, axis, correction=correction, keepdim=keepdims)


def var(x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: Any = False) -> Tensor:
    return ops.var(x, axis, correction=correction, keepdim=keepdims)


def max(x: Tensor, /, *, axis: Axis = None, keepdims: Any = False) -> Tensor:
    return ops.amax(x, axis, keepdims)


def min(x: Tensor, /, *, axis: Axis = None, keepdims: Any = False) -> Tensor:
    return ops.amin(x, axis, keepdims)


def all(x: Tensor, /, *, axis: Axis = None, keepdims: Any = False) -> Tensor:
    return ops.all(x, axis, keepdims)


def any(x: Tensor, /, *, axis: Axis = None, keepdims: Any = False) -> Tensor:
    return ops.any(x, axis, keepdims)


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: Any = False) -> Tensor:
    return ops.argmax(x, axis, keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: Any = False) -> Tensor:
    return ops.argmin(x, axis, keepdims)


def count_nonzero(x: Tensor, /, *, axis: Axis = None, keepdims: Any = False) -> Tensor:
    return ops.sum(x != 0, axis, keepdims)


def cumulative_sum(x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: Any = False) -> Tensor:
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"cumulative_sum: axis is needed for shape {list(x.shape)}")
        axis = 0
    out = ops.cumsum(x, axis, dtype=dtype)
    return ops.cat([ops.zeros_like(out.narrow(axis, 0, 1)), out], axis) if include_initial else out


def diff(x: Tensor, /, *, axis: int = -1, n: int = 1) -> Tensor:
    for _ in range(n):
        length = x.shape[axis]
        x = x.narrow(axis, 1, length - 1) - x.narrow(axis, 0, length - 1)
    return x


def argsort(x: Tensor, /, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Tensor:
    found: Tensor = _there("argsort")(x, axis, descending, stable=stable)
    return found


def sort(x: Tensor, /, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Tensor:
    found: Tensor = _there("sort")(x, axis, descending, stable=stable)[0]
    return found


def take(x: Tensor, indices: Tensor, /, *, axis: int = 0) -> Tensor:
    found: Tensor = _there("index_select")(x, axis, indices)
    return found


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    found: Tensor = _there("take_along_dim")(x, indices, axis)
    return found


# -- what is here -------------------------------------------------------------------------------------------------
class _Info:
    """What the standard asks of ``__array_namespace_info__``."""

    def capabilities(self) -> dict[str, Any]:
        return {"boolean indexing": True, "data-dependent shapes": False, "max dimensions": 8}

    def default_device(self) -> Any:
        return ops.get_default_device()

    def devices(self) -> list[Any]:
        from .runtime.device import get, names

        return [get(name) for name in names()]

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        return {"real floating": float32, "integral": int64, "indexing": int64}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        standard = {d.name: d for d in (bool, int32, int64, uint8, float32, float64)}
        return {name: d for name, d in standard.items() if kind is None or isdtype(d, kind)}


def __array_namespace_info__() -> _Info:
    return _Info()
