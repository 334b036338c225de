"""``repr`` is PyTorch's, on every device, and printing changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt

from .values import INF, NAN, TORCH, random

VALUES: list[Any] = [
    1.5, 3.0, [1.0, 2.0], [1.5, 1000000.0], [1e-5, 1.0], [NAN, INF, 1.0], [NAN, -INF], [0.0, 0.0], [0.0, 1e-9], [-0.0, 2.5],
    [1e9, 2e9], [123456.0, 1.0], [[1.0, 2.5], [-3.0, 4.0]], [[]], [], [[[1.0], [2.0]], [[3.0], [4.5]]], [999.5, 1.0], [1e8, 1.0],
    [0.1 * k for k in range(40)], [float(k) for k in range(3000)], 3, [1, -200, 3], [[True, False]], True, [2**40, 1], 1e-7,
]  # fmt: skip


def same(ours: rt.Tensor, theirs: torch.Tensor) -> None:
    text = repr(ours).replace("rasptorch.", "torch.")
    if ours.device.name == "cpu":
        assert text == repr(theirs)
    else:
        assert text.replace(f", device='{ours.device}'", "").replace(f",\n       device='{ours.device}'", "") == repr(theirs)
        assert f"device='{ours.device}'" in text


@pytest.mark.parametrize("values", VALUES, ids=lambda values: str(values)[:30])
def test_as_pytorch_prints(values: Any, device: str) -> None:
    same(rt.tensor(values, device=device), torch.tensor(values))


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 0), (30, 50), (2, 3, 2, 2), (1100,), (1001, 2)], ids=str)
def test_shapes_and_dtypes(dtype: str, shape: tuple[int, ...]) -> None:
    for scale in (1.0, 1e5):
        ours, theirs = random(shape, dtype, low=-scale, high=scale)
        same(ours, theirs)


@pytest.fixture
def options() -> Iterator[None]:
    yield
    for m in (rt, torch):
        m.set_printoptions(profile="default")


OPTIONS: list[dict[str, Any]] = [
    {"precision": 2}, {"threshold": 5}, {"edgeitems": 1, "threshold": 3}, {"linewidth": 30}, {"profile": "short"}, {"profile": "full"},
    {"sci_mode": True}, {"sci_mode": False}, {"profile": "full", "precision": 6},
]  # fmt: skip


@pytest.mark.usefixtures("options")
@pytest.mark.parametrize("given", OPTIONS, ids=str)
def test_options(given: dict[str, Any]) -> None:
    for m in (rt, torch):
        m.set_printoptions(**given)
    for values in ([1.5, 1e-5, 3.0, 1e5], np.linspace(0, 1, 30).reshape(5, 6).tolist(), list(range(12))):
        same(rt.tensor(values), torch.tensor(values))
    assert rt.get_printoptions()["precision"] == given.get("precision", 2 if given.get("profile") == "short" else 4)
    with pytest.raises(ValueError, match="profile is one of default, short, full"):
        rt.set_printoptions(profile="long")


def test_gradients_are_named() -> None:
    x = rt.ones(2, requires_grad=True)
    assert repr(x) == "tensor([1., 1.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 2.], grad_fn=<mul>)"
    assert repr(rt.nn.Parameter(rt.zeros(1))) == "Parameter containing:\ntensor([0.], requires_grad=True)"
    wide = rt.full((9,), 1.25, requires_grad=True)
    assert repr(wide).splitlines()[-1] == "       requires_grad=True)" and len(repr(wide).splitlines()) == 2


def test_printing_changes_nothing(device: str) -> None:
    x = rt.rand(3, 3, device=device)
    before, version = x.tolist(), x.storage.version
    first = repr(x)
    assert repr(x) == first
    assert x.tolist() == before and x.storage.version == version
