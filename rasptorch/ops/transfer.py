"""Between tensors and the host, and between devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..autograd.node import Node
from ..runtime import device as devices
from ..runtime import dtype as dt
from ..runtime.device import Device
from ..runtime.dtype import DType
from ..runtime.errors import BlockingInTrio, ShapeError
from ..runtime.layout import Layout, layout_of
from ..runtime.readback import Readback
from ..runtime.waiting import in_trio_task
from ..tensor import HAS_GRADIENT, GradientRefused, Tensor
from . import views
from .dispatch import check_size, tape

T = TypeVar("T")


def _read(x: Tensor, convert: Callable[[NDArray[Any]], T]) -> Readback[T]:
    """Start reading ``x``; ``convert`` gets an array it may not keep."""
    if not x.layout.contiguous:
        x = views.clone(x.detach())
    layout = x.layout
    dtype = layout.dtype.numpy
    size = dtype.itemsize

    def from_bytes(data: NDArray[np.uint8]) -> T:
        return convert(data.view(dtype).reshape(layout.shape))

    return layout.device.read(x.storage, x.offset * size, layout.nbytes, from_bytes)


def _values(x: Tensor) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """An array the caller owns; bfloat16 becomes float32, which NumPy has."""
    return _widened if x.layout.dtype is dt.bfloat16 else np.ndarray.copy


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    return (array.astype(np.uint32) << 16).view(np.float32)


def readback(self: Tensor) -> Readback[NDArray[Any]]:
    """The values on their way to the host, as a NumPy array of this shape: ``await`` it, or ``.wait()`` in a thread.

    Returns at once; later changes in place do not show in it. bfloat16 becomes float32.
    """
    return _read(self, _values(self))


def numpy(self: Tensor, *, force: bool = False) -> Any:
    """The values as a NumPy array that the caller owns, of this shape and dtype (bfloat16: float32); in a Trio task:
    ``await t.numpy()``.

    `GradientRefused` (a `RuntimeError`) for a tensor that requires gradients, which the array would not have; ``force=True``
    says that this is meant.
    """
    if self.requires_grad and not force:
        raise GradientRefused(HAS_GRADIENT.format("numpy()"))
    return _now_or_later(_read(self, _values(self)))


def item(self: Tensor) -> Any:
    """The value of a tensor of one element as a Python number; in a Trio task: ``await t.item()``.

    `ShapeError` where there are more elements, or none.
    """
    return _now_or_later(readback_item(self))


def tolist(self: Tensor) -> Any:
    """The values as lists, nested as deep as there are dimensions (a number for none); in a Trio task: ``await t.tolist()``."""
    return _now_or_later(readback_with(self, np.ndarray.tolist))


def readback_item(x: Tensor) -> Readback[Any]:
    """The one element as a Python number, on its way to the host."""
    layout = x.layout
    if layout.numel != 1:
        raise ShapeError(f"item: only one element can become a number, this tensor has shape {list(layout.shape)}")
    dtype, widened = layout.dtype.numpy, layout.dtype is dt.bfloat16
    size = dtype.itemsize

    def number(data: NDArray[np.uint8]) -> Any:
        stored = data.view(dtype)
        return (_widened(stored) if widened else stored).item()

    return layout.device.read(x.storage, x.offset * size, size, number)


def _now_or_later(readback: Readback[Any]) -> Any:
    return readback if in_trio_task() else readback.wait()


def readback_with(x: Tensor, convert: Callable[[NDArray[Any]], T]) -> Readback[T]:
    """What ``convert`` makes of the values, on its way to the host; it is called once, when they are there."""
    values = _values(x)
    return _read(x, lambda array: convert(values(array)))


def readback_bytes(x: Tensor) -> Readback[NDArray[np.uint8]]:
    """The elements' bytes in row-major order, whatever the dtype."""
    return _read(x, lambda array: array.reshape(-1).view(np.uint8).copy())


def from_bytes(data: NDArray[np.uint8], layout: Layout) -> Tensor:
    """The tensor whose elements' bytes are ``data``, in row-major order."""
    check_size("tensor", layout)
    return Tensor._make(layout.device.upload(data), 0, layout)


def to(x: Tensor, *args: Any, device: Any = None, dtype: Any = None, non_blocking: bool = False, copy: bool = False) -> Tensor:
    """``x.to(device)``, ``x.to(dtype)``, ``x.to(device, dtype)`` or ``x.to(other_tensor)``. ``x`` itself where nothing changes.

    ``copy=True`` makes a new tensor in any case. Moving between devices waits for the value, whatever ``non_blocking`` says; inside a
    Trio task await it and make a tensor from that instead.
    """
    device, dtype, flags = destination(args, device, dtype)
    out = _converted(x, device, dtype)
    return views.clone(out) if (copy or flags[1:] == (True,)) and out is x else out


def destination(args: tuple[Any, ...], device: Any = None, dtype: Any = None) -> tuple[Any, DType | None, tuple[bool, ...]]:
    """Where ``to(*args)`` leads: device (None: stay), dtype (None: as it is); and its flags, ``non_blocking`` and ``copy``, if given."""
    args, flags = args[:2], args[2:]  # to(device, dtype, non_blocking, copy), or one less with a dtype or a tensor
    if args and isinstance(args[-1], bool):
        args, flags = args[:-1], (args[-1], *flags)
    if len(flags) > 2 or not all(isinstance(flag, bool) for flag in flags):
        raise TypeError("to takes a device, a dtype or both, or a tensor; then non_blocking and copy")
    for arg in args:
        if isinstance(arg, Tensor):
            device, dtype = arg.device, arg.dtype
        elif isinstance(arg, Device) or (isinstance(arg, str) and arg not in dt.BY_NAME):
            device = arg
        elif arg is not None:
            dtype = arg
    return device, None if dtype is None else dt.as_dtype(dtype), flags


def _converted(x: Tensor, device: Any, wanted: DType | None) -> Tensor:
    if wanted is not None and wanted is not x.dtype and (device is None or not _narrowing_first(x, wanted)):
        x = views.cast(x, wanted)
        wanted = None
    if device is not None:
        x = _moved(x, devices.get(device))
    return x if wanted is None or wanted is x.dtype else views.cast(x, wanted)


def _narrowing_first(x: Tensor, wanted: DType) -> bool:
    """Whether to convert after moving: what is smaller travels."""
    return wanted.itemsize > x.dtype.itemsize


def type_as(x: Tensor, other: Tensor) -> Tensor:
    """``x`` in another tensor's dtype, on its device."""
    return to(x, other)


def to_device(x: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """``x.to(device)`` under the array API standard's name."""
    if stream is not None:
        raise ValueError("to_device: streams are chosen with `with rasptorch.stream(s):`, not by an argument")
    return to(x, device)


def _moved(x: Tensor, device: Device) -> Tensor:
    if x.device is device:
        return x
    if in_trio_task():
        raise BlockingInTrio(
            f"moving a tensor from {x.device} to {device} waits: use rasptorch.tensor(await x.numpy(), device='{device}')"
        )
    layout = layout_of(device, x.dtype, x.shape)
    check_size("to", layout)
    out = from_bytes(readback_bytes(x).wait(), layout)
    return tape(out, "to", _grad_moved, (x,), (), x.device)


def _grad_moved(n: Node, g: Tensor) -> tuple[Tensor]:
    return (_moved(g, n.attributes),)
