"""Operations along one dimension for which the host has kernels of their own; other devices compose them."""

from __future__ import annotations

import math

from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.dtype import DType
from ..runtime.layout import layout_of
from ..tensor import Tensor
from .dispatch import SpecCache, enqueue
from .views import contiguous

_specs = SpecCache()


def on_host(x: Tensor) -> bool:
    """There a kernel costs next to nothing to start, and slices are copied whole: copying them beats looking entries up."""
    return bool(x.layout.device.driver.traits.kind == "host")


def running_sum(x: Tensor, axis: int, backwards: bool) -> Tensor:
    """Every entry plus all before it (after it) along ``axis``, in ``x``'s dtype. No gradient."""
    return _along("running_sum", x, axis, (x.shape[axis],), x.dtype, backwards)


def first_extreme(name: str, x: Tensor, axis: int, keepdim: bool) -> Tensor:
    """The first place (int64) of the largest or smallest entry along ``axis``; ``name`` is argmax or argmin. No gradient."""
    return _along("first_largest" if name == "argmax" else "first_smallest", x, axis, (1,) if keepdim else (), dt.int64, False)


def class_loss(logits: Tensor, target: Tensor, ignore_index: int, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The mean loss of class numbers ``[...]`` under ``logits`` (``[..., classes]``, float32 or float64, not 16 bits).

    With it log-probabilities, the numbers as int32 (-1 where they do not count) and how many count. ``name`` is what the
    numbers are for, as messages about one out of range begin. No gradient.
    """
    x, target = contiguous(logits.detach()), contiguous(target)
    layout = x.layout
    key = "class_loss", layout, target.layout, ignore_index, name
    spec = _specs.get(key)
    if spec is None:
        columns = layout.shape[-1]
        one, numbers = layout_of(layout.device, layout.dtype, ()), layout_of(layout.device, dt.int32, target.layout.shape)
        attributes = "class_loss", 60 * layout.numel, numbers.numel, columns, ignore_index, layout.device.error_tag(name)
        spec = CommandSpec(
            "shader", "cross_entropy", (layout, target.layout), (one, layout, numbers, one), None, attributes, notes_errors=True
        )
        _specs.put(key, spec)
    loss, logs, classes, counted = map(Tensor._make, layout.device.stream().enqueue(spec, (x, target)), (0,) * 4, spec.outputs)
    return loss, logs, classes, counted


def class_loss_gradient(logs: Tensor, numbers: Tensor, counted: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the logits for that of the loss, from what `class_loss` gave."""
    layout = logs.layout
    key = "class_loss_back", layout, numbers.layout
    spec = _specs.get(key)
    if spec is None:
        attributes = "class_loss_back", 30 * layout.numel, numbers.layout.numel, layout.shape[-1]
        inputs = layout, numbers.layout, counted.layout, layout_of(layout.device, layout.dtype, ())
        spec = _specs.put(key, CommandSpec("shader", "cross_entropy_gradient", inputs, (layout,), None, attributes))
    return enqueue(spec, (logs, numbers, counted, gradient))


def _along(shader: str, x: Tensor, axis: int, instead: tuple[int, ...], dtype: DType, backwards: bool) -> Tensor:
    """``instead`` is what the result has in the place of ``axis``."""
    source = contiguous(x.detach())
    layout = source.layout
    key = shader, layout, axis, instead, dtype, backwards
    spec = _specs.get(key)
    if spec is None:
        shape, length = layout.shape, layout.shape[axis]
        outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        made = layout_of(layout.device, dtype, (*shape[:axis], *instead, *shape[axis + 1 :]))
        attributes = shader, 4 * outer * length * inner, outer, length, inner, math.prod(instead), backwards
        spec = _specs.put(key, CommandSpec("shader", shader, (layout,), (made,), None, attributes))
    return enqueue(spec, (source,))
