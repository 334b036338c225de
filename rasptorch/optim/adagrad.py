"""Adagrad (Duchi, Hazan and Singer, JMLR 12, 2011)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..ops.program import ProgramWriter
from ..ops.update import Update
from ..tensor import Tensor
from .optimizer import Group, Optimizer, check_way
from .rules import gradient_of


def _rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    maximize, decays = options
    parameter, total, gradient = tensors
    decay, eps, rate = scalars
    gradient = gradient_of(write, maximize, decays, parameter, gradient, decay)
    total = write("add", total, write("mul", gradient, gradient))
    direction = write("div", gradient, write("add", write("sqrt", total), eps))
    return write("sub", parameter, write("mul", direction, rate)), total


def _rate_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    """From the number of steps before: one more, and the rate that has decayed with them."""
    (step,), (one, rate, decay) = tensors, scalars
    return write("add", step, one), write("div", rate, write("add", write("mul", step, decay), one))


_adagrad = Update("adagrad", _rule)
_rate = Update("adagrad", _rate_rule)


class Adagrad(Optimizer):
    """Steps of ``lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum of g squared) + eps)``.

    The sum starts at ``initial_accumulator_value``. One command per parameter. State: ``step``, ``sum``.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
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
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "maximize": maximize,
            },
        )

    def _update(self, parameter: Tensor, gradient: Tensor, group: Group, state: dict[str, Any]) -> None:
        state.setdefault("step", 0)
        if "sum" not in state:
            state["sum"] = self._zeros(parameter, group["initial_accumulator_value"])
        rates, singles = self._rates(parameter, group, state)

        def scalars() -> tuple[float, ...]:
            return (group["weight_decay"], group["eps"], *rates())

        options = int(group["maximize"]), int(group["weight_decay"] != 0)
        _adagrad(options, (parameter, state["sum"]), (gradient,), scalars, singles, self._skips(parameter))

    def _rates(
        self, parameter: Tensor, group: Group, state: dict[str, Any]
    ) -> tuple[Callable[[], tuple[float, ...]], list[Tensor]]:
        """This step's rate, as a number or as a tensor. One more step is counted."""
        count = self._counts(parameter, group, state)
        if count is not None:
            constants = lambda: (1.0, group["lr"], group["lr_decay"])  # noqa: E731
            return tuple, _rate((), (count,), (), constants, (), self._skips(parameter), fresh=1)

        def rate() -> tuple[float, ...]:
            state["step"] += 1
            return (group["lr"] / (1.0 + (state["step"] - 1) * group["lr_decay"]),)

        return rate, []
