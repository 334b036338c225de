"""The commands gathered for one submission.

A batch's ``key`` *is* its commands: per command its spec, then an index and an element offset for each operand that
exists already. Storages are numbered in the order the batch meets them, so two batches that do the same work have equal
keys, whatever tensors they did it with; that makes the key the signature under which the plan is kept.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .storage import Slot

_ids = count(1)


class Batch:
    """Bookkeeping only. ``slots`` are the storages by number; ``fresh`` the numbers of those that this batch makes."""

    __slots__ = ("commands", "fresh", "id", "key", "nbytes", "scalars", "slots")

    def __init__(self) -> None:
        self.id = next(_ids)  # slots compare this instead of holding the batch: no reference cycle
        self.key: list[object] = []
        self.slots: list[Slot] = []
        self.fresh: list[int] = []
        self.scalars: list[float] = []
        self.commands = 0
        self.nbytes = 0

    def adopt(self, slot: Slot) -> int:
        """Number a storage that existed before this batch."""
        if slot.failure is not None:
            raise slot.failure
        slot.batch = self.id
        slot.index = len(self.slots)
        self.slots.append(slot)
        return slot.index

    def cut(self, key: int, slots: int, scalars: int) -> None:
        """Forget a command of which only a part was added: go back to these lengths."""
        del self.key[key:], self.scalars[scalars:]
        for slot in self.slots[slots:]:
            slot.batch = 0
        del self.slots[slots:]
        while self.fresh and self.fresh[-1] >= slots:
            self.fresh.pop()

    def living(self) -> tuple[int, ...]:
        """Which of the new storages somebody can still see."""
        slots = self.slots
        return tuple([i for i in self.fresh if slots[i].owner() is not None])
