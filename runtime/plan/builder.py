"""Elementwise programs grown command by command: registers by reference until the program is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..command import Program, Step
from ..dtype import DType
from .places import Place

Ref = tuple[str, int]  # ("input" | "scalar" | "step" | "core", number)
CORE: Ref = ("core", 0)


class Builder:
    """``inputs`` are loaded once each, ``current`` says which register holds what was last written to a place.

    ``core`` is the dtype of the value a reduction or matrix product hands over, as the first register.
    """

    def __init__(self, core: DType | None = None) -> None:
        self.core = core
        self.inputs: list[Place] = []
        self.scalars: list[tuple[int, DType]] = []
        self.steps: list[tuple[str, DType, DType, tuple[Ref, ...]]] = []
        self.current: dict[Place, Ref] = {}
        self._known: dict[object, Ref] = {}

    def read(self, place: Place) -> Ref:
        """The register with what lies at ``place``, as of now."""
        found = self.current.get(place)
        if found is None:
            found = self._known.get(place)
            if found is None:
                found = self._known[place] = ("input", len(self.inputs))
                self.inputs.append(place)
        return found

    def scalar(self, position: int, dtype: DType) -> Ref:
        key = (position, dtype)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = ("scalar", len(self.scalars))
            self.scalars.append(key)
        return found

    def add(self, program: Program, inputs: Sequence[Ref], scalars: Sequence[Ref]) -> list[Ref]:
        """Append a program's steps; the same computation is not done twice. Returns its results."""
        registers = [*inputs, *scalars]
        for step in program.steps:
            args = tuple(registers[a] for a in step.args)
            if step.opcode == "copy" and step.operands is step.result:
                registers.append(args[0])
                continue
            if step.opcode == "lookup" and args[1][0] == "scalar":
                registers.append(args[1])  # a table that is one value everywhere
                continue
            key = (step.opcode, step.operands, step.result, args)
            found = self._known.get(key)
            if found is None:
                found = self._known[key] = ("step", len(self.steps))
                self.steps.append(key)
            registers.append(found)
        return [registers[r] for r in program.results]

    def absorb(self, other: Builder, moved: Callable[[Place], Place]) -> None:
        """Append everything ``other`` does; its places are turned into this domain's by ``moved``."""
        refs: dict[Ref, Ref] = {CORE: CORE}
        for k, p in enumerate(other.inputs):
            refs["input", k] = self.read(moved(p))
        for k, (position, dtype) in enumerate(other.scalars):
            refs["scalar", k] = self.scalar(position, dtype)
        for k, (opcode, operands, result, args) in enumerate(other.steps):
            key = (opcode, operands, result, tuple(refs[a] for a in args))
            found = self._known.get(key)
            if found is None:
                found = self._known[key] = ("step", len(self.steps))
                self.steps.append(key)
            refs["step", k] = found
        for p, ref in other.current.items():
            self.current[moved(p)] = refs[ref]

    def finish(self, stored: Sequence[Place]) -> tuple[Program, list[Place], list[int]]:
        """The program that stores ``stored``; the inputs and the scalars' positions that it still needs."""
        needed: set[Ref] = {self.current[p] for p in stored}
        for k in range(len(self.steps) - 1, -1, -1):
            opcode, _, _, args = self.steps[k]
            if ("step", k) in needed or opcode == "check_index":
                needed.add(("step", k))
                needed.update(args)
        numbers: dict[Ref, int] = {}
        if self.core is not None:
            numbers[CORE] = 0
        inputs = [p for k, p in enumerate(self.inputs) if ("input", k) in needed]
        for k in range(len(self.inputs)):
            if ("input", k) in needed:
                numbers["input", k] = len(numbers)
        for k in range(len(self.scalars)):
            if ("scalar", k) in needed:
                numbers["scalar", k] = len(numbers)
        steps = []
        for k, (opcode, operands, result, args) in enumerate(self.steps):
            if ("step", k) in needed:
                numbers["step", k] = len(numbers)
                steps.append(Step(opcode, operands, result, tuple(numbers[a] for a in args)))
        kept = [self.scalars[k] for k in range(len(self.scalars)) if ("scalar", k) in needed]
        dtypes = [p.dtype for p in inputs]
        program = Program(
            tuple(dtypes if self.core is None else [self.core, *dtypes]),
            tuple(dtype for _, dtype in kept),
            tuple(steps),
            tuple(numbers[self.current[p]] for p in stored),
        )
        return program, inputs, [position for position, _ in kept]
