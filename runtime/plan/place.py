"""Where temporaries lie: lifetimes over levels become offsets in one arena, so that dead values' bytes are used again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .plan import Kernel


def lifetimes(levels: Sequence[Sequence[Kernel]], values: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """First and last level that touches each of ``values``."""
    lives: dict[int, tuple[int, int]] = {}
    for number, level in enumerate(levels):
        for kernel in level:
            for access in (*kernel.reads(), *kernel.writes()):
                if access.value in values:
                    first, _ = lives.get(access.value, (number, number))
                    lives[access.value] = (first, number)
    return lives


def place(
    levels: Sequence[Sequence[Kernel]], sizes: Mapping[int, int], alignment: int
) -> tuple[dict[int, int], int]:
    """Offsets for ``sizes`` (value -> bytes) and the arena's size.

    Levels are walked in order; a value takes the smallest gap that holds it. Two values share bytes only if one's last
    level comes strictly before the other's first, so the barrier between levels is what separates them.
    """
    lives = lifetimes(levels, sizes)
    born: dict[int, list[int]] = {}
    for value, (first, _) in lives.items():
        born.setdefault(first, []).append(value)
    offsets: dict[int, int] = {}
    busy: list[tuple[int, int, int]] = []  # start, end, last level; sorted by start
    top = 0
    for number in range(len(levels)):
        busy = [piece for piece in busy if piece[2] >= number]
        for value in sorted(born.get(number, ()), key=lambda v: -sizes[v]):
            size = -(-max(sizes[value], 1) // alignment) * alignment
            start = _gap(busy, size)
            offsets[value] = start
            busy.append((start, start + size, lives[value][1]))
            busy.sort()
            top = max(top, start + size)
    return offsets, top


def _gap(busy: Sequence[tuple[int, int, int]], size: int) -> int:
    """Start of the smallest gap of at least ``size`` bytes, or the end."""
    best: tuple[int, int] | None = None
    cursor = 0
    for start, end, _ in busy:
        room = start - cursor
        if room >= size and (best is None or room < best[0]):
            best = (room, cursor)
        cursor = max(cursor, end)
    return cursor if best is None else best[1]
