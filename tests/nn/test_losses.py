"""Losses element by element: values, gradients and second derivatives are PyTorch's."""

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

REDUCTIONS = ["mean", "sum", "none"]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("mse_loss", {}),
    ("l1_loss", {}),
    ("smooth_l1_loss", {}),
    ("smooth_l1_loss", {"beta": 0.4}),
    ("smooth_l1_loss", {"beta": 0.0}),
    ("huber_loss", {}),
    ("huber_loss", {"delta": 0.4}),
]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{n}-{o}" for n, o in CASES])
def test_distances(name: str, options: dict[str, Any], reduction: str, device: str) -> None:
    compare(
        device,
        lambda x, y: getattr(F, name)(x, y, reduction=reduction, **options),
        lambda x, y: getattr(TF, name)(x, y, reduction=reduction, **options),
        array(4, 5),
        array(4, 5, seed=1),
    )


def test_shapes_that_differ_are_told() -> None:
    with pytest.warns(
        UserWarning, match=r"input has shape \[4, 1\] and target \[4\]; both are stretched to \[4, 4\]"
    ):
        out = F.mse_loss(rt.ones(4, 1), rt.zeros(4), reduction="none")
    assert out.shape == (4, 4)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_cross_entropy(weighted: bool, reduction: str, device: str) -> None:
    w = array(4, 1, seed=2, low=0.2)
    compare(
        device,
        lambda p, t: F.binary_cross_entropy(
            p, t, rt.tensor(w, device=device) if weighted else None, reduction
        ),
        lambda p, t: TF.binary_cross_entropy(
            p, t, torch.tensor(w) if weighted else None, reduction=reduction
        ),
        array(4, 5, low=0.05, high=0.95),
        array(4, 5, seed=1, low=0.0, high=1.0),
    )


def test_binary_cross_entropy_at_the_ends() -> None:
    p = np.array([0.0, 1.0, 0.0, 1.0, 1e-30], np.float32)
    t = rt.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    x, y = rt.tensor(p, requires_grad=True), torch.tensor(p, requires_grad=True)
    a = F.binary_cross_entropy(x, t, reduction="none")
    b = TF.binary_cross_entropy(y, torch.tensor(t.numpy()), reduction="none")
    assert_close(a, b)
    a.sum().backward()
    b.sum().backward()
    assert_close(x.grad, y.grad)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("positive", [False, True])
def test_binary_cross_entropy_with_logits(
    positive: bool, weighted: bool, reduction: str, device: str
) -> None:
    w, pos = array(4, 1, seed=2, low=0.2), array(5, seed=3, low=0.2)
    compare(
        device,
        lambda x, t: F.binary_cross_entropy_with_logits(
            x,
            t,
            rt.tensor(w, device=device) if weighted else None,
            reduction,
            rt.tensor(pos, device=device) if positive else None,
        ),
        lambda x, t: TF.binary_cross_entropy_with_logits(
            x,
            t,
            torch.tensor(w) if weighted else None,
            reduction=reduction,
            pos_weight=torch.tensor(pos) if positive else None,
        ),
        array(4, 5, low=-8, high=8),
        array(4, 5, seed=1, low=0.0, high=1.0),
    )


def test_logits_far_out(device: str) -> None:
    """Finite at ±1e4, and exact where PyTorch rounds: the reference is computed in float64."""
    x = np.array([1e4, -1e4, 1e4, -1e4, 0.0, 30.0, -30.0], np.float32)
    t = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0], np.float32)
    logits = rt.tensor(x, device=device, requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(logits, rt.tensor(t, device=device), reduction="none")
    wide = x.astype(np.float64)
    positive = np.where(t == 1, -wide, wide)
    assert_close(loss, np.logaddexp(0.0, positive).astype(np.float32), rtol=1e-6, atol=0.0)
    loss.sum().backward()
    slope = np.where(t == 1, -1.0, 1.0) * np.exp(-np.logaddexp(0.0, -positive))
    assert_close(logits.grad, slope.astype(np.float32), rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")  # PyTorch's own
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div(log_target: bool, reduction: str, device: str) -> None:
    target = array(4, 5, seed=1, low=0.05, high=0.9)
    compare(
        device,
        lambda x, t: F.kl_div(x, t, reduction, log_target),
        lambda x, t: TF.kl_div(x, t, reduction=reduction, log_target=log_target),
        array(4, 5, low=-4.0, high=-0.1),
        np.log(target) if log_target else target,
    )


def test_kl_div_of_what_is_no_probability(device: str) -> None:
    values = [-2.0, -1e-3, -0.0, 0.0, 0.5, 1.0, float("nan"), float("inf"), -float("inf")]
    for log_target in (False, True):
        t, u = rt.tensor(values, device=device, requires_grad=True), torch.tensor(values, requires_grad=True)
        loss = F.kl_div(rt.full((9,), -1.0, device=device), t, "none", log_target)
        wanted = TF.kl_div(torch.full((9,), -1.0), u, reduction="none", log_target=log_target)
        assert_close(loss.detach(), wanted.detach(), signed_zeros=True)
        loss.sum().backward()
        wanted.sum().backward()
        certain = slice(None) if log_target else [0, 1, 4, 5, 6, 7, 8]  # PyTorch has NaN for the slope at 0, too
        assert t.grad is not None and u.grad is not None
        assert_close(t.grad[certain], u.grad[certain])


def test_kl_div_of_nothing() -> None:
    """Where the target is 0, nothing is lost: no NaN from the logarithm of 0."""
    x, t = array(6, low=-3, high=-1), np.array([0.0, 0.5, 0.0, 0.2, 0.3, 0.0], np.float32)
    logs = rt.tensor(x, requires_grad=True)
    loss = F.kl_div(logs, rt.tensor(t), "none")
    assert_close(loss, TF.kl_div(torch.tensor(x), torch.tensor(t), reduction="none"))
    loss.sum().backward()
    assert_close(logs.grad, -t)


def test_modules(device: str) -> None:
    x, t = array(3, 4, low=0.1, high=0.9), array(3, 4, seed=1, low=0.1, high=0.9)
    made: list[tuple[str, dict[str, Any]]] = [
        ("MSELoss", {}),
        ("MSELoss", {"reduction": "sum"}),
        ("L1Loss", {"reduction": "none"}),
        ("SmoothL1Loss", {"beta": 0.2}),
        ("HuberLoss", {"delta": 0.2}),
        ("BCELoss", {"reduction": "sum"}),
        ("BCEWithLogitsLoss", {}),
        ("KLDivLoss", {"reduction": "batchmean"}),
    ]
    for name, options in made:
        ours = getattr(nn, name)(**options)(rt.tensor(x, device=device), rt.tensor(t, device=device))
        theirs = getattr(torch.nn, name)(**options)(torch.tensor(x), torch.tensor(t))
        assert_close(ours, theirs, what=f"{name} {options}")


def test_weights_follow_the_module() -> None:
    loss = nn.BCEWithLogitsLoss(pos_weight=rt.tensor([1.0, 2.0]))
    assert loss.pos_weight is not None and loss.weight is None
    assert list(loss.state_dict()) == ["pos_weight"]
    assert loss.double().pos_weight.dtype is rt.float64


def test_what_is_refused() -> None:
    x = rt.ones(3)
    with pytest.raises(ValueError, match="reduction is one of mean, sum, none, got 'batchmean'"):
        F.mse_loss(x, x, "batchmean")
    with pytest.raises(ValueError, match="L1Loss: reduction"):
        nn.L1Loss("avg")
    with pytest.raises(ValueError, match="beta cannot be negative"):
        F.smooth_l1_loss(x, x, beta=-1.0)
    with pytest.raises(ValueError, match="delta must be positive"):
        F.huber_loss(x, x, delta=0.0)
    with pytest.raises(rt.ShapeError, match=r"input has shape \[3\], target \[2\]"):
        F.binary_cross_entropy(x, rt.ones(2))
    with pytest.raises(rt.ShapeError, match="do not broadcast"):
        F.mse_loss(x, rt.ones(2))
