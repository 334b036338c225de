"""One model of every layer that has parameters or buffers: its state dict goes to PyTorch and comes from there, on every device."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import nn
from tests.support.compare import assert_close

from .both import array

X, SERIES, IMAGES = array(5, 4, 8), array(2, 4, 9), array(2, 4, 6, 6)
WORDS = np.arange(20, dtype=np.int64).reshape(5, 4) % 7
Case = tuple[str, tuple[Any, ...], dict[str, Any], tuple[Any, ...]]

# Attribute of the model: which layer, its arguments and options, and what it is called with.
CASES: dict[str, Case] = {
    "attention": ("MultiheadAttention", (8, 2), {}, (X, X, X)),
    "attention_more": ("MultiheadAttention", (8, 2), {"add_bias_kv": True, "add_zero_attn": True}, (X, X, X)),
    "attention_apart": ("MultiheadAttention", (8, 2), {"kdim": 4, "vdim": 9, "bias": False}, (X, array(3, 4, 4), array(3, 4, 9))),
    "batch1": ("BatchNorm1d", (4,), {}, (SERIES,)),
    "batch2": ("BatchNorm2d", (4,), {"momentum": None}, (IMAGES,)),
    "batch3": ("BatchNorm3d", (4,), {"affine": False}, (array(2, 4, 3, 2, 2),)),
    "bilinear": ("Bilinear", (8, 8, 3), {}, (X, X)),
    "bce": ("BCELoss", (), {"weight": 8}, (X * 0.2 + 0.5, X * 0.2 + 0.5)),
    "bce_logits": ("BCEWithLogitsLoss", (), {"pos_weight": 8}, (X, X * 0.2 + 0.5)),
    "classes": ("CrossEntropyLoss", (), {"weight": 4}, (X, WORDS[:, :1].repeat(8, 1) % 4)),
    "nll": ("NLLLoss", (), {"weight": 4}, (X, WORDS[:, :1].repeat(8, 1) % 4)),
    "conv1": ("Conv1d", (4, 6, 3), {"groups": 2}, (SERIES,)),
    "conv2": ("Conv2d", (4, 6, (3, 2)), {"bias": False}, (IMAGES,)),
    "decoder": ("TransformerDecoderLayer", (8, 2, 16), {}, (X, X)),
    "embedding": ("Embedding", (7, 6), {"padding_idx": 2}, (WORDS,)),
    "encoder": ("TransformerEncoderLayer", (8, 2, 16), {"norm_first": True}, (X,)),
    "groups": ("GroupNorm", (2, 4), {}, (IMAGES,)),
    "gru": ("GRU", (8, 6), {"num_layers": 2, "bidirectional": True}, (X,)),
    "gru_cell": ("GRUCell", (8, 6), {}, (X[0],)),
    "instance1": ("InstanceNorm1d", (4,), {"affine": True}, (SERIES,)),
    "instance2": ("InstanceNorm2d", (4,), {"track_running_stats": True}, (IMAGES,)),
    "layer": ("LayerNorm", ((4, 8),), {}, (X,)),
    "linear": ("Linear", (8, 6), {}, (X,)),
    "lstm": ("LSTM", (8, 6), {"num_layers": 2, "bidirectional": True}, (X,)),
    "lstm_projected": ("LSTM", (8, 6), {"num_layers": 2, "bidirectional": True, "proj_size": 3}, (X,)),
    "lstm_cell": ("LSTMCell", (8, 6), {}, (X[0],)),
    "prelu": ("PReLU", (4,), {}, (IMAGES,)),
    "rms": ("RMSNorm", (8,), {}, (X,)),
    "rnn": ("RNN", (8, 6), {"nonlinearity": "relu", "bias": False}, (X,)),
    "rnn_cell": ("RNNCell", (8, 6), {}, (X[0],)),
    "transformer": ("Transformer", (8, 2, 1, 2, 16), {"batch_first": True}, (X, X)),
    "transposed1": ("ConvTranspose1d", (4, 6, 3), {}, (SERIES,)),
    "transposed2": ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "groups": 2}, (IMAGES,)),
}  # fmt: skip
# PyTorch's `Transformer` has them; this library's own positions have no counterpart.
WITHIN = {"TransformerEncoder", "TransformerDecoder"}
ALONE = {"PositionalEncoding"}


def model(lib: Any, tensors: Any) -> Any:
    """Of every case, from one library."""

    def made(case: Case) -> Any:
        name, args, options, _ = case
        options = {k: tensors(array(v, low=0.5)) if "weight" in k else v for k, v in options.items()}
        return getattr(lib, name)(*args, **options)

    # Some in a list, some in a dictionary, the rest by name, as models have them.
    net = lib.Module()
    keys = list(CASES)
    net.listed = lib.ModuleList([made(CASES[k]) for k in keys[::3]])
    net.named = lib.ModuleDict({k: made(CASES[k]) for k in keys[1::3]})
    for k in keys[2::3]:
        net.add_module(k, made(CASES[k]))
    net.parameters_too = lib.ParameterList([lib.Parameter(tensors(array(2, 3)))])
    net.eval()
    return net


def _layer(net: Any, key: str) -> Any:
    keys = list(CASES)
    at, which = divmod(keys.index(key), 3)
    return net.listed[at] if which == 0 else net.named[key] if which == 1 else getattr(net, key)


def _flat(found: Any) -> list[Any]:
    return [y for x in found for y in _flat(x)] if isinstance(found, tuple) else [] if found is None else [found]


def _same_outputs(ours: Any, theirs: Any, device: str) -> None:
    for key, (_, _, _, inputs) in CASES.items():
        made = _flat(_layer(ours, key)(*[rt.tensor(a, device=device) for a in inputs]))
        wanted = _flat(_layer(theirs, key)(*[torch.tensor(a) for a in inputs]))
        for a, b in zip(made, wanted, strict=True):
            assert_close(a, b, 1e-3, 1e-4, what=key)


def _scrambled(theirs: Any) -> None:
    """No two tensors alike: an exchange that mixes up two would be seen."""
    for n, (key, value) in enumerate(theirs.state_dict().items()):
        given = array(*value.shape, seed=n, low=0.1, high=0.5)
        value.copy_(torch.tensor(given) if value.is_floating_point() else torch.tensor(n))
        assert value.is_floating_point() or key.endswith("num_batches_tracked")


@pytest.mark.filterwarnings("ignore")
def test_from_pytorch(device: str) -> None:
    theirs = model(torch.nn, torch.tensor)
    _scrambled(theirs)
    ours = model(nn, rt.tensor).to(device)
    result = ours.load_state_dict(theirs.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    mine = ours.state_dict()
    assert list(mine) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert mine[key].dtype.name == str(value.dtype).removeprefix("torch.") and mine[key].device is rt.device(device)
        np.testing.assert_array_equal(mine[key].numpy(), value.numpy(), err_msg=key)
    _same_outputs(ours, theirs, device)


@pytest.mark.filterwarnings("ignore")
def test_to_pytorch(device: str) -> None:
    rt.manual_seed(3)
    ours, theirs = model(nn, rt.tensor).to(device), model(torch.nn, torch.tensor)
    state = {key: torch.tensor(value.cpu().numpy()) for key, value in ours.state_dict().items()}
    result = theirs.load_state_dict(state)
    assert not result.missing_keys and not result.unexpected_keys
    _same_outputs(ours, theirs, device)


def _layers() -> dict[str, type[nn.Module]]:
    """Every public class of layers in any file of `rasptorch.nn`."""
    found = {}
    for info in pkgutil.walk_packages(nn.__path__, "rasptorch.nn."):
        for name, value in vars(import_module(info.name)).items():
            if inspect.isclass(value) and issubclass(value, nn.Module) and not name.startswith("_"):
                found[name] = value
    return found


def _stateful(kind: type[nn.Module]) -> bool:
    """Whether its constructor, or one that it inherits, makes a parameter, a buffer or a layer."""
    owners = [k for k in kind.__mro__ if "__init__" in vars(k) and issubclass(k, nn.Module) and k is not nn.Module]
    sources = [inspect.getsource(k.__init__) for k in owners]
    words = ("Parameter(", "register_parameter(", "register_buffer(", "Linear(", "Encoder(", "Decoder(")
    return any(word in source for source in sources for word in words)


def test_no_layer_with_a_state_is_left_out() -> None:
    """Read from the classes, so that a new layer has to be listed above."""
    layers = _layers()
    assert set(layers) <= set(nn.__all__), "every layer is public"
    here = {case[0] for case in CASES.values()}
    assert here <= set(layers)
    stateful = {name for name, kind in layers.items() if _stateful(kind)}
    assert stateful - WITHIN - ALONE - {"ParameterList", "ParameterDict"} <= here
    assert {"Linear", "LSTM", "BatchNorm2d", "Transformer", "PReLU"} <= stateful  # and the search finds what there is
    within = {type(m).__name__ for m in model(nn, rt.tensor).modules()}
    assert within >= WITHIN
