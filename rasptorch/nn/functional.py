"""Layers, activations and losses as functions: what modules call, and what can be called without a module.

Where PyTorch has an argument ``inplace``, it is taken as permission: the input's memory is reused anyway once nobody can see it any
more, and the values of a tensor that somebody still holds do not change.
"""

from __future__ import annotations

import warnings
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


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``input`` where positive, 0 elsewhere; NaN stays."""
    return _relu(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _tanh(input)


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-input))``."""
    return _sigmoid(input)


def _chosen(name: str, input: Tensor, dim: int | None) -> int:
    """The dimension that PyTorch takes where none is given, which it warns of: so does this."""
    if dim is not None:
        return dim
    chosen = 0 if input.ndim in (0, 1, 3) else 1
    warnings.warn(f"{name}: dim is not given, so it is {chosen} for an input of shape {list(input.shape)}; say which", stacklevel=3)
    return chosen


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """``exp(input) / sum(exp(input))`` along ``dim``, without overflow; computed in ``dtype`` if given.

    Without ``dim`` it is PyTorch's choice: 0 of an input of 0, 1 or 3 dimensions, 1 otherwise, with a warning.
    """
    return _softmax(input if dtype is None else input.to(dtype), _chosen("softmax", input, dim))


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """``log(softmax(input))`` along ``dim``, without overflow; computed in ``dtype`` if given. Without ``dim`` see `softmax`."""
    return _log_softmax(input if dtype is None else input.to(dtype), _chosen("log_softmax", input, dim))


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Each element is zero with probability ``p``, the others are divided by ``1 - p``; ``input`` itself if not
    ``training``.
    """
    return _dropout(input, p, training, generator=generator)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`dropout` of whole channels: of ``[n, channels, length]`` or ``[channels, length]``."""
    if input.ndim not in (2, 3):
        raise ShapeError(f"dropout1d: input is [n, channels, length] or [channels, length], got {list(input.shape)}")
    return channel_dropout(input, p, training, 1, generator=generator)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`dropout` of whole channels: of ``[n, channels, height, width]`` or ``[channels, height, width]``."""
    if input.ndim not in (3, 4):
        raise ShapeError(f"dropout2d: input is [n, channels, height, width] or without n, got {list(input.shape)}")
    return channel_dropout(input, p, training, 2, generator=generator)


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
