"""``x[...]`` and ``x[...] = v``: integers, slices, ellipsis and None look at the same memory, tensors choose from it."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

import numpy as np

from ..autograd.mode import recording
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.errors import RasptorchError, ShapeError
from ..runtime.layout import Layout, contiguous_strides, layout_of
from ..tensor import Tensor
from .dispatch import same_device, tape
from .elementwise import check_writable
from .views import copy_into, embed, expand, squeeze


class IndexingError(RasptorchError, IndexError):
    """The index does not fit the tensor."""


builtin_sum = sum


def _dims(entry: Any) -> int:
    """How many dimensions an entry of an index is about."""
    if entry is None or isinstance(entry, (bool, np.bool_)):
        return 0
    if isinstance(entry, Tensor) and entry.dtype is dt.bool_:
        return entry.ndim
    return 1


def _spread(index: Any, x: Tensor) -> list[Any]:
    """The index as a list that is about every dimension once: arrays and lists as tensors, the ellipsis as slices."""
    given = list(index) if isinstance(index, tuple) else [index]
    entries = [e if e is None or isinstance(e, (int, slice, EllipsisType, np.integer, np.bool_)) else _tensor(e, x) for e in given]
    used = builtin_sum(_dims(e) for e in entries if not isinstance(e, EllipsisType))
    if used > x.ndim:
        raise IndexingError(f"{used} indices for a tensor of {x.ndim} dimensions (shape {list(x.shape)})")
    dots = [k for k, e in enumerate(entries) if isinstance(e, EllipsisType)]
    if len(dots) > 1:
        raise IndexingError("an index can have one ellipsis (...)")
    at = dots[0] if dots else len(entries)
    return entries[:at] + [slice(None)] * (x.ndim - used) + entries[at + 1 :]


def _tensor(entry: Any, x: Tensor) -> Tensor:
    """What is neither a number nor a slice, as an index tensor."""
    from .advanced import as_index

    if isinstance(entry, (Tensor, np.ndarray, list, tuple, range)):
        return as_index(entry, x)
    raise IndexingError(f"{type(entry).__name__} cannot index a tensor: use integers, slices, ..., None, tensors, arrays or lists")


Advanced = list[tuple[int, Tensor, int]]


def _plain(entries: list[Any], x: Tensor) -> tuple[list[Any], Advanced]:
    """The integers, slices and new dimensions of an index; and its tensors, each with its dimension in the view that those make
    and in ``x``.
    """
    plain: list[Any] = []
    tensors: Advanced = []
    axis = at = 0  # in x, and in the view
    for entry in entries:
        if isinstance(entry, (bool, np.bool_)):  # chooses from a new dimension of length 1: all of it or nothing
            from .creation import zeros

            plain.append(None)
            tensors.append((at, zeros(int(entry), dtype=dt.int32, device=x.device), axis))
            at += 1
        elif isinstance(entry, Tensor):
            dims = _dims(entry)
            if entry.dtype is dt.bool_ and entry.shape != x.shape[axis : axis + dims]:
                raise IndexingError(
                    f"a mask of shape {list(entry.shape)} does not fit dimensions {axis} to {axis + dims - 1} of shape {list(x.shape)}"
                )
            plain += [slice(None)] * dims or [None]
            tensors.append((at, entry, axis))
            axis, at = axis + dims, at + max(dims, 1)
        elif entry is None or isinstance(entry, slice):
            plain.append(entry)
            axis, at = axis + (entry is not None), at + 1
        else:
            plain.append(int(entry))
            axis += 1
    return plain, tensors


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


def _grad_getitem(n: Node, g: Tensor) -> tuple[Tensor]:
    shape, region, offset = n.attributes
    return (embed(g, shape, region, offset),)


def getitem(x: Tensor, index: Any) -> Tensor:
    """What ``x[index]`` gives: a view for integers, slices, ... and None, a copy as soon as tensors, arrays, lists or masks take part.

    An index out of range in a tensor raises `IndexError` at the next point where somebody waits. A mask makes the call wait, for
    the number of its true elements.
    """
    entries, tensors = _plain(_spread(index, x), x)
    out = _part(x, entries)
    if tensors:
        from .advanced import indexed, spots_of

        return indexed(out, spots_of(out, tensors))
    return out


def _part(x: Tensor, entries: list[Any]) -> Tensor:
    """The view that integers, slices and new dimensions make."""
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
    """What ``x[index] = value`` does. Where a tensor names an element more than once, the last value stays.

    One mask makes nobody wait; several, or a mask beside index tensors, do.
    """
    from .creation import tensor

    entries, tensors = _plain(_spread(index, x), x)
    if not isinstance(value, Tensor):
        value = tensor(value, dtype=x.dtype, device=x.device)
    check_writable("setitem", x, (value,))
    if tensors:
        _set_tensors(x, entries, tensors, value)
    else:
        _set_part(x, entries, value)


def _set_tensors(x: Tensor, entries: list[Any], tensors: Advanced, value: Tensor) -> None:
    from . import advanced

    same_device("setitem", [x.layout, value.layout])
    part = _part(x, entries)
    if len(tensors) == 1 and tensors[0][1].dtype is dt.bool_:
        axis, mask, _ = tensors[0]
        whole = part if mask.ndim else squeeze(part, axis)
        chosen = advanced.masked(whole, axis, mask, value)
        _set_part(x, entries, chosen if mask.ndim else chosen.unsqueeze(axis))
        return
    spots = advanced.spots_of(part, tensors)
    try:
        value = stretched(value, spots.out)
    except ShapeError:
        raise ShapeError(f"setitem: shape {list(value.shape)} does not stretch to {list(spots.out)}") from None
    if recording.get() and (x.requires_grad or value.requires_grad):
        _set_part(x, entries, advanced.put(part, spots, value))
    else:
        advanced.write(part, spots, value.clone() if value.storage is x.storage else value, False)


def stretched(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``value`` expanded to ``shape``; leading dimensions of length 1 that are too many go."""
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = value.squeeze(0)
    return expand(value, shape)


def _set_part(x: Tensor, entries: list[Any], value: Tensor) -> None:
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
