"""Hazards: the levels found are safe, and the lowest that are, against a direct reading of the definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rasptorch.runtime.hazards import Access, History, overlap

accesses = st.builds(
    lambda value, start, length: Access(value, start, start + length), st.integers(0, 2), st.integers(0, 12), st.integers(1, 8)
)
commands = st.lists(st.tuples(st.lists(accesses, max_size=2), st.lists(accesses, max_size=2)), max_size=12)
Command = tuple[list[Access], list[Access]]


def conflict(first: Command, second: Command) -> bool:
    """Whether the order of two commands matters."""
    (reads, writes), (reads2, writes2) = first, second
    return (
        any(overlap(w, r) for w in writes for r in reads2)
        or any(overlap(w, r) for w in writes2 for r in reads)
        or any(overlap(v, w) for v in writes for w in writes2)
    )


def levels_of(program: list[Command]) -> list[int]:
    history, found = History(), []
    for reads, writes in program:
        level = history.level_for(reads, writes)
        history.add(reads, writes, level)
        found.append(level)
    return found


@given(commands)
def test_levels_are_safe_and_lowest(program: list[Command]) -> None:
    found = levels_of(program)
    for k, command in enumerate(program):
        needed = max((found[j] + 1 for j in range(k) if conflict(program[j], command)), default=0)
        assert found[k] == needed, f"command {k} is on level {found[k]}, its conflicts ask for {needed}"


def test_reads_do_not_order_each_other() -> None:
    read, write = [Access(0, 0, 4)], [Access(0, 0, 4)]
    assert levels_of([([], write), (read, []), (read, []), ([], write), (read, [])]) == [0, 1, 1, 2, 3]


def test_parts_that_do_not_touch_are_independent() -> None:
    left, right, across = Access(0, 0, 4), Access(0, 4, 8), Access(0, 3, 5)
    assert levels_of([([], [left]), ([], [right]), ([across], []), ([], [left])]) == [0, 0, 1, 2]


def test_widening() -> None:
    assert Access(0, 5, 9).widened(4) == Access(0, 4, 12)
    assert Access(0, 4, 8).widened(4) == Access(0, 4, 8)
    assert Access(0, 5, 9).widened(1) == Access(0, 5, 9)
    assert overlap(Access(0, 0, 3).widened(4), Access(0, 3, 4).widened(4))
    assert overlap(Access(0, 4, 4).widened(4), Access(0, 0, 8)), "nothing is read, and yet something is bound"
    assert not overlap(Access(0, 0, 3), Access(0, 3, 4))
    assert not overlap(Access(0, 0, 4), Access(1, 0, 4))
