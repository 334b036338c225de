"""Commands that will run as one kernel: what fusion works on, and lowering takes."""

from __future__ import annotations

from dataclasses import dataclass

from ..command import Program, step
from ..dtype import DType
from ..layout import Layout, Shape
from .decode import PlannedCommand

Place = tuple[int, int, Layout]  # value number, element offset, layout
EMPTY = Program((), (), (), ())


@dataclass(slots=True)
class Group:
    """One kernel to be. ``shape`` is the domain: of the outputs for elementwise groups, of the inputs for reductions.

    ``epilogue`` runs on a reduction's or matrix product's result; its scalars follow the program's in ``scalars``.
    """

    kind: str
    names: tuple[str, ...]
    shape: Shape
    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]
    errors: tuple[int, Layout] | None
    scalars: tuple[int, ...]
    program: Program
    epilogue: Program
    attributes: tuple[object, ...]


def group_of(command: PlannedCommand, error_layout: Layout) -> Group:
    """A group of one command."""
    spec = command.spec
    inputs = tuple((v, o, layout) for (v, o), layout in zip(command.inputs, spec.inputs, strict=True))
    outputs = tuple((v, o, layout) for (v, o), layout in zip(command.outputs, spec.outputs, strict=True))
    shape = spec.inputs[0].shape if spec.kind == "reduce" else spec.outputs[0].shape
    errors = None if command.errors is None else (command.errors, error_layout)
    program = spec.program or EMPTY
    epilogue = EMPTY
    if spec.kind == "reduce":
        epilogue = _rounding(spec.attributes[2], spec.outputs[0].dtype)
    return Group(spec.kind, (spec.name,), shape, inputs, outputs, errors, command.scalars, program, epilogue, spec.attributes)


def _rounding(accumulate: object, result: DType) -> Program:
    """From what a reduction adds up in to what it gives."""
    assert isinstance(accumulate, DType)
    if accumulate is result:
        return Program((result,), (), (), (0,))
    return Program((accumulate,), (), (step("cast", accumulate, (0,), result),), (1,))
