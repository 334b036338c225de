"""Measure rasptorch beside NumPy (and PyTorch), in one run, on this machine.

python tools/benchmark.py [--only w1,w3] [--devices cpu,gpu] [--seconds 1] [--torch] [--markdown] [--json FILE]
    [--compare OLD.json] [--peers FOLDER]

Every workload is a few variants of the same work: NumPy; each device with the result read back after every
iteration ("readback"), with a wait and no readback, every operation a kernel of its own ("compute") and as
it is by default ("fused"), replayed from a capture ("captured"), with several iterations per wait ("steady"),
and, where every operation has an ``out=``, with all of them writing to one tensor that was there before
("no alloc"). Each variant's result is compared with NumPy's in the same run. Variants take turns, round after
round, so that whatever else the machine does hits all of them. A turn begins with a part that is not measured:
threads of OpenBLAS and OpenMP spin for a tenth of a second after their last work, which slows down whoever comes
next. The ratio to NumPy is the median of the rounds' ratios, with their quartiles.

``--compare`` puts an earlier ``--json`` beside this run. ``--peers`` runs the scripts ``bench_NAME.py`` of a
folder, see `tools/peers.py`; those whose library is not installed are named and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

# This folder has a `profile.py`, which must not be found for the standard library's.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != _HERE]
sys.path.insert(0, str(_HERE.parent))

import numpy as np  # noqa: E402

import rasptorch as rt  # noqa: E402
from rasptorch.runtime.errors import MissingDeviceError  # noqa: E402
from tools.peers import columns, peers, peers_table  # noqa: E402
from tools.workloads import WORKLOADS, Variant, Workload  # noqa: E402

if TYPE_CHECKING:
    from tools.workloads import Array

WARM_UP = 3
LEAST_ROUNDS = 5
MOST_ROUNDS = 1000
SETTLING = 0.15  # seconds at the beginning of a turn that are not measured
TURN = 0.05  # seconds of a turn that are
COUNTED = ("dispatches", "submissions", "allocations", "pipelines_created")


# -- measuring -----------------------------------------------------------------------------------------------
def error(result: Array, reference: Array) -> float:
    """Largest difference, relative to the largest magnitude of the reference."""
    wide, expected = np.asarray(result, np.float64), np.asarray(reference, np.float64)
    if wide.size != expected.size or not np.isfinite(wide).all():
        return float("inf")
    return float(np.abs(wide.reshape(-1) - expected.reshape(-1)).max() / (np.abs(expected).max() or 1.0))


def prepare(workload: Workload, devices: Sequence[str], torch_too: bool) -> list[Variant]:
    """All variants, compared with NumPy (the first) and warmed up; exits where a result is wrong."""
    variants: list[Variant] = []
    reference: Array | None = None
    for variant in workload.variants(devices, torch_too):
        if variant.result is not None:
            got = variant.result()
            reference = got if reference is None else reference
            variant.error = error(got, reference)
            if not variant.error <= workload.tolerance:
                raise SystemExit(
                    f"{workload.key}, {variant.name}: differs from NumPy by {variant.error:.3g} "
                    f"of the largest value, more than {workload.tolerance:g}"
                )
        began = perf_counter()
        for _ in range(WARM_UP):
            variant.run()
            if perf_counter() - began > 1:
                break
        variants.append(variant)
    return variants


def measure(variants: Sequence[Variant], seconds: float) -> None:
    """Fill in samples, in turns, until each variant has had about ``seconds``; then count one more run of
    each.
    """
    start = perf_counter()
    budget = seconds * len(variants)
    rounds = 0
    while rounds < MOST_ROUNDS:
        spent = perf_counter() - start
        if rounds >= LEAST_ROUNDS and spent > budget:
            break
        if rounds >= 2 and spent > 5 * budget:  # slow ones: fewer rounds rather than minutes
            break
        for variant in variants:
            taken = turn(variant.run, min(SETTLING, seconds), TURN)
            variant.rounds.append(statistics.median(taken) / variant.inner)
            variant.samples += [sample / variant.inner for sample in taken]
        rounds += 1
    for variant in variants:
        if variant.device:
            before = rt.statistics(variant.device)
            variant.run()
            used = rt.statistics(variant.device) - before
            variant.counts = {name: getattr(used, name) / variant.inner for name in COUNTED}


def turn(run: Callable[[], object], settling: float, measured: float) -> list[float]:
    """Seconds of each of some runs, one at least, after some that are not measured."""
    began = now = perf_counter()
    while now - began < settling:
        run()
        now = perf_counter()
    taken: list[float] = []
    settled = now
    while not taken or now - settled < measured:
        run()
        before, now = now, perf_counter()
        taken.append(now - before)
    return taken


def at(ordered: Sequence[float], share: float) -> float:
    """The sample that ``share`` of the others are not above."""
    return ordered[round(share * (len(ordered) - 1))]


def summary(workload: Workload, variant: Variant, base: Variant) -> dict[str, Any]:
    """Times in seconds per iteration; ``speed`` at the median; ``ratio`` above 1 is faster than NumPy."""
    ordered = sorted(variant.samples)
    ratios = sorted(b / v for b, v in zip(base.rounds, variant.rounds, strict=True))
    middle = statistics.median(ordered)
    return {
        "workload": workload.key,
        "title": workload.title,
        "variant": variant.name,
        "samples": len(ordered),
        "min": ordered[0],
        "p50": middle,
        "p95": at(ordered, 0.95),
        "mean": statistics.fmean(ordered),
        "std": statistics.pstdev(ordered),
        "speed": workload.amount / middle,
        "unit": workload.unit,
        "ratio": statistics.median(ratios),
        "ratio from": at(ratios, 0.25),
        "ratio to": at(ratios, 0.75),
        "error": variant.error if variant.result is not None else None,
        **variant.counts,
    }


def run(workload: Workload, devices: Sequence[str], torch_too: bool, seconds: float) -> list[dict[str, Any]]:
    variants = prepare(workload, devices, torch_too)
    measure(variants, seconds)
    return [summary(workload, variant, variants[0]) for variant in variants]


# -- telling -------------------------------------------------------------------------------------------------
def machine(devices: Sequence[str]) -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "rasptorch": rt.__version__,
        "devices": {name: rt.device(name).driver.traits.name for name in devices},
        "load": os.getloadavg(),
    }


def _time(seconds: float) -> str:
    for scale, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


HEADER = (
    "variant",
    "min",
    "p50",
    "p95",
    "mean",
    "std",
    "speed at p50",
    "x NumPy",
    "dispatches",
    "submissions",
    "allocations",
)


def row(result: dict[str, Any]) -> tuple[str, ...]:
    counts = (f"{result[name]:g}" if name in result else "" for name in COUNTED[:3])
    times = (_time(result[name]) for name in ("min", "p50", "p95", "mean", "std"))
    return (
        result["variant"],
        *times,
        f"{result['speed']:.4g} {result['unit']}",
        f"{result['ratio']:.2f} ({result['ratio from']:.2f}-{result['ratio to']:.2f})",
        *counts,
    )


def table(results: Sequence[dict[str, Any]], markdown: bool) -> str:
    """One workload's variants as text or as a Markdown table."""
    rows = [HEADER, *(row(result) for result in results)]
    if markdown:
        rows.insert(1, ("---", *["---:"] * (len(HEADER) - 1)))
        lines = ["| " + " | ".join(cells) + " |" for cells in rows]
        return f"### {results[0]['title']}\n\n" + "\n".join(lines) + "\n"
    return f"{results[0]['workload']}: {results[0]['title']}\n{columns(rows, 1)}\n"


def heading(about: dict[str, Any], markdown: bool) -> str:
    named = "; ".join(f"{name}: {text}" for name, text in about["devices"].items())
    line = (
        f"{about['platform']}, {about['cores']} cores, Python {about['python']}, NumPy {about['numpy']}; "
        f"{named}; load {about['load'][0]:.2f}"
    )
    note = (
        "Times per iteration; x NumPy: median of the rounds' ratios (and their quartiles), above 1 is faster; counts per iteration."
    )
    return f"{line}.\n{'' if not markdown else chr(10)}{note}\n"


# -- beside others -------------------------------------------------------------------------------------------
def compared(results: Sequence[dict[str, Any]], old: dict[str, Any]) -> str:
    """What changed since an earlier run, by the medians: above 1 is faster now. ``least`` compares the quickest samples."""
    before = {(r["workload"], r["variant"]): r for r in old["results"]}
    pairs = [(r, before[key]) for r in results if (key := (r["workload"], r["variant"])) in before]
    lines = [("workload", "variant", "p50 before", "p50 now", "faster", "least", "against NumPy before", "now")]
    lines += [
        (
            new["workload"], new["variant"], _time(was["p50"]), _time(new["p50"]), f"{was['p50'] / new['p50']:.2f}x",
            f"{was['min'] / new['min']:.2f}x", f"{was['ratio']:.2f}", f"{new['ratio']:.2f}",
        )
        for new, was in pairs
    ]  # fmt: skip
    return columns(lines, 2) if pairs else "nothing in common"


# -- the command line ----------------------------------------------------------------------------------------
def available(wanted: Sequence[str]) -> list[str]:
    found = []
    for name in wanted:
        try:
            rt.device(name)
            found.append(name)
        except MissingDeviceError as problem:
            print(f"left out: {name}: {problem}", file=sys.stderr)
    return found


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "benchmark.py", description="Measure rasptorch beside NumPy on this machine."
    )
    parser.add_argument(
        "--only", default="", help="workloads, by the beginning of their name, separated by commas"
    )
    parser.add_argument("--devices", default="cpu,gpu", help="rasptorch devices (default: cpu,gpu)")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each variant (default: 1)")
    parser.add_argument("--torch", action="store_true", help="measure PyTorch too, if it is installed")
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
    parser.add_argument("--json", metavar="FILE", help="write all results there too")
    parser.add_argument("--compare", metavar="FILE", help="show what changed since an earlier --json")
    parser.add_argument("--peers", metavar="FOLDER", help="run its bench_*.py too, where their libraries are installed")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    devices = available([name for name in options.devices.split(",") if name])
    workloads = [make() for make in WORKLOADS]
    starts = tuple(name for name in options.only.split(",") if name)
    chosen = [w for w in workloads if not starts or w.key.startswith(starts)]
    if not chosen:
        print(
            f"there is no {options.only}; there are: {', '.join(w.key for w in workloads)}", file=sys.stderr
        )
        return 2
    about = machine(devices)
    print(heading(about, options.markdown))
    results = []
    for workload in chosen:
        rows = run(workload, devices, options.torch, options.seconds)
        results += rows
        print(table(rows, options.markdown), flush=True)
    others = peers(Path(options.peers), options.seconds, [w.key for w in chosen]) if options.peers else []
    if options.peers:
        print(f"peers, by their own scripts\n{peers_table(others)}\n")
    if options.compare:
        old = json.loads(Path(options.compare).read_text("utf-8"))
        print(f"since {options.compare} (load then {old['machine']['load'][0]:.2f})\n{compared(results, old)}\n")
    if options.json:
        content = {"machine": about, "results": results, "peers": others}
        Path(options.json).write_text(json.dumps(content, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
