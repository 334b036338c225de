"""Sums, products, powers and what is left of divisions: forward and gradient side by side."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd.node import Node
from ..runtime.errors import DTypeError
from ..tensor import Tensor
from .elementwise import FLOAT, Elementwise

Pair = tuple[Any, Any]


def _grad_add(n: Node, g: Tensor) -> Pair:
    return g if n.needs(0) else None, g if n.needs(1) else None


def _grad_sub(n: Node, g: Tensor) -> Pair:
    return g if n.needs(0) else None, -g if n.needs(1) else None


def _grad_mul(n: Node, g: Tensor) -> Pair:
    a, b = n.values()
    return g * b if n.needs(0) else None, g * a if n.needs(1) else None


def _grad_div(n: Node, g: Tensor) -> Pair:
    a, b = n.values()
    return g / b if n.needs(0) else None, -(g * a) / (b * b) if n.needs(1) else None


def _grad_pow(n: Node, g: Tensor) -> Pair:
    a, b = n.values()
    da = db = None
    if n.needs(0):
        da = g * (power(a, b - 1) * b)
        if isinstance(b, Tensor):
            da = where(b == 0, 0.0, da)  # 0 ** -1 is infinite, and 0 times that is NaN
        elif b == 0:
            da = g * 0.0
    if n.needs(1):
        # d/db a**b = a**b * log(a); at a = 0 the power stays 0 for positive b, so its slope is 0, not 0 * -inf.
        from .functions import log

        if isinstance(a, Tensor):
            flat = logical_and(a == 0, b >= 0)
            db = g * where(flat, 0.0, n.result() * log(where(flat, 1.0, a)))
        elif a == 0:
            db = g * where(b >= 0, 0.0, float("-inf"))
        else:
            db = g * n.result() * (math.log(a) if a > 0 else float("nan"))
    return da, db


class _Power(Elementwise):
    """Refuses what PyTorch refuses: integers to the power of a negative integer, which nearly always is a fraction."""

    def __call__(self, *operands: Any, **options: Any) -> Tensor:
        self._check(operands)
        return super().__call__(*operands, **options)

    def of_number(self, x: Tensor, number: Any) -> Tensor:
        self._check((x, number))
        return super().of_number(x, number)

    def in_place(self, target: Tensor, *operands: Any) -> Tensor:
        self._check((target, *operands))
        return super().in_place(target, *operands)

    def _check(self, operands: tuple[Any, ...]) -> None:
        if len(operands) == 2 and isinstance(operands[1], (int, np.integer)) and operands[1] < 0:
            base, exponent = operands
            if isinstance(base, Tensor) and base.layout.dtype.category < 2:
                raise DTypeError(
                    f"pow: {base.layout.dtype.name} to the power of {exponent} is no integer; write a float, {float(exponent)}, "
                    "or convert with .to(rasptorch.float32)"
                )


def _grad_remainder(n: Node, g: Tensor) -> Pair:
    a, b = n.values()
    return g if n.needs(0) else None, -g * floor_divide(a, b) if n.needs(1) else None


def _grad_fmod(n: Node, g: Tensor) -> Pair:
    from .functions import trunc

    a, b = n.values()
    return g if n.needs(0) else None, -g * trunc(a / b) if n.needs(1) else None


def _grad_floor(n: Node, g: Tensor) -> Pair:
    return g * 0.0 if n.needs(0) else None, g * 0.0 if n.needs(1) else None


def _grad_extreme(n: Node, g: Tensor) -> Pair:
    """To the operand that was taken; shared evenly where both are equal, as PyTorch does."""
    a, b = n.values()
    half = where(eq(a, b), g * 0.5, 0.0)
    wins = n.name == "maximum"
    da = half + where(gt(a, b) if wins else lt(a, b), g, 0.0) if n.needs(0) else None
    db = half + where(lt(a, b) if wins else gt(a, b), g, 0.0) if n.needs(1) else None
    return da, db


def _grad_atan2(n: Node, g: Tensor) -> Pair:
    a, b = n.values()
    scale = g / (a * a + b * b)
    return scale * b if n.needs(0) else None, -scale * a if n.needs(1) else None


def _grad_where(n: Node, g: Tensor) -> tuple[Any, Any, Any]:
    (condition,) = n.values()
    return None, where(condition, g, 0.0) if n.needs(1) else None, where(condition, 0.0, g) if n.needs(2) else None


add = Elementwise("add", "add", 2, _grad_add)
sub = Elementwise("sub", "sub", 2, _grad_sub)
mul = Elementwise("mul", "mul", 2, _grad_mul, "b|a")
div = Elementwise("div", "div", 2, _grad_div, "b|ab", FLOAT)
floor_divide = Elementwise("floor_divide", "floor_divide", 2, _grad_floor)
remainder = Elementwise("remainder", "remainder", 2, _grad_remainder, "|ab")
fmod = Elementwise("fmod", "fmod", 2, _grad_fmod, "|ab")
power = _Power("pow", "pow", 2, _grad_pow, "ab|abo")
maximum = Elementwise("maximum", "maximum", 2, _grad_extreme, "ab|ab")
minimum = Elementwise("minimum", "minimum", 2, _grad_extreme, "ab|ab")
atan2 = Elementwise("atan2", "atan2", 2, _grad_atan2, "ab|ab", FLOAT)
class _Where(Elementwise):
    """``where(condition, a, b)``; of the condition alone its true elements' indices, as `nonzero` with ``as_tuple``."""

    def __call__(self, *operands: Any, **options: Any) -> Any:
        if len(operands) + len(options) == 1 and not options.keys() - {"condition"}:
            from .nonzero import nonzero

            return nonzero(*operands, *options.values(), as_tuple=True)
        return super().__call__(*operands, **options)


where: Elementwise = _Where("where", "where", 3, _grad_where, "|a|a")

from .comparison import eq, gt, logical_and, lt  # noqa: E402  (they need nothing of this module, this module needs them late)
