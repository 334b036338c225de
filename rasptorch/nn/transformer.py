"""Transformer layers (Vaswani et al., NeurIPS 2017), stacks of them, and sinusoidal positions."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from ..ops.creation import arange
from ..ops.functions import cos, exp, sin
from ..ops.joining import stack
from ..runtime import dtype as dt
from ..runtime.errors import ShapeError
from ..tensor import Tensor
from . import functional as F
from . import init
from .attention import MultiheadAttention, square_subsequent_mask
from .containers import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm

Activation = Callable[[Tensor], Tensor]


def _activation(given: str | Activation) -> Activation:
    if callable(given):
        return given
    known: dict[str, Activation] = {"relu": F.relu, "gelu": F.gelu}
    found = known.get(given)
    if found is None:
        raise ValueError(f"activation is 'relu', 'gelu' or a function of a tensor, got {given!r}")
    return found


class _Layer(Module):
    """What encoder and decoder layers share: the feed-forward part, and where the norms go."""

    activation: Activation
    norms = 0

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1, activation: str | Activation = "relu",
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True,
        device: Any = None, dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        super().__init__()
        at: dict[str, Any] = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **at)
        if self.norms == 3:
            self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **at)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **at)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **at)
        self.norm_first = norm_first
        for number in range(1, self.norms + 1):
            setattr(self, f"norm{number}", LayerNorm(d_model, layer_norm_eps, bias=bias, **at))
        for number in range(1, self.norms + 1):
            setattr(self, f"dropout{number}", Dropout(dropout))
        self.activation = _activation(activation)

    def _feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return out

    def _residual(self, number: int, x: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
        """``x`` plus ``part`` of it, dropped now and then; normalised before ``part`` or afterwards."""
        norm, drop = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        out: Tensor = x + drop(part(norm(x))) if self.norm_first else norm(x + drop(part(x)))
        return out


class TransformerEncoderLayer(_Layer):
    """Self-attention and two linear layers, each with a residual and a norm around it.

    Input is ``[length, n, d_model]``, or with ``batch_first`` ``[n, length, d_model]``. ``norm_first`` normalises before each part
    instead of afterwards. ``activation`` is ``"relu"``, ``"gelu"`` or a function of a tensor. Masks are `MultiheadAttention`'s.
    """

    norms = 2

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            out: Tensor = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]
            return out

        return self._residual(2, self._residual(1, src, attend), self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to an encoder's result (``memory``), and two linear layers; see `TransformerEncoderLayer`."""

    norms = 3

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            out: Tensor = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]
            return out

        def look(x: Tensor) -> Tensor:
            found = self.multihead_attn(x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal)
            out: Tensor = found[0]
            return out

        x = self._residual(1, tgt, attend)
        return self._residual(3, self._residual(2, x, look), self._feed_forward)


class TransformerEncoder(Module):
    """``num_layers`` copies of a layer, one after another, and a norm at the end if given.

    The copies start with the layer's parameters, as in PyTorch. A mask is not looked at to find out whether it is causal: say so.
    """

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None, enable_nested_tensor: bool = True, mask_check: bool = True
    ) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, is_causal: bool | None = None
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """``num_layers`` copies of a decoder layer, one after another, and a norm at the end if given; see `TransformerEncoder`."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(decoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        for layer in self.layers:
            tgt = layer(
                tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, bool(tgt_is_causal), memory_is_causal
            )
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder and a decoder, each with a norm at its end; every matrix starts with Xavier's uniform values."""

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6, dim_feedforward: int = 2048,
        dropout: float = 0.1, activation: str | Activation = "relu", custom_encoder: Module | None = None,
        custom_decoder: Module | None = None, layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
        bias: bool = True, device: Any = None, dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        super().__init__()
        options = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype)
        at: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, **at)

        self.encoder = custom_encoder or TransformerEncoder(TransformerEncoderLayer(*options), num_encoder_layers, norm())
        self.decoder = custom_decoder or TransformerDecoder(TransformerDecoderLayer(*options), num_decoder_layers, norm())
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The decoder's result for ``tgt``, looking at the encoder's for ``src``."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        out: Tensor = self.decoder(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal, memory_is_causal
        )
        return out

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """``[sz, sz]`` numbers to be added to scores: 0 on the diagonal and below, -inf above."""
        return square_subsequent_mask(sz, device=device, dtype=dtype)


class PositionalEncoding(Module):
    """Adds sines and cosines of the position to ``[length, n, d_model]``, or with ``batch_first`` to ``[n, length, d_model]``.

    Features ``2i`` and ``2i + 1`` are sine and cosine of ``position / 10000**(2i / d_model)`` (Vaswani et al., NeurIPS 2017). Values
    are dropped with probability ``dropout`` while training. The table is no part of ``state_dict``.
    """

    pe: Tensor

    def __init__(
        self, d_model: int, max_len: int = 5000, dropout: float = 0.1, batch_first: bool = False, device: Any = None,
        dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        super().__init__()
        self.d_model, self.max_len, self.batch_first = d_model, max_len, batch_first
        self.dropout = Dropout(dropout)
        pairs = (d_model + 1) // 2
        position = arange(max_len, dtype=dt.float32, device=device).unsqueeze(1)
        angle = position * exp(arange(pairs, dtype=dt.float32, device=device) * (-2.0 * math.log(10000.0) / d_model))
        table = stack([sin(angle), cos(angle)], -1).reshape(max_len, 2 * pairs)[:, :d_model]
        self.register_buffer("pe", table.contiguous().to(dt.as_dtype(dtype)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[-2 if self.batch_first else 0]
        if length > self.max_len or x.shape[-1] != self.d_model:
            wanted = f"at most {self.max_len} positions of {self.d_model} features"
            raise ShapeError(f"PositionalEncoding: input has {wanted}, got {list(x.shape)}")
        table = self.pe[:length]
        out: Tensor = self.dropout(x + (table if self.batch_first or x.ndim == 2 else table.unsqueeze(1)))
        return out

    def extra_repr(self) -> str:
        return f"{self.d_model}, max_len={self.max_len}, batch_first={self.batch_first}"
