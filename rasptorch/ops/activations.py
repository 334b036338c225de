"""Activation functions made of other operations; their gradients, and gradients of those, come with them.

``inplace=True`` is taken as permission: the input's memory is reused anyway once nobody can see it any more.
"""

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


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``negative_slope * input`` elsewhere."""
    return where(input > 0, input, input * negative_slope)


@in_low_precision
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``input`` where positive, ``weight * input`` elsewhere; ``weight`` has one element, or one per entry of
    dimension 1.
    """
    count = weight.numel()
    if weight.ndim > 1 or count not in (1, input.shape[1] if input.ndim > 1 else 1):
        raise ShapeError(f"prelu: weight is [1] or has one entry per channel of input {list(input.shape)}, got shape {list(weight.shape)}")
    if count != 1:
        weight = weight.reshape(-1, *(1,) * (input.ndim - 2))
    elif input.ndim == 0:
        weight = weight.reshape(())
    return where(input > 0, input, input * weight)


@in_given_precision
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``alpha * (exp(input) - 1)`` elsewhere."""
    # The exponential only ever sees what it is used for: its overflow elsewhere would make the gradient NaN.
    return where(input > 0, input, expm1(where(input > 0, 0.0, input)) * alpha)


@in_given_precision
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``alpha * (exp(input / alpha) - 1)`` elsewhere (Barron, 2017)."""
    if alpha == 0:
        raise ValueError("celu: alpha cannot be 0")
    return where(input > 0, input, expm1(where(input > 0, 0.0, input) / alpha) * alpha)


@in_given_precision
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """``elu`` scaled so that mean 0 and variance 1 are kept (Klambauer et al., NeurIPS 2017)."""
    return elu(input, SELU_ALPHA) * SELU_SCALE


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``input`` times the normal distribution's cumulative function (Hendrycks and Gimpel, 2016); ``"tanh"``:
    their approximation.
    """
    if approximate == "none":
        return input * 0.5 * (erf(input * math.sqrt(0.5)) + 1.0)
    if approximate == "tanh":
        return input * 0.5 * (tanh((input + input * input * input * 0.044715) * math.sqrt(2.0 / math.pi)) + 1.0)
    raise ValueError(f"gelu: approximate is 'none' or 'tanh', got {approximate!r}")


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * sigmoid(input)``."""
    return input * sigmoid(input)


def log_one_plus_exp(x: Tensor) -> Tensor:
    """``log(1 + exp(x))`` without overflow; its gradient is the sigmoid, exactly, at 0 too."""
    with no_grad():
        out = relu(x) + log1p(exp(-absolute(x)))
    return tape(out, "softplus", _grad_log_one_plus_exp, (x,), (x,))


def _grad_log_one_plus_exp(n: Node, g: Tensor) -> tuple[Tensor]:
    return (g * sigmoid(n.values()[0]),)


@in_full_precision
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * input)) / beta``, and ``input`` itself where ``beta * input`` is above ``threshold``."""
    scaled = input if beta == 1 else input * beta
    soft = log_one_plus_exp(scaled)
    return where(scaled > threshold, input, soft if beta == 1 else soft / beta)


@in_given_precision
def logsigmoid(input: Tensor) -> Tensor:
    """``log(sigmoid(input))`` without overflow."""
    return -log_one_plus_exp(-input)


def softsign(input: Tensor) -> Tensor:
    """``input / (1 + |input|)``."""
    return input / (absolute(input) + 1.0)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``input`` where it is above ``threshold``, ``value`` elsewhere."""
    return where(input <= threshold, float(value), input)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` kept between ``min_val`` and ``max_val``; no gradient at the bounds and beyond."""
    return where(input <= min_val, min_val, where(input >= max_val, max_val, input))


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``input`` kept between 0 and 6."""
    return hardtanh(input, 0.0, 6.0)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``(input + 3) / 6`` kept between 0 and 1."""
    return hardtanh(input / 6.0 + 0.5, 0.0, 1.0)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * hardsigmoid(input)`` (Howard et al., ICCV 2019)."""
    return where(input <= -3, 0.0, where(input >= 3, input, input * (input / 6.0 + 0.5)))


@in_given_precision
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * tanh(softplus(input))``."""
    return input * tanh(log_one_plus_exp(input))
