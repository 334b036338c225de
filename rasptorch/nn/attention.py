"""Multi-head attention (Vaswani et al., NeurIPS 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..ops.arithmetic import where
from ..ops.attention import packed_attention, scaled_dot_product_attention
from ..ops.comparison import eq, logical_not, logical_or
from ..ops.creation import empty, zeros
from ..ops.joining import cat
from ..ops.linalg import linear, matmul
from ..ops.padding import pad
from ..ops.random import dropout
from ..ops.reduction import mean
from ..ops.softmax import softmax
from ..ops.views import split
from ..runtime import dtype as dt
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError, ShapeError
from ..tensor import Tensor
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter

NAME = "MultiheadAttention"
INF = float("inf")


def _allowed(mask: Tensor | None) -> Tensor | None:
    """From "true: is left out" to "true: takes part"; numbers to be added stay."""
    return logical_not(mask) if mask is not None and mask.dtype is dt.bool_ else mask


def _added(mask: Tensor, dtype: DType) -> Tensor:
    """A mask as numbers to be added."""
    if mask.dtype is not dt.bool_:
        return mask
    from ..ops.creation import full

    return where(mask, -INF, full((), 0.0, dtype=dtype, device=mask.device))


def merged_mask(attn_mask: Tensor | None, key_padding_mask: Tensor | None, n: int, heads: int, dtype: DType) -> Tensor | None:
    """Both masks in one, as `scaled_dot_product_attention` takes it for ``[n, heads, queries, keys]``.

    ``attn_mask`` is ``[queries, keys]`` or ``[n * heads, queries, keys]``, ``key_padding_mask`` ``[n, keys]``; booleans are true where
    a key is left out, numbers are added.
    """
    for mask in (attn_mask, key_padding_mask):
        if mask is not None and mask.dtype is not dt.bool_ and not mask.dtype.is_floating_point:
            raise DTypeError(f"{NAME}: masks are bool (true: left out) or floating-point numbers (added), got {mask.dtype.name}")
    if attn_mask is not None and attn_mask.ndim == 3:
        if attn_mask.shape[0] != n * heads:
            raise ShapeError(f"{NAME}: attn_mask is [queries, keys] or [{n * heads}, queries, keys], got {list(attn_mask.shape)}")
        attn_mask = attn_mask.reshape(n, heads, *attn_mask.shape[1:])
    if key_padding_mask is None:
        return _allowed(attn_mask)
    if key_padding_mask.ndim != 2 or key_padding_mask.shape[0] != n:
        raise ShapeError(f"{NAME}: key_padding_mask is [{n}, keys], got {list(key_padding_mask.shape)}")
    padding = key_padding_mask.reshape(n, 1, 1, key_padding_mask.shape[1])
    if attn_mask is None:
        return _allowed(padding)
    if attn_mask.dtype is dt.bool_ and padding.dtype is dt.bool_:
        return logical_not(logical_or(attn_mask, padding))
    return _added(attn_mask, dtype) + _added(padding, dtype)


class MultiheadAttention(Module):
    """Attention in ``num_heads`` parts of ``embed_dim / num_heads`` features each, between learned projections.

    Inputs are ``[length, n, features]``, with ``batch_first`` ``[n, length, features]``, or ``[length, features]``. ``dropout`` is the
    probability with which attention weights are dropped while training. ``kdim`` and ``vdim`` are the features of key and value where
    they are others. ``add_bias_kv`` appends a learned key and value to every sequence, ``add_zero_attn`` one of zeros: something to
    look at where nothing else is worth it. No mask hides these. Parameters have PyTorch's names.
    """

    in_proj_weight: Tensor | None
    in_proj_bias: Tensor | None
    bias_k: Tensor | None
    bias_v: Tensor | None

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Any = None, dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ShapeError(f"{NAME}: embed_dim {embed_dim} does not split into {num_heads} heads")
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"{NAME}: dropout is a probability between 0 and 1, got {dropout}")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.dropout = dropout
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn
        at = {"dtype": dtype, "device": device}
        same = self.kdim == embed_dim and self.vdim == embed_dim
        sizes = {"q_proj_weight": embed_dim, "k_proj_weight": self.kdim, "v_proj_weight": self.vdim}
        for name, features in sizes.items():
            self.register_parameter(name, None if same else Parameter(empty(embed_dim, features, **at)))
        self.register_parameter("in_proj_weight", Parameter(empty(3 * embed_dim, embed_dim, **at)) if same else None)
        self.register_parameter("in_proj_bias", Parameter(empty(3 * embed_dim, **at)) if bias else None)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, Parameter(empty(1, 1, embed_dim, **at)) if add_bias_kv else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, **at)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Xavier's uniform weights, no biases; appended keys and values Xavier's normal; the output's weight as a linear layer's."""
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            weight = getattr(self, name)
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The result in the query's form, and the weights ``[n, queries, keys]`` (per head ``[n, heads, queries, keys]`` without
        ``average_attn_weights``), None if not ``need_weights``, which is quicker and needs less memory.

        ``key_padding_mask`` is ``[n, keys]``, ``attn_mask`` ``[queries, keys]`` or ``[n * heads, queries, keys]``: booleans, true where a
        key is left out, or numbers that are added to the scores. ``is_causal`` says that query ``i`` sees keys ``0..i``; an ``attn_mask``
        given with it has to say the same.
        """
        if query.ndim == 2:
            return self._single(query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal)
        self._check(query, key, value)
        n = query.shape[0 if self.batch_first else 1]
        more = self._appended
        causal = is_causal and (attn_mask is None or (key_padding_mask is None and not need_weights and not more))
        if causal and (key_padding_mask is not None or need_weights or more):
            attn_mask, causal = square_subsequent_mask(query.shape[1 if self.batch_first else 0], query), False
        if more:
            attn_mask, key_padding_mask = (m if m is None else pad(m, (0, more)) for m in (attn_mask, key_padding_mask))
        mask = None if causal else merged_mask(attn_mask, key_padding_mask, n, self.num_heads, query.dtype)
        p = self.dropout if self.training else 0.0
        if need_weights:
            out, weights = self._with_weights(query, key, value, mask, p)
            weights = mean(weights, 1) if average_attn_weights else weights
        else:
            out, weights = self._attend(query, key, value, mask, p, causal), None
        # [n, heads, length, features] lies in memory as the query does, so this is no copy.
        out = out.permute(0, 2, 1, 3) if self.batch_first else out.permute(2, 0, 1, 3)
        return self.out_proj(out.reshape(*query.shape[:2], self.embed_dim)), weights

    def _single(
        self, query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, need_weights: bool, attn_mask: Tensor | None,
        average: bool, is_causal: bool,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Of one sample, without the dimension ``n``."""
        dim = 0 if self.batch_first else 1
        q, k, v = (x.unsqueeze(dim) for x in (query, key, value))
        padding = padding if padding is None else padding.unsqueeze(0)
        out, weights = self.forward(q, k, v, padding, need_weights, attn_mask, average, is_causal)
        return out.squeeze(dim), weights if weights is None else weights.squeeze(0)

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        wanted = (("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim))
        for what, x, features in wanted:
            if x.ndim != 3 or x.shape[2] != features:
                form = "[n, length, {}]" if self.batch_first else "[length, n, {}]"
                raise ShapeError(f"{NAME}: {what} is {form.format(features)}, got {list(x.shape)}")
        if key.shape[:2] != value.shape[:2]:
            raise ShapeError(f"{NAME}: key {list(key.shape)} and value {list(value.shape)} have one length and one n")

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``[n, heads, length, head_dim]``."""
        weights: Sequence[Tensor] = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        if self.in_proj_weight is not None:
            weights = split(self.in_proj_weight, self.embed_dim)
        biases: Sequence[Tensor | None] = (None,) * 3 if self.in_proj_bias is None else split(self.in_proj_bias, self.embed_dim)
        made = [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
        for number, extra in ((1, self.bias_k), (2, self.bias_v)):
            if extra is not None:
                stretched = extra.expand(*((len(key), 1) if self.batch_first else (1, key.shape[1])), self.embed_dim)
                made[number] = cat([made[number], stretched], 1 if self.batch_first else 0)
        q, k, v = (self._heads(x) for x in made)
        if self.add_zero_attn:
            nothing = zeros(*k.shape[:2], 1, self.head_dim, dtype=k.dtype, device=k.device)
            k, v = cat([k, nothing], 2), cat([v, nothing], 2)
        return q, k, v

    @property
    def _appended(self) -> int:
        """How many keys there are more than those given."""
        return int(self.bias_k is not None) + int(self.add_zero_attn)

    def _heads(self, x: Tensor) -> Tensor:
        apart = x.reshape(*x.shape[:2], self.num_heads, self.head_dim)
        return apart.permute(0, 2, 1, 3) if self.batch_first else apart.permute(1, 2, 0, 3)

    def _packed(self, x: Tensor) -> Tensor:
        """Queries, keys and values of one input, by one product: ``[n, length, 3, heads, head_dim]``."""
        assert self.in_proj_weight is not None
        made = linear(x, self.in_proj_weight, self.in_proj_bias).reshape(*x.shape[:2], 3, self.num_heads, self.head_dim)
        return made if self.batch_first else made.permute(1, 0, 2, 3, 4)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, causal: bool) -> Tensor:
        if query is key and key is value and self.in_proj_weight is not None and not self._appended:
            return packed_attention(self._packed(query), mask, p, causal)
        return scaled_dot_product_attention(*self._projected(query, key, value), mask, p, causal)

    def _with_weights(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float) -> tuple[Tensor, Tensor]:
        q, k, v = self._projected(query, key, value)
        scores = matmul(q, k.mT) * (1.0 / math.sqrt(self.head_dim))
        if mask is not None:
            scores = where(mask, scores, -INF) if mask.dtype is dt.bool_ else scores + mask
        weights = softmax(scores)
        if mask is not None:
            weights = where(eq(scores, -INF), 0.0, weights)
        weights = dropout(weights, p)
        return matmul(weights, v), weights


def square_subsequent_mask(size: int, like: Tensor | None = None, *, device: Any = None, dtype: Any = None) -> Tensor:
    """``[size, size]`` numbers to be added to scores: 0 on the diagonal and below, -inf above: no position sees later ones."""
    from ..ops.creation import arange, full

    device = like.device if like is not None else device
    dtype = like.dtype if like is not None else dt.float32 if dtype is None else dtype
    position = arange(size, dtype=dt.int32, device=device)
    return where(position > position.unsqueeze(1), -INF, full((), 0.0, dtype=dtype, device=device))
