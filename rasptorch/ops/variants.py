"""Arithmetic with PyTorch's options, and functions of two variables that are made of others."""

from __future__ import annotations

from typing import Any

from ..autograd.node import Node
from ..runtime.errors import DTypeError
from ..tensor import Tensor
from . import arithmetic as a
from .arithmetic import fmod, maximum, where
from .comparison import eq, lt
from .composed import in_place, with_gradients
from .dispatch import only_tensors, result_dtype
from .functions import absolute, exp, log1p, reciprocal, round_, sigmoid, sqrt, trunc
from .outputs import converts_out

Pair = tuple[Any, Any]
Triple = tuple[Any, Any, Any]


def _scaled(name: str, first: Any, x: Any, factor: Any) -> Any:
    """``factor * x``, where a fraction of whole numbers is refused, as the result would have to be rounded."""
    if factor == 1:
        return x
    whole = all(not isinstance(t, float) and not (isinstance(t, Tensor) and t.dtype.is_floating_point) for t in (first, x))
    if whole and isinstance(factor, float):
        raise DTypeError(f"{name}: whole numbers cannot be multiplied by {factor}; convert with .to(rasptorch.float32)")
    return a.mul(x, factor) if isinstance(x, Tensor) or isinstance(factor, Tensor) else x * factor


@converts_out
def add(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Tensor:
    """``input + alpha * other``."""
    return a.add(input, other if alpha == 1 else _scaled("add", input, other, alpha))


@converts_out
def sub(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Tensor:
    """``input - alpha * other``."""
    return a.sub(input, other if alpha == 1 else _scaled("sub", input, other, alpha))


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``other - alpha * input``."""
    return a.sub(other, input if alpha == 1 else _scaled("rsub", other, input, alpha))


def add_(x: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``x += alpha * other``."""
    return a.add.in_place(x, other if alpha == 1 else _scaled("add_", x, other, alpha))


def sub_(x: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``x -= alpha * other``."""
    return a.sub.in_place(x, other if alpha == 1 else _scaled("sub_", x, other, alpha))


@converts_out
def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Tensor:
    """``input / other``; rounded towards zero (``"trunc"``) or down (``"floor"``) if asked for, without a gradient then."""
    if rounding_mode is None:
        return a.div(input, other)
    if rounding_mode == "floor":
        return a.floor_divide(input, other)
    if rounding_mode != "trunc":
        raise ValueError(f"div: rounding_mode is None, 'trunc' or 'floor', got {rounding_mode!r}")
    if all(isinstance(t, int) or (isinstance(t, Tensor) and not t.dtype.is_floating_point) for t in (input, other)):
        return a.floor_divide(a.sub(input, fmod(input, other)), other)  # what fmod leaves divides without a rest
    return trunc(a.div(input, other))


@converts_out
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1, out: Any = None) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    return a.add(input, a.mul(_scaled("addcmul", tensor2, tensor1, value), tensor2))


@converts_out
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1, out: Any = None) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    if not (tensor1.dtype.is_floating_point or tensor2.dtype.is_floating_point):
        raise DTypeError("addcdiv: whole numbers do not divide into whole numbers; convert with .to(rasptorch.float32)")
    return a.add(input, a.div(tensor1, tensor2) if value == 1 else a.mul(a.div(tensor1, tensor2), value))


def _rounded(name: str, x: Tensor, decimals: int) -> Tensor:
    """``x`` scaled so that the wanted place is the last before the point, rounded, and scaled back: as PyTorch does it."""
    if isinstance(decimals, bool) or not isinstance(decimals, int):
        raise TypeError(f"{name}: decimals is a whole number, got {decimals!r}")
    if not x.dtype.is_floating_point:
        raise DTypeError(f"{name} to {decimals} decimals is not defined for {x.dtype.name}; convert with .to(rasptorch.float32)")
    power = 10.0 ** min(abs(decimals), 300)  # infinite in the narrower dtypes long before that
    return a.div(round_(a.mul(x, power)), power) if decimals > 0 else a.mul(round_(a.div(x, power)), power)


@converts_out
def round(input: Tensor, *, decimals: int = 0, out: Any = None) -> Tensor:
    """To the nearest multiple of ``10**-decimals``, halves to the even one; ``decimals`` may be negative. The gradient is zero.

    The scaled number is rounded, so with ``decimals`` what overflows when it is scaled becomes infinite or NaN, and what is stored a
    little off a half goes where the scaled number lies. Whole numbers stay as they are; for them there are no decimals.
    """
    only_tensors("round", input)
    if decimals == 0:
        return round_(input)
    return with_gradients("round", lambda: _rounded("round", input, decimals), lambda n, g: (g * 0.0,), (input,))


def round_in_place(x: Tensor, *, decimals: int = 0) -> Tensor:
    """`round`, written into this tensor."""
    if decimals == 0:
        return round_.in_place(x)
    return _round_in_place(x, decimals=decimals)


def _grad_lerp(n: Node, g: Tensor) -> Triple:
    x, end, weight = n.values()
    dx = g * (1.0 - weight) if n.needs(0) else None
    return dx, g * weight if n.needs(1) else None, g * (end - x) if n.needs(2) else None


@converts_out
def lerp(input: Tensor, end: Tensor, weight: Any, *, out: Any = None) -> Tensor:
    """``input + weight * (end - input)``, computed from the nearer end so that weight 1 gives ``end`` exactly."""
    for name, t in (("input", input), ("end", end), ("weight", weight)):
        if isinstance(t, Tensor) and (t.dtype is not input.dtype or not t.dtype.is_floating_point):
            raise DTypeError(
                f"lerp: input, end and weight share one floating-point dtype; {name} is {t.dtype.name}, input {input.dtype.name}"
            )

    def compute() -> Tensor:
        way = end - input
        if isinstance(weight, Tensor):
            return where(lt(absolute(weight), 0.5), input + way * weight, end - way * (1.0 - weight))
        return a.add(input, way * weight) if abs(weight) < 0.5 else a.sub(end, way * (1.0 - weight))

    return with_gradients("lerp", compute, _grad_lerp, (input, end, weight))


def _grad_logaddexp(n: Node, g: Tensor) -> Pair:
    x, y = n.values()
    return g * sigmoid(x - y) if n.needs(0) else None, g * sigmoid(y - x) if n.needs(1) else None


@converts_out
def logaddexp(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """``log(exp(input) + exp(other))`` without overflow."""

    def compute() -> Tensor:
        apart = where(eq(input, other), 0.0, input - other)  # two equal infinities are no distance apart, not NaN
        return maximum(input, other) + log1p(exp(-absolute(apart)))

    return with_gradients("logaddexp", compute, _grad_logaddexp, (input, other))


def _grad_hypot(n: Node, g: Tensor) -> Pair:
    x, y = n.values()
    length = n.result()
    return g * (x / length) if n.needs(0) else None, g * (y / length) if n.needs(1) else None


@converts_out
def hypot(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """``sqrt(input**2 + other**2)`` without overflow; infinite where one of them is, even if the other is NaN."""

    def compute() -> Tensor:
        long, short = maximum(absolute(input), absolute(other)), a.minimum(absolute(input), absolute(other))
        ratio = where(long == 0, 0.0, short / long)
        length = long * sqrt(ratio * ratio + 1.0)
        return where((absolute(input) == float("inf")).logical_or(absolute(other) == float("inf")), float("inf"), length)

    return with_gradients("hypot", compute, _grad_hypot, (input, other), keep_output=True)


@converts_out
def signbit(input: Tensor, *, out: Any = None) -> Tensor:
    """Whether the sign is minus, of -0.0 too. NaN counts as positive."""
    negative = input < 0
    return negative.logical_or(reciprocal(input.detach()) < 0) if input.dtype.is_floating_point else negative


def _grad_copysign(n: Node, g: Tensor) -> Pair:
    x, y = n.values()
    agrees = where(eq(signbit(x), signbit(y)) if isinstance(y, Tensor) else eq(signbit(x), _is_negative(y)), g, -g)
    return where(eq(x, 0), 0.0, agrees) if n.needs(0) else None, g * 0.0 if n.needs(1) else None


def _is_negative(number: float) -> bool:
    from math import copysign as of_numbers

    return of_numbers(1.0, number) < 0


@converts_out
def copysign(input: Tensor, other: Any, *, out: Any = None) -> Tensor:
    """``input``'s size with ``other``'s sign, which counts for zeros too (a NaN is positive)."""

    def compute() -> Tensor:
        wanted = result_dtype([input.layout, other.layout if isinstance(other, Tensor) else other])
        size = absolute(input.to(wanted if wanted.is_floating_point else "float32"))
        return where(signbit(other), -size, size) if isinstance(other, Tensor) else (-size if _is_negative(other) else size)

    return with_gradients("copysign", compute, _grad_copysign, (input, other))


_round_in_place = in_place("round_", round)
