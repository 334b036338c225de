"""Levels: every kernel as early as its hazards allow. Kernels of one level need no barrier between them."""

from __future__ import annotations

from collections.abc import Sequence

from ..hazards import History
from .plan import Kernel


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
    return tuple(tuple(level) for level in out)
