"""What the programs of several optimisers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..ops.program import ProgramWriter

# What weight decay does: nothing, adds to the gradient, or shrinks the parameter.
NONE, COUPLED, DECOUPLED = range(3)


def decays_of(group: Mapping[str, Any]) -> int:
    """Which of the three the options of a parameter group ask for."""
    if group["weight_decay"] == 0:
        return NONE
    return DECOUPLED if group["decoupled_weight_decay"] else COUPLED


def gradient_of(
    write: ProgramWriter, maximize: int, decays: int, parameter: int, gradient: int, decay: int
) -> int:
    """The gradient of what is to be made smaller, with weight decay's share."""
    gradient = write("neg", gradient) if maximize else gradient
    return write("add", gradient, write("mul", parameter, decay)) if decays else gradient


def mean_of(write: ProgramWriter, mean: int, value: int, take: int) -> int:
    """A running mean that takes in ``take`` of ``value``."""
    return write("add", mean, write("mul", write("sub", value, mean), take))


def square_mean_of(write: ProgramWriter, square: int, value: int, keep: int, take: int) -> int:
    """A running mean of squares that keeps ``keep`` of itself and takes in ``take`` of ``value`` squared."""
    return write("add", write("mul", square, keep), write("mul", write("mul", value, value), take))
