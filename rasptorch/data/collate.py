"""From items to a batch on the host, and from there to tensors on a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops.creation import tensor
from ..ops.joining import stack
from ..runtime import dtype as dt
from ..runtime.device import Device
from ..tensor import Tensor
from .errors import DataError


class BFloat16:
    """bfloat16 values on the host, where NumPy has no such dtype: ``values`` are the same numbers in float32."""

    __slots__ = ("values",)

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values


def plain(value: Any) -> Any:
    """What functions of arrays are given: of bfloat16 values the float32 array."""
    return value.values if isinstance(value, BFloat16) else value


def changed(value: Any, change: Callable[[Any], Any]) -> Any:
    """``change(value)``; what was bfloat16 and came back as a float32 array is bfloat16 again."""
    result = change(plain(value))
    again = isinstance(value, BFloat16) and isinstance(result, np.ndarray) and result.dtype == np.float32
    return BFloat16(result) if again else result


def default_collate(items: Sequence[Any]) -> Any:
    """Put items together: ``[...]`` each becomes ``[n, ...]``.

    Arrays, and tensors of the cpu device, are stacked into an array; tensors of other devices, and bfloat16 ones, into a tensor there.
    Numbers become arrays (float32, int64, bool). Tuples, lists and dictionaries are put together entry by entry, strings stay a list.
    """
    first = items[0]
    if isinstance(first, Tensor):
        if first.device.name != "cpu" or first.dtype is dt.bfloat16:
            return stack(list(items))
        return _stacked([item.readback().wait() for item in items])
    if isinstance(first, (np.ndarray, np.generic)) or (hasattr(first, "__array__") and hasattr(first, "dtype")):
        return _stacked([np.asarray(item) for item in items])
    if isinstance(first, (bool, int)):
        return np.array(items)
    if isinstance(first, float):
        return np.array(items, np.float32)
    if isinstance(first, (str, bytes)):
        return list(items)
    if isinstance(first, Mapping):
        return {key: default_collate([item[key] for item in items]) for key in first}
    if isinstance(first, (tuple, list)):
        if len({len(item) for item in items}) > 1:
            raise DataError(f"default_collate: items of {sorted({len(item) for item in items})} entries do not make a batch")
        parts = [default_collate(entries) for entries in zip(*items, strict=True)]
        if isinstance(first, tuple):
            return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
        return parts
    raise DataError(
        f"default_collate: {type(first).__name__} cannot be put together; items are arrays, tensors, numbers, strings, or tuples, "
        "lists and dictionaries of these: pass a collate_fn"
    )


def _stacked(arrays: list[Any]) -> Any:
    shapes = {a.shape for a in arrays}
    if len(shapes) > 1:
        shown = ", ".join(str(list(s)) for s in sorted(shapes))
        raise DataError(f"default_collate: items of shapes {shown} do not make a batch: bring them to one size, or pass a collate_fn")
    return np.stack(arrays)


def mapped(batch: Any, change: Callable[[Any], Any]) -> Any:
    """``batch`` with ``change`` done to every entry that is no tuple, list or dictionary."""
    if isinstance(batch, Mapping):
        return {key: mapped(value, change) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        parts = [mapped(value, change) for value in batch]
        if isinstance(batch, tuple):
            return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
        return parts
    return change(batch)


def on_device(value: Any, device: Device) -> Any:
    """Arrays (also those of other libraries) and tensors as tensors on ``device``; strings, numbers and None as they are.

    Tensors of another device are moved, which waits for their values.
    """
    if isinstance(value, BFloat16):
        return tensor(value.values, dtype=dt.bfloat16, device=device)
    if isinstance(value, Tensor):
        return value if value.device is device else value.to(device)
    if isinstance(value, (np.ndarray, np.generic)) or (hasattr(value, "__array__") and hasattr(value, "dtype")):
        return tensor(np.asarray(value), device=device)
    return value
