"""What a training shows: a bar on terminals (tqdm, extra ``train``), lines otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Progress(Protocol):
    """Told how far a training is."""

    def begin(self, epoch: int, epochs: int, steps: int | None, done: int) -> None:
        """An epoch begins, of which ``done`` of ``steps`` (None: not known) are done already."""

    def step(self) -> None:
        """Another step is enqueued."""

    def line(self, text: str) -> None:
        """Something to be read."""

    def end(self) -> None:
        """The epoch, or the training, is over."""


class Lines:
    """Lines only, by a function that takes a text: ``print``."""

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write

    def begin(self, epoch: int, epochs: int, steps: int | None, done: int) -> None:
        """Nothing is to be shown."""

    def step(self) -> None:
        """Nothing is to be shown."""

    def line(self, text: str) -> None:
        self._write(text)

    def end(self) -> None:
        """Nothing is to be shown."""


class Bar:
    """A bar per epoch on standard error, lines above it."""

    def __init__(self, tqdm: Any) -> None:
        self._tqdm: Any = type("Bar", (tqdm,), {"monitor_interval": 0})  # without the thread that tqdm keeps to the end of the process
        self._bar: Any = None

    def begin(self, epoch: int, epochs: int, steps: int | None, done: int) -> None:
        self._bar = self._tqdm(total=steps, initial=done, desc=f"epoch {epoch}/{epochs}", unit="step", leave=False)

    def step(self) -> None:
        self._bar.update()

    def line(self, text: str) -> None:
        self._tqdm.write(text, file=sys.stdout)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def choose(progress: bool | Callable[[str], Any]) -> Progress:
    """What ``fit(progress=...)`` asks for: False nothing; True a bar where there is a terminal and tqdm, else lines; a function lines."""
    if not isinstance(progress, bool):
        return Lines(progress)
    if not progress:
        return Lines(lambda text: None)
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            return Lines(_print)
        return Bar(tqdm)
    return Lines(_print)


def _print(text: str) -> None:
    print(text, flush=True)


def figures_text(figures: Mapping[str, Any]) -> str:
    """``loss 0.123456  accuracy 0.9000``: the figures that are single numbers, without epoch, times and learning rate."""
    hidden = ("epoch", "seconds", "samples_per_second", "lr")
    parts = []
    for name, value in figures.items():
        if name not in hidden and isinstance(value, (int, float)):
            parts.append(f"{name} {value:.6f}" if name.endswith("loss") else f"{name} {value:.4f}")
    return "  ".join(parts)
