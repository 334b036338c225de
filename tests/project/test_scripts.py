"""The shell scripts, run with fake programs in front of PATH: nothing is installed and no network is used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from .tree import ROOT, files, text

SH = shutil.which("sh") or "sh"
SYSTEM_PATH = os.pathsep.join(("/usr/bin", "/bin"))

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# What a script may call, by name. NOTES is a file that the fakes write to.
FAKES = {
    "dpkg-query": """for name do :; done
case " $INSTALLED " in *" $name "*) echo installed ;; *) exit 1 ;; esac""",
    "apt-get": 'echo "apt-get $*" >>"$NOTES"',
    "id": 'echo "${FAKE_USER:-1000}"',
    "sudo": "exit 1",
}

# Stands for the Python of the virtual environment.
FAKE_PYTHON = """case "$*" in
    -c*) echo 3.11 ;;
    -VV) echo "Python 3.11" ;;
    "-m pip --version" | -) ;;
    "-m pip install"*) echo "pip" >>"$NOTES" ;;
    "-m ruff"*) exit "${RUFF:-0}" ;;
    "-m mypy"*) exit "${MYPY:-0}" ;;
    "-m pytest"*) echo "pytest got $*"; echo "$SAYS"; exit "${PYTEST:-0}" ;;
    *) echo "python got $*" ;;
esac"""


def write_program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{SH}\n{body}\n", "utf-8")
    path.chmod(0o755)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def run(tmp_path: Path, notes: Path) -> Run:
    """Runs ``sh ARGUMENTS`` with the fakes first on PATH and a virtual environment of the fake Python."""
    for name, body in FAKES.items():
        write_program(tmp_path / "bin" / name, body)
    write_program(tmp_path / "venv" / "bin" / "python", FAKE_PYTHON)

    def start(*arguments: str | Path, path: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": path or f"{tmp_path / 'bin'}{os.pathsep}{SYSTEM_PATH}",
            "NOTES": str(notes),
            "RASPTORCH_VENV": str(tmp_path / "venv"),
        }
        return subprocess.run(
            [SH, *map(str, arguments)],
            cwd=tmp_path,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return start


def with_setup(commands: str) -> list[str]:
    """Arguments for sh: the functions of tools/setup.sh, then ``commands``."""
    return ["-euc", f'ROOT=$1; . "$ROOT/tools/setup.sh"\n{commands}', "sh", str(ROOT)]


def scripts() -> list[str]:
    return [
        n
        for n in files()
        if n.endswith(".sh") or (text(n) or "").startswith(("#!/bin/sh", "#!/usr/bin/env bash"))
    ]


def packages_of(script: str) -> str:
    """The Debian packages that a script asks for, as it writes them."""
    asked = re.search(r"ensure_packages ([a-z0-9 -]+[a-z0-9])", (ROOT / script).read_text("utf-8"))
    assert asked is not None
    return asked[1]


def test_the_scripts_are_there() -> None:
    assert {"tools/setup.sh", "tools/demo.sh", "tools/test.sh", ".ci/run"} <= set(scripts())


@pytest.mark.parametrize("name", scripts())
def test_a_shell_can_read_it(name: str) -> None:
    shell = shutil.which("bash") if "bash" in (text(name) or "").split("\n", 1)[0] else SH
    if shell is None:
        pytest.skip("no bash on this machine")
    check = subprocess.run([shell, "-n", str(ROOT / name)], capture_output=True, text=True, check=False)
    assert (check.returncode, check.stderr) == (0, "")


def test_the_oldest_python_is_that_of_the_package() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    oldest = re.search(r"^OLDEST_MINOR=(\d+)", (ROOT / "tools/setup.sh").read_text("utf-8"), re.MULTILINE)
    assert oldest is not None and required == f">=3.{oldest[1]}"


@pytest.mark.parametrize(
    ("on_path", "chosen"),
    [
        ({"python3": "3.12"}, "python3"),
        ({"python3": "3.10", "python3.11": "3.11"}, "python3.11"),
        ({"python3": "3.9", "python3.12": None, "python3.13": "3.13"}, "python3.13"),
        ({"python3": "3.9"}, None),
        ({"python3": "2.7", "python3.11": None}, None),
        ({"python3": "nonsense"}, None),
        ({}, None),
    ],
)
def test_python_is_found(
    tmp_path: Path, run: Run, on_path: dict[str, str | None], chosen: str | None
) -> None:
    """None as version: a shim that fails, as version managers leave them."""
    only = tmp_path / "only"
    only.mkdir()
    for name, version in on_path.items():
        write_program(only / name, "exit 127" if version is None else f"echo {version}")
    result = run(*with_setup('find_python; echo "found $PYTHON"'), path=str(only))
    if chosen is not None:
        assert (result.returncode, result.stdout) == (0, f"found {chosen}\n"), result.stderr
        return
    assert result.returncode == 1
    assert "Python 3.11 or newer is needed" in result.stderr
    assert f"python3 ({on_path.get('python3', 'not found')})" in result.stderr
    assert "found" not in result.stdout


def test_only_what_is_missing_is_installed(run: Run, notes: Path) -> None:
    asked = packages_of("tools/test.sh")
    missing = "chromium-common spirv-tools"
    there = " ".join(set(asked.split()) - set(missing.split()))
    result = run(*with_setup(f"ensure_packages {asked}"), FAKE_USER="0", INSTALLED=there)
    assert result.returncode == 0, result.stderr
    update, install = notes.read_text("utf-8").splitlines()
    assert update.endswith(" update")
    assert install.endswith(f" install -y --no-install-recommends {missing}")
    told = re.findall(r"installing (\S+) by apt: \S+", result.stdout)
    assert told == missing.split()


@pytest.mark.parametrize("script", ["tools/demo.sh", "tools/test.sh"])
def test_nothing_is_installed_twice(run: Run, notes: Path, script: str) -> None:
    first = run(ROOT / script, INSTALLED=packages_of(script))
    assert first.returncode == 0, first.stderr
    assert notes.read_text("utf-8") == "pip\n"
    second = run(ROOT / script, INSTALLED=packages_of(script))
    assert second.returncode == 0, second.stderr
    assert notes.read_text("utf-8") == "pip\n"
    assert "up to date" in second.stdout


def test_the_demo_goes_on_without_the_right_to_install(run: Run) -> None:
    result = run(ROOT / "tools/demo.sh", "--epochs", "3", INSTALLED="libvulkan1")
    assert result.returncode == 0, result.stderr
    assert "sudo apt-get install --no-install-recommends mesa-vulkan-drivers\n" in result.stdout
    assert "going on with the cpu device" in result.stdout
    assert result.stdout.endswith("train_digits_trio.py --device cpu --epochs 3\n")


def test_the_demo_takes_the_best_device(run: Run) -> None:
    result = run(ROOT / "tools/demo.sh", INSTALLED=packages_of("tools/demo.sh"))
    assert result.stdout.endswith("train_digits_trio.py --device auto\n"), result.stderr


def test_the_tests_stop_without_the_right_to_install(tmp_path: Path, run: Run) -> None:
    asked = packages_of("tools/test.sh")
    result = run(ROOT / "tools/test.sh", RASPTORCH_VENV=str(tmp_path / "new"))
    assert result.returncode == 1
    assert f"error: the tests cannot run without these packages: {asked}." in result.stderr
    assert f"sudo apt-get install --no-install-recommends {asked}" in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("fakes", "status"),
    [
        ({"PYTEST": "0"}, 0),
        ({"PYTEST": "1"}, 1),
        ({"PYTEST": "5"}, 5),
        ({"PYTEST": "3", "RUFF": "1"}, 3),
        ({"PYTEST": "0", "RUFF": "1"}, 1),
        ({"PYTEST": "5", "MYPY": "1"}, 1),
        ({"PYTEST": "0", "SAYS": "SYNC-" + "HAZARD-WRITE-AFTER-READ"}, 1),
        ({"PYTEST": "0", "SAYS": "Validation " + "Error: [ VUID ]"}, 1),
    ],
)
def test_the_status_of_the_tests(run: Run, fakes: dict[str, str], status: int) -> None:
    result = run(
        ROOT / "tools/test.sh",
        "-m",
        "slow",
        **{"INSTALLED": packages_of("tools/test.sh"), "SAYS": ""} | fakes,
    )
    assert result.returncode == status, result.stderr
    assert re.search(r"pytest got -m pytest -m not slow -n \d --dist loadfile -m slow\n", result.stdout)
    assert ("failed:" in result.stderr) == (status != int(fakes["PYTEST"]) or "RUFF" in fakes)


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "work.txt").write_text("hours", "utf-8")
    write_program(tmp_path / "bin" / "python3", FAKE_PYTHON)
    result = run(*with_setup("make_venv dev"), RASPTORCH_VENV=str(folder))
    assert result.returncode == 1
    assert "Delete it, or name another folder in RASPTORCH_VENV" in result.stderr
    assert [f.name for f in folder.iterdir()] == ["work.txt"]
