"""Callbacks: what is to happen at points of a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..runtime.errors import RasptorchError

if TYPE_CHECKING:
    from .loop import Training


class CallbackError(RasptorchError, ValueError):
    """Options of a callback that do not fit the training."""


class Callback:
    """Base of callbacks: every method does nothing unless a subclass defines it. None of them may wait.

    ``training`` has ``model``, ``optimizer``, ``device``, ``epoch`` (from 1), ``step`` (steps done so far), ``history``, and
    ``stop()``. What a callback needs to go on after a resume belongs into ``state_dict``.
    """

    def on_train_begin(self, training: Training) -> None:
        """Before the first step, after a checkpoint was loaded."""

    def on_epoch_begin(self, training: Training) -> None:
        """Before the first step of an epoch (of what is left of it, after a resume)."""

    def on_backward(self, training: Training) -> None:
        """Gradients are enqueued, the optimiser's step is not: the place to clip them."""

    def on_step_end(self, training: Training) -> None:
        """A step is enqueued."""

    def on_epoch_end(self, training: Training) -> None:
        """The epoch's figures are there: ``training.history[-1]``."""

    def on_train_end(self, training: Training) -> None:
        """After the last epoch."""

    def state_dict(self) -> dict[str, Any]:
        """What is to be kept in checkpoints."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""


class AtEpochEnd(Callback):
    """A plain function as a callback: called with the training at the end of every epoch."""

    def __init__(self, function: Callable[[Training], Any]) -> None:
        self._function = function

    def on_epoch_end(self, training: Training) -> None:
        """Call it."""
        self._function(training)


class EarlyStopping(Callback):
    """Stop when ``monitor`` has not become better by more than ``min_delta`` for ``patience`` epochs.

    ``monitor`` is a figure of the history; None: ``val_loss`` where there is validation, else ``loss``. ``mode`` is ``min`` or
    ``max``. ``restore_best`` keeps a copy of the model's best state on its device and puts it back at the end.
    """

    def __init__(
        self, monitor: str | None = None, patience: int = 3, min_delta: float = 0.0, mode: str = "min", restore_best: bool = False
    ) -> None:
        if mode not in ("min", "max"):
            raise CallbackError(f"EarlyStopping: mode is 'min' or 'max', got {mode!r}")
        if patience < 1 or min_delta < 0:
            raise CallbackError(f"EarlyStopping: patience is at least 1 and min_delta at least 0, got {patience} and {min_delta}")
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.restore_best = restore_best
        self.best: float | None = None
        self.best_epoch = 0
        self._waited = 0
        self._state: dict[str, Any] | None = None

    def on_epoch_end(self, training: Training) -> None:
        """Compare."""
        figures = training.history[-1]
        name = self.monitor or ("val_loss" if "val_loss" in figures else "loss")
        if name not in figures:
            raise CallbackError(f"EarlyStopping: {name!r} is not measured; there are {', '.join(figures)}")
        if self._is_better(float(figures[name])):
            self.best, self.best_epoch, self._waited = float(figures[name]), training.epoch, 0
            if self.restore_best:
                self._state = {key: value.clone() for key, value in training.model.state_dict().items()}
        else:
            self._waited += 1
            if self._waited >= self.patience:
                training.stop()

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        return value < self.best - self.min_delta if self.mode == "min" else value > self.best + self.min_delta

    def on_train_end(self, training: Training) -> None:
        """Put the best state back."""
        if self._state is not None:
            training.model.load_state_dict(self._state)

    def state_dict(self) -> dict[str, Any]:
        """Best value, how long ago it was, and the model's state then."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self._waited, "state": self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self._waited, self._state = state["waited"], state["state"]


def as_callbacks(callbacks: Iterable[Any], early_stopping: Any) -> list[Callback]:
    """Objects of `Callback`; functions become ones. ``early_stopping``: an `EarlyStopping`, or its patience."""
    found: list[Callback] = []
    for callback in callbacks:
        if isinstance(callback, Callback):
            found.append(callback)
        elif callable(callback) and not isinstance(callback, type):
            found.append(AtEpochEnd(callback))
        else:
            raise TypeError(f"fit: callbacks are objects of rasptorch.train.Callback, or functions; got {callback!r}")
    if isinstance(early_stopping, int) and not isinstance(early_stopping, bool):
        early_stopping = EarlyStopping(patience=early_stopping)
    if early_stopping is not None:
        if not isinstance(early_stopping, Callback):
            raise TypeError(f"fit: early_stopping is an EarlyStopping or a number of epochs, got {early_stopping!r}")
        found.append(early_stopping)
    return found
