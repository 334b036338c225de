"""Reductions through NumPy, in pieces that fit the cache: what is reduced is computed piece by piece and never stored as a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtype import DType
from ..plan.plan import ReduceKernel
from . import functions
from .calls import Call, execute
from .elementwise import BLOCK, PARALLEL, Pieces, apply, blocks, stretches
from .evaluate import Evaluator, Scalars
from .record import Binding, Runner, Workers, stored_as_computed
from .scratch import Arena
from .sums import STRETCH, sums

Array = NDArray[Any]

UFUNCS = {"add": np.add, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}
IDENTITY = {"add": 0, "mul": 1}
SUMMED = 8  # boxes of a large sum
ROWS = 64  # rows that BLAS may add up together: what they are together with can be seen in the last bits
NEAR = 1 << 18  # elements that the cache may still hold


def combine(x: Array, kept: int, how: str, dtype: np.dtype[Any]) -> Array:
    """Reduce all axes of ``x`` after the first ``kept``. NumPy adds naively along outer axes: a stretch at a time."""
    ufunc = UFUNCS[how]
    axes = tuple(range(kept, x.ndim))
    if _in_stretches(x, kept, how, dtype):
        rows = x.shape[kept]
        head = (slice(None),) * kept
        parts = [combine(x[(*head, slice(i, i + STRETCH))], kept, how, dtype) for i in range(0, rows, STRETCH)]
        return combine(np.stack(parts, axis=-1), kept, how, dtype)
    if how in IDENTITY:
        return np.asarray(ufunc.reduce(x, axis=axes, dtype=dtype))
    return np.asarray(ufunc.reduce(x, axis=axes))


def _in_stretches(x: Array, kept: int, how: str, dtype: np.dtype[Any]) -> bool:
    return how == "add" and dtype.kind == "f" and 0 < kept < x.ndim and x.shape[kept] > STRETCH


def boxes(kernel: ReduceKernel, size: int) -> list[tuple[tuple[Any, ...], list[tuple[tuple[Any, ...], int]]]]:
    """The domain cut into pieces of about ``size`` elements: for each part of the kept axes, parts of the reduced ones.

    Of each the index and the row-major number of its first element. Pieces are long in the direction in which memory is.
    """
    total = math.prod(kernel.reduced)
    if _by_rows(kernel):
        kept = list(blocks(kernel.kept, max(1, size // total)))
        reduced = list(blocks(kernel.reduced, size))
    else:
        kept = list(blocks(kernel.kept, size))
        reduced = list(blocks(kernel.reduced, max(1, size // min(math.prod(kernel.kept), size))))
    return [(index, [(i, first * total + start) for i, start in reduced]) for index, first in kept]


def wide_boxes(kernel: ReduceKernel, elements: int, threads: int) -> list[tuple[tuple[Any, ...], list[tuple[tuple[Any, ...], int]]]]:
    """As `boxes`, for values that are read and nothing else: few boxes for each thread.

    Where sums would be cut there are always the same boxes, so that their bits do not depend on the number of threads.
    """
    if _by_rows(kernel) and kernel.kept and kernel.kept[0] >= threads:
        around, step = elements // kernel.kept[0], ROWS // math.gcd(ROWS, math.prod(kernel.kept[1:]))
        return [((part,), [((...,), part.start * around)]) for part in stretches(kernel.kept[0], elements, threads, step)]
    if kernel.combine in ("maximum", "minimum") and kernel.reduced and kernel.reduced[0] >= threads:
        around = math.prod(kernel.reduced[1:])
        return [((...,), [((part,), part.start * around) for part in stretches(kernel.reduced[0], elements, threads)])]
    return boxes(kernel, elements if elements < PARALLEL else max(-(-elements // SUMMED), 1))


def _by_rows(kernel: ReduceKernel) -> bool:
    """Whether neighbours in memory are reduced together."""
    if not kernel.kept or not kernel.inputs or any(s.opcode == "index" for s in kernel.program.steps):
        return True  # elements have to be visited in the order of their numbers
    strides = kernel.inputs[0].strides
    inner = min((s for s in strides if s), default=0)
    return inner in strides[len(kernel.kept) :]


def reduce(kernel: ReduceKernel, binding: Binding, driver: Workers) -> Runner:
    assert kernel.splits == 1, "the host's traits ask for reductions in one stage"
    early = len(kernel.inputs) - kernel.late
    n_scalars = len(kernel.program.scalars)
    before = Scalars(kernel.program, kernel.scalars[:n_scalars])
    after = Scalars(kernel.epilogue, kernel.scalars[n_scalars:])
    late = [binding.array(o, kernel.kept) for o in kernel.inputs[early:]]
    inputs = [binding.array(o, kernel.kept + kernel.reduced) for o in kernel.inputs[:early]]
    outputs = [binding.array(o, kernel.kept) for o in kernel.outputs]
    epilogue, place = kernel.epilogue, _place(kernel, [*inputs, *late], outputs)
    if place is None:
        totals = np.empty(kernel.kept, functions.register_dtype(kernel.accumulate))
    else:
        totals = outputs.pop(place)
        epilogue = replace(epilogue, results=(*epilogue.results[:place], *epilogue.results[place + 1 :]))
    finish = apply(epilogue, kernel.kept, after, [totals, *late], outputs, driver) if outputs else None
    if math.prod(kernel.reduced) == 0:
        first, rest = None, [(np.copyto, (totals, IDENTITY[kernel.combine]))]
    else:
        first, rest = _pieces(kernel, inputs, before, totals, driver)

    def run(values: Sequence[float]) -> None:
        if before.registers:
            before.set(values)
        if first is not None:
            first.run()
        execute(rest)
        if finish is not None:
            if after.registers:
                after.set(values)
            finish.run()

    return run


def _place(kernel: ReduceKernel, inputs: Sequence[Array], outputs: Sequence[Array]) -> int | None:
    """The number of the output that is the totals as they are, and in whose memory they can be computed."""
    for number, (result, out) in enumerate(zip(kernel.epilogue.results, outputs, strict=True)):
        right = result == 0 and out.dtype == functions.register_dtype(kernel.accumulate) and out.flags.c_contiguous
        if right and not any(np.may_share_memory(out, x) for x in inputs):
            return number
    return None


def _pieces(
    kernel: ReduceKernel, inputs: Sequence[Array], scalars: Scalars, totals: Array, driver: Workers
) -> tuple[Pieces, list[Call]]:
    """What reduces the domain piece by piece, and what is then left to do for ``totals``."""
    program, dtype = kernel.program, totals.dtype
    value = program.dtype_of(program.results[0])
    computed = bool(program.steps) or not inputs
    elements = math.prod(kernel.kept + kernel.reduced)
    near = computed or elements <= NEAR
    cut = boxes(kernel, BLOCK) if computed else wide_boxes(kernel, elements, driver.threads)
    parts = len(cut[0][1])
    partial_totals = totals[np.newaxis] if parts == 1 else np.empty((parts, *kernel.kept), dtype)
    pieces = Pieces(elements, len(cut) * parts, len(program.steps), driver)
    evaluators = [Evaluator(program, scalars, arena=arena) for arena in driver.arenas[: pieces.shares]]
    kept_axes, reduced_axes = len(kernel.kept), len(kernel.reduced)
    for index, rest in cut:
        for part, (within, start) in enumerate(rest):
            full = (*_filled(index, kept_axes), *_filled(within, reduced_axes), ...)
            into = partial_totals[part, *_filled(index, kept_axes), ...]
            ins = [x[full] for x in inputs]  # an ellipsis in it: without, what is 0-d would be copied
            if computed:
                shape = ins[0].shape if ins else np.empty(kernel.kept + kernel.reduced, np.bool_)[full].shape
                made = partial(_computed, ins, shape, start, value, kernel.combine, into, near)
                pieces.add(lambda share, made=made: made(evaluators[share], driver.arenas[share]))  # type: ignore[misc]
            else:
                calls = _reduced(ins[program.results[0]], value, kernel.combine, into, near)
                pieces.add(lambda share, calls=calls: calls)  # type: ignore[misc]
    if parts == 1:
        return pieces, []
    return pieces, [_combined(kernel.accumulate, np.moveaxis(partial_totals, 0, -1), kernel.combine, totals)]


def _filled(index: tuple[Any, ...], axes: int) -> tuple[Any, ...]:
    """An index of `blocks` with an entry per axis, and axes that stay axes."""
    given = [slice(i, i + 1) if isinstance(i, int) else i for i in index if i is not ...]
    return (*given, *[slice(None)] * (axes - len(given)))


def _computed(
    inputs: Sequence[Array], shape: tuple[int, ...], first: int, dtype: DType, how: str, out: Array, near: bool, evaluator: Evaluator,
    arena: Arena,
) -> list[Call]:  # fmt: skip
    """What computes the values of a piece and reduces them."""
    values = arena.take("values", shape, dtype.numpy)
    return [*evaluator.bind(inputs, [values], first), *_reduced(values, dtype, how, out, near)]


def _reduced(values: Array, dtype: DType, how: str, out: Array, near: bool) -> list[Call]:
    summed = sums(values, out.ndim, out, near) if how == "add" and stored_as_computed(dtype) else None
    return summed or [_combined(dtype, values, how, out)]


def _combined(dtype: DType, values: Array, how: str, out: Array) -> Call:
    """What reduces all axes of ``values``, which are stored, after those of ``out``."""
    if stored_as_computed(dtype) and not _in_stretches(values, out.ndim, how, out.dtype):
        axes = tuple(range(out.ndim, values.ndim))
        return UFUNCS[how].reduce, (values, axes, out.dtype if how in IDENTITY else None, out)
    return _combine_into, (dtype, values, how, out)


def _combine_into(dtype: DType, values: Array, how: str, out: Array) -> None:
    out[...] = combine(functions.load(dtype, values), out.ndim, how, out.dtype)
