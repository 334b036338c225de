"""How much longer than the longer of loading and computing does a training take? ``python tools/overlap_figures.py [--device cpu]``

200 steps of `fit` and `fit_async` with a loader that sleeps for as long as a step computes. Every round measures, one after the other:
computing alone, loading alone by as many workers as there are, waiting for each batch and each step, with workers in a script, with
workers under Trio. Printed are medians of the rounds, and of their ratios to the longer of loading and computing in the same round.
Both are what was measured: a sleep is longer than it was asked to be, and a batch is more than the sleep.

``--device timed`` takes a device whose steps do nothing for a given time: what is left is what the loop and the loader cost
themselves, however busy the machine is.
"""

from __future__ import annotations

import argparse
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, sleep
from typing import Any

import numpy as np
import trio

import rasptorch as rt
from rasptorch import data, nn
from rasptorch import functional as F
from rasptorch.runtime.manual_driver import ManualDriver, manual_device
from rasptorch.train import Callback, Training, fit, fit_async

BATCH, PIXELS = 128, 256


class Slow(data.Dataset[Any]):
    """Rows of which a batch takes ``seconds`` to load, spent in sleep, which lets other threads run."""

    def __init__(self, batches: int, seconds: float) -> None:
        random = np.random.default_rng(0)
        self.rows = random.normal(size=(batches * BATCH, PIXELS)).astype(np.float32)
        self.labels = random.integers(0, 10, len(self.rows))
        self.seconds = seconds

    def __getitems__(self, indices: list[int]) -> data.Collated:
        if self.seconds:
            sleep(self.seconds)
        return data.Collated((self.rows[indices], self.labels[indices]))

    def __len__(self) -> int:
        return len(self.rows)


class InTurn(Callback):
    """Waits for every step: nothing overlaps."""

    def on_step_end(self, training: Training) -> None:
        """Wait."""
        training.device.stream().synchronize()


def timed(device: Any, steps: int, loading: float, workers: int, use_trio: bool, hidden: int) -> float:
    """Seconds of one epoch."""
    rt.manual_seed(0)
    model = nn.Sequential(nn.Linear(PIXELS, hidden, device=device), nn.ReLU(), nn.Linear(hidden, 10, device=device))
    optimizer = rt.optim.SGD(model.parameters(), lr=0.01)
    loader = data.DataLoader(Slow(steps, loading), BATCH, num_workers=workers)
    options: dict[str, Any] = {"loss_fn": F.cross_entropy, "device": device, "progress": False}
    options["callbacks"] = [InTurn()] if workers == 0 and loading else []
    rt.synchronize(device)
    began = perf_counter()
    if use_trio:

        async def main() -> None:
            await fit_async(model, optimizer, loader, **options)

        trio.run(main)
    else:
        fit(model, optimizer, loader, **options)
    return perf_counter() - began


def loading_alone(device: Any, steps: int, seconds: float, workers: int) -> float:
    """Seconds of one pass over the loader."""
    loader = data.DataLoader(Slow(steps, seconds), BATCH, num_workers=workers, device=device)
    began = perf_counter()
    for _ in loader:
        continue
    return perf_counter() - began


@contextmanager
def idle_device(seconds: float) -> Iterator[Any]:
    """A device on which every submission takes ``seconds`` and computes nothing."""
    driver = ManualDriver(null=True)
    driver.automatic = False
    with manual_device(driver) as (device, _):
        ended = threading.Event()

        def finish() -> None:
            free = perf_counter()  # when the device is done with what it has been given
            while not ended.is_set():
                if driver.unfinished:
                    free = max(free, perf_counter() - 1e-3) + seconds
                    sleep(max(0.0, free - perf_counter()))
                    driver.finish()
                else:
                    sleep(2e-4)

        thread = threading.Thread(target=finish)
        thread.start()
        try:
            yield device
        finally:
            ended.set()
            thread.join()


def rounds(device: Any, steps: int, count: int, hidden: int, workers: int) -> None:
    """Measure and print."""

    def measure(count: int, loading: float, workers: int, use_trio: bool) -> float:
        return timed(device, count, loading, workers, use_trio, hidden)

    measure(10, 0.0, 0, False)
    rows = []
    for _ in range(count):
        per_step = measure(steps // 4, 0.0, 0, False) / (steps // 4)
        computing = measure(steps, 0.0, 0, False)
        loading = loading_alone(device, steps, per_step, workers)
        plain, script, task = (measure(steps, per_step, *how) for how in ((0, False), (workers, False), (workers, True)))
        rows.append((computing, loading, plain, script, task))
    named = f"{workers} worker{'s' if workers > 1 else ''}"
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    print(f"{steps} steps on {device}, medians of {count} rounds: computing alone {medians[0]:.2f} s, loading alone {medians[1]:.2f} s")
    for k, name in ((2, "nothing overlapped"), (3, f"fit, {named}"), (4, f"fit_async, {named}")):
        ratios = sorted(row[k] / max(row[:2]) for row in rows)
        each = ", ".join(f"{r:.3f}" for r in ratios)
        print(f"{name:22s} {medians[k]:6.2f} s = {statistics.median(ratios):.3f} x max(L, C)   (rounds: {each})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Training time against the longer of loading and computing.")
    parser.add_argument("--device", default="timed", help="timed, cpu, gpu or vulkan:N")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=512, help="width of the model: how much there is to compute")
    parser.add_argument("--milliseconds", type=float, default=15.0, help="time of a step of the timed device")
    parser.add_argument("--workers", type=int, default=2, help="threads of the loader; each batch takes one of them as long as a step")
    options = parser.parse_args()
    if options.device == "timed":
        with idle_device(options.milliseconds / 1e3) as device:
            rounds(device, options.steps, options.rounds, options.hidden, options.workers)
    else:
        rounds(rt.device(options.device), options.steps, options.rounds, options.hidden, options.workers)


if __name__ == "__main__":
    main()
