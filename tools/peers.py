"""Other libraries' own benchmarks of the same work, for `tools/benchmark.py --peers FOLDER`.

A folder holds scripts ``bench_NAME.py`` that print a JSON object per result: ``peer``, ``device``, ``workload``, ``value`` (of
the fastest sample, None where it failed, and then ``error``), ``median``, ``unit``; or per result that was checked: ``check``,
``ok``. ``BENCH_SECONDS`` and ``BENCH_ONLY`` tell them how long and what. Each is run with ``FOLDER/NAME/bin/python`` where that
exists (a virtual environment for each), else with this Python, and in a copy of the folder's files: scripts write caches and
references next to themselves.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PATIENCE = 900.0  # seconds for one script
SHARED = ("bench_common",)  # what scripts import, and no script
_ABSENT = re.compile(r"(ModuleNotFoundError|ImportError|FileNotFoundError): .*")


def peers(folder: Path, seconds: float, workloads: Sequence[str], patience: float = PATIENCE) -> list[dict[str, Any]]:
    """What the scripts of ``folder`` say of themselves; a line on standard error for each that could not run, and for each of
    a script's workloads that failed.
    """
    scripts = [script for script in sorted(folder.glob("bench_*.py")) if script.stem not in SHARED]
    if not scripts:
        print(f"left out: {folder} has no bench_*.py", file=sys.stderr)
    chosen = ",".join(sorted({w.split(".")[0].upper() for w in workloads}))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"BENCH_SECONDS": str(seconds), "BENCH_ONLY": chosen}
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for part in folder.iterdir():
            if part.is_file():
                shutil.copyfile(part, copy / part.name)
            elif not (part / "bin" / "python").exists() and part.name != "__pycache__":
                shutil.copytree(part, copy / part.name, copy_function=shutil.copyfile)
        for script in scripts:
            own = folder / script.stem.removeprefix("bench_") / "bin" / "python"
            command = [str(own) if own.exists() else sys.executable, script.name]
            results, problems = _outcome(*_ran(command, copy, environment, patience), chosen)
            found += results
            for problem in problems:
                print(f"{script.name}: {problem.replace(scratch, str(folder))}", file=sys.stderr, flush=True)
    return found


def _ran(command: Sequence[str], folder: Path, environment: dict[str, str], patience: float) -> tuple[str, str, int | None]:
    """What a script wrote on standard output and error, and its exit status; None: it took too long and was ended."""
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        try:
            said, complained = running.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)  # its children hold its pipes open
            said, complained = running.communicate()
            return said, complained, None
        except BaseException:
            os.killpg(running.pid, signal.SIGKILL)
            raise
        return said, complained, running.returncode


def _outcome(said: str, complained: str, status: int | None, chosen: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Results, and a line for whatever there is no result of."""
    told = list(_objects(said))
    common = [entry for entry in told if "workload" in entry]
    results = [entry for entry in common if entry.get("value") is not None]
    problems = [f"left out: {entry['workload']}: {entry.get('error', 'failed')}" for entry in common if entry.get("value") is None]
    problems += [f"wrong result: {entry['check']}" for entry in told if "check" in entry and entry.get("ok") is False]
    last = (complained.strip().splitlines() or ["no message"])[-1]
    if status is None:
        problems.append("left out: not done in time, and ended")
    elif status and (absent := _ABSENT.search(last)):
        problems.append(f"not installed: {absent[0]}")
    elif status:
        problems.append(f"left out: exit status {status}: {last}")
    elif not common:
        failed = [str(entry["error"]) for entry in told if entry.get("error")]
        absent = _ABSENT.search(failed[0]) if failed else None
        nothing = f"not installed: {absent[0]}" if absent else f"left out: it has nothing for {chosen}"
        problems.append(nothing)
    return results, problems


def _objects(said: str) -> Iterator[dict[str, Any]]:
    for line in said.splitlines():
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except json.JSONDecodeError:  # a library's own message, or the piece of a line that a killed script had written
                continue


def peers_table(found: Sequence[dict[str, Any]]) -> str:
    lines = [("workload", "peer", "device", "best", "median", "unit")]
    order = sorted(found, key=lambda e: (e["workload"], e["peer"]))
    lines += [(e["workload"], e["peer"], e["device"], f"{e['value']:g}", f"{e.get('median', e['value']):g}", e["unit"]) for e in order]
    return columns(lines, 3) if found else "no peer could be run"


def columns(rows: Sequence[Sequence[str]], left: int) -> str:
    """Lines of text; the first ``left`` columns start at one place, the others end at one."""
    widths = [max(len(cells[k]) for cells in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) if k < left else c.rjust(w) for k, (c, w) in enumerate(zip(cells, widths, strict=True))).rstrip()
        for cells in rows
    )
