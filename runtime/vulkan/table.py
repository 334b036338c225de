"""The parameters of several kernels in one dispatch: a row for each, and how an invocation finds its own.

The words are: how many rows, how long each is, then the rows. A row is the number of the kernel's first workgroup and then the words
that the kernel would have by itself. Workgroups belong to one kernel; which, they find by bisection.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..command import Program
from .access import Abilities
from .operands import Words
from .parameters import Parameters, scalar_in, words_of
from .spirv import PARAM_WORDS, Module, Op
from .spirv_numbers import BUILTIN_LOCAL_ID

MOST = 64  # rows
HEADER = 2  # words before them


def rows_that_fit(words: int) -> int:
    """How many kernels of so many parameter words each have room."""
    return min(MOST, (PARAM_WORDS - HEADER) // (words + 1))


def table_of(rows: Sequence[Parameters], groups: Sequence[int]) -> Parameters:
    """The table of kernels with parameters ``rows`` and so many workgroups each."""
    made = Parameters()
    made.add(len(rows), len(rows[0].words) + 1)
    first = 0
    for row, count in zip(rows, groups, strict=True):
        made.add(first)
        at = made.add(*row.words)
        made.scalars += [(at + word, position, dtype) for word, position, dtype in row.scalars]
        first += count
    return made


class Row(Words):
    """Reads the parameters of the kernel that this workgroup belongs to."""

    def __init__(self, m: Module) -> None:
        super().__init__(m, 1)
        self._group = m.group()
        self._row = self._find()

    def take(self, count: int) -> list[int]:
        words = [self._m.param_at(self._m.add(self._row, self._m.u(self.at + k))) for k in range(count)]
        self.at += count
        return words

    def scalars(self, program: Program, abilities: Abilities) -> list[int]:
        out = []
        for dtype in program.scalars:
            out.append(scalar_in(self._m, self.take(words_of(dtype)), dtype, int64=abilities.int64))
        return out

    def number(self) -> int:
        m = self._m
        within = m.op(Op.ISub, m.u32, self._group, m.param_at(self._row))
        return m.add(m.mul(within, m.u(m.local_size)), m.builtin(BUILTIN_LOCAL_ID, 0))

    def _find(self) -> int:
        """The first word of the last row whose first group is not after this one."""
        m = self._m
        count, width = m.param(0), m.param(1)
        last = m.op(Op.ISub, m.u32, count, m.u(1))
        found = m.u(0)
        step = MOST // 2
        while step:
            tried = m.add(found, m.u(step))
            inside = m.op(Op.ULessThanEqual, m.bool, tried, last)
            looked = m.select(inside, tried, last)
            begins = m.param_at(m.add(m.mul(looked, width), m.u(HEADER)))
            reached = m.op(Op.ULessThanEqual, m.bool, begins, self._group)
            found = m.select(m.op(Op.LogicalAnd, m.bool, inside, reached), tried, found)
            step //= 2
        return m.add(m.mul(found, width), m.u(HEADER))
