"""Every schedule sets the rates (and momenta) that PyTorch's sets, over 80 epochs, with odd options, too."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import nn, optim
from tests.support.counting import counting

EPOCHS = 80
OURS, THEIRS = optim.lr_scheduler, torch.optim.lr_scheduler


class Decay:
    """A callable with a state of its own."""

    def __init__(self, base: float) -> None:
        self.base = base

    def __call__(self, epoch: float) -> float:
        return float(self.base**epoch)


def _sequence(s: Any, o: Any) -> Any:
    parts = [s.LinearLR(o, 0.1, total_iters=7), s.CosineAnnealingLR(o, 20, 1e-3), s.ExponentialLR(o, 0.9)]
    return s.SequentialLR(o, parts, [7, 40])


def _nested(s: Any, o: Any) -> Any:
    inner = s.SequentialLR(o, [s.ConstantLR(o, 0.5, 3), s.StepLR(o, 4, 0.7)], [5])
    return s.SequentialLR(o, [inner, s.PolynomialLR(o, 30, 2.0)], [25])


def _chained(s: Any, o: Any) -> Any:
    return s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.95), s.MultiStepLR(o, [10, 30], 0.5)])


CASES: dict[str, Callable[[Any, Any], Any]] = {
    "step": lambda s, o: s.StepLR(o, 7),
    "step-gamma": lambda s, o: s.StepLR(o, step_size=1, gamma=1.01),
    "multistep": lambda s, o: s.MultiStepLR(o, [40, 3, 3, 11], 0.3),
    "multistep-zero": lambda s, o: s.MultiStepLR(o, [], 0.3),
    "constant": lambda s, o: s.ConstantLR(o),
    "constant-none": lambda s, o: s.ConstantLR(o, 0.5, 0),
    "linear": lambda s, o: s.LinearLR(o),
    "linear-down": lambda s, o: s.LinearLR(o, 0.9, 0.05, 33),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.97),
    "exponential-up": lambda s, o: s.ExponentialLR(o, 1.02),
    "polynomial": lambda s, o: s.PolynomialLR(o),
    "polynomial-power": lambda s, o: s.PolynomialLR(o, 61, 0.5),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 80),
    "cosine-over": lambda s, o: s.CosineAnnealingLR(o, T_max=9, eta_min=0.01),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 10),
    "restarts-longer": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.001),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 7),
    "cyclic-halved": lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.2, 0.1], 7, 13, "triangular2", base_momentum=0.5),
    "cyclic-range": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, mode="exp_range", gamma=0.99, cycle_momentum=False),
    "cyclic-own": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, scale_fn=Decay(0.9), scale_mode="iterations"),
    "one": lambda s, o: s.OneCycleLR(o, 0.3, total_steps=81),
    "one-linear": lambda s, o: s.OneCycleLR(o, [0.3, 0.5], epochs=9, steps_per_epoch=9, anneal_strategy="linear", pct_start=0.11),
    "one-three": lambda s, o: s.OneCycleLR(o, 0.3, 90, three_phase=True, div_factor=3.0, final_div_factor=7.0),
    "one-rate-only": lambda s, o: s.OneCycleLR(o, 0.3, 90, cycle_momentum=False),
    "lambda": lambda s, o: s.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "lambda-two": lambda s, o: s.LambdaLR(o, [Decay(0.9), lambda epoch: 0.5]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.9 if epoch % 2 else 1.05),
    "sequence": _sequence,
    "nested": _nested,
    "chained": _chained,
}


def both(name: str = "SGD", **options: Any) -> tuple[Any, Any]:
    """An optimiser of each library, with two groups of different rates."""
    options = options or ({"momentum": 0.9} if name == "SGD" else {})
    a = [{"params": [nn.Parameter(rt.ones(2))]}, {"params": [nn.Parameter(rt.ones(3))], "lr": 0.05}]
    b = [{"params": [torch.nn.Parameter(torch.ones(2))]}, {"params": [torch.nn.Parameter(torch.ones(3))], "lr": 0.05}]
    return getattr(optim, name)(a, lr=0.1, **options), getattr(torch.optim, name)(b, lr=0.1, **options)


def rates(optimizer: Any) -> list[Any]:
    found = []
    for group in optimizer.param_groups:
        found += [group["lr"], group.get("momentum", 0.0), *group.get("betas", ())]
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_rates(case: str, name: str) -> None:
    a, b = both(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, its = CASES[case](OURS, a), CASES[case](THEIRS, b)
        for epoch in range(EPOCHS):
            np.testing.assert_allclose(rates(a), rates(b), rtol=1e-12, atol=1e-17, err_msg=f"epoch {epoch}")
            assert mine.get_last_lr() == [group["lr"] for group in a.param_groups]
            a.step()
            mine.step()
            its.step()


@pytest.mark.parametrize("case", [c for c in CASES if c not in ("sequence", "nested", "chained")])
def test_going_to_an_epoch(case: str) -> None:
    """``step(epoch)``, where PyTorch has it."""
    a, b = both()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, its = CASES[case](OURS, a), CASES[case](THEIRS, b)
        for epoch in (5, 17, 3, 40):
            mine.step(epoch)
            its.step(epoch)
            np.testing.assert_allclose(rates(a), rates(b), rtol=1e-12)


@pytest.mark.parametrize("options", [
    {}, {"mode": "max", "patience": 2, "threshold_mode": "abs", "threshold": 0.05}, {"patience": 0, "cooldown": 3, "factor": 0.5},
    {"min_lr": [0.01, 0.04], "patience": 1}, {"mode": "max", "patience": 1, "eps": 0.02},
])  # fmt: skip
def test_plateau(options: dict[str, Any]) -> None:
    a, b = both()
    mine, its = OURS.ReduceLROnPlateau(a, **options), THEIRS.ReduceLROnPlateau(b, **options)
    rng = np.random.default_rng(2)
    for epoch in range(EPOCHS):
        metric = float(1 / (1 + epoch) + 0.2 * rng.normal())
        mine.step(rt.tensor(metric, dtype=rt.float64) if epoch % 2 else metric)
        its.step(metric)
        assert rates(a) == rates(b) and mine.get_last_lr() == its.get_last_lr()


@pytest.mark.parametrize("case", CASES)
def test_state_goes_on(case: str) -> None:
    """Saved after 30 epochs and loaded into a new schedule of a new optimiser: as without."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a, c = both()[0], both()[0]
        whole, first = CASES[case](OURS, a), CASES[case](OURS, c)
        for _ in range(30):
            whole.step()
            first.step()
        state, settings = first.state_dict(), c.state_dict()
        d = both()[0]
        resumed = CASES[case](OURS, d)
        resumed.load_state_dict(state)
        d.load_state_dict(settings)
        assert resumed.get_last_lr() == whole.get_last_lr()
        for _ in range(30):
            whole.step()
            resumed.step()
            assert rates(a) == rates(d)


def test_going_on_from_an_epoch() -> None:
    a, b = both()
    for optimizer, module in ((a, OURS), (b, THEIRS)):
        with pytest.raises(KeyError, match="initial_lr"):
            module.StepLR(optimizer, 3, last_epoch=4)
        for group in optimizer.param_groups:
            group["initial_lr"] = 0.5
    mine, its = OURS.CosineAnnealingLR(a, 20, last_epoch=4), THEIRS.CosineAnnealingLR(b, 20, last_epoch=4)
    assert rates(a) == rates(b) and mine.last_epoch == its.last_epoch == 5


def test_a_new_rate_is_no_new_plan(device: str) -> None:
    """Nor is there anything to wait for; captured steps take the new rate, too."""
    start = np.linspace(-1, 1, 5, dtype=np.float32)
    plain, captured = (nn.Parameter(rt.tensor(start, device=device)) for _ in range(2))
    runs = []
    for parameter in (plain, captured):
        optimizer = optim.Adam([parameter], lr=0.1)
        runs.append((parameter, optimizer, OURS.OneCycleLR(optimizer, 0.3, total_steps=40)))
    (p, a, schedule), (q, b, other) = runs

    def step(parameter: Any, optimizer: Any) -> None:
        optimizer.zero_grad()
        (parameter * parameter).sum().backward()
        optimizer.step()

    replayed = rt.capture(lambda: step(q, b), device=device)
    for epoch in range(12):
        with counting(device) as n, rt.forbid_waiting():
            step(p, a)
            schedule.step()
        assert epoch < 2 or (n.plan_misses, n.plan_hits) == (0, 1)
        replayed()
        other.step()
    assert replayed.captures == 1 and schedule.get_last_lr() == other.get_last_lr()
    np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    theirs = torch.nn.Parameter(torch.tensor(start))
    oracle = torch.optim.Adam([theirs], lr=0.1)
    its = THEIRS.OneCycleLR(oracle, 0.3, total_steps=40)
    for _ in range(12):
        oracle.zero_grad()
        (theirs * theirs).sum().backward()
        oracle.step()
        its.step()
    np.testing.assert_allclose(p.detach().numpy(), theirs.detach().numpy(), rtol=2e-5, atol=1e-6)


def test_the_wrong_order_is_told() -> None:
    optimizer = both()[0]
    schedule = OURS.StepLR(optimizer, 3)
    with pytest.warns(UserWarning, match=r"before optimizer\.step"):
        schedule.step()


def test_what_is_refused() -> None:
    a, b = both()[0], both()[0]
    for build, problem in (
        (lambda: OURS.StepLR(1, 2), "takes an Optimizer, got int"),
        (lambda: OURS.LambdaLR(a, [Decay(1.0)]), "1 values for 2 parameter groups"),
        (lambda: OURS.LambdaLR(a, 0.5), "function of the epoch"),
        (lambda: OURS.ConstantLR(a, 1.5), "between 0 and 1, got 1.5"),
        (lambda: OURS.LinearLR(a, 0.0), "above 0"),
        (lambda: OURS.LinearLR(a, 0.5, 2.0), "end_factor"),
        (lambda: OURS.CosineAnnealingWarmRestarts(a, 0), "T_0"),
        (lambda: OURS.CosineAnnealingWarmRestarts(a, 2, 0), "T_mult"),
        (lambda: OURS.OneCycleLR(a, 0.1), "total_steps"),
        (lambda: OURS.OneCycleLR(a, 0.1, 10, pct_start=1.5), "pct_start"),
        (lambda: OURS.OneCycleLR(a, 0.1, 10, anneal_strategy="exp"), "anneal_strategy"),
        (lambda: OURS.OneCycleLR(a, 0.1, -1), "positive integer"),
        (lambda: OURS.CyclicLR(a, 0.1, 0.2, mode="square"), "mode"),
        (lambda: OURS.ReduceLROnPlateau(a, factor=1.0), "below 1"),
        (lambda: OURS.ReduceLROnPlateau(a, "less"), "mode"),
        (lambda: OURS.ReduceLROnPlateau(a, threshold_mode="less"), "threshold_mode"),
        (lambda: OURS.ChainedScheduler([]), "at least one"),
        (lambda: OURS.ChainedScheduler([OURS.ReduceLROnPlateau(a)]), "needs a metric"),
        (lambda: OURS.SequentialLR(a, [OURS.StepLR(b, 2)], []), "another optimiser"),
        (lambda: OURS.SequentialLR(a, [OURS.StepLR(a, 2)], [3]), "take 0 milestones"),
        (lambda: OURS.CyclicLR(optim.Adagrad([nn.Parameter(rt.ones(1))]), 0.1, 0.2), "neither momentum nor betas"),
    ):
        with pytest.raises((ValueError, TypeError), match=problem):
            build()
    schedule = OURS.OneCycleLR(a, 0.1, 2)
    a.step()
    schedule.step()
    schedule.step()
    with pytest.raises(ValueError, match="has 2 steps"):
        schedule.step()
