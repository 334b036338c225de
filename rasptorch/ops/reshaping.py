"""Tensors that look at their own memory in another way: in another shape, in place, or with its bits as another dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.mode import recording
from ..runtime.dtype import DType
from ..runtime.errors import ShapeError
from ..runtime.layout import layout_of
from ..tensor import Tensor
from . import rearranging, views
from .elementwise import InPlaceError


def _in_place(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function``, a view, as what becomes of the tensor itself."""

    def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
        if recording.get() and self.requires_grad and self.node is None:
            raise InPlaceError(f"{name}: a leaf that requires gradients keeps its shape; use the operation without the underscore")
        made = function(self, *args, **options)
        self.offset, self.layout = made.offset, made.layout
        self.node, self.requires_grad = made.node, made.requires_grad
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name[:-1]}`, of this tensor itself; others that look at the same memory keep their shapes."
    return method


_VIEWS: dict[str, Callable[..., Tensor]] = {
    "squeeze_": views.squeeze, "unsqueeze_": views.unsqueeze, "t_": views.t, "transpose_": views.transpose,
    "swapaxes_": rearranging.swapaxes, "swapdims_": rearranging.swapaxes,
}  # fmt: skip
IN_PLACE = {name: _in_place(name, function) for name, function in _VIEWS.items()}


def _reinterpreted(x: Tensor, dtype: DType) -> Tensor:
    """The same bits as elements of ``dtype``; of another size they change the length of the last dimension, which must lie together."""
    layout, old, new = x.layout, x.dtype.itemsize, dtype.itemsize
    shape, strides, offset = layout.shape, layout.strides, x.offset
    if old != new:
        if not shape or (strides[-1] != 1 and shape[-1] > 1):
            raise ShapeError(
                f"view: elements of {old} bytes become elements of {new} only where the last dimension lies together; this tensor has "
                f"shape {list(shape)} and strides {list(strides)}: call .contiguous() first"
            )
        if any((n * old) % new for n in (offset, shape[-1], *[s for s, n in zip(strides[:-1], shape[:-1], strict=True) if n > 1])):
            raise ShapeError(
                f"view: {x.dtype.name} to {dtype.name}: the last dimension of shape {list(shape)}, the steps {list(strides)} and where the "
                f"tensor begins ({offset}) have to be whole numbers of elements of {new} bytes"
            )
        shape = (*shape[:-1], shape[-1] * old // new)
        strides, offset = (*(s * old // new for s in strides[:-1]), 1), offset * old // new
    made = Tensor._make(x.storage, offset, layout_of(layout.device, dtype, shape, strides))
    made.is_view = True
    return made


def view(x: Tensor, *sizes: Any, size: Any = None, dtype: DType | None = None) -> Tensor:
    """The same memory in another shape, of which one size may be -1: as `reshape`, but an error where that would need a copy.

    ``view(dtype)`` reads the bits as another dtype instead; gradients do not pass.
    """
    if size is not None:
        sizes = (size,)
    given: Any = dtype if dtype is not None else sizes[0] if len(sizes) == 1 else None
    if isinstance(given, DType):
        return views.view_(x, x.shape) if given is x.dtype else _reinterpreted(x, given)
    return views.view_(x, *sizes)


def fill_diagonal_(x: Tensor, fill_value: float, wrap: bool = False) -> Tensor:
    """``fill_value`` on the main diagonal of a matrix, or where all coordinates of a tensor of equal lengths are the same."""
    if x.ndim < 2 or (x.ndim > 2 and len(set(x.shape)) != 1):
        raise ShapeError(f"fill_diagonal_: takes a matrix, or more dimensions of one length, got shape {list(x.shape)}")
    if wrap and x.ndim == 2 and x.shape[0] > x.shape[1] + 1:
        raise NotImplementedError("fill_diagonal_: wrap=True is not there; fill a view by as_strided")
    layout = layout_of(x.device, x.dtype, (min(x.shape),), (sum(x.layout.strides),))
    made = Tensor._make(x.storage, x.offset, layout)
    made.is_view = x.is_view
    if recording.get() and x.requires_grad:
        raise InPlaceError("fill_diagonal_: gradients are not recorded through it; use diagonal_scatter")
    made.fill_(fill_value)
    return x
