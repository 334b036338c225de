"""Adadelta (Zeiler, arXiv 1212.5701)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..ops.program import ProgramWriter
from ..ops.update import Update
from ..tensor import Tensor
from .optimizer import Group, Optimizer, OptimizerError, check_way
from .rules import gradient_of, square_mean_of


def _rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    maximize, decays = options
    parameter, square, deltas, gradient = tensors
    rate, decay, keep, take, eps = scalars
    gradient = gradient_of(write, maximize, decays, parameter, gradient, decay)
    square = square_mean_of(write, square, gradient, keep, take)
    size, spread = (write("sqrt", write("add", x, eps)) for x in (deltas, square))
    delta = write("mul", write("div", size, spread), gradient)
    deltas = square_mean_of(write, deltas, delta, keep, take)
    return write("sub", parameter, write("mul", delta, rate)), square, deltas


_adadelta = Update("adadelta", _rule)


class Adadelta(Optimizer):
    """Steps of ``lr * g * sqrt(d + eps) / sqrt(v + eps)``: ``v`` and ``d`` are running means of the squares of the gradient
    and of the steps.

    ``rho`` is their decay rate. One command per parameter. State: ``step``, ``square_avg``, ``acc_delta``.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        differentiable: bool = False,
        capturable: bool = False,
        maximize: bool = False,
    ) -> None:
        check_way(self, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "maximize": maximize,
            },
        )

    def _check(self, group: Group) -> None:
        super()._check(group)
        if not 0.0 <= group["rho"] <= 1.0:
            raise OptimizerError(f"Adadelta: rho is between 0 and 1, got {group['rho']}")

    def _update(self, parameter: Tensor, gradient: Tensor, group: Group, state: dict[str, Any]) -> None:
        if "square_avg" not in state:
            state.update(step=0, square_avg=self._zeros(parameter), acc_delta=self._zeros(parameter))
        counted = self._counting(parameter, group, state)

        def scalars() -> tuple[float, ...]:
            counted()
            return group["lr"], group["weight_decay"], group["rho"], 1.0 - group["rho"], group["eps"]

        options = int(group["maximize"]), int(group["weight_decay"] != 0)
        written = parameter, state["square_avg"], state["acc_delta"]
        _adadelta(options, written, (gradient,), scalars, unless=self._skips(parameter))
