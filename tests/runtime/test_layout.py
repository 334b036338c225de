"""Layouts: interning, strides, broadcasting and merging of axes, against NumPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch.runtime import dtype as dt
from rasptorch.runtime.errors import ShapeError
from rasptorch.runtime.layout import (
    broadcast_shapes,
    broadcast_strides,
    collapse,
    contiguous_strides,
    layout_of,
)

CPU = rt.device("cpu")
Shape = tuple[int, ...]
shapes = st.lists(st.integers(0, 4), max_size=5).map(tuple)


@given(shapes)
def test_row_major_strides(shape: Shape) -> None:
    layout = layout_of(CPU, dt.float32, shape)
    assert layout.contiguous and layout.numel == math.prod(shape) and layout.nbytes == 4 * layout.numel
    assert layout.span == layout.numel
    if layout.numel:
        array = np.empty(shape, np.float32)
        assert tuple(s * 4 for n, s in zip(shape, layout.strides, strict=True) if n > 1) == tuple(
            s for n, s in zip(shape, array.strides, strict=True) if n > 1
        )


def test_equal_forms_are_one_object() -> None:
    assert layout_of(CPU, dt.int32, (2, 3)) is layout_of(CPU, dt.int32, (2, 3), (3, 1))
    different = [
        layout_of(CPU, dt.int32, (2, 3)), layout_of(CPU, dt.float32, (2, 3)), layout_of(CPU, dt.int32, (3, 2)),
        layout_of(CPU, dt.int32, (2, 3), (1, 2)),
    ]  # fmt: skip
    assert len({id(x) for x in different}) == 4


@pytest.mark.parametrize(
    ("shape", "strides", "contiguous", "span"),
    [
        ((2, 3), (3, 1), True, 6),
        ((2, 3), (1, 2), False, 6),
        ((2, 3), (6, 2), False, 11),
        ((1, 3), (99, 1), True, 3),  # a stride along one element means nothing
        ((3, 1), (1, 7), True, 3),
        ((2, 3), (0, 1), False, 3),
        ((2, 0), (5, 7), True, 0),
        ((), (), True, 1),
    ],
)
def test_span_and_contiguity(shape: Shape, strides: Shape, contiguous: bool, span: int) -> None:
    layout = layout_of(CPU, dt.int32, shape, strides)
    assert (layout.contiguous, layout.span) == (contiguous, span)


def test_at_most_eight_dimensions() -> None:
    assert layout_of(CPU, dt.int32, (1,) * 8).numel == 1
    with pytest.raises(ShapeError, match="at most 8 dimensions, this one would have 9"):
        layout_of(CPU, dt.int32, (1,) * 9)


@given(st.lists(shapes, min_size=1, max_size=4))
def test_broadcasting_is_numpys(several: list[Shape]) -> None:
    try:
        expected = np.broadcast_shapes(*several)
    except ValueError:
        with pytest.raises(ShapeError, match=r"^op: shapes \[.*do not broadcast: sizes \d and \d meet at dimension -\d"):
            broadcast_shapes("op", *several)
        return
    assert broadcast_shapes("op", *several) == expected
    for shape in several:
        layout = layout_of(CPU, dt.uint8, shape)
        strides = broadcast_strides(layout, expected)
        if math.prod(expected):
            values = np.arange(layout.numel, dtype=np.uint8).reshape(shape)
            stretched = np.lib.stride_tricks.as_strided(values, expected, strides)
            assert np.array_equal(stretched, np.broadcast_to(values, expected))


@st.composite
def strided(draw: st.DrawFn) -> tuple[Shape, tuple[Shape, ...]]:
    """A shape and two walks over it: permuted, stretched or stepped row-major ones."""
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=5)))
    walks = []
    for _ in range(2):
        order = draw(st.permutations(range(len(shape))))
        steps = [0] * len(shape)
        step = draw(st.integers(1, 2))
        for axis in order:
            steps[axis] = step
            step *= shape[axis]
        walks.append(tuple(0 if draw(st.integers(0, 4)) == 0 else s for s in steps))
    return shape, tuple(walks)


def addresses(shape: Shape, strides: Shape) -> list[int]:
    """Where element 0, 1, 2, ... in row-major order lies."""
    return [sum(i * s for i, s in zip(index, strides, strict=True)) for index in itertools.product(*map(range, shape))]


@given(strided())
def test_collapsing_keeps_every_address(case: tuple[Shape, tuple[Shape, ...]]) -> None:
    shape, walks = case
    merged, steps = collapse(shape, walks)
    assert math.prod(merged) == math.prod(shape) and len(merged) <= len(shape) and 1 not in merged
    for before, after in zip(walks, steps, strict=True):
        assert addresses(shape, before) == addresses(merged, after)


def test_collapsing_merges_all_it_can() -> None:
    assert collapse((2, 3, 4), ((12, 4, 1), (12, 4, 1))) == ((24,), ((1,), (1,)))
    assert collapse((2, 3, 4), ((12, 4, 1), (0, 4, 1))) == ((2, 12), ((12, 1), (0, 1)))
    assert collapse((1, 1), ((5, 7),)) == ((), ((),))
    assert collapse((2, 1, 3), ((3, 99, 1),)) == ((6,), ((1,),))


def test_contiguous_strides_of_empty_shapes() -> None:
    assert contiguous_strides((2, 0, 3)) == (3, 3, 1)
