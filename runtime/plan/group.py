"""Commands that run as one kernel: an optional core (a reduction, a matrix product, a hand-written kernel) and elementwise work.

Before the core of a reduction comes a ``prologue`` over its input's elements; after any core comes an ``epilogue`` over its
output's. Without a core the epilogue is all there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ..command import CommandSpec
from ..dtype import DType
from ..hazards import Access
from ..layout import Layout, Shape
from .builder import CORE, Builder
from .decode import PlannedCommand
from .places import Place, access, express, is_flat, place, plain_strides, squeezed


@dataclass(slots=True)
class Group:
    """``shape`` is the domain of the epilogue; ``inner`` that of a reduction's prologue.

    ``members`` is the set of its commands, as an integer with a bit for each; ``early`` are those that became a prologue.
    """

    kind: str
    shape: Shape
    epilogue: Builder
    names: list[str]
    members: int
    core: CommandSpec | None = None
    core_inputs: tuple[tuple[int, int, Layout], ...] = ()
    core_scalars: tuple[int, ...] = ()
    inner: Shape = ()
    prologue: Builder = field(default_factory=Builder)
    errors: int | None = None
    early: int = 0
    core_outputs: tuple[tuple[int, int], ...] = ()

    def flat(self) -> bool:
        return is_flat([*self.epilogue.inputs, *self.epilogue.current], self.shape)

    def has_tables(self) -> bool:
        return any(p.span for p in self.epilogue.inputs)

    def steps(self) -> int:
        return len(self.prologue.steps) + len(self.epilogue.steps)

    def scalars(self) -> int:
        return len(self.prologue.scalars) + len(self.epilogue.scalars)

    def places(self, shape: Shape) -> tuple[list[Place], list[Place]] | None:
        """What the epilogue reads and what it writes, over another domain; None where that cannot be said."""
        reads, writes = self.epilogue.inputs, list(self.epilogue.current)
        if shape == self.shape:
            return reads, writes
        moved_reads = [m for p in reads if (m := express(p, self.shape, shape)) is not None]
        moved_writes = [m for p in writes if (m := express(p, self.shape, shape)) is not None]
        if len(moved_reads) < len(reads) or len(moved_writes) < len(writes):
            return None
        return moved_reads, moved_writes

    def follow(self, other: Group, shape: Shape) -> None:
        """Do what ``other`` does right after what this one does, element by element over ``shape``. One core at most."""
        if shape != self.shape:
            before, self.epilogue = self.epilogue, Builder(self.epilogue.core)
            self.epilogue.absorb(before, _mover(self.shape, shape))
            self.shape = shape
        if other.core is not None:
            self.kind, self.core, self.core_inputs = other.kind, other.core, other.core_inputs
            self.core_scalars, self.inner, self.prologue = other.core_scalars, other.inner, other.prologue
            self.epilogue.core, self.early = other.epilogue.core, other.early
        self.epilogue.absorb(other.epilogue, _mover(other.shape, shape))
        self.names += other.names
        self.members |= other.members
        self.errors = other.errors if self.errors is None else self.errors

    def core_reads(self) -> list[Access]:
        if self.kind == "reduce":
            return [access(p, self.inner) for p in self.prologue.inputs]
        return [span(v, o, layout) for v, o, layout in self.core_inputs]


def _mover(shape: Shape, target: Shape) -> Callable[[Place], Place]:
    def move(p: Place) -> Place:
        moved = express(p, shape, target)
        assert moved is not None
        return moved

    return move


def span(value: int, offset: int, layout: Layout) -> Access:
    """The bytes of a value between the first and the last element that a layout touches."""
    size = layout.dtype.itemsize
    return Access(value, offset * size, (offset + layout.span) * size)


Forms = dict[CommandSpec, tuple[Shape, list[Shape]]]


def group_of(number: int, command: PlannedCommand, constants: dict[int, Constant], forms: Forms) -> Group:
    """A group of one command. Inputs that are known constants become scalars. ``forms`` keeps what follows from specs alone."""
    if command.spec.kind == "elementwise":
        return _elementwise(number, command, constants, forms)
    return _cored(number, command, constants)


def _form(spec: CommandSpec) -> tuple[Shape, list[Shape]]:
    """An elementwise command's domain, in as few axes as will do, and the strides of its inputs and outputs over it."""
    layouts = (*spec.inputs, *spec.outputs)
    shape = squeezed(layouts[-1].shape)
    tables = spec.program.tables if spec.program is not None else ()
    whole = [
        spec.walks.get(k, (0,) * len(layouts[-1].shape)) if k in tables else x.strides for k, x in enumerate(layouts)
    ]
    strides = [tuple(s for n, s in zip(layouts[-1].shape, w, strict=True) if n != 1) for w in whole]
    plain = plain_strides(shape)
    if all(s == plain or not any(s) for s in strides):
        count = math.prod(shape)
        flat: Shape = (count,) if count != 1 else ()
        strides = [plain_strides(flat) if any(s) else (0,) * len(flat) for s in strides]
        shape = flat
    return shape, strides


def _elementwise(number: int, command: PlannedCommand, constants: dict[int, Constant], forms: Forms) -> Group:
    spec, program = command.spec, command.spec.program
    assert program is not None
    form = forms.get(spec)
    if form is None:
        form = forms[spec] = _form(spec)
    shape, strides = form
    builder = Builder()
    refs = []
    count = len(command.inputs)
    for k, ((value, offset), layout, s) in enumerate(zip(command.inputs, spec.inputs, strides, strict=False)):
        known = constants.get(value)
        read = Place(value, offset, s, layout.dtype, layout.span if k in program.tables else 0)
        refs.append(builder.read(read) if known is None else known.ref(builder))
    scalars = [builder.scalar(position, d) for position, d in zip(command.scalars, program.scalars, strict=True)]
    results = builder.add(program, refs, scalars)
    for (value, offset), layout, s, ref in zip(command.outputs, spec.outputs, strides[count:], results, strict=True):
        builder.current[Place(value, offset, s, layout.dtype)] = ref
    return Group("elementwise", shape, builder, [spec.name], 1 << number, errors=command.errors)


def _cored(number: int, command: PlannedCommand, constants: dict[int, Constant]) -> Group:
    spec = command.spec
    out = spec.outputs[0]
    builder = Builder(core=out.dtype)
    for (v, o), layout in zip(command.outputs, spec.outputs, strict=True):
        builder.current[place(v, o, layout.strides, layout.dtype, layout.shape)] = CORE  # only shaders have several, and no epilogue
    inputs = tuple((v, o, layout) for (v, o), layout in zip(command.inputs, spec.inputs, strict=True))
    group = Group(
        spec.kind, out.shape, builder, [spec.name], 1 << number, spec, inputs, command.scalars, errors=command.errors,
        core_outputs=command.outputs,
    )  # fmt: skip
    if spec.kind == "reduce":
        assert spec.program is not None
        accumulate = spec.attributes[2]
        assert isinstance(accumulate, DType)
        group.inner = spec.inputs[0].shape
        refs = []
        for v, o, layout in inputs:
            known = constants.get(v)
            p = place(v, o, layout.strides, layout.dtype, layout.shape)
            refs.append(group.prologue.read(p) if known is None else known.ref(group.prologue))
        scalars = [group.prologue.scalar(position, d) for position, d in zip(command.scalars, spec.program.scalars, strict=True)]
        group.prologue.current[PROLOGUE] = group.prologue.add(spec.program, refs, scalars)[0]
    return group


PROLOGUE = Place(-1, 0, (), None)  # type: ignore[arg-type]  # where a prologue's one result "goes": into the core


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is one scalar everywhere: it never needs memory where it is only read."""

    position: int
    dtype: DType

    def ref(self, builder: Builder) -> tuple[str, int]:
        return builder.scalar(self.position, self.dtype)


def constant_of(command: PlannedCommand) -> Constant | None:
    """What a command fills its output with, if it does just that."""
    spec, program = command.spec, command.spec.program
    if spec.kind != "elementwise" or program is None or command.inputs or spec.in_place or len(program.scalars) != 1:
        return None
    if len(program.steps) == 1 and program.steps[0].opcode == "copy" and program.steps[0].args == (0,):
        return Constant(command.scalars[0], program.scalars[0])
    return None
