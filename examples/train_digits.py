"""Train a small network on scikit-learn's digits, as an ordinary blocking program.

    python examples/train_digits.py --device auto --epochs 30 --seed 0

`train_digits_trio.py` does the same under Trio, with the same batches and the same losses.
"""

from __future__ import annotations

from digits import Printer, Training, choose_device, load, parse, progress


def main(arguments: list[str] | None = None) -> float:
    """Returns the last accuracy on the test images."""
    options = parse("Train a small network on scikit-learn's digits.", arguments)
    device = choose_device(options.device)
    data = load(options.seed)
    training = Training(options, data, device)
    batches = data.loader(options, device)
    printer = Printer(data)
    with progress(options.epochs * len(batches)) as bar:
        for epoch in range(1, options.epochs + 1):
            for images, labels in batches:
                training.step(images, labels)
                bar.update()
            # The only place of an epoch where this program waits for the device.
            printer.epoch(epoch, training.report().readback().wait())
    return printer.accuracy


if __name__ == "__main__":
    main()
