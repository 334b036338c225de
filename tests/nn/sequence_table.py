"""A row for every layer of sequences: recurrent ones, attention, embeddings and transformers, in random configurations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .drawing import Case, Draw, Row
from .layer_table import FLAT

NO_DROPOUT = 0.0


def _embedding(d: Draw) -> Case:
    rows, columns = d.number(1, 6), d.number(1, 4)
    return Case((rows, columns), {"padding_idx": d.of(None, d.number(-rows, rows - 1))}, (d.whole(rows, *d.shape(low=0)),))


# -- recurrent -------------------------------------------------------------------------------------------------------
def _recurrent(name: str) -> Row:
    def row(d: Draw) -> Case:
        features, hidden, layers = d.number(1, 3), d.number(2, 4), d.number(1, 2)
        options = {"num_layers": layers} | d.flags("bias batch_first bidirectional")
        states = hidden
        if name == "RNN":
            options["nonlinearity"] = d.of("tanh", "relu")
        if name == "LSTM" and d.flag():
            options["proj_size"] = states = d.number(1, hidden - 1)
        length, n, single = d.number(1, 4), d.number(1, 3), d.flag()
        shape = (length,) if single else (n, length) if options["batch_first"] else (length, n)
        first = (layers * (2 if options["bidirectional"] else 1),) + (() if single else (n,))
        inputs: tuple[Any, ...] = (d.array(*shape, features),)
        if d.flag():
            state = d.array(*first, states)
            inputs += ((state, d.array(*first, hidden)),) if name == "LSTM" else (state,)
        return Case((features, hidden), options, inputs)

    return row


def _cell(name: str) -> Row:
    def row(d: Draw) -> Case:
        features, hidden = d.numbers(2)
        options: dict[str, Any] = d.flags("bias")
        if name == "RNNCell":
            options["nonlinearity"] = d.of("tanh", "relu")
        lead = d.shape(0, 1)
        inputs: tuple[Any, ...] = (d.array(*lead, features),)
        if d.flag():
            state = d.array(*lead, hidden)
            inputs += ((state, d.array(*lead, hidden)),) if name == "LSTMCell" else (state,)
        return Case((features, hidden), options, inputs)

    return row


# -- attention -------------------------------------------------------------------------------------------------------
def _mask(d: Draw, *shape: int) -> Any:
    """Nothing, booleans or numbers; every query may look at the first key."""
    kind = d.of("none", "bool", "float")
    if kind == "none":
        return None
    numbers = d.array(*shape)
    numbers[..., 0] = -1.0
    return numbers > 0 if kind == "bool" else numbers


def _attention(d: Draw) -> Case:
    heads, per, n, queries, keys = d.numbers(5, 1, 3)
    width, (kdim, vdim) = heads * per, (d.of(None, d.number()), d.of(None, d.number()))
    options = {"kdim": kdim, "vdim": vdim, "dropout": d.of(0.0, 0.0, 1.0)} | d.flags("bias add_bias_kv add_zero_attn batch_first")
    single = d.flag()

    def lead(length: int) -> tuple[int, ...]:
        return (length,) if single else (n, length) if options["batch_first"] else (length, n)

    inputs = (d.array(*lead(queries), width), d.array(*lead(keys), kdim or width), d.array(*lead(keys), vdim or width))
    per_head = (heads if single else n * heads,) if d.flag() else ()
    keywords = {"attn_mask": _mask(d, *per_head, queries, keys), "key_padding_mask": _mask(d, *(() if single else (n,)), keys)}
    kinds = {getattr(mask, "dtype", None) for mask in keywords.values()} - {None}
    if len(kinds) > 1:  # PyTorch is going to refuse a mixture
        keywords["key_padding_mask"] = None
    return Case((width, heads), options, inputs, keywords | d.flags("need_weights average_attn_weights"))


def _block(d: Draw) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Arguments and options of a block, and the shape of inputs by their length."""
    heads, per, hidden, n = d.numbers(4, 1, 3)
    options: dict[str, Any] = d.flags("batch_first norm_first bias")
    options |= {"activation": d.of("relu", "gelu"), "layer_norm_eps": FLAT}
    single = d.flag()

    def shape(length: int) -> tuple[int, ...]:
        return (*((length,) if single else (n, length) if options["batch_first"] else (length, n)), heads * per)

    return (heads * per, heads, hidden, NO_DROPOUT), options, shape


def _encoder_layer(d: Draw) -> Case:
    args, options, shape = _block(d)
    length = d.number(1, 4)
    return Case(args, options, (d.array(*shape(length)),), {"src_mask": _mask(d, length, length)})


def _decoder_layer(d: Draw) -> Case:
    args, options, shape = _block(d)
    length, memory = d.numbers(2)
    keywords = {"tgt_mask": _mask(d, length, length), "memory_mask": _mask(d, length, memory)}
    return Case(args, options, (d.array(*shape(length)), d.array(*shape(memory))), keywords)


def _stack(kind: str) -> Row:
    def row(d: Draw) -> Case:
        args, options, shape = _block(d)
        inner = (lambda nn: getattr(nn, f"Transformer{kind}Layer")(*args, **options),)
        norm = (lambda nn: nn.LayerNorm(args[0], FLAT),) if d.flag() else ()
        length = d.number(1, 3)
        inputs = (d.array(*shape(length)),) + ((d.array(*shape(d.number(1, 3))),) if kind == "Decoder" else ())
        outer: dict[str, Any] = {"enable_nested_tensor": False} if kind == "Encoder" else {}
        mask = {"mask" if kind == "Encoder" else "tgt_mask": _mask(d, length, length)}
        return Case((*inner, d.number(1, 2), *norm), outer, inputs, mask)

    return row


def _transformer(d: Draw) -> Case:
    (width, heads, hidden, dropout), options, shape = _block(d)
    source, target = d.numbers(2, 1, 3)
    options |= {"dim_feedforward": hidden, "dropout": dropout}
    inputs = d.array(*shape(source)), d.array(*shape(target))
    return Case((width, heads, 1, d.number(1, 2)), options, inputs, {"tgt_mask": _mask(d, target, target)})


# -- positions -------------------------------------------------------------------------------------------------------
class Positions(torch.nn.Module):
    """`PositionalEncoding` by its definition; PyTorch has none."""

    def __init__(self, d_model: int, max_len: int, dropout: float, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        angles = [[at / 10000 ** (2 * (k // 2) / d_model) for k in range(d_model)] for at in range(max_len)]
        rows = [[math.cos(a) if k % 2 else math.sin(a) for k, a in enumerate(row)] for row in angles]
        self.table = torch.tensor(np.array(rows, np.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = self.table[: x.shape[-2 if self.batch_first else 0]]
        return x + (table if self.batch_first or x.ndim == 2 else table[:, None])


def _positions(d: Draw) -> Case:
    width, length, batch_first = d.number(1, 5), d.number(1, 6), d.flag()
    shape = (length,) if d.flag() else (d.number(), length) if batch_first else (length, d.number())
    return Case((width, length + d.number(0, 3), NO_DROPOUT, batch_first), {}, (d.array(*shape, width),))


ORACLES = {"PositionalEncoding": Positions}
ROWS: dict[str, Row] = {
    "Embedding": _embedding,
    "GRU": _recurrent("GRU"),
    "GRUCell": _cell("GRUCell"),
    "LSTM": _recurrent("LSTM"),
    "LSTMCell": _cell("LSTMCell"),
    "MultiheadAttention": _attention,
    "PositionalEncoding": _positions,
    "RNN": _recurrent("RNN"),
    "RNNCell": _cell("RNNCell"),
    "Transformer": _transformer,
    "TransformerDecoder": _stack("Decoder"),
    "TransformerDecoderLayer": _decoder_layer,
    "TransformerEncoder": _stack("Encoder"),
    "TransformerEncoderLayer": _encoder_layer,
}
