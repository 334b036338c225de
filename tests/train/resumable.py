"""Run by tests in a process of its own: a training that writes checkpoints, to be killed and started again.

``python -m tests.train.resumable CHECKPOINT RESULT MODE WORKERS DELAY``: prints a line per step; writes the result when done.
"""

from __future__ import annotations

import sys
from time import sleep

import rasptorch as rt
from rasptorch import train

from .small import figures, run, training

EPOCHS = 5


class Talking(train.Callback):
    """Says how far it is, and takes its time."""

    def __init__(self, delay: float) -> None:
        self.delay = delay

    def on_step_end(self, training: train.Training) -> None:
        print(f"step {training.step}", flush=True)
        sleep(self.delay)


def main() -> None:
    path, result, mode, workers, delay = sys.argv[1:]
    arguments, options = training("cpu", int(workers), epochs=EPOCHS)
    checkpoint = train.Checkpoint(path, every_steps=2)
    history = run(mode, *arguments, **options, callbacks=[Talking(float(delay))], checkpoint=checkpoint, resume=True)
    state = {name: value.detach() for name, value in arguments[0].named_parameters()}
    rt.save({"figures": figures(history), "parameters": state}, result)


if __name__ == "__main__":
    main()
