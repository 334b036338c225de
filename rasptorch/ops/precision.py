"""What operations do inside `rasptorch.autocast`: products take the low dtype, sums and functions of wide range float32.

The lists are those of PyTorch for its GPUs (ATen/autocast_mode.h), which are longer than those for its CPU; and means, variances and
running products keep company with sums. An operation made of others counts as one: inside of it autocast is off.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, wraps
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


def in_wide_steps(function: Callable[P, R]) -> Callable[P, R]:
    """Of a 16-bit first argument the function computes in float32, and only the result is rounded: reductions made of others."""

    run: Any = function

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        x: Any = args[0] if args else kwargs.get("input")
        if not isinstance(x, Tensor) or not x.dtype.is_floating_point or x.dtype.itemsize > 2:
            return function(*args, **kwargs)
        wide = cast(x, dt.float32)
        found: Any = run(wide, *args[1:], **kwargs) if args else run(**{**kwargs, "input": wide})
        back: Any = tuple([cast(t, x.dtype) for t in found]) if isinstance(found, tuple) else cast(found, x.dtype)
        return back  # type: ignore[no-any-return]  # ParamSpec

    return wrapped


def _off(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    token = low_dtypes.set(None)
    try:
        return function(*args, **kwargs)
    finally:
        low_dtypes.reset(token)


def _low_within(x: Any) -> Any:
    return tuple([_low(y) for y in x]) if isinstance(x, tuple) else _low(x)


def in_low_precision(function: Callable[P, R]) -> Callable[P, R]:
    """The function takes its tensors, and those in tuples, in the low dtype inside autocast: convolutions, recurrence, attention."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if low_dtypes.get() is None:
            return function(*args, **kwargs)
        return _off(function, *[_low_within(x) for x in args], **{k: _low_within(x) for k, x in kwargs.items()})

    return wrapped


def in_given_precision(function: Callable[P, R]) -> Callable[P, R]:
    """The function computes in the dtype that its tensors have, inside autocast as outside: activations that need an exponential."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs) if low_dtypes.get() is None else _off(function, *args, **kwargs)

    return wrapped


def in_widest_precision(function: Callable[P, R]) -> Callable[P, R]:
    """The function takes its floating-point tensors in the widest dtype among them inside autocast: products that are sensitive."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        given = [x.dtype for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.dtype.is_floating_point]
        if low_dtypes.get() is None or len(set(given)) < 2:
            return in_given_precision(function)(*args, **kwargs)
        widest = reduce(dt.promote, given)

        def wide(x: Any) -> Any:
            return cast(x, widest) if isinstance(x, Tensor) and x.dtype.is_floating_point and x.dtype is not widest else x

        return _off(function, *[wide(x) for x in args], **{k: wide(x) for k, x in kwargs.items()})

    return wrapped
