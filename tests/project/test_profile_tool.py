"""tools/profile.py, run as people run it: the script's own ending and output, and a whole trace however it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.traces import Events, arrows, check_events, check_kernels, ends, of

from .tree import ROOT

TOOL = ROOT / "tools/profile.py"
SCRIPT = """
import sys
import profile  # the standard library's, not tools/profile.py
import rasptorch as rt
assert hasattr(profile, "Profile"), profile
assert sys.modules["__main__"].__dict__ is globals()
x = rt.ones(32, 32)
print(sys.argv, __name__, (x @ x).sum().item())
sys.exit(3)
"""


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


def profiled(folder: Path, source: str, *arguments: str) -> tuple[subprocess.CompletedProcess[str], Events]:
    """Run a script under the profiler; its process, and the trace's events."""
    (folder / "script.py").write_text(source, "utf-8")
    done = run(TOOL, "script.py", *arguments, folder=folder)
    return done, events_of(folder / "trace.json")


def events_of(path: Path) -> Events:
    events: Events = json.loads(path.read_text("utf-8"))["traceEvents"]
    check_events(events)
    check_kernels(events)
    return events


# -- how scripts end -----------------------------------------------------------------------------------------
def test_a_script_under_the_profiler(tmp_path: Path) -> None:
    done, events = profiled(tmp_path, SCRIPT, "--epochs", "3")
    assert done.returncode == 3, done.stderr
    assert done.stdout == "['script.py', '--epochs', '3'] __main__ 32768.0\n"
    assert "matmul" in done.stderr and "record+submit" in done.stderr
    # The device was opened by the script.
    assert any("matmul" in kernel["name"] for kernel in of(events, "kernel"))


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
    done, events = profiled(tmp_path, f"import sys\nimport rasptorch as rt\nrt.ones(2).sum().item()\n{ending}\n")
    assert done.returncode == status and said in done.stderr, done.stderr
    assert len(of(events, "execution")) == 1 and "submissions" in done.stderr


def test_a_crash_looks_as_it_would_without_the_profiler(tmp_path: Path) -> None:
    source = "import rasptorch as rt\ndef f():\n    rt.ones(2) @ rt.ones(3)\nx = rt.ones(2).sum().item()\nf()\n"
    done, _ = profiled(tmp_path, source)
    alone = run("script.py", folder=tmp_path)
    assert done.returncode == alone.returncode == 1
    assert done.stderr.endswith(alone.stderr)


def test_a_script_that_never_touches_a_device(tmp_path: Path) -> None:
    done, events = profiled(tmp_path, "print('nothing')\n")
    assert done.returncode == 0 and done.stdout == "nothing\n"
    assert "no device was given anything to do" in done.stderr and not of(events, "execution")


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    done = run(TOOL, "nothing.py", folder=tmp_path)
    assert done.returncode == 1 and "FileNotFoundError" in done.stderr and "nothing.py" in done.stderr


THREADS = """
import threading
import rasptorch as rt
def work():
    for _ in range(3):
        with rt.record_function("a round"):
            (rt.ones(64, 64) @ rt.ones(64, 64)).sum().item()
    print("worked")
threads = [threading.Thread(target=work, name=f"own {k}") for k in range(2)]
for thread in threads:
    thread.start()
"""


def test_a_script_with_threads_of_its_own(tmp_path: Path) -> None:
    """Python waits for them at its end; the recording ends after that."""
    done, events = profiled(tmp_path, THREADS)
    assert done.returncode == 0 and done.stdout.count("worked") == 2, done.stderr
    rows = {e["args"]["name"]: e["tid"] for e in events if e["name"] == "thread_name" and e["pid"] == 1}
    assert {"MainThread", "own 0", "own 1"} <= set(rows)
    for name in ("own 0", "own 1"):
        assert len([e for e in of(events, "user") if e["tid"] == rows[name]]) == 3
        assert sum(e["name"] == "matmul" for e in of(events, "enqueue") if e["tid"] == rows[name]) == 3
    assert 1 <= len(of(events, "execution")) <= 6  # they share a stream, and so batches


INTERRUPTED = """
import os, signal, time
import rasptorch as rt
x = rt.ones(300, 300)
print("begun", flush=True)
for _ in range(100000):
    (x @ x).sum().item()
"""


def test_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(INTERRUPTED, "utf-8")
    process = subprocess.Popen(
        [sys.executable, str(TOOL), "script.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in said, said
    assert "trace written" in said
    check_events(json.loads((tmp_path / "trace.json").read_text("utf-8"))["traceEvents"])


# -- options -------------------------------------------------------------------------------------------------
SHOW = "import sys\nprint(sys.argv[1:])\n"


@pytest.mark.parametrize(
    ("before", "behind", "passed", "written"),
    [
        ("", "", "", "trace.json"),
        ("-o a.json", "-x 1", "-x 1", "a.json"),
        ("", "--device cpu -o b.json --epochs 2", "--device cpu --epochs 2", "b.json"),
        ("-o a.json --no-table", "-- -o own --html", "-o own --html", "a.json"),
        ("", "--html c.html one", "one", "c.html"),
    ],
)
def test_whose_options_are_whose(tmp_path: Path, before: str, behind: str, passed: str, written: str) -> None:
    (tmp_path / "script.py").write_text(SHOW, "utf-8")
    done = run(TOOL, *before.split(), "script.py", *behind.split(), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{passed.split()}\n"
    assert (tmp_path / written).is_file() and written in done.stderr


def test_one_device_of_two(tmp_path: Path) -> None:
    source = "import rasptorch as rt\nrt.ones(3).sum().item()\nrt.ones(3, device='gpu').sum().item()\n"
    (tmp_path / "script.py").write_text(source, "utf-8")
    assert run(TOOL, "--device", "cpu", "script.py", folder=tmp_path).returncode == 0
    names = {e["args"]["name"] for e in events_of(tmp_path / "trace.json") if e["name"] == "process_name"}
    assert names == {"host", "cpu"}


# -- the example of the issue --------------------------------------------------------------------------------
def digits(device: str, folder: Path, *more: str) -> tuple[str, dict[str, Any]]:
    """Train on the digits under the profiler; what it printed, and the trace."""
    done = run(
        TOOL, ROOT / "examples/train_digits_trio.py", "--epochs", "2", "--device", device, "-o", "trace.json", *more, folder=folder
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 2
    trace: dict[str, Any] = json.loads((folder / "trace.json").read_text("utf-8"))
    return done.stderr, trace


def covered(intervals: list[tuple[int, int]]) -> set[int]:
    """The microseconds that the intervals touch: simple, and nothing like how the profiler does it."""
    return {at for began, ended in intervals for at in range(began // 1000, ended // 1000)}


def figures(said: str, first: str) -> dict[str, float]:
    """The row of a table whose first cell is ``first``, by the heads of its columns; cells are two or more blanks apart."""
    lines = said.splitlines()
    for number, line in enumerate(lines):
        if line.split("  ")[0].strip() == first:
            cells = re.split(r"\s{2,}", line.strip())
            heads = next(h for h in reversed(lines[:number]) if re.match(r"(device|marked)\s", h))
            row = dict(zip(re.split(r"\s{2,}", heads.strip())[1:], (float(cell.rstrip("*")) for cell in cells[1:]), strict=True))
            if "both" in row or heads.startswith("marked"):  # devices have a row in two tables
                return row
    raise AssertionError(f"there is no {first} in\n{said}")


@pytest.mark.drivers("cpu", "lavapipe")
def test_the_digits(device: str, tmp_path: Path) -> None:
    said, trace = digits(device, tmp_path)
    events: Events = trace["traceEvents"]
    check_events(events)
    check_kernels(events)
    kernels, steps = of(events, "kernel"), of(events, "execution")
    assert len(steps) > 2 * 23
    for step in steps:
        own = [k for k in kernels if k["args"]["submission"] == step["args"]["submission"]]
        assert own and sum(k["dur"] for k in own) <= step["dur"] + 0.001 * len(own)
    came = arrows(events)
    assert len(came) == len(kernels), "every kernel is pointed at by the operations it came from"
    assert any(len(names) > 5 for names in came.values())
    named = {e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert named > {"MainThread", "loader worker 1", "loader worker 2"}
    assert {e["name"] for e in of(events, "task")} > {"__main__.train", "__main__.print_reports"}
    assert {e["name"] for e in events if e["ph"] == "C"} == {"pool bytes", "queue depth", "batches in flight"}
    check_overlap(said, trace)


def check_overlap(said: str, trace: dict[str, Any]) -> None:
    """The table's figures of overlap are those of the raw events."""
    events: Events = trace["traceEvents"]
    busy = covered([ends(e) for e in of(events, "execution")])
    marks = of(events, "user")
    assert {e["name"] for e in marks} == {"make a batch"} and len(marks) == 46
    mark = figures(said, "make a batch")
    beside = sum(len(covered([ends(e)]) & busy) for e in marks) / 1e3  # two loaders' marks may lie side by side
    assert mark["while a device computed"] == pytest.approx(beside, abs=0.1 + 2e-3 * len(marks))
    (main,) = (e["tid"] for e in events if e["name"] == "thread_name" and e["args"]["name"] == "MainThread")
    away = [ends(e) for category in ("wait", "idle") for e in of(events, category) if e["tid"] == main]
    away += [ends(e) for e in of(events, "execution") if e["args"].get("thread") == "MainThread"]
    others = [ends(e) for e in events if e["ph"] == "X" and e["pid"] == 1 and e["tid"] != main and e["cat"] != "wait"]
    host = (covered([(0, round(trace["otherData"]["seconds"] * 1e9))]) - covered(away)) | covered(others)
    table = figures(said, next(e["args"]["name"] for e in events if e["name"] == "process_name" and e["pid"] == 2))
    edges = 2e-3 * (len(away) + len(of(events, "execution")))  # milliseconds: whole microseconds at each end
    assert table["device busy"] == pytest.approx(len(busy) / 1e3, abs=edges)
    assert table["host busy"] == pytest.approx(len(host) / 1e3, abs=edges)
    assert table["both"] == pytest.approx(len(host & busy) / 1e3, abs=edges)
    assert table["device hidden %"] == pytest.approx(100 * len(host & busy) / len(busy), abs=0.6 + 100 * edges / table["device busy"])
