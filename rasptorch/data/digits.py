"""scikit-learn's bundled digits: a small dataset that needs no download."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dataset import TensorDataset
from .errors import missing_extra


class Digits(TensorDataset):
    """1,797 handwritten digits of 8 x 8 pixels. Items: image, float32 ``[1, 8, 8]`` from 0 to 1; label, int64.

    Needs scikit-learn (extra ``digits``).
    """

    def __init__(self) -> None:
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise missing_extra("scikit-learn", "digits", "data.Digits") from None
        found: Any = load_digits()
        super().__init__(np.asarray(found.images[:, None] / 16.0, np.float32), np.asarray(found.target, np.int64))
