"""Every schedule with any options: its rates are PyTorch's, and parameters trained by them for one and for ten steps, on both devices."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch import nn, optim
from tests.nn.drawing import Draw
from tests.support.compare import assert_close

Build = Callable[[Any, Any], Any]  # of the module of schedules, and an optimiser with two groups
Row = Callable[[Draw], Build]


def _simple(name: str, **options: tuple[Any, ...]) -> Row:
    """Each option drawn from what is given for it."""

    def row(d: Draw) -> Build:
        drawn = {key: d.of(*values) for key, values in options.items()}
        return lambda s, o: getattr(s, name)(o, **drawn)

    return row


def _cyclic(d: Draw) -> Build:
    options = {"base_lr": d.of(0.01, [0.01, 0.03]), "max_lr": d.of(0.2, [0.2, 0.1]), "step_size_up": d.number(1, 6)}
    options |= {"step_size_down": d.of(None, 3), "mode": d.of("triangular", "triangular2", "exp_range"), "gamma": d.of(0.9, 1.0)}
    options |= {"cycle_momentum": d.flag(), "base_momentum": 0.6, "max_momentum": d.of(0.9, [0.8, 0.95])}
    if d.flag():
        options |= {"scale_fn": lambda x: 1 / (1 + x), "scale_mode": d.of("cycle", "iterations")}
    return lambda s, o: s.CyclicLR(o, **options)


def _one_cycle(d: Draw) -> Build:
    options: dict[str, Any] = {"total_steps": d.number(13, 30)} if d.flag() else {"epochs": 4, "steps_per_epoch": 5}
    options |= {"max_lr": d.of(0.3, [0.3, 0.5]), "pct_start": d.of(0.1, 0.3, 0.5), "anneal_strategy": d.of("cos", "linear")}
    options |= {"cycle_momentum": d.flag(), "div_factor": d.of(3.0, 25.0), "final_div_factor": d.of(7.0, 1e4), "three_phase": d.flag()}
    return lambda s, o: s.OneCycleLR(o, **options)


def _functions(name: str) -> Row:
    def row(d: Draw) -> Build:
        base = d.of(0.8, 1.1)
        fn = d.of(lambda n: base**n, lambda n: 1 / (1 + n))
        return lambda s, o: getattr(s, name)(o, d.of(fn, [fn, fn]))

    return row


def _several(d: Draw) -> list[Build]:
    return [ROWS[d.of("ConstantLR", "LinearLR", "ExponentialLR", "CosineAnnealingLR", "StepLR")](d) for _ in range(d.number(1, 3))]


def _sequence(d: Draw) -> Build:
    parts = _several(d)
    milestones = list(np.cumsum([d.number(1, 5) for _ in parts[1:]]).tolist())
    return lambda s, o: s.SequentialLR(o, [part(s, o) for part in parts], [int(m) for m in milestones])


def _chain(d: Draw) -> Build:
    parts = _several(d)
    return lambda s, o: s.ChainedScheduler([part(s, o) for part in parts])


def _averaging(d: Draw) -> Build:
    options = {"swa_lr": d.of(0.02, [0.02, 0.3]), "anneal_epochs": d.number(0, 6), "anneal_strategy": d.of("cos", "linear")}
    modules = {optim.lr_scheduler: optim.swa_utils, torch.optim.lr_scheduler: torch.optim.swa_utils}
    return lambda s, o: modules[s].SWALR(o, **options)


ROWS: dict[str, Row] = {
    "ChainedScheduler": _chain,
    "ConstantLR": _simple("ConstantLR", factor=(0.3, 1.0), total_iters=(0, 1, 5)),
    "CosineAnnealingLR": _simple("CosineAnnealingLR", T_max=(1, 4, 20), eta_min=(0.0, 0.01)),
    "CosineAnnealingWarmRestarts": _simple("CosineAnnealingWarmRestarts", T_0=(1, 3, 7), T_mult=(1, 2), eta_min=(0.0, 0.01)),
    "CyclicLR": _cyclic,
    "ExponentialLR": _simple("ExponentialLR", gamma=(0.5, 0.97, 1.1)),
    "LambdaLR": _functions("LambdaLR"),
    "LinearLR": _simple("LinearLR", start_factor=(0.1, 1.0), end_factor=(0.0, 0.7, 1.0), total_iters=(1, 5, 20)),
    "MultiStepLR": _simple("MultiStepLR", milestones=([], [2], [1, 1, 4], [3, 9]), gamma=(0.1, 0.5)),
    "MultiplicativeLR": _functions("MultiplicativeLR"),
    "OneCycleLR": _one_cycle,
    "PolynomialLR": _simple("PolynomialLR", total_iters=(1, 5, 20), power=(0.5, 1.0, 2.0)),
    "ReduceLROnPlateau": _simple(
        "ReduceLROnPlateau", mode=("min", "max"), factor=(0.1, 0.7), patience=(0, 1, 3), threshold=(1e-4, 0.2),
        threshold_mode=("rel", "abs"), cooldown=(0, 2), min_lr=(0, 0.02, [0.03, 0.001]), eps=(1e-8, 0.01),
    ),
    "SWALR": _averaging,
    "SequentialLR": _sequence,
    "StepLR": _simple("StepLR", step_size=(1, 3, 20), gamma=(0.1, 0.9)),
}  # fmt: skip


def _both(name: str, device: str) -> tuple[list[Any], list[Any], Any, Any]:
    """The same two groups of parameters, and their optimisers."""
    values = [np.random.default_rng(n).normal(size=(2, n + 1)).astype(np.float32) for n in range(2)]
    ours = [nn.Parameter(rt.tensor(v, device=device)) for v in values]
    theirs = [torch.nn.Parameter(torch.tensor(v)) for v in values]
    options = {"momentum": 0.9} if name == "SGD" else {"betas": (0.8, 0.95)}
    made = [
        getattr(library, name)([{"params": [first]}, {"params": [second], "lr": 0.05}], lr=0.1, **options)
        for library, (first, second) in ((optim, ours), (torch.optim, theirs))
    ]
    return ours, theirs, *made


@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_as_pytorch(name: str, data: st.DataObject, device: str) -> None:
    d = Draw(data)
    build = ROWS[name](d)
    ours, theirs, a, b = _both(d.of("SGD", "AdamW"), device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, of its own ways to step
        mine, its = build(optim.lr_scheduler, a), build(torch.optim.lr_scheduler, b)
        for step in range(1, 12):
            for p, q in zip(ours, theirs, strict=True):
                p.grad, q.grad = rt.full(p.shape, 1.5 / step, device=device), torch.full_like(q, 1.5 / step)
            a.step()
            b.step()
            metric = (math.cos(step * step),) if name == "ReduceLROnPlateau" else ()
            mine.step(*metric)
            its.step(*metric)
            for group, wanted in zip(a.param_groups, b.param_groups, strict=True):
                for key in ("lr", "momentum", "betas"):
                    np.testing.assert_allclose(group.get(key, 0.0), wanted.get(key, 0.0), rtol=1e-12, atol=1e-17, err_msg=f"{key}, {step}")
            np.testing.assert_allclose(mine.get_last_lr(), its.get_last_lr(), rtol=1e-12, atol=1e-17)
            if step in (1, 10):
                for p, q in zip(ours, theirs, strict=True):
                    assert_close(p, q, 1e-4, 1e-5, what=f"after step {step}")


def test_a_rate_of_nothing_ends() -> None:
    """PyTorch divides by the factor, and fails there."""
    optimizer = optim.SGD([nn.Parameter(rt.ones(1))], lr=0.1)
    schedule = optim.lr_scheduler.ConstantLR(optimizer, 0.0, 2)
    rates = []
    for _ in range(4):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert rates == [0.0, 0.0, 0.1, 0.1]


def test_every_schedule_is_in_the_table() -> None:
    found = {name: getattr(optim.lr_scheduler, name) for name in optim.lr_scheduler.__all__} | vars(optim.swa_utils)
    scheduler = optim.lr_scheduler.LRScheduler
    public = {name for name, made in found.items() if inspect.isclass(made) and issubclass(made, scheduler)} - {"LRScheduler"}
    public |= {name for name in optim.lr_scheduler.__all__ if name != "LRScheduler"}
    assert public == set(ROWS), public ^ set(ROWS)
