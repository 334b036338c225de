"""How tensors lie over a kernel's domain, in a form that can be compared: the same place means the same bytes per element."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..dtype import DType
from ..hazards import Access
from ..layout import Shape, contiguous_strides


class Place(NamedTuple):
    """``offset`` (elements) and ``strides`` of value number ``value`` over a domain; strides along axes of length 1 are 0.

    Of a table, any of ``span`` elements may be read at any element of the domain; its strides say where look-ups count from.
    """

    value: int
    offset: int
    strides: Shape
    dtype: DType
    span: int = 0


def place(value: int, offset: int, strides: Shape, dtype: DType, shape: Shape) -> Place:
    return Place(value, offset, tuple(0 if n == 1 else s for n, s in zip(shape, strides, strict=True)), dtype)


def access(p: Place, shape: Shape) -> Access:
    """The bytes a place touches over ``shape``."""
    return Access(p.value, *extent(p, shape))


def extent(p: Place, shape: Shape) -> tuple[int, int]:
    """The first byte and the one after the last that a place touches."""
    size, span = p.dtype.itemsize, (p.span or 1) if math.prod(shape) else 0
    if span and not p.span:
        for n, s in zip(shape, p.strides, strict=True):
            span += (n - 1) * s
    return p.offset * size, (p.offset + span) * size


def plain_strides(shape: Shape) -> Shape:
    """Row-major strides in the form places have."""
    return tuple(0 if n == 1 else s for n, s in zip(shape, contiguous_strides(shape), strict=True))


def squeezed(shape: Shape) -> Shape:
    return tuple(n for n in shape if n != 1)


def is_flat(places: list[Place], shape: Shape) -> bool:
    """Whether every place is the whole domain in row-major order, or one element: then any shape of that size will do."""
    plain = plain_strides(shape)
    return all(p.strides == plain or not any(p.strides) for p in places)


def express(p: Place, shape: Shape, target: Shape) -> Place | None:
    """The same place over another domain of the same size; None where only a copy could do that."""
    if shape == target:
        return p
    if p.strides == plain_strides(shape):
        return p._replace(strides=plain_strides(target))
    if not any(p.strides):
        return p._replace(strides=(0,) * len(target))
    if squeezed(shape) != squeezed(target):
        return None
    kept = iter([s for n, s in zip(shape, p.strides, strict=True) if n != 1])
    return p._replace(strides=tuple(0 if n == 1 else next(kept) for n in target))
