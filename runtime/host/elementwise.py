"""Elementwise kernels through NumPy, in pieces that fit the cache and without temporaries as large as the operands."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..command import Program
from ..hazards import overlap
from ..plan.plan import ElementwiseKernel
from .calls import Call, execute
from .evaluate import Evaluator, Scalars
from .helpers import WAKING, bounds
from .record import Binding, Runner, Workers, error_words
from .tables import Table

Array = NDArray[Any]

BLOCK = 1 << 16  # elements per piece: few enough for a second-level cache, enough that calling NumPy costs little beside
PARALLEL = 1 << 18  # elements from which several threads are worth it
PER_STEP, PER_READ = 1e-10, 1.6e-10  # seconds for an element through one instruction, and from memory
KEPT_CALLS = 20_000  # calls of a kernel that are kept from run to run; beyond, they are made anew piece by piece


def blocks(shape: tuple[int, ...], size: int) -> Iterator[tuple[tuple[Any, ...], int]]:
    """Cut a domain into boxes of at most ``size`` elements that are runs in row-major order: (index, first element)."""
    inner = math.prod(shape)
    if inner <= size or not shape:
        yield (...,), 0
        return
    rest = math.prod(shape[1:])
    if rest >= size:
        for i in range(shape[0]):
            for index, first in blocks(shape[1:], size):
                yield (i, *index), i * rest + first
        return
    step = max(1, size // max(rest, 1))
    for start in range(0, shape[0], step):
        yield (slice(start, min(start + step, shape[0])),), start * rest


def stretches(length: int, elements: int, threads: int, step: int = 1) -> list[slice]:
    """An axis of a domain of so many ``elements``, cut at multiples of ``step`` for threads that read each of them once."""
    if elements < PARALLEL or length < threads * step:
        return [slice(0, length)]
    ends = bounds(length, step, elements * PER_READ, [0.0, *[WAKING] * (threads - 1)])
    return [slice(start, end) for start, end in pairwise(ends) if end > start]


Piece = Callable[[], Sequence[Call]]


class Pieces:
    """A kernel's domain cut into pieces that several threads share, each with an evaluator of its own."""

    def __init__(self, elements: int, count: int, steps: int, driver: Workers) -> None:
        self.shares = min(driver.threads, count) if elements >= PARALLEL and count > 1 else 1
        self._ends = bounds(count, 1, elements * (PER_READ + steps * PER_STEP), [0.0, *[WAKING] * (self.shares - 1)])[1:-1]
        self._keep = count * (steps + 1) <= KEPT_CALLS
        self._driver = driver
        self._work: list[list[Piece]] = [[] for _ in range(self.shares)]
        self._runs = [partial(_run, work) for work in self._work]

    def add(self, number: int, bind: Piece) -> None:
        """The piece of this number, as the function that binds it."""
        work = self._work[self.share(number)]
        if self._keep:
            calls = bind()
            work.append(lambda: calls)
        else:
            work.append(bind)

    def share(self, number: int) -> int:
        """Which thread computes the piece of this number: each has neighbours, in every kernel about the same ones."""
        return bisect_right(self._ends, number)

    def run(self) -> None:
        self._driver.together(self._runs)


def _run(work: Sequence[Piece]) -> None:
    for piece in work:
        execute(piece())


def overlapping(kernel: ElementwiseKernel) -> tuple[frozenset[int], bool]:
    """Outputs whose memory an input uses too, and whether any of them is walked differently from that input."""
    shared, crossed = set(), False
    for k, o in enumerate(kernel.outputs):
        for n, i in enumerate(kernel.inputs):
            if overlap(o.access, i.access):
                shared.add(k)
                crossed = crossed or o.strides != i.strides or o.offset != i.offset or n in kernel.program.tables
    return frozenset(range(len(kernel.outputs)) if kernel.donated else shared), crossed


def elementwise(kernel: ElementwiseKernel, binding: Binding, driver: Workers) -> Runner:
    shape, program = kernel.shape, kernel.program
    inputs = [
        Table.over(binding.flat(o), shape, o.strides) if k in program.tables else binding.array(o, shape)
        for k, o in enumerate(kernel.inputs)
    ]
    outputs = [binding.array(o, shape) for o in kernel.outputs]
    words = error_words(kernel, binding)
    shared, crossed = overlapping(kernel)
    scalars = Scalars(program, kernel.scalars)
    pieces = apply(program, shape, scalars, inputs, outputs, driver, words, shared, crossed)

    def run(values: Sequence[float]) -> None:
        scalars.set(values)
        pieces.run()

    return run


def apply(
    program: Program, shape: tuple[int, ...], scalars: Scalars, inputs: Sequence[Array | Table], outputs: Sequence[Array],
    driver: Workers,
    words: Array | None = None, shared: frozenset[int] | None = None, crossed: bool = False,
) -> Pieces:  # fmt: skip
    """``program`` over all elements of ``shape``, ready to run.

    ``shared`` are the outputs that inputs share memory with (by default all of them may), ``crossed`` says that they do so in another
    order: then a piece would see what another piece has already written, so there is only one.
    """
    shared = frozenset(range(len(outputs))) if shared is None else shared
    size = math.prod(shape)
    boxes = list(blocks(shape, size if crossed else BLOCK))
    pieces = Pieces(size, len(boxes), len(program.steps), driver)
    evaluators = [Evaluator(program, scalars, words, shared, arena) for arena in driver.arenas[: pieces.shares]]
    for number, (index, first) in enumerate(boxes):
        evaluator = evaluators[pieces.share(number)]
        ins = [x.piece(index) if isinstance(x, Table) else x[index] for x in inputs]
        outs = [x[index] for x in outputs]
        pieces.add(number, partial(_crossing if crossed else Evaluator.bind, evaluator, ins, outs, first))
    return pieces


def _crossing(evaluator: Evaluator, inputs: Sequence[Array | Table], outputs: Sequence[Array], first: int) -> list[Call]:
    """The calls where outputs lie across inputs: those are put aside as a whole."""
    copies: list[Array | Table] = []
    aside: list[Call] = []
    for x in inputs:
        seen, copy, source = x.aside() if isinstance(x, Table) else (own := np.empty_like(x), own, x)
        copies.append(seen)
        aside.append((np.copyto, (copy, source)))
    return aside + evaluator.bind(copies, outputs, first)
