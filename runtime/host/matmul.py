"""Matrix products through NumPy's BLAS, shared out among threads, and what is done to each part right after."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial
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
from .blas import depth, many_threads, one_thread, product, shared_out
from .calls import Call, execute
from .elementwise import BLOCK, blocks
from .evaluate import Evaluator, Scalars, overlapping
from .helpers import HANDING, Part, bounds
from .record import Binding, Workers, stored_as_computed
from .scratch import Arena
from .spinning import Spinning
from .tiles import SMALL, Grid, grid, tiled

Array = NDArray[Any]
WORTH_SHARING = 4_000_000  # multiplications from which waking a second thread costs less than it saves
LARGE = 200_000_000  # multiplications of a product that a helper does not finish before the scheduler gives its core to others
TOGETHER = 1 << 18  # elements from which several threads compute the epilogue
PIECE = 2 * BLOCK  # elements of an epilogue's piece: threads that take turns at the interpreter had better do so seldom
SHALLOW = 256  # depth up to which a product in several parts costs hardly more than in one
TIMED = 128  # rows, columns and depth of the product that tells how fast BLAS is


@cache
def rate() -> float:
    """Multiplications per second and thread, about."""
    x, times = np.ones((TIMED, TIMED), np.float32), []
    with one_thread:
        for _ in range(4):
            began = perf_counter()
            np.matmul(x, x)
            times.append(perf_counter() - began)
    return TIMED**3 / min(times)


openblas_threads = cache(Spinning)


def parts(
    kernel: MatmulKernel, delays: Sequence[float], tile: Grid | None, near: bool = False
) -> list[list[tuple[slice | Any, ...]]]:
    """The parts of the output that each share computes, as indices into ``(*batch, rows, columns)``. ``delays`` as in `bounds`.

    Cut along the batch where there are enough of those, else along the longer side, or between tiles and by rows if that is fine enough; a
    shallow product, if ``near``, into parts that are still in the cache when its epilogue comes.
    """
    shape, shares = (*kernel.batch, kernel.rows, kernel.columns), len(delays)
    by_rows = kernel.rows >= kernel.columns if tile is None else kernel.rows >= 4 * shares * tile[0]
    axis = 0 if kernel.batch and shape[0] >= shares else len(shape) - (2 if by_rows else 1)
    length = shape[axis]
    around = math.prod(shape) // max(length, 1)
    unit = tile[axis - len(shape) + 2] if tile is not None and axis >= len(shape) - 2 else 1
    step = max(1, PIECE // max(around, 1) // unit) * unit if near and kernel.depth <= SHALLOW else max(length, 1)
    before = (slice(None),) * axis
    ends = bounds(length, unit, math.prod(shape) * kernel.depth / rate(), delays)
    return [
        [(*before, slice(at, min(at + step, end)), ...) for at in range(start, end, step)] for start, end in pairwise(ends)
    ]  # fmt: skip


class Product:
    """A product that runs by itself, on as many threads as it is worth, or beside others."""

    def __init__(self, kernel: MatmulKernel, binding: Binding, driver: Workers) -> None:
        self.kernel = kernel
        self._binding = binding
        self._driver = driver
        self._plain = not kernel.epilogue.steps and kernel.epilogue.results == (0,) and stored_as_computed(kernel.dtype)
        self._epilogue = kernel.epilogue if stored_as_computed(kernel.dtype) else rounded(kernel.epilogue, float32)
        self.scalars = Scalars(self._epilogue, kernel.scalars)
        self.work = math.prod(kernel.batch) * kernel.rows * kernel.columns * kernel.depth
        # With an index in it, elements have the numbers that they have in the whole.
        self._numbered = any(step.opcode == "index" for step in self._epilogue.steps)
        self._runs: tuple[list[Part], list[Call]] | None = None
        self._spread: list[Call] | None = None

    def __call__(self, values: Sequence[float]) -> None:
        if self._runs is None:
            self._runs = self.cut(self._driver.arenas if self.work >= WORTH_SHARING else self._driver.arenas[:1])
            self._spread = self._for_many_threads(len(self._runs[0]))
        parts, rest = self._runs
        self.scalars.set(values)
        if self._spread is None:
            self._driver.together(parts)
            execute(rest)
            return
        spinning = openblas_threads()
        if spinning.spread:
            with many_threads:
                execute(self._spread)
            return
        began, before = perf_counter(), spinning.before()
        self._driver.together(parts)
        execute(rest)
        spinning.after(before, perf_counter() - began)

    def _for_many_threads(self, shares: int) -> list[Call] | None:
        """The same for OpenBLAS's own threads; None where they would not get the same bits, or nothing is to be gained."""
        if shares == 1 or self.work < LARGE:
            return None
        bound = self._bound(self._driver.arenas[0])
        (share,) = parts(self.kernel, [0.0], None)
        return bound.calls(share, self._driver.arenas[0]) if bound.direct else None

    @cached_property
    def needs(self) -> tuple[list[Array], Array] | None:
        """What the product by itself reads and where it is computed; None where it is computed into memory of the driver's."""
        bound = self._bound(self._driver.arenas[0])
        return None if self._numbered or bound.place is None else (bound.operands, bound.place)

    def _bound(self, arena: Arena) -> _Bound:
        return _Bound(self.kernel, self._binding, None if self._plain else self._epilogue, self.scalars, arena)

    def _shares(self, most: int, tile: Grid | None) -> int:
        """How many threads may share it out, ``most`` at most.

        Without tiles no part may be small enough for OpenBLAS to compute it in another way than it would the whole: bits would tell.
        """
        if not shared_out() or self._numbered:
            return 1
        kernel = self.kernel
        if tile is not None or (kernel.batch and kernel.batch[0] >= most):
            return most
        terms = kernel.depth / max(1, -(-kernel.depth // depth()))
        return min(most, max(1, int(kernel.rows * kernel.columns * terms / (1.5 * SMALL))))

    def cut(self, arenas: Sequence[Arena], busy: float = 0.0) -> tuple[list[Part], list[Call]]:
        """Parts for as many threads as there are ``arenas``, or fewer, and what is to be called after all of them.

        The first thread is ``busy`` with something else for so many seconds.
        """
        kernel, bound = self.kernel, self._bound(arenas[0])
        shares = self._shares(len(arenas), bound.tile)
        delays = [busy, *[HANDING] * (shares - 1)]
        if shares == 1 or self._plain or math.prod(bound.shape) >= TOGETHER:
            made = parts(kernel, delays, bound.tile, near=not (self._plain or self._numbered))
            return [partial(execute, bound.calls(share, own)) for share, own in zip(made, arenas, strict=False)], []
        # Threads that compute an epilogue together take turns at the interpreter, which takes longer than the epilogue.
        return self._products(bound, delays), bound.epilogue((...,), bound.whole, arenas[0])

    def unfinished(self, arenas: Sequence[Arena]) -> tuple[list[Part], list[Call]]:
        """Parts for as many threads as there are ``arenas``, which all have to wake, and then the epilogue of all."""
        bound = self._bound(arenas[0])
        delays = [HANDING] * self._shares(len(arenas), bound.tile)
        return self._products(bound, delays), bound.epilogue((...,), bound.whole, arenas[0])

    def _products(self, bound: _Bound, delays: Sequence[float]) -> list[Part]:
        return [partial(execute, bound.products(share)) for share in parts(self.kernel, delays, bound.tile)]


class _Bound:
    """A product's memory, and the ``epilogue`` that is computed on it; None where the product is all.

    The product is computed right where a result belongs, its own place first, unless something else lies there until then.
    """

    def __init__(
        self, kernel: MatmulKernel, binding: Binding, epilogue: Program | None, scalars: Scalars, arena: Arena
    ) -> None:  # fmt: skip
        self._dtype = kernel.dtype
        self.shape = shape = (*kernel.batch, kernel.rows, kernel.columns)
        self._a = binding.array(kernel.inputs[0], (*kernel.batch, kernel.rows, kernel.depth))
        self._b = binding.array(kernel.inputs[1], (*kernel.batch, kernel.depth, kernel.columns))
        self._late = [binding.array(o, shape) for o in kernel.inputs[2:]]
        self._outputs = [binding.array(o, shape) for o in kernel.outputs]
        self._scalars = scalars
        self._epilogue = epilogue
        self._arena = arena
        self._in_scratch = False
        self.tile = grid(*self._matrices(self._a, self._b)) if self._alone else None
        self.place: Array | None = self._outputs.pop() if epilogue is None else None
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
        self.place = self._outputs[place]
        if epilogue.results[place] == 0:
            del self._outputs[place]
            self._epilogue = replace(epilogue, results=(*epilogue.results[:place], *epilogue.results[place + 1 :]))

    @property
    def operands(self) -> list[Array]:
        return [self._a, self._b]

    @property
    def _alone(self) -> bool:
        """Whether this is one product of two matrices, in the form that BLAS computes in."""
        return math.prod(self.shape[:-2]) == 1 and stored_as_computed(self._dtype)

    @property
    def direct(self) -> bool:
        """Whether BLAS gets the matrices as they are, as a whole."""
        return self._alone and self.tile is None and product(*self._matrices(self._a, self._b, self.whole)) is not None

    @staticmethod
    def _matrices(*arrays: Array) -> list[Array]:
        return [x[(0,) * (x.ndim - 2)] for x in arrays]

    def calls(self, share: Sequence[tuple[slice | Any, ...]], arena: Arena) -> list[Call]:
        """What computes the parts of one share, one after the other, with the epilogue."""
        made: list[Call] = []
        for index in share:
            into = self.whole[index]
            if len(share) > 1 and self._in_scratch:  # memory that is still in the cache when the next part is computed
                into = arena.take("part", into.shape, into.dtype)
            made += self._product(index, into) + self.epilogue(index, into, arena)
        return made

    def products(self, share: Sequence[tuple[slice | Any, ...]]) -> list[Call]:
        """What computes the parts of one share, without the epilogue."""
        return [call for index in share for call in self._product(index, self.whole[index])]

    def epilogue(self, index: tuple[Any, ...], products: Array, arena: Arena) -> list[Call]:
        """What is done to the part at ``index``, of which ``products`` have been computed."""
        if self._epilogue is None:
            return []
        shared = overlapping([self.whole, *self._late], self._outputs)
        after = Evaluator(self._epilogue, self._scalars, None, shared, arena)
        late, outs, made = [x[index] for x in self._late], [x[index] for x in self._outputs], list[Call]()
        for box, first in blocks(products.shape, PIECE):
            made += after.bind([products[box], *(x[box] for x in late)], [x[box] for x in outs], first)
        return made

    @property
    def whole(self) -> Array:
        """Where products lie until the epilogue, or for good."""
        if self.place is None:
            self._in_scratch = True
            self.place = self._arena.take("product", self.shape, functions.register_dtype(self._dtype))
        return self.place

    def _product(self, index: tuple[Any, ...], out: Array) -> list[Call]:
        """A part of the product; sums are cut into the same pieces however many rows or columns it has."""
        a, b = _operands(self._a, self._b, index, len(self.shape))
        if self._alone:
            left, right, into = self._matrices(a, b, out)
            calls = tiled(left, right, into, self.tile) if self.tile is not None else product(left, right, into)
            if calls is not None:
                return calls
        return [(_product, (self._dtype, a, b, out))]


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
