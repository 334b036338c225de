"""NAdam: Adam with Nesterov's momentum (Dozat, ICLR workshop 2016), in the form PyTorch gives it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..ops.creation import full
from ..ops.program import ProgramWriter
from ..ops.update import Update
from ..runtime import dtype as dt
from ..runtime.capture import outside
from ..tensor import Tensor
from .optimizer import Group, Optimizer, check_way
from .rules import COUPLED, DECOUPLED, decays_of, gradient_of, mean_of, square_mean_of

DECAY = 0.96  # of the momentum's schedule: a constant of the paper


def _rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    maximize, decays = options
    parameter, mean, square, gradient = tensors
    decay, keep, take_mean, keep_square, take_square, eps, of_gradient, of_mean, correction = scalars
    gradient = gradient_of(write, maximize, decays == COUPLED, parameter, gradient, decay)
    if decays == DECOUPLED:
        parameter = write("mul", parameter, keep)
    mean = mean_of(write, mean, gradient, take_mean)
    square = square_mean_of(write, square, gradient, keep_square, take_square)
    direction = write("add", write("mul", gradient, of_gradient), write("mul", mean, of_mean))
    divisor = write("add", write("mul", write("sqrt", square), correction), eps)
    return write("sub", parameter, write("div", direction, divisor)), mean, square


def _corrections_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    """From the number of steps and the product of the momenta so far: both one step on, and the step's factors."""
    step, product = tensors
    one, half, rate, beta1, log_decay, log2 = scalars
    step = write("add", step, one)

    def momentum(at: int) -> int:
        return write("mul", beta1, write("sub", one, write("mul", half, write("exp", write("mul", at, log_decay)))))

    now, following = momentum(step), momentum(write("add", step, one))
    product = write("mul", product, now)
    of_gradient = write("div", write("mul", rate, write("sub", one, now)), write("sub", one, product))
    of_mean = write("div", write("mul", rate, following), write("sub", one, write("mul", product, following)))
    correction = write("rsqrt", write("neg", write("expm1", write("mul", step, log2))))
    return step, product, of_gradient, of_mean, correction


_nadam = Update("nadam", _rule)
_corrections = Update("nadam", _corrections_rule)


class NAdam(Optimizer):
    """Adam whose momentum looks one step ahead and grows with a schedule that ``momentum_decay`` sets.

    Options as of `Adam`. One command per parameter. State: ``step``, ``mu_product``, ``exp_avg``, ``exp_avg_sq``.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        differentiable: bool = False,
        maximize: bool = False,
        capturable: bool = False,
    ) -> None:
        check_way(self, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "capturable": capturable,
            },
        )

    def _update(self, parameter: Tensor, gradient: Tensor, group: Group, state: dict[str, Any]) -> None:
        if "exp_avg" not in state:
            state.update(step=0, mu_product=1.0, exp_avg=self._zeros(parameter), exp_avg_sq=self._zeros(parameter))
        corrections, singles = self._corrected(parameter, group, state)

        def scalars() -> tuple[float, ...]:
            decay, (beta1, beta2) = group["weight_decay"], group["betas"]
            kept = 1.0 - group["lr"] * decay
            return (decay, kept, 1.0 - beta1, beta2, 1.0 - beta2, group["eps"], *corrections())

        options = int(group["maximize"]), decays_of(group)
        written = parameter, state["exp_avg"], state["exp_avg_sq"]
        _nadam(options, written, (gradient,), scalars, singles, self._skips(parameter))

    def _corrected(
        self, parameter: Tensor, group: Group, state: dict[str, Any]
    ) -> tuple[Callable[[], tuple[float, ...]], list[Tensor]]:
        """The step's factors of the gradient, the mean and the root, as numbers or as tensors. One more step is counted."""
        count = self._counts(parameter, group, state)
        if count is not None:
            if not isinstance(state["mu_product"], Tensor):
                with outside(parameter.device.stream()):
                    state["mu_product"] = full((), state["mu_product"], dtype=dt.float32, device=parameter.device)

            def constants() -> tuple[float, ...]:
                beta1, beta2 = group["betas"]
                log_decay = math.log(DECAY) * group["momentum_decay"]
                return 1.0, 0.5, group["lr"], beta1, log_decay, math.log(beta2) if beta2 else -math.inf

            written = count, state["mu_product"]
            return tuple, _corrections((), written, (), constants, (), self._skips(parameter), fresh=3)

        def corrections() -> tuple[float, ...]:
            state["step"] += 1
            step, rate, (beta1, beta2) = state["step"], group["lr"], group["betas"]
            now, following = (
                beta1 * (1.0 - 0.5 * DECAY ** (at * group["momentum_decay"])) for at in (step, step + 1)
            )
            product = state["mu_product"] = state["mu_product"] * now
            return (
                rate * (1.0 - now) / (1.0 - product),
                rate * following / (1.0 - product * following),
                1.0 / math.sqrt(1.0 - beta2**step),
            )

        return corrections, []
