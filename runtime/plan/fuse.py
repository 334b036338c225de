"""Fusion: commands become as few kernels as their data and the device's limits allow.

A command joins a group whose result it reads (or whose inputs it shares) when both walk the same elements in the same way and
no third group has to run in between. What comes out is sorted so that every group follows what it depends on.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from ..driver import Traits
from ..hazards import Access, overlap
from ..layout import Shape
from .decode import PlannedCommand
from .depend import Dependencies, bits
from .group import PROLOGUE, Constant, Forms, Group, constant_of, group_of, span
from .places import Place, access, express, extent, squeezed

MAX_STEPS = 100  # per kernel: enough to leave memory traffic behind, few enough for quick compilation and few registers
MAX_SCALARS = 64
SHARERS = 3  # groups that only read the same value: no more than this many are tried
MAX_WORDS = 224  # of a kernel's parameters: a first element and strides for each operand, and the scalars
Places = tuple[list[Place], list[Place]]  # read, written
READS_CONSTANTS = ("elementwise", "reduce")  # kinds of commands whose inputs may be scalars


class Fusion:
    """Groups of a batch's commands, joined as the commands are added in the program's order."""

    def __init__(
        self, commands: Sequence[PlannedCommand], living: Collection[int], made: Collection[int], traits: Traits
    ) -> None:
        self._commands = commands
        self._visible = set(living)
        self._made = made
        self._traits = traits
        self._graph = Dependencies(len(commands), traits.hazard_alignment)
        self._groups: dict[int, Group] = {}
        self._constants: dict[int, Constant] = {}
        self._forms: Forms = {}
        self._users: dict[int, int] = {}  # per value the commands that use it after it was made, as sets of bits
        self._needed: set[int] = set()  # constants that somebody has to find in memory
        writes: dict[int, int] = {}
        for number, command in enumerate(commands):
            for value, _ in (*command.inputs, *command.outputs[: command.spec.in_place]):
                self._users[value] = self._users.get(value, 0) | 1 << number
            for value, _ in command.outputs:
                writes[value] = writes.get(value, 0) + 1
            if command.spec.kind not in READS_CONSTANTS:
                self._needed.update(value for value, _ in command.inputs)
        # Per value the commands that write it, and per command those it can only run after by way of a core between the two.
        self._writer: dict[int, int] = {}
        self._behind = self._paths_through_cores()
        self._written_once = {value for value, count in writes.items() if count == 1}

    def _paths_through_cores(self) -> list[int]:
        """Per command, the earlier ones from which its inputs come through a reduction, a product or a kernel in between."""
        behind: list[int] = []
        known: dict[int, tuple[int, int]] = {}  # per value, all it comes from, and those that are behind a core
        for number, command in enumerate(self._commands):
            far = near = 0
            for value, _ in command.inputs:
                from_here, from_afar = known.get(value, (0, 0))
                near, far = near | from_here, far | from_afar
            behind.append(far)
            made = near | 1 << number, far if command.spec.kind == "elementwise" else near
            for value, _ in command.outputs:
                before = known.get(value, (0, 0))
                known[value] = before[0] | made[0], before[1] | made[1]
                self._writer[value] = self._writer.get(value, 0) | 1 << number
        return behind

    # -- building -------------------------------------------------------------------------------------------------
    def add(self, number: int, join: bool) -> None:
        """Take in one command: as a group of its own, then, if ``join``, joined with what it can be joined with."""
        command = self._commands[number]
        constant = constant_of(command) if join else None
        if constant is not None and command.outputs[0][0] in self._written_once:
            self._constants[command.outputs[0][0]] = constant
        group = self._groups[number] = group_of(number, command, self._constants, self._forms)
        reads, writes = self._accesses(command)
        producers, sharers = self._graph.add(number, reads, writes)
        if not join or group.kind in ("shader", "matmul", "conv"):
            return
        if group.kind == "reduce":
            for candidate in producers:
                if self._take_prologue(self._graph.find(candidate), number):
                    return
            return
        home = number
        for candidate in (*producers, *self._alike(sharers, group)):
            into = self._graph.find(candidate)
            if into != home and not self._held_back(command, number, into):
                home = self._join(into, home)

    def _alike(self, groups: Sequence[int], group: Group) -> list[int]:
        """The first few of ``groups`` that read what ``group`` reads, too, element by element: a core's inputs are no gain."""
        size, values = math.prod(group.shape), {p.value for p in group.epilogue.inputs}
        found = []
        for number in groups:
            other = self._groups[number]
            if math.prod(other.shape) == size and any(p.value in values for p in other.epilogue.inputs):
                found.append(number)
                if len(found) == SHARERS:
                    break
        return found

    def _accesses(self, command: PlannedCommand) -> tuple[list[Access], list[Access]]:
        spec = command.spec
        known = self._constants if spec.kind in READS_CONSTANTS else {}
        reads = [span(v, o, layout) for (v, o), layout in zip(command.inputs, spec.inputs, strict=True) if v not in known]
        writes = [span(v, o, layout) for (v, o), layout in zip(command.outputs, spec.outputs, strict=True)]
        if command.errors is not None:
            writes.append(Access(command.errors, 0, 16))
        return reads, writes

    def _escapes(self, value: int, members: int) -> bool:
        """Whether somebody other than ``members`` looks for the value in memory."""
        if value in self._visible or value not in self._made:
            return True
        if value in self._constants:
            return value in self._needed
        return bool(self._users.get(value, 0) & ~members)

    def _held_back(self, command: PlannedCommand, number: int, into: int) -> bool:
        """Whether a command had better wait for those who use its result.

        That is so where none of them can join ``into``, so that the result would have to be stored, while all that the command takes
        from there is in memory anyway. (The mask of a ReLU, say, in backward: its input was saved.)
        """
        group = self._groups[into]
        members, later = group.members | 1 << number, group.members & ~group.early
        if command.spec.in_place or command.errors is not None:
            return False
        size = command.spec.outputs[0].numel
        for value, _ in command.outputs:
            users = self._users.get(value, 0)
            if value in self._visible or not users:
                return False
            for user in bits(users):
                spec = self._commands[user].spec
                if spec.kind not in READS_CONSTANTS or (spec.inputs or spec.outputs)[0].numel != size or not self._behind[user] & later:
                    return False
        return all(self._escapes(value, members) for value, _ in command.inputs if self._writer.get(value, 0) & group.members)

    # -- joining --------------------------------------------------------------------------------------------------
    def _join(self, into: int, number: int) -> int:
        """Make the two groups one if that is possible; returns the group ``number`` is in afterwards."""
        if into == number:
            return number
        # Whichever depends on the other comes second. Where neither does, the order means nothing.
        first, second = (number, into) if self._graph.after(into, number) else (into, number)
        a, b = self._groups[first], self._groups[second]
        if "shader" in (a.kind, b.kind) or (a.core is not None and b.core is not None):
            return number
        if a.steps() + b.steps() > MAX_STEPS or a.scalars() + b.scalars() > MAX_SCALARS:
            return number
        shape = common_domain(a, b)
        if shape is None or self._graph.apart(first, second) or not self._compatible(a, b, shape):
            return number
        a.follow(b, shape)
        for p in [p for p in a.epilogue.current if not self._escapes(p.value, a.members)]:
            del a.epilogue.current[p]  # everybody who uses it is here: nobody will ask for it again
        kept, gone = min(first, second), max(first, second)
        del self._groups[gone]
        self._groups[kept] = a
        self._graph.unite(kept, gone)
        return kept

    def _compatible(self, a: Group, b: Group, shape: Shape) -> bool:
        """Same elements at the same places wherever one writes what the other touches; and within the device's limits."""
        if (a.errors is not None or b.errors is not None) and (a.core is not None or b.core is not None):
            return False
        if (a.has_tables() or b.has_tables()) and (a.core is not None or b.core is not None):
            return False
        mine, theirs = a.places(shape), b.places(shape)
        if mine is None or theirs is None or not self._fits(a, b, mine, theirs) or _clash(mine, theirs, shape):
            return False
        for group, (_, written) in ((a, theirs), (b, mine)):
            if group.core is not None:
                reads = group.core_reads()
                if any(overlap(access(p, shape), r) for p in written for r in reads):
                    return False
        return True

    def _fits(self, a: Group, b: Group, mine: Places, theirs: Places) -> bool:
        """Storage buffers and parameters of a kernel that does ``b`` after ``a``. What is read and written in place is one buffer."""
        members = a.members | b.members
        stored = {p for p in (*mine[1], *theirs[1]) if self._escapes(p.value, members)}
        loaded = set(mine[0]) | (set(theirs[0]) - set(mine[1]))
        core = sum(len(g.prologue.inputs) if g.kind == "reduce" else len(g.core_inputs) for g in (a, b))
        errors = int(a.errors is not None or b.errors is not None)
        if core + errors + len(loaded | stored) > self._traits.storage_buffers:
            return False
        rank = max(len(a.shape), len(b.shape), len(a.inner), len(b.inner))
        operands = core + len(loaded) + len(stored)
        return operands * (1 + rank) + 2 * (a.scalars() + b.scalars()) <= MAX_WORDS

    def _take_prologue(self, producer: int, number: int) -> bool:
        """Let a reduction compute its input itself, if nobody else wants to see it."""
        a, b = self._groups[producer], self._groups[number]
        if a.kind != "elementwise" or a.errors is not None or a.has_tables() or len(b.prologue.inputs) != 1:
            return False
        wanted = b.prologue.inputs[0]
        if any(self._escapes(p.value, a.members | b.members) for p in a.epilogue.current):
            return False
        if self._graph.apart(producer, number) or math.prod(a.shape) != math.prod(b.inner) or not _in_order(a, b):
            return False
        moved = {p: express(p, a.shape, b.inner) for p in (*a.epilogue.inputs, *a.epilogue.current)}
        if None in moved.values() or wanted not in [moved[p] for p in a.epilogue.current]:
            return False
        if len(a.epilogue.inputs) + 1 > self._traits.storage_buffers or a.scalars() + b.scalars() > MAX_SCALARS:
            return False
        prologue = type(b.prologue)()
        prologue.absorb(a.epilogue, lambda p: moved[p])  # type: ignore[arg-type, return-value]
        prologue.absorb(b.prologue, lambda p: p)
        prologue.current = {PROLOGUE: prologue.current[PROLOGUE]}
        b.prologue = prologue
        b.names, b.members = a.names + b.names, a.members | b.members
        self._groups[producer] = self._groups.pop(number)
        self._graph.unite(producer, number)
        return True

    # -- result ---------------------------------------------------------------------------------------------------
    def result(self) -> list[tuple[Group, list[Place]]]:
        """The groups in order, and the places of each that have to be written; without those that do nothing."""
        pairs = []
        for number in self._graph.sorted():
            group = self._groups[number]
            stored = [p for p in group.epilogue.current if self._escapes(p.value, group.members)]
            if stored or group.errors is not None:
                pairs.append((group, stored))
        return pairs


def _clash(mine: Places, theirs: Places, shape: Shape) -> bool:
    """Whether something that one of the two writes is touched by the other elsewhere than at the same element."""
    for written, touched in ((mine[1], (*theirs[0], *theirs[1])), (theirs[1], mine[0])):
        by_value: dict[int, list[tuple[Place, int, int]]] = {}
        for p in written:
            by_value.setdefault(p.value, []).append((p, *extent(p, shape)))
        for q in touched:
            found = by_value.get(q.value)
            if found is not None:
                start, end = extent(q, shape)
                if any(p != q and first < end and start < last for p, first, last in found):
                    return True
    return False


def _in_order(a: Group, b: Group) -> bool:
    """Whether a reduction ``b`` visits elements in the order in which ``a``'s are numbered, where ``a`` uses their numbers."""
    if not any(opcode == "index" for opcode, *_ in a.epilogue.steps):
        return True
    assert b.core is not None
    axes = b.core.attributes[1]
    assert isinstance(axes, tuple)
    return axes == tuple(range(len(b.inner) - len(axes), len(b.inner)))


def common_domain(a: Group, b: Group) -> Shape | None:
    """The domain both can be walked over; a core's cannot be changed."""
    if a.shape == b.shape:
        return a.shape
    if math.prod(a.shape) != math.prod(b.shape):
        return None
    same = squeezed(a.shape) == squeezed(b.shape)
    for fixed, other in ((a, b), (b, a)):
        if (other.core is None) and (same or other.flat()) and (fixed.core is not None or not fixed.flat() or other.flat()):
            return fixed.shape
    return None


def fuse(
    commands: Sequence[PlannedCommand], living: Collection[int], made: Collection[int], traits: Traits, join: bool = True
) -> list[tuple[Group, list[Place]]]:
    """The groups of a batch in order, and what each has to store. Without ``join``, every command is a group of its own."""
    filled = [c for c in commands if any(layout.numel for layout in c.spec.outputs)]
    fusion = Fusion(filled, living, made, traits)
    for number in range(len(filled)):
        fusion.add(number, join)
    return fusion.result()
