"""Elementwise programs through NumPy, in pieces that fit the cache and without temporaries as large as the operands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..command import Program, Step
from ..hazards import overlap
from ..plan.plan import ElementwiseKernel
from . import functions
from .record import Binding, Runner, Workers, check_index, error_words, stored_as_computed

Array = NDArray[Any]

BLOCK = 1 << 16  # elements per piece: few enough for a second-level cache, enough that calling NumPy costs little beside
PARALLEL = 1 << 18  # elements from which several threads are worth it


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


class Evaluator:
    """Runs one program on arrays; keeps scratch registers, so one at a time per evaluator.

    Registers that die are reused. A step whose register is a result is computed straight into the output when the
    output's stored form is its register form; into ``shared`` outputs, whose memory inputs use too, only at the last step.
    Inputs that are results as they are get put aside before such an output is written.
    """

    def __init__(self, program: Program, words: Array | None, shared: frozenset[int] = frozenset()) -> None:
        self._program = program
        self._words = words
        self._base = len(program.inputs) + len(program.scalars)
        self._functions = [self._function(step) for step in program.steps]
        self._direct = {
            register: k
            for k, register in reversed(list(enumerate(program.results)))
            if register >= self._base
            and stored_as_computed(program.dtype_of(register))
            and (k not in shared or register == self._base + len(program.steps) - 1)
        }
        self._aside = [r for r in set(program.results) if r < len(program.inputs)] if shared else []
        self._last_use = self._lifetimes()
        self._scratch: dict[Any, list[Array]] = {}
        self._scalar_types = [functions.register_dtype(d).type for d in program.scalars]

    def scalars(self, values: Sequence[float]) -> list[Any]:
        return [kind(value) for kind, value in zip(self._scalar_types, values, strict=True)]

    def _function(self, step: Step) -> Callable[..., None]:
        if step.opcode == "check_index":
            words = self._words
            assert words is not None
            return lambda index, bound, tag, out: check_index(words, index, int(bound), int(tag), out)
        if step.opcode == "index":
            return lambda out: None  # filled in by `run`, which knows where the block begins
        return functions.function(step.opcode, step.operands, step.result)

    def _lifetimes(self) -> list[list[int]]:
        """Per step, the scratch registers nobody needs after it."""
        last: dict[int, int] = {}
        for number, step in enumerate(self._program.steps):
            last[self._base + number] = number
            for register in step.args:
                last[register] = number
        for register in self._program.results:
            last[register] = len(self._program.steps)
        dying: list[list[int]] = [[] for _ in self._program.steps]
        for register, number in last.items():
            if register >= self._base and number < len(dying) and register not in self._direct:
                dying[number].append(register)
        return dying

    def run(self, inputs: Sequence[Array], scalars: Sequence[Any], outputs: Sequence[Array], first: int = 0) -> None:
        """``inputs`` and ``outputs`` in stored form and of one shape; ``first`` is the row-major number of element 0."""
        program = self._program
        registers: list[Any] = [functions.load(d, x) for d, x in zip(program.inputs, inputs, strict=True)]
        for register in self._aside:
            registers[register] = registers[register].copy()
        registers.extend(scalars)
        shape = outputs[0].shape if outputs else np.broadcast_shapes(*(x.shape for x in inputs))
        for number, step in enumerate(program.steps):
            register = self._base + number
            direct = self._direct.get(register)
            out = outputs[direct] if direct is not None else self._take(step, shape)
            if step.opcode == "index":
                out[...] = np.arange(first, first + out.size, dtype=np.int32).reshape(shape)
            else:
                self._functions[number](*[registers[a] for a in step.args], out)
                if not stored_as_computed(step.result):
                    functions.narrow(step.result, out)
            registers.append(out)
            for dead in self._last_use[number]:
                self._give(registers[dead])
        for k, register in enumerate(program.results):
            if self._direct.get(register) != k:
                functions.store(program.dtype_of(register), np.asarray(registers[register]), outputs[k])
        for register in {r for r in program.results if r >= self._base and r not in self._direct}:
            self._give(registers[register])

    def _take(self, step: Step, shape: tuple[int, ...]) -> Array:
        dtype = functions.register_dtype(step.result)
        free = self._scratch.setdefault((dtype, shape), [])
        return free.pop() if free else np.empty(shape, dtype)

    def _give(self, array: Array) -> None:
        self._scratch.setdefault((array.dtype, array.shape), []).append(array)


def overlapping(kernel: ElementwiseKernel) -> tuple[frozenset[int], bool]:
    """Outputs whose memory an input uses too, and whether any of them is walked differently from that input."""
    shared, crossed = set(), False
    for k, o in enumerate(kernel.outputs):
        for i in kernel.inputs:
            if overlap(o.access, i.access):
                shared.add(k)
                crossed = crossed or o.strides != i.strides or o.offset != i.offset
    return frozenset(range(len(kernel.outputs)) if kernel.donated else shared), crossed


def elementwise(kernel: ElementwiseKernel, binding: Binding, driver: Workers) -> Runner:
    shape = kernel.shape
    inputs = [binding.array(o, shape) for o in kernel.inputs]
    outputs = [binding.array(o, shape) for o in kernel.outputs]
    words = error_words(kernel, binding)
    shared, crossed = overlapping(kernel)
    # Where an output lies across an input, a piece would see what another piece has already written.
    size = math.prod(shape) if crossed else BLOCK
    pieces = [([x[i] for x in inputs], [x[i] for x in outputs], first) for i, first in blocks(shape, size)]
    shares = driver.threads if math.prod(shape) >= PARALLEL and len(pieces) > 1 and words is None else 1
    evaluators = [Evaluator(kernel.program, words, shared) for _ in range(shares)]
    positions = kernel.scalars

    def work(share: int, scalars: Sequence[Any]) -> None:
        evaluator = evaluators[share]
        for ins, outs, first in pieces[share::shares]:
            evaluator.run([x.copy() for x in ins] if crossed else ins, scalars, outs, first)

    def run(values: Sequence[float]) -> None:
        scalars = evaluators[0].scalars([values[p] for p in positions])
        others = [driver.helpers().submit(work, share, scalars) for share in range(1, shares)]
        work(0, scalars)
        for other in others:
            other.result()

    return run
