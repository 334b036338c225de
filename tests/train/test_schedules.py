"""The schedules of `rasptorch.optim.lr_scheduler` in `fit`: the rates are PyTorch's, also when a training goes on from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import rasptorch as rt
from rasptorch import train

from .small import figures, parameters, run, training
from .test_resume import Stop, StopAt

EPOCHS, STEPS = 4, 9
MODES = ("script", "trio")
OURS = rt.optim.lr_scheduler
THEIRS = torch.optim.lr_scheduler


def step_lr(of: Any, optimizer: Any) -> Any:
    return of.StepLR(optimizer, step_size=2, gamma=0.3)


def one_cycle(of: Any, optimizer: Any) -> Any:
    return of.OneCycleLR(optimizer, max_lr=0.05, total_steps=EPOCHS * STEPS)


def plateau(of: Any, optimizer: Any) -> Any:
    """Patience 0 and a threshold that no epoch of so small a training gets over: it acts."""
    return of.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.2)


def warm_up(of: Any, optimizer: Any) -> Any:
    first = of.LinearLR(optimizer, start_factor=0.1, total_iters=6)
    return of.SequentialLR(optimizer, [first, of.CosineAnnealingLR(optimizer, T_max=30)], milestones=[6])


SCHEDULES = [(step_lr, "epoch"), (one_cycle, "step"), (plateau, "epoch"), (warm_up, "step")]
Make = Callable[[Any, Any], Any]


class Rates(train.Callback):
    """The rate and the momentum that each step of the optimiser was made with."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_backward(self, training: train.Training) -> None:
        group = training.optimizer.param_groups[0]
        self.seen.append((group["lr"], group["betas"][0]))


def trained(mode: str, device: str, make: Make, every: str, *callbacks: Any, **more: Any) -> Any:
    """Everything that may depend on the schedule."""
    arguments, options = training(device, 2, epochs=EPOCHS)
    scheduler = make(OURS, arguments[1])
    rates = Rates()
    options |= {"callbacks": [rates, *callbacks], "scheduler": scheduler, "scheduler_every": every} | more
    history = run(mode, *arguments, **options)
    return rates.seen, figures(history), parameters(arguments[0]), scheduler.state_dict()


def theirs(make: Make, every: str, losses: list[float]) -> list[Any]:
    """The rates of the same training in PyTorch."""
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.02)
    scheduler, seen = make(THEIRS, optimizer), []
    for loss in losses:
        for _ in range(STEPS):
            seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
            optimizer.step()
            if every == "step":
                scheduler.step()
        if every == "epoch":
            scheduler.step(*([loss] if make is plateau else []))
    return seen


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")  # PyTorch's SequentialLR uses it itself
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("make", "every"), SCHEDULES)
def test_rates_are_pytorchs(make: Make, every: str, mode: str) -> None:
    seen, history, _, _ = trained(mode, "cpu", make, every)
    expected = theirs(make, every, [epoch["val_loss"] for epoch in history])
    assert len(seen) == EPOCHS * STEPS and len({rate for rate, _ in seen}) > 1
    assert seen == [(pytest.approx(rate, rel=1e-12), pytest.approx(momentum, rel=1e-12)) for rate, momentum in expected]


def test_without_validation_a_plateau_is_the_losss() -> None:
    seen, history, _, _ = trained("script", "cpu", plateau, "epoch", val_loader=None)
    assert [rate for rate, _ in seen] == [rate for rate, _ in theirs(plateau, "epoch", [epoch["loss"] for epoch in history])]


@pytest.mark.parametrize(
    ("mode", "stop"),
    [
        ("script", StopAt(step=1)),
        ("trio", StopAt(step=9)),
        ("script", StopAt(step=22)),
        ("trio", StopAt(epoch=1)),
        ("script", StopAt(epoch=2)),
    ],
    ids=["first", "trio-last-of-epoch", "middle", "trio-epoch1", "epoch2"],
)
@pytest.mark.parametrize(("make", "every"), SCHEDULES)
def test_going_on(make: Make, every: str, stop: StopAt, mode: str, tmp_path: Path) -> None:
    """From the step before the one that raised, or whichever came to be written: what follows is the same to the last bit."""
    checkpoint = {"checkpoint": train.Checkpoint(tmp_path / "f", every_steps=1)}
    seen, *expected = trained(mode, "cpu", make, every, StopAt())
    with pytest.raises(Stop):
        trained(mode, "cpu", make, every, stop, **checkpoint)
    done = rt.load(tmp_path / "f")["step"] if (tmp_path / "f").exists() else 0
    rest, *found = trained(mode, "cpu", make, every, StopAt(), **checkpoint, resume=True)
    assert rest == seen[done:] and found == expected


@pytest.mark.parametrize(("make", "every"), SCHEDULES)
def test_going_on_between_the_last_step_and_the_end_of_an_epoch(make: Make, every: str, tmp_path: Path) -> None:
    """The optimiser of the new process has made no step yet when the schedule goes on: nothing is wrong with that."""

    class Interrupt(train.Callback):
        def on_step_end(self, training: train.Training) -> None:
            if training.step == STEPS:
                raise KeyboardInterrupt

    seen, *expected = trained("script", "cpu", make, every, train.Callback())
    with pytest.raises(KeyboardInterrupt):
        trained("script", "cpu", make, every, Interrupt(), checkpoint=tmp_path / "f")
    assert rt.load(tmp_path / "f")["step"] == STEPS
    rest, *found = trained("script", "cpu", make, every, train.Callback(), checkpoint=tmp_path / "f", resume=True)
    assert rest == seen[STEPS:] and found == expected


@pytest.mark.parametrize("mode", MODES)
def test_a_plateau_is_not_seen_after_every_step(mode: str) -> None:
    with pytest.raises(train.TrainingError, match="ReduceLROnPlateau.* scheduler_every='epoch'"):
        trained(mode, "cpu", plateau, "step")
