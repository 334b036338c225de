"""Stochastic gradient descent with momentum, after Polyak (1964) and Nesterov (1983), in the form PyTorch
gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..ops.program import ProgramWriter
from ..ops.update import Update
from ..tensor import Tensor
from .optimizer import Group, Optimizer, OptimizerError, check_way
from .rules import gradient_of


def _plain_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    maximize, decays = options
    parameter, gradient = tensors
    rate, decay = scalars
    gradient = gradient_of(write, maximize, decays, parameter, gradient, decay)
    return (write("sub", parameter, write("mul", gradient, rate)),)


def _momentum_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    maximize, decays, nesterov = options
    parameter, buffer, gradient = tensors
    rate, decay, momentum, intake = scalars
    gradient = gradient_of(write, maximize, decays, parameter, gradient, decay)
    buffer = write("add", write("mul", buffer, momentum), write("mul", gradient, intake))
    direction = write("add", gradient, write("mul", buffer, momentum)) if nesterov else buffer
    return write("sub", parameter, write("mul", direction, rate)), buffer


def _first_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    (step,), (one, rest) = tensors, scalars
    step = write("add", step, one)
    return step, write("where", write("le", step, one), one, rest)


_first = Update("sgd", _first_rule)
_plain = Update("sgd", _plain_rule)
_momentum = Update("sgd", _momentum_rule)


class SGD(Optimizer):
    """``p -= lr * d`` with ``g = grad + weight_decay * p``, ``b = momentum * b + (1 - dampening) * g``.

    ``d`` is ``g`` without momentum, ``b`` with it, ``g + momentum * b`` with ``nesterov``. ``b`` starts as
    ``g``. ``maximize`` goes up instead of down. One command per parameter. State: ``momentum_buffer``.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_way(self, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _check(self, group: Group) -> None:
        super()._check(group)
        if group["nesterov"] and not (group["momentum"] > 0 and group["dampening"] == 0):
            raise OptimizerError("SGD: nesterov needs a momentum and no dampening")

    def _update(self, parameter: Tensor, gradient: Tensor, group: Group, state: dict[str, Any]) -> None:
        maximize, decays = int(group["maximize"]), int(group["weight_decay"] != 0)
        unless = self._skips(parameter)
        if group["momentum"] == 0:
            _plain(
                (maximize, decays), (parameter,), (gradient,), lambda: (group["lr"], group["weight_decay"]), unless=unless
            )
            return
        first = "momentum_buffer" not in state
        if first:
            state["momentum_buffer"] = self._zeros(parameter)
        intakes, singles = self._intake(parameter, group, state, first)

        def scalars() -> tuple[float, ...]:
            return (group["lr"], group["weight_decay"], group["momentum"], *intakes())

        options = maximize, decays, int(group["nesterov"])
        _momentum(options, (parameter, state["momentum_buffer"]), (gradient,), scalars, singles, unless)

    def _intake(
        self, parameter: Tensor, group: Group, state: dict[str, Any], first: bool
    ) -> tuple[Callable[[], tuple[float, ...]], list[Tensor]]:
        """What part of the gradient goes into the momentum: all of it at the first step, whatever the dampening.

        Where a step may be skipped on the device, only that knows which one was the first.
        """
        if group["dampening"] and ("step" in state or self._skips(parameter) is not None):
            state.setdefault("step", 0 if first else 1)
            count = self._counts(parameter, group, state)
            assert count is not None

            def constants() -> tuple[float, ...]:
                return 1.0, 1.0 - group["dampening"]

            return tuple, _first((), (count,), (), constants, (), self._skips(parameter), fresh=1)

        def intake() -> tuple[float, ...]:
            nonlocal first
            whole, first = first, False
            return (1.0 if whole else 1.0 - group["dampening"],)

        return intake, []
