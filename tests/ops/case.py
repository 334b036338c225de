"""A `Case` is run against PyTorch (values and gradients, on every device) and against central differences (first
and second order). ``run(m, *tensors)`` gets the library as ``m``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]
Run = Callable[..., Any]

_squaring = True


def squared(x: Any) -> Any:
    """``x * x``: an operation of it has a second derivative that is something."""
    return x * x if _squaring else x


@contextmanager
def no_squares() -> Iterator[None]:
    """Meanwhile operations get the inputs themselves: a square lies in memory in its own way, and is nowhere negative."""
    global _squaring
    _squaring = False
    try:
        yield
    finally:
        _squaring = True


@dataclass(frozen=True)
class Case:
    """``inputs`` are (shape, low, high). ``second``: whether the second derivative is checked (it exists and
    is smooth).
    """

    name: str
    run: Run
    inputs: tuple[tuple[Shape, float, float], ...]
    note: str = ""
    second: bool = True
    methods: tuple[str, ...] = field(default=())

    @property
    def id(self) -> str:
        return f"{self.name}-{self.note}" if self.note else self.name


def of(*shapes: Shape, low: float = -2.0, high: float = 2.0) -> tuple[tuple[Shape, float, float], ...]:
    return tuple((shape, low, high) for shape in shapes)
