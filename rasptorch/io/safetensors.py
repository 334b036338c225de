"""safetensors files (https://github.com/huggingface/safetensors), through the library of that name (extra ``safetensors``).

The library checks and writes the files; tensors are read from a memory map of the file, straight into their device's memory.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..ops.creation import device_of
from ..ops.transfer import from_bytes
from ..runtime import dtype as dt
from ..runtime.device import Device
from ..runtime.errors import DTypeError, RasptorchError
from ..runtime.layout import layout_of
from ..runtime.waiting import in_trio_task
from ..tensor import Tensor
from .atomic import replacing
from .snapshot import Bytes, snapshot

Path = str | os.PathLike[str]

DTYPES = {
    "BOOL": dt.bool_, "U8": dt.uint8, "I32": dt.int32, "I64": dt.int64,
    "F16": dt.float16, "BF16": dt.bfloat16, "F32": dt.float32, "F64": dt.float64,
}  # fmt: skip


class SafetensorsError(RasptorchError, ValueError):
    """The file is no safetensors file, or not all of it is there."""


def _library() -> Any:
    try:
        import safetensors
    except ImportError:
        raise ImportError(
            "rasptorch.io.safetensors needs the safetensors library: pip install 'rasptorch[safetensors]' (or: pip install safetensors)"
        ) from None
    return safetensors


def load_file(filename: Path, device: str | Device | None = None) -> dict[str, Tensor]:
    """All tensors of a file by name, in their own dtypes, on ``device`` (None: the default device).

    `DTypeError` names a tensor whose dtype this library does not have (float8, uint16 and the like): nothing is converted.
    """
    library, target = _library(), device_of(device)
    name = os.fspath(filename)
    try:
        with library.safe_open(name, framework="np") as checked:  # raises for whatever is wrong with the file
            wanted = list(checked.keys())
    except library.SafetensorError as problem:
        raise SafetensorsError(f"{name}: {problem}") from problem
    with open(name, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        return {key: _loaded(name, key, header[key], content, 8 + length, target) for key in wanted}


def _loaded(name: str, key: str, entry: dict[str, Any], content: mmap.mmap, start: int, device: Device) -> Tensor:
    dtype = DTYPES.get(entry["dtype"])
    if dtype is None:
        raise DTypeError(f"{name}: {key} is of {entry['dtype']}; there are {', '.join(DTYPES)}")
    begin, end = entry["data_offsets"]
    data = np.frombuffer(content, np.uint8, end - begin, start + begin)
    try:
        return from_bytes(data, layout_of(device, dtype, tuple(entry["shape"])))
    finally:
        del data  # the map cannot be closed while somebody looks at it


def load_metadata(filename: Path) -> dict[str, str]:
    """The remarks in a file's header."""
    library = _library()
    try:
        with library.safe_open(os.fspath(filename), framework="np") as checked:
            return dict(checked.metadata() or {})
    except library.SafetensorError as problem:
        raise SafetensorsError(f"{os.fspath(filename)}: {problem}") from problem


def _entry(library: Any, dtype: str, shape: list[int], data: Bytes) -> Any:
    """A tensor as the library's ``serialize`` takes it: by address (``data`` has to stay alive), before version 0.8 as bytes."""
    if hasattr(library, "TensorSpec"):
        return library.TensorSpec(dtype=dtype, shape=shape, data_ptr=data.ctypes.data, data_len=data.nbytes)
    return {"dtype": dtype, "shape": shape, "data": data.tobytes()}


def save_file(tensors: Mapping[str, Tensor], filename: Path, metadata: Mapping[str, str] | None = None) -> Any:
    """Write tensors by name, as they are now; the file is replaced as a whole.

    In a script it waits for the values; in a Trio task: ``await`` it.
    """
    library = _library()
    for key, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"save_file: {key!r} is a {type(value).__name__}; safetensors files hold tensors by name")
    forms = {key: (x.dtype.name, list(x.shape)) for key, x in tensors.items()}
    readbacks = snapshot(tensors.values())

    def put(parts: list[Bytes]) -> None:
        entries = {key: _entry(library, *form, part) for (key, form), part in zip(forms.items(), parts, strict=True)}
        with replacing(filename) as file:
            file.write(library.serialize(entries, None if metadata is None else dict(metadata)))

    async def put_async() -> None:
        import trio

        await trio.to_thread.run_sync(put, [await readback for readback in readbacks])

    if in_trio_task():
        return put_async()
    put([readback.wait() for readback in readbacks])
    return None
