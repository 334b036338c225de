"""IDX files, the format of MNIST (http://yann.lecun.com/exdb/mnist, "the IDX file format"), plain or packed by gzip."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import TensorDataset
from .errors import DataFormatError

# The third byte of the file: type of the values, big-endian.
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array in an IDX file, in the byte order of this machine. Whether it is packed is seen from its content.

    `DataFormatError` names the file and the byte (of the unpacked content) at which it is not what it should be.
    """
    data = _content(path)
    if len(data) < 4 or data[:2] != b"\0\0":
        raise DataFormatError(path, 0, f"an IDX file begins with two zero bytes, a type and a number of dimensions, not {data[:4]!r}")
    kind, dimensions = data[2], data[3]
    if kind not in _TYPES:
        raise DataFormatError(path, 2, f"type 0x{kind:02x} is none of an IDX file's ({', '.join(f'0x{k:02x}' for k in _TYPES)})")
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise DataFormatError(path, len(data), f"the file ends inside its {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    dtype = np.dtype(_TYPES[kind])
    wanted = start + math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        at, what = (len(data), "the file ends early") if len(data) < wanted else (wanted, "there is more after the values")
        raise DataFormatError(path, at, f"{what}: {list(shape)} of {dtype.newbyteorder('=')} takes {wanted} bytes, it has {len(data)}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _content(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file:
        if file.read(2) != b"\x1f\x8b":
            file.seek(0)
            return file.read()
        file.seek(0)
        parts: list[bytes] = []
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                while part := unpacked.read(1 << 20):
                    parts.append(part)
        except (OSError, EOFError, zlib.error) as problem:
            raise DataFormatError(path, sum(map(len, parts)), f"it cannot be unpacked any further: {problem}") from None
        return b"".join(parts)


class MNIST(TensorDataset):
    """The handwritten digits, or anything in files of the same names, in ``root``; packed or not.

    Items: image, uint8 ``[1, height, width]``; label, int64. Nothing is downloaded: ``FileNotFoundError`` names what is missing.
    """

    def __init__(self, root: str | os.PathLike[str], train: bool = True) -> None:
        part = "train" if train else "t10k"
        images_path, labels_path = _find(root, f"{part}-images", 3), _find(root, f"{part}-labels", 1)
        images, labels = read_idx(images_path), read_idx(labels_path)
        for path, array, dimensions in ((images_path, images, 3), (labels_path, labels, 1)):
            if array.ndim != dimensions or array.dtype != np.uint8:
                raise DataFormatError(path, 2, f"expected uint8 of {dimensions} dimensions, got {array.dtype} of {array.ndim}")
        if len(images) != len(labels):
            raise DataFormatError(labels_path, 4, f"{len(labels)} labels for {len(images)} images")
        super().__init__(images[:, None], labels.astype(np.int64))


class FashionMNIST(MNIST):
    """Zalando's articles, in files of the same names as the digits'."""


def _find(root: str | os.PathLike[str], stem: str, dimensions: int) -> Path:
    names = [f"{stem}{dot}idx{dimensions}-ubyte{end}" for dot in ("-", ".") for end in ("", ".gz")]
    for name in names:
        path = Path(root) / name
        if path.is_file():
            return path
    raise FileNotFoundError(f"none of {', '.join(names)} is in {os.fspath(root)}")
