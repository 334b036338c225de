"""Running averages of a model's weights: exponential (Polyak and Juditsky, 1992) or equal (SWA: Izmailov et al., UAI 2018)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..autograd.mode import no_grad
from ..nn.batchnorm import _BatchNorm
from ..nn.module import Module
from ..ops.creation import tensor
from ..ops.program import ProgramWriter
from ..ops.update import Update
from ..runtime.device import Device
from ..tensor import Tensor
from .lr_scheduler.schedule import LRScheduler, per_group
from .optimizer import Group, Optimizer, OptimizerError
from .rules import mean_of

Average = Callable[[Sequence[Tensor], Sequence[Tensor], int], None]


def _rule(
    write: ProgramWriter, options: Sequence[int], tensors: Sequence[int], scalars: Sequence[int]
) -> Sequence[int]:
    average, current = tensors
    return (mean_of(write, average, current, scalars[0]),)


_average = Update("average", _rule)


def take_in(averages: Sequence[Tensor], current: Sequence[Tensor], share: Callable[[], float]) -> None:
    """``average += (current - average) * share()`` for all of them: one command each, which share dispatches.

    A captured function calls ``share`` again for each at every replay.
    """
    with no_grad():
        for average, value in zip(averages, current, strict=True):
            _average((), (average.detach(),), (value.detach(),), lambda: (share(),))


def get_ema_multi_avg_fn(decay: float = 0.999) -> Average:
    """For `AveragedModel`: averages that keep ``decay`` of themselves and take in the rest."""
    _check_decay("get_ema_multi_avg_fn", decay)

    def average(averages: Sequence[Tensor], current: Sequence[Tensor], count: int) -> None:
        take_in(averages, current, lambda: 1.0 - decay)

    return average


def get_swa_multi_avg_fn() -> Average:
    """For `AveragedModel`: averages in which all models count the same."""

    def average(averages: Sequence[Tensor], current: Sequence[Tensor], count: int) -> None:
        take_in(averages, current, lambda: 1.0 / (count + 1))

    return average


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Tensor, Tensor, int], Tensor]:
    """For `AveragedModel`, as `get_ema_multi_avg_fn`, but for one tensor after the other."""
    _check_decay("get_ema_avg_fn", decay)
    return lambda average, current, count: average * decay + current * (1.0 - decay)


def get_swa_avg_fn() -> Callable[[Tensor, Tensor, int], Tensor]:
    """For `AveragedModel`, as `get_swa_multi_avg_fn`, but for one tensor after the other."""
    return lambda average, current, count: average + (current - average) * (1.0 / (count + 1))


def _check_decay(name: str, decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"{name}: decay is between 0 and 1, got {decay}")


class AveragedModel(Module):
    """A copy of ``model`` (``.module``) whose parameters are running averages: call ``update_parameters(model)`` after a step.

    ``multi_avg_fn(averages, current, count)`` changes lists of tensors in place; equal averages unless given. ``avg_fn(average, current,
    count)`` gives the new average of one tensor. The first update copies. Floating-point buffers are averaged, too, with
    ``use_buffers``, and copied otherwise. ``n_averaged`` counts updates.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: str | Device | None = None,
        avg_fn: Callable[[Tensor, Tensor, int], Tensor] | None = None,
        multi_avg_fn: Average | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("AveragedModel takes avg_fn or multi_avg_fn, not both")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers
        self._count = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take ``model``'s parameters into the average. Only enqueues."""
        mine, theirs = list(self.module.parameters()), [p.detach() for p in model.parameters()]
        buffers = list(zip(self.module.buffers(), model.buffers(), strict=True))
        if self.use_buffers:
            averaged = [(a, b) for a, b in buffers if a.dtype.is_floating_point]
            mine, theirs = mine + [a for a, _ in averaged], theirs + [b for _, b in averaged]
            buffers = [(a, b) for a, b in buffers if not a.dtype.is_floating_point]
        with no_grad():
            if self._count == 0:
                buffers += zip(mine, theirs, strict=True)
            elif self.avg_fn is not None:
                buffers += [(a, self.avg_fn(a.detach(), b, self._count)) for a, b in zip(mine, theirs, strict=True)]
            else:
                (self.multi_avg_fn or get_swa_multi_avg_fn())(mine, theirs, self._count)
            for average, value in buffers:
                average.detach().copy_(value)
        self._count += 1
        self.n_averaged = tensor(self._count, device=self.n_averaged.device)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """As `Module.load_state_dict`; waits for the count."""
        result = super().load_state_dict(state_dict, strict, assign)
        self._count = int(self.n_averaged)
        return result


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: str | Device | None = None) -> None:
    """Give the batch normalisation layers of ``model`` the plain averages of the moments over all batches of ``loader``.

    An averaged model's running moments are those of none of the models that went into it. A batch is a tensor, or a list or tuple
    whose first entry is what the model takes; it goes to ``device`` if given. Momenta and the mode of ``model`` are put back.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        return
    momenta, training = [layer.momentum for layer in layers], model.training
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    model.train()
    try:
        for batch in loader:
            x = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(x if device is None else x.to(device))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        model.train(training)


class SWALR(LRScheduler):
    """From the rate at hand to ``swa_lr`` in ``anneal_epochs`` steps, and constant from there: for averaging weights.

    ``swa_lr`` is one rate, or one for each parameter group; ``anneal_strategy`` ``"cos"`` or ``"linear"``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'SWALR: anneal_strategy is "cos" or "linear", got {anneal_strategy!r}')
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"SWALR: anneal_epochs is a whole number of at least 0, got {anneal_epochs}")
        for group, rate in zip(optimizer.param_groups, per_group("swa_lr", optimizer, swa_lr), strict=True):
            group["swa_lr"] = rate
        self.anneal_epochs = anneal_epochs
        self.anneal_strategy = anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of ``swa_lr`` there is in the rate at ``step``."""
        way = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return way if self.anneal_strategy == "linear" else (1.0 - math.cos(math.pi * way)) / 2

    def _next(self, group: Group, base: float) -> float:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        target, before, now = group["swa_lr"], self._share(step - 1), self._share(step)
        # What the rate was mixed from is found from it, so that another schedule may go on changing it meanwhile.
        first = target if before == 1 else (group["lr"] - before * target) / (1.0 - before)
        return float(target * now + first * (1.0 - now))


class EMA:
    """Exponential moving averages of parameters: ``ema.update()`` after each step, ``with ema.applied():`` to evaluate with them.

    ``parameters`` is a module or an iterable of tensors. The averages start as copies and keep ``decay`` of themselves at each
    update; they live beside the parameters, under `averages`. An update is one command per parameter, few dispatches for all, and
    can be captured.
    """

    def __init__(self, parameters: Module | Iterable[Tensor], decay: float = 0.999) -> None:
        _check_decay("EMA", decay)
        self.decay = decay
        self._parameters = list(parameters.parameters() if isinstance(parameters, Module) else parameters)
        if not self._parameters:
            raise OptimizerError("EMA got no parameters")
        with no_grad():
            self.averages = [p.detach().clone() for p in self._parameters]

    def update(self) -> None:
        """Take the parameters' present values in."""
        take_in(self.averages, self._parameters, lambda: 1.0 - self.decay)

    def copy_to(self) -> None:
        """Overwrite the parameters with the averages."""
        _copy(self._parameters, self.averages)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters have the averages' values inside the block, and their own again after it."""
        with no_grad():
            kept = [p.detach().clone() for p in self._parameters]
        self.copy_to()
        try:
            yield
        finally:
            _copy(self._parameters, kept)

    def state_dict(self) -> dict[str, Any]:
        """``decay`` and the averages, which share memory with these."""
        return {"decay": self.decay, "averages": list(self.averages)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        given = state_dict["averages"]
        if [tuple(x.shape) for x in given] != [p.shape for p in self._parameters]:
            raise OptimizerError("EMA.load_state_dict: the averages have other shapes than the parameters")
        self.decay = state_dict["decay"]
        _copy(self.averages, given)


def _copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    with no_grad():
        for target, source in zip(targets, sources, strict=True):
            target.detach().copy_(source.detach())
