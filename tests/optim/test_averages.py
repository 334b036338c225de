"""Averages of weights: exponential and equal, as models and beside parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch import nn
from rasptorch.optim import swa_utils
from tests.support.compare import assert_close
from tests.support.counting import counting

THEIRS = torch.optim.swa_utils


def pair(device: str) -> tuple[nn.Module, torch.nn.Module]:
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    ours = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).to(device)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def change(ours: nn.Module, theirs: torch.nn.Module, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        values = rng.normal(size=tuple(q.shape)).astype(np.float32)
        p.detach().copy_(rt.tensor(values, device=p.device))
        q.data.copy_(torch.tensor(values))


@pytest.mark.parametrize("kind", ["ema", "swa", "own", "ema one by one", "swa one by one"])
def test_averaged_model(kind: str, device: str) -> None:
    ours, theirs = pair(device)
    options, its = {
        "ema": ({"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.8)}, {"multi_avg_fn": THEIRS.get_ema_multi_avg_fn(0.8)}),
        "swa": ({}, {}),
        "ema one by one": ({"avg_fn": swa_utils.get_ema_avg_fn(0.8)}, {"avg_fn": THEIRS.get_ema_avg_fn(0.8)}),
        "swa one by one": ({"avg_fn": swa_utils.get_swa_avg_fn()}, {"avg_fn": THEIRS.get_swa_avg_fn()}),
        "own": ({"avg_fn": lambda a, b, n: a * 0.5 + b}, {"avg_fn": lambda a, b, n: a * 0.5 + b}),
    }[kind]
    a, b = swa_utils.AveragedModel(ours, **options), THEIRS.AveragedModel(theirs, **its)
    for seed in range(5):
        change(ours, theirs, seed)
        with rt.forbid_waiting():
            a.update_parameters(ours)
        b.update_parameters(theirs)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert_close(p, q, 1e-5, 1e-6)
    assert a.n_averaged.item() == 5 and a.state_dict().keys() == b.state_dict().keys()
    x = np.ones((2, 4), np.float32)
    assert_close(a(rt.tensor(x, device=device)), b(torch.tensor(x)), 1e-5, 1e-5)
    c = swa_utils.AveragedModel(ours, **options)
    c.load_state_dict(a.state_dict())
    change(ours, theirs, 9)
    c.update_parameters(ours)
    b.update_parameters(theirs)
    assert c.n_averaged.item() == 6
    for p, q in zip(c.parameters(), b.parameters(), strict=True):
        assert_close(p, q, 1e-5, 1e-6)


def test_beside_parameters(device: str) -> None:
    ours, theirs = pair(device)
    ema = swa_utils.EMA(ours, 0.9)
    wanted = [p.detach().numpy() for p in ours.parameters()]
    for seed in range(3):
        change(ours, theirs, seed)
        ema.update()
        wanted = [0.9 * w + 0.1 * p.detach().numpy() for w, p in zip(wanted, ours.parameters(), strict=True)]
    own = [p.detach().numpy() for p in ours.parameters()]
    with ema.applied():
        for p, w in zip(ours.parameters(), wanted, strict=True):
            assert_close(p, w, 1e-5, 1e-6)
    for p, v in zip(ours.parameters(), own, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), v)
    other = swa_utils.EMA(ours.parameters(), 0.5)
    other.load_state_dict(ema.state_dict())
    other.copy_to()
    assert other.decay == 0.9
    for p, w in zip(ours.parameters(), wanted, strict=True):
        assert_close(p, w, 1e-5, 1e-6)


@pytest.mark.fresh
def test_a_few_dispatches_and_captured(device: str) -> None:
    ps = [nn.Parameter(rt.rand(30, k + 1, device=device)) for k in range(16)]
    ema = swa_utils.EMA(ps, 0.75)
    rt.synchronize(device)
    with counting(device) as n, rt.forbid_waiting():
        ema.update()
        rt.device(device).flush()
    assert n.commands == 16 and (device == "cpu" or n.dispatches <= 2)
    update = rt.capture(ema.update, device=device)
    with rt.no_grad():
        for p in ps:
            p.detach().fill_(1.0)
        for a in ema.averages:
            a.fill_(0.0)
    for _ in range(3):
        update()
    for a in ema.averages:
        assert_close(a, np.full(a.shape, 1 - 0.75**3, np.float32), 1e-6, 1e-6)


few = settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(data=st.data())
def test_rates_for_averaging(data: st.DataObject) -> None:
    """By itself, and after another schedule that goes on changing the rate."""
    epochs, strategy = data.draw(st.integers(0, 6)), data.draw(st.sampled_from(["cos", "linear"]))
    rates, swa = [data.draw(st.floats(0.01, 1.0)) for _ in range(2)], [data.draw(st.floats(0.01, 1.0)) for _ in range(2)]
    target: Any = swa if data.draw(st.booleans()) else swa[0]
    other = data.draw(st.booleans())

    def run(lib: Any, parameter: Any, schedules: Any, averages: Any) -> list[list[float]]:
        optimizer = lib.SGD([{"params": [parameter()], "lr": rate} for rate in rates], lr=0.1)
        plain = schedules.ExponentialLR(optimizer, 0.9)
        schedule = averages.SWALR(optimizer, target, epochs, strategy)
        found = []
        for k in range(10):
            optimizer.step()
            if other and k % 3 == 2:
                plain.step()
            schedule.step()
            found.append([group["lr"] for group in optimizer.param_groups])
        assert schedule.get_last_lr() == found[-1]
        return found

    mine = run(rt.optim, lambda: nn.Parameter(rt.ones(2)), rt.optim.lr_scheduler, swa_utils)
    its = run(torch.optim, lambda: torch.nn.Parameter(torch.ones(2)), torch.optim.lr_scheduler, THEIRS)
    np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-12)


@few
@given(data=st.data())
def test_moments_of_an_averaged_model(data: st.DataObject, device: str) -> None:
    momentum, count = data.draw(st.sampled_from([0.1, None, 0.7])), data.draw(st.integers(0, 3))

    def made(lib: Any) -> Any:
        return lib.Sequential(lib.Conv1d(3, 4, 2), lib.BatchNorm1d(4, momentum=momentum), lib.ReLU(), lib.InstanceNorm1d(4))

    theirs = made(torch.nn)
    ours = made(nn).to(device)
    ours.load_state_dict(theirs.state_dict())
    arrays = [np.random.default_rng(k).normal(size=(4, 3, 6)).astype(np.float32) for k in range(count)]
    pairs = data.draw(st.booleans())
    training = data.draw(st.booleans())
    ours.train(training), theirs.train(training)
    with rt.forbid_waiting():
        swa_utils.update_bn([(rt.tensor(a), 0) if pairs else rt.tensor(a) for a in arrays], ours, device)
    THEIRS.update_bn([(torch.tensor(a), 0) if pairs else torch.tensor(a) for a in arrays], theirs)
    assert ours.training is theirs.training is training and ours[1].momentum == momentum
    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], value, 1e-4, 1e-5, what=key)
    assert ours[0].weight.grad is None


def test_moments_end_as_they_were_after_an_error() -> None:
    layer = nn.BatchNorm1d(3).eval()
    with pytest.raises(rt.ShapeError):
        swa_utils.update_bn([rt.ones(2, 4)], layer)
    assert layer.momentum == 0.1 and not layer.training
    swa_utils.update_bn([rt.ones(2, 4)], nn.Linear(3, 3))  # without such layers nothing is called


def test_what_is_refused() -> None:
    optimizer = rt.optim.SGD([nn.Parameter(rt.ones(2))], lr=0.1)
    with pytest.raises(ValueError, match="anneal_strategy is"):
        swa_utils.SWALR(optimizer, 0.1, anneal_strategy="step")
    with pytest.raises(ValueError, match="anneal_epochs is a whole number of at least 0, got -1"):
        swa_utils.SWALR(optimizer, 0.1, -1)
    with pytest.raises(ValueError, match="2 values for 1 parameter groups"):
        swa_utils.SWALR(optimizer, [0.1, 0.2])
    with pytest.raises(ValueError, match="decay is between 0 and 1, got 1.5"):
        swa_utils.EMA([rt.ones(1)], 1.5)
    with pytest.raises(ValueError, match="no parameters"):
        swa_utils.EMA([])
    with pytest.raises(ValueError, match="not both"):
        swa_utils.AveragedModel(nn.Linear(1, 1), avg_fn=lambda a, b, n: a, multi_avg_fn=swa_utils.get_swa_multi_avg_fn())
    ema = swa_utils.EMA([rt.ones(2)])
    with pytest.raises(ValueError, match="other shapes"):
        ema.load_state_dict({"decay": 0.5, "averages": [rt.ones(3)]})
