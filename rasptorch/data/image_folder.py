"""A folder of images, one subfolder per class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .errors import DataError, DataFormatError, missing_extra

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class ImageFolder(Dataset[tuple[NDArray[np.uint8], int]]):
    """``root/class/name.png`` and so on. Items: image, uint8 ``[3, height, width]`` (``[1, ...]`` with ``mode="L"``); class number.

    ``classes`` are the names of the subfolders in alphabetical order, ``samples`` the paths with their class numbers. ``size`` as
    ``(height, width)`` scales every image to it, so that they make batches. Images are decoded when asked for: by a loader's
    workers. Needs Pillow (extra ``images``).
    """

    def __init__(self, root: str | os.PathLike[str], *, mode: str = "RGB", size: tuple[int, int] | None = None) -> None:
        try:
            import PIL.Image
        except ImportError:
            raise missing_extra("Pillow", "images", "data.ImageFolder") from None
        self._pillow = PIL.Image
        if mode not in ("RGB", "L"):
            raise DataError(f"ImageFolder: mode is 'RGB' or 'L', got {mode!r}")
        self.mode = mode
        self.size = size
        folder = Path(root)
        self.classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        self.class_to_idx = {name: k for k, name in enumerate(self.classes)}
        self.samples = [
            (str(path), k)
            for k, name in enumerate(self.classes)
            for path in sorted((folder / name).rglob("*"))
            if path.suffix.lower() in ENDINGS and path.is_file()
        ]
        if not self.samples:
            raise FileNotFoundError(f"{folder} has no subfolder with images ({', '.join(ENDINGS)})")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        path, label = self.samples[index]
        with open(path, "rb") as file:
            try:
                image = self._pillow.open(file).convert(self.mode)
            except (OSError, SyntaxError, ValueError) as problem:
                raise DataFormatError(path, file.tell(), f"not an image that Pillow can read: {problem}") from problem
        if self.size is not None and image.size != self.size[::-1]:
            image = image.resize(self.size[::-1])
        pixels = np.asarray(image, np.uint8)
        return (pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))), label
