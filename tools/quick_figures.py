"""Side-by-side figures in two minutes: the table in docs/performance.md. `python tools/quick_figures.py [--torch]`

For more variants and statistics see `tools/benchmark.py`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

# This folder has a `profile.py`, which must not be found for the standard library's.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != _HERE]
sys.path.insert(0, str(_HERE.parent))

import numpy as np  # noqa: E402

import rasptorch as rt  # noqa: E402
from tools import lenet, mlp, transformer_block, workloads  # noqa: E402
from tools.benchmark import SETTLING, TURN, turn  # noqa: E402

ROUNDS = 5
torch: Any = importlib.import_module("torch") if "--torch" in sys.argv[1:] else None  # its idle threads spin, and slow the others


def interleaved(named: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median seconds of each, all run in turn.

    Threads of OpenBLAS and OpenMP spin for a tenth of a second when they have nothing to do, which slows down whoever comes next: so each
    first runs for longer than that without being measured.
    """
    times: dict[str, list[float]] = {name: [] for name in named}
    for function in named.values():
        for _ in range(3):
            function()
    for _ in range(ROUNDS):
        for name, function in named.items():
            times[name] += turn(function, SETTLING, TURN)
    return {name: median(values) for name, values in times.items()}


def show(title: str, seconds: dict[str, float], unit: str, per: Callable[[float], float]) -> None:
    base = seconds["numpy"]
    cells = ", ".join(f"{name} {per(s):.4g} {unit} ({base / s:.2f}x)" for name, s in seconds.items())
    print(f"{title}: {cells}", flush=True)


def chain() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.random((64, 64), dtype=np.float32) for _ in range(3)]

    def run(x: Any, a: Any, b: Any) -> Any:
        for _ in range(100):
            x = x * a
            x = x + b
        return x

    named: dict[str, Callable[[], Any]] = {"numpy": lambda: run(*arrays)}
    if torch:
        theirs = [torch.from_numpy(a) for a in arrays]
        named["torch"] = lambda: run(*theirs)
    for device in ("cpu", "gpu"):
        tensors = [rt.tensor(a, device=device) for a in arrays]
        replay = rt.capture(run)
        named[f"{device} eager"] = lambda t=tensors: run(*t).readback().wait()  # type: ignore[misc]
        named[f"{device} captured"] = lambda t=tensors, f=replay: f(*t).readback().wait()  # type: ignore[misc]
    show("200 operations on 64x64, result read", interleaved(named), "us/op", lambda s: s / 200 * 1e6)


def wide() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.random(4 << 20, dtype=np.float32) for _ in range(2))

    def nine(x: Any, y: Any, relu: Any) -> Any:
        return relu((x * y + x) * 0.5 - y * 0.25 + 1.0) * x - y

    named: dict[str, Callable[[], Any]] = {"numpy": lambda: nine(x, y, lambda v: np.maximum(v, 0))}
    if torch:
        u, v = torch.from_numpy(x), torch.from_numpy(y)
        named["torch"] = lambda: nine(u, v, torch.relu)
    for device in ("cpu", "gpu"):
        a, b = rt.tensor(x, device=device), rt.tensor(y, device=device)

        def run(a: Any = a, b: Any = b, device: str = device) -> None:
            kept = nine(a, b, rt.relu)
            rt.synchronize(device)
            del kept

        named[device] = run
    show("9 operations on 4 Mi floats", interleaved(named), "ms", lambda s: s * 1e3)


def products() -> None:
    rng = np.random.default_rng(0)
    for n in (256, 512, 1024):
        a, b = (rng.random((n, n), dtype=np.float32) for _ in range(2))
        named: dict[str, Callable[[], Any]] = {"numpy": lambda a=a, b=b: a @ b}  # type: ignore[misc]
        if torch:
            named["torch"] = lambda u=a, v=b: torch.from_numpy(u) @ torch.from_numpy(v)  # type: ignore[misc]
        for device in ("cpu", "gpu"):
            x, y = rt.tensor(a, device=device), rt.tensor(b, device=device)

            def run(x: Any = x, y: Any = y, device: str = device) -> None:
                kept = x @ y
                rt.synchronize(device)
                del kept

            named[device] = run
        show(f"matmul {n}", interleaved(named), "GFLOP/s", lambda s, n=n: 2 * n**3 / s / 1e9)  # type: ignore[misc]


def training(title: str, example: Any) -> None:
    """The step by hand in NumPy, in PyTorch, and on our devices, eager and captured; each gives the loss as a number."""
    named: dict[str, Callable[[], Any]] = {"numpy": example.ByHand(0.01).step}
    if torch:
        named["torch"] = workloads.descent(torch, example, torch.from_numpy)
    for device in ("cpu", "gpu"):
        for way in ("", " captured"):
            step = workloads.descent(rt, example, lambda v, d=device: rt.tensor(v, device=d))  # type: ignore[misc]
            named[device + way] = rt.capture(step, device=device) if way else step
    timed = {name: step if name == "numpy" else lambda f=step: f().item() for name, step in named.items()}  # type: ignore[misc]
    show(f"{title} step (numpy: by hand)", interleaved(timed), "steps/s", lambda s: 1 / s)


if __name__ == "__main__":
    chain()
    wide()
    products()
    training("MLP", mlp)
    training("LeNet, 32 images of 28x28", lenet)
    training("transformer block, 8x64x128", transformer_block)
