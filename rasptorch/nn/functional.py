"""Layers, activations and losses as functions: what modules call, and what can be called without a module."""

from __future__ import annotations

from typing import Any

from ..ops.activations import (
    celu,
    elu,
    gelu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    prelu,
    relu6,
    selu,
    silu,
    softplus,
    softsign,
    threshold,
)
from ..ops.attention import scaled_dot_product_attention
from ..ops.checked_index import one_hot
from ..ops.functions import relu as _relu
from ..ops.functions import sigmoid as _sigmoid
from ..ops.functions import tanh as _tanh
from ..ops.linalg import bilinear, linear
from ..ops.normalization import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from ..ops.padding import pad
from ..ops.random import Generator, channel_dropout
from ..ops.random import dropout as _dropout
from ..ops.softmax import log_softmax as _log_softmax
from ..ops.softmax import softmax as _softmax
from ..runtime.errors import ShapeError
from ..tensor import Tensor
from .class_losses import cross_entropy, nll_loss
from .convolutions import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from .elementwise_losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from .embedding import embedding
from .pair_losses import (
    cosine_embedding_loss,
    cosine_similarity,
    gaussian_kl,
    hinge_embedding_loss,
    margin_ranking_loss,
    triplet_margin_loss,
)
from .pools import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from .resizing import interpolate, pixel_shuffle, pixel_unshuffle, upsample


def relu(x: Tensor) -> Tensor:
    """``x`` where positive, 0 elsewhere; NaN stays."""
    return _relu(x)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _tanh(x)


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return _sigmoid(x)


def softmax(x: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along ``dim``, without overflow; computed in ``dtype`` if given."""
    return _softmax(x if dtype is None else x.to(dtype), dim)


def log_softmax(x: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """``log(softmax(x))`` along ``dim``, without overflow; computed in ``dtype`` if given."""
    return _log_softmax(x if dtype is None else x.to(dtype), dim)


def dropout(
    x: Tensor, p: float = 0.5, training: bool = True, *, generator: Generator | None = None
) -> Tensor:
    """Each element is zero with probability ``p``, the others are divided by ``1 - p``; ``x`` itself if not
    ``training``.
    """
    return _dropout(x, p, training, generator=generator)


def dropout1d(x: Tensor, p: float = 0.5, training: bool = True, *, generator: Generator | None = None) -> Tensor:
    """`dropout` of whole channels: of ``[n, channels, length]`` or ``[channels, length]``."""
    if x.ndim not in (2, 3):
        raise ShapeError(f"dropout1d: input is [n, channels, length] or [channels, length], got {list(x.shape)}")
    return channel_dropout(x, p, training, 1, generator=generator)


def dropout2d(x: Tensor, p: float = 0.5, training: bool = True, *, generator: Generator | None = None) -> Tensor:
    """`dropout` of whole channels: of ``[n, channels, height, width]`` or ``[channels, height, width]``."""
    if x.ndim not in (3, 4):
        raise ShapeError(f"dropout2d: input is [n, channels, height, width] or without n, got {list(x.shape)}")
    return channel_dropout(x, p, training, 2, generator=generator)


__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d", "batch_norm",
    "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu", "conv1d",
    "conv2d", "conv_transpose1d", "conv_transpose2d", "cosine_embedding_loss", "cosine_similarity",
    "cross_entropy", "dropout", "dropout1d", "dropout2d", "elu", "embedding", "gaussian_kl", "gelu",
    "group_norm", "hardsigmoid", "hardswish", "hardtanh", "hinge_embedding_loss", "huber_loss",
    "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear",
    "log_softmax", "logsigmoid", "margin_ranking_loss", "max_pool1d", "max_pool2d", "mish",
    "mse_loss", "nll_loss", "one_hot", "pad", "pixel_shuffle", "pixel_unshuffle", "prelu", "relu",
    "relu6", "rms_norm", "scaled_dot_product_attention", "selu", "sigmoid", "silu",
    "smooth_l1_loss", "softmax", "softplus", "softsign", "tanh", "threshold", "triplet_margin_loss",
    "upsample",
]  # fmt: skip
