"""Levels: every kernel as early as its hazards allow. Kernels of one level need no barrier between them."""

from __future__ import annotations

from collections.abc import Sequence

from ..hazards import History
from .plan import ElementwiseKernel, Kernel


def levels(kernels: Sequence[Kernel], alignment: int) -> tuple[tuple[Kernel, ...], ...]:
    """Sort kernels (in program order) into levels; ``alignment`` is the smallest range the device can tell apart."""
    history = History()
    out: list[list[Kernel]] = []
    for kernel in kernels:
        reads = [a.widened(alignment) for a in kernel.reads()]
        writes = [a.widened(alignment) for a in kernel.writes()]
        level = history.level_for(reads, writes)
        history.add(reads, writes, level)
        while len(out) <= level:
            out.append([])
        out[level].append(kernel)
    return tuple(_side_by_side(level) for level in out)


def _side_by_side(level: list[Kernel]) -> tuple[Kernel, ...]:
    """A level's kernels, those that compute the same next to each other: drivers may dispatch them together."""
    alike: dict[object, list[Kernel]] = {}
    for number, kernel in enumerate(level):
        alike.setdefault(kernel.program if isinstance(kernel, ElementwiseKernel) else number, []).append(kernel)
    return tuple(kernel for kernels in alike.values() for kernel in kernels)
