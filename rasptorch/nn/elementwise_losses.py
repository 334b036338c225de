"""Losses that compare element by element: regression, binary cross entropy, Kullback-Leibler divergence.

``reduction`` is ``"mean"`` (over all elements), ``"sum"`` or ``"none"`` (a loss per element). Input and
target broadcast against each other; where their shapes differ a warning says so, since that is rarely meant.
"""

from __future__ import annotations

import warnings

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..ops.activations import log_one_plus_exp
from ..ops.arithmetic import maximum, where
from ..ops.dispatch import tape
from ..ops.functions import absolute, exp, log, log1p
from ..ops.precision import in_full_precision
from ..ops.reduction import mean, sum
from ..runtime.errors import ShapeError
from ..runtime.layout import broadcast_shapes
from ..tensor import Tensor

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(name: str, reduction: str, allowed: tuple[str, ...] = REDUCTIONS) -> None:
    if reduction not in allowed:
        raise ValueError(f"{name}: reduction is one of {', '.join(allowed)}, got {reduction!r}")


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """``loss`` as it is, its sum or its mean."""
    if reduction == "none":
        return loss
    return sum(loss) if reduction == "sum" else mean(loss)


def _matched(name: str, reduction: str, input: Tensor, target: Tensor) -> None:
    check_reduction(name, reduction)
    if input.shape != target.shape:
        shape = broadcast_shapes(name, input.shape, target.shape)
        warnings.warn(
            f"{name}: input has shape {list(input.shape)} and target {list(target.shape)}; "
            f"both are stretched to {list(shape)}",
            stacklevel=4,
        )


def _weighed(name: str, loss: Tensor, weight: Tensor | None, input: Tensor) -> Tensor:
    if weight is None:
        return loss
    if weight.shape != input.shape:
        raise ShapeError(f"{name}: weight has the input's shape {list(input.shape)}, got {list(weight.shape)}")
    return loss * weight


def _averaged(name: str, loss: Tensor, weight: Tensor | None, input: Tensor, reduction: str) -> Tensor:
    """The mean is that of all elements, each counted as often as its weight says."""
    loss = _weighed(name, loss, weight, input)
    return sum(loss) / sum(weight) if weight is not None and reduction == "mean" else reduced(loss, reduction)


@in_full_precision
def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """``(input - target)**2``. ``weight``, of the input's shape, multiplies the elements; the mean is divided by its sum."""
    _matched("mse_loss", reduction, input, target)
    away = input - target
    return _averaged("mse_loss", away * away, weight, input, reduction)


@in_full_precision
def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """``|input - target|``. ``weight`` as of `mse_loss`."""
    _matched("l1_loss", reduction, input, target)
    return _averaged("l1_loss", absolute(input - target), weight, input, reduction)


@in_full_precision
def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """``d**2 / (2 beta)`` for a distance ``d`` below ``beta``, ``d - beta / 2`` from there on."""
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta cannot be negative, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction)
    _matched("smooth_l1_loss", reduction, input, target)
    away = absolute(input - target)
    return reduced(where(away < beta, away * away * (0.5 / beta), away - 0.5 * beta), reduction)


@in_full_precision
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """``d**2 / 2`` for a distance ``d`` up to ``delta``, ``delta * (d - delta / 2)`` from there on.

    ``weight``, of the input's shape, multiplies the elements; the mean is that of the products, as PyTorch has it.
    """
    if delta <= 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    _matched("huber_loss", reduction, input, target)
    away = absolute(input - target)
    loss = where(away <= delta, away * away * 0.5, (away - 0.5 * delta) * delta)
    return reduced(_weighed("huber_loss", loss, weight, input), reduction)


# -- binary cross entropy ------------------------------------------------------------------------------------
def _same_shape(name: str, reduction: str, input: Tensor, target: Tensor) -> None:
    check_reduction(name, reduction)
    if input.shape != target.shape:
        raise ShapeError(
            f"{name}: input has shape {list(input.shape)}, target {list(target.shape)}; they must be equal"
        )


@in_full_precision
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """``-(t log p + (1 - t) log(1 - p))`` of probabilities; logarithms below -100 count as -100, as in
    PyTorch.

    ``weight`` multiplies the elements and broadcasts. Prefer `binary_cross_entropy_with_logits`, which is
    exact.
    """
    _same_shape("binary_cross_entropy", reduction, input, target)
    with no_grad():
        out = (target - 1.0) * maximum(log1p(-input), -100.0) - target * maximum(log(input), -100.0)
    out = tape(out, "binary_cross_entropy", _grad_bce, (input, target), (input, target))
    return reduced(out if weight is None else out * weight, reduction)


def _grad_bce(n: Node, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    p, t = n.values()
    dp = g * (p - t) / maximum(p * (1.0 - p), 1e-12) if n.needs(0) else None
    dt = g * (maximum(log1p(-p), -100.0) - maximum(log(p), -100.0)) if n.needs(1) else None
    return dp, dt


@in_full_precision
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """``-(w t log s + (1 - t) log(1 - s))`` with ``s = sigmoid(input)``: finite and exact for any logit.

    ``weight`` multiplies the elements, ``pos_weight`` (``w``) what the positive ones contribute; both
    broadcast.
    """
    _same_shape("binary_cross_entropy_with_logits", reduction, input, target)
    # Each addend is positive for targets between 0 and 1, so nothing cancels.
    positive = log_one_plus_exp(-input) * target
    out = log_one_plus_exp(input) * (1.0 - target) + (
        positive if pos_weight is None else positive * pos_weight
    )
    return reduced(out if weight is None else out * weight, reduction)


# -- Kullback and Leibler ------------------------------------------------------------------------------------
@in_full_precision
def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """``t * (log t - input)`` for log-probabilities ``input`` and probabilities ``t`` (their logarithms if
    ``log_target``).

    Where ``t`` is 0 the first term is 0; a negative ``t``, which is no probability, gives NaN.

    Besides the usual reductions there is ``"batchmean"``: the sum divided by the length of the first
    dimension, which is what the divergence of a batch means.
    """
    check_reduction("kl_div", reduction, (*REDUCTIONS, "batchmean"))
    _matched("kl_div", "none", input, target)
    if log_target:
        loss = exp(target) * (target - input)
    else:
        some = target != 0  # negative targets have no logarithm: NaN
        loss = where(some, target * log(where(some, target, 1.0)), 0.0) - target * input
    if reduction == "batchmean":
        return sum(loss) / (input.shape[0] if input.ndim else 1)
    return reduced(loss, reduction)
