"""Transformer layers and stacks: values, gradients, state and starting values are PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import nn
from tests.support.compare import assert_close
from tests.support.counting import counting

from .both import array
from .test_attention import _same

OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_first": True, "norm_first": True, "activation": "gelu"},
    {"bias": False, "layer_norm_eps": 1e-3},
]


def _filled(theirs: torch.nn.Module, ours: nn.Module) -> tuple[nn.Module, torch.nn.Module]:
    for n, p in enumerate(theirs.parameters()):
        p.data = torch.tensor(array(*p.shape, seed=n) * 0.4 + (0.5 if p.ndim == 1 else 0.0))
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    again = torch.nn.Module.load_state_dict(theirs, {k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    assert not again.missing_keys and not again.unexpected_keys
    return ours, theirs


def _sequences(batch_first: bool, length: int, seed: int = 0) -> Any:
    return array(2, length, 8, seed=seed) if batch_first else array(length, 2, 8, seed=seed)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_encoder(options: dict[str, Any], device: str) -> None:
    ours = nn.TransformerEncoderLayer(8, 2, 16, 0.0, **options, device=device)
    ours, theirs = _filled(torch.nn.TransformerEncoderLayer(8, 2, 16, 0.0, **options), ours)
    x = _sequences(bool(options.get("batch_first")), 5)
    _same(ours, theirs, device, [x], lambda m, x: m(x))
    mask = np.triu(np.full((5, 5), -np.inf, np.float32), 1)
    padding = np.arange(5) >= np.array([[5], [3]])

    def masked(m: Any, x: Any) -> Any:
        made = (lambda a: rt.tensor(a, device=device)) if m is ours else torch.tensor
        return m(x, src_mask=made(mask), src_key_padding_mask=made(np.where(padding, -np.inf, 0).astype(np.float32)))

    _same(ours, theirs, device, [x], masked)
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_decoder(options: dict[str, Any], device: str) -> None:
    ours = nn.TransformerDecoderLayer(8, 2, 16, 0.0, **options, device=device)
    ours, theirs = _filled(torch.nn.TransformerDecoderLayer(8, 2, 16, 0.0, **options), ours)
    first = bool(options.get("batch_first"))
    mask = np.triu(np.ones((5, 5), bool), 1)

    def masked(m: Any, x: Any, y: Any) -> Any:
        made = (lambda a: rt.tensor(a, device=device)) if m is ours else torch.tensor
        return m(x, y, tgt_mask=made(mask), tgt_is_causal=True)

    _same(ours, theirs, device, [_sequences(first, 5), _sequences(first, 7, 1)], masked)
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")


@pytest.mark.filterwarnings("ignore:.*nested")
def test_stacks(device: str) -> None:
    sizes: dict[str, Any] = {"num_encoder_layers": 2, "num_decoder_layers": 1, "dim_feedforward": 16, "dropout": 0.0}
    ours, theirs = _filled(torch.nn.Transformer(8, 2, **sizes), nn.Transformer(8, 2, **sizes, device=device))
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5)
    assert_close(nn.Transformer.generate_square_subsequent_mask(5, device=device), mask)

    def masked(m: Any, x: Any, y: Any) -> Any:
        return m(x, y, tgt_mask=rt.tensor(mask.numpy(), device=device) if m is ours else mask)

    _same(ours, theirs, device, [_sequences(False, 7, 1), _sequences(False, 5)], masked)


def test_dropout_drops(device: str) -> None:
    layer, x = nn.TransformerEncoderLayer(8, 2, 16, 0.5, device=device), rt.tensor(array(5, 2, 8), device=device)
    a, b = (layer(x).detach().numpy() for _ in range(2))
    assert not np.array_equal(a, b)
    a, b = (layer.eval()(x).detach().numpy() for _ in range(2))
    assert np.array_equal(a, b)


def test_starting_values() -> None:
    rt.manual_seed(0)
    layer = nn.TransformerEncoderLayer(64, 4, 256)
    bound = math.sqrt(6 / (64 + 192))
    values = layer.self_attn.in_proj_weight.detach().numpy()
    assert np.abs(values).max() <= bound and abs(values.std() - bound / math.sqrt(3)) < 0.02 * bound and abs(values.mean()) < 0.02 * bound
    assert (layer.self_attn.in_proj_bias.detach().numpy() == 0).all() and (layer.self_attn.out_proj.bias.detach().numpy() == 0).all()
    assert np.abs(layer.linear1.weight.detach().numpy()).max() <= 1 / 8
    stack = nn.TransformerEncoder(layer, 2)
    a, b = (part.linear1.weight for part in stack.layers)
    assert a is not b and np.array_equal(a.detach().numpy(), b.detach().numpy())
    whole = nn.Transformer(64, 4, 1, 1, 256)
    assert np.abs(whole.encoder.layers[0].linear1.weight.detach().numpy()).max() > 1 / 8


def test_positions(device: str) -> None:
    for features in (6, 7):
        layer = nn.PositionalEncoding(features, 50, dropout=0.0, device=device)
        position, column = np.arange(50)[:, None], np.arange(features)
        angle = position / 10000 ** (column // 2 * 2 / features)
        table = np.where(column % 2, np.cos(angle), np.sin(angle)).astype(np.float32)
        x = array(9, 2, features)
        assert_close(layer(rt.tensor(x, device=device)), x + table[:9, None], 1e-4, 2e-5)
        assert list(layer.state_dict()) == []
    layer = nn.PositionalEncoding(7, 50, dropout=0.0, batch_first=True, device=device)
    assert_close(layer(rt.tensor(x.transpose(1, 0, 2).copy(), device=device)), (x + table[:9, None]).transpose(1, 0, 2).copy(), 1e-4, 2e-5)
    with pytest.raises(rt.ShapeError, match="at most 50 positions of 7 features"):
        layer(rt.ones(2, 51, 7, device=device))
    dropping = nn.PositionalEncoding(4, 10, dropout=0.5, device=device)
    assert (dropping(rt.ones(10, 1, 4, device=device)).numpy() == 0).any()


@pytest.mark.fresh
def test_a_blocks_training_step(device: str) -> None:
    """One submission, known from the third step on, and as few dispatches as promised."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True, device=device)
    optimizer = rt.optim.SGD(layer.parameters(), lr=0.01)
    x, t = (rt.tensor(array(4, 8, 16, seed=s), device=device) for s in (0, 1))

    def step() -> rt.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(layer(x), t)
        loss.backward()
        optimizer.step()
        return loss

    losses = [step() for _ in range(3)]
    with counting(device) as counts:
        losses.append(step())
    assert losses[3].item() < losses[0].item()
    assert counts.submissions == 1 and counts.plan_misses == 0 and counts.readbacks == 0 and counts.uploads == 0
    assert counts.dispatches <= 50


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="activation is 'relu', 'gelu'"):
        nn.TransformerEncoderLayer(8, 2, activation="swish")
