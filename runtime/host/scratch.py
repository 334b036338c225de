"""Memory that a thread computes in again and again: new memory costs more than what is computed in it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Arena:
    """One array per name, as large as the largest that was asked for."""

    def __init__(self) -> None:
        self._bytes: dict[str, Array] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array with anything in it, until the same ``name`` is taken again."""
        size = math.prod(shape) * dtype.itemsize
        found = self._bytes.get(name)
        if found is None or found.nbytes < size:
            found = self._bytes[name] = np.empty(size, np.uint8)
        return found[:size].view(dtype).reshape(shape)
