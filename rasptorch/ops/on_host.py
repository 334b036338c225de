"""Operations along one dimension for which the host has kernels of their own; other devices compose them."""

from __future__ import annotations

import math

from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.dtype import DType
from ..runtime.layout import layout_of
from ..tensor import Tensor
from .dispatch import SpecCache
from .views import contiguous

_specs = SpecCache()


def on_host(x: Tensor) -> bool:
    """There a kernel costs next to nothing to start, and slices are copied whole: copying them beats looking entries up."""
    return bool(x.device.driver.traits.kind == "host")


def running_sum(x: Tensor, axis: int, backwards: bool) -> Tensor:
    """Every entry plus all before it (after it) along ``axis``, in ``x``'s dtype. No gradient."""
    return _along("running_sum", x, axis, x.shape[axis], x.dtype, backwards)


def first_extreme(name: str, x: Tensor, axis: int) -> Tensor:
    """The first place (int64) of the largest or smallest entry along ``axis``, which stays; ``name`` is argmax or argmin."""
    return _along("first_largest" if name == "argmax" else "first_smallest", x, axis, 1, dt.int64, False)


def _along(shader: str, x: Tensor, axis: int, entries: int, dtype: DType, backwards: bool) -> Tensor:
    source = contiguous(x)
    key = shader, source.layout, axis, dtype, backwards
    spec = _specs.get(key)
    if spec is None:
        shape, length = source.layout.shape, source.layout.shape[axis]
        outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        made = layout_of(x.device, dtype, (*shape[:axis], entries, *shape[axis + 1 :]))
        attributes = shader, 4 * outer * length * inner, outer, length, inner, entries, backwards
        spec = _specs.put(key, CommandSpec("shader", shader, (source.layout,), (made,), None, attributes))
    (out,) = x.device.stream().enqueue(spec, [(source.storage.slot, source.offset)])
    return Tensor._make(out, 0, spec.outputs[0])
