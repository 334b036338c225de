"""Matrix products through NumPy's BLAS, shared out among threads, and what is done to each part right after."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..command import Program
from ..dtype import DType, float32
from ..plan.lower import rounded
from ..plan.plan import MatmulKernel
from . import functions
from .blas import SINGLE, one_thread, product, shared_out, spreads
from .elementwise import BLOCK, blocks
from .evaluate import Call, Evaluator, Scalars, execute
from .race import Race
from .record import Binding, Runner, Workers, stored_as_computed, together
from .scratch import Arena

Array = NDArray[Any]
WORTH_SHARING = 16_000_000  # multiplications from which waking a second thread costs less than it saves
SHALLOW = 256  # depth up to which a product in several parts costs hardly more than in one


def parts(kernel: MatmulKernel, shares: int, epilogue: bool) -> list[list[tuple[slice | Any, ...]]]:
    """The parts of the output that each share computes, as indices into ``(*batch, rows, columns)``.

    Cut along the batch where there are enough of those, else along the longer side; in a shallow product with an epilogue into parts
    that are still in the cache when that comes.
    """
    shape = (*kernel.batch, kernel.rows, kernel.columns)
    axis = 0 if kernel.batch and shape[0] >= shares else len(shape) - (2 if kernel.rows >= kernel.columns else 1)
    length = shape[axis]
    around = math.prod(shape) // max(length, 1)
    step = max(1, BLOCK // max(around, 1)) if epilogue and kernel.depth <= SHALLOW else max(length, 1)
    before = (slice(None),) * axis
    bounds = [length * k // shares for k in range(shares + 1)]
    return [
        [(*before, slice(at, min(at + step, end)), ...) for at in range(start, end, step)]
        for start, end in pairwise(bounds)
    ]


def matmul(kernel: MatmulKernel, binding: Binding, driver: Workers) -> Runner:
    shape = (*kernel.batch, kernel.rows, kernel.columns)
    dtype, epilogue = kernel.dtype, kernel.epilogue
    plain = not epilogue.steps and epilogue.results == (0,) and stored_as_computed(dtype)
    if not stored_as_computed(dtype):
        epilogue = rounded(epilogue, float32)
    scalars = Scalars(epilogue, kernel.scalars)
    work = math.prod(shape) * kernel.depth
    sharing = shared_out() and work >= WORTH_SHARING
    numbered = any(step.opcode == "index" for step in epilogue.steps)  # elements have the numbers that they have in the whole
    bound = _Bound(kernel, binding, None if plain else epilogue, scalars, driver.arenas[0])
    cut = parts(kernel, driver.threads if sharing and not numbered else 1, not numbered and not plain)
    runs = [partial(execute, bound.calls(share, arena)) for share, arena in zip(cut, driver.arenas, strict=False)]

    def in_parts() -> None:
        with one_thread:
            together(driver, runs)

    if not sharing or numbered or not spreads(driver.threads) or not bound.matrices:
        compute = runs[0] if work <= SINGLE else in_parts

        def run(values: Sequence[float]) -> None:
            scalars.set(values)
            compute()

        return run
    ways, race = (in_parts, partial(execute, bound.calls(parts(kernel, 1, False)[0], driver.arenas[0]))), Race()

    def run_fastest(values: Sequence[float]) -> None:
        scalars.set(values)
        if not driver.alone:
            # The program goes on meanwhile: BLAS's threads would wait for a core, and take it from the program.
            in_parts()
            return
        way = race.choose()
        began = perf_counter()
        ways[way]()
        race.took(way, perf_counter() - began)

    return run_fastest


class _Bound:
    """A product's memory, and the ``epilogue`` that is computed on it; None where the product is all.

    The product is computed right where a result belongs, its own place first, unless something else lies there until then.
    """

    def __init__(
        self, kernel: MatmulKernel, binding: Binding, epilogue: Program | None, scalars: Scalars, arena: Arena
    ) -> None:  # fmt: skip
        self._dtype = kernel.dtype
        self._shape = shape = (*kernel.batch, kernel.rows, kernel.columns)
        self._a = binding.array(kernel.inputs[0], (*kernel.batch, kernel.rows, kernel.depth))
        self._b = binding.array(kernel.inputs[1], (*kernel.batch, kernel.depth, kernel.columns))
        self._late = [binding.array(o, shape) for o in kernel.inputs[2:]]
        self._outputs = [binding.array(o, shape) for o in kernel.outputs]
        self._scalars = scalars
        self._epilogue = epilogue
        self._arena = arena
        self._in_scratch = False
        self._whole: Array | None = self._outputs.pop() if epilogue is None else None
        if epilogue is None or not stored_as_computed(kernel.dtype):
            return
        inputs = self._a, self._b, *self._late  # what dies here may lie where a result belongs
        places = [
            k for k, (x, result) in enumerate(zip(self._outputs, epilogue.results, strict=True))
            if epilogue.dtype_of(result) is kernel.dtype and not any(np.may_share_memory(x, i) for i in inputs)
        ]  # fmt: skip
        if not places:
            return
        place = min(places, key=lambda k: epilogue.results[k])
        self._whole = self._outputs[place]
        if epilogue.results[place] == 0:
            del self._outputs[place]
            self._epilogue = replace(epilogue, results=(*epilogue.results[:place], *epilogue.results[place + 1 :]))

    @property
    def matrices(self) -> bool:
        """Whether this is one product of two matrices that BLAS takes as they are."""
        return math.prod(self._shape[:-2]) == 1 and self._direct(self._a, self._b, self._products()) is not None

    def calls(self, share: Sequence[tuple[slice | Any, ...]], arena: Arena) -> list[Call]:
        """What computes the parts of one share, one after the other."""
        shared = frozenset(range(len(self._outputs)))
        after = Evaluator(self._epilogue, self._scalars, None, shared, arena) if self._epilogue is not None else None
        made: list[Call] = []
        for index in share:
            rows, columns = _operands(self._a, self._b, index, len(self._shape))
            into = self._products()[index]
            if len(share) > 1 and self._in_scratch:  # memory that is still in the cache when the next part is computed
                into = arena.take("part", into.shape, into.dtype)
            made += self._product(rows, columns, into)
            if after is None:
                continue
            outs = [x[index] for x in self._outputs]
            for box, first in blocks(into.shape, BLOCK) if len(share) == 1 else [((...,), 0)]:
                made += after.bind([into[box], *(x[index][box] for x in self._late)], [x[box] for x in outs], first)
        return made

    def _products(self) -> Array:
        """Where products lie until the epilogue, or for good."""
        if self._whole is None:
            self._in_scratch = True
            self._whole = self._arena.take("product", self._shape, functions.register_dtype(self._dtype))
        return self._whole

    def _product(self, a: Array, b: Array, out: Array) -> list[Call]:
        return self._direct(a, b, out) or [(_product, (self._dtype, a, b, out))]

    def _direct(self, a: Array, b: Array, out: Array) -> list[Call] | None:
        """The product of the only two matrices, with sums cut into the same pieces however many rows or columns there are."""
        if math.prod(self._shape[:-2]) != 1 or not stored_as_computed(self._dtype):
            return None
        return product(*(x[(0,) * (x.ndim - 2)] for x in (a, b, out)))


def _operands(a: Array, b: Array, index: tuple[Any, ...], rank: int) -> tuple[Array, Array]:
    """The parts of the operands that a part of the output is computed from."""
    axis = len(index) - 2
    here: Callable[[int], tuple[Any, ...]] = lambda k: (*(slice(None),) * k, index[axis], ...)  # noqa: E731
    if axis == rank - 2:
        return a[here(axis)], b
    return (a, b[here(axis)]) if axis == rank - 1 else (a[here(axis)], b[here(axis)])


def _product(dtype: DType, a: Array, b: Array, out: Array) -> None:
    np.matmul(functions.load(dtype, a), functions.load(dtype, b), out=out)
    functions.narrow(dtype, out)
