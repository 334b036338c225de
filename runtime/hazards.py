"""Which accesses must not overlap in time: the same storage, overlapping bytes, and at least one of them a write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """Bytes ``[start, end)`` of value number ``value``."""

    value: int
    start: int
    end: int

    def widened(self, alignment: int) -> Access:
        """The same, to whole units of what the device can tell apart: at least one, for something is bound where nothing is read."""
        if alignment <= 1:
            return self
        end = max(self.end, self.start + 1)
        return Access(self.value, self.start // alignment * alignment, -(-end // alignment) * alignment)


def overlap(a: Access, b: Access) -> bool:
    return a.value == b.value and a.start < b.end and b.start < a.end


class History:
    """The reads and writes so far, with the level each happened on; tells the first level that is safe for the next.

    A write that covers earlier accesses replaces them: whatever must come after those must come after it.
    """

    def __init__(self) -> None:
        self._reads: dict[int, list[tuple[Access, int]]] = {}
        self._writes: dict[int, list[tuple[Access, int]]] = {}

    def level_for(self, reads: Iterable[Access], writes: Iterable[Access]) -> int:
        """The lowest level on which these accesses conflict with nothing on the same level or a later one."""
        level = 0
        for access in reads:
            level = max(level, self._after(self._writes, access))
        for access in writes:
            level = max(level, self._after(self._writes, access), self._after(self._reads, access))
        return level

    def add(self, reads: Iterable[Access], writes: Iterable[Access], level: int) -> None:
        for access in reads:
            self._reads.setdefault(access.value, []).append((access, level))
        for access in writes:
            for table in (self._reads, self._writes):
                kept = [
                    (old, at) for old, at in table.get(access.value, ())
                    if at >= level or not (access.start <= old.start and old.end <= access.end)
                ]  # fmt: skip
                table[access.value] = kept
            self._writes.setdefault(access.value, []).append((access, level))

    @staticmethod
    def _after(table: dict[int, list[tuple[Access, int]]], access: Access) -> int:
        return max((at + 1 for old, at in table.get(access.value, ()) if overlap(old, access)), default=0)
