"""From targets as loaders give them to targets as losses want them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops.checked_index import one_hot
from ..ops.creation import tensor
from ..runtime import dtype as dt
from ..runtime.device import Device
from ..tensor import Tensor


def classification_target_one_hot(num_classes: int, device: str | Device | None = None) -> Callable[[Any], Tensor]:
    """A function from class numbers (``[n, ...]``: a tensor, an array or a list) to float32 ``[n, ..., num_classes]`` on ``device``.

    For a batch of images of ``[n]`` labels that is ``[n, num_classes]``. None: where the numbers are, or the default device. Numbers
    out of range raise `IndexError` at the next point where somebody waits.
    """
    if num_classes < 1:
        raise ValueError(f"classification_target_one_hot: num_classes is at least 1, got {num_classes}")

    def encode(target: Any) -> Tensor:
        if not isinstance(target, Tensor):
            target = tensor(np.asarray(target), device=device)
        elif device is not None:
            target = target.to(device)
        return one_hot(target, num_classes, dtype=dt.float32)

    return encode
