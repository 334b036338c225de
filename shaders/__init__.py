"""Hand-written kernels and their SPIR-V. Import it as ``rasptorch.shaders``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


@cache
def load(name: str) -> bytes:
    """The SPIR-V of ``<name>.comp``. Raises `FileNotFoundError` when there is none."""
    return (FOLDER / f"{name}.spv").read_bytes()
