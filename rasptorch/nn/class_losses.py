"""Losses over classes: cross entropy and negative log-likelihood, with class numbers or probabilities as
targets.
"""

from __future__ import annotations

from ..autograd.mode import recording
from ..autograd.node import Node
from ..ops.arithmetic import maximum, where
from ..ops.checked_index import checked_classes, class_mask, from_integers
from ..ops.dispatch import tape
from ..ops.functions import exp
from ..ops.gathering import picked, taken
from ..ops.on_host import class_loss, class_loss_gradient, on_host
from ..ops.precision import in_full_precision
from ..ops.reduction import sum
from ..ops.softmax import grad_log_softmax, log_softmax
from ..runtime.errors import DTypeError, ShapeError
from ..tensor import Tensor
from .elementwise_losses import check_reduction, reduced


def _class_axis(name: str, input: Tensor) -> int:
    if input.ndim == 0:
        raise ShapeError(
            f"{name}: input has a dimension of classes, [classes] or [n, classes, ...], got a 0-d tensor"
        )
    if not input.dtype.is_floating_point:
        raise DTypeError(f"{name} is not defined for {input.dtype.name}; convert with .to(rasptorch.float32)")
    return 0 if input.ndim == 1 else 1


def _along(weight: Tensor, like: Tensor, axis: int) -> Tensor:
    """A weight per class, shaped so that it stretches along the classes of ``like``."""
    return weight.reshape(*(-1 if a == axis else 1 for a in range(like.ndim)))


def _checked_weight(name: str, weight: Tensor | None, classes: int) -> None:
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(
            f"{name}: weight has one entry for each of {classes} classes, got shape {list(weight.shape)}"
        )


def _of_numbers(
    name: str,
    logs: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> Tensor:
    """The loss of log-probabilities ``[n, classes, ...]`` against class numbers ``[n, ...]``."""
    axis = _class_axis(name, logs)
    classes = logs.shape[axis]
    wanted = logs.shape[:axis] + logs.shape[axis + 1 :]
    if target.shape != wanted:
        raise ShapeError(
            f"{name}: input {list(logs.shape)} wants class numbers of shape {list(wanted)}, "
            f"got {list(target.shape)}"
        )
    numbers = checked_classes(target, classes, ignore_index, f"{name}: target")
    counts, chosen = numbers >= 0, maximum(numbers, 0)
    right, of_right = picked(logs, axis, chosen), None if weight is None else taken(weight, chosen)
    # Chosen, not multiplied: 0 times the logarithm of 0 would be NaN.
    loss = where(counts, -right if of_right is None else -right * of_right, 0.0)
    if smoothing:
        weighted = logs if weight is None else logs * _along(weight, logs, axis)
        everywhere = where(numbers >= 0, -sum(weighted, axis), 0.0)
        loss = loss * (1.0 - smoothing) + everywhere * (smoothing / classes)
    if reduction != "mean":
        return reduced(loss, reduction)
    counted = sum(counts.to(logs.dtype) if of_right is None else where(counts, of_right, 0.0))
    return sum(loss) / counted


def _mean_of_numbers(input: Tensor, logs: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """The common case with a gradient of its own: ``(softmax - one-hot) / n`` is one kernel, where the
    gradients of the single operations would need several.
    """
    axis = _class_axis("cross_entropy", logs)
    classes = logs.shape[axis]
    numbers = checked_classes(target, classes, ignore_index, "cross_entropy: target")
    counts = numbers >= 0
    counted = sum(counts.to(logs.dtype))
    out = -sum(where(counts, picked(logs.detach(), axis, maximum(numbers, 0)), 0.0)) / counted
    return tape(out, "cross_entropy", _grad_mean_of_numbers, (input,), (logs, numbers, counted), axis)


def _mean_at_once(input: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """The same on the host: one kernel forward, and one backward unless the gradient itself has to have one."""
    out, logs, numbers, counted = class_loss(input, target, ignore_index, "cross_entropy: target")
    axis = input.ndim - 1
    if input.requires_grad and recording.get():
        tape(logs, "log_softmax", grad_log_softmax, (input,), (), axis, keep_output=True)
    return tape(out, "cross_entropy", _grad_mean_at_once, (input,), (logs, numbers, counted), axis)


def _grad_mean_at_once(n: Node, g: Tensor) -> tuple[Tensor]:
    if recording.get():
        return _grad_mean_of_numbers(n, g)
    logs, numbers, counted = n.values()
    return (class_loss_gradient(logs, numbers, counted, g),)


def _grad_mean_of_numbers(n: Node, g: Tensor) -> tuple[Tensor]:
    logs, numbers, counted = n.values()
    mask = class_mask(numbers, logs.shape[n.attributes], n.attributes)
    slope = exp(logs) - mask.to(logs.dtype)
    return (where((numbers >= 0).unsqueeze(n.attributes), slope * (g / counted), 0.0),)


@in_full_precision
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability of the right class.

    ``input`` are log-probabilities ``[n, classes, ...]`` or ``[classes]``; ``target`` class numbers ``[n,
    ...]`` or ``[]``, of which those equal to ``ignore_index`` count for nothing. The mean is weighted by
    ``weight`` (one per class). A class number out of range raises `IndexError` at the next point where
    somebody waits.
    """
    check_reduction("nll_loss", reduction)
    _checked_weight("nll_loss", weight, input.shape[_class_axis("nll_loss", input)])
    return _of_numbers("nll_loss", input, target, weight, ignore_index, reduction, 0.0)


def _of_probabilities(
    logs: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    axis = _class_axis("cross_entropy", logs)
    classes = logs.shape[axis]
    if not target.dtype.is_floating_point:
        target = from_integers(target, logs.dtype)
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / classes
    loss = logs * target
    loss = -sum(loss if weight is None else loss * _along(weight, logs, axis), axis)
    return reduced(loss, reduction)


@in_full_precision
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross entropy between ``softmax(input)`` over the classes and the target.

    ``input`` are logits ``[n, classes, ...]`` or ``[classes]``. ``target`` is either class numbers (int64,
    int32 or uint8) of ``[n, ...]`` or ``[]``, or of the input's shape: probabilities, or a one-hot encoding
    of any dtype. Class numbers equal to ``ignore_index`` count for nothing; others out of range raise
    `IndexError` at the next point where somebody waits. ``weight`` has an entry per class; the mean over
    class numbers is weighted by it. ``label_smoothing`` (0 to 1) mixes that much of the uniform distribution
    into the target.
    """
    check_reduction("cross_entropy", reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing is between 0 and 1, got {label_smoothing}")
    axis = _class_axis("cross_entropy", input)
    _checked_weight("cross_entropy", weight, input.shape[axis])
    numbers = target.dtype.category == 1 and target.shape == input.shape[:axis] + input.shape[axis + 1 :]
    plain = numbers and weight is None and not label_smoothing and reduction == "mean"
    if plain and on_host(input) and axis == input.ndim - 1 and input.dtype.itemsize > 2 and target.device is input.device:
        return _mean_at_once(input, target, ignore_index)
    logs = log_softmax(input, axis)
    if plain:
        return _mean_of_numbers(input, logs, target, ignore_index)
    if target.shape == input.shape:
        return _of_probabilities(logs, target, weight, reduction, label_smoothing)
    if target.dtype.category != 1:
        raise ShapeError(
            f"cross_entropy: a target of {target.dtype.name} holds probabilities and has the input's shape "
            f"{list(input.shape)}, got {list(target.shape)}; class numbers are integers"
        )
    return _of_numbers("cross_entropy", logs, target, weight, ignore_index, reduction, label_smoothing)
