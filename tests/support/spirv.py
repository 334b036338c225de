"""Shaders judged by ``spirv-val``."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Check = Callable[[bytes], None]


@pytest.fixture
def valid(tmp_path: Path) -> Check:
    """Fails for a module that is not valid SPIR-V for Vulkan 1.2, and where there is nobody to say so."""
    program = shutil.which("spirv-val")
    if program is None:
        pytest.fail("spirv-val is missing: install the package spirv-tools (tools/setup.sh does)")

    def check(module: bytes) -> None:
        path = tmp_path / "module.spv"
        path.write_bytes(module)
        done = subprocess.run([program, "--target-env", "vulkan1.2", str(path)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    return check
