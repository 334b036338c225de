"""Layers and losses in configurations drawn at random: outputs and all gradients are PyTorch's, on both devices."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch.nn.functional as TF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rasptorch import nn
from rasptorch.nn import functional as F

from . import layer_table, loss_table, sequence_table
from .both import compare
from .drawing import Draw, same

ROWS = {**layer_table.ROWS, **sequence_table.ROWS, **loss_table.ROWS}
ORACLES = {**sequence_table.ORACLES, **loss_table.ORACLES}
# Public classes that compute nothing.
OUTSIDE = {
    "Module": "has no forward of its own",
    "ModuleDict": "holds modules, and is not called: test_containers.py",
    "ModuleList": "holds modules, and is not called: test_containers.py",
    "Parameter": "is a tensor",
    "ParameterDict": "holds parameters, and is not called: test_containers.py",
    "ParameterList": "holds parameters, and is not called: test_containers.py",
}


# What PyTorch warns of: its means, its ways of computing, and what it is going to change.
PYTORCHS = ("reduction", "LSTM with projections", "enable_nested_tensor", "dropout2d", "Using padding=")


@pytest.mark.filterwarnings(*(f"ignore:{text}" for text in PYTORCHS))
@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_as_pytorch(name: str, data: st.DataObject, device: str) -> None:
    same(name, ROWS[name](Draw(data)), device, ORACLES.get(name))


def test_every_layer_and_loss_is_in_a_table() -> None:
    public = {name for name in nn.__all__ if inspect.isclass(getattr(nn, name))}
    missing = sorted(public - set(ROWS) - set(OUTSIDE))
    assert not missing, f"compared with PyTorch in no random configuration: {', '.join(missing)}"
    stale = sorted((set(ROWS) | set(OUTSIDE)) - public | set(ROWS) & set(OUTSIDE))
    assert not stale, f"in a table or exempt, and yet no layer, or both: {', '.join(stale)}"
    idle = (nn.Module.forward, None)
    called = sorted(name for name in OUTSIDE if getattr(getattr(nn, name), "forward", None) not in idle)
    assert not called, f"exempt, and yet they compute something: {', '.join(called)}"


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rows_of_extreme_logits(name: str, device: str) -> None:
    x = np.array([[1e4, -1e4, 0.0], [1e4, 1e4, 1e4], [-1e4, -1e4, -9999.0], [88.0, 89.0, 90.0]], np.float32)
    compare(device, lambda x: getattr(F, name)(x, 1), lambda x: getattr(TF, name)(x, 1), x, second=False, rtol=1e-4, atol=1e-5)
