"""Products that are computed side by side, where none of them needs what the other makes.

In a layer's backward those are its input's gradient and its weight's. A thread is woken once for both, each has its memory to itself, and
none of them has to be cut as finely. What is done to the second one's product afterwards, writing a new weight over the one that the first
still reads, say, keeps its place in the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plan.plan import Kernel
from .blas import shared_out
from .calls import Call, execute
from .helpers import Part
from .matmul import Product
from .record import Binding, Runner, Workers

Array = NDArray[Any]
WORTH_BESIDE = 2_500_000  # multiplications from which a product is worth a thread of its own
ALIKE = 1.25  # times as much work, up to which two products have as many threads each
AHEAD = 6  # kernels among which a second product is looked for


class Beside:
    """The first product, and meanwhile the second's; then the kernels ``between`` them, and what the second one's epilogue does."""

    def __init__(self, first: Product, second: Product, between: Sequence[Runner], driver: Workers) -> None:
        self._driver = driver
        self._first = first
        self._second = second
        self._between = between
        self._runs: tuple[list[Part], list[Call], list[Call]] | None = None

    def __call__(self, values: Sequence[float]) -> None:
        if self._runs is None:
            half = self._driver.threads // 2
            parts, rest = self._first.cut(self._driver.arenas[:half])
            more, last = self._second.cut(self._driver.arenas[half : 2 * half], finish=False)
            self._runs = parts + more, rest, last
        parts, rest, last = self._runs
        self._first.scalars.set(values)
        self._second.scalars.set(values)
        self._driver.together(parts)
        execute(rest)
        for runner in self._between:
            runner(values)
        execute(last)


def paired(kernels: Sequence[Kernel], runners: Sequence[Runner], binding: Binding, driver: Workers) -> list[Runner]:
    """``runners`` of ``kernels`` in their order, some of them side by side."""
    if driver.threads == 1 or not shared_out():
        return list(runners)
    made, at = list[Runner](), 0
    while at < len(runners):
        first, number = runners[at], None
        if isinstance(first, Product) and first.work >= WORTH_BESIDE:
            number = _partner(first, kernels[at:], runners[at + 1 : at + 1 + AHEAD], binding)
        if number is None:
            made.append(first)
            at += 1
        else:
            second = runners[at + number]
            assert isinstance(first, Product) and isinstance(second, Product)
            made.append(Beside(first, second, runners[at + 1 : at + number], driver))
            at += number + 1
    return made


def _partner(first: Product, kernels: Sequence[Kernel], following: Sequence[Runner], binding: Binding) -> int | None:
    """How many kernels further on there is a product that can be computed beside the ``first``, which is that of the first kernel."""
    for number, runner in enumerate(following, 1):
        if isinstance(runner, Product) and max(first.work, runner.work) <= ALIKE * min(first.work, runner.work):
            needed = runner.needs()
            if needed is not None and not any(_touches(kernel, *needed, binding) for kernel in kernels[:number]):
                return number
    return None


def _touches(kernel: Kernel, operands: Sequence[Array], into: Array, binding: Binding) -> bool:
    """Whether a kernel writes what a product reads, or uses the memory that it is computed into."""
    written = [binding.bytes(access) for access in kernel.writes()]
    used = written + [binding.bytes(access) for access in kernel.reads()]
    return any(np.may_share_memory(x, y) for x in written for y in operands) or any(np.may_share_memory(x, into) for x in used)
