"""Views by sizes and strides alone: every look at a storage that its bounds allow; forward and gradient side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.errors import ShapeError
from ..runtime.layout import Layout, layout_of
from ..tensor import Tensor
from .arithmetic import div
from .creation import counted, filled
from .dispatch import only_tensors
from .gathering import sums_at, taken
from .views import embed, expand, part, view


def _whole(what: str, values: Sequence[Any]) -> tuple[int, ...]:
    found = tuple(values)
    for n in found:
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ShapeError(f"as_strided: {what} are whole numbers and not negative, got {list(found)}")
    return found


def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """A view of ``input``'s storage: element ``i, j`` is number ``storage_offset + i * stride[0] + j * stride[1]`` in it.

    ``size`` and ``stride`` are as long as each other and count elements, as does ``storage_offset`` (None: where ``input`` begins). The
    view may reach outside of ``input``, but not outside of its storage: `ShapeError`. Results of operations lie in row-major order,
    each in a storage of its own. Elements seen several times add up their gradients; the gradient of what ``input`` does not see is
    dropped.
    """
    only_tensors("as_strided", input)
    shape, strides = _whole("sizes", size), _whole("strides", stride)
    if len(shape) != len(strides):
        raise ShapeError(f"as_strided: sizes {list(shape)} and strides {list(strides)} are not equally many")
    start = input.offset if storage_offset is None else _whole("storage offsets", (storage_offset,))[0]
    reach = layout_of(input.device, input.dtype, shape, strides)
    there = input.storage.slot.nbytes // input.dtype.itemsize
    if reach.numel and start + reach.span > there:
        raise ShapeError(
            f"as_strided: sizes {list(shape)} and strides {list(strides)} from {start} on reach element {start + reach.span - 1} of a "
            f"storage of {there}"
        )
    return view(input, "as_strided", shape, strides, start, _grad_as_strided, (input.layout, reach, start - input.offset))


def _grad_as_strided(n: Node, g: Tensor) -> tuple[Tensor]:
    """Added up where the view looked, in all of the storage that it or its source sees; then read as the source sees it."""
    source, reach, shift = n.attributes
    if not reach.numel:
        return (filled("as_strided", layout_of(g.device, g.dtype, source.shape), 0),)
    before = max(-shift, 0)  # elements that the view sees and that lie before the source
    length = before + max(source.span, shift + reach.span)
    if _overlaps(reach):
        flat = sums_at(g, _places(reach, before + shift), (length,))
    else:
        flat = embed(g, (length,), reach, before + shift)
    if not _overlaps(source):
        return (part(flat, (length,), source, before),)
    seen = _places(source, before)  # several of the source's elements are one: they share its gradient
    ones = filled("as_strided", layout_of(g.device, g.dtype, source.shape), 1)
    return (div(taken(flat, seen), taken(sums_at(ones, seen, (length,)), seen)),)


def _overlaps(layout: Layout) -> bool:
    """Whether two elements may be at one place; a few forms in which none are count as such, too."""
    reached = 0
    for stride, n in sorted((s, n) for n, s in zip(layout.shape, layout.strides, strict=True) if n != 1):
        if stride <= reached:
            return True
        reached += (n - 1) * stride
    return False


def _places(layout: Layout, start: int) -> Tensor:
    """Per element its number in memory, row-major int32, where the first one has the number ``start``."""
    places = filled("index", layout_of(layout.device, dt.int32, ()), start)
    for axis, (n, stride) in enumerate(zip(layout.shape, layout.strides, strict=True)):
        if n != 1 and stride:
            shape = tuple(n if a == axis else 1 for a in range(len(layout.shape)))
            places = places + counted("index", layout_of(layout.device, dt.int32, shape), 0, stride)
    return expand(places, layout.shape)
