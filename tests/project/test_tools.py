"""The programs in tools/: each is run as people run it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import rasptorch as rt
from tools import workloads
from tools.layered import Drawing, Item

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
    kinds = ("readback", "compute", "fused", "captured", "steady", "no alloc")
    assert {("w8", "cpu, readback"), ("w1", "numpy"), *(("w1", f"cpu, {kind}") for kind in kinds)} <= names
    counts = {r["variant"]: r["dispatches"] for r in found["results"] if r["workload"] == "w1" and "dispatches" in r}
    assert counts["cpu, compute"] == 200 > 10 > counts["cpu, fused"] == counts["cpu, captured"]
    for result in found["results"]:
        assert 0 < result["min"] <= result["p50"] <= result["p95"] and result["samples"] >= 2
        assert 0 < result["ratio from"] <= result["ratio"] <= result["ratio to"] and result["error"] < 1e-4
        assert result["variant"].startswith("cpu") == ("dispatches" in result)
        assert f"{result['speed']:.4g} {result['unit']}" in done.stdout


class Checked:
    """A library whose functions must all be given the same tensor to write to."""

    def __init__(self, out: rt.Tensor) -> None:
        self.out = out
        self.called = 0

    def __getattr__(self, name: str) -> Any:
        def function(*given: Any, out: rt.Tensor) -> Any:
            assert out is self.out
            self.called += 1
            return getattr(rt, name)(*given, out=out)

        return function


def test_without_memory_means_that_every_operation_writes_to_what_is_there() -> None:
    x, a, b = (rt.rand(4, 4) for _ in range(3))
    library = Checked(rt.empty(4, 4))
    for into, given, operations in (
        (workloads._chain_into, (x, a, b), 200), (workloads._relu_into, (x, a), 3), (workloads._nine_into, (x, a), 9),
    ):  # fmt: skip
        library.called = 0
        assert into(library, library.out, *given) is library.out and library.called == operations


@pytest.mark.parametrize("make", [workloads._w1, workloads._w2, workloads._e9, lambda: workloads._w3(256), workloads._w7])
def test_variants_without_memory_are_right_and_need_none(make: Callable[[], workloads.Workload]) -> None:
    from tools.benchmark import measure, prepare

    found = {variant.name: variant for variant in prepare(make(), ["cpu"], False)}
    variant = found["cpu, no alloc"]
    assert "numpy, no alloc" in found and variant.error <= 1e-4
    measure([variant], 0.0)
    assert variant.counts["allocations"] == 0 and variant.counts["submissions"] >= 1 <= variant.counts["dispatches"]


def test_measuring_stops_when_every_variant_has_had_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from tools import benchmark

    now = [0.0]

    def taking(seconds: float) -> workloads.Variant:
        def run() -> None:
            now[0] += seconds

        return workloads.Variant("", run, None)

    monkeypatch.setattr(benchmark, "perf_counter", lambda: now[0])
    quick, slow = taking(0.25), taking(0.5)
    benchmark.measure([quick, slow], 10.0)  # 20 seconds in rounds of 1.5, of which half is measured
    assert len(quick.rounds) == len(slow.rounds) == 14 and quick.samples[0] == 0.25 and slow.samples[0] == 0.5
    very_slow = taking(100.0)
    benchmark.measure([very_slow], 1.0)
    assert len(very_slow.samples) == 2


def test_a_turn_begins_with_what_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from tools import benchmark

    now, runs = [0.0], iter([0.1, 0.1, 0.02, 0.03, 0.01])

    def run() -> None:
        now[0] += next(runs)

    monkeypatch.setattr(benchmark, "perf_counter", lambda: now[0])
    assert benchmark.turn(run, 0.15, 0.045) == pytest.approx([0.02, 0.03])


PEER = """
import json, os, sys
print(json.dumps({"check": "W8", "ok": True}))
print(json.dumps({"peer": "one", "device": "cpu", "workload": os.environ["BENCH_ONLY"], "value": 2.5, "median": 3.5, "unit": "us"}))
"""


def test_a_benchmark_beside_an_older_one_and_beside_peers(tmp_path: Path) -> None:
    from tools.benchmark import compared

    folder, old = tmp_path / "peers", tmp_path / "old.json"
    folder.mkdir()
    (folder / "bench_one.py").write_text(PEER, "utf-8")
    (folder / "bench_absent.py").write_text("import no_such_library\n", "utf-8")
    (folder / "bench_common.py").write_text("raise SystemExit('no script')\n", "utf-8")
    few = ("--only", "w8", "--devices", "cpu", "--seconds", "0.01")
    assert run("tools/benchmark.py", *few, "--json", old).returncode == 0
    done = run("tools/benchmark.py", *few, "--compare", old, "--peers", folder, "--json", tmp_path / "new.json")
    assert done.returncode == 0, done.stderr
    assert "W8        one   cpu" in done.stdout and "p50 before" in done.stdout
    assert done.stderr == "bench_absent.py: not installed: ModuleNotFoundError: No module named 'no_such_library'\n"
    assert json.loads((tmp_path / "new.json").read_text("utf-8"))["peers"][0]["value"] == 2.5
    was = json.loads(old.read_text("utf-8"))
    faster = [result | {"p50": result["p50"] / 2, "min": result["min"] / 4} for result in was["results"]]
    rows = compared(faster, was).splitlines()[1:]
    assert len(rows) == len(faster) and all("2.00x" in row and "4.00x" in row for row in rows)
    assert compared([], was) == "nothing in common"


PEERS = {
    "partly": """
print('{"peer": "p", "device": "cpu", "workload": "W1", "value": 2, "unit": "us"}')
print('{"peer": "p", "device": "cpu", "workload": "W4", "value": null, "error": "ValueError: too large"}')
print('{"check": "W1", "ok": false}')
print('{"check": "W4", "ok": true}')
print("{not JSON")
""",
    "other": """print('{"case": "chain", "error": "rc=1 | FileNotFoundError: no file other"}')""",
    "silent": "",
    "broken": "1 / 0",
    "endless": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])",
    "writing": "open('refs.json', 'w').write('{}')",
}


def test_peers_that_have_less_to_say(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from tools.peers import peers, peers_table

    for name, text in PEERS.items():
        (tmp_path / f"bench_{name}.py").write_text(text, "utf-8")
    (tmp_path / "refs.json").write_text("kept", "utf-8")
    (tmp_path / "data").mkdir()
    found = peers(tmp_path, 0.01, ["w1", "w3.256"], patience=5.0)
    assert [(entry["peer"], entry["value"]) for entry in found] == [("p", 2)] and "W1" in peers_table(found)
    assert capfd.readouterr().err.splitlines() == [
        "bench_broken.py: left out: exit status 1: ZeroDivisionError: division by zero",
        "bench_endless.py: left out: not done in time, and ended",
        "bench_other.py: not installed: FileNotFoundError: no file other",
        "bench_partly.py: left out: W4: ValueError: too large",
        "bench_partly.py: wrong result: W1",
        "bench_silent.py: left out: it has nothing for W1,W3",
        "bench_writing.py: left out: it has nothing for W1,W3",
    ]
    assert (tmp_path / "refs.json").read_text("utf-8") == "kept" and not (tmp_path / "__pycache__").exists()


def test_a_folder_without_peers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from tools.peers import peers, peers_table

    assert peers(tmp_path, 0.01, ["w1"]) == [] and peers_table([]) == "no peer could be run"
    assert capfd.readouterr().err == f"left out: {tmp_path} has no bench_*.py\n"


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
    done = run("tools/environment_doc.py", "--check")
    assert done.returncode == 0, done.stderr


# -- drawing ------------------------------------------------------------------------------------------------------
def test_a_drawing_of_an_expression(tmp_path: Path) -> None:
    svg, dot = tmp_path / "g.svg", tmp_path / "g.dot"
    leaves = [part for leaf in ("x=4x3", "w=3x2", "b=2") for part in ("--leaf", leaf)]
    done = run("tools/draw_backward.py", "(x @ w + b).relu().sum()", *leaves, "-o", str(svg), "-o", str(dot))
    assert done.returncode == 0, done.stderr
    root = ElementTree.fromstring(svg.read_text("utf-8"))
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:3] == ["result", "sum", "float32 []"]
    assert {"relu", "add", "matmul", "x", "float32 4x3", "w", "b"} <= set(texts)
    assert dot.read_text("utf-8").count("->") == 6


def test_a_drawing_of_a_script(tmp_path: Path) -> None:
    script, svg = tmp_path / "net.py", tmp_path / "net.svg"
    script.write_text(
        "import rasptorch as rt\nnet = rt.nn.Linear(2, 1)\nloss = net(rt.ones(3, 2)).mean()\nother = loss * 2\n", "utf-8"
    )
    done = run("tools/draw_backward.py", str(script), "-o", str(svg))
    assert done.returncode == 0, done.stderr
    assert "net.weight" in svg.read_text("utf-8") and "net.bias" in svg.read_text("utf-8")
    done = run("tools/draw_backward.py", str(script), "--tensor", "nothing", "-o", str(svg))
    assert done.returncode == 1 and "loss, other" in done.stderr


def test_drawings_that_cannot_be() -> None:
    done = run("tools/draw_backward.py", "x + 1")
    assert done.returncode == 1 and "name 'x' is not defined: give it with --leaf x=4x3" in done.stderr
    done = run("tools/draw_backward.py", "rt.ones(2)")
    assert done.returncode == 1 and "no graph to draw" in done.stderr


def test_layers_keep_their_distance() -> None:
    edges = [(0, 1), (0, 2), (1, 3), (2, 3), (0, 3), (3, 4), (3, 5), (3, 6)]
    drawing = Drawing([Item([f"node number {k}"]) for k in range(7)], edges)
    for start, end in edges:
        assert drawing.places[start].layer < drawing.places[end].layer
    for row in drawing.layers:
        boxes = [(drawing.places[n].x - drawing.places[n].width / 2, drawing.places[n].x + drawing.places[n].width / 2) for n in row]
        assert all(left < other for (_, left), (other, _) in pairwise(boxes))
    with pytest.raises(ValueError, match="circles"):
        Drawing([Item(["a"]), Item(["b"])], [(0, 1), (1, 0)])


def test_figures_of_overlap() -> None:
    """Few steps say nothing about times, only that every way of training is measured."""
    result = run("tools/overlap_figures.py", "--device", "cpu", "--steps", 8, "--rounds", 1, "--workers", 1, "--hidden", 16)
    assert result.returncode == 0, result.stderr
    head, *lines = result.stdout.splitlines()
    assert head.startswith("8 steps on cpu") and [line.split("  ")[0] for line in lines] == [
        "nothing overlapped",
        "fit, 1 worker",
        "fit_async, 1 worker",
    ]


def test_what_a_trace_costs() -> None:
    result = run("tools/trace_cost.py", "--device", "cpu", "--epochs", 1, "--rounds", 2)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [re.sub(r"\d+\.\d\d", "#", line) for line in lines] == [
        f"cpu, {what}: # times the time without a trace (quartiles # to #)"
        for what in ("all of it", "without timestamps", "without single operations")
    ]
