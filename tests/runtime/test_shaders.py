"""The hand-written kernels: what is committed is what the sources compile to, and keeps to the limits of small GPUs."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rasptorch import shaders
from rasptorch.runtime.vulkan.spirv import instructions
from rasptorch.runtime.vulkan.spirv_numbers import Op
from tests.support.spirv import Check

FOLDER = shaders.FOLDER
NAMES = sorted(source.stem for source in FOLDER.glob("*.comp"))
SHARED_BYTES, INVOCATIONS = 16384, 256
WORKGROUP, LOCAL_SIZE = 4, 17  # storage class, execution mode


def test_there_is_one() -> None:
    assert "matmul_tiled" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_committed_binaries_are_those_of_the_sources(name: str) -> None:
    entry = json.loads((FOLDER / "manifest.json").read_text("utf-8"))["kernels"][name]
    assert hashlib.sha256((FOLDER / f"{name}.comp").read_bytes()).hexdigest() == entry["source"], "run tools/compile_shaders.py"
    assert hashlib.sha256(shaders.load(name)).hexdigest() == entry["spirv"], "run tools/compile_shaders.py"


def test_the_compiler_gives_the_same() -> None:
    if shutil.which("glslc") is None:
        pytest.skip("glslc is not installed: the manifest still tells whether sources and binaries belong together")
    tool = Path(__file__).resolve().parents[2] / "tools" / "compile_shaders.py"
    done = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_validator_accepts_them(name: str, valid: Check) -> None:
    valid(shaders.load(name))


@pytest.mark.parametrize("name", NAMES)
def test_limits_of_small_gpus(name: str) -> None:
    """256 invocations, 16 KiB shared, 32-bit types only, eight storage buffers."""
    found = list(instructions(shaders.load(name)))
    sizes = [words[2:] for op, words in found if op == Op.ExecutionMode and words[1] == LOCAL_SIZE]
    assert len(sizes) == 1 and sizes[0][0] * sizes[0][1] * sizes[0][2] <= INVOCATIONS
    assert all(words[1] == 32 for op, words in found if op in (Op.TypeInt, Op.TypeFloat))
    constants = {words[1]: words[2] for op, words in found if op == Op.Constant}
    lengths = {words[0]: (words[1], constants[words[2]]) for op, words in found if op == Op.TypeArray}
    pointees = {words[0]: words[2] for op, words in found if op == Op.TypePointer}

    def nbytes(kind: int) -> int:
        element, length = lengths.get(kind, (kind, 1))
        return int(length) * (nbytes(element) if kind in lengths else 4)

    shared = sum(nbytes(pointees[words[0]]) for op, words in found if op == Op.Variable and words[2] == WORKGROUP)
    assert 0 < shared <= SHARED_BYTES
    assert sum(1 for op, words in found if op == Op.Variable and words[2] == 12) <= 8


def test_a_missing_kernel_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        shaders.load("no_such_kernel")
