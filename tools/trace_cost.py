"""What recording a trace costs: the digits example with and without, in turns. `python tools/trace_cost.py [--device gpu] [--rounds 15]`"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import sys
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

# This folder has a `profile.py`, which must not be found for the standard library's.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != _HERE]
sys.path[:0] = [str(_HERE.parent), str(_HERE.parent / "examples")]

import rasptorch as rt  # noqa: E402


def trained(device: str, epochs: int) -> float:
    """Seconds that a training takes, without a word."""
    example: Any = importlib.import_module("train_digits_trio")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        began = perf_counter()
        example.main(["--device", device, "--epochs", str(epochs)])
        return perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    ways: dict[str, dict[str, bool]] = {
        "all of it": {},
        "without timestamps": {"timestamps": False},
        "without single operations": {"commands": False},
    }
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    trained(options.device, options.epochs)
    for turn in range(options.rounds):
        order = list(ways)
        for name in order[turn % 3 :] + order[: turn % 3]:
            before = trained(options.device, options.epochs)
            with rt.profile(devices=[options.device], **ways[name]):
                seconds = trained(options.device, options.epochs)
            ratios[name].append(seconds / ((before + trained(options.device, options.epochs)) / 2))
    for name, values in ratios.items():
        low, _, high = quantiles(values, n=4)
        print(f"{options.device}, {name}: {median(values):.2f} times the time without a trace (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
