"""``x[...]`` and ``x[...] = v``: integers, slices, ellipsis and None look at the same memory."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

import numpy as np

from ..autograd.node import Node
from ..runtime.errors import RasptorchError
from ..runtime.layout import Layout, contiguous_strides, layout_of
from ..tensor import Tensor
from .dispatch import tape
from .elementwise import check_writable
from .views import copy_into, embed


class IndexingError(RasptorchError, IndexError):
    """The index does not fit the tensor."""


_ONLY_BASIC = (
    "tensors are indexed by integers, slices, ... and None; indexing by tensors, arrays, lists or booleans is not there yet: "
    "use where() to choose by a mask"
)


def _spread(index: Any, ndim: int, shape: tuple[int, ...]) -> list[Any]:
    """The index as one entry per dimension, None for new ones."""
    entries = list(index) if isinstance(index, tuple) else [index]
    used = sum(1 for e in entries if e is not None and not isinstance(e, EllipsisType))
    if used > ndim:
        raise IndexingError(f"{used} indices for a tensor of {ndim} dimensions (shape {list(shape)})")
    dots = [k for k, e in enumerate(entries) if isinstance(e, EllipsisType)]
    if len(dots) > 1:
        raise IndexingError("an index can have one ellipsis (...)")
    at = dots[0] if dots else len(entries)
    return entries[:at] + [slice(None)] * (ndim - used) + entries[at + 1 :]


def _walk(
    entries: list[Any], shape: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Shape, strides and first element of what the entries select."""
    out_shape: list[int] = []
    out_strides: list[int] = []
    offset = axis = 0
    for entry in entries:
        if entry is None:
            out_shape.append(1)
            out_strides.append(0)
            continue
        n, s = shape[axis], strides[axis]
        if isinstance(entry, slice):
            start, stop, stride = entry.indices(n)
            if stride < 1:
                raise IndexingError(f"slices need a positive step, got {entry.step}; use flip for reversed order")
            count = max(0, -(-(stop - start) // stride))
            offset += start * s if count else 0
            out_shape.append(count)
            out_strides.append(s * stride)
        else:
            if not -n <= entry < n:
                raise IndexingError(f"index {entry} is out of range for dimension {axis} of length {n} (shape {list(shape)})")
            offset += entry % n * s
        axis += 1
    return tuple(out_shape), tuple(out_strides), offset


def _plain(entries: list[Any], shape: tuple[int, ...]) -> list[Any] | None:
    """Entries as Python integers and slices; None if one of them is a tensor or an array."""
    out: list[Any] = []
    for entry in entries:
        if entry is None or isinstance(entry, slice):
            out.append(entry)
        elif isinstance(entry, (bool, Tensor, list, np.ndarray)):
            return None
        elif isinstance(entry, (int, np.integer)):
            out.append(int(entry))
        else:
            raise IndexingError(f"{type(entry).__name__} cannot index a tensor: use integers, slices, ..., None or tensors")
    return out


def _grad_getitem(n: Node, g: Tensor) -> tuple[Tensor]:
    shape, region, offset = n.attributes
    return (embed(g, shape, region, offset),)


def getitem(x: Tensor, index: Any) -> Tensor:
    """What ``x[index]`` gives."""
    entries = _plain(_spread(index, x.ndim, x.shape), x.shape)
    if entries is None:
        raise IndexingError(_ONLY_BASIC)
    layout = x.layout
    shape, strides, offset = _walk(entries, layout.shape, layout.strides)
    out = Tensor._make(x.storage, x.offset + offset, layout_of(layout.device, layout.dtype, shape, strides))
    out.is_view = True
    if x.requires_grad:
        _, plain, start = _walk(entries, layout.shape, contiguous_strides(layout.shape))
        region = layout_of(layout.device, layout.dtype, shape, plain)
        tape(out, "getitem", _grad_getitem, (x,), (), (layout.shape, region, start))
        if out.node is not None:
            out.node.is_view = True
    return out


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """What ``x[index] = value`` does."""
    from .creation import tensor

    entries = _plain(_spread(index, x.ndim, x.shape), x.shape)
    if not isinstance(value, Tensor):
        value = tensor(value, dtype=x.dtype, device=x.device)
    if entries is None:
        raise IndexingError(_ONLY_BASIC)
    check_writable("setitem", x, (value,))
    layout = x.layout
    shape, strides, offset = _walk(entries, layout.shape, layout.strides)
    part = Tensor._make(x.storage, x.offset + offset, layout_of(layout.device, layout.dtype, shape, strides))
    while value.ndim > part.ndim and value.shape[0] == 1:
        value = value.squeeze(0)
    if value.storage is x.storage:
        value = value.clone()
    before = x.alias()
    copy_into(part, value.detach())
    if before.requires_grad or value.requires_grad:
        _, plain, start = _walk(entries, layout.shape, contiguous_strides(layout.shape))
        region = layout_of(layout.device, layout.dtype, shape, plain)
        tape(x, "setitem", _grad_setitem, (before, value), (), (layout.shape, region, start, value.layout))
        if before.node is not None and x.node is not before.node:
            before.node.replaced = True


def _grad_setitem(n: Node, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The overwritten part passes nothing to what was there before, and everything to what was written."""
    from .elementwise import fitted
    from .views import contiguous, part

    shape, region, start, written = n.attributes
    g = contiguous(g)
    dx = _cut(g, region, start) if n.needs(0) else None
    return dx, fitted(part(g, shape, region, start), written) if n.needs(1) else None


def _cut(g: Tensor, region: Layout, start: int) -> Tensor:
    """A row-major copy of ``g`` with zeros in ``region``."""
    from ..autograd.mode import no_grad
    from .creation import filled

    with no_grad():
        out = g.clone()
        filled("setitem", region, 0, Tensor._make(out.storage, start, region))
    return tape(out, "cut", _grad_cut, (g,), (), (region, start))


def _grad_cut(n: Node, g: Tensor) -> tuple[Tensor]:
    return (_cut(g, *n.attributes),)
