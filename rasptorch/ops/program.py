"""Writing elementwise programs of several steps, register by register."""

from __future__ import annotations

from collections.abc import Sequence

from ..runtime.command import Program, Step, step
from ..runtime.dtype import DType


class ProgramWriter:
    """Collects steps; registers are numbered inputs first, then scalars, then steps, as `Program` wants.

    The dtype of a step's operands is that of its last argument (of the condition of ``where`` nothing is
    asked).
    """

    def __init__(self, inputs: Sequence[DType], scalars: Sequence[DType]) -> None:
        self._inputs = tuple(inputs)
        self._scalars = tuple(scalars)
        self._steps: list[Step] = []
        self._dtypes = [*inputs, *scalars]

    @property
    def registers(self) -> list[int]:
        """The registers of the inputs and then of the scalars, to be given names."""
        return list(range(len(self._inputs) + len(self._scalars)))

    def __call__(self, opcode: str, *args: int) -> int:
        """Add a step; returns the register of its result."""
        return self._add(step(opcode, self._dtypes[args[-1]], args))

    def index(self, dtype: DType) -> int:
        """The row-major number of the element, an int32."""
        return self._add(step("index", dtype, ()))

    def cast(self, register: int, dtype: DType) -> int:
        """``register`` as ``dtype``: itself where it already is."""
        source = self._dtypes[register]
        return register if source is dtype else self._add(step("cast", source, (register,), dtype))

    def _add(self, made: Step) -> int:
        self._steps.append(made)
        self._dtypes.append(made.result)
        return len(self._dtypes) - 1

    def program(self, *results: int) -> Program:
        return Program(self._inputs, self._scalars, tuple(self._steps), results)
