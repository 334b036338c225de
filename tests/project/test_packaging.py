"""The wheel: what is in it, and that it works away from the checkout. pip builds it, with the network."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .tree import PACKAGE_FOLDERS, ROOT, files

pytestmark = pytest.mark.slow

# Run by the installed copy: every module is found by its full name, below the folder it was installed to.
IMPORTS = """
import sys
from pathlib import Path

target = Path(sys.argv[1]).resolve()
sys.path.insert(0, str(target))
import rasptorch
import rasptorch.runtime
import rasptorch.shaders
for module in (rasptorch, rasptorch.runtime, rasptorch.shaders):
    found = Path(module.__file__).resolve()
    assert found.is_relative_to(target), found
print("imported", rasptorch.__name__)
"""


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> dict[str, int]:
    """Name to size of everything in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.file_size for entry in archive.infolist()}


def test_the_wheel_holds_the_whole_package(contents: dict[str, int]) -> None:
    wanted = {
        name if name.startswith("rasptorch/") else f"rasptorch/{name}": (ROOT / name).stat().st_size
        for name in files()
        if name.split("/", 1)[0] in PACKAGE_FOLDERS
    }
    assert {name: size for name, size in wanted.items() if contents.get(name) != size} == {}


def test_the_wheel_holds_the_shaders(contents: dict[str, int]) -> None:
    shaders = [name for name in contents if name.startswith("rasptorch/shaders/")]
    assert [name for name in shaders if name.endswith(".spv")]
    assert [name for name in shaders if "manifest" in name.rsplit("/", 1)[-1]]


def test_the_wheel_holds_nothing_else(contents: dict[str, int]) -> None:
    strange = [n for n in contents if not n.startswith("rasptorch/") and ".dist-info/" not in n]
    assert strange + [n for n in contents if "__pycache__" in n] == []
    assert [n for n in contents if n.endswith(".dist-info/licenses/LICENSE")]


def test_the_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    pip("install", "--no-deps", "--target", str(target), str(wheel))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run = subprocess.run(
        [sys.executable, "-I", "-c", IMPORTS, str(target)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "imported rasptorch\n"), run.stderr
