"""Activation functions and their modules: values, gradients and second derivatives are PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import rasptorch as rt
from rasptorch import nn
from rasptorch.nn import functional as F
from tests.support.compare import assert_close

from .both import array, compare

FUNCTIONS: list[tuple[str, dict[str, Any]]] = [
    ("relu", {}),
    ("relu6", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("elu", {}),
    ("elu", {"alpha": 0.7}),
    ("selu", {}),
    ("celu", {"alpha": 0.6}),
    ("softsign", {}),
    ("threshold", {"threshold": 0.5, "value": -2.0}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("softplus", {}),
    ("softplus", {"beta": 2.0, "threshold": 1.0}),
    ("logsigmoid", {}),
    ("hardtanh", {}),
    ("hardsigmoid", {}),
    ("hardswish", {}),
    ("mish", {}),
    ("tanh", {}),
    ("sigmoid", {}),
    ("softmax", {"dim": -1}),
    ("softmax", {"dim": 0}),
    ("log_softmax", {"dim": 1}),
]
MODULES: list[tuple[str, dict[str, Any]]] = [
    ("ReLU", {}),
    ("ReLU", {"inplace": True}),
    ("ReLU6", {}),
    ("Tanh", {}),
    ("Sigmoid", {}),
    ("LogSigmoid", {}),
    ("Softmax", {"dim": 1}),
    ("LogSoftmax", {"dim": 0}),
    ("LeakyReLU", {"negative_slope": 0.2}),
    ("ELU", {"alpha": 1.5}),
    ("SELU", {}),
    ("GELU", {}),
    ("GELU", {"approximate": "tanh"}),
    ("SiLU", {}),
    ("Mish", {}),
    ("Softplus", {"beta": 0.5}),
    ("Hardswish", {}),
    ("Hardsigmoid", {}),
    ("PReLU", {}),
    ("CELU", {"alpha": 0.5}),
    ("Softsign", {}),
    ("Threshold", {"threshold": 0.1, "value": 20}),
    ("Hardtanh", {"min_val": -0.5, "max_val": 0.25}),
]
# PyTorch has no second derivative of these, or one that is 0 where it is not.
FIRST_ONLY = {"hardsigmoid", "hardswish"}


@pytest.mark.parametrize(("name", "options"), FUNCTIONS, ids=[f"{n}-{o}" for n, o in FUNCTIONS])
def test_functions(name: str, options: dict[str, Any], device: str) -> None:
    theirs = getattr(TF, name) if name not in ("tanh", "sigmoid") else getattr(torch, name)
    x = array(4, 9, low=-5.0, high=5.0)
    compare(
        device,
        lambda x: getattr(F, name)(x, **options),
        lambda x: theirs(x, **options),
        x,
        second=name not in FIRST_ONLY,
    )


@pytest.mark.parametrize(("name", "options"), MODULES, ids=[f"{n}-{o}" for n, o in MODULES])
def test_modules(name: str, options: dict[str, Any]) -> None:
    x = array(3, 5)
    ours, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
    assert_close(ours(rt.tensor(x)), theirs(torch.tensor(x)))
    if name not in ("PReLU", "Softplus"):
        assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    "name", ["elu", "selu", "celu", "softsign", "gelu", "silu", "softplus", "logsigmoid", "mish", "hardswish"]
)
def test_far_out(name: str, device: str) -> None:
    """No overflow and no NaN in values or gradients; of NaN a NaN."""
    values = np.array([-1e4, -100.0, -50.0, 0.0, 50.0, 100.0, 1e4], np.float32)
    compare(
        device,
        getattr(F, name),
        getattr(TF, name),
        values,
        second=False,
        atol=1e-6 if name == "mish" else None,
    )
    assert np.isnan(getattr(F, name)(rt.tensor([np.nan], device=device)).numpy()).all()


def test_prelu_of_channels(device: str) -> None:
    compare(device, F.prelu, TF.prelu, array(2, 3, 4), array(3, seed=1))
    compare(device, F.prelu, TF.prelu, array(2, 3), array(1, seed=1))


def test_prelu_learns() -> None:
    layer = nn.PReLU(3)
    layer(rt.tensor(array(2, 3, low=-2.0, high=-1.0))).sum().backward()
    assert layer.weight.grad is not None and (layer.weight.grad.numpy() < -1.0).all()


def test_softmax_in_another_dtype() -> None:
    x = array(3, 5)
    assert_close(F.softmax(rt.tensor(x), 1, rt.float64), torch.softmax(torch.tensor(x), 1, torch.float64))
    assert_close(
        F.log_softmax(rt.tensor(x), 1, rt.float64), torch.log_softmax(torch.tensor(x), 1, torch.float64)
    )


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="approximate"):
        F.gelu(rt.ones(2), "sigmoid")
    with pytest.raises(ValueError, match="approximate"):
        nn.GELU("sigmoid")


def test_prelu_of_other_channels(device: str) -> None:
    compare(device, F.prelu, TF.prelu, array(), array(1, seed=1))
    for shape, count in (((2, 3, 4), 4), ((3,), 3)):
        with pytest.raises(rt.ShapeError, match=rf"one entry per channel of input \[{', '.join(map(str, shape))}\], got shape \[{count}\]"):
            F.prelu(rt.ones(*shape, device=device), rt.ones(count, device=device))
