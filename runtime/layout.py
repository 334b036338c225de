"""How a tensor lies in its storage: device, dtype, shape, strides. Interned, so comparing two is comparing identities.

One `Layout` stands for all tensors of that form. Everything that can be said of an operation from its operands' form
(do the shapes broadcast, what comes out, on which device) is worked out once per combination of layouts and then found
by a dictionary look-up of a few identities; that is what makes enqueueing cheap.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from .dtype import DType
from .errors import ShapeError

if TYPE_CHECKING:
    from .device import Device

MAX_RANK = 8
Shape = tuple[int, ...]


class Layout:
    """Shape and strides (both in elements) of values of one dtype on one device.

    ``span`` is how many elements lie between the first and the last one touched, both counted. Strides are never
    negative, so a tensor at offset ``o`` touches ``[o, o + span)``.
    """

    __slots__ = ("contiguous", "device", "dtype", "nbytes", "numel", "shape", "span", "strides")

    def __init__(self, device: Device, dtype: DType, shape: Shape, strides: Shape) -> None:
        self.device: Final = device
        self.dtype: Final = dtype
        self.shape: Final = shape
        self.strides: Final = strides
        self.numel: Final = math.prod(shape)
        self.nbytes: Final = self.numel * dtype.itemsize
        self.contiguous: Final = strides == contiguous_strides(shape) or self.numel == 0 or _is_dense(shape, strides)
        self.span: Final = (
            1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if self.numel else 0
        )

    def __repr__(self) -> str:
        return f"Layout({self.device}, {self.dtype.name}, {list(self.shape)}, strides={list(self.strides)})"


def contiguous_strides(shape: Shape) -> Shape:
    """Row-major strides in elements."""
    strides = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def _is_dense(shape: Shape, strides: Shape) -> bool:
    """Row-major order apart from axes of length 1, whose strides mean nothing."""
    step = 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1:
            if s != step:
                return False
            step *= n
    return True


_interned: dict[tuple[Device, DType, Shape, Shape | None], Layout] = {}
_INTERNED_MAX = 100_000


def layout_of(device: Device, dtype: DType, shape: Shape, strides: Shape | None = None) -> Layout:
    """The layout of this form; row-major when strides are left out. Raises `ShapeError` past rank 8."""
    key = (device, dtype, shape, strides)
    found = _interned.get(key)
    if found is not None:
        return found
    if len(shape) > MAX_RANK:
        raise ShapeError(f"tensors have at most {MAX_RANK} dimensions, this one would have {len(shape)}: {list(shape)}")
    if strides is None:
        strides = contiguous_strides(shape)
    full = (device, dtype, shape, strides)
    made = _interned.get(full) or Layout(device, dtype, shape, strides)
    if len(_interned) >= _INTERNED_MAX:
        # Identity only speeds look-ups up; forgetting makes later ones miss, never wrong.
        _interned.clear()
    made = _interned.setdefault(full, made)
    if key != full:
        _interned[key] = made
    return made


def broadcast_shapes(operation: str, *shapes: Shape) -> Shape:
    """The shape all of them stretch to under NumPy's rules; `ShapeError` names the operation and the shapes."""
    rank = max((len(s) for s in shapes), default=0)
    out = [1] * rank
    for shape in shapes:
        for axis, n in enumerate(shape, rank - len(shape)):
            if n != 1:
                if out[axis] not in (1, n):
                    texts = " and ".join(str(list(s)) for s in shapes)
                    raise ShapeError(
                        f"{operation}: shapes {texts} do not broadcast: sizes {out[axis]} and {n} meet at "
                        f"dimension {axis - rank} and neither is 1"
                    )
                out[axis] = n
    return tuple(out)


def broadcast_strides(layout: Layout, shape: Shape) -> Shape:
    """Strides that read ``layout`` as if it had ``shape``: 0 along stretched axes."""
    lead = len(shape) - len(layout.shape)
    return (0,) * lead + tuple(
        0 if n == 1 else s for n, s in zip(layout.shape, layout.strides, strict=True)
    )


def collapse(shape: Shape, strides: tuple[Shape, ...]) -> tuple[Shape, tuple[Shape, ...]]:
    """Merge neighbouring axes that every operand walks evenly, and drop axes of length 1.

    Returns the merged shape and each operand's strides over it; row-major order is kept, so element number ``i`` of
    the domain stays number ``i``.
    """
    dims: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        here = [s[axis] for s in strides]
        if dims and all(steps[k][-1] == h * n for k, h in enumerate(here)):
            dims[-1] *= n
            for k, h in enumerate(here):
                steps[k][-1] = h
        else:
            dims.append(n)
            for k, h in enumerate(here):
                steps[k].append(h)
    return tuple(dims), tuple(tuple(s) for s in steps)
