"""Values kept within bounds or replaced: forward and gradient side by side."""

from __future__ import annotations

import sys
from typing import Any

from ..autograd.node import Node
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError, ShapeError
from ..tensor import Tensor
from .arithmetic import where
from .comparison import eq, ge, gt, le, logical_and, logical_or, lt, ne
from .creation import check_fits
from .elementwise import Elementwise
from .outputs import converts_out

Triple = tuple[Any, Any, Any]
INF = float("inf")


def _grad_clamp(n: Node, g: Tensor) -> Triple:
    """At a bound the gradient still passes; nothing is left of it for a NaN."""
    x, low, high = n.values()
    dx = dlow = dhigh = None
    if n.needs(0):
        dx = where(logical_and(ge(x, low), le(x, high)), g, 0.0)
    if n.needs(1):
        dlow = where(logical_and(lt(x, low), lt(low, high)), g, 0.0)
    if n.needs(2):
        dhigh = where(logical_or(gt(x, high), lt(high, low)), g, 0.0)
    return dx, dlow, dhigh


def _grad_clamp_min(n: Node, g: Tensor) -> tuple[Any, Any]:
    x, low = n.values()
    return where(ge(x, low), g, 0.0) if n.needs(0) else None, where(lt(x, low), g, 0.0) if n.needs(1) else None


def _grad_clamp_max(n: Node, g: Tensor) -> tuple[Any, Any]:
    x, high = n.values()
    return where(le(x, high), g, 0.0) if n.needs(0) else None, where(gt(x, high), g, 0.0) if n.needs(1) else None


def _grad_masked_fill(n: Node, g: Tensor) -> Triple:
    (mask,) = n.values()
    return where(mask, 0.0, g) if n.needs(0) else None, None, where(mask, g, 0.0) if n.needs(2) else None


def _grad_mul_add_relu(n: Node, g: Tensor) -> Triple:
    """From the output, as for relu."""
    x, y = n.values()
    passed = where(n.result().detach() <= 0, 0.0, g)
    return passed * y if n.needs(0) else None, passed * x if n.needs(1) else None, passed if n.needs(2) else None


clamp_min = Elementwise("clamp_min", "maximum", 2, _grad_clamp_min, "ab|ab")
clamp_max = Elementwise("clamp_max", "minimum", 2, _grad_clamp_max, "ab|ab")
mul_add_relu = Elementwise("mul_add_relu", "mul_add_relu", 3, _grad_mul_add_relu, "bo|ao|o")
_clamp = Elementwise("clamp", "clamp", 3, _grad_clamp, "abc|abc|abc")
_masked_fill = Elementwise("masked_fill", "masked_fill", 3, _grad_masked_fill, "b||b")


def _bounded(name: str, x: Tensor, low: Any, high: Any) -> tuple[Elementwise, tuple[Any, ...]]:
    """The operation for the bounds that are given, and those bounds."""
    if low is None and high is None:
        raise ValueError(f"{name}: give min, max or both")
    for bound in (low, high):
        if type(bound) is int:
            check_fits(name, bound, x.dtype)
    if low is None:
        return clamp_max, (high,)
    return (clamp_min, (low,)) if high is None else (_clamp, (low, high))


@converts_out
def clamp(input: Tensor, min: Any = None, max: Any = None, *, out: Any = None) -> Tensor:
    """``input``, but at least ``min`` and at most ``max`` (numbers or tensors; ``max`` wins). NaN stays NaN."""
    operation, bounds = _bounded("clamp", input, min, max)
    return operation(input, *bounds)


def clamp_(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """`clamp`, written into this tensor."""
    operation, bounds = _bounded("clamp_", x, min, max)
    return operation.in_place(x, *bounds)


def _fill_value(name: str, x: Tensor, mask: Any, value: Any) -> Any:
    """``value`` as something that leaves ``x``'s dtype as it is."""
    if not isinstance(mask, Tensor) or mask.dtype.category != 0:
        kind = mask.dtype.name if isinstance(mask, Tensor) else type(mask).__name__
        raise DTypeError(f"{name}: the mask is a tensor of booleans, got {kind}; compare first, for example mask != 0")
    if isinstance(value, Tensor):
        if value.ndim:
            raise ShapeError(f"{name}: the value is a number or a 0-d tensor, got shape {list(value.shape)}; use where")
        return value if value.dtype is x.dtype else value.to(x.dtype)
    check_fits(name, value, x.dtype)
    return (bool, int, float)[x.dtype.category](value)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``value`` where ``mask`` is true, ``input`` elsewhere, in ``input``'s dtype."""
    return _masked_fill(input, mask, _fill_value("masked_fill", input, mask, value))


def masked_fill_(x: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`masked_fill`, written into this tensor."""
    return _masked_fill.in_place(x, mask, _fill_value("masked_fill_", x, mask, value))


# The largest finite number of each floating-point type.
_LARGEST = {
    "float16": 65504.0, "bfloat16": 2.0**128 - 2.0**120, "float32": 2.0**128 - 2.0**104, "float64": sys.float_info.max,
}  # fmt: skip


def _or(value: float | None, dtype: DType, sign: float) -> float:
    return sign * _LARGEST[dtype.name] if value is None else float(value)


@converts_out
def nan_to_num(
    input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None, *, out: Any = None
) -> Tensor:  # fmt: skip
    """Numbers in place of NaN (0) and the infinities (the largest and the least number of the dtype)."""
    if not input.dtype.is_floating_point:
        return input.clone()
    finite = where(eq(input, INF), _or(posinf, input.dtype, 1.0), where(eq(input, -INF), _or(neginf, input.dtype, -1.0), input))
    return where(ne(input, input), float(nan), finite)
