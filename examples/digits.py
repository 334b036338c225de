"""What the two digits programs share: the data, the model, the batches, the device and what is printed.

Images are scikit-learn's bundled digits: 1,797 of 8 x 8 pixels, no download. The loader's seed decides every
batch, so the script and the Trio program train on exactly the same ones, in whichever thread they are made.
"""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import rasptorch as rt
from rasptorch import data as datasets
from rasptorch import nn

try:
    import sklearn  # noqa: F401  # the digits come with it
    from tqdm import tqdm
except ImportError as problem:
    raise SystemExit(
        f"this example needs {problem.name}: pip install 'rasptorch[examples]' "
        "(or: pip install scikit-learn tqdm)"
    ) from None

Images = NDArray[np.float32]
Labels = NDArray[np.int32]

SIDE, CLASSES = 8, 10
TEST_IMAGES = 360


@dataclass(frozen=True)
class Digits:
    """Images as ``[n, 8, 8]`` with values from 0 to 1, split once by the seed; mean and deviation are the
    training images'.
    """

    images: Images
    labels: Labels
    test_images: Images
    test_labels: Labels
    mean: Images
    deviation: np.float32

    def standardised(self, images: Images) -> Images:
        """``[n, 64]``, zero on average at every pixel, with variance 1 over all of them."""
        return np.asarray((images - self.mean) / self.deviation, np.float32).reshape(len(images), -1)

    def loader(self, options: argparse.Namespace, device: rt.Device, workers: int = 0) -> datasets.DataLoader:
        """Training batches for one epoch after the other."""
        return datasets.DataLoader(
            datasets.TensorDataset(self.images, self.labels),
            options.batch_size,
            shuffle=True,
            num_workers=workers,
            seed=options.seed,
            device=device,
            transform=datasets.Compose([moved, self.standardised]),
        )


@rt.record_function("make a batch")  # shown by tools/profile.py
def moved(images: Images) -> Images:
    """Half of the images move by a pixel, down or up, and half to a side."""
    shifts = datasets.batch_random().choice([0, 1, 1, 2], (len(images), 2))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    pieces = (whole[y : y + SIDE, x : x + SIDE] for whole, (y, x) in zip(padded, shifts, strict=True))
    return np.stack(list(pieces))


def load(seed: int) -> Digits:
    """The digits, split into training and test images by the seed."""
    found, found_labels = datasets.Digits().tensors
    order = np.random.default_rng(seed).permutation(len(found))
    images = found[order, 0]
    labels = found_labels[order].astype(np.int32)
    train = images[TEST_IMAGES:]
    return Digits(
        train,
        labels[TEST_IMAGES:],
        images[:TEST_IMAGES],
        labels[:TEST_IMAGES],
        train.mean(axis=0),
        (train - train.mean(axis=0)).std(),
    )


def make_model(device: rt.Device) -> nn.Sequential:
    """64 pixels to 10 digits, with two hidden layers."""
    return nn.Sequential(
        OrderedDict(
            [
                ("fc1", nn.Linear(SIDE * SIDE, 128, device=device)),
                ("act1", nn.ReLU()),
                ("drop", nn.Dropout(0.1)),
                ("fc2", nn.Linear(128, 64, device=device)),
                ("act2", nn.ReLU()),
                ("fc3", nn.Linear(64, CLASSES, device=device)),
            ]
        )
    )


class Training:
    """The model, its optimiser and the test images on a device. Everything here enqueues; nothing waits."""

    def __init__(self, options: argparse.Namespace, data: Digits, device: rt.Device) -> None:
        rt.manual_seed(options.seed)
        self.device = device
        self.model = make_model(device)
        self.optimizer = rt.optim.Adam(self.model.parameters(), lr=options.lr)
        self._test = rt.tensor(data.standardised(data.test_images), device=device)
        self._wanted = rt.tensor(np.eye(CLASSES, dtype=np.float32)[data.test_labels], device=device)
        self._total = rt.zeros((), device=device)

    def step(self, x: rt.Tensor, target: rt.Tensor) -> None:
        """One step on a batch, submitted as a whole; its loss is added up on the device."""
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(x), target)
        loss.backward()
        self.optimizer.step()
        with rt.no_grad():
            self._total.add_(loss, alpha=len(x))
        # A submission per step: each is like the one before, so its plan and its recording are used again.
        self.device.stream().flush()

    def report(self) -> rt.Tensor:
        """The sum of all losses since the last report and the number of test images that were right, as
        ``[2]``.
        """
        self.model.eval()
        with rt.no_grad():
            logits = self.model(self._test)
            best = (logits == logits.amax(1, keepdim=True)).float()
            out = rt.zeros(2, device=self.device)
            out[0] = self._total
            out[1] = (best * self._wanted).sum()
            self._total.zero_()
        self.model.train()
        return out


# -- on the terminal ----------------------------------------------------------------------------------------
class Progress(Protocol):
    """A progress bar, or nothing at all."""

    def update(self, n: int = 1) -> object:
        """``n`` more batches are enqueued."""


class Quiet:
    """Where standard error is no terminal: lines only."""

    def update(self, n: int = 1) -> None:
        """Nothing is to be shown."""


@contextmanager
def progress(batches: int) -> Iterator[Progress]:
    """A bar over all batches of the run, on terminals."""
    if sys.stderr.isatty():
        with tqdm(total=batches, unit="batch", leave=False) as bar:
            yield bar
    else:
        yield Quiet()


class Printer:
    """Prints the line of each epoch, and keeps the last accuracy."""

    def __init__(self, data: Digits) -> None:
        self._images, self._test_images = len(data.images), len(data.test_images)
        self._began = perf_counter()
        self.accuracy = 0.0

    def epoch(self, epoch: int, values: NDArray[np.float32]) -> None:
        """``values`` is what `Training.report` gave for this epoch."""
        now = perf_counter()
        speed, self._began = self._images / (now - self._began), now
        self.accuracy = float(values[1]) / self._test_images
        tqdm.write(
            f"epoch {epoch:3d}  loss {values[0] / self._images:.6f}  test accuracy {self.accuracy:.4f}  "
            f"{speed:8.0f} samples/s",
            file=sys.stdout,
        )
        sys.stdout.flush()


def parse(description: str, arguments: list[str] | None) -> argparse.Namespace:
    """The options of both programs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--device", default="auto", help="cpu, gpu, vulkan:N, or auto: gpu if there is one (default)"
    )
    parser.add_argument("--epochs", type=_positive, default=30)
    parser.add_argument("--batch-size", type=_positive, default=64)
    parser.add_argument("--lr", type=float, default=5e-3, help="learning rate of Adam")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the split, the starting weights, the batches and dropout"
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def choose_device(name: str) -> rt.Device:
    """The device asked for, and a line that says which it is; for ``auto`` the gpu if there is one, else the
    cpu.
    """
    try:
        device = rt.device("gpu" if name == "auto" else name)
        why = "a gpu device was found" if name == "auto" else "as asked for"
    except rt.MissingDeviceError as problem:
        if name != "auto":
            raise SystemExit(str(problem)) from None
        device, why = rt.device("cpu"), f"no gpu device: {problem}"
    except rt.DeviceError as problem:
        raise SystemExit(str(problem)) from None
    print(f"device {device} ({device.driver.traits.name}): {why}", flush=True)
    return device
