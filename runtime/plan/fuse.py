"""Fusion: commands become as few kernels as their data and the device's limits allow.

Groups are nodes of a dependency graph. A command joins a group whose result it reads (or whose inputs it shares) when both walk
the same elements in the same way and no third group has to run in between. What comes out is sorted so that every group
follows what it depends on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from heapq import heapify, heappop, heappush

from ..driver import Traits
from ..hazards import Access, overlap
from ..layout import Shape
from .decode import PlannedCommand
from .group import PROLOGUE, Constant, Group, constant_of, group_of
from .places import Place, access, express, squeezed

MAX_STEPS = 100  # per kernel: enough to leave memory traffic behind, few enough for quick compilation and few registers
MAX_SCALARS = 64


class Graph:
    """Groups, what each depends on, and who reads which value."""

    def __init__(self, commands: Sequence[PlannedCommand], living: Collection[int], made: Collection[int], traits: Traits) -> None:
        self._commands = commands
        self._living = set(living)
        self._made = made
        self._traits = traits
        self._groups: dict[int, Group] = {}
        self._owner = list(range(len(commands)))
        self._before: list[int] = [0] * len(commands)  # bit sets of all groups that must run earlier
        self._direct: list[int] = [0] * len(commands)
        self._touched: dict[int, list[tuple[Access, bool, int]]] = {}
        self._constants: dict[int, Constant] = {}
        self._users: dict[int, set[int]] = {}
        for number, command in enumerate(commands):
            for value, _ in (*command.inputs, *command.outputs[: command.spec.in_place]):
                self._users.setdefault(value, set()).add(number)
        self._writes = self._count_writes()

    def _count_writes(self) -> dict[int, int]:
        writes: dict[int, int] = {}
        for command in self._commands:
            for value, _ in command.outputs:
                writes[value] = writes.get(value, 0) + 1
        return writes

    # -- building -------------------------------------------------------------------------------------------------
    def add(self, number: int) -> None:
        """Take in one command: as a group of its own, then joined with what it can be joined with."""
        command = self._commands[number]
        constant = constant_of(command)
        if constant is not None:
            value = command.outputs[0][0]
            if self._writes[value] == 1:
                self._constants[value] = constant
        group = group_of(number, command, self._constants)
        self._groups[number] = group
        candidates = self._connect(number, command)
        if group.kind == "shader":
            return
        if group.kind == "reduce":
            for candidate in candidates:
                self._take_prologue(candidate, number)
            return
        if group.kind == "matmul":
            return
        home = number
        for candidate in candidates:
            home = self._join(candidate, home)

    def _find(self, number: int) -> int:
        while self._owner[number] != number:
            number = self._owner[number]
        return number

    def _connect(self, number: int, command: PlannedCommand) -> list[int]:
        """Note what the command touches and depends on; returns groups worth joining: producers, then sharers of inputs."""
        spec = command.spec
        known = self._constants if spec.kind in ("elementwise", "reduce") else {}
        reads = [_span(v, o, layout) for (v, o), layout in zip(command.inputs, spec.inputs, strict=True) if v not in known]
        writes = [_span(v, o, layout) for (v, o), layout in zip(command.outputs, spec.outputs, strict=True)]
        if command.errors is not None:
            writes.append(Access(command.errors, 0, 16))
        producers: dict[int, None] = {}
        sharers: dict[int, None] = {}
        for mine, is_write in [*((a, False) for a in reads), *((a, True) for a in writes)]:
            for other, was_write, whose in self._touched.get(mine.value, ()):
                if overlap(mine.widened(self._traits.hazard_alignment), other.widened(self._traits.hazard_alignment)):
                    owner = self._find(whose)
                    if is_write or was_write:
                        self._depend(number, owner)
                        producers[owner] = None
                    else:
                        sharers[owner] = None
        for mine, is_write in [*((a, False) for a in reads), *((a, True) for a in writes)]:
            self._touched.setdefault(mine.value, []).append((mine, is_write, number))
        latest = sorted(producers, reverse=True)
        return latest + [s for s in sorted(sharers, reverse=True) if s not in producers]

    def _depend(self, group: int, on: int) -> None:
        self._direct[group] |= 1 << on
        self._before[group] |= self._before[on] | 1 << on

    # -- joining --------------------------------------------------------------------------------------------------
    def _apart(self, a: int, b: int) -> bool:
        """Whether a third group has to run between the two, so that they can never be one."""
        for first, last in ((a, b), (b, a)):
            between = self._direct[last] & ~(1 << first)
            while between:
                low = between & -between
                middle = self._find(low.bit_length() - 1)
                if middle not in (first, last) and self._before[middle] >> first & 1:
                    return True
                between ^= low
        return False

    def _join(self, into: int, number: int) -> int:
        """Make the two groups one if that is possible; returns the group ``number`` is in afterwards."""
        into = self._find(into)
        if into == number:
            return number
        first, second = (into, number) if into < number else (number, into)
        a, b = self._groups[first], self._groups[second]
        if "shader" in (a.kind, b.kind) or (a.core is not None and b.core is not None):
            return number
        shape = common_domain(a, b)
        if shape is None or self._apart(first, second) or not self._compatible(a, b, shape):
            return number
        self._merge(first, second, shape)
        return first

    def _compatible(self, a: Group, b: Group, shape: Shape) -> bool:
        """Same elements at the same places wherever one writes what the other touches; and within the device's limits."""
        steps = len(a.epilogue.steps) + len(b.epilogue.steps) + len(a.prologue.steps) + len(b.prologue.steps)
        scalars = len({*a.epilogue.scalars, *b.epilogue.scalars, *a.prologue.scalars, *b.prologue.scalars})
        if steps > MAX_STEPS or scalars > MAX_SCALARS:
            return False
        mine, theirs = _moved(a, shape), _moved(b, shape)
        if mine is None or theirs is None:
            return False
        for p, writes in mine.items():
            for q, also in theirs.items():
                if (writes or also) and p.value == q.value and p != q and overlap(access(p, shape), access(q, shape)):
                    return False
        for group, places in ((a, theirs), (b, mine)):
            if group.core is not None:
                reads = group.core_reads()
                if any(writes and overlap(access(p, shape), r) for p, writes in places.items() for r in reads):
                    return False
        if (a.errors is not None or b.errors is not None) and (a.core is not None or b.core is not None):
            return False
        return self._bindings(a, b, mine, theirs) <= self._traits.storage_buffers

    def _bindings(self, a: Group, b: Group, mine: dict[Place, bool], theirs: dict[Place, bool]) -> int:
        members = {*a.members, *b.members}
        written = {p for p, writes in (*mine.items(), *theirs.items()) if writes}
        stored = {p for p in written if self._escapes(p.value, members)}
        loaded = {p for p, writes in mine.items() if not writes}
        loaded |= {p for p, writes in theirs.items() if not writes and p not in written}
        loaded |= {p for p in written if p in set(_loads(a)) or p in set(_loads(b))}
        core = sum(len(g.prologue.inputs) if g.kind == "reduce" else len(g.core_inputs) for g in (a, b) if g.core is not None)
        errors = int(a.errors is not None or b.errors is not None)
        return len(stored) + len(loaded) + core + errors

    def _escapes(self, value: int, members: Collection[int]) -> bool:
        """Whether somebody outside ``members`` reads the value: then it has to be in memory."""
        if value in self._living or value not in self._made:
            return True
        if value in self._constants:
            return any(self._commands[u].spec.kind in ("matmul", "shader") for u in self._users.get(value, ()))
        return any(user not in members for user in self._users.get(value, ()))

    def _merge(self, first: int, second: int, shape: Shape) -> None:
        a, b = self._groups[first], self._groups.pop(second)
        if b.core is not None:
            # What came before the core's group only prepares values for its epilogue.
            merged = Group(
                b.kind, shape, type(b.epilogue)(b.epilogue.core), a.names + b.names, a.members + b.members, b.core, b.core_inputs,
                b.core_output, b.core_scalars, b.inner, b.prologue,
            )  # fmt: skip
            merged.epilogue.absorb(a.epilogue, _mover(a.shape, shape))
            merged.epilogue.absorb(b.epilogue, _mover(b.shape, shape), ("core", 0))
        else:
            merged = Group(
                a.kind, shape, type(a.epilogue)(a.epilogue.core), a.names + b.names, a.members + b.members, a.core, a.core_inputs,
                a.core_output, a.core_scalars, a.inner, a.prologue,
            )  # fmt: skip
            merged.epilogue.absorb(a.epilogue, _mover(a.shape, shape), ("core", 0) if a.core is not None else None)
            merged.epilogue.absorb(b.epilogue, _mover(b.shape, shape))
        merged.errors = a.errors if a.errors is not None else b.errors
        self._groups[first] = merged
        self._unite(first, second)

    def _take_prologue(self, producer: int, number: int) -> None:
        """Let a reduction compute its input itself, if nobody else wants to see it."""
        producer = self._find(producer)
        a, b = self._groups[producer], self._groups[number]
        if a.kind != "elementwise" or a.errors is not None or len(b.prologue.inputs) != 1:
            return
        wanted = b.prologue.inputs[0]
        members = {*a.members, *b.members}
        if any(self._escapes(p.value, members) for p in a.epilogue.current):
            return
        if self._apart(producer, number):
            return
        assert b.core is not None
        axes = b.core.attributes[1]
        assert isinstance(axes, tuple)
        numbered = any(opcode == "index" for opcode, *_ in a.epilogue.steps)
        if numbered and axes != tuple(range(len(b.inner) - len(axes), len(b.inner))):
            return  # the elements would be visited in another order than they are numbered
        if math.prod(a.shape) != math.prod(b.inner):
            return
        moved = {p: express(p, a.shape, b.inner) for p in (*a.epilogue.inputs, *a.epilogue.current)}
        if None in moved.values() or wanted not in [moved[p] for p in a.epilogue.current]:
            return
        if len(a.epilogue.inputs) + 1 > self._traits.storage_buffers or len(a.epilogue.scalars) > MAX_SCALARS:
            return
        prologue = type(b.prologue)()
        prologue.absorb(a.epilogue, lambda p: moved[p])  # type: ignore[arg-type, return-value]
        prologue.absorb(b.prologue, lambda p: p)
        prologue.current = {PROLOGUE: prologue.current[PROLOGUE]}
        b.prologue = prologue
        b.names, b.members = a.names + b.names, a.members + b.members
        del self._groups[producer]
        self._groups[producer] = b
        del self._groups[number]
        self._unite(producer, number)

    def _unite(self, first: int, second: int) -> None:
        """``second`` is part of ``first`` from now on; everything that came after either comes after both."""
        self._owner[second] = first
        self._direct[first] = (self._direct[first] | self._direct[second]) & ~(1 << first | 1 << second)
        before = (self._before[first] | self._before[second]) & ~(1 << first | 1 << second)
        self._before[first] = before
        both = 1 << first | 1 << second
        for other in self._groups:
            if other != first and self._before[other] & both:
                self._before[other] |= before | 1 << first

    # -- result ---------------------------------------------------------------------------------------------------
    def sorted(self) -> list[Group]:
        """Groups in an order that respects every dependency; otherwise as the program had them."""
        waiting: dict[int, int] = {}
        after: dict[int, list[int]] = {}
        for number in self._groups:
            needs = {self._find(k) for k in _bits(self._direct[number])} - {number}
            waiting[number] = len(needs)
            for need in needs:
                after.setdefault(need, []).append(number)
        ready = [n for n, count in waiting.items() if count == 0]
        heapify(ready)
        out = []
        while ready:
            number = heappop(ready)
            out.append(self._groups[number])
            for following in after.get(number, ()):
                waiting[following] -= 1
                if waiting[following] == 0:
                    heappush(ready, following)
        if len(out) != len(self._groups):
            raise AssertionError("fusion made groups that depend on each other in a circle")
        return out

    def stored(self, group: Group) -> list[Place]:
        """The places of a group that have to be written to memory."""
        members = set(group.members)
        return [p for p in group.epilogue.current if self._escapes(p.value, members)]


def _span(value: int, offset: int, layout: object) -> Access:
    from ..layout import Layout

    assert isinstance(layout, Layout)
    size = layout.dtype.itemsize
    return Access(value, offset * size, (offset + layout.span) * size)


def _bits(mask: int) -> list[int]:
    out = []
    while mask:
        low = mask & -mask
        out.append(low.bit_length() - 1)
        mask ^= low
    return out


def _loads(group: Group) -> list[Place]:
    return group.epilogue.inputs


def _moved(group: Group, shape: Shape) -> dict[Place, bool] | None:
    """The group's places over ``shape``, and whether they are written."""
    out: dict[Place, bool] = {}
    for places, writes in ((group.epilogue.inputs, False), (group.epilogue.current, True)):
        for p in places:
            moved = express(p, group.shape, shape)
            if moved is None:
                return None
            out[moved] = writes
    return out


def _mover(shape: Shape, target: Shape) -> Callable[[Place], Place]:
    def move(p: Place) -> Place:
        moved = express(p, shape, target)
        assert moved is not None
        return moved

    return move


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
    commands: Sequence[PlannedCommand], living: Collection[int], made: Collection[int], traits: Traits
) -> tuple[list[Group], list[list[Place]]]:
    """The groups of a batch, sorted, and what each has to store; without those that compute nothing."""
    filled = [c for c in commands if any(layout.numel for layout in c.spec.outputs)]
    graph = Graph(filled, living, made, traits)
    for number in range(len(filled)):
        graph.add(number)
    pairs = [(group, graph.stored(group)) for group in graph.sorted()]
    kept = [(group, stored) for group, stored in pairs if stored or group.errors is not None]
    return [group for group, _ in kept], [stored for _, stored in kept]
