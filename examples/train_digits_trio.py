"""Train a small network on scikit-learn's digits under Trio: batches are made in worker threads while the
device computes.

python examples/train_digits_trio.py --device auto --epochs 30 --seed 0

Three tasks: one has threads make the batches ahead of time, one enqueues training steps whenever the device
has room for more, one awaits the losses, only to print them. Batches and losses are those of
`train_digits.py`.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import trio
from digits import Digits, Images, Labels, Printer, Training, choose_device, load, parse, progress
from numpy.typing import NDArray

import rasptorch as rt

AHEAD = 4  # batches made before they are needed

Batch = tuple[int, Images, Labels]  # with its epoch
Report = tuple[int, rt.Readback[NDArray[np.float32]]]


async def make_batches(
    options: argparse.Namespace, data: Digits, batches: trio.MemorySendChannel[Batch]
) -> None:
    """Every batch of every epoch in order, each made in a thread."""
    async with batches:
        for epoch in range(1, options.epochs + 1):
            for number in range(data.batches(options.batch_size)):
                made = await trio.to_thread.run_sync(data.batch, options.seed, epoch, number, options.batch_size)
                await batches.send((epoch, *made))


async def train(
    options: argparse.Namespace,
    data: Digits,
    device: rt.Device,
    batches: trio.MemoryReceiveChannel[Batch],
    reports: trio.MemorySendChannel[Report],
) -> None:
    """Enqueue a step per batch and a report per epoch; the only thing awaited of the device is room for more."""
    training, stream = Training(options, data, device), device.stream()
    per_epoch, done = data.batches(options.batch_size), 0
    with progress(options.epochs * per_epoch) as bar:
        async with reports:
            async for epoch, images, labels in batches:
                training.step(images, labels)
                done += 1
                bar.update()
                if done % per_epoch == 0:
                    report = training.report().readback()
                    stream.flush()
                    await reports.send((epoch, report))
                await stream.has_room()


async def print_reports(printer: Printer, reports: trio.MemoryReceiveChannel[Report]) -> None:
    """A line per epoch as its values arrive; training is already further."""
    async for epoch, report in reports:
        printer.epoch(epoch, await report)


async def run(options: argparse.Namespace) -> float:
    """Returns the last accuracy on the test images."""
    device = choose_device(options.device)
    data = await trio.to_thread.run_sync(load, options.seed)
    to_train, batches = trio.open_memory_channel[Batch](AHEAD)
    to_print, reports = trio.open_memory_channel[Report](math.inf)
    printer = Printer(data)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_batches, options, data, to_train)
        nursery.start_soon(train, options, data, device, batches, to_print)
        nursery.start_soon(print_reports, printer, reports)
    return printer.accuracy


def main(arguments: list[str] | None = None) -> float:
    """Returns the last accuracy on the test images."""
    options = parse("Train a small network on scikit-learn's digits under Trio.", arguments)
    return trio.run(run, options)


if __name__ == "__main__":
    main()
