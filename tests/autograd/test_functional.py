"""Jacobians, Hessians and products with them, against PyTorch; and `detect_anomaly`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rasptorch as rt
from rasptorch.autograd import AnomalyError, detect_anomaly, functional, is_anomaly_enabled, set_detect_anomaly
from rasptorch.autograd import graph as autograd_graph
from tests.support.compare import assert_close

X, Y = [[0.3, -1.2, 0.7], [1.0, 0.5, -0.4]], [0.2, 0.9, -0.6]


def both(call: Any, device: str = "cpu") -> None:
    ours = call(functional, rt, rt.tensor(X, device=device), rt.tensor(Y, device=device))
    theirs = call(torch.autograd.functional, torch, torch.tensor(X), torch.tensor(Y))
    compare(ours, theirs)


def compare(ours: Any, theirs: Any) -> None:
    assert isinstance(ours, tuple) == isinstance(theirs, tuple)
    if isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            compare(a, b)
    else:
        assert not ours.requires_grad
        assert_close(ours, theirs)


CALLS = {
    "jacobian": lambda f, m, x, y: f.jacobian(lambda a: (a * a).sum(1), x),
    "jacobian of two": lambda f, m, x, y: f.jacobian(lambda a, b: (a * b, a.exp().sum()), (x, y)),
    "jacobian of a constant": lambda f, m, x, y: f.jacobian(lambda a, b: a * 2, (x, y)),
    "hessian": lambda f, m, x, y: f.hessian(lambda a: (a**3).sum(), x),
    "hessian of two": lambda f, m, x, y: f.hessian(lambda a, b: (a * b).sin().sum(), (x, y)),
    "vjp": lambda f, m, x, y: f.vjp(lambda a, b: (a * b).exp(), (x, y), m.ones_like(x) * 2),
    "vjp of one": lambda f, m, x, y: f.vjp(lambda a: a.exp().sum(), x),
    "jvp": lambda f, m, x, y: f.jvp(lambda a, b: (a * b).exp(), (x, y), (x * 2, y)),
    "vhp": lambda f, m, x, y: f.vhp(lambda a: (a**3).sum(), x, x),
    "hvp": lambda f, m, x, y: f.hvp(lambda a, b: (a * a * b).sum(), (x, y), (x, y)),
}


@pytest.mark.parametrize("name", CALLS)
def test_as_in_pytorch(name: str, device: str) -> None:
    both(CALLS[name], device)


def test_derivatives_of_jacobians() -> None:
    x, y = rt.tensor(Y, requires_grad=True), torch.tensor(Y, requires_grad=True)
    functional.jacobian(lambda a: a**3, x, create_graph=True).sum().backward()
    torch.autograd.functional.jacobian(lambda a: a**3, y, create_graph=True).sum().backward()
    assert_close(x.grad, y.grad)


def test_what_does_not_fit() -> None:
    x = rt.tensor(Y)
    with pytest.raises(RuntimeError, match="^jacobian: .* does not depend"):
        functional.jacobian(lambda a: rt.ones(2), x, strict=True)
    with pytest.raises(RuntimeError, match="do not depend on input 1"):
        functional.jacobian(lambda a, b: a * 2, (x, x), strict=True)
    with pytest.raises(ValueError, match="^hessian: the function returns one element"):
        functional.hessian(lambda a: a * 2, x)
    with pytest.raises(ValueError, match="^vjp: v has shapes"):
        functional.vjp(lambda a: a * 2, x, rt.ones(2))
    with pytest.raises(RuntimeError, match="^jvp: v can only be left out"):
        functional.jvp(lambda a: a * 2, x)
    with pytest.raises(TypeError, match="^vjp: inputs are tensors"):
        functional.vjp(lambda a: a, 3.0)
    with pytest.raises(NotImplementedError, match="forward-mode"):
        functional.jacobian(lambda a: a, x, strategy="forward-mode")


# -- anomalies ----------------------------------------------------------------------------------------------------
def divided(x: rt.Tensor) -> rt.Tensor:
    return x / x


def test_nan_is_traced_to_its_operation(device: str) -> None:
    x = rt.tensor([0.0, 1.0], device=device, requires_grad=True)
    with detect_anomaly():
        assert is_anomaly_enabled()
        loss = divided(x).sum()
        with pytest.raises(AnomalyError, match=r"^the gradient that div computed for its input 1 \(shape \[2\]\) has NaN") as caught:
            loss.backward()
    assert "in divided" in caught.value.__notes__[0]
    assert not is_anomaly_enabled()
    divided(x).sum().backward()


def test_errors_are_traced_too() -> None:
    x = rt.ones(2, requires_grad=True)
    with set_detect_anomaly(True, check_nan=False):
        y = divided(x).exp()
        y.detach().zero_()
        with pytest.raises(RuntimeError, match="changed in place") as caught:
            y.sum().backward()
        assert "exp was called here" in caught.value.__notes__[0]
    set_detect_anomaly(True)
    assert is_anomaly_enabled()
    set_detect_anomaly(False)
    assert not is_anomaly_enabled()
    assert autograd_graph.reachable(divided(x))[0].made_at is None
