"""Losses that compare pairs: similarities of vectors, margins between scores, divergences of normal distributions."""

from __future__ import annotations

import math

from ..ops.arithmetic import maximum, minimum, where
from ..ops.clamping import clamp_min
from ..ops.functions import absolute, exp, relu, sqrt
from ..ops.precision import in_full_precision
from ..ops.reduction import amax, sum
from ..ops.views import expand
from ..runtime.errors import ShapeError
from ..runtime.layout import Shape, broadcast_shapes
from ..tensor import Tensor
from .elementwise_losses import check_reduction, reduced


def _aligned(x: Tensor, shape: Shape, dim: int) -> Tensor:
    """``x`` with as many dimensions as ``shape``, and stretched along ``dim``, which is added up before anything else is stretched."""
    own = (1,) * (len(shape) - x.ndim) + x.shape
    if -len(shape) <= dim < len(shape):
        own = tuple(both if k == dim % len(shape) else n for k, (n, both) in enumerate(zip(own, shape, strict=True)))
    return x if own == x.shape else expand(x, *own)


@in_full_precision
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """``x1 · x2 / (max(|x1|, eps) max(|x2|, eps))`` along ``dim`` of both, broadcast. Zero, gradient and all, where a vector is zero."""
    shape = broadcast_shapes("cosine_similarity", x1.shape, x2.shape)
    x1, x2 = (_aligned(x, shape, dim) for x in (x1, x2))
    lengths = [sqrt(where(square > 0, square, 1.0)) * where(square > 0, 1.0, 0.0) for square in (sum(x * x, dim, True) for x in (x1, x2))]
    first, second = (x / maximum(length, eps) for x, length in zip((x1, x2), lengths, strict=True))
    return sum(first * second, dim)


@in_full_precision
def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """``1 - cos`` where ``target`` is 1, ``max(0, cos - margin)`` where it is -1, of vectors ``[n, d]`` or ``[d]``."""
    check_reduction("cosine_embedding_loss", reduction)
    if input1.ndim not in (1, 2) or target.ndim != input1.ndim - 1:
        raise ShapeError(
            "cosine_embedding_loss: inputs are [n, d] with target [n], or [d] with a 0-d target, got "
            f"{list(input1.shape)}, {list(input2.shape)} and {list(target.shape)}"
        )
    # The loss's own epsilon keeps the root from zero, as in PyTorch: the gradient is defined for zero vectors, too.
    product = sum(input1 * input2, -1)
    cosine = product / sqrt((sum(input1 * input1, -1) + 1e-12) * (sum(input2 * input2, -1) + 1e-12))
    loss = where(target == 1, 1.0 - cosine, where(target == -1, relu(cosine - margin), 0.0))
    return reduced(loss, reduction)


@in_full_precision
def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """``max(0, margin - target * (input1 - input2))``: ``target`` 1 says that the first is to be larger, -1 the second."""
    check_reduction("margin_ranking_loss", reduction)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            f"margin_ranking_loss: inputs and target have as many dimensions as each other, got {list(input1.shape)}, "
            f"{list(input2.shape)} and {list(target.shape)}"
        )
    return reduced(clamp_min(-target * (input1 - input2) + margin, 0.0), reduction)


@in_full_precision
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """``input`` (a distance) where ``target`` is 1, ``max(0, margin - input)`` where it is -1."""
    check_reduction("hinge_embedding_loss", reduction)
    near, far = where(target == 1, input, 0.0), where(target == -1, clamp_min(margin - input, 0.0), 0.0)
    return reduced(near + far, reduction)


def check_margin(name: str, margin: float, p: float) -> None:
    if not margin > 0:
        raise ValueError(f"{name}: margin is larger than 0, got {margin}")
    if not p > 0:
        raise ValueError(f"{name}: p is larger than 0, got {p}")


def _distance(x: Tensor, y: Tensor, p: float, eps: float) -> Tensor:
    away = absolute(x - y + eps)
    return amax(away, -1) if p == math.inf else sum(away**p, -1) ** (1.0 / p)


@in_full_precision
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``max(0, |anchor - positive| - |anchor - negative| + margin)`` along the last dimension (Schroff et al., CVPR 2015).

    Distances are ``p``-norms (infinity: the largest difference). ``swap``: of the distances of anchor and positive to the negative the
    smaller one counts (Balntas et al., BMVC 2016).
    """
    check_reduction("triplet_margin_loss", reduction)
    check_margin("triplet_margin_loss", margin, p)
    near, far = _distance(anchor, positive, p, eps), _distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, _distance(positive, negative, p, eps))
    return reduced(clamp_min(near - far + margin, 0.0), reduction)


@in_full_precision
def gaussian_kl(mean: Tensor, log_variance: Tensor, reduction: str = "sum") -> Tensor:
    """The divergence of normal distributions from the standard one, ``-(1 + v - mean**2 - exp(v)) / 2`` for a logarithmic variance ``v``.

    What a variational autoencoder adds to its reconstruction loss (Kingma and Welling, 2013, appendix B). Besides the usual reductions
    there is ``"batchmean"``: the sum divided by the length of the first dimension.
    """
    check_reduction("gaussian_kl", reduction, ("mean", "sum", "none", "batchmean"))
    if mean.shape != log_variance.shape:
        raise ShapeError(f"gaussian_kl: mean has shape {list(mean.shape)}, log_variance {list(log_variance.shape)}; they must be equal")
    loss = (mean * mean + exp(log_variance) - log_variance - 1.0) * 0.5
    if reduction == "batchmean":
        return sum(loss) / (mean.shape[0] if mean.ndim else 1)
    return reduced(loss, reduction)
