"""`LRScheduler`: what all schedules share, and those whose shape is a function the user gives."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..optimizer import Group, Optimizer


class LRScheduler:
    """Sets the learning rate of each parameter group, once when it is made and at every `step`.

    Subclasses define `_next`: the rate a group gets from the one it has. So schedules can be chained, and a rate that the user
    changes is taken from there. ``last_epoch`` counts from 0; the rate a group started with is its ``initial_lr``.
    """

    _kept_out: tuple[str, ...] = ()  # attributes that do not go into `state_dict`

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _check(optimizer)
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"parameter group {number} has no 'initial_lr', which going on from last_epoch={last_epoch} needs: "
                    "load the optimiser's state first"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        self._begin()

    def _begin(self) -> None:
        """The step that sets the rates to start with."""
        self._step_count = 0
        self._beginning = True
        self.step()
        self._beginning = False

    def _next(self, group: Group, base: float) -> float:
        """The rate of a group, whose initial one was ``base``, at ``last_epoch``."""
        raise NotImplementedError(f"{type(self).__name__} does not define _next()")

    def _at(self, base: float) -> float | None:
        """The same by itself, whatever the group has; None where there is no such formula."""
        return None

    def get_lr(self) -> list[float]:
        """What `step` sets; to see what it has set, use `get_last_lr`."""
        return [self._next(g, base) for g, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True)]

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group, as set last."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next rate, or to that of ``epoch``. Call it after ``optimizer.step()``."""
        if self._step_count == 1 and not self.optimizer.stepped:
            warnings.warn(
                "scheduler.step() was called before optimizer.step(): the first rate of the schedule is skipped",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        self._go_to(epoch)

    def _go_to(self, epoch: int | None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        rates = self.get_lr()
        if epoch is not None:
            exact = [self._at(base) for base in self.base_lrs]
            rates = [rate if known is None else known for rate, known in zip(rates, exact, strict=True)]
        self._set(rates)

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    # -- state ----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser and plain functions."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer" and k not in self._kept_out}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave. The optimiser has a state of its own."""
        self.__dict__.update(state_dict)


def _check(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"a schedule takes an Optimizer, got {type(optimizer).__name__}")


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """``value`` for each parameter group: a list or tuple has one for each."""
    if not isinstance(value, (list, tuple)):
        return [value] * len(optimizer.param_groups)
    if len(value) != len(optimizer.param_groups):
        raise ValueError(f"{name}: {len(value)} values for {len(optimizer.param_groups)} parameter groups")
    return list(value)


class _Functions(LRScheduler):
    """A function of the epoch for each group; callable objects (not functions) are saved and loaded by their attributes."""

    _kept_out = ("lr_lambdas",)

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        _check(optimizer)
        self.lr_lambdas: list[Callable[[int], float]] = per_group("lr_lambda", optimizer, lr_lambda)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"lr_lambda is a function of the epoch, got {type(function).__name__}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [
            self._changed(group["lr"], base, function(self.last_epoch))
            for group, base, function in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True)
        ]

    def _changed(self, rate: float, base: float, factor: float) -> float:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        plain = [None if isinstance(f, types.FunctionType) else dict(vars(f)) for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": plain}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
        for function, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if attributes is not None:
                vars(function).update(attributes)


class LambdaLR(_Functions):
    """``initial_lr * lr_lambda(epoch)``; one function, or one for each parameter group."""

    def _changed(self, rate: float, base: float, factor: float) -> float:
        return base * factor


class MultiplicativeLR(_Functions):
    """The rate times ``lr_lambda(epoch)`` at every step; one function, or one for each parameter group."""

    def get_lr(self) -> list[float]:
        if self._beginning:
            return [group["lr"] for group in self.optimizer.param_groups]
        return super().get_lr()

    def _changed(self, rate: float, base: float, factor: float) -> float:
        return rate * factor
