"""Train a small network on scikit-learn's digits under Trio: batches are made in worker threads while the
device computes.

python examples/train_digits_trio.py --device auto --epochs 30 --seed 0

Two tasks: one enqueues training steps, whenever the loader's threads have made a batch and the device has
room for more; one awaits the losses, only to print them. Batches and losses are those of `train_digits.py`.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import trio
from digits import Digits, Printer, Training, choose_device, load, parse, progress
from numpy.typing import NDArray

import rasptorch as rt

WORKERS = 2  # threads that make batches before they are needed

Report = tuple[int, rt.Readback[NDArray[np.float32]]]  # of an epoch


async def train(
    options: argparse.Namespace, data: Digits, device: rt.Device, reports: trio.MemorySendChannel[Report]
) -> None:
    """Enqueue a step per batch and a report per epoch; the only thing awaited of the device is room for more."""
    training, stream = Training(options, data, device), device.stream()
    batches = data.loader(options, device, WORKERS)
    with progress(options.epochs * len(batches)) as bar:
        async with reports:
            for epoch in range(1, options.epochs + 1):
                async for images, labels in batches:
                    training.step(images, labels)
                    bar.update()
                    await stream.has_room()
                report = training.report().readback()
                stream.flush()
                await reports.send((epoch, report))


async def print_reports(printer: Printer, reports: trio.MemoryReceiveChannel[Report]) -> None:
    """A line per epoch as its values arrive; training is already further."""
    async for epoch, report in reports:
        printer.epoch(epoch, await report)


async def run(options: argparse.Namespace) -> float:
    """Returns the last accuracy on the test images."""
    device = choose_device(options.device)
    data = await trio.to_thread.run_sync(load, options.seed)
    to_print, reports = trio.open_memory_channel[Report](math.inf)
    printer = Printer(data)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(train, options, data, device, to_print)
        nursery.start_soon(print_reports, printer, reports)
    return printer.accuracy


def main(arguments: list[str] | None = None) -> float:
    """Returns the last accuracy on the test images."""
    options = parse("Train a small network on scikit-learn's digits under Trio.", arguments)
    return trio.run(run, options)


if __name__ == "__main__":
    main()
