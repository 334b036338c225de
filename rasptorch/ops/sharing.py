"""Memory shared with NumPy, PyTorch and whoever speaks DLPack or the buffer protocol.

Sharing is for the cpu device; nothing is copied. The engine keeps its own accesses in order, but it computes later than it is
called, and knows nothing of what others do with the memory. So, with ``x = rasptorch.from_numpy(array)``:

- before changing ``array`` while operations on ``x`` may be under way, and before reading what was written to ``x`` in place, call
  ``rasptorch.synchronize("cpu")`` (exporting with ``__dlpack__`` does that for the tensor that is exported);
- gradients do not notice what others change.
"""

from __future__ import annotations

import ctypes
import warnings
from typing import Any, cast

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from ..runtime import device as devices
from ..runtime import dtype as dt
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError, RasptorchError
from ..runtime.layout import layout_of
from ..runtime.sharing import HeldMemory, SharingError
from ..tensor import Tensor

CPU, VULKAN = 1, 7  # DLPack's numbers for kinds of devices
_BFLOAT, _UINT = 4, 1  # and for kinds of numbers


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor on the cpu device that *is* the array: changes of one are changes of the other (see this module's first lines).

    Raises `TypeError` for what is no array, `DTypeError` for dtypes tensors do not have, `SharingError` for negative strides or
    elements that are not aligned. A read-only array is copied, with a warning.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy takes a NumPy array, got {type(ndarray).__name__}; see rasptorch.tensor")
    return _shared("from_numpy", ndarray, None)


def _shared(operation: str, array: NDArray[Any], dtype: DType | None) -> Tensor:
    if dtype is None:
        if not array.dtype.isnative:
            raise DTypeError(f"{operation}: {array.dtype} has the other byte order; convert with .astype({array.dtype.newbyteorder('=')})")
        dtype = dt.from_numpy(array.dtype)
    if not array.flags.writeable:
        warnings.warn(
            f"{operation}: this memory is read-only, so the tensor has a copy of it; pass a copy to avoid this warning", stacklevel=3
        )
        array = array.copy()
    device = devices.get("cpu")
    if array.size == 0:
        layout = layout_of(device, dtype, array.shape)
        return Tensor._make(device.stream().new_storage(0), 0, layout)
    size = array.itemsize
    strides = tuple(0 if n == 1 else s for n, s in zip(array.shape, array.strides, strict=True))
    if any(s < 0 or s % size for s in strides):
        raise SharingError(
            f"{operation}: strides {list(array.strides)} (bytes) of elements of {size} bytes cannot be a tensor's, which are whole "
            "and not negative; use .copy()"
        )
    layout = layout_of(device, dtype, array.shape, None if array.flags.c_contiguous else tuple(s // size for s in strides))
    storage, first = device.sharing.borrow(_memory_of(array))
    offset = first + array.ctypes.data - byte_bounds(_root(array))[0]
    if offset % size:
        raise SharingError(f"{operation}: the array's elements are not aligned to their {size} bytes; use .copy()")
    return Tensor._make(storage, offset // size, layout)


def _root(array: NDArray[Any]) -> NDArray[Any]:
    """The array that owns the memory: all its views become one storage, so that their accesses are ordered."""
    while isinstance(array.base, np.ndarray) and array.base.flags.writeable:
        array = array.base
    return array


def _memory_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    root = _root(array)
    start, end = byte_bounds(root)
    return HeldMemory(start, end - start, root).array()


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-d tensor on the cpu device that is the memory of a ``bytearray``, ``memoryview``, ``array.array`` or the like.

    ``offset`` in bytes; ``count`` elements, -1 for all that follow. Read-only memory (``bytes``) is copied, with a warning.
    """
    wanted = dt.as_dtype(dtype)
    size, given = wanted.itemsize, memoryview(buffer)
    if given.nbytes == 0 or count == 0:
        raise ValueError(f"frombuffer: both the buffer ({given.nbytes} bytes) and count ({count}) must be greater than 0")
    left = given.nbytes - offset
    if not 0 <= offset < given.nbytes or (left % size if count < 0 else count * size > left):
        raise ValueError(
            f"frombuffer: {given.nbytes} bytes from byte {offset} on do not hold "
            f"{'whole elements' if count < 0 else f'{count} elements'} of {size} bytes ({wanted.name})"
        )
    part = np.frombuffer(buffer, np.uint8)
    # All parts of one object are one storage: see `_root`.
    owner: Any = given.obj
    whole = np.frombuffer(owner, np.uint8)
    start = part.ctypes.data - whole.ctypes.data + offset
    made = _shared("frombuffer", np.ndarray((left // size if count < 0 else count,), wanted.numpy, whole, start), wanted)
    return made.requires_grad_() if requires_grad else made


def shared(data: Any, dtype: Any, device: Any) -> Tensor:
    """``data``'s own memory as a tensor of the cpu, for ``asarray(..., copy=False)``."""
    if isinstance(data, np.ndarray):
        made = from_numpy(data)
    elif hasattr(data, "__dlpack__"):
        made = from_dlpack(data)
    elif isinstance(data, (bytearray, memoryview)):
        made = frombuffer(data, dtype=dt.uint8 if dtype is None else dtype)
    else:
        raise SharingError(f"asarray: {type(data).__name__} has no memory to share; leave copy=False out")
    if (dtype is not None and dt.as_dtype(dtype) is not made.dtype) or (device is not None and devices.get(device) is not made.device):
        raise SharingError(f"asarray: this is {made.dtype.name} on the cpu; what is asked for is a copy, and copy=False")
    return made


# -- DLPack -------------------------------------------------------------------------------------------------------
class _Capsule:
    """The part of DLPack's C structure that NumPy cannot express: bfloat16. Everything else is left to NumPy."""

    _PLACES = ((b"dltensor_versioned", 52), (b"dltensor", 20))  # name of the capsule, byte at which the dtype is

    @classmethod
    def _dtype_at(cls, capsule: object) -> int:
        valid, pointer = ctypes.pythonapi.PyCapsule_IsValid, ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype = ctypes.c_void_p
        for name, place in cls._PLACES:
            if valid(ctypes.py_object(capsule), name):
                return int(pointer(ctypes.py_object(capsule), name)) + place
        raise SharingError("from_dlpack: this is no DLPack capsule, or one that was used already")

    @classmethod
    def kind(cls, capsule: object) -> tuple[int, int]:
        """Kind of number, and bits."""
        code, bits = (ctypes.c_uint8 * 2).from_address(cls._dtype_at(capsule))
        return code, bits

    @classmethod
    def rename(cls, capsule: object, code: int) -> None:
        ctypes.c_uint8.from_address(cls._dtype_at(capsule)).value = code


class _Readable:
    """Another library's tensor, for NumPy: its bfloat16 numbers are unsigned integers of 16 bits. ``dtype`` is set when it was that."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.dtype: DType | None = None

    def __dlpack_device__(self) -> Any:
        return self._inner.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> object:
        capsule: object = self._inner.__dlpack__(**options)
        if _Capsule.kind(capsule) == (_BFLOAT, 16):
            _Capsule.rename(capsule, _UINT)
            self.dtype = dt.bfloat16
        return capsule


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that is another library's memory: of the cpu, through ``__dlpack__`` (see this module's first lines).

    ``copy=True`` copies. ``device``: where it is to be; another one than the cpu takes a copy there. Raises `SharingError` for
    memory of other devices.
    """
    if isinstance(ext_tensor, Tensor):
        made = ext_tensor.detach()
    else:
        if not hasattr(ext_tensor, "__dlpack__"):
            raise TypeError(f"from_dlpack takes an object with __dlpack__, got {type(ext_tensor).__name__}")
        kind = int(ext_tensor.__dlpack_device__()[0])
        if kind != CPU:
            raise SharingError(f"from_dlpack: this memory is on another device (DLPack's kind {kind}); move it to the cpu first")
        readable = _Readable(ext_tensor)
        array = np.from_dlpack(cast(Any, readable))
        made = _shared("from_dlpack", array, readable.dtype)
    if device is not None and devices.get(device) is not made.device:
        if copy is False:
            raise SharingError(f"from_dlpack: memory on {made.device} is not shared with {device}; leave copy=False out")
        return made.to(device)
    return made.clone() if copy else made


def dlpack_device(x: Tensor) -> tuple[int, int]:
    """What ``__dlpack_device__`` says: the cpu, or Vulkan, whose memory nobody else can use."""
    return (CPU, 0) if x.device.driver.traits.kind == "host" else (VULKAN, 0)


def dlpack(
    x: Tensor, *, stream: Any = None, max_version: tuple[int, int] | None = None, dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> object:  # fmt: skip
    """``x``'s memory as a DLPack capsule. Waits for what was enqueued on it."""
    if x.requires_grad:
        raise SharingError("__dlpack__: a tensor that requires gradients is not exported; use .detach()")
    if stream not in (None, -1):
        raise SharingError(f"__dlpack__: the memory of the cpu has no streams, got stream={stream!r}")
    if dlpack_device(x)[0] != CPU:
        if dl_device is None or int(dl_device[0]) != CPU or copy is False:
            raise SharingError(f"__dlpack__: nobody can share the memory of {x.device}; use .cpu()")
        x, copy = x.cpu(), False
    elif dl_device is not None and (int(dl_device[0]), int(dl_device[1])) != (CPU, 0):
        raise SharingError(f"__dlpack__: this tensor is on the cpu, and cannot be exported to DLPack's device {tuple(dl_device)}")
    array = memory(x.clone() if copy else x)
    options: dict[str, Any] = {} if max_version is None else {"max_version": max_version}
    capsule: object = array.__dlpack__(**options)
    if x.dtype is dt.bfloat16:
        _Capsule.rename(capsule, _BFLOAT)
    return capsule


def memory(x: Tensor) -> NDArray[Any]:
    """The cpu tensor's own memory as an array (bfloat16: its bits). Waits for what was enqueued on it."""
    if x.device.driver.traits.kind != "host":
        raise RasptorchError(f"the memory of {x.device} is not the host's; use .cpu()")
    dtype = x.dtype.numpy
    if x.layout.numel == 0:
        return np.empty(x.shape, dtype)
    flat = x.device.sharing.lend(x.storage)
    strides = tuple(s * dtype.itemsize for s in x.layout.strides)
    return np.ndarray(x.shape, dtype, flat, x.offset * dtype.itemsize, strides)
