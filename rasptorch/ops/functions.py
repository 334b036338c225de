"""Functions of one variable: forward and gradient side by side."""

from __future__ import annotations

import math
from typing import Any

from ..autograd.node import Node
from ..tensor import Tensor
from .arithmetic import where
from .elementwise import FLOAT, Elementwise

One = tuple[Any]

LN2, LN10 = math.log(2.0), math.log(10.0)
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)


def _zero(n: Node, g: Tensor) -> One:
    return (g * 0.0,)


def _grad_abs(n: Node, g: Tensor) -> One:
    (x,) = n.values()
    return (g * sign(x),)


def _grad_relu(n: Node, g: Tensor) -> One:
    # From the output: no need to keep the input. NaN passes the gradient (NaN <= 0 is false), as in PyTorch.
    return (where(n.result().detach() <= 0, 0.0, g),)


neg = Elementwise("neg", "neg", 1, lambda n, g: (-g,))
square = Elementwise("square", "square", 1, lambda n, g: (g * (n.values()[0] * 2.0),), "a")
sign = Elementwise("sign", "sign", 1, _zero)
absolute = Elementwise("abs", "abs", 1, _grad_abs, "a")
relu = Elementwise("relu", "relu", 1, _grad_relu, "o")
sqrt = Elementwise("sqrt", "sqrt", 1, lambda n, g: (g / (n.result() * 2.0),), "o", FLOAT)
rsqrt = Elementwise("rsqrt", "rsqrt", 1, lambda n, g: (g * -0.5 * n.result() * n.result() * n.result(),), "o", FLOAT)
reciprocal = Elementwise("reciprocal", "reciprocal", 1, lambda n, g: (-g * n.result() * n.result(),), "o", FLOAT)
exp = Elementwise("exp", "exp", 1, lambda n, g: (g * n.result(),), "o", FLOAT)
exp2 = Elementwise("exp2", "exp2", 1, lambda n, g: (g * n.result() * LN2,), "o", FLOAT)
expm1 = Elementwise("expm1", "expm1", 1, lambda n, g: (g * (n.result() + 1.0),), "o", FLOAT)
log = Elementwise("log", "log", 1, lambda n, g: (g / n.values()[0],), "a", FLOAT)
log2 = Elementwise("log2", "log2", 1, lambda n, g: (g / (n.values()[0] * LN2),), "a", FLOAT)
log10 = Elementwise("log10", "log10", 1, lambda n, g: (g / (n.values()[0] * LN10),), "a", FLOAT)
log1p = Elementwise("log1p", "log1p", 1, lambda n, g: (g / (n.values()[0] + 1.0),), "a", FLOAT)
sin: Elementwise = Elementwise("sin", "sin", 1, lambda n, g: (g * cos(n.values()[0]),), "a", FLOAT)
cos: Elementwise = Elementwise("cos", "cos", 1, lambda n, g: (-g * sin(n.values()[0]),), "a", FLOAT)
tan = Elementwise("tan", "tan", 1, lambda n, g: (g * (n.result() * n.result() + 1.0),), "o", FLOAT)
asin: Elementwise = Elementwise("asin", "asin", 1, lambda n, g: (g * rsqrt(1.0 - n.values()[0] * n.values()[0]),), "a", FLOAT)
acos = Elementwise("acos", "acos", 1, lambda n, g: (-g * rsqrt(1.0 - n.values()[0] * n.values()[0]),), "a", FLOAT)
atan = Elementwise("atan", "atan", 1, lambda n, g: (g / (n.values()[0] * n.values()[0] + 1.0),), "a", FLOAT)
sinh = Elementwise("sinh", "sinh", 1, lambda n, g: (g * cosh(n.values()[0]),), "a", FLOAT)
cosh: Elementwise = Elementwise("cosh", "cosh", 1, lambda n, g: (g * sinh(n.values()[0]),), "a", FLOAT)
tanh = Elementwise("tanh", "tanh", 1, lambda n, g: (g * (1.0 - n.result() * n.result()),), "o", FLOAT)
sigmoid = Elementwise("sigmoid", "sigmoid", 1, lambda n, g: (g * n.result() * (1.0 - n.result()),), "o", FLOAT)
erf = Elementwise(
    "erf", "erf", 1, lambda n, g: (g * exp(-(n.values()[0] * n.values()[0])) * TWO_OVER_SQRT_PI,), "a", FLOAT
)
floor = Elementwise("floor", "floor", 1, _zero)
ceil = Elementwise("ceil", "ceil", 1, _zero)
round_ = Elementwise("round", "round", 1, _zero)
trunc = Elementwise("trunc", "trunc", 1, _zero)
