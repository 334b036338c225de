"""``detect_anomaly``: errors and NaN in backward are traced to the operation in forward that they belong to.

For debugging: every gradient is read back, so every node of the graph waits for the device.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from ..runtime.errors import RasptorchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..tensor import Tensor
    from .node import Node

active = False
check_nan = True
_SHOWN = 8


class AnomalyError(RasptorchError, RuntimeError):
    """A gradient has NaN in it."""


class set_detect_anomaly:
    """``with set_detect_anomaly(True):``; also takes effect at once when merely called. For the whole process."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = (active, globals()["check_nan"])
        _switch(mode, check_nan)

    def __enter__(self) -> None:
        """On since it was made."""

    def __exit__(self, *_: object) -> None:
        _switch(*self._before)


class detect_anomaly(set_detect_anomaly):
    """``with detect_anomaly():``: operations note where they were called, and gradients are looked at for NaN (which waits)."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)


def _switch(mode: bool, nan: bool) -> None:
    global active, check_nan
    active, check_nan = mode, nan


def is_anomaly_enabled() -> bool:
    """Whether anomalies are being looked for."""
    return active


def place() -> str:
    """The innermost calls, those inside this package left out."""
    frames = [f for f in traceback.extract_stack() if "/rasptorch/" not in f.filename.replace("\\", "/")]
    return "".join(traceback.format_list(frames[-_SHOWN:]))


def explain(node: Node, problem: BaseException) -> None:
    """Add to an error in ``node``'s backward where its forward was called."""
    if node.made_at is not None:
        problem.add_note(f"{node.name} was called here in forward:\n{node.made_at}")


def look(node: Node, gradients: Sequence[Tensor | None]) -> None:
    """Raise `AnomalyError` if one of the gradients that ``node`` computed has NaN in it. Waits."""
    for number, gradient in enumerate(gradients):
        if gradient is None or not gradient.dtype.is_floating_point or gradient.numel() == 0:
            continue
        # NaN is what does not equal itself; the largest of the answers is read back.
        if bool(gradient.detach().isnan().any().readback().wait()):
            shape = list(gradient.shape)
            problem = AnomalyError(f"the gradient that {node.name} computed for its input {number} (shape {shape}) has NaN in it")
            explain(node, problem)
            raise problem
