"""Metrics: counted on the device while training goes on, read back when somebody asks for their value.

``update`` only enqueues. ``compute`` reads the few numbers that were counted: in a script it waits, in a Trio task it gives a
`Readback` to await.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..autograd.mode import no_grad
from ..ops.arithmetic import where
from ..ops.checked_index import checked_classes, class_mask, from_integers
from ..ops.comparison import eq, ge, gt, isnan, logical_and, logical_not, logical_or
from ..ops.creation import arange, zeros
from ..ops.functions import absolute
from ..ops.joining import stack
from ..ops.reduction import amax, first_place, sum
from ..ops.transfer import readback_with
from ..runtime import dtype as dt
from ..runtime.errors import RasptorchError, ShapeError
from ..runtime.readback import Readback
from ..runtime.waiting import in_trio_task
from ..tensor import Tensor

M = TypeVar("M", bound="Metric")
IGNORED = -100  # the class number that counts for nothing, as in the losses


class MetricError(RasptorchError, ValueError):
    """Options of a metric, or what it is given, that do not fit."""


class Metric:
    """Base of metrics. Subclasses define ``name``, ``_measured`` (a tensor to add up, of one shape) and ``_value``."""

    name = "metric"

    def __init__(self) -> None:
        self.state: Tensor | None = None

    def reset(self) -> None:
        """Forget everything."""
        self.state = None

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take a batch into account. Only enqueues."""
        with no_grad():
            measured = self._measured(output.detach(), target.detach())
            if self.state is None:
                self.state = zeros(measured.shape, dtype=measured.dtype, device=measured.device)
            self.state.add_(measured)

    def readback(self) -> Readback[Any]:
        """The value so far, on its way to the host."""
        if self.state is None:
            raise MetricError(f"{self.name}: nothing was measured yet")
        return readback_with(self.state, self._value)

    def compute(self) -> Any:
        """The value so far; in a Trio task: ``await metric.compute()``."""
        readback = self.readback()
        return readback if in_trio_task() else readback.wait()

    def fresh(self: M) -> M:
        """Another one with the same options, which has measured nothing."""
        made = copy.copy(self)
        made.reset()
        return made

    def state_dict(self) -> dict[str, Any]:
        """What was counted."""
        return {"state": self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`, whose tensors are taken over."""
        self.state = state["state"]

    def _measured(self, output: Tensor, target: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not define _measured()")

    def _value(self, state: NDArray[Any]) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define _value()")


def class_numbers(name: str, output: Tensor, target: Tensor) -> Tensor:
    """The wanted class of every element as int32, -1 where it counts for nothing.

    ``output`` is ``[n, classes, ...]``; ``target`` class numbers ``[n, ...]``, or one-hot (or probabilities) of the output's shape.
    """
    if output.ndim < 2:
        raise ShapeError(f"{name}: the output has scores of classes, [n, classes, ...], got shape {list(output.shape)}")
    if target.shape == output.shape:
        if not target.dtype.is_floating_point:
            target = from_integers(target, dt.float32)
        return first_place(target, amax(target, 1, True), 1, False)
    if target.shape != (output.shape[0], *output.shape[2:]):
        raise ShapeError(
            f"{name}: for an output of {list(output.shape)} the target is of {[output.shape[0], *output.shape[2:]]} (class numbers) or "
            f"of the output's shape (one-hot), got {list(target.shape)}"
        )
    return checked_classes(target, output.shape[1], IGNORED, f"{name}: target")


class Accuracy(Metric):
    """The share of elements whose class is among the ``topk`` with the largest scores.

    Outputs ``[n, classes, ...]``, targets class numbers ``[n, ...]`` or one-hot. Of equal scores the first class comes first; a score
    that is NaN counts as larger than all others, so an element whose own score is NaN is wrong. Class numbers of -100 do not count.
    """

    def __init__(self, topk: int = 1) -> None:
        super().__init__()
        if topk < 1:
            raise MetricError(f"Accuracy: topk is at least 1, got {topk}")
        self.topk = topk
        self.name = "accuracy" if topk == 1 else f"top{topk}_accuracy"

    def _measured(self, output: Tensor, target: Tensor) -> Tensor:
        numbers = class_numbers("Accuracy", output, target)
        classes = output.shape[1]
        mask = class_mask(numbers, classes, 1)
        own = sum(where(mask, output, 0.0), 1, True)
        place = arange(classes, dtype=dt.int32, device=output.device).reshape(1, classes, *(1,) * (output.ndim - 2))
        larger = logical_or(gt(output, own), logical_or(isnan(output), isnan(own)))
        earlier = logical_and(eq(output, own), gt(numbers.unsqueeze(1), place))
        before = sum(logical_or(larger, earlier), 1, dtype=dt.int32)
        counted = ge(numbers, 0)
        right = logical_and(counted, logical_not(ge(before, self.topk)))
        return stack([sum(right, dtype=dt.int32), sum(counted, dtype=dt.int32)])

    def _value(self, state: NDArray[Any]) -> float:
        return float(state[0]) / float(state[1]) if state[1] else float("nan")


class ConfusionMatrix(Metric):
    """How often each class (rows) was taken for which (columns): int64 ``[num_classes, num_classes]``."""

    name = "confusion_matrix"

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes < 1:
            raise MetricError(f"{type(self).__name__}: num_classes is at least 1, got {num_classes}")
        self.num_classes = num_classes

    def _measured(self, output: Tensor, target: Tensor) -> Tensor:
        numbers = class_numbers(type(self).__name__, output, target)
        if output.shape[1] != self.num_classes:
            raise ShapeError(f"{type(self).__name__}: {self.num_classes} classes, the output has {output.shape[1]} (dimension 1)")
        chosen = first_place(output, amax(output, 1, True), 1, False)
        wanted, taken = (class_mask(k.reshape(-1), self.num_classes).to(dt.float32) for k in (numbers, chosen))
        return (wanted.T @ taken).to(dt.int32)  # whole numbers below 2**24: exact

    def _value(self, state: NDArray[Any]) -> Any:
        return state.astype(np.int64)


class _ByClass(ConfusionMatrix):
    """A figure per class, made of hits, how often the class was taken, and how often it was right to take it."""

    def __init__(self, num_classes: int, average: str | None = "macro") -> None:
        super().__init__(num_classes)
        if average not in ("macro", "micro", "weighted", None):
            raise MetricError(f"{type(self).__name__}: average is 'macro', 'micro', 'weighted' or None, got {average!r}")
        self.average = average

    def _value(self, state: NDArray[Any]) -> Any:
        matrix = state.astype(np.float64)
        hits, taken, wanted = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
        if self.average == "micro":
            return float(self._figure(hits.sum(keepdims=True), taken.sum(keepdims=True), wanted.sum(keepdims=True))[0])
        each = self._figure(hits, taken, wanted)
        if self.average is None:
            return each
        if self.average == "weighted":
            return float((each * wanted).sum() / wanted.sum()) if wanted.sum() else float("nan")
        seen = (taken + wanted) > 0  # as in scikit-learn: classes that occur nowhere do not count
        return float(each[seen].mean()) if seen.any() else float("nan")

    def _figure(self, hits: NDArray[Any], taken: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
        raise NotImplementedError(f"{type(self).__name__} does not define _figure()")


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[Any]:
    """0 where there is nothing to have a share of."""
    share: NDArray[Any] = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return share


class Precision(_ByClass):
    """Of the elements taken for a class, the share that is of it. ``average``: ``macro``, ``micro``, ``weighted``, None (per class)."""

    name = "precision"

    def _figure(self, hits: NDArray[Any], taken: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
        return _share(hits, taken)


class Recall(_ByClass):
    """Of the elements of a class, the share that was taken for it. ``average``: ``macro``, ``micro``, ``weighted``, None (per class)."""

    name = "recall"

    def _figure(self, hits: NDArray[Any], taken: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
        return _share(hits, wanted)


class F1(_ByClass):
    """The harmonic mean of precision and recall. ``average``: ``macro``, ``micro``, ``weighted``, None (per class)."""

    name = "f1"

    def _figure(self, hits: NDArray[Any], taken: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
        return _share(2.0 * hits, taken + wanted)


class RunningMean(Metric):
    """The mean of what it is given, each with a weight. The sum is compensated (Kahan, CACM 8, 1965): a long epoch loses nothing."""

    name = "mean"

    def __init__(self) -> None:
        super().__init__()
        self.lost: Tensor | None = None
        self.weight = 0.0

    def reset(self) -> None:
        """Forget everything."""
        self.state = self.lost = None
        self.weight = 0.0

    def add(self, total: Tensor, weight: float) -> None:
        """Add ``total`` (0-d), the sum over something of this weight. Only enqueues."""
        with no_grad():
            value = total.detach().to(dt.float32)
            self.weight += weight
            if self.state is None or self.lost is None:
                self.state, self.lost = (zeros((), device=value.device) for _ in range(2))
            part = value - self.lost
            new = self.state + part
            self.lost.copy_((new - self.state) - part)
            self.state.copy_(new)

    def readback(self) -> Readback[Any]:
        """The mean so far, on its way to the host."""
        if self.state is None:
            raise MetricError(f"{self.name}: nothing was measured yet")
        weight = self.weight
        return readback_with(self.state, lambda state: float(state) / weight if weight else float("nan"))

    def state_dict(self) -> dict[str, Any]:
        """What was added up."""
        return {"state": self.state, "lost": self.lost, "weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`, whose tensors are taken over."""
        self.state, self.lost, self.weight = state["state"], state["lost"], state["weight"]


class _ElementError(RunningMean):
    def update(self, output: Tensor, target: Tensor) -> None:
        """Take a batch into account. Only enqueues."""
        if output.shape != target.shape:
            raise ShapeError(f"{type(self).__name__}: output {list(output.shape)} and target {list(target.shape)} differ in shape")
        with no_grad():
            self.add(sum(self._errors(output.detach().to(dt.float32) - target.detach().to(dt.float32))), output.numel())

    def _errors(self, difference: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not define _errors()")


class MeanSquaredError(_ElementError):
    """The mean of the squared differences over all elements."""

    name = "mse"

    def _errors(self, difference: Tensor) -> Tensor:
        return difference * difference


class MeanAbsoluteError(_ElementError):
    """The mean of the absolute differences over all elements."""

    name = "mae"

    def _errors(self, difference: Tensor) -> Tensor:
        return absolute(difference)


def check_metrics(metrics: Sequence[Any]) -> list[Metric]:
    """The metrics of a training: objects of `Metric`, with names of their own."""
    found = list(metrics)
    for metric in found:
        if not isinstance(metric, Metric):
            hint = f"; write {metric.__name__}()" if isinstance(metric, type) else ""
            raise TypeError(f"fit: metrics are objects of rasptorch.train.Metric, got {metric!r}{hint}")
    names = [metric.name for metric in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MetricError(f"fit: two metrics are called {', '.join(twice)}: give one another .name")
    return found

