"""What the programs of several optimisers have in common."""

from __future__ import annotations

from ..ops.program import ProgramWriter


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
