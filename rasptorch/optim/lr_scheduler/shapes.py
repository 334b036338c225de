"""Schedules of a fixed shape: steps, lines, powers, cosines."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

from ..optimizer import Group, Optimizer
from .schedule import LRScheduler


class StepLR(LRScheduler):
    """The rate times ``gamma`` every ``step_size`` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _next(self, group: Group, base: float) -> float:
        due = self.last_epoch != 0 and self.last_epoch % self.step_size == 0
        return float(group["lr"] * self.gamma) if due else group["lr"]

    def _at(self, base: float) -> float:
        return base * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """The rate times ``gamma`` at each of the epochs ``milestones`` (twice at one that is named twice)."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _next(self, group: Group, base: float) -> float:
        times = self.milestones.count(self.last_epoch)
        return float(group["lr"] * self.gamma**times) if times else group["lr"]

    def _at(self, base: float) -> float:
        return base * self.gamma ** bisect_right(self.milestones, self.last_epoch)


class ConstantLR(LRScheduler):
    """The initial rate times ``factor`` for ``total_iters`` epochs, then the initial rate."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: factor is between 0 and 1, got {factor}")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _next(self, group: Group, base: float) -> float:
        if self.last_epoch == 0:
            return float(group["lr"] * self.factor)
        if self.last_epoch != self.total_iters:
            return float(group["lr"])
        return float(group["lr"] / self.factor) if self.factor else base  # what others made of the rate is lost in a factor of 0

    def _at(self, base: float) -> float:
        return base if self.last_epoch >= self.total_iters else base * self.factor


class LinearLR(LRScheduler):
    """From ``start_factor`` to ``end_factor`` times the initial rate in ``total_iters`` epochs, evenly: a warm-up, as a rule."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: start_factor is above 0 and at most 1, got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: end_factor is between 0 and 1, got {end_factor}")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _next(self, group: Group, base: float) -> float:
        if self.last_epoch == 0:
            return float(group["lr"] * self.start_factor)
        if self._beginning or self.last_epoch > self.total_iters:
            return float(group["lr"])
        way = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * way
        return float(group["lr"] * (1.0 + way / before))

    def _at(self, base: float) -> float:
        share = min(self.total_iters, self.last_epoch) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class ExponentialLR(LRScheduler):
    """The rate times ``gamma`` at every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _next(self, group: Group, base: float) -> float:
        return float(group["lr"] if self._beginning else group["lr"] * self.gamma)

    def _at(self, base: float) -> float:
        return float(base * self.gamma**self.last_epoch)


class PolynomialLR(LRScheduler):
    """``initial_lr * (1 - epoch / total_iters) ** power``, and 0 from ``total_iters`` on."""

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def _next(self, group: Group, base: float) -> float:
        if self._beginning or self.last_epoch > self.total_iters:
            return float(group["lr"])
        left, before = (self.total_iters - epoch for epoch in (self.last_epoch, self.last_epoch - 1))
        return float(group["lr"] * (left / before) ** self.power)

    def _at(self, base: float) -> float:
        share = min(self.total_iters, self.last_epoch) / self.total_iters
        return float(base * (1.0 - share) ** self.power)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate to ``eta_min`` in ``T_max`` epochs, and back, without restarts.

    (SGDR: Loshchilov and Hutter, ICLR 2017.)
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def _next(self, group: Group, base: float) -> float:
        if self._beginning:
            return float(group["lr"])
        if self._step_count == 1 and self.last_epoch > 0:
            return self._at(base)
        before = 1.0 + math.cos(math.pi * (self.last_epoch - 1) / self.T_max)
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # at the bottom, where the ratio below has no value
            return float(group["lr"] + (base - self.eta_min) * (1.0 - math.cos(math.pi / self.T_max)) / 2)
        now = 1.0 + math.cos(math.pi * self.last_epoch / self.T_max)
        return float(now / before * (group["lr"] - self.eta_min) + self.eta_min)

    def _at(self, base: float) -> float:
        share = (1.0 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return self.eta_min + (base - self.eta_min) * share
