"""Normalisation layers: values, gradients, second derivatives, running moments and state are PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch import nn
from rasptorch.autograd import gradcheck
from rasptorch.nn import functional as F
from tests.support.compare import assert_close
from tests.support.counting import counting

from .both import array, compare

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("LayerNorm", (5,), {}, (3, 4, 5)),
    ("LayerNorm", ((4, 5),), {"bias": False, "eps": 1e-3}, (3, 4, 5)),
    ("LayerNorm", (5,), {"elementwise_affine": False}, (2, 5)),
    ("RMSNorm", (5,), {}, (3, 4, 5)),
    ("RMSNorm", ([4, 5],), {"eps": 1e-2, "elementwise_affine": False}, (3, 4, 5)),
    ("GroupNorm", (2, 6), {}, (3, 6, 4)),
    ("GroupNorm", (3, 6), {"affine": False}, (2, 6, 3, 2)),
    ("GroupNorm", (1, 4), {}, (5, 4)),
    ("BatchNorm1d", (4,), {}, (6, 4)),
    ("BatchNorm1d", (4,), {"momentum": None, "eps": 1e-3}, (3, 4, 5)),
    ("BatchNorm1d", (4,), {"affine": False}, (6, 4)),
    ("BatchNorm1d", (4,), {"track_running_stats": False}, (6, 4)),
    ("BatchNorm2d", (3,), {"momentum": 0.4}, (4, 3, 2, 5)),
    ("BatchNorm3d", (2,), {}, (2, 2, 2, 3, 2)),
    ("InstanceNorm1d", (3,), {"affine": True}, (2, 3, 6)),
    ("InstanceNorm1d", (3,), {}, (3, 6)),
    ("InstanceNorm2d", (3,), {"track_running_stats": True}, (2, 3, 4, 5)),
    ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}, (3, 4, 5)),
]
IDS = [f"{name}{args}{options}" for name, args, options, _ in LAYERS]


def _pair(name: str, args: tuple[Any, ...], options: dict[str, Any], device: str) -> tuple[nn.Module, torch.nn.Module]:
    """Both layers with the same random parameters."""
    theirs = getattr(torch.nn, name)(*args, **options)
    for k, parameter in enumerate(theirs.parameters()):
        parameter.data = torch.tensor(array(*parameter.shape, seed=k + 3))
    ours = getattr(nn, name)(*args, **options, device=device)
    ours.load_state_dict(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    return ours, theirs


def _same_state(ours: nn.Module, theirs: torch.nn.Module) -> None:
    mine, wanted = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(wanted)
    for key, value in wanted.items():
        assert_close(mine[key], value, 1e-4, 1e-5, what=key)


@pytest.mark.parametrize(("name", "args", "options", "shape"), LAYERS, ids=IDS)
def test_layers(name: str, args: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...], device: str) -> None:
    ours, theirs = _pair(name, args, options, device)
    for training in (True, True, False):
        ours.train(training), theirs.train(training)
        a, b = rt.tensor(array(*shape) * 3 + 1, device=device, requires_grad=True), torch.tensor(array(*shape) * 3 + 1, requires_grad=True)
        x, y = ours(a), theirs(b)
        assert_close(x, y, 1e-4, 1e-5)
        weights = array(*shape, seed=9)
        x.backward(rt.tensor(weights, device=device))
        y.backward(torch.tensor(weights))
        assert_close(a.grad, b.grad, 1e-4, 2e-5, what="input's gradient")
        for (key, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert_close(p.grad, q.grad, 1e-4, 1e-4, what=f"gradient of {key}")
        _same_state(ours, theirs)


@pytest.mark.parametrize("training", [True, False])
def test_second_derivatives(training: bool, device: str) -> None:
    mean, spread = array(3, seed=5), array(3, seed=6, low=0.5, high=2.0)
    x, w, b = array(4, 3, 5), array(3, seed=1), array(3, seed=2)
    compare(
        device,
        lambda x, w, b: F.batch_norm(x, rt.tensor(mean, device=device), rt.tensor(spread, device=device), w, b, training),
        lambda x, w, b: TF.batch_norm(x, torch.tensor(mean), torch.tensor(spread), w, b, training),
        x, w, b, rtol=1e-3, atol=1e-4,
    )  # fmt: skip
    compare(device, lambda x, w, b: F.layer_norm(x, 5, w, b), lambda x, w, b: TF.layer_norm(x, (5,), w, b),
            array(2, 4, 5), array(5, seed=1), array(5, seed=2), rtol=1e-3, atol=1e-4)  # fmt: skip
    compare(device, lambda x, w: F.rms_norm(x, 5, w), lambda x, w: TF.rms_norm(x, (5,), w),
            array(2, 4, 5), array(5, seed=1), rtol=1e-3, atol=1e-4)  # fmt: skip
    compare(device, lambda x, w, b: F.group_norm(x, 2, w, b), lambda x, w, b: TF.group_norm(x, 2, w, b),
            array(2, 4, 5), array(4, seed=1), array(4, seed=2), rtol=1e-3, atol=1e-4)  # fmt: skip


def test_gradients_by_differences() -> None:
    def leaf(*shape: int, seed: int = 0) -> rt.Tensor:
        return rt.tensor(array(*shape, seed=seed).astype(np.float64), requires_grad=True)

    x = leaf(2, 4, 3)
    gradcheck(lambda x, w, b: F.layer_norm(x, 3, w, b), [x, leaf(3, seed=1), leaf(3, seed=2)])
    gradcheck(lambda x, w: F.rms_norm(x, (4, 3), w), [x, leaf(4, 3, seed=1)])
    gradcheck(lambda x, w, b: F.group_norm(x, 2, w, b), [x, leaf(4, seed=1), leaf(4, seed=2)])
    gradcheck(lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [x, leaf(4, seed=1), leaf(4, seed=2)])
    gradcheck(lambda x, w: F.instance_norm(x, weight=w), [x, leaf(4, seed=1)])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_layer_norm_of_any_shape(shape: list[int], data: st.DataObject) -> None:
    over = tuple(shape[data.draw(st.integers(0, len(shape) - 1)) :])
    arrays = [array(*shape), array(*over, seed=1), array(*over, seed=2)]
    compare("cpu", lambda x, w, b: F.layer_norm(x, over, w, b), lambda x, w, b: TF.layer_norm(x, over, w, b), *arrays,
            second=False, rtol=1e-3, atol=1e-4)  # fmt: skip


def test_large_offsets_do_not_cancel(device: str) -> None:
    x = array(8, 64) + 1000.0
    exact = TF.layer_norm(torch.tensor(x, dtype=torch.float64), (64,)).float()
    assert_close(F.layer_norm(rt.tensor(x, device=device), 64), exact, 1e-3, 1e-3)


def test_half_precision_has_wide_moments(device: str) -> None:
    x = (array(4, 300) * 100).astype(np.float16)
    got = nn.LayerNorm(300, device=device).half()(rt.tensor(x, device=device))
    assert_close(got, TF.layer_norm(torch.tensor(x), (300,)), 4e-3, 4e-3)


@pytest.mark.every_driver
def test_batches_are_counted_everywhere(device: str) -> None:
    """Also where int64 is only stored: SwiftShader computes in 32 bits."""
    layer, theirs = nn.BatchNorm1d(3, momentum=None, device=device), torch.nn.BatchNorm1d(3, momentum=None)
    for seed in range(3):
        x = array(5, 3, seed=seed)
        layer(rt.tensor(x, device=device)), theirs(torch.tensor(x))
    _same_state(layer, theirs)
    layer.reset_running_stats(), theirs.reset_running_stats()
    _same_state(layer, theirs)


WANTED = [("layer_norm", wanted) for wanted in ("xws", "x", "w", "s", "ws")] + [("rms_norm", wanted) for wanted in ("xw", "x", "w")]


@pytest.mark.parametrize(("name", "wanted"), WANTED)
@pytest.mark.parametrize("shape", [(3, 5), (1500, 200), (3, 70_000), (40_000, 8)], ids=str)
def test_rows_of_any_form(shape: tuple[int, int], name: str, wanted: str, device: str) -> None:
    """Few and many, shorter and longer than what is computed at a time, with the gradients that are asked for; of a turned matrix."""
    values = array(*shape[::-1]), array(shape[1], low=0.5, high=2.0, seed=1), array(shape[1], seed=2), array(*shape, seed=3)
    found = []
    for m, f, options in ((rt, F, {"device": device}), (torch, TF, {})):
        x, w, s, g = (m.tensor(v, **options) for v in values)
        for letter, leaf in zip("xws", (x, w, s), strict=True):
            leaf.requires_grad_(letter in wanted)
        y = getattr(f, name)(x.T, (shape[1],), w, *((s, 1e-4) if name == "layer_norm" else (1e-4,)))
        (y * g).sum().backward()
        found.append([y.detach(), *(leaf.grad for leaf in (x, w, s))])
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            assert_close(ours, theirs, 1e-4, 1e-4)


@pytest.mark.fresh
def test_how_many_dispatches(device: str) -> None:
    """Two reductions and one pass forward; for the input two reductions and one pass, and a sum for each parameter."""
    x, w, b = (rt.tensor(array(*s), device=device, requires_grad=True) for s in ((64, 32), (32,), (32,)))
    for _ in range(2):
        with counting(device) as forward:
            y = (F.layer_norm(x, 32, w, b)).relu()
            rt.device(device).stream().flush()
        with counting(device) as backward:
            y.sum().backward()
            rt.device(device).stream().flush()
        x.grad = w.grad = b.grad = None
    assert forward.dispatches == 3
    assert backward.dispatches <= 6


def test_what_is_refused() -> None:
    with pytest.raises(rt.ShapeError, match=r"normalized_shape \[4\] is not how the input's shape \[2, 3\] ends"):
        F.layer_norm(rt.ones(2, 3), 4)
    with pytest.raises(rt.ShapeError, match=r"layer_norm: weight has shape \[2\], wanted is \[3\]"):
        F.layer_norm(rt.ones(2, 3), 3, rt.ones(2))
    with pytest.raises(ValueError, match="more than one value per channel"):
        nn.BatchNorm1d(3)(rt.ones(1, 3))
    with pytest.raises(rt.ShapeError, match=r"BatchNorm2d: input is 4-dimensional, got shape \[1, 3\]"):
        nn.BatchNorm2d(3)(rt.ones(1, 3))
    with pytest.raises(rt.ShapeError, match="channels a multiple of 2"):
        F.group_norm(rt.ones(2, 3), 2)
    with pytest.raises(rt.ShapeError, match="not 2 groups of the same size"):
        nn.GroupNorm(2, 3)
    with pytest.raises(rt.DTypeError, match="not defined for int64"):
        F.rms_norm(rt.tensor([1, 2]), 2)
    with pytest.raises(ValueError, match="running_mean and running_var"):
        F.batch_norm(rt.ones(2, 3), None, None)
