"""Reductions and their like on the cpu device beside NumPy, in turns: `python tools/reductions.py [--rows 4096] [--columns 1024]`.

Ours with the result on the host. Both read from memory rather than a cache: each call runs through all of the matrix.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any

# This folder has a `profile.py`, which must not be found for the standard library's.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != _HERE]
sys.path.insert(0, str(_HERE.parent))

import numpy as np  # noqa: E402

import rasptorch as rt  # noqa: E402

Run = Callable[[], Any]


def softmax(x: np.ndarray) -> np.ndarray:
    raised = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def works(rows: int, columns: int) -> Iterator[tuple[str, Run, Run]]:
    """What is measured: its name, in NumPy, and here."""
    a, b = (np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32) for seed in (0, 1))
    x, y = rt.tensor(a, device="cpu"), rt.tensor(b, device="cpu")
    out = np.empty_like(a)

    def in_place() -> None:
        np.multiply(a, b, out=out)
        np.add(out, a, out=out)
        np.maximum(out, 0, out=out)

    def fused() -> rt.Tensor:
        made = (x * y + x).relu()
        rt.synchronize("cpu")
        return made

    yield "sum", a.sum, lambda: x.sum().item()
    yield "maximum", a.max, lambda: x.max().item()
    yield "mean of rows", lambda: a.mean(axis=1), lambda: x.mean(1).numpy()
    yield "sum of columns", lambda: a.sum(axis=0), lambda: x.sum(0).numpy()
    yield "maximum of columns", lambda: a.max(axis=0), lambda: x.amax(0).numpy()
    yield "places of the rows' maxima", lambda: a.argmax(axis=1), lambda: x.argmax(1).numpy()
    yield "variance of rows", lambda: a.var(axis=1, ddof=1), lambda: x.var(1).numpy()
    yield "softmax of rows", lambda: softmax(a), lambda: x.softmax(1).numpy()
    yield "running sums of rows", lambda: a.cumsum(axis=1), lambda: x.cumsum(1).numpy()
    yield "relu(x * y + x), NumPy with out=", in_place, fused


def in_turns(theirs: Run, ours: Run, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each run."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 3):
        for run, taken in zip((theirs, ours), times, strict=True):
            began = perf_counter()
            run()
            if number >= 3:
                taken.append(perf_counter() - began)
    return times


def main() -> int:
    parser = argparse.ArgumentParser("reductions.py", description="Reductions on the cpu device beside NumPy.")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    print(f"a matrix of {options.rows} x {options.columns} float32, milliseconds, medians of {options.rounds}")
    for name, theirs, ours in works(options.rows, options.columns):
        one, other = in_turns(theirs, ours, options.rounds)
        ratios = quantiles([t / o for t, o in zip(one, other, strict=True)], n=4)
        medians = [1e3 * quantiles(times, n=4)[1] for times in (one, other)]
        ratio = f"{ratios[1]:.2f} times as fast ({ratios[0]:.2f}-{ratios[2]:.2f})"
        print(f"{name:34} NumPy {medians[0]:7.3f}  cpu {medians[1]:7.3f}  {ratio}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
