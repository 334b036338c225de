"""Adam (Kingma and Ba, ICLR 2015), AdamW (Loshchilov and Hutter, ICLR 2019), AMSGrad (Reddi et al., ICLR
2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..ops.program import ProgramWriter
from ..ops.update import Update
from ..tensor import Tensor
from .optimizer import Group, Optimizer, check_way
from .rules import COUPLED, DECOUPLED, decays_of, gradient_of, mean_of, square_mean_of


def _moments(
    write: ProgramWriter, options: Sequence[int], state: Sequence[int], scalars: Sequence[int]
) -> tuple[int, int]:
    """The running means of the gradient and of its square, with this step's gradient in them."""
    maximize, decays = options
    parameter, mean, square, gradient = state
    decay, take_mean, keep_square, take_square = scalars[:4]
    gradient = gradient_of(write, maximize, decays == COUPLED, parameter, gradient, decay)
    mean = mean_of(write, mean, gradient, take_mean)
    square = square_mean_of(write, square, gradient, keep_square, take_square)
    return mean, square


def _stepped(
    write: ProgramWriter, decays: int, parameter: int, mean: int, square: int, scalars: Sequence[int]
) -> int:
    """The parameter after a step of ``rate * mean / (sqrt(square) * correction + eps)``."""
    eps, keep, rate, correction = scalars
    if decays == DECOUPLED:
        parameter = write("mul", parameter, keep)
    divisor = write("add", write("mul", write("sqrt", square), correction), eps)
    return write("sub", parameter, write("mul", write("div", mean, divisor), rate))


def _adam_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    parameter, mean, square, _ = tensors
    mean, square = _moments(write, options, tensors, scalars[:4])
    return _stepped(write, options[1], parameter, mean, square, scalars[4:]), mean, square


def _moments_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    mean, square, largest, parameter, gradient = tensors
    mean, square = _moments(write, options, (parameter, mean, square, gradient), scalars)
    return mean, square, write("maximum", largest, square)


def _step_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    parameter, mean, largest = tensors
    return (_stepped(write, options[1], parameter, mean, largest, scalars),)


def _corrections_rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    """From the number of steps: one more, and the two corrections; ``1 - beta ** step`` without cancellation."""
    (step,), (one, rate, log1, log2) = tensors, scalars
    step = write("add", step, one)
    first, second = (write("neg", write("expm1", write("mul", step, log))) for log in (log1, log2))
    return step, write("div", rate, first), write("rsqrt", second)


_adam = Update("adam", _adam_rule)
_corrections = Update("adam", _corrections_rule)
# With amsgrad there is one tensor more than fits a kernel's eight buffers, so it takes two commands.
_amsgrad_moments = Update("adam", _moments_rule)
_amsgrad_step = Update("adam", _step_rule)


class Adam(Optimizer):
    """Steps of ``lr * m / (sqrt(v) + eps)``, with bias-corrected running means ``m`` of the gradient, ``v``
    of its square.

    ``betas`` are their decay rates. ``weight_decay`` adds to the gradient; with ``decoupled_weight_decay`` it
    shrinks the parameter by ``lr * weight_decay`` instead. ``amsgrad`` divides by the largest ``v`` so far.
    ``capturable`` counts steps on the device. One command per parameter, two with ``amsgrad``. State: ``step``,
    ``exp_avg``, ``exp_avg_sq``, ``max_exp_avg_sq``.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_way(self, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _update(self, parameter: Tensor, gradient: Tensor, group: Group, state: dict[str, Any]) -> None:
        if "exp_avg" not in state:
            state.update(step=0, exp_avg=self._zeros(parameter), exp_avg_sq=self._zeros(parameter))
        if group["amsgrad"] and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = self._zeros(parameter)
        options, unless = (int(group["maximize"]), decays_of(group)), self._skips(parameter)
        corrections, singles = self._corrected(parameter, group, state)

        def take() -> tuple[float, ...]:
            beta1, beta2 = group["betas"]
            return group["weight_decay"], 1.0 - beta1, beta2, 1.0 - beta2

        def step() -> tuple[float, ...]:
            return (group["eps"], 1.0 - group["lr"] * group["weight_decay"], *corrections())

        mean, square = state["exp_avg"], state["exp_avg_sq"]
        if group["amsgrad"]:
            largest = state["max_exp_avg_sq"]
            _amsgrad_moments(options, (mean, square, largest), (parameter, gradient), take, unless=unless)
            _amsgrad_step(options, (parameter,), (mean, largest), step, singles, unless)
        else:
            _adam(options, (parameter, mean, square), (gradient,), lambda: (*take(), *step()), singles, unless)

    def _corrected(
        self, parameter: Tensor, group: Group, state: dict[str, Any]
    ) -> tuple[Callable[[], tuple[float, ...]], list[Tensor]]:
        """The step size and the factor of the root, corrected for the bias of the means: as numbers, or as tensors.

        One more step is counted.
        """
        count = self._counts(parameter, group, state)
        if count is not None:

            def constants() -> tuple[float, ...]:
                return (1.0, group["lr"], *(math.log(beta) if beta else -math.inf for beta in group["betas"]))

            return tuple, _corrections((), (count,), (), constants, (), self._skips(parameter), fresh=2)

        def corrections() -> tuple[float, ...]:
            state["step"] += 1
            rate, (beta1, beta2) = group["lr"], group["betas"]
            return rate / (1.0 - beta1 ** state["step"]), 1.0 / math.sqrt(1.0 - beta2 ** state["step"])

        return corrections, []


class AdamW(Adam):
    """`Adam` with decoupled weight decay: each step first shrinks the parameter by ``lr * weight_decay`` of
    itself.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
    ) -> None:
        check_way(self, differentiable)
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, capturable=capturable,
            decoupled_weight_decay=True,
        )  # fmt: skip
