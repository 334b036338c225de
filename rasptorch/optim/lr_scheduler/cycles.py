"""Schedules that go up and down, some with the momentum the other way."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any

from ..optimizer import Group, Optimizer
from .schedule import LRScheduler, _check, per_group


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the initial rate to ``eta_min`` in ``T_0`` epochs, and again, each time ``T_mult`` times as long.

    ``step(epoch)`` takes fractions of epochs, too. (SGDR: Loshchilov and Hutter, ICLR 2017.)
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"CosineAnnealingWarmRestarts: T_0 is a positive integer, got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(f"CosineAnnealingWarmRestarts: T_mult is an integer of at least 1, got {T_mult}")
        self.T_0 = self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def _next(self, group: Group, base: float) -> float:
        return self.eta_min + (base - self.eta_min) * (1.0 + math.cos(math.pi * self.T_cur / self.T_i)) / 2

    def step(self, epoch: float | None = None) -> None:
        """Go on by one epoch, or to ``epoch``."""
        if epoch is None and self.last_epoch >= 0:
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult
            self.last_epoch += 1
        else:
            self._find(0 if epoch is None else epoch)
        self._set(self.get_lr())

    def _find(self, epoch: float) -> None:
        """The cycle that ``epoch`` is in."""
        if epoch < 0:
            raise ValueError(f"CosineAnnealingWarmRestarts: epochs are not negative, got {epoch}")
        self.T_i, self.T_cur = self.T_0, epoch
        if epoch >= self.T_0 and self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            while self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self.last_epoch = math.floor(epoch)


class _WithMomentum(LRScheduler):
    """Sets ``momentum``, or the first of ``betas``, along with the rate."""

    def _take_momenta(self, optimizer: Optimizer, base: Any, largest: Any, begin: bool) -> None:
        if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            raise ValueError(
                f"{type(self).__name__}: {type(optimizer).__name__} has neither momentum nor betas; use cycle_momentum=False"
            )
        self.use_beta1 = "betas" in optimizer.defaults
        self.base_momentums = per_group("base_momentum", optimizer, base)
        self.max_momentums = per_group("max_momentum", optimizer, largest)
        if begin:
            momenta = zip(optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
            for group, least, most in momenta:
                self._set_momentum(group, most)
                group["max_momentum"], group["base_momentum"] = most, least

    def _set_momentum(self, group: Group, momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


class CyclicLR(_WithMomentum):
    """Up from ``base_lr`` to ``max_lr`` in ``step_size_up`` steps, down again in ``step_size_down`` (Smith, WACV 2017).

    ``mode``: ``triangular``; ``triangular2``: half as high each cycle; ``exp_range``: ``gamma ** step`` times as high. ``scale_fn``, if
    given, says that instead, of the number of the cycle or of the step (``scale_mode``: ``cycle`` or ``iterations``). With
    ``cycle_momentum`` the momentum goes the other way.
    """

    _kept_out = ("_scale_fn",)

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        _check(optimizer)
        if scale_fn is None and mode not in ("triangular", "triangular2", "exp_range"):
            raise ValueError(f'CyclicLR: mode is "triangular", "triangular2" or "exp_range", got {mode!r}')
        base_lrs = per_group("base_lr", optimizer, base_lr)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for rate, group in zip(base_lrs, optimizer.param_groups, strict=True):
                group["lr"] = rate
        self.total_size = float(step_size_up + (step_size_up if step_size_down is None else step_size_down))
        self.step_ratio = step_size_up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self._scale_fn = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._take_momenta(optimizer, base_momentum, max_momentum, last_epoch == -1)
        self._cyclic_bases = base_lrs
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """How high the cycle is: of its number, or of the step."""
        if self._scale_fn is not None:
            return self._scale_fn(x)
        if self.mode == "triangular2":
            return float(1.0 / 2.0 ** (x - 1))
        return float(self.gamma**x) if self.mode == "exp_range" else 1.0

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        share = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        height = share * self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            momenta = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
            for group, least, most in momenta:
                self._set_momentum(group, most - (most - least) * height)
        return [
            base + (most - base) * height for base, most in zip(self._cyclic_bases, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        function = self._scale_fn
        plain = function is None or isinstance(function, types.FunctionType)
        return {**super().state_dict(), "_scale_fn_custom": None if plain else dict(vars(function))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})
        attributes = state_dict["_scale_fn_custom"]
        if attributes is not None:
            vars(self._scale_fn).update(attributes)


class OneCycleLR(_WithMomentum):
    """One cycle over the whole training (Smith and Topin, arXiv 1708.07120): up to ``max_lr`` in the first ``pct_start`` of the steps,
    then down to far below the start.

    It starts at ``max_lr / div_factor`` and ends at that divided by ``final_div_factor``. ``anneal_strategy``: ``cos`` or ``linear``;
    ``three_phase``: down to the start as fast as up, and only then below. How many steps: ``total_steps``, or ``epochs`` times
    ``steps_per_epoch``. With ``cycle_momentum`` the momentum goes the other way.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        _check(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR takes total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if not isinstance(total_steps, int) or total_steps <= 0:
            raise ValueError(f"OneCycleLR: the number of steps is a positive integer, got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start is between 0 and 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'OneCycleLR: anneal_strategy is "cos" or "linear", got {anneal_strategy!r}')
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        # Per phase: its last step, and between which entries of a group rate and momentum go.
        up, down = (("initial_lr", "max_lr"), ("max_momentum", "base_momentum")), ("base_momentum", "max_momentum")
        first = float(pct_start * total_steps) - 1
        if three_phase:
            low = ("initial_lr", "min_lr"), ("max_momentum", "max_momentum")
            turned = 2 * first
            self.phases = [(first, *up), (turned, ("max_lr", "initial_lr"), down), (total_steps - 1, *low)]
        else:
            self.phases = [(first, *up), (total_steps - 1, ("max_lr", "min_lr"), down)]
        if last_epoch == -1:
            for rate, group in zip(per_group("max_lr", optimizer, max_lr), optimizer.param_groups, strict=True):
                group["initial_lr"], group["max_lr"] = rate / div_factor, rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._take_momenta(optimizer, base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))

    def _next(self, group: Group, base: float) -> float:
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR has {self.total_steps} steps; this is number {self.last_epoch}")
        number = 0
        while number < len(self.phases) - 1 and self.last_epoch > self.phases[number][0]:
            number += 1
        end, rates, momenta = self.phases[number]
        begin = self.phases[number - 1][0] if number else 0.0
        share = (self.last_epoch - begin) / (end - begin)
        if self.cycle_momentum:
            self._set_momentum(group, self._between(group[momenta[0]], group[momenta[1]], share))
        return self._between(group[rates[0]], group[rates[1]], share)
