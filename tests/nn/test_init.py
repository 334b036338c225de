"""Starting values: bounds and moments are PyTorch's, and the same seed gives the same values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch.nn import init
from rasptorch.ops.random import default_generator
from tests.support.compare import assert_close

SHAPE = (60, 40, 3)

DRAWN: list[tuple[str, dict[str, Any]]] = [
    ("uniform_", {"a": -2.0, "b": 3.0}),
    ("normal_", {"mean": 1.0, "std": 0.5}),
    ("xavier_uniform_", {"gain": 2.0}),
    ("xavier_normal_", {}),
    ("kaiming_uniform_", {"a": 0.3}),
    ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_normal_", {"nonlinearity": "tanh"}),
    ("kaiming_normal_", {"mode": "fan_out"}),
    ("trunc_normal_", {"mean": 0.5, "std": 2.0, "a": -1.0, "b": 1.5}),
    ("trunc_normal_", {"std": 0.02}),
    ("orthogonal_", {"gain": 1.5}),
]


@pytest.mark.parametrize(("name", "options"), DRAWN, ids=[f"{n}-{o}" for n, o in DRAWN])
def test_distribution(name: str, options: dict[str, Any], device: str) -> None:
    rt.manual_seed(0)
    torch.manual_seed(0)
    x = rt.empty(SHAPE, device=device, requires_grad=True)
    assert getattr(init, name)(x, **options) is x and x.is_leaf and x.requires_grad
    ours = x.detach().numpy().ravel()
    theirs = getattr(torch.nn.init, name)(torch.empty(SHAPE), **options).numpy().ravel()
    spread = theirs.std()
    assert abs(ours.mean() - theirs.mean()) < 0.05 * spread
    assert abs(ours.std() - spread) < 0.05 * spread
    places = np.linspace(0.02, 0.98, 25)
    assert np.abs(np.quantile(ours, places) - np.quantile(theirs, places)).max() < 0.1 * spread
    rt.manual_seed(0)
    again = getattr(init, name)(rt.empty(SHAPE), **options)
    assert_close(again, ours.reshape(SHAPE), 1e-5, 1e-6)
    assert not np.array_equal(getattr(init, name)(rt.empty(SHAPE), **options).numpy().ravel(), ours)


def test_a_generator_of_ones_own() -> None:
    before = default_generator.get_state()
    a = init.normal_(rt.empty(50), generator=rt.Generator(4))
    b = init.normal_(rt.empty(50), generator=rt.Generator(4))
    assert_close(a, b.numpy(), 0.0, 0.0)
    assert default_generator.get_state() == before


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (lambda x: init.constant_(x, 2.5), np.full((2, 3), 2.5)),
        (init.ones_, np.ones((2, 3))),
        (init.zeros_, np.zeros((2, 3))),
        (init.eye_, np.eye(2, 3)),
    ],
    ids=["constant", "ones", "zeros", "eye"],
)
@pytest.mark.parametrize("dtype", [rt.float32, rt.float16, rt.float64])
def test_constants(fill: Callable[[rt.Tensor], rt.Tensor], expected: Any, dtype: rt.dtype) -> None:
    whole = rt.full((4, 3), 7.0, dtype=dtype)
    fill(whole[::2])  # only what is looked at is written
    assert_close(whole[::2], expected.astype(dtype.numpy))
    assert (whole[1::2].numpy() == 7).all()


def test_half_precision_stays_below_one() -> None:
    x = init.uniform_(rt.empty(20000, dtype=rt.float16), -1.0, 1.0).numpy()
    assert x.min() >= -1 and abs(x.astype(np.float64).mean()) < 0.02


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (4, 2, 3)], ids=str)
def test_orthogonal(shape: tuple[int, ...]) -> None:
    q = init.orthogonal_(rt.empty(shape, dtype=rt.float64), gain=2.0).numpy().reshape(shape[0], -1)
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, 4.0 * np.eye(len(small)), atol=1e-12)


@pytest.mark.parametrize(("a", "b"), [(-0.1, 0.1), (4.0, 5.0), (-30.0, -6.0), (5.0, 1e6), (-2.0, 1e6)])
def test_truncated_normal_in_the_tails(a: float, b: float) -> None:
    rt.manual_seed(2)
    x = init.trunc_normal_(rt.empty(4000, dtype=rt.float64), a=a, b=b).numpy()
    assert x.min() >= a and x.max() <= b
    mean = math.sqrt(2 / math.pi) * (math.exp(-a * a / 2) - math.exp(-b * b / 2))
    mass = math.erfc(a / math.sqrt(2)) - math.erfc(b / math.sqrt(2))
    assert abs(x.mean() - mean / mass) < 0.05


def test_gain() -> None:
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.5) == pytest.approx(
        torch.nn.init.calculate_gain("leaky_relu", 0.5)
    )


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="calculate_gain"):
        init.calculate_gain("gelu")
    with pytest.raises(rt.ShapeError, match="at least 2 dimensions"):
        init.xavier_normal_(rt.empty(3))
    with pytest.raises(rt.ShapeError, match="at least 2 dimensions"):
        init.orthogonal_(rt.empty(3))
    with pytest.raises(rt.ShapeError, match="takes a matrix"):
        init.eye_(rt.empty(3))
    with pytest.raises(ValueError, match="fan_in"):
        init.kaiming_normal_(rt.empty(2, 2), mode="fan")
    with pytest.raises(ValueError, match="a < b"):
        init.trunc_normal_(rt.empty(2), a=1.0, b=1.0)
    with pytest.raises(rt.DTypeError, match="the tensor is int64"):
        init.uniform_(rt.empty(2, dtype=rt.int64))
    with pytest.raises(rt.DTypeError, match="the tensor is int32"):
        init.orthogonal_(rt.empty(2, 2, dtype=rt.int32))
