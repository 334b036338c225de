"""Placement: no two values that live at the same time share bytes; what is dead gives its bytes to others."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rasptorch.runtime import dtype as dt
from rasptorch.runtime.hazards import Access
from rasptorch.runtime.plan.place import lifetimes, place
from rasptorch.runtime.plan.plan import Kernel, Operand


def kernel(reads: list[int], writes: list[int]) -> Kernel:
    """A kernel that touches whole values of 4 bytes."""

    def operand(value: int) -> Operand:
        return Operand(value, 0, dt.float32, (1,), Access(value, 0, 4))

    return Kernel(("k",), tuple(map(operand, reads)), tuple(map(operand, writes)), (), None)


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[list[Kernel]], dict[int, int], int]:
    """Levels of kernels on values 0..n, of which some are temporaries with sizes, and an alignment."""
    values = draw(st.integers(1, 8))
    pick = st.lists(st.integers(0, values - 1), max_size=3)
    levels = [[kernel(draw(pick), draw(pick)) for _ in range(draw(st.integers(1, 3)))] for _ in range(draw(st.integers(0, 8)))]
    sizes = {v: draw(st.integers(0, 5000)) for v in range(values) if draw(st.booleans())}
    return levels, sizes, draw(st.sampled_from([1, 64, 256]))


@settings(max_examples=300)
@given(plans())
def test_no_two_live_values_overlap(case: tuple[list[list[Kernel]], dict[int, int], int]) -> None:
    levels, sizes, alignment = case
    offsets, arena = place(levels, sizes, alignment)
    lives = lifetimes(levels, sizes)
    assert offsets.keys() == lives.keys()
    for a, start in offsets.items():
        assert start % alignment == 0 and start + sizes[a] <= arena
        for b, other in offsets.items():
            if a < b and lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]:
                apart = start + max(sizes[a], 1) <= other or other + max(sizes[b], 1) <= start
                assert apart, f"values {a} and {b} live together at {start} and {other}"


@settings(max_examples=100)
@given(plans())
def test_the_arena_is_no_larger_than_all_values_together(case: tuple[list[list[Kernel]], dict[int, int], int]) -> None:
    levels, sizes, alignment = case
    offsets, arena = place(levels, sizes, alignment)
    assert arena <= sum(-(-max(sizes[v], 1) // alignment) * alignment for v in offsets)


def test_lifetimes() -> None:
    levels = [[kernel([], [0])], [kernel([0], [1]), kernel([5], [2])], [], [kernel([1], [3])]]
    assert lifetimes(levels, {0: 4, 1: 4, 2: 4}) == {0: (0, 1), 1: (1, 3), 2: (1, 1)}


def test_a_chain_needs_two_places() -> None:
    levels = [[kernel([k - 1] if k else [], [k])] for k in range(10)]
    offsets, arena = place(levels, dict.fromkeys(range(10), 256), 256)
    assert arena == 512 and len(set(offsets.values())) == 2


def test_values_of_one_level_never_share() -> None:
    """No barrier separates kernels of one level: what one reads last must not be what another writes first."""
    levels = [[kernel([], [0])], [kernel([0], []), kernel([], [1])]]
    offsets, arena = place(levels, {0: 100, 1: 100}, 64)
    assert offsets[0] != offsets[1] and arena == 256


def test_the_smallest_gap_is_taken() -> None:
    # 0, 1 and 2 side by side; 0 (large) and 2 (small, freed between 1 and 3) die; 4 fits exactly into the smaller gap.
    levels = [
        [kernel([], [0]), kernel([], [1]), kernel([], [2]), kernel([], [3])],
        [kernel([1, 3], [])],
        [kernel([1, 3], [4])],
    ]
    sizes = {0: 4096, 1: 2048, 2: 1024, 3: 512, 4: 1000}
    offsets, arena = place(levels, sizes, 256)
    assert offsets[4] == offsets[2] and arena == 4096 + 2048 + 1024 + 512
