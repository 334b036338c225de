"""The programs in tools/: each is run as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .tree import ROOT


def run(*arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_benchmark(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = run(
        "tools/benchmark.py", "--only", "w8,w1", "--devices", "cpu", "--seconds", "0.01", "--json", out
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text("utf-8"))
    assert found["machine"]["devices"].keys() == {"cpu"}
    names = {(r["workload"], r["variant"]) for r in found["results"]}
    assert {("w8", "cpu, readback"), ("w1", "numpy"), ("w1", "cpu, steady"), ("w1", "cpu, no alloc")} <= names
    for result in found["results"]:
        assert 0 < result["min"] <= result["p50"] <= result["p95"] and result["samples"] >= 2
        assert result["ratio"] > 0 and result["error"] < 1e-4
        assert result["variant"].startswith("cpu") == ("dispatches" in result)
        assert f"{result['speed']:.4g} {result['unit']}" in done.stdout


def test_a_benchmark_in_markdown() -> None:
    done = run("tools/benchmark.py", "--only", "w8", "--devices", "cpu", "--seconds", "0.01", "--markdown")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert rows[1].startswith("| --- | ---: |") and len({row.count("|") for row in rows}) == 1


def test_there_is_no_such_benchmark() -> None:
    done = run("tools/benchmark.py", "--only", "nonsense", "--devices", "cpu")
    assert done.returncode == 2 and "w3.256" in done.stderr


WRONG = """
import runpy
tool = runpy.run_path("tools/benchmark.py")
from tools.workloads import Variant, Workload
import numpy as np
def variants(devices, torch_too):
    yield Variant("numpy", lambda: None, lambda: np.ones(4))
    yield Variant("wrong", lambda: None, lambda: np.array([1, 1, 1, 1.5]))
tool["prepare"](Workload("w", "wrong", 1, "op/s", 1e-4, variants), [], False)
"""


def test_a_wrong_result_is_no_benchmark() -> None:
    done = run("-c", WRONG)
    assert done.returncode == 1 and "w, wrong: differs from NumPy by 0.5" in done.stderr


@pytest.mark.parametrize("bad", [[1.0, 2.0, 3.0], [1.0, np.nan], [1.0, np.inf]])
def test_results_that_are_nothing_like_the_reference(bad: list[float]) -> None:
    from tools.benchmark import error

    assert error(np.array(bad), np.array([1.0, 2.0])) == float("inf")
    assert error(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0.5


def test_the_page_of_settings_is_current() -> None:
    done = run("tools/settings_doc.py", "--check")
    assert done.returncode == 0, done.stderr
