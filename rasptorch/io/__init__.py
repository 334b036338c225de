"""Files: checkpoints of our own (`save`, `load`), and safetensors (`rasptorch.io.safetensors`)."""

from __future__ import annotations

from .checkpoint import CheckpointError, load, save

__all__ = ["CheckpointError", "load", "save"]
