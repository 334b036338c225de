"""All of a training as one nested dictionary: what a checkpoint holds, and how to go on from it, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..io.checkpoint import load
from ..ops.random import default_generator
from .checkpoints import ResumeError
from .history import History

if TYPE_CHECKING:
    from os import PathLike

    from .loop import Training

KIND = "rasptorch.train"
VERSION = 1


def _loader_state(loader: Any) -> Any:
    """None for loaders that have no state."""
    return loader.state_dict() if hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict") else None


def loader_states(training: Training) -> dict[str, Any]:
    """Of both loaders: what the next pass follows from."""
    return {"train": _loader_state(training.train_loader), "val": _loader_state(training.val_loader)}


def capture(training: Training) -> dict[str, Any]:
    """The state after the last complete step. Tensors are the training's own: they have to be copied before the next step."""
    scheduler = training.scheduler
    return {
        "kind": KIND,
        "version": VERSION,
        "epoch": training.epoch,
        "batch": training.batch,
        "step": training.step,
        "model": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "callbacks": [callback.state_dict() for callback in training.callbacks],
        "loss": training.loss.state_dict(),
        "metrics": {metric.name: metric.state_dict() for metric in training.metrics},
        "history": training.history.epochs,
        "loaders": training.loaders,
        "generator": list(training.random_state),
        "stopping": training.stopping,
    }


def read(path: str | PathLike[str], training: Training) -> dict[str, Any]:
    """The content of a checkpoint, on the training's device. `ResumeError` where it does not fit. Nothing is changed."""
    state = load(path, device=training.device)
    if not isinstance(state, dict) or state.get("kind") != KIND or state.get("version") != VERSION:
        raise ResumeError(f"fit: {path} is not a checkpoint of a training (version {VERSION}); load it with rasptorch.load")
    names = [metric.name for metric in training.metrics]
    if list(state["metrics"]) != names:
        raise ResumeError(f"fit: {path} was written with metrics {list(state['metrics'])}, this training has {names}")
    if (state["scheduler"] is None) != (training.scheduler is None):
        raise ResumeError(f"fit: {path} was written {'without' if state['scheduler'] is None else 'with'} a scheduler")
    if len(state["callbacks"]) != len(training.callbacks):
        raise ResumeError(f"fit: {path} was written with {len(state['callbacks'])} callbacks, this training has {len(training.callbacks)}")
    return state


def restore(training: Training, state: dict[str, Any]) -> None:
    """Go on from ``state``. Only enqueues."""
    training.model.load_state_dict(state["model"])
    training.optimizer.load_state_dict(state["optimizer"])
    if training.scheduler is not None:
        training.scheduler.load_state_dict(state["scheduler"])
    for callback, kept in zip(training.callbacks, state["callbacks"], strict=True):
        callback.load_state_dict(kept)
    training.loss.load_state_dict(state["loss"])
    for metric in training.metrics:
        metric.load_state_dict(state["metrics"][metric.name])
    training.history = History(state["history"])
    training.epoch, training.batch, training.step = state["epoch"], state["batch"], state["step"]
    if training.step:
        training.optimizer.stepped = True  # else a schedule that goes on before the next step warns of a wrong order
    training.stopping = state["stopping"]
    training.loaders = state["loaders"]
    training.random_state = tuple(state["generator"])
    default_generator.set_state(training.random_state)
    loaders: tuple[tuple[Any, Any], ...] = (
        (training.val_loader, training.loaders["val"]),
        (training.train_loader, training.loaders["train"]),  # last: only its state may be older than the default generator's
    )
    for loader, kept in loaders:
        if kept is not None:
            loader.load_state_dict(kept)
