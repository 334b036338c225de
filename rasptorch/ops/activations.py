"""Activation functions made of other operations; their gradients, and gradients of those, come with them."""

from __future__ import annotations

import math

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime.errors import ShapeError
from ..tensor import Tensor
from .arithmetic import where
from .dispatch import tape
from .functions import absolute, erf, exp, expm1, log1p, relu, sigmoid, tanh
from .precision import in_full_precision, in_given_precision, in_low_precision

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """``x`` where positive, ``negative_slope * x`` elsewhere."""
    return where(x > 0, x, x * negative_slope)


@in_low_precision
def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """``x`` where positive, ``weight * x`` elsewhere; ``weight`` has one element, or one per entry of
    dimension 1.
    """
    count = weight.numel()
    if weight.ndim > 1 or count not in (1, x.shape[1] if x.ndim > 1 else 1):
        raise ShapeError(f"prelu: weight is [1] or has one entry per channel of input {list(x.shape)}, got shape {list(weight.shape)}")
    if count != 1:
        weight = weight.reshape(-1, *(1,) * (x.ndim - 2))
    elif x.ndim == 0:
        weight = weight.reshape(())
    return where(x > 0, x, x * weight)


@in_given_precision
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere."""
    # The exponential only ever sees what it is used for: its overflow elsewhere would make the gradient NaN.
    return where(x > 0, x, expm1(where(x > 0, 0.0, x)) * alpha)


@in_given_precision
def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """``x`` where positive, ``alpha * (exp(x / alpha) - 1)`` elsewhere (Barron, 2017)."""
    if alpha == 0:
        raise ValueError("celu: alpha cannot be 0")
    return where(x > 0, x, expm1(where(x > 0, 0.0, x) / alpha) * alpha)


@in_given_precision
def selu(x: Tensor) -> Tensor:
    """``elu`` scaled so that mean 0 and variance 1 are kept (Klambauer et al., NeurIPS 2017)."""
    return elu(x, SELU_ALPHA) * SELU_SCALE


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """``x`` times the normal distribution's cumulative function (Hendrycks and Gimpel, 2016); ``"tanh"``:
    their approximation.
    """
    if approximate == "none":
        return x * 0.5 * (erf(x * math.sqrt(0.5)) + 1.0)
    if approximate == "tanh":
        return x * 0.5 * (tanh((x + x * x * x * 0.044715) * math.sqrt(2.0 / math.pi)) + 1.0)
    raise ValueError(f"gelu: approximate is 'none' or 'tanh', got {approximate!r}")


def silu(x: Tensor) -> Tensor:
    """``x * sigmoid(x)``."""
    return x * sigmoid(x)


def log_one_plus_exp(x: Tensor) -> Tensor:
    """``log(1 + exp(x))`` without overflow; its gradient is the sigmoid, exactly, at 0 too."""
    with no_grad():
        out = relu(x) + log1p(exp(-absolute(x)))
    return tape(out, "softplus", _grad_log_one_plus_exp, (x,), (x,))


def _grad_log_one_plus_exp(n: Node, g: Tensor) -> tuple[Tensor]:
    return (g * sigmoid(n.values()[0]),)


@in_full_precision
def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * x)) / beta``, and ``x`` itself where ``beta * x`` is above ``threshold``."""
    scaled = x if beta == 1 else x * beta
    soft = log_one_plus_exp(scaled)
    return where(scaled > threshold, x, soft if beta == 1 else soft / beta)


@in_given_precision
def logsigmoid(x: Tensor) -> Tensor:
    """``log(sigmoid(x))`` without overflow."""
    return -log_one_plus_exp(-x)


def softsign(x: Tensor) -> Tensor:
    """``x / (1 + |x|)``."""
    return x / (absolute(x) + 1.0)


def threshold(x: Tensor, threshold: float, value: float) -> Tensor:
    """``x`` where it is above ``threshold``, ``value`` elsewhere."""
    return where(x <= threshold, float(value), x)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """``x`` kept between ``min_val`` and ``max_val``; no gradient at the bounds and beyond."""
    return where(x <= min_val, min_val, where(x >= max_val, max_val, x))


def relu6(x: Tensor) -> Tensor:
    """``x`` kept between 0 and 6."""
    return hardtanh(x, 0.0, 6.0)


def hardsigmoid(x: Tensor) -> Tensor:
    """``(x + 3) / 6`` kept between 0 and 1."""
    return hardtanh(x / 6.0 + 0.5, 0.0, 1.0)


def hardswish(x: Tensor) -> Tensor:
    """``x * hardsigmoid(x)`` (Howard et al., ICCV 2019)."""
    return where(x <= -3, 0.0, where(x >= 3, x, x * (x / 6.0 + 0.5)))


@in_given_precision
def mish(x: Tensor) -> Tensor:
    """``x * tanh(softplus(x))``."""
    return x * tanh(log_one_plus_exp(x))
