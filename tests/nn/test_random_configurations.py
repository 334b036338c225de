"""Layers and losses in configurations drawn at random: outputs and all gradients are PyTorch's, on both devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch import nn
from rasptorch.nn import functional as F
from tests.support.compare import assert_close

from .both import array, compare

few = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIZE = st.integers(1, 5)
NEAR = {"rtol": 1e-3, "atol": 2e-4}
REDUCTION = st.sampled_from(["mean", "sum", "none"])


def _same(name: str, args: tuple[Any, ...], options: dict[str, Any], device: str, *inputs: Any) -> None:
    """The same module with the same parameters: output, gradients of inputs and parameters."""
    theirs = getattr(torch.nn, name)(*args, **options)
    for n, p in enumerate(theirs.parameters()):
        p.data = torch.tensor(array(*p.shape, seed=n, low=-1.0, high=1.0))
    ours = getattr(nn, name)(*args, **options, device=device)
    ours.load_state_dict(theirs.state_dict())
    xs = [rt.tensor(a, device=device, requires_grad=True) for a in inputs]
    ys = [torch.tensor(a, requires_grad=True) for a in inputs]
    a, b = ours(*xs), theirs(*ys)
    assert_close(a, b, **NEAR)
    weights = array(*a.shape, seed=3)
    a.backward(rt.tensor(weights, device=device))
    b.backward(torch.tensor(weights))
    for x, y in zip((*xs, *ours.parameters()), (*ys, *theirs.parameters()), strict=True):
        assert_close(x.grad, y.grad, **NEAR)


@few
@given(data=st.data())
def test_linear_and_bilinear(data: st.DataObject, device: str) -> None:
    lead = data.draw(st.lists(SIZE, max_size=3))
    a, b, c = (data.draw(SIZE) for _ in range(3))
    bias = data.draw(st.booleans())
    _same("Linear", (a, b), {"bias": bias}, device, array(*lead, a))
    _same("Bilinear", (a, b, c), {"bias": bias}, device, array(*lead, a), array(*lead, b, seed=1))


@few
@given(data=st.data())
def test_batch_and_group_norm(data: st.DataObject, device: str) -> None:
    n, groups, per, h, w = (data.draw(SIZE) for _ in range(5))
    affine, bias = data.draw(st.booleans()), data.draw(st.booleans())
    # Few values per mean make steep functions of rounding errors: eps keeps them flat.
    x = array(n + 1, groups * per, h, w)
    _same("BatchNorm2d", (groups * per,), {"eps": 0.1, "affine": affine, "bias": bias}, device, x)
    _same("GroupNorm", (groups, groups * per), {"eps": 0.1, "affine": affine, "bias": bias}, device, x)


@settings(few, max_examples=5)
@given(data=st.data())
def test_encoder_layers(data: st.DataObject, device: str) -> None:
    heads, per, n, length, hidden = (data.draw(SIZE) for _ in range(5))
    options = {name: data.draw(st.booleans()) for name in ("batch_first", "norm_first", "bias")}
    options |= {"activation": data.draw(st.sampled_from(["relu", "gelu"])), "layer_norm_eps": 0.1}
    width = heads * per
    _same("TransformerEncoderLayer", (width, heads, hidden, 0.0), options, device, array(n, length, width))


@few
@given(data=st.data())
def test_cross_entropy(data: st.DataObject, device: str) -> None:
    n, classes = data.draw(SIZE), data.draw(st.integers(2, 5))
    rest = data.draw(st.lists(SIZE, max_size=2))
    shape = [n, classes, *rest] if data.draw(st.booleans()) or rest else [classes]
    options: dict[str, Any] = {"label_smoothing": data.draw(st.sampled_from([0.0, 0.2])), "reduction": data.draw(REDUCTION)}
    weight = array(classes, seed=4, low=0.5, high=2.0) if data.draw(st.booleans()) else None
    numbers = np.random.default_rng(5).integers(0, classes, [s for k, s in enumerate(shape) if k != (1 if len(shape) > 1 else 0)])
    if data.draw(st.booleans()):
        numbers = np.asarray(np.abs(array(*shape, seed=6)))
    elif numbers.ndim and data.draw(st.booleans()):
        options["ignore_index"] = int(numbers.flat[0])
        numbers.flat[-1] = (numbers.flat[0] + 1) % classes  # something has to be left
    mine, wanted = (
        [None if a is None else make(a) for a in (numbers, weight)] for make in (lambda a: rt.tensor(a, device=device), torch.tensor)
    )
    compare(device, lambda x: F.cross_entropy(x, *mine, **options), lambda x: TF.cross_entropy(x, *wanted, **options), array(*shape),
            second=False, **NEAR)  # fmt: skip


LOSSES = ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits", "kl_div"]


@pytest.mark.filterwarnings("ignore:reduction")
@few
@given(data=st.data(), name=st.sampled_from(LOSSES))
def test_losses_element_by_element(data: st.DataObject, name: str, device: str) -> None:
    shape, reduction = data.draw(st.lists(SIZE, max_size=3)), data.draw(REDUCTION)
    target = array(*shape, seed=1, low=0.05, high=0.95)
    compare(device, lambda x: getattr(F, name)(x, rt.tensor(target, device=device), reduction=reduction),
            lambda x: getattr(TF, name)(x, torch.tensor(target), reduction=reduction), array(*shape), second=False, **NEAR)  # fmt: skip


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rows_of_extreme_logits(name: str, device: str) -> None:
    x = np.array([[1e4, -1e4, 0.0], [1e4, 1e4, 1e4], [-1e4, -1e4, -9999.0], [88.0, 89.0, 90.0]], np.float32)
    compare(device, lambda x: getattr(F, name)(x, 1), lambda x: getattr(TF, name)(x, 1), x, second=False, **NEAR)
