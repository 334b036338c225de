"""What parameters and buffers start with, of every layer that has any: PyTorch's mean, spread and bounds, tensor by tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import nn

from .test_state_exchange import CASES

# Arguments that make every random tensor large enough for its moments to be known to a few percent.
LARGE: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "attention": ((64, 4), {}),
    "attention_apart": ((64, 4), {"kdim": 48, "vdim": 80}),
    "attention_more": ((2048, 2), {"add_bias_kv": True, "kdim": 2, "vdim": 2}),
    "bilinear": ((20, 30, 2000), {}),
    "conv1": ((32, 2000, 3), {"groups": 2}),
    "conv2": ((8, 2000, (3, 2)), {}),
    "decoder": ((1024, 2, 2048), {}),
    "embedding": ((300, 40), {"padding_idx": 2}),
    "encoder": ((1024, 2, 2048), {}),
    "gru": ((40, 500), {"bidirectional": True}),
    "gru_cell": ((40, 500), {}),
    "linear": ((30, 2000), {}),
    "lstm": ((40, 400), {"num_layers": 2}),
    "lstm_cell": ((40, 400), {}),
    "lstm_projected": ((40, 400), {"proj_size": 100}),
    "rnn": ((40, 1500), {"nonlinearity": "relu"}),
    "rnn_cell": ((40, 1500), {}),
    "transformer": ((512, 2, 1, 1, 1024), {}),
    "transposed1": ((32, 2000, 3), {}),
    "transposed2": ((8, 2000, (3, 2)), {"groups": 2}),
}
CONSTANT = 512  # entries from which a tensor's moments are compared; smaller ones have to be constants


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("key", [key for key, case in CASES.items() if not set(case[2]) & {"weight", "pos_weight"}])
def test_moments_and_bounds(key: str) -> None:
    name, args, options, _ = CASES[key]
    args, options = LARGE.get(key, (args, options))
    rt.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(*args, **options).state_dict(), getattr(torch.nn, name)(*args, **options).state_dict()
    assert list(ours) == list(theirs)
    for what, value in theirs.items():
        a, b = ours[what].numpy().astype(np.float64).ravel(), value.numpy().astype(np.float64).ravel()
        if b.std() == 0 or a.std() == 0:
            np.testing.assert_array_equal(a, b, err_msg=what)
            continue
        assert b.size >= CONSTANT, f"{what} is too small to be compared"
        assert abs(a.mean() - b.mean()) < 6 * b.std() / np.sqrt(b.size), what
        assert abs(a.std() / b.std() - 1) < 5 / np.sqrt(b.size), what
        bounded = abs(b).max() < 1.8 * b.std()  # a uniform distribution ends at 1.73 times its deviation
        assert (abs(a).max() < 1.8 * a.std()) == bounded, what
        if bounded:
            assert abs(abs(a).max() / abs(b).max() - 1) < 10 / b.size + 1e-3, what
