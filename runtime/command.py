"""Commands as data: what is to be computed, apart from which memory it is computed in.

A `CommandSpec` says everything about an operation that does not change from call to call: the layouts going in and
out, the elementwise program or the name of the kernel, its attributes. Specs are made once per combination of layouts
and kept by the operations, so a command in a batch is a spec and a few small integers, and a batch that repeats is
recognised by comparing identities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from . import dtype as dt
from .dtype import DType
from .errors import DTypeError
from .layout import Layout, Shape
from .opcodes import OPCODES

_TAKES: Final = {0: "b", 1: "i", 2: "f"}


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: registers ``args`` (all of dtype ``operands``) through ``opcode`` into a new register."""

    opcode: str
    operands: DType
    result: DType
    args: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """An elementwise computation in single-assignment form.

    Registers are numbered: first the inputs, then the scalars, then one per step. ``results`` are the registers that
    go to the outputs. ``tables`` are the inputs that ``lookup`` reads: they are not walked, and their registers hold no value.
    """

    inputs: tuple[DType, ...]
    scalars: tuple[DType, ...]
    steps: tuple[Step, ...]
    results: tuple[int, ...]
    tables: frozenset[int] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", frozenset(s.args[1] for s in self.steps if s.opcode == "lookup"))

    def dtype_of(self, register: int) -> DType:
        if register < len(self.inputs):
            return self.inputs[register]
        register -= len(self.inputs)
        if register < len(self.scalars):
            return self.scalars[register]
        return self.steps[register - len(self.scalars)].result


def step(opcode: str, operands: DType, args: tuple[int, ...], result: DType | None = None) -> Step:
    """A checked `Step`; the result's dtype follows from the opcode unless it is a cast."""
    code = OPCODES[opcode]
    if len(args) != code.arity:
        raise ValueError(f"{opcode} takes {code.arity} operands, got {len(args)}")
    if code.arity and _TAKES[operands.category] not in code.takes:
        raise DTypeError(f"{opcode} is not defined for {operands.name}")
    if code.gives != "any":
        result = operands if code.gives == "same" else dt.BY_NAME[code.gives]
    if result is None:
        raise ValueError(f"{opcode} needs its result's dtype")
    return Step(opcode, operands, result, args)


@dataclass(eq=False, slots=True)
class CommandSpec:
    """The unchanging part of a command. Compared by identity.

    ``kind`` is ``elementwise``, ``reduce``, ``matmul``, ``conv`` or ``shader``. ``inputs`` and ``outputs`` are layouts as the kernel sees
    them (for elementwise commands the inputs are already stretched to the output's shape). The first ``in_place`` outputs
    are written into storages that exist; the others are new. ``notes_errors`` adds the stream's error words as one more
    output. ``name`` is the operation the user called, for traces and messages. The layout of a table says which memory may be
    read; ``walks`` has, by the number of the input, the strides along the output of those tables whose look-ups count from
    another element for every element of the output.
    """

    kind: str
    name: str
    inputs: tuple[Layout, ...]
    outputs: tuple[Layout, ...]
    program: Program | None = None
    attributes: tuple[object, ...] = ()
    in_place: int = 0
    notes_errors: bool = False
    walks: Mapping[int, Shape] = field(default_factory=dict)
    nbytes: int = field(init=False)
    fresh: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.nbytes = sum(x.nbytes for x in self.inputs + self.outputs)
        self.fresh = tuple(x.nbytes for x in self.outputs[self.in_place :])
