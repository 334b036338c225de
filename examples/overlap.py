"""The same training with and without overlap: how much of the loading is hidden behind the computing?

    python examples/overlap.py --device cpu

Every batch takes time to load (a disk, a network, a decoder: here it sleeps, about as long as a training step takes to compute).
Without overlap each step waits for its batch, and then for the device. With it, two threads make the batches of the next steps while
the device computes; once in a script, once under Trio. Losses are the same to the last bit. The times depend on what else the
machine is doing; that batches were being loaded before anybody asked for them does not, and is what the program insists on.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter, sleep
from typing import Any

import numpy as np
import trio

import rasptorch as rt
from rasptorch import data, nn
from rasptorch import functional as F

PIXELS, CLASSES, BATCH = 256, 10, 128
MOST_LOADING = 0.02  # seconds per batch


class Slow(data.Dataset[Any]):
    """Random images, of which a batch takes ``seconds`` to load."""

    def __init__(self, batches: int, seconds: float = 0.0) -> None:
        random = np.random.default_rng(0)
        self.images = random.normal(size=(batches * BATCH, PIXELS)).astype(np.float32)
        self.labels = random.integers(0, CLASSES, batches * BATCH)
        self.seconds = seconds
        self.begun = 0  # batches whose loading has begun

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.begun += 1
        sleep(self.seconds)
        return [(self.images[k], self.labels[k]) for k in indices]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class Run:
    """One epoch: seconds in all and waiting for batches, batches whose loading began before they were asked for, the sum of losses."""

    seconds: float = 0.0
    waited: float = 0.0
    early: int = 0
    loss: float = 0.0


class Training:
    """A model and its optimiser. `step` only enqueues."""

    def __init__(self, device: rt.Device) -> None:
        rt.manual_seed(0)
        sizes = (PIXELS, 512, 512, CLASSES)
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b, device=device), nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1])
        self.optimizer = rt.optim.SGD(self.model.parameters(), lr=0.05)
        self.total = rt.zeros((), device=device)

    def step(self, batch: Any) -> None:
        images, labels = batch
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(images), labels)
        loss.backward()
        self.total.add_(loss.detach())
        self.optimizer.step()


def in_a_script(dataset: Slow, device: rt.Device, workers: int) -> Run:
    """One epoch; without workers, also each step is waited for."""
    training, run, taken = Training(device), Run(), 0
    began, dataset.begun = perf_counter(), 0
    with iter(data.DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, seed=1, device=device)) as batches:
        while True:
            asked = perf_counter()
            run.early += dataset.begun > taken
            batch = next(batches, None)
            run.waited += perf_counter() - asked
            if batch is None:
                break
            taken += 1
            training.step(batch)
            if not workers:
                rt.synchronize(device)
    run.loss = training.total.item()
    run.seconds = perf_counter() - began
    return run


async def under_trio(dataset: Slow, device: rt.Device, workers: int) -> Run:
    """One epoch, in a task that awaits batches and room on the device."""
    training, run, taken, stream = Training(device), Run(), 0, rt.current_stream(device)
    began, dataset.begun = perf_counter(), 0
    async with aiter(data.DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, seed=1, device=device)) as batches:
        while True:
            asked = perf_counter()
            run.early += dataset.begun > taken
            batch = await anext(batches, None)
            run.waited += perf_counter() - asked
            if batch is None:
                break
            taken += 1
            training.step(batch)
            await stream.has_room()
    run.loss = await training.total.item()
    run.seconds = perf_counter() - began
    return run


def main(arguments: list[str] | None = None) -> None:
    """Prints the times; `SystemExit` where nothing was hidden, or a loss changed."""
    parser = argparse.ArgumentParser(description="The same training with and without overlap.")
    parser.add_argument("--device", default="cpu", help="cpu, gpu or vulkan:N")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args(arguments)
    try:
        device = rt.device(options.device)
    except rt.DeviceError as problem:
        raise SystemExit(str(problem)) from None
    in_a_script(Slow(3), device, 0)  # kernels are made, plans found
    # The quickest of several short runs: whatever else this machine is doing makes steps slower, not quicker.
    computing = min((run.seconds - run.waited) / 2 for run in (in_a_script(Slow(2), device, 0) for _ in range(12)))
    dataset = Slow(options.steps, min(computing, MOST_LOADING))
    times = f"a step computes for {computing * 1e3:.1f} ms, a batch loads for {dataset.seconds * 1e3:.1f} ms"
    print(f"{options.steps} steps on {device}: {times}")
    plain = in_a_script(dataset, device, 0)
    print(f"without overlap      {plain.seconds:6.2f} s")
    shorter = min(plain.waited, plain.seconds - plain.waited)
    runs = {"overlapped, script": in_a_script(dataset, device, 2), "overlapped, Trio": trio.run(under_trio, dataset, device, 2)}
    for name, run in runs.items():
        hidden = min(1.0, max(0.0, (plain.seconds - run.seconds) / shorter))
        print(f"{name:20s} {run.seconds:6.2f} s: {hidden:.0%} of the shorter of both is hidden behind the longer; ", end="")
        print(f"{run.early} batches were on their way when they were asked for")
        if run.loss != plain.loss:
            raise SystemExit(f"the losses differ: {run.loss} and {plain.loss}")
        if plain.early or run.early < options.steps // 4:
            raise SystemExit("the batches were not loaded ahead of time")


if __name__ == "__main__":
    main()
