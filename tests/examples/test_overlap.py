"""examples/overlap.py, run as users run it."""

from __future__ import annotations

import re

from .test_digits import start


def test_it_runs_and_what_it_claims_holds(device: str) -> None:
    run = start("overlap.py", "--device", device, "--steps", "16")
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith(f"16 steps on {device}: a step computes for") and lines[1].startswith("without overlap")
    for line, name in zip(lines[2:], ("script", "Trio  "), strict=True):
        assert re.match(rf"overlapped, {name} +\d+\.\d\d s: \d+% of the shorter of both is hidden behind the longer; \d+ batches", line)


def test_a_bad_device() -> None:
    run = start("overlap.py", "--device", "quantum")
    assert run.returncode == 1 and "there is no device 'quantum'" in run.stderr and "Traceback" not in run.stderr
