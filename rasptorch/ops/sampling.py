"""Random numbers of other distributions than the plain uniform and normal ones."""

from __future__ import annotations

from typing import Any

from ..autograd.recompute import drawing
from ..runtime import dtype as dt
from ..runtime.capture import live
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError
from ..runtime.layout import Layout, broadcast_shapes, layout_of
from ..tensor import Tensor
from .arithmetic import add, mul, remainder
from .comparison import bitwise_and, bitwise_left_shift, bitwise_or
from .creation import _like, device_of, shape_of
from .dispatch import enqueue, same_device
from .random import Generator, _bits_spec, default_generator, randn
from .views import cast


def _bits(layout: Layout, generator: Generator | None) -> Tensor:
    """32 random bits per element, as int32."""
    draw = drawing((generator or default_generator).draw)
    words = layout_of(layout.device, dt.int32, layout.shape)
    return enqueue(_bits_spec(words, dt.int32), (), live(layout.device.stream(), draw))


def _integers(name: str, layout: Layout, low: int, high: int, generator: Generator | None) -> Tensor:
    """Whole numbers from ``low`` to ``high - 1``. Those from some on are likelier, by a factor below ``1 + (high - low) / 2**32``."""
    if not low < high:
        raise ValueError(f"{name}: low must be below high, got low={low} and high={high}")
    if low < -(1 << 63) or high > 1 << 63 or high - low >= 1 << 63:
        raise ValueError(f"{name}: from {low} to {high - 1} is more than int64 holds")
    if low >= -(1 << 31) and high <= 1 << 31 and high - low < 1 << 31:
        return cast(add(remainder(_bits(layout, generator), high - low), low), layout.dtype)
    upper, lower = (cast(_bits(layout, generator), dt.int64) for _ in range(2))
    wide = bitwise_or(bitwise_left_shift(upper, 32), bitwise_and(lower, 0xFFFFFFFF))
    return cast(add(remainder(wide, high - low), low), layout.dtype)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise TypeError(f"{name}: bounds are whole numbers, got {value}")
    return int(value)


def randint(
    low: int, high: Any = None, size: Any = None, *, generator: Generator | None = None, dtype: Any = dt.int64, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``randint(low, high, size)`` or ``randint(high, size)``: whole numbers from ``low`` (0) to ``high - 1``, all equally likely.

    Ranges of 2**31 and more need a device that computes in int64. Equal on every device for equal seeds.
    """
    if isinstance(high, (tuple, list)) and size is None:
        high, size = None, high
    if high is None:
        low, high = 0, low
    if size is None:
        raise TypeError("randint(low, high, size) takes the size of the result, a tuple")
    layout = layout_of(device_of(device), dt.as_dtype(dtype), shape_of("randint", (size,)))
    made = _integers("randint", layout, _whole("randint", low), _whole("randint", high), generator)
    return made.requires_grad_() if requires_grad else made


def randint_like(
    input: Tensor, low: int, high: int | None = None, *, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Whole numbers from ``low`` (0 if only one bound is given) to ``high - 1`` in the shape, dtype and device of ``input``."""
    if high is None:
        low, high = 0, low
    made = _integers("randint_like", _like(input, dtype, device), _whole("randint_like", low), _whole("randint_like", high), generator)
    return made.requires_grad_() if requires_grad else made


def _floating(name: str, value: Any) -> DType | None:
    if not isinstance(value, Tensor):
        return None
    if not value.dtype.is_floating_point:
        raise DTypeError(f"normal: {name} is {value.dtype.name}, normal numbers are floating-point; convert with .to(rasptorch.float32)")
    return value.dtype


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normally distributed numbers: of one mean and standard deviation in ``size``, or of those that tensors give for each.

    No gradient goes to ``mean`` and ``std``.
    """
    if isinstance(std, (int, float)) and not std >= 0:
        raise ValueError(f"normal: a standard deviation is not negative, got {std}")
    tensors = [t for t in (mean, std) if isinstance(t, Tensor)]
    given = [d for d in (_floating("mean", mean), _floating("std", std)) if d is not None]
    if not tensors:
        if size is None:
            raise TypeError("normal(mean, std, size) takes the size of the result where mean and std are numbers")
        made = randn(*shape_of("normal", (size,)), generator=generator, dtype=dtype or dt.float32, device=device)
        made = add(mul(made, std), mean)
        return made.requires_grad_() if requires_grad else made
    if size is not None:
        raise TypeError("normal: mean and std are tensors, which give the size; leave size out")
    where = same_device("normal", [t.layout for t in tensors])
    shape = broadcast_shapes("normal", *(t.shape for t in tensors))
    plain = randn(shape, generator=generator, dtype=given[0] if len(given) == 1 else dt.promote(*given), device=where)
    return add(mul(plain, _plain(std)), _plain(mean))


def _plain(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
