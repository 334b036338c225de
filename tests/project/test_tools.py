"""The programs in tools/: each is run as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .tree import ROOT

SCRIPT = """
import sys
import profile  # the standard library's, not tools/profile.py
import rasptorch as rt
assert hasattr(profile, "Profile"), profile
x = rt.ones(32, 32)
print(sys.argv, __name__, (x @ x).sum().item())
sys.exit(3)
"""


def run(*arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, "utf-8")
    return path


def test_a_script_under_the_profiler(script: Path, tmp_path: Path) -> None:
    done = run(ROOT / "tools/profile.py", "-o", "out.json", "--table", script, "--epochs", 3, folder=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stdout == f"{[str(script), '--epochs', '3']} __main__ 32768.0\n"
    assert "matmul" in done.stderr and "record+submit" in done.stderr
    events = json.loads((tmp_path / "out.json").read_text("utf-8"))["traceEvents"]
    assert any(
        e.get("cat") == "kernel" and "matmul" in e["name"] for e in events
    )  # the device was opened by the script


def test_where_the_trace_goes_by_itself(script: Path, tmp_path: Path) -> None:
    assert run(ROOT / "tools/profile.py", script, folder=tmp_path).returncode == 3
    assert (tmp_path / "trace.json").is_file()
    (tmp_path / "trace.json").unlink()
    assert run(ROOT / "tools/profile.py", "--table", script, folder=tmp_path).returncode == 3
    assert not (tmp_path / "trace.json").exists()


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        ("", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('stopped')", 1, "stopped"),
        ("1 / 0", 1, "ZeroDivisionError"),
    ],
)
def test_how_a_script_ends(tmp_path: Path, ending: str, status: int, said: str) -> None:
    path = tmp_path / "script.py"
    path.write_text(f"import sys\nimport rasptorch as rt\nrt.ones(2).sum().item()\n{ending}\n", "utf-8")
    done = run(ROOT / "tools/profile.py", path, folder=tmp_path)
    assert done.returncode == status and said in done.stderr, done.stderr
    assert (tmp_path / "trace.json").is_file()


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
