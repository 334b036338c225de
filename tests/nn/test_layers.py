"""Linear layers, reshaping layers, dropout."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import nn
from rasptorch.nn import functional as F
from tests.support.compare import assert_close
from tests.support.counting import counting

from .both import array, compare


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3)], ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_linear(shape: tuple[int, ...], bias: bool, device: str) -> None:
    arrays = [array(*shape), array(4, 3, seed=1), *([array(4, seed=2)] if bias else [])]
    compare(device, F.linear, torch.nn.functional.linear, *arrays)


def test_linear_module(device: str) -> None:
    layer = nn.Linear(3, 4, device=device)
    assert (
        layer.weight.shape == (4, 3) and layer.bias.shape == (4,) and layer.weight.device is rt.device(device)
    )
    theirs = torch.nn.Linear(3, 4)
    layer.load_state_dict(theirs.state_dict())
    x = array(5, 3)
    assert_close(layer(rt.tensor(x, device=device)), theirs(torch.tensor(x)))
    plain = nn.Linear(3, 4, bias=False, dtype=rt.float64)
    assert plain.bias is None and list(plain.state_dict()) == ["weight"] and plain.weight.dtype is rt.float64
    assert repr(plain) == repr(torch.nn.Linear(3, 4, bias=False))


def test_linear_starts_as_pytorchs() -> None:
    rt.manual_seed(0)
    layer = nn.Linear(100, 200)
    bound = 1 / math.sqrt(100)
    for values in (layer.weight.detach().numpy(), layer.bias.detach().numpy()):
        assert np.abs(values).max() <= bound and np.abs(values).max() > 0.95 * bound
        assert abs(values.mean()) < 0.1 * bound
        assert abs(values.std() - bound / math.sqrt(3)) < 0.1 * bound
    rt.manual_seed(0)
    assert_close(nn.Linear(100, 200).weight, layer.weight.detach().numpy(), 0.0, 0.0)
    rt.manual_seed(1)
    assert not np.array_equal(nn.Linear(100, 200).weight.detach().numpy(), layer.weight.detach().numpy())


def test_linear_starts_equal_on_every_device(device: str) -> None:
    rt.manual_seed(3)
    here = nn.Linear(20, 30, device=device)
    rt.manual_seed(3)
    assert_close(here.weight, nn.Linear(20, 30).weight.detach().numpy(), 1e-6, 1e-7)


def test_shapes_that_do_not_fit() -> None:
    layer = nn.Linear(3, 4)
    with pytest.raises(rt.ShapeError, match=r"input of shape \[2, 5\] has no last dimension of 3"):
        layer(rt.ones(2, 5))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: nn.Flatten(), lambda: torch.nn.Flatten()),
        (lambda: nn.Flatten(0, 1), lambda: torch.nn.Flatten(0, 1)),
        (lambda: nn.Unflatten(1, (3, -1)), lambda: torch.nn.Unflatten(1, (3, -1))),
        (lambda: nn.Identity(7, strange=True), lambda: torch.nn.Identity(7, strange=True)),
    ],
    ids=["Flatten", "Flatten01", "Unflatten", "Identity"],
)
def test_shapes_only(
    ours: Callable[[], nn.Module], theirs: Callable[[], torch.nn.Module], device: str
) -> None:
    assert repr(ours()) == repr(theirs())
    compare(device, ours(), theirs(), array(2, 6, 4))


@pytest.mark.parametrize("bias", [False, True])
def test_bilinear(bias: bool, device: str) -> None:
    arrays = [array(2, 5, 3), array(2, 5, 4, seed=1), array(6, 3, 4, seed=2), *([array(6, seed=3)] if bias else [])]
    compare(device, F.bilinear, torch.nn.functional.bilinear, *arrays, rtol=1e-3, atol=1e-4)
    ours, theirs = nn.Bilinear(3, 4, 6, bias, device=device), torch.nn.Bilinear(3, 4, 6, bias)
    theirs.load_state_dict({key: torch.tensor(value.numpy()) for key, value in ours.state_dict().items()})
    x, y = array(3), array(4)
    assert_close(ours(*(rt.tensor(a, device=device) for a in (x, y))), theirs(torch.tensor(x), torch.tensor(y)), 1e-4, 1e-5)
    assert repr(ours) == repr(theirs)
    assert np.abs(ours.weight.detach().numpy()).max() <= 1 / math.sqrt(3)
    with pytest.raises(rt.ShapeError, match=r"inputs are \[\.\.\., 3\] and \[\.\.\., 4\]"):
        ours(rt.ones(3, device=device), rt.ones(3, device=device))


@pytest.mark.parametrize(("name", "shape"), [("Dropout1d", (50, 40, 3)), ("Dropout2d", (50, 40, 2, 3)), ("Dropout2d", (400, 2, 3))])
def test_channels_are_dropped_as_one(name: str, shape: tuple[int, ...], device: str) -> None:
    rt.manual_seed(0)
    layer = getattr(nn, name)(0.3)
    x = rt.ones(*shape, device=device, requires_grad=True)
    out = layer(x)
    whole = 1 if name == "Dropout1d" else 2
    rows = out.detach().numpy().reshape(*shape[: len(shape) - whole], -1)
    assert (rows == rows[..., :1]).all()
    kept = rows[..., 0] != 0
    assert abs(kept.mean() - 0.7) < 0.07
    assert_close(rows[..., 0][kept], np.full(kept.sum(), 1 / 0.7, np.float32))
    out.sum().backward()
    assert_close(x.grad, out.detach().numpy())
    assert layer.eval()(x) is x
    assert repr(layer) == repr(getattr(torch.nn, name)(0.3))


# -- dropout ------------------------------------------------------------------------------------------------
def test_dropout_keeps_the_mean(device: str) -> None:
    rt.manual_seed(0)
    x = rt.full((4, 5000), 2.0, device=device, requires_grad=True)
    out = nn.Dropout(0.3)(x)
    values = out.detach().numpy()
    kept = values != 0
    assert abs(kept.mean() - 0.7) < 0.02
    assert_close(values[kept], np.full(kept.sum(), 2.0 / 0.7, np.float32))
    out.sum().backward()
    assert_close(x.grad, np.where(kept, 1 / 0.7, 0.0).astype(np.float32))


def test_dropout_is_seeded_and_ends_with_training() -> None:
    x, layer = rt.ones(1000), nn.Dropout()
    rt.manual_seed(5)
    first, second = layer(x).numpy(), layer(x).numpy()
    rt.manual_seed(5)
    assert_close(layer(x), first)
    assert not np.array_equal(first, second)
    assert layer.eval()(x) is x
    assert F.dropout(x, 0.5, training=False) is x
    assert (F.dropout(x, 1.0).numpy() == 0).all() and F.dropout(x, 0.0) is x
    generator = rt.Generator(9)
    again = F.dropout(x, 0.4, generator=generator).numpy()
    assert_close(F.dropout(x, 0.4, generator=generator.manual_seed(9)), again)
    assert repr(layer) == repr(torch.nn.Dropout())
    with pytest.raises(ValueError, match="probability"):
        nn.Dropout(1.5)


# -- a whole step -------------------------------------------------------------------------------------------
def test_a_training_step_is_one_submission(device: str) -> None:
    """And from the third step on the plan is known, and no memory is taken."""
    rt.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 4)).to(device)
    optimizer = rt.optim.Adam(net.parameters())
    x, t = rt.tensor(array(6, 8), device=device), rt.tensor([0, 1, 2, 3, 0, 1], device=device)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x), t).backward()
        optimizer.step()
        rt.device(device).stream().flush().wait()

    for _ in range(3):
        step()
    with counting(device) as counts:
        step()
    assert counts.submissions == 1 and counts.plan_misses == 0 and counts.allocations == 0
    assert counts.readbacks == 0 and counts.uploads == 0
