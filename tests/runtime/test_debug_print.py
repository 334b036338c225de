"""What ``RASPTORCH_DEBUG`` prints, level by level."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rasptorch as rt
from rasptorch.runtime.debug_print import DebugPrinter, duration, size
from rasptorch.runtime.device import Device
from rasptorch.runtime.fence import Fence

ROOT = Path(__file__).resolve().parents[2]


def printed(device: Device, level: int, number: float, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of two times the same small work, new to the plan cache with every ``number`` of values."""
    x = rt.ones(int(number), device=device)
    rt.synchronize(device)
    capsys.readouterr()
    with device.observers.watching(DebugPrinter(device, level)):
        for _ in range(2):
            ((x * 2 + 1).relu().sum()).item()
    lines = capsys.readouterr().err.splitlines()
    assert not capsys.readouterr().out
    return lines


def test_level_1_names_the_device(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    opened = rt.device(device)
    (line,) = printed(opened, 1, 1001, capsys)
    assert re.match(rf"{opened.name} +opened +", line) and opened.driver.traits.name in line


def test_level_2_is_a_line_per_submission(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, first, second = printed(rt.device(device), 2, 1002, capsys)
    assert re.search(r"#\d+ +\d+ commands +\d+ kernels +\d+ fused +\d+ levels", first)
    assert "plan miss" in first and "record " in first
    assert "plan hit" in second
    assert first.index("plan") == second.index("plan") and first.index("touches") == second.index("touches")


def test_level_3_shows_new_kernels_once(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(rt.device(device), 3, 1003, capsys)
    kernels = [line for line in lines if re.search(r" level \d+ ", line)]
    assert kernels and lines.index(kernels[-1]) == len(kernels)  # all before the first submission
    assert any("reduce" in line and "sum" in line and "<- 1003" in line for line in kernels)
    assert all(re.search(r"%\d+.*:float32\(.* -> %\d+", line) for line in kernels)


def test_level_4_tells_of_waits_and_transfers(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(rt.device(device), 4, 1004, capsys)
    assert sum(bool(re.search(r"readback +4 B in [\d.]+ [um]s$", line)) for line in lines) == 2
    assert sum("finished" in line for line in lines) == 2

    printer, stream = DebugPrinter(rt.device(device), 4), rt.device(device).default_stream
    for blocking in (True, False):
        printer.waited(Fence(stream, 7), 0.0, 0.0025, blocking)
    blocked, awaited = capsys.readouterr().err.splitlines()[-2:]
    assert blocked.endswith("#7        a thread blocked for 2.50 ms")
    assert awaited.endswith("#7        a task waited for 2.50 ms")


def test_failures_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    device = rt.device("cpu")
    DebugPrinter(device, 1).stream_failed(device.default_stream, ValueError("gone"))
    assert "ValueError: gone" in capsys.readouterr().err.splitlines()[-1]


def test_the_variable_switches_it_on() -> None:
    code = "import rasptorch as rt; rt.ones(3).sum().item()"
    for level, pattern in (("0", r"\A\Z"), ("2", r"\Acpu +opened .*\ncpu/default +#1 +\d+ commands")):
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT, env={"RASPTORCH_DEBUG": level}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert re.search(pattern, run.stderr), run.stderr


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (48 << 10, "48.0 KiB"), (3 << 29, "1.5 GiB"), (1 << 62, "no limit")],
)
def test_sizes(nbytes: int, text: str) -> None:
    assert size(nbytes).strip() == text and len(size(nbytes)) == 10


@pytest.mark.parametrize(("seconds", "text"), [(2.5e-6, "2.5 us"), (0.0125, "12.50 ms"), (3.0, "3.000 s")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds).strip() == text and len(duration(seconds)) == 11
