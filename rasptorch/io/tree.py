"""Python values as JSON and back, without running any code of the file's: only the kinds listed here exist.

None, booleans, whole numbers, finite floats and strings are themselves. Everything else is an object with one entry, whose name is
its kind: ``list``, ``tuple``, ``dict`` (pairs, since keys need not be strings), ``float`` (``"nan"``, ``"inf"``, ``"-inf"``),
``dtype`` and ``device`` (a name), ``tensor`` and ``array`` (a number: which of the file's blobs).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..runtime import dtype as dt
from ..runtime.device import Device
from ..tensor import Tensor


class Encoder:
    """Collects tensors and arrays while it encodes. The same tensor (or another on the same memory) is collected once."""

    def __init__(self) -> None:
        self.blobs: list[Any] = []
        self._known: dict[object, int] = {}

    def encode(self, value: Any, where: str = "") -> Any:
        """``value`` as JSON can hold it. `TypeError` names the entry (``where`` is its path) that is of no kind there is."""
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, float) and not isinstance(value, np.generic):
            return value if math.isfinite(value) else {"float": str(value)}
        if isinstance(value, int):
            return int(value)
        if isinstance(value, Tensor):
            key = id(value.storage), value.offset, id(value.layout), value.requires_grad
            return {"tensor": self._collect(key, value)}
        if isinstance(value, (np.ndarray, np.generic)):
            return {"array": self._collect(id(value), np.asarray(value))}
        if isinstance(value, dt.DType):
            return {"dtype": value.name}
        if isinstance(value, Device):
            return {"device": value.name}
        if isinstance(value, Mapping):
            return {"dict": [[self.encode(k, where), self.encode(v, f"{where}[{k!r}]")] for k, v in value.items()]}
        if isinstance(value, (list, tuple)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.encode(v, f"{where}[{k}]") for k, v in enumerate(value)]}
        hint = "; save its state_dict()" if hasattr(value, "state_dict") else ""
        raise TypeError(
            f"save: {where or 'the object'} is a {type(value).__name__}; files hold tensors, arrays, numbers, strings, None, dtypes, "
            f"and lists, tuples and dictionaries of these{hint}"
        )

    def _collect(self, key: object, value: Any) -> int:
        if key not in self._known:
            self._known[key] = len(self.blobs)
            self.blobs.append(value)  # which also keeps the ids in the keys from being used again
        return self._known[key]


def decode(value: Any, blob: Callable[[str, int], Any], device: Callable[[str], Any]) -> Any:
    """The opposite. ``blob(kind, number)`` gives tensors and arrays. `ValueError` for what `Encoder.encode` does not make."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((kind, inner),) = value.items()
        if kind in ("list", "tuple") and isinstance(inner, list):
            items = [decode(v, blob, device) for v in inner]
            return items if kind == "list" else tuple(items)
        if kind == "dict" and isinstance(inner, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in inner):
            return {decode(k, blob, device): decode(v, blob, device) for k, v in inner}
        if kind == "float" and inner in ("nan", "inf", "-inf"):
            return float(inner)
        if kind in ("tensor", "array") and isinstance(inner, int):
            return blob(kind, inner)
        if kind == "dtype" and inner in dt.BY_NAME:
            return dt.BY_NAME[inner]
        if kind == "device" and isinstance(inner, str):
            return device(inner)
    raise ValueError(f"{str(value)[:80]!r} is of no kind that there is")
