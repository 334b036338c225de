"""Elementwise kernels through NumPy, in pieces that fit the cache and without temporaries as large as the operands."""

from __future__ import annotations

import math
from collections import deque
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
from .evaluate import NONE, Evaluator, Scalars, overlapping
from .record import Binding, Runner, Workers, error_words
from .tables import Table

Array = NDArray[Any]

BLOCK = 1 << 16  # elements per piece: few enough for a second-level cache, enough that calling NumPy costs little beside
PARALLEL = 1 << 18  # elements from which several threads are worth it
EACH = 2  # pieces per thread of what is read once: to begin another one takes some microseconds
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
    """An axis of a domain of so many ``elements``, cut at multiples of ``step`` into `Pieces` that are read once."""
    count = min(EACH * threads, length // step, elements // BLOCK)
    if elements < PARALLEL or threads == 1 or count < 2:
        return [slice(0, length)]
    ends = [round(length / step * k / count) * step for k in range(count)]
    return [slice(start, end) for start, end in pairwise([*ends, length])]


Bind = Callable[[int], Sequence[Call]]  # what a piece calls, for the thread of this number


class Pieces:
    """A kernel's domain cut into pieces, which several threads take one after the other.

    The thread that runs the kernel takes them from the front and the others from the back: who begins late, or is slower, takes fewer.
    """

    def __init__(self, elements: int, count: int, steps: int, driver: Workers) -> None:
        self.shares = min(driver.threads, count) if elements >= PARALLEL and count > 1 else 1
        self._keep = count * (steps + 1) <= KEPT_CALLS
        self._driver = driver
        self._pieces: list[Bind] = []
        self._bound: list[dict[int, Sequence[Call]]] = [{} for _ in range(self.shares)]
        self._left: deque[int] = deque()

    def add(self, bind: Bind) -> None:
        """The next piece, as the function that binds it."""
        self._pieces.append(bind)

    def run(self) -> None:
        left = self._left
        left.clear()  # of what an error left there
        left.extend(range(len(self._pieces)))
        if self.shares == 1:
            self._take(0)
        else:
            # Made anew each time: kept, they would keep this object, and its memory, until the garbage collector comes.
            self._driver.together([partial(self._take, share) for share in range(self.shares)])

    def _take(self, share: int) -> None:
        """What one thread does."""
        take, bound = self._left.pop if share else self._left.popleft, self._bound[share]
        while True:
            try:
                number = take()
            except IndexError:
                return
            calls = bound.get(number)
            if calls is None:
                calls = self._pieces[number](share)
                if self._keep:
                    bound[number] = calls
            execute(calls)


def crossing(kernel: ElementwiseKernel) -> bool:
    """Whether any output uses memory of an input that is walked differently."""
    for o in kernel.outputs:
        for n, i in enumerate(kernel.inputs):
            if overlap(o.access, i.access) and (o.strides != i.strides or o.offset != i.offset or n in kernel.program.tables):
                return True
    return False


def elementwise(kernel: ElementwiseKernel, binding: Binding, driver: Workers) -> Runner:
    shape, program = kernel.shape, kernel.program
    inputs = [
        Table.over(binding.flat(o), shape, o.strides) if k in program.tables else binding.array(o, shape)
        for k, o in enumerate(kernel.inputs)
    ]
    outputs = [binding.array(o, shape) for o in kernel.outputs]
    words = error_words(kernel, binding)
    scalars = Scalars(program, kernel.scalars)
    pieces = apply(program, shape, scalars, inputs, outputs, driver, words, crossing(kernel))

    def run(values: Sequence[float]) -> None:
        if scalars.registers:
            scalars.set(values)
        pieces.run()

    return run


def apply(
    program: Program, shape: tuple[int, ...], scalars: Scalars, inputs: Sequence[Array | Table], outputs: Sequence[Array],
    driver: Workers, words: Array | None = None, crossed: bool = False,
) -> Pieces:  # fmt: skip
    """``program`` over all elements of ``shape``, ready to run.

    ``crossed`` says that outputs share memory with inputs in another order: then a piece would see what another piece has already
    written, so there is only one.
    """
    size = math.prod(shape)
    boxes = list(blocks(shape, size if crossed else BLOCK))
    pieces = Pieces(size, len(boxes), len(program.steps), driver)
    shared = NONE if crossed else overlapping(inputs, outputs)
    evaluators = [Evaluator(program, scalars, words, shared, arena) for arena in driver.arenas[: pieces.shares]]
    bind = _crossing if crossed else Evaluator.bind
    for index, first in boxes:
        ins = [x.piece(index) if isinstance(x, Table) else x[index] for x in inputs]
        outs = [x[index] for x in outputs]
        pieces.add(lambda share, ins=ins, outs=outs, first=first: bind(evaluators[share], ins, outs, first))  # type: ignore[misc]
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
