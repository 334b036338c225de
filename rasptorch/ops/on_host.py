"""Operations along one dimension for which the host has kernels of their own; other devices compose them."""

from __future__ import annotations

import math

from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.dtype import DType
from ..runtime.layout import layout_of
from ..tensor import Tensor
from .dispatch import SpecCache, enqueue
from .views import clone

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


def _along(shader: str, x: Tensor, axis: int, instead: tuple[int, ...], dtype: DType, backwards: bool) -> Tensor:
    """``instead`` is what the result has in the place of ``axis``."""
    source = x if x.layout.contiguous else clone(x.detach())
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
