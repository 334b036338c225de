"""CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .dataset import TensorDataset
from .errors import DataFormatError

SIDE = 32
PIXELS = 3 * SIDE * SIDE


def read_cifar(path: str | os.PathLike[str], classes: Sequence[int] = (10,)) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images ``[n, 3, 32, 32]`` and labels ``[n, k]`` of one file: records of ``k`` label bytes and 3,072 bytes of pixels.

    ``classes`` is the number of classes of each label: ``(10,)``, or ``(20, 100)`` for CIFAR-100's coarse and fine ones.
    `DataFormatError` names the file and the byte for an incomplete record or a label out of range.
    """
    data = np.fromfile(path, np.uint8)
    size = len(classes) + PIXELS
    records, rest = divmod(len(data), size)
    if rest or not records:
        raise DataFormatError(
            path, records * size, f"records are {size} bytes, the last has {rest}" if records or rest else "the file is empty"
        )
    table = data.reshape(records, size)
    labels = table[:, : len(classes)]
    wrong = np.argwhere(labels >= np.array(classes, np.uint8))
    if len(wrong):
        record, which = (int(v) for v in wrong[0])
        value = int(labels[record, which])
        raise DataFormatError(path, record * size + which, f"label {value} of record {record}; labels go from 0 to {classes[which] - 1}")
    return table[:, len(classes) :].reshape(-1, 3, SIDE, SIDE).copy(), labels.astype(np.int64)


class CIFAR10(TensorDataset):
    """60,000 small photographs of 10 classes, from ``data_batch_1.bin`` ... ``data_batch_5.bin`` or ``test_batch.bin`` in ``root``.

    Items: image, uint8 ``[3, 32, 32]``; label, int64. Nothing is downloaded.
    """

    def __init__(self, root: str | os.PathLike[str], train: bool = True) -> None:
        names = [f"data_batch_{k}.bin" for k in range(1, 6)] if train else ["test_batch.bin"]
        parts = [read_cifar(Path(root) / name) for name in names]
        super().__init__(np.concatenate([images for images, _ in parts]), np.concatenate([labels[:, 0] for _, labels in parts]))


class CIFAR100(TensorDataset):
    """60,000 small photographs of 100 classes (20 with ``coarse``), from ``train.bin`` or ``test.bin`` in ``root``.

    Items: image, uint8 ``[3, 32, 32]``; label, int64. Nothing is downloaded.
    """

    def __init__(self, root: str | os.PathLike[str], train: bool = True, coarse: bool = False) -> None:
        images, labels = read_cifar(Path(root) / ("train.bin" if train else "test.bin"), (20, 100))
        super().__init__(images, labels[:, 0 if coarse else 1].copy())
