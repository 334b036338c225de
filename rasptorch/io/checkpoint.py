"""`save` and `load`: tensors and nested state in one file, bit for bit, with no code in it.

The file, all numbers little-endian:

| bytes | content |
|---|---|
| 8 | ``RASPTNSR`` |
| 4 | version: 1 |
| 4 | CRC-32 of the header |
| 8 | length of the header |
| 8 | length of the whole file |
| ... | the header: JSON in UTF-8, ``{"tree": ..., "blobs": [{"kind", "dtype", "shape", "device", "offset", "nbytes", "crc32"}, ...]}`` |
| ... | blobs, each beginning at a multiple of 64: elements row-major, little-endian; bfloat16 as its 16 bits, bool as a byte |

`rasptorch/io/tree.py` says what ``tree`` is.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ops.transfer import from_bytes
from ..runtime import device as devices
from ..runtime import dtype as dt
from ..runtime.device import Device
from ..runtime.errors import MissingDeviceError, RasptorchError
from ..runtime.layout import layout_of
from ..runtime.readback import Readback
from ..runtime.waiting import in_trio_task
from ..tensor import Tensor
from .atomic import replacing
from .snapshot import Bytes, snapshot
from .tree import Encoder, decode

MAGIC: Final = b"RASPTNSR"
VERSION: Final = 1
ALIGNMENT: Final = 64
_FIXED: Final = struct.Struct("<8sIIQQ")
Path = str | os.PathLike[str]


class CheckpointError(RasptorchError, ValueError):
    """The file is not one that `save` wrote, or not all of it is there."""


class _Blob(NamedTuple):
    """What the header says of a tensor or an array, and its bytes or where they are to come from."""

    about: dict[str, Any]
    data: Bytes | Readback[Bytes]


class Saving:
    """An object as it is now, ready to be written. Making one only enqueues; `write` waits for the values."""

    def __init__(self, obj: Any) -> None:
        encoder = Encoder()
        self._tree = encoder.encode(obj)
        tensors = [value for value in encoder.blobs if isinstance(value, Tensor)]
        bytes_of = dict(zip(map(id, tensors), snapshot(tensors), strict=True))
        self._blobs = [
            _tensor_blob(value, bytes_of[id(value)]) if isinstance(value, Tensor) else _array_blob(value) for value in encoder.blobs
        ]

    def readbacks(self) -> list[Readback[Bytes]]:
        """What `write` waits for."""
        return [blob.data for blob in self._blobs if isinstance(blob.data, Readback)]

    def write(self, path: Path) -> None:
        """Write the file, in a thread or a script."""
        parts = [blob.data.wait() if isinstance(blob.data, Readback) else blob.data for blob in self._blobs]
        self._put(path, parts)

    async def write_async(self, path: Path) -> None:
        """Write the file, in a Trio task."""
        import trio

        parts = [await blob.data if isinstance(blob.data, Readback) else blob.data for blob in self._blobs]
        await trio.to_thread.run_sync(self._put, path, parts)

    def _put(self, path: Path, parts: Sequence[Bytes]) -> None:
        with replacing(path) as file:
            _put(file, self._tree, [blob.about for blob in self._blobs], parts)


def _tensor_blob(x: Tensor, data: Readback[Bytes]) -> _Blob:
    about = {"kind": "tensor", "dtype": x.dtype.name, "shape": list(x.shape), "device": x.device.name}
    return _Blob(about | {"requires_grad": x.requires_grad}, data)


def _array_blob(array: NDArray[Any]) -> _Blob:
    if array.dtype.kind not in "biufc":
        raise TypeError(f"save: an array of {array.dtype} does not hold plain numbers")
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
    about = {"kind": "array", "dtype": little.dtype.str, "shape": list(array.shape)}
    return _Blob(about, little.reshape(-1).view(np.uint8))


def _put(file: BinaryIO, tree: Any, about: Sequence[dict[str, Any]], parts: Sequence[Bytes]) -> None:
    entries = [entry | {"nbytes": part.nbytes, "crc32": zlib.crc32(part.data)} for entry, part in zip(about, parts, strict=True)]
    # Offsets count from the end of the header: its length may then depend on them.
    offset = 0
    for entry in entries:
        entry["offset"] = offset
        offset = _aligned(offset + entry["nbytes"])
    header = json.dumps({"tree": tree, "blobs": entries}, allow_nan=False, separators=(",", ":")).encode()
    start = _aligned(_FIXED.size + len(header))
    last = entries[-1]["offset"] + entries[-1]["nbytes"] if entries else 0
    file.write(_FIXED.pack(MAGIC, VERSION, zlib.crc32(header), len(header), start + last))
    file.write(header)
    for entry, part in zip(entries, parts, strict=True):
        file.write(bytes(start + entry["offset"] - file.tell()))
        file.write(part.data)
    file.write(bytes(start + last - file.tell()))


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def save(obj: Any, path: Path) -> Any:
    """Write tensors, arrays, numbers, strings and nested lists, tuples and dictionaries of them (state dictionaries) to ``path``.

    Values are those at the time of the call, bit for bit. The file is replaced as a whole: whatever happens, ``path`` is either what
    it was or complete. Tensors that share memory and form do so after `load`. In a script it waits; in a Trio task: ``await`` it.
    `TypeError` names what cannot be saved.
    """
    saving = Saving(obj)
    if in_trio_task():
        return saving.write_async(path)
    saving.write(path)
    return None


def load(path: Path, device: str | Device | None = None) -> Any:
    """What `save` wrote. Tensors go to ``device``, or with None to devices of the names they were saved from.

    No code of the file's is run. `CheckpointError` names the file and what is wrong with it: of another kind, cut short, changed.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < _FIXED.size or file.read(len(MAGIC)) != MAGIC:
            raise CheckpointError(f"{os.fspath(path)} is not a file that rasptorch.save wrote")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _read(path, content, None if device is None else devices.get(device))


def _read(path: Path, content: mmap.mmap, device: Device | None) -> Any:
    _, version, crc, length, total = _FIXED.unpack_from(content)
    if version != VERSION:
        raise CheckpointError(f"{os.fspath(path)} is of version {version} of the format; this library reads version {VERSION}")
    if len(content) != total or _FIXED.size + length > total:
        raise CheckpointError(f"{os.fspath(path)} has {len(content)} bytes instead of {total}: it is not complete")
    header = content[_FIXED.size : _FIXED.size + length]
    if zlib.crc32(header) != crc:
        raise CheckpointError(f"{os.fspath(path)} was changed after it was written: the checksum of its header does not fit")
    try:
        described = json.loads(header)
        blobs = _Blobs(path, content, described["blobs"], _aligned(_FIXED.size + length), device)
        return decode(described["tree"], blobs, blobs.device)
    except RasptorchError:
        raise
    except (KeyError, TypeError, IndexError, ValueError) as problem:
        raise CheckpointError(f"{os.fspath(path)} has a header that this library does not understand: {problem!r}") from problem


class _Blobs:
    """The tensors and arrays of a file; each is made once."""

    def __init__(self, path: Path, content: mmap.mmap, entries: list[dict[str, Any]], start: int, device: Device | None) -> None:
        self._path = path
        self._content = content
        self._entries = entries
        self._start = start
        self._device = device
        self._made: dict[int, Any] = {}

    def device(self, name: str) -> Device:
        """The device asked for, or else the one of this name."""
        if self._device is not None:
            return self._device
        try:
            return devices.get(name)
        except MissingDeviceError as problem:
            problem.add_note(f"{os.fspath(self._path)} was saved from {name}; load(path, device=...) brings its tensors elsewhere")
            raise

    def __call__(self, kind: str, number: int) -> Any:
        if number not in self._made:
            entry = self._entries[number]
            if entry["kind"] != kind:
                raise KeyError(kind)
            make: Callable[..., Any] = self._tensor if kind == "tensor" else self._array
            self._made[number] = make(entry, self._bytes(number, entry))
        return self._made[number]

    def _bytes(self, number: int, entry: dict[str, Any]) -> Bytes:
        offset, nbytes = self._start + entry["offset"], entry["nbytes"]
        if not 0 <= offset <= offset + nbytes <= len(self._content):
            raise CheckpointError(f"{os.fspath(self._path)}: blob {number} lies outside of the file")
        # A copy: nothing may look at the mapping once it is closed.
        data = np.frombuffer(self._content[offset : offset + nbytes], np.uint8)
        if zlib.crc32(data.data) != entry["crc32"]:
            raise CheckpointError(
                f"{os.fspath(self._path)} was changed after it was written: the checksum of blob {number} (at byte {offset}) does not fit"
            )
        return data

    def _tensor(self, entry: dict[str, Any], data: Bytes) -> Tensor:
        dtype, shape = dt.BY_NAME[entry["dtype"]], tuple(entry["shape"])
        self._check(data, shape, dtype.itemsize)
        made = from_bytes(data, layout_of(self.device(entry["device"]), dtype, shape))
        return made.requires_grad_() if entry["requires_grad"] else made

    def _array(self, entry: dict[str, Any], data: Bytes) -> NDArray[Any]:
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        self._check(data, shape, dtype.itemsize)
        array: NDArray[Any] = data.view(dtype).reshape(shape)
        return array.astype(dtype.newbyteorder("="))

    def _check(self, data: Bytes, shape: tuple[int, ...], itemsize: int) -> None:
        if math.prod(shape) * itemsize != data.nbytes:
            raise CheckpointError(f"{os.fspath(self._path)}: {data.nbytes} bytes do not make shape {list(shape)}")
