"""Recurrent layers and cells: outputs, states, all gradients, state dicts and starting values are PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch import nn
from rasptorch.autograd import gradcheck
from tests.support.compare import assert_close
from tests.support.counting import counting

from .both import array, compare

KINDS = ["RNN", "LSTM", "GRU"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False, "batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "batch_first": True, "bidirectional": True},
]


def _pair(kind: str, options: dict[str, Any], device: str, sizes: tuple[int, int] = (3, 4)) -> tuple[nn.Module, torch.nn.Module]:
    theirs = getattr(torch.nn, kind)(*sizes, **options)
    for n, p in enumerate(theirs.parameters()):
        p.data = torch.tensor(array(*p.shape, seed=n) * 0.5)
    ours = getattr(nn, kind)(*sizes, **options, device=device)
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    assert repr(ours) == repr(theirs)
    return ours, theirs


def _flat(found: Any) -> list[Any]:
    return [found] if not isinstance(found, tuple) else [y for x in found for y in _flat(x)]


def _same(ours: nn.Module, theirs: torch.nn.Module, device: str, x: Any, starts: list[Any]) -> None:
    """All outputs, and the gradients of input, first states and parameters when every output has a gradient."""
    mine, wanted = ([make(a) for a in (x, *starts)] for make in (
        lambda a: rt.tensor(a, device=device, requires_grad=True), lambda a: torch.tensor(a, requires_grad=True)
    ))  # fmt: skip

    def call(module: Any, x: Any, *starts: Any) -> list[Any]:
        return _flat(module(x, *([] if not starts else [starts[0] if len(starts) == 1 else starts])))

    a, b = call(ours, *mine), call(theirs, *wanted)
    total, expected = 0, 0
    for k, (p, q) in enumerate(zip(a, b, strict=True)):
        assert_close(p, q, 1e-4, 1e-5, what=f"output {k}")
        weights = array(*p.shape, seed=k + 20)
        total, expected = total + (p * rt.tensor(weights, device=device)).sum(), expected + (q * torch.tensor(weights)).sum()
    total.backward()
    expected.backward()
    for k, (p, q) in enumerate(zip(mine, wanted, strict=True)):
        assert_close(p.grad, q.grad, 1e-3, 1e-4, what=f"gradient of input {k}")
    for (key, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert_close(p.grad, q.grad, 1e-3, 1e-4, what=f"gradient of {key}")


def _starts(kind: str, *shape: int) -> list[Any]:
    return [array(*shape, seed=k + 1) for k in range(2 if "LSTM" in kind else 1)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_layers(kind: str, options: dict[str, Any], device: str) -> None:
    ours, theirs = _pair(kind, options, device)
    x = array(2, 5, 3) if options.get("batch_first") else array(5, 2, 3)
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    _same(ours, theirs, device, x, [])
    ours.zero_grad(), theirs.zero_grad()
    _same(ours, theirs, device, x, _starts(kind, count, 2, 4))
    ours.zero_grad(), theirs.zero_grad()
    _same(ours, theirs, device, array(5, 3), _starts(kind, count, 4))


def test_relu_network(device: str) -> None:
    _same(*_pair("RNN", {"nonlinearity": "relu", "num_layers": 2}, device), device, array(5, 2, 3), [])


@pytest.mark.parametrize("options", [{}, {"bias": False}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_cells(kind: str, options: dict[str, Any], device: str) -> None:
    ours, theirs = _pair(f"{kind}Cell", options, device)
    _same(ours, theirs, device, array(2, 3), [])
    ours.zero_grad(), theirs.zero_grad()
    _same(ours, theirs, device, array(2, 3), _starts(kind, 2, 4))
    ours.zero_grad(), theirs.zero_grad()
    _same(ours, theirs, device, array(3), _starts(kind, 4))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_size(data: st.DataObject) -> None:
    kind, size = data.draw(st.sampled_from(KINDS)), st.integers(1, 4)
    steps, n, features, hidden = (data.draw(size) for _ in range(4))
    options = {"num_layers": data.draw(st.integers(1, 2)), "bidirectional": data.draw(st.booleans())}
    _same(*_pair(kind, options, "cpu", (features, hidden)), "cpu", array(steps, n, features), [])


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_projected_states(data: st.DataObject, device: str) -> None:
    draw, size = data.draw, st.integers(1, 4)
    steps, n, features, projected = (draw(size) for _ in range(4))
    hidden, layers = projected + draw(size), draw(st.integers(1, 2))
    flags = {name: draw(st.booleans()) for name in ("bidirectional", "bias", "batch_first")}
    ours, theirs = _pair("LSTM", {"num_layers": layers, "proj_size": projected, **flags}, device, (features, hidden))
    x = array(n, steps, features) if flags["batch_first"] else array(steps, n, features)
    count = layers * (2 if flags["bidirectional"] else 1)
    _same(ours, theirs, device, x, draw(st.sampled_from([[], [array(count, n, projected, seed=1), array(count, n, hidden, seed=2)]])))


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind: str, device: str) -> None:
    ours, theirs = _pair(kind, {"bidirectional": True}, device)
    compare(device, lambda x: ours(x)[0], lambda x: theirs(x)[0], array(4, 2, 3), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_differences(kind: str) -> None:
    layer = getattr(nn, kind)(2, 3, bidirectional=True, dtype=rt.float64)
    x = rt.tensor(array(3, 2, 2).astype(np.float64), requires_grad=True)
    gradcheck(lambda x: _flat(layer(x)), [x], parameters=list(layer.parameters()))


def test_dropout_between_layers(device: str) -> None:
    layer, x = nn.LSTM(3, 4, num_layers=2, dropout=0.5, device=device), rt.tensor(array(5, 2, 3), device=device)
    a, b = (layer(x)[0].detach().numpy() for _ in range(2))
    assert not np.array_equal(a, b)
    a, b = (layer.eval()(x)[0].detach().numpy() for _ in range(2))
    assert np.array_equal(a, b)
    alone = nn.LSTM(3, 4, dropout=0.5, device=device)  # nothing between one layer
    assert np.array_equal(alone(x)[0].detach().numpy(), alone(x)[0].detach().numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_starting_values(kind: str) -> None:
    rt.manual_seed(0)
    bound = 1 / math.sqrt(64)
    for parameter in getattr(nn, kind)(100, 64).parameters():
        values = parameter.detach().numpy()
        assert np.abs(values).max() <= bound and abs(values.mean()) < 0.2 * bound
        assert abs(values.std() - bound / math.sqrt(3)) < 0.15 * bound


@pytest.mark.fresh
@pytest.mark.parametrize(("kind", "forward", "backward"), [("RNN", 1, 1), ("LSTM", 2, 2), ("GRU", 2, 2)])
def test_dispatches_per_step(kind: str, forward: int, backward: int, device: str) -> None:
    """A product and, where there are gates, one elementwise kernel: counted by what four more steps add."""
    (a, b), (c, d) = (_dispatches(kind, steps, device) for steps in (6, 10))
    assert c - a == 4 * forward
    assert d - b == 4 * backward


def _dispatches(kind: str, steps: int, device: str) -> tuple[int, int]:
    """Of a pass forward and one backward."""
    layer = getattr(nn, kind)(3, 4, device=device)
    x = rt.tensor(array(steps, 2, 3), device=device, requires_grad=True)
    rt.synchronize(device)
    with counting(device) as ahead:
        out = layer(x)[0]
        rt.device(device).stream().flush()
    with counting(device) as back:
        out.sum().backward()
        rt.device(device).stream().flush()
    return ahead.dispatches, back.dispatches


def test_it_learns(device: str) -> None:
    """To add up a sequence of numbers."""
    rt.manual_seed(1)
    x = array(8, 32, 1) * 0.25
    t = x.sum(0)
    layer, head = nn.LSTM(1, 16, device=device), nn.Linear(16, 1, device=device)
    optimizer = rt.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.02)
    a, b = rt.tensor(x, device=device), rt.tensor(t, device=device)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(head(layer(a)[0][-1]), b)
        loss.backward()
        optimizer.step()
        losses.append(loss)
    assert losses[-1].item() < 0.25 * losses[0].item()


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="proj_size is at least 0 .* smaller than hidden_size, got 4 and 4"):
        nn.LSTM(3, 4, proj_size=4)
    with pytest.raises(rt.ShapeError, match=r"c_0 is \[1, 2, 4\], got \[1, 2, 3\]"):
        nn.LSTM(3, 4, proj_size=3)(rt.ones(5, 2, 3), (rt.ones(1, 2, 3), rt.ones(1, 2, 3)))
    with pytest.raises(rt.ShapeError, match=r"input is \[steps, n, 3\] or \[steps, 3\], got \[5, 2, 2\]"):
        nn.GRU(3, 4)(rt.ones(5, 2, 2))
    with pytest.raises(rt.ShapeError, match=r"h_0 is \[1, 2, 4\], got \[1, 2, 3\]"):
        nn.GRU(3, 4)(rt.ones(5, 2, 3), rt.ones(1, 2, 3))
    with pytest.raises(ValueError, match="nonlinearity"):
        nn.RNN(3, 4, nonlinearity="elu")
    with pytest.raises(rt.ShapeError, match="at least one step"):
        nn.RNN(3, 4)(rt.ones(0, 2, 3))
