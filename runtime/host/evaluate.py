"""Elementwise programs as lists of NumPy calls, bound to arrays once and then run any number of times.

Everything that can be decided beforehand is: which array is which register, which registers share memory, what is computed right
where it belongs. Running a program is then nothing but calling its functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..command import Program, Step
from ..dtype import wrapped
from . import functions
from .calls import Call
from .record import check_index, stored_as_computed
from .scratch import Arena
from .tables import Table, lookup, narrow_steps

Array = NDArray[Any]

KEPT = 4096  # numbers of elements that are kept from run to run; more of them are made anew
ALONE = frozenset({"index", "check_index", "lookup"})  # instructions whose result may not lie where an operand does


class Scalars:
    """A program's scalars as 0-d arrays: the calls keep these, and what is in them changes from run to run."""

    def __init__(self, program: Program, positions: Sequence[int]) -> None:
        self.registers = [np.zeros((), functions.register_dtype(d)) for d in program.scalars]
        whole = [d if d.category == 1 else None for d in program.scalars]
        self._filled = list(zip(self.registers, positions, whole, strict=True))

    def set(self, values: Sequence[float]) -> None:
        """``values`` are those of the whole batch."""
        for register, position, whole in self._filled:
            value = values[position]
            register[()] = value if whole is None else wrapped(value, whole)


Overlaps = Mapping[int, Sequence[int]]  # by the number of an output, those of the inputs that use its memory, element by element
NONE: Overlaps = {}


def overlapping(inputs: Sequence[Array | Table], outputs: Sequence[Array]) -> Overlaps:
    made = {}
    for k, out in enumerate(outputs):
        using = [i for i, x in enumerate(inputs) if np.may_share_memory(out, x.flat if isinstance(x, Table) else x)]
        if using:
            made[k] = using
    return made


class Evaluator:
    """Binds one program to arrays. What it binds shares scratch memory, so it runs one after the other.

    Registers that die are reused, by the very step that reads them last where it may; their memory is the ``arena``'s where there is
    one. A step whose register is a result is computed straight into the output when the output's stored form is its register form; into
    one of the ``overlaps``, where inputs use its memory too, only if those are not needed afterwards. Inputs that are results as they
    are get put aside before such an output is written.
    """

    def __init__(
        self, program: Program, scalars: Scalars, words: Array | None = None, overlaps: Overlaps = NONE, arena: Arena | None = None,
    ) -> None:  # fmt: skip
        self._program = program
        self._words = words
        self._scalars = scalars.registers
        self._base = len(program.inputs) + len(program.scalars)
        self._direct = {
            register: k
            for k, register in reversed(list(enumerate(program.results)))
            if register >= self._base
            and stored_as_computed(program.dtype_of(register))
            and self._settled(register - self._base, overlaps.get(k, ()))
        }
        self._aside = [r for r in set(program.results) if r < len(program.inputs)] if overlaps else []
        self._dying = self._lifetimes()
        self._scratch: dict[Any, list[Array]] = {}
        self._arena = arena
        self._registers = 0  # in the arena
        self._lendable: dict[Any, list[Array]] = {}
        self._lent: list[Array] = []

    def _settled(self, number: int, inputs: Sequence[int]) -> bool:
        """Whether nothing after step ``number`` reads any of the ``inputs``."""
        steps = self._program.steps
        alone = bool(inputs) and steps[number].opcode in ALONE and number < len(steps) - 1
        return not alone and not any(i in step.args for step in steps[number + 1 :] for i in inputs)

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

    def bind(self, inputs: Sequence[Array | Table], outputs: Sequence[Array], first: int = 0) -> list[Call]:
        """The calls for one piece.

        ``inputs`` and ``outputs`` are in stored form and of one shape, but for tables; ``first`` is the row-major number of
        element 0.
        """
        program, calls = self._program, list[Call]()
        shape = outputs[0].shape if outputs else np.broadcast_shapes(*(x.shape for x in inputs if not isinstance(x, Table)))
        narrow = narrow_steps(program, inputs, shape[-1] if shape else 0)
        registers: list[Any] = []
        taken: list[Array] = []
        for k, (dtype, stored) in enumerate(zip(program.inputs, inputs, strict=True)):
            register: Any = stored
            if not isinstance(stored, Table) and (k in self._aside or not stored_as_computed(dtype)):
                register = self._take(functions.register_dtype(dtype), stored.shape)
                taken.append(register)
                calls.append((functions.load_into, (dtype, stored, register)))
            registers.append(register)
        registers.extend(self._scalars)
        for number, step in enumerate(program.steps):
            if self._base + number in narrow:
                calls += self._step(number, step, [_thin(r) for r in registers], outputs, (*shape[:-1], 1), first, registers)
            else:
                calls += self._step(number, step, registers, outputs, shape, first, registers)
        for k, result in enumerate(program.results):
            if self._direct.get(result) != k:
                calls.append((functions.store, (program.dtype_of(result), registers[result], outputs[k])))
        for result in {r for r in program.results if r >= self._base and r not in self._direct}:
            taken.append(registers[result])
        for array in taken:
            self._give(array)
        return calls

    def _step(
        self, number: int, step: Step, seen: list[Any], outputs: Sequence[Array], shape: tuple[int, ...], first: int,
        registers: list[Any],
    ) -> list[Call]:  # fmt: skip
        """What one step calls; its register is appended, and those that die are given back. ``seen`` is what it sees of registers."""
        dying = [registers[r] for r in self._dying[number] if r != self._base + number]
        if step.opcode not in ALONE:
            for array in dying:
                self._give(array)
        direct = self._direct.get(self._base + number)
        out = outputs[direct] if direct is not None else self._take(functions.register_dtype(step.result), shape)
        arguments = [seen[a] for a in step.args]
        if step.opcode == "index":
            calls: list[Call] = [(np.copyto, (out, _numbers(out, first))) if out.size <= KEPT else (_fill_index, (out, first))]
        elif step.opcode == "check_index":
            calls = [(check_index, (self._words, *arguments, out))]
        elif step.opcode == "lookup":
            index, table = arguments
            calls = [(lookup, (step.result, _thin(index) if _constant(index) else index, table, out))]  # of the table's own dtype
        else:
            calls = functions.choosing(step.opcode, arguments, out, self._lend) or [
                (functions.function(step.opcode, step.operands, step.result), (*arguments, out))
            ]
            self._take_back()
            if not stored_as_computed(step.result):
                calls.append((functions.narrow, (step.result, out)))
        if step.opcode in ALONE:
            for array in dying:
                self._give(array)
        if self._base + number in self._dying[number]:  # nobody reads it: notes of errors, say
            self._give(out)
        registers.append(out)
        return calls

    def _take(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        free = self._scratch.setdefault((dtype, shape), [])
        return free.pop() if free else self._new(dtype, shape)

    def _new(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        if self._arena is None:
            return np.empty(shape, dtype)
        self._registers += 1
        return self._arena.take(f"register {self._registers}", shape, dtype)

    def _lend(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        """Memory for one step, that no register has: operands that die in it are still being read."""
        free = self._lendable.setdefault((dtype, shape), [])
        array = free.pop() if free else self._new(dtype, shape)
        self._lent.append(array)
        return array

    def _take_back(self) -> None:
        for array in self._lent:
            self._lendable[array.dtype, array.shape].append(array)
        self._lent.clear()

    def _give(self, array: Array) -> None:
        self._scratch.setdefault((array.dtype, array.shape), []).append(array)


def _constant(register: Any) -> bool:
    """Whether an array is stretched along its last axis, which has several entries."""
    return bool(register.ndim and register.shape[-1] > 1 and register.strides[-1] == 0)


def _thin(register: Any) -> Any:
    """One entry of the last axis; of tables and scalars all there is."""
    return register if isinstance(register, Table) or not register.ndim else register[..., :1]


def _numbers(out: Array, first: int) -> Array:
    return np.arange(first, first + out.size, dtype=np.int32).reshape(out.shape)


def _fill_index(out: Array, first: int) -> None:
    out[...] = _numbers(out, first)
