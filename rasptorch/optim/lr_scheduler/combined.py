"""Schedules made of others, and the one that follows a metric."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, SupportsFloat

from ..optimizer import Optimizer
from .schedule import LRScheduler, _check, per_group


def _checked(name: str, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> Optimizer:
    """The one optimiser of all ``schedulers``, none of which follows a metric."""
    if not schedulers:
        raise ValueError(f"{name} takes at least one schedule")
    found = schedulers[0].optimizer if optimizer is None else optimizer
    for number, schedule in enumerate(schedulers):
        if isinstance(schedule, ReduceLROnPlateau):
            raise ValueError(f"{name}: schedule {number} is a ReduceLROnPlateau, whose step() needs a metric")
        if schedule.optimizer is not found:
            raise ValueError(f"{name}: schedule {number} ({type(schedule).__name__}) has another optimiser")
    return found


class _Made(LRScheduler):
    """Of ``_schedulers``, whose states are part of its own."""

    _kept_out = ("_schedulers",)
    _schedulers: list[LRScheduler]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [schedule.state_dict() for schedule in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for schedule, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            schedule.load_state_dict(state)


class SequentialLR(_Made):
    """One schedule after the other: number ``k + 1`` takes over, from its beginning, at epoch ``milestones[k]``."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = _checked("SequentialLR", schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: {len(schedulers)} schedules take {len(schedulers) - 1} milestones, got {len(milestones)}"
            )
        self._schedulers = list(schedulers)
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # All schedules have set the rate already, one over the other. Only the first is to have done so.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for schedule in schedulers:
            _taken_back(schedule)
        begins = self._schedulers[bisect_right(self._milestones, 0)]
        begins._begin()
        self._last_lr = begins.get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch."""
        if epoch is not None:
            raise TypeError("SequentialLR.step() takes no epoch")
        self.last_epoch += 1
        number = bisect_right(self._milestones, self.last_epoch)
        schedule = self._schedulers[number]
        if number > 0 and self._milestones[number - 1] == self.last_epoch:
            _from_beginning(schedule)
        else:
            schedule.step()
        self._last_lr = schedule.get_last_lr()


def _taken_back(schedule: LRScheduler) -> None:
    """Undo the step a schedule made when it was made."""
    if isinstance(schedule, _Made):
        for part in schedule._schedulers:
            _taken_back(part)
    else:
        schedule.last_epoch -= 1


def _from_beginning(schedule: LRScheduler) -> None:
    if isinstance(schedule, _Made):
        raise ValueError(
            f"SequentialLR: a {type(schedule).__name__} can only come first, since it cannot be set to its beginning"
        )
    schedule._go_to(0)


class ChainedScheduler(_Made):
    """All of ``schedulers`` at every step, one on top of the other."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        self.optimizer = _checked("ChainedScheduler", schedulers, optimizer)
        self._schedulers = list(schedulers)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch."""
        if epoch is not None:
            raise TypeError("ChainedScheduler.step() takes no epoch")
        for schedule in self._schedulers:
            schedule.step()
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class ReduceLROnPlateau(LRScheduler):
    """The rate times ``factor`` when a metric has not got better for more than ``patience`` epochs.

    ``mode``: better is less (``min``) or more (``max``), by at least ``threshold``, of the best so far (``threshold_mode="rel"``) or as
    it is (``"abs"``). For ``cooldown`` epochs after a change nothing is counted; rates stay at least ``min_lr``, and changes of less than
    ``eps`` are not made. ``step(metric)`` reads the metric: a tensor is waited for.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        _check(optimizer)
        if not factor < 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor is below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f'ReduceLROnPlateau: mode is "min" or "max", got {mode!r}')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'ReduceLROnPlateau: threshold_mode is "rel" or "abs", got {threshold_mode!r}')
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = per_group("min_lr", optimizer, min_lr)
        self.eps = eps
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: SupportsFloat, epoch: int | None = None) -> None:  # type: ignore[override]  # as in PyTorch
        """Take in this epoch's metric."""
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _is_better(self, value: float) -> bool:
        if self.threshold_mode == "rel":
            return value < self.best * (1 - self.threshold) if self.mode == "min" else value > self.best * (1 + self.threshold)
        return value < self.best - self.threshold if self.mode == "min" else value > self.best + self.threshold

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(self.min_lrs) < len(groups):  # a group was added since
            self.min_lrs += [self.min_lrs[-1]] * (len(groups) - len(self.min_lrs))
        for group, least in zip(groups, self.min_lrs, strict=True):
            rate = max(group["lr"] * self.factor, least)
            if group["lr"] - rate > self.eps:
                group["lr"] = rate
