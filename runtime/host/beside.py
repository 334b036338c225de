"""Products that are computed side by side, where none of them needs what the other makes, and small kernels beside both.

In a layer's backward those are its input's gradient and its weight's. A thread is woken once for both, each has its memory to itself, and
none of them has to be cut as finely. What is done to the second one's product afterwards, writing a new weight over the one that the first
still reads, say, keeps its place in the order. Small kernels that came just before and do not matter to them, the bias's gradient say, are
computed while the other thread, which woke later, is still at its product.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plan.plan import Kernel
from .blas import shared_out
from .calls import Call, execute
from .helpers import Part
from .matmul import LARGE, WORTH_SHARING, Product
from .record import Binding, Runner, Workers, estimated_seconds

Array = NDArray[Any]
WORTH_BESIDE = 2_500_000  # multiplications from which a product is worth a thread of its own
ALIKE = 1.25  # times as much work, up to which two products have as many threads each
SMALL = 10e-6  # about how many seconds a small kernel takes
BRIEF = 1e-4  # estimated seconds up to which a kernel is small: it is not shared out, whatever it does
AHEAD = 6  # kernels among which a second product is looked for


class Beside:
    """The first product, meanwhile the second and kernels from ``before`` both that do not matter to them; then the kernels ``between`` the
    two, and what the second one's epilogue does. Without a ``second`` the first is shared out.
    """

    def __init__(
        self, before: Sequence[Runner], first: Product, second: Product | None, between: Sequence[Runner], driver: Workers
    ) -> None:  # fmt: skip
        self._driver = driver
        self._before = before
        self._first = first
        self._second = second
        self._between = between
        self._values: Sequence[float] = ()
        self._runs: tuple[list[Part], list[Call], list[Call]] | None = None

    def __call__(self, values: Sequence[float]) -> None:
        if self._runs is None:
            self._runs = self._cut()
        (first, *others), rest, last = self._runs
        self._values = values
        for product in (self._first, self._second):
            if product is not None:
                product.scalars.set(values)
        self._driver.together([partial(self._begin, first), *others])
        execute(rest)
        for runner in self._between:
            runner(values)
        execute(last)

    def _begin(self, part: Part) -> None:
        """What this thread does: the product first, in which the others can have the interpreter."""
        part()
        for runner in self._before:
            runner(self._values)

    def _cut(self) -> tuple[list[Part], list[Call], list[Call]]:
        first, arenas, busy = self._first, self._driver.arenas, SMALL * len(self._before)
        if self._second is None:
            parts, rest = first.cut(arenas, busy)
            return parts, rest, []
        half = self._driver.threads // 2
        parts, rest = first.cut(arenas[:half], busy)
        more, last = self._second.unfinished(arenas[half : 2 * half])
        return parts + more, rest, last


def paired(kernels: Sequence[Kernel], runners: Sequence[Runner], binding: Binding, driver: Workers) -> list[Runner]:
    """``runners`` of ``kernels`` in their order, some of them side by side."""
    if driver.threads == 1 or not shared_out():
        return list(runners)
    made, at, alone = list[Runner](), 0, 0  # how many at the end of ``made`` are single small kernels, just before the one at ``at``
    while at < len(runners):
        first = runners[at]
        if not isinstance(first, Product) or not WORTH_BESIDE <= first.work < LARGE:
            made.append(first)
            alone, at = alone + 1, at + 1
            continue
        number = _partner(first, kernels[at:], runners[at + 1 : at + 1 + AHEAD], binding)
        second = runners[at + number] if number else None
        assert second is None or isinstance(second, Product)
        count = _free(first, second, kernels[:at], min(alone, AHEAD), binding)
        before = made[len(made) - count :]
        if second is None and (not before or first.work < WORTH_SHARING):
            made.append(first)
        else:
            made[len(made) - count :] = [Beside(before, first, second, runners[at + 1 : at + number], driver)]
        alone, at = 0, at + number + 1
    return made


def _partner(first: Product, kernels: Sequence[Kernel], following: Sequence[Runner], binding: Binding) -> int:
    """How many kernels further on there is a product that can be computed beside the ``first``, that of the first kernel; 0: nowhere."""
    for number, runner in enumerate(following, 1):
        if isinstance(runner, Product) and max(first.work, runner.work) <= ALIKE * min(first.work, runner.work):
            needed = runner.needs
            if needed is not None and not any(_touches(kernel, *needed, binding) for kernel in kernels[:number]):
                return number
    return 0


def _free(first: Product, second: Product | None, earlier: Sequence[Kernel], most: int, binding: Binding) -> int:
    """How many of the kernels just before can be computed beside the products.

    Only those that are small, which one thread computes in memory that it has to itself.
    """
    if first.needs is None:
        return 0
    reads, writes = ([binding.bytes(access) for access in accesses] for accesses in (first.kernel.reads(), first.kernel.writes()))
    needed = second.needs if second is not None else None
    for number in range(most):
        kernel = earlier[-1 - number]
        if estimated_seconds(kernel) > BRIEF or (needed is not None and _touches(kernel, *needed, binding)):
            return number
        if any(_touches(kernel, reads, into, binding) for into in writes):
            return number
    return most


def _touches(kernel: Kernel, operands: Sequence[Array], into: Array, binding: Binding) -> bool:
    """Whether a kernel writes what a product reads, or uses the memory that it is computed into."""
    written = [binding.bytes(access) for access in kernel.writes()]
    used = written + [binding.bytes(access) for access in kernel.reads()]
    return any(np.may_share_memory(x, y) for x in written for y in operands) or any(np.may_share_memory(x, into) for x in used)
