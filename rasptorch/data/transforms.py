"""Transforms of whole batches on the host: functions from an array ``[n, ...]`` to another.

Images are ``[n, channels, height, width]`` or ``[n, height, width]``. Random ones take their numbers from the batch
(`rasptorch.data.batch_random`), so the loader's seed decides them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .randomness import batch_random

Array = NDArray[Any]


class Compose:
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, batch: Any) -> Any:
        for transform in self.transforms:
            batch = transform(batch)
        return batch


class ToFloat:
    """float32; integers are divided by ``scale``, which is 255 unless given: bytes become 0 to 1."""

    def __init__(self, scale: float = 255.0) -> None:
        self.scale = scale

    def __call__(self, batch: Array) -> Array:
        values = np.asarray(batch).astype(np.float32)
        return values if batch.dtype.kind == "f" else values / np.float32(self.scale)


class Normalize:
    """``(x - mean) / std``, in float32. Sequences have an entry per channel, which is axis 1."""

    def __init__(self, mean: float | Sequence[float] | Array, std: float | Sequence[float] | Array) -> None:
        self.mean = np.asarray(mean, np.float32)
        self.std = np.asarray(std, np.float32)
        if (self.std == 0).any():
            raise DataError("Normalize: the standard deviation must not be 0")

    def __call__(self, batch: Array) -> Array:
        return (np.asarray(batch, np.float32) - self._along(self.mean, batch)) / self._along(self.std, batch)

    def _along(self, values: Array, batch: Array) -> Array:
        if values.ndim == 0:
            return values
        if batch.ndim < 2 or values.ndim != 1 or len(values) != batch.shape[1]:
            raise DataError(f"Normalize: {values.size} values for the channels of a batch of shape {list(batch.shape)} (axis 1)")
        return values.reshape(1, -1, *(1,) * (batch.ndim - 2))


def _images(name: str, batch: Array) -> Array:
    if batch.ndim not in (3, 4):
        raise DataError(f"{name}: images are [n, channels, height, width] or [n, height, width], got shape {list(batch.shape)}")
    return batch


class _RandomFlip:
    axis = -1

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            raise DataError(f"{type(self).__name__}: p is a probability between 0 and 1, got {p}")
        self.p = p

    def __call__(self, batch: Array) -> Array:
        out = _images(type(self).__name__, batch).copy()
        chosen = batch_random().random(len(batch)) < self.p
        out[chosen] = np.flip(batch[chosen], self.axis)
        return out


class RandomHorizontalFlip(_RandomFlip):
    """Each image is mirrored, left to right, with probability ``p``."""


class RandomVerticalFlip(_RandomFlip):
    """Each image is turned upside down with probability ``p``."""

    axis = -2


class RandomCrop:
    """From each image a piece of ``size`` (``(height, width)`` or one number) at a random place.

    First ``padding`` pixels of ``fill`` are added on every side.
    """

    def __init__(self, size: int | tuple[int, int], padding: int = 0, fill: float = 0) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.padding = padding
        self.fill = fill
        if padding < 0 or min(self.size) < 1:
            raise DataError(f"RandomCrop: sizes are at least 1 and padding at least 0, got {self.size} and {padding}")

    def __call__(self, batch: Array) -> Array:
        around = ((0, 0),) * (_images("RandomCrop", batch).ndim - 2) + ((self.padding, self.padding),) * 2
        padded = np.pad(batch, around, constant_values=self.fill) if self.padding else batch
        (height, width), (rows, columns) = self.size, padded.shape[-2:]
        if height > rows or width > columns:
            raise DataError(f"RandomCrop: {height} x {width} does not fit into images of {rows} x {columns}, padding included")
        random = batch_random()
        down = random.integers(0, rows - height + 1, len(batch))
        right = random.integers(0, columns - width + 1, len(batch))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(-2, -1))
        images = np.arange(len(batch))
        return np.ascontiguousarray(windows[images, ..., down, right, :, :])


class OneHot:
    """Class numbers ``[n, ...]`` to ``[n, ..., num_classes]``, float32."""

    def __init__(self, num_classes: int) -> None:
        if num_classes < 1:
            raise DataError(f"OneHot: num_classes is at least 1, got {num_classes}")
        self.num_classes = num_classes

    def __call__(self, batch: Array) -> Array:
        numbers = np.asarray(batch)
        if numbers.dtype.kind not in "iu":
            raise DataError(f"OneHot: class numbers are whole numbers, got {numbers.dtype}")
        if numbers.size and not (int(numbers.min()) >= 0 and int(numbers.max()) < self.num_classes):
            raise DataError(f"OneHot: class numbers from {numbers.min()} to {numbers.max()}, expected 0 to {self.num_classes - 1}")
        hit: Array = numbers[..., None] == np.arange(self.num_classes)
        return hit.astype(np.float32)
