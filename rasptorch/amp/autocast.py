"""`autocast`: products in 16 bits, everything that needs more in 32, without a word in the model."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from ..autograd.precision import Low, low_dtypes
from ..runtime import dtype as dt
from ..runtime.device import Device
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError

P = ParamSpec("P")
R = TypeVar("R")


def _on_gpu(device: str | Device) -> bool:
    name = str(device)
    if name != "cpu" and name != "gpu" and not name.startswith("vulkan:"):
        raise ValueError(f"autocast takes 'cpu' or 'gpu' (which is all Vulkan devices), got {name!r}")
    return name != "cpu"


class autocast:
    """``with rt.autocast("gpu"):`` or ``@rt.autocast("gpu")``: matrix products and layers made of them take 16-bit operands.

    In the block, operands of matrix products, convolutions, recurrent layers and attention are converted to ``dtype`` (float16 on
    ``"gpu"``, bfloat16 on ``"cpu"`` unless given), which is how they are stored: sums inside are always kept in float32. Reductions,
    softmax, norms, losses, and functions such as ``exp`` and ``log`` take 16-bit operands as float32. All else keeps PyTorch's rules
    of promotion. float64 is left alone. ``enabled=False`` switches it off inside. It holds for this thread or Trio task; backward
    runs in the dtypes of forward, so call it outside.
    """

    def __init__(
        self, device_type: str | Device, dtype: DType | str | None = None, enabled: bool = True
    ) -> None:
        self._gpu = _on_gpu(device_type)
        self.dtype = dt.as_dtype(dtype) if dtype is not None else dt.float16 if self._gpu else dt.bfloat16
        if self.dtype not in (dt.float16, dt.bfloat16):
            raise DTypeError(f"autocast: dtype is float16 or bfloat16, got {self.dtype.name}")
        self.enabled = enabled
        self._tokens: list[Token[Low | None]] = []

    def __enter__(self) -> autocast:
        cpu, gpu = low_dtypes.get() or (None, None)
        wanted = self.dtype if self.enabled else None
        made = (cpu, wanted) if self._gpu else (wanted, gpu)
        self._tokens.append(low_dtypes.set(None if made == (None, None) else made))
        return self

    def __exit__(self, *_: object) -> None:
        low_dtypes.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> R:
            with autocast("gpu" if self._gpu else "cpu", self.dtype, self.enabled):
                return function(*args, **kwargs)

        return wrapped


def get_autocast_dtype(device_type: str | Device) -> DType:
    """The dtype of products on these devices inside the current `autocast`; outside of it the one it would have."""
    gpu = _on_gpu(device_type)
    found = (low_dtypes.get() or (None, None))[gpu]
    return found if found is not None else dt.float16 if gpu else dt.bfloat16


def is_autocast_enabled(device_type: str | Device) -> bool:
    """Whether `autocast` is on for these devices here."""
    return (low_dtypes.get() or (None, None))[_on_gpu(device_type)] is not None
