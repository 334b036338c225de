"""Stochastic gradient descent with momentum, after Polyak (1964) and Nesterov (1983), in the form PyTorch
gives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..ops.program import ProgramWriter
from ..ops.update import Update
from ..tensor import Tensor
from .optimizer import Group, Optimizer, OptimizerError


def _gradient(
    write: ProgramWriter, maximize: int, decays: int, parameter: int, gradient: int, decay: int
) -> int:
    """The gradient of what is to be made smaller, with weight decay's share."""
    gradient = write("neg", gradient) if maximize else gradient
    return write("add", gradient, write("mul", parameter, decay)) if decays else gradient


def _plain_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    maximize, decays = options
    parameter, gradient = tensors
    rate, decay = scalars
    gradient = _gradient(write, maximize, decays, parameter, gradient, decay)
    return (write("sub", parameter, write("mul", gradient, rate)),)


def _momentum_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    maximize, decays, nesterov = options
    parameter, buffer, gradient = tensors
    rate, decay, momentum, intake = scalars
    gradient = _gradient(write, maximize, decays, parameter, gradient, decay)
    buffer = write("add", write("mul", buffer, momentum), write("mul", gradient, intake))
    direction = write("add", gradient, write("mul", buffer, momentum)) if nesterov else buffer
    return write("sub", parameter, write("mul", direction, rate)), buffer


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
        maximize: bool = False,
    ) -> None:
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
        if group["momentum"] == 0:
            _plain((maximize, decays), (parameter,), (gradient,), lambda: (group["lr"], group["weight_decay"]))
            return
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = self._zeros(parameter)
            first = True
        else:
            first = False

        def scalars() -> tuple[float, ...]:
            nonlocal first
            # The first step takes the whole gradient, whatever the dampening.
            intake, first = 1.0 if first else 1.0 - group["dampening"], False
            return group["lr"], group["weight_decay"], group["momentum"], intake

        options = maximize, decays, int(group["nesterov"])
        _momentum(options, (parameter, state["momentum_buffer"]), (gradient,), scalars)
