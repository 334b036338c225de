"""RMSprop (Tieleman and Hinton, Coursera lecture 6.5, 2012; centred form: Graves, arXiv 1308.0850)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..ops.program import ProgramWriter
from ..ops.update import Update
from ..tensor import Tensor
from .optimizer import Group, Optimizer, OptimizerError, check_way
from .rules import gradient_of, mean_of, square_mean_of


def _rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    maximize, decays, centered, with_momentum = options
    parameter, square, *others, gradient = tensors
    rate, decay, alpha, take, eps, momentum = scalars
    gradient = gradient_of(write, maximize, decays, parameter, gradient, decay)
    square = square_mean_of(write, square, gradient, alpha, take)
    results, spread = [square], square
    if centered:
        mean = mean_of(write, others[0], gradient, take)
        spread = write("sub", square, write("mul", mean, mean))
        results.append(mean)
    direction = write("div", gradient, write("add", write("sqrt", spread), eps))
    if with_momentum:
        direction = write("add", write("mul", others[-1], momentum), direction)
        results.append(direction)
    return write("sub", parameter, write("mul", direction, rate)), *results


_rmsprop = Update("rmsprop", _rule)


class RMSprop(Optimizer):
    """Steps of ``lr * g / (sqrt(v) + eps)`` with a running mean ``v`` of the squared gradient.

    ``alpha`` is its decay rate. ``centered`` takes the square of the gradient's running mean off ``v``; with
    ``momentum`` the steps are gathered in a buffer. One command per parameter. State: ``step``, ``square_avg``,
    ``grad_avg``, ``momentum_buffer``.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        *,
        foreach: bool | None = None,
        differentiable: bool = False,
        maximize: bool = False,
    ) -> None:
        check_way(self, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "capturable": capturable,
                "maximize": maximize,
            },
        )

    def _check(self, group: Group) -> None:
        super()._check(group)
        if not group["alpha"] >= 0:
            raise OptimizerError(f"RMSprop: alpha cannot be negative, got {group['alpha']}")

    def _update(self, parameter: Tensor, gradient: Tensor, group: Group, state: dict[str, Any]) -> None:
        centered, with_momentum = bool(group["centered"]), group["momentum"] > 0
        names = ["square_avg", *(["grad_avg"] if centered else []), *(["momentum_buffer"] if with_momentum else [])]
        state.setdefault("step", 0)
        for name in names:
            if name not in state:
                state[name] = self._zeros(parameter)
        counted = self._counting(parameter, group, state)

        def scalars() -> tuple[float, ...]:
            counted()
            alpha = group["alpha"]
            return group["lr"], group["weight_decay"], alpha, 1.0 - alpha, group["eps"], group["momentum"]

        options = int(group["maximize"]), int(group["weight_decay"] != 0), int(centered), int(with_momentum)
        written = parameter, *(state[name] for name in names)
        _rmsprop(options, written, (gradient,), scalars, unless=self._skips(parameter))
