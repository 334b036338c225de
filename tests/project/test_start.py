"""``import rasptorch`` is quick and touches neither Vulkan nor Trio."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .tree import ROOT

# What costs milliseconds and is not needed to start; numpy and what it imports come first and do not count.
NOT_LOADED = (
    "vulkan",
    "cffi",
    "_cffi_backend",
    "trio",
    "concurrent.futures",
    "hashlib",
    "pathlib",
    "secrets",
    "tempfile",
    "json",
    "asyncio",
    "argparse",
    "logging",
    "rasptorch.data",
    "rasptorch.io",
    "rasptorch.nn",
    "rasptorch.optim",
    "rasptorch.train",
    "rasptorch.profiling",
    "rasptorch.info",
    "rasptorch.runtime.trace",
    "rasptorch.runtime.debug_print",
    "rasptorch.runtime.host",
    "rasptorch.runtime.vulkan",
)
MODULES = """
import sys
import numpy, numpy.typing
before = set(sys.modules)
import rasptorch
print(*set(sys.modules) - before)
try:
    maps = open("/proc/self/maps").read()
except OSError:
    maps = ""
assert "libvulkan" not in maps, "the Vulkan loader is mapped"
"""
TIME = """
from time import perf_counter
import numpy, numpy.typing
began = perf_counter()
import rasptorch
print(perf_counter() - began)
"""


def python(code: str, *, bytecode: str = "") -> str:
    """What a fresh Python prints; ``bytecode`` is where it keeps compiled files (else it keeps none)."""
    options = ["-X", f"pycache_prefix={bytecode}"] if bytecode else ["-B"]
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return set(python(MODULES).split())


@pytest.mark.parametrize("name", NOT_LOADED)
def test_is_not_loaded_at_import(loaded: set[str], name: str) -> None:
    assert "rasptorch.tensor" in loaded
    assert name not in loaded


def test_import_is_quick(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The best of a few runs with compiled files in place, without NumPy's own time; 0.06 s where this was
    written.
    """
    folder = str(tmp_path_factory.mktemp("compiled"))
    times = [float(python(TIME, bytecode=folder)) for _ in range(6)]
    assert min(times) < 0.2


def test_lazy_names_are_found() -> None:
    code = "import rasptorch as rt; print(rt.profile.__name__, rt.nn.__name__)"
    assert python(code).split() == ["profile", "rasptorch.nn"]
