"""The digits programs, run as users run them: equal losses, good accuracy, clear errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"epoch +(\d+)  loss (\d+\.\d{6})  test accuracy (0\.\d{4}|1\.0000)  +(\d+) samples/s")
EPOCHS = 12


def start(program: str, *arguments: str, first: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of the examples; ``first`` is Python that runs before it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    path = ROOT / "examples" / program
    code = f"import runpy, sys\n{first}\nsys.argv[0] = {str(path)!r}\nsys.path[0] = {str(path.parent)!r}\n"
    code += f"runpy.run_path({str(path)!r}, run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment,
        cwd=ROOT,
    )


@cache
def trained(program: str, device: str, *options: str) -> tuple[str, list[tuple[int, str, float]]]:
    """The line about the device, and (epoch, loss as printed, accuracy) of every other line."""
    run = start(program, "--device", device, *options)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    first, *lines = run.stdout.splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), run.stdout
    return first, [(int(m[1]), m[2], float(m[3])) for m in found if m]


@pytest.mark.parametrize("program", ["train_digits.py", "train_digits_trio.py"])
def test_accuracy(program: str, device: str) -> None:
    first, epochs = trained(program, device, "--epochs", str(EPOCHS))
    assert [number for number, _, _ in epochs] == list(range(1, EPOCHS + 1))
    assert epochs[-1][2] >= 0.96
    assert float(epochs[-1][1]) < 0.25 * float(epochs[0][1])
    assert first.startswith(f"device {device} (") and first.endswith("as asked for")


def test_script_and_trio_agree(device: str) -> None:
    """To the last digit, though one makes its batches in other threads, and ahead of time."""
    options = ("--epochs", str(EPOCHS))
    assert (
        trained("train_digits.py", device, *options)[1]
        == trained("train_digits_trio.py", device, *options)[1]
    )


def test_the_seed_decides() -> None:
    one = trained("train_digits.py", "cpu", "--epochs", "2", "--seed", "1", "--batch-size", "100")[1]
    other = trained("train_digits_trio.py", "cpu", "--epochs", "2", "--seed", "1", "--batch-size", "100")[1]
    third = trained("train_digits.py", "cpu", "--epochs", "2", "--seed", "2", "--batch-size", "100")[1]
    assert one == other != third


def test_auto_says_what_it_took() -> None:
    """Without any Vulkan driver: the cpu, and why."""
    nowhere = (
        "import os\nos.environ['VK_DRIVER_FILES'] = os.environ['VK_ICD_FILENAMES'] = '/nonexistent.json'"
    )
    run = start("train_digits.py", "--epochs", "1", first=nowhere)
    assert run.returncode == 0, run.stderr
    assert re.match(r"device cpu \(.*\): no gpu device: ", run.stdout)
    run = start("train_digits_trio.py", "--device", "gpu", first=nowhere)
    assert run.returncode == 1 and "Traceback" not in run.stderr and "install" in run.stderr


def test_auto_takes_a_software_device() -> None:
    run = start("train_digits_trio.py", "--epochs", "1", "--device", "auto")
    assert run.returncode == 0, run.stderr
    assert re.match(r"device vulkan:\d \(.*\): a gpu device was found", run.stdout)


@pytest.mark.parametrize("package", ["sklearn", "tqdm"])
def test_a_missing_package_is_named(package: str) -> None:
    run = start("train_digits.py", first=f"sys.modules[{package!r}] = None")
    assert run.returncode == 1
    assert run.stderr.startswith(f"this example needs {package}")
    assert "pip install 'rasptorch[examples]'" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--device", "quantum"), "there is no device 'quantum'"),
        (("--epochs", "0"), "0 is not at least 1"),
    ],
    ids=["device", "epochs"],
)
def test_bad_options(arguments: tuple[str, ...], said: str) -> None:
    run = start("train_digits.py", *arguments)
    assert run.returncode != 0 and said in run.stderr and "Traceback" not in run.stderr
