"""Tensors out of data, constants and numbers that count up."""

from __future__ import annotations

import math
from array import array as array_of_numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..runtime import device as devices
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec, Program, Step, step
from ..runtime.device import Device
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import Layout, layout_of
from ..runtime.storage import Place
from ..tensor import Tensor
from .dispatch import SpecCache, check_dtype, check_size, enqueue, enqueue_into
from .outputs import makes_out

_default: list[str | Device] = ["cpu"]
_filled = SpecCache()
_counted = SpecCache()


def set_default_device(device: str | Device) -> None:
    """Where tensors are made when no device is named."""
    devices.get(device)
    _default[0] = device


def get_default_device() -> Device:
    return devices.get(_default[0])


def device_of(device: str | Device | None) -> Device:
    return devices.get(_default[0] if device is None else device)


def shape_of(operation: str, size: Sequence[Any]) -> tuple[int, ...]:
    """A shape given as separate numbers or as one sequence."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    for n in size:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
            raise TypeError(f"{operation}: sizes are whole numbers, got {n!r}")
        if n < 0:
            raise ShapeError(f"{operation}: sizes cannot be negative, got {list(size)}")
    return tuple(int(n) for n in size)


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of ``data``: numbers, nested sequences, arrays, tensors, anything with ``__array__``.

    Without ``dtype``, arrays keep theirs; Python floats become float32, integers int64, booleans bool.
    """
    if isinstance(data, Tensor):
        made = data.detach().clone()
        made = made.to(device) if device is not None else made
        made = made.to(dt.as_dtype(dtype)) if dtype is not None else made
        return made.requires_grad_() if requires_grad else made
    target = device_of(device)
    wanted = None if dtype is None else dt.as_dtype(dtype)
    array = _array(data, wanted)
    source = wanted if wanted is dt.bfloat16 else dt.from_numpy(array.dtype)
    layout = layout_of(target, source, array.shape)
    check_size("tensor", layout)
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    made = Tensor._make(target.upload(flat), 0, layout)
    return made.requires_grad_() if requires_grad else made


def check_fits(operation: str, value: Any, dtype: DType) -> None:
    """Refuse whole numbers that ``dtype`` does not have."""
    if dtype.category == 1 and not dt.fits(value, dtype):
        raise OverflowError(f"{operation}: {value} does not fit into {dtype.name}")


_BYTES = (bytes, bytearray, memoryview, array_of_numbers)  # sequences of numbers that NumPy need not walk


def _array(data: Any, wanted: DType | None) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(memoryview(data) if isinstance(data, _BYTES) else data)
    except ValueError as problem:
        raise ShapeError(f"tensor: nested sequences of uneven lengths do not make a tensor ({problem})") from None
    if array.dtype == object or array.dtype.kind in "USMmcV":
        raise DTypeError(f"tensor: {type(data).__name__} of {array.dtype} does not hold numbers a tensor can have")
    if wanted is dt.bfloat16:
        return dt.bfloat16_bits(array.astype(np.float32))
    if wanted is not None:
        if wanted.category == 1 and array.size and not hasattr(data, "dtype") and not isinstance(data, _BYTES):
            for bound in (array.min(), array.max()):
                check_fits("tensor", bound.item(), wanted)
        return array.astype(wanted.numpy)
    if hasattr(data, "dtype") or hasattr(data, "__array__"):
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if isinstance(data, _BYTES) and array.dtype.kind in "iu":
        return array.astype(np.int64)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """``data`` as a tensor; a tensor that already fits is returned as it is. Anything else is copied: see `from_numpy`."""
    if isinstance(data, Tensor):
        return data.to(data.device if device is None else device_of(device), data.dtype if dtype is None else dtype)
    return tensor(data, dtype=dtype, device=device)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool | None = None
) -> Tensor:  # fmt: skip
    """``obj`` as a tensor: as `as_tensor`. ``copy=True``: always a new one; ``copy=False``: its own memory, or `SharingError`."""
    if copy is False and not isinstance(obj, Tensor):
        from .sharing import shared

        made = shared(obj, dtype, device)
    elif copy and isinstance(obj, Tensor):
        made = as_tensor(obj.detach().clone(), dtype, device)
    else:
        made = as_tensor(obj, dtype, device)
        if copy is False and made.storage is not obj.storage:
            raise ValueError(f"asarray: this tensor is {obj.dtype.name} on {obj.device}; what is asked for is a copy, and copy=False")
    if requires_grad is None or requires_grad == made.requires_grad:
        return made
    return made.detach().requires_grad_(requires_grad)


# -- constants ----------------------------------------------------------------------------------------------------
def filled(operation: str, layout: Layout, value: bool | int | float, target: Tensor | None = None) -> Tensor:
    """A new tensor full of ``value``, or ``target`` filled with it."""
    check_fits(operation, value, layout.dtype)
    if layout.dtype is dt.int64 and not layout.device.driver.traits.int64:
        return _filled_in_words(operation, layout, int(value), target)
    key = (layout, target is None)
    spec = _filled.get(key)
    if spec is None:
        check_size(operation, layout)
        check_dtype(operation, layout.device, layout.dtype)
        program = Program((), (layout.dtype,), (step("copy", layout.dtype, (0,)),), (1,))
        spec = _filled.put(
            key, CommandSpec("elementwise", operation, (), (layout,), program, in_place=int(target is not None))
        )
    kind = {0: bool, 1: int, 2: float}[layout.dtype.category]
    if target is None:
        return enqueue(spec, (), (kind(value),))
    enqueue_into(spec, target, (), (kind(value),))
    return target


def _filled_in_words(operation: str, layout: Layout, value: int, target: Tensor | None) -> Tensor:
    """int64 on a device that only stores it: both halves of every element, in one command."""
    check_size(operation, layout)
    made = Tensor._make(layout.device.stream().new_storage(layout.nbytes), 0, layout) if target is None else target
    if layout.numel == 0:
        return made
    spec = _filled.get((layout, "words"))
    if spec is None:
        half = layout_of(layout.device, dt.int32, layout.shape, tuple(2 * s for s in layout.strides))
        program = Program((), (dt.int32, dt.int32), (step("copy", dt.int32, (0,)), step("copy", dt.int32, (1,))), (2, 3))
        spec = _filled.put((layout, "words"), CommandSpec("elementwise", operation, (), (half, half), program, in_place=2))
    both = [Place(made.storage, 2 * made.offset + half) for half in (0, 1)]
    layout.device.stream().enqueue(spec, (), halves(value), both)
    made.storage.version += target is not None
    return made


def halves(number: int) -> tuple[int, int]:
    """The low and the high half of an int64, as int32."""
    low = number & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low, number >> 32


@makes_out
def full(
    size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, out: Any = None
) -> Tensor:  # fmt: skip
    """A tensor of one value. The dtype follows from the value unless given."""
    wanted = dt.of_scalar(fill_value) if dtype is None else dt.as_dtype(dtype)
    return _marked(filled("full", layout_of(device_of(device), wanted, shape_of("full", (size,))), fill_value), requires_grad)


def _marked(made: Tensor, requires_grad: bool) -> Tensor:
    return made.requires_grad_() if requires_grad else made


def floating(dtype: Any) -> DType:
    """float32 unless another dtype is given."""
    return dt.float32 if dtype is None else dt.as_dtype(dtype)


@makes_out
def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, out: Any = None) -> Tensor:
    return full(shape_of("zeros", size), 0, dtype=floating(dtype), device=device, requires_grad=requires_grad)


@makes_out
def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, out: Any = None) -> Tensor:
    return full(shape_of("ones", size), 1, dtype=floating(dtype), device=device, requires_grad=requires_grad)


@makes_out
def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, out: Any = None) -> Tensor:
    """A tensor whose values are whatever the memory holds."""
    layout = layout_of(device_of(device), floating(dtype), shape_of("empty", size))
    check_size("empty", layout)
    made = Tensor._make(layout.device.stream().new_storage(layout.nbytes), 0, layout)
    return made.requires_grad_() if requires_grad else made


def _like(other: Tensor, dtype: Any, device: Any) -> Layout:
    wanted = other.dtype if dtype is None else dt.as_dtype(dtype)
    return layout_of(other.device if device is None else device_of(device), wanted, other.shape)


def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one value in the shape of another, with its dtype and on its device unless told otherwise."""
    return _marked(filled("full_like", _like(input, dtype, device), fill_value), requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape of another tensor, with its dtype and on its device unless told otherwise."""
    return _marked(filled("zeros_like", _like(input, dtype, device), 0), requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape of another tensor, with its dtype and on its device unless told otherwise."""
    return _marked(filled("ones_like", _like(input, dtype, device), 1), requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """As `empty`, in the shape of another tensor, with its dtype and on its device unless told otherwise."""
    layout = _like(input, dtype, device)
    return empty(layout.shape, dtype=layout.dtype, device=layout.device, requires_grad=requires_grad)


# -- counting -----------------------------------------------------------------------------------------------------
def counted(operation: str, layout: Layout, start: float, increment: float) -> Tensor:
    """``start + i * increment`` for element number ``i`` in row-major order."""
    spec = _counted.get(layout)
    if spec is None:
        check_size(operation, layout)
        dtype = layout.dtype
        # Where the device has no 64-bit integers the numbers are made in int32, if they fit; only the result is int64.
        last_value = start + (layout.numel - 1) * increment
        narrow = dtype is dt.int64 and not layout.device.driver.traits.int64
        if not narrow or max(abs(start), abs(last_value), abs(increment)) >= 1 << 31:
            check_dtype(operation, layout.device, dtype)
        compute = dt.int32 if narrow else dtype
        steps: list[Step] = [step("index", dt.int32, ())]
        last = 2
        if compute is not dt.int32:
            steps.append(step("cast", dt.int32, (last,), compute))
            last += 1
        steps.append(step("mul", compute, (last, 1)))
        steps.append(step("add", compute, (last + 1, 0)))
        if compute is not dtype:
            steps.append(step("cast", compute, (last + 2,), dtype))
            last += 1
        program = Program((), (compute, compute), tuple(steps), (last + 2,))
        spec = CommandSpec("elementwise", operation, (), (layout,), program)
        if not narrow:
            _counted.put(layout, spec)
    return enqueue(spec, (), (start, increment))


@makes_out
def arange(
    start: Any = None, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    out: Any = None,
) -> Tensor:  # fmt: skip
    """``arange(end)``, ``arange(start, end)`` or ``arange(start, end, step)``; ``end`` itself is left out."""
    if end is None:
        if start is None:
            raise TypeError("arange takes 1 to 3 bounds, got none")
        start, end = 0, start
    start, increment = 0 if start is None else start, step
    if increment == 0:
        raise ValueError("arange: the step must not be 0")
    count = max(0, math.ceil((end - start) / increment))
    whole = all(isinstance(b, (int, np.integer)) for b in (start, end, increment))
    wanted = (dt.int64 if whole else dt.float32) if dtype is None else dt.as_dtype(dtype)
    kind = float if wanted.is_floating_point else int
    layout = layout_of(device_of(device), wanted, (count,))
    made = counted("arange", layout, kind(start), kind(increment))
    return made.requires_grad_() if requires_grad else made


@makes_out
def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, out: Any = None
) -> Tensor:  # fmt: skip
    """``steps`` evenly spaced values from ``start`` to ``end``, both included."""
    if steps < 0:
        raise ShapeError(f"linspace: steps cannot be negative, got {steps}")
    values = np.linspace(start, end, steps)
    return tensor(values, dtype=floating(dtype), device=device, requires_grad=requires_grad)


@makes_out
def eye(
    n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, out: Any = None
) -> Tensor:  # fmt: skip
    """Ones on the diagonal, zeros elsewhere."""
    rows, columns = shape_of("eye", (n, n if m is None else m))
    row = arange(rows, dtype=dt.int32, device=device).reshape(rows, 1)
    return _marked((row == arange(columns, dtype=dt.int32, device=device)).to(floating(dtype)), requires_grad)
