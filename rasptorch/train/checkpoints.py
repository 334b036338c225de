"""Checkpoints of a training: when they are due, and writing them in a thread while the training goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..io.checkpoint import Saving
from ..runtime.errors import RasptorchError


class ResumeError(RasptorchError, ValueError):
    """The checkpoint is of another kind of training than the one that is to go on from it."""


@dataclass(frozen=True)
class Checkpoint:
    """Where to write checkpoints, and when: every so many epochs and, if given, every so many steps.

    The file is replaced as a whole each time. A checkpoint that becomes due while the last one is still being written is written
    after the step at which that is done.
    """

    path: str | os.PathLike[str]
    every_epochs: int = 1
    every_steps: int | None = None

    def __post_init__(self) -> None:
        if self.every_epochs < 1 or (self.every_steps is not None and self.every_steps < 1):
            raise ValueError(f"Checkpoint: every_epochs and every_steps are at least 1, got {self.every_epochs} and {self.every_steps}")

    @property
    def exists(self) -> bool:
        """Whether there is one."""
        return Path(self.path).exists()


class Writer:
    """Writes one checkpoint at a time in a thread of its own."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._due = False

    def note(self, step: int | None, epoch: int | None) -> None:
        """A step or an epoch is done: is a checkpoint due?"""
        every = self.checkpoint.every_steps
        if step is not None and every is not None and step % every == 0:
            self._due = True
        if epoch is not None and epoch % self.checkpoint.every_epochs == 0:
            self._due = True

    def write_if_due(self, state: Callable[[], Any]) -> None:
        """Take a snapshot and have it written. Never waits: while the thread is busy, the checkpoint stays due."""
        if self._thread is not None and not self._thread.is_alive():
            self.finish()
        if not self._due or self._thread is not None:
            return
        self._due = False
        saving = Saving(state())
        self._thread = threading.Thread(target=self._write, args=(saving,), name="checkpoint writer")
        self._thread.start()

    def write_now(self, saving: Saving) -> None:
        """Write this one, after the one that is being written. Blocks."""
        self.finish()
        self._due = False
        saving.write(self.checkpoint.path)

    def _write(self, saving: Saving) -> None:
        try:
            saving.write(self.checkpoint.path)
        except BaseException as problem:
            problem.add_note(f"raised while the checkpoint {os.fspath(self.checkpoint.path)} was written")
            self._failure = problem

    @property
    def due(self) -> bool:
        """Whether one still has to be written."""
        return self._due

    def give_up(self, problem: BaseException) -> None:
        """Wait for the thread because of ``problem``, which is told of what kept it from writing."""
        try:
            self.finish()
        except Exception as other:
            problem.add_note(f"besides, the checkpoint {os.fspath(self.checkpoint.path)} could not be written: {other!r}")

    def finish(self) -> None:
        """Wait for the thread; raise what kept it from writing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        problem, self._failure = self._failure, None
        if problem is not None:
            raise problem


def as_checkpoint(given: Any) -> Checkpoint | None:
    """``fit(checkpoint=...)``: a path, or a `Checkpoint`."""
    if given is None or isinstance(given, Checkpoint):
        return given
    if isinstance(given, (str, os.PathLike)):
        return Checkpoint(given)
    raise TypeError(f"fit: checkpoint is a path or a rasptorch.train.Checkpoint, got {given!r}")
