"""In which dtype operations compute inside `rasptorch.autocast`. Kept per context, as whether they are taped."""

from __future__ import annotations

from contextvars import ContextVar

from ..runtime.dtype import DType

# The low dtype on the cpu device and on Vulkan devices, each None where nothing is cast; None as a whole outside of autocast.
Low = tuple[DType | None, DType | None]
low_dtypes: ContextVar[Low | None] = ContextVar("rasptorch_autocast", default=None)
