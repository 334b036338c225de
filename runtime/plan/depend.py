"""Which group of commands has to run before which: from what they read and write, kept true while groups are joined.

Groups go by the number of one of their commands, and sets of groups are integers with a bit per command: a batch has a few
hundred, and the questions asked here are asked for each pair that might be joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush

from ..hazards import Access


def bits(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class Dependencies:
    """A graph over groups, first one per command; commands are added in the program's order."""

    def __init__(self, commands: int, alignment: int) -> None:
        self._alignment = alignment
        self._owner = list(range(commands))
        self._before = [0] * commands  # all groups that must run earlier
        self._direct = [0] * commands  # those of them with a conflict of their own; some may have been joined since
        self._groups: dict[int, None] = {}
        self._newest = -1
        # Per value what was touched so far: start, end, whether it was written, and the group.
        self._touched: dict[int, dict[tuple[int, int, bool, int], None]] = {}

    def find(self, number: int) -> int:
        """The group that a command, or a group that was joined to another, is in now."""
        owner = self._owner
        top = number
        while owner[top] != top:
            top = owner[top]
        while owner[number] != top:
            owner[number], number = top, owner[number]
        return top

    def add(self, number: int, reads: Iterable[Access], writes: Iterable[Access]) -> tuple[list[int], list[int]]:
        """Take in a command; returns the groups it depends on and the others that share inputs with it, newest first."""
        self._groups[number] = None
        self._newest = number
        producers: dict[int, None] = {}
        sharers: dict[int, None] = {}
        mine = [(a.widened(self._alignment), False) for a in reads] + [(a.widened(self._alignment), True) for a in writes]
        for access, is_write in mine:
            self._meet(access, is_write, producers, sharers)
        for access, is_write in mine:
            self._touched[access.value][access.start, access.end, is_write, number] = None
        for group in producers:
            self._direct[number] |= 1 << group
            self._before[number] |= self._before[group] | 1 << group
        return sorted(producers, reverse=True), sorted(sharers.keys() - producers.keys(), reverse=True)

    def _meet(self, access: Access, is_write: bool, producers: dict[int, None], sharers: dict[int, None]) -> None:
        """Sort the groups that touch the same bytes into the two sets; forget what nobody has to be compared with again."""
        entries: dict[tuple[int, int, bool, int], None] = {}
        first, last = access.start, access.end
        for start, end, was_write, whose in self._touched.get(access.value, ()):
            group = self.find(whose)
            if start < last and first < end:
                if is_write or was_write:
                    producers[group] = None
                    if is_write and first <= start and end <= last:
                        continue  # whoever meets that meets this write too
                else:
                    sharers[group] = None
            entries[start, end, was_write, group] = None
        self._touched[access.value] = entries

    def after(self, group: int, other: int) -> bool:
        """Whether ``group`` has to run after ``other``."""
        return bool(self._before[group] >> other & 1)

    def apart(self, a: int, b: int) -> bool:
        """Whether a third group has to run between the two, so that they can never be one."""
        first, last = (a, b) if self.after(b, a) else (b, a)
        if not self.after(last, first):
            return False
        for number in bits(self._direct[last] & ~(1 << first)):
            middle = self.find(number)
            if middle not in (first, last) and self.after(middle, first):
                return True
        return False

    def unite(self, first: int, second: int) -> None:
        """``second`` is part of ``first`` from now on; everything that came after either comes after both."""
        both = 1 << first | 1 << second
        self._owner[second] = first
        del self._groups[second]
        known = self._before[first]
        before = (known | self._before[second]) & ~both
        self._direct[first] = (self._direct[first] | self._direct[second]) & ~both
        self._before[first] = before
        if second == self._newest and before == known & ~both:
            return  # nobody comes after the newest, and whoever comes after the other knows all this
        for other in self._groups:
            if other != first and self._before[other] & both:
                self._before[other] |= before | 1 << first

    def sorted(self) -> list[int]:
        """The groups in an order that respects every dependency; otherwise as the program had them."""
        waiting: dict[int, int] = {}
        after: dict[int, list[int]] = {}
        for group in self._groups:
            needs = {self.find(k) for k in bits(self._direct[group])} - {group}
            waiting[group] = len(needs)
            for need in needs:
                after.setdefault(need, []).append(group)
        ready = [group for group, count in waiting.items() if count == 0]
        heapify(ready)
        out = []
        while ready:
            group = heappop(ready)
            out.append(group)
            for following in after.get(group, ()):
                waiting[following] -= 1
                if waiting[following] == 0:
                    heappush(ready, following)
        if len(out) != len(self._groups):
            raise AssertionError("fusion made groups that depend on each other in a circle")
        return out
