"""Placement: no two values that live at the same time share bytes; what is dead gives its bytes to others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasptorch.runtime import dtype as dt
from rasptorch.runtime.command import Program, step
from rasptorch.runtime.hazards import Access
from rasptorch.runtime.plan.place import gaps, lifetimes, place
from rasptorch.runtime.plan.plan import ElementwiseKernel, Kernel, Operand, ShaderKernel


def kernel(reads: list[int], writes: list[int]) -> Kernel:
    """An elementwise kernel that touches whole values of 4 bytes; every result comes from all inputs."""

    def operand(value: int) -> Operand:
        return Operand(value, 0, dt.float32, (1,), Access(value, 0, 4))

    return elementwise(tuple(map(operand, reads)), tuple(map(operand, writes)))


def elementwise(inputs: tuple[Operand, ...], outputs: tuple[Operand, ...], from_all: bool = True) -> ElementwiseKernel:
    """Every result is the sum of all inputs, or, not ``from_all``, the last input alone."""
    count = len(inputs)
    steps = [step("add", dt.float32, (0 if k == 1 else count + k - 2, k)) for k in range(1, count)] if from_all else []
    scalars = () if inputs else (dt.float32,)
    program = Program((dt.float32,) * count, scalars, tuple(steps), (max(count - 1, 0) + len(steps),) * len(outputs))
    return ElementwiseKernel(("k",), inputs, outputs, (0,) * len(scalars), None, (1,), program)


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
    placed = place(levels, sizes, alignment)
    offsets, lives = placed.offsets, lifetimes(levels, sizes)
    assert offsets.keys() == lives.keys()
    for a, start in offsets.items():
        assert start % alignment == 0 and start + sizes[a] <= placed.size
        for b, other in offsets.items():
            if a < b and lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]:
                if placed.donated.get(a) == b or placed.donated.get(b) == a:
                    assert start == other
                    continue
                apart = start + max(sizes[a], 1) <= other or other + max(sizes[b], 1) <= start
                assert apart, f"values {a} and {b} live together at {start} and {other}"


@settings(max_examples=100)
@given(plans())
def test_the_arena_is_no_larger_than_all_values_together(case: tuple[list[list[Kernel]], dict[int, int], int]) -> None:
    levels, sizes, alignment = case
    placed = place(levels, sizes, alignment)
    offsets, arena = placed.offsets, placed.size
    assert arena <= sum(-(-max(sizes[v], 1) // alignment) * alignment for v in offsets)


def test_lifetimes() -> None:
    levels = [[kernel([], [0])], [kernel([0], [1]), kernel([5], [2])], [], [kernel([1], [3])]]
    assert lifetimes(levels, {0: 4, 1: 4, 2: 4}) == {0: (0, 1), 1: (1, 3), 2: (1, 1)}


def test_a_chain_needs_one_place() -> None:
    """Each kernel reads an element for the last time just before it writes its own at the same place."""
    levels = [[kernel([k - 1] if k else [], [k])] for k in range(10)]
    placed = place(levels, dict.fromkeys(range(10), 256), 256)
    assert placed.size == 256 and set(placed.offsets.values()) == {0}
    assert placed.donated == {k: k - 1 for k in range(1, 10)}


def test_a_chain_of_other_kernels_needs_two() -> None:
    levels = [[ShaderKernel(*base(kernel([k - 1] if k else [], [k])), "softmax", 1, ())] for k in range(10)]
    placed = place(levels, dict.fromkeys(range(10), 256), 256)
    assert placed.size == 512 and len(set(placed.offsets.values())) == 2 and placed.donated == {}


def base(k: Kernel) -> tuple[Any, ...]:
    return k.names, k.inputs, k.outputs, k.scalars, k.errors


WHY = ["read twice", "read by two kernels", "larger", "elsewhere", "other steps", "wider", "lives on", "for another result"]


@pytest.mark.parametrize("why", WHY)
def test_bytes_are_only_taken_over_where_nobody_else_needs_them(why: str) -> None:
    giver, taker = Operand(0, 0, dt.float32, (1,), Access(0, 0, 64)), Operand(1, 0, dt.float32, (1,), Access(1, 0, 64))
    sizes, reads, others = {0: 64, 1: 64}, [giver], list[Kernel]()
    if why == "read twice":
        reads.append(replace(giver, offset=1))
    elif why == "read by two kernels":
        others.append(kernel([0], []))
    elif why == "larger":
        sizes[1] = 128
    elif why == "elsewhere":
        reads[0] = replace(giver, offset=4)
    elif why == "other steps":
        reads[0] = replace(giver, strides=(2,))
    elif why == "wider":
        reads[0] = replace(giver, dtype=dt.float16)
    elif why == "lives on":
        others = [kernel([], [5])]
    elif why == "for another result":
        reads.append(replace(giver, value=6, access=Access(6, 0, 64)))
    middle = elementwise(tuple(reads), (taker,), why != "for another result")
    levels = [[kernel([], [0])], [middle, *others], [kernel([1, 0] if why == "lives on" else [1], [])]]
    assert place(levels, sizes, 64).donated == {}
    plain = [levels[0], [elementwise((giver,), (taker,))], [kernel([1], [])]]
    assert place(plain, {0: 64, 1: 64}, 64).donated == {1: 0}


def test_what_outlives_the_batch_keeps_its_bytes() -> None:
    """It may lie where something died before it was made; nothing comes to lie on it."""
    levels = [[kernel([], [0])], [kernel([0], [])], [kernel([], [1])], [kernel([], [2])], [kernel([2], [3])]]
    placed = place(levels, dict.fromkeys(range(4), 256), 256, lasting=(1,))
    assert placed.offsets[1] == placed.offsets[0] == 0
    assert placed.offsets[2] == placed.offsets[3] == 256 and placed.size == 512


def test_gaps() -> None:
    assert gaps({}, {}, 512, 64) == ((0, 512),)
    assert gaps({7: 128, 3: 0}, {7: 100, 3: 64}, 512, 64) == ((64, 64), (256, 256))
    assert gaps({7: 0}, {7: 512}, 512, 64) == ()


def test_values_of_one_level_never_share() -> None:
    """No barrier separates kernels of one level: what one reads last must not be what another writes first."""
    levels = [[kernel([], [0])], [kernel([0], []), kernel([], [1])]]
    placed = place(levels, {0: 100, 1: 100}, 64)
    assert placed.offsets[0] != placed.offsets[1] and placed.size == 256


def test_the_smallest_gap_is_taken() -> None:
    # 0, 1 and 2 side by side; 0 (large) and 2 (small, freed between 1 and 3) die; 4 fits exactly into the smaller gap.
    levels = [
        [kernel([], [0]), kernel([], [1]), kernel([], [2]), kernel([], [3])],
        [kernel([1, 3], [])],
        [kernel([1, 3], [4])],
    ]
    sizes = {0: 4096, 1: 2048, 2: 1024, 3: 512, 4: 1000}
    placed = place(levels, sizes, 256)
    assert placed.offsets[4] == placed.offsets[2] and placed.size == 4096 + 2048 + 1024 + 512
