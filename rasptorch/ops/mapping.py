"""Entries read from places that follow from their own: one kernel that works out, for each element, where it comes from.

A `Rule` says it for one dimension. Dimensions without a rule keep their strides, so tensors of any strides are read as they lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.division import quotient_numbers
from ..runtime.errors import ShapeError
from ..runtime.layout import Shape, layout_of
from ..tensor import Tensor
from .dispatch import SpecCache, check_size, enqueue, tape
from .program import ProgramWriter
from .views import copy_into, half, only_stored

_specs = SpecCache()

MOST = 1 << 31  # elements that an int32 can number


class Rule(NamedTuple):
    """Along dimension ``axis``, ``how`` (a key of `_RULES`) gives the source's coordinate from one's own, and two numbers."""

    axis: int
    how: str
    shift: int
    bound: int


def _reversed(write: ProgramWriter, c: int, shift: int, bound: int) -> int:
    """``bound - c``."""
    return write("sub", bound, c)


def _around(write: ProgramWriter, c: int, shift: int, bound: int) -> int:
    """``c + shift`` modulo ``bound``, of sums below twice and, for copies on both sides, three times as much."""
    moved = write("add", c, shift)
    for _ in range(2):
        moved = write("where", write("ge", moved, bound), write("sub", moved, bound), moved)
    return moved


def _within(write: ProgramWriter, c: int, shift: int, bound: int) -> int:
    """``c - shift``, no less than 0 and no more than ``bound``."""
    moved = write("sub", c, shift)
    return write("minimum", write("maximum", moved, write("sub", shift, shift)), bound)


def _mirrored(write: ProgramWriter, c: int, shift: int, bound: int) -> int:
    """``c - shift``, thrown back at 0 and at ``bound``."""
    over = write("sub", bound, write("abs", write("sub", c, shift)))
    return write("sub", bound, write("abs", over))


_RULES: Final[dict[str, Callable[[ProgramWriter, int, int, int], int]]] = {
    "around": _around, "mirrored": _mirrored, "reversed": _reversed, "within": _within,
}  # fmt: skip


def _coordinate(write: ProgramWriter, number: int, shape: Shape, axis: int, scalars: Sequence[int]) -> int:
    """One's own coordinate along ``axis``; ``scalars`` are the registers of what `_divisors` gives."""
    if math.prod(shape[axis + 1 :]) != 1:
        number = write("quotient", number, *scalars[:3])
    if math.prod(shape[:axis]) == 1:
        return number
    return write("sub", number, write("mul", write("quotient", number, *scalars[3:]), scalars[3]))


def _divisors(shape: Shape, axis: int) -> tuple[int, ...]:
    """What it takes to divide by the step and by the length of an axis."""
    return (*quotient_numbers(math.prod(shape[axis + 1 :])), *quotient_numbers(shape[axis]))


def mapped(name: str, x: Tensor, shape: Shape, rules: Sequence[Rule]) -> Tensor:
    """A tensor of ``shape``, each element of it the one of ``x`` that has the coordinates that ``rules`` give. Not taped.

    Along dimensions without a rule the two are of one length. What the rules name has to be there.
    """
    layout = layout_of(x.device, x.dtype, shape)
    if x.dtype.itemsize == 8 and only_stored(x.layout):  # two words each, as the device has no registers for them
        out = Tensor._make(x.device.stream().new_storage(layout.nbytes), 0, layout)
        for which in (0, 1):
            copy_into(half(out, which), mapped(name, half(x, which), shape, rules))
        return out
    key = (name, x.layout, shape, tuple([(r.axis, r.how) for r in rules]))
    spec = _specs.get(key)
    if spec is None:
        spec = _specs.put(key, _spec(name, x, shape, rules))
    numbers = [n for r in rules for n in (*_divisors(shape, r.axis), x.layout.strides[r.axis], r.shift, r.bound)]
    return enqueue(spec, (x,), numbers)


def _spec(name: str, x: Tensor, shape: Shape, rules: Sequence[Rule]) -> CommandSpec:
    out = layout_of(x.device, x.dtype, shape)
    check_size(name, out)
    if max(x.layout.span, out.numel) >= MOST:
        raise ShapeError(f"{name}: {list(x.shape)} to {list(shape)} is more than the {MOST - 1:,} elements that can be numbered: split it")
    write = ProgramWriter([x.dtype], [dt.int32] * (9 * len(rules)))
    table, *scalars = write.registers
    number = write.index(dt.int32)
    place: int | None = None
    for k, rule in enumerate(rules):
        *divisors, stride, shift, bound = scalars[9 * k : 9 * k + 9]
        source = _RULES[rule.how](write, _coordinate(write, number, shape, rule.axis, divisors), shift, bound)
        part = write("mul", source, stride)
        place = part if place is None else write("add", place, part)
    assert place is not None
    ruled = [r.axis for r in rules]
    walk = tuple([0 if a in ruled else s for a, s in enumerate(x.layout.strides)])
    program = write.program(write("lookup", place, table))
    return CommandSpec("elementwise", name, (x.layout,), (out,), program, walks={0: walk} if any(walk) else {})


# -- sums of entries at distances along one dimension -----------------------------------------------------------------
def four_summed(x: Tensor, axis: int, reach: int, backwards: bool) -> Tensor:
    """To every entry those added that lie ``reach``, twice and three times as far before it (after it): two steps of doubling in one.

    Entries that are not there are left out, and sums are those of pairs of pairs. Not taped.
    """
    layout, length = x.layout, x.shape[axis]
    key = ("cumsum", layout, axis, backwards)
    spec = _specs.get(key)
    if spec is None:
        spec = _specs.put(key, _summing_spec(x, axis, backwards))
    shifts = [min(k * reach, length) for k in (1, 2, 3)]
    limits = [length - s for s in shifts] if backwards else shifts
    return enqueue(spec, (x,), [*_divisors(layout.shape, axis), layout.strides[axis], *shifts, *limits])


def _summing_spec(x: Tensor, axis: int, backwards: bool) -> CommandSpec:
    write = ProgramWriter([x.dtype], [dt.int32] * 13)
    table, *divisors = write.registers[:7]
    stride, *more = write.registers[7:]
    own = _coordinate(write, write.index(dt.int32), x.shape, axis, divisors)
    there = [write("lt" if backwards else "ge", own, limit) for limit in more[3:]]
    places = [own]
    for shift, known in zip(more[:3], there, strict=True):
        places.append(write("where", known, write("add" if backwards else "sub", own, shift), own))
    a, b, c, d = (write("lookup", write("mul", place, stride), table) for place in places)
    near, far = write("where", there[0], write("add", a, b), a), write("where", there[2], write("add", c, d), c)
    total = write("where", there[1], write("add", near, far), near)
    walk = tuple([0 if k == axis else s for k, s in enumerate(x.layout.strides)])
    out = layout_of(x.device, x.dtype, x.shape)
    return CommandSpec("elementwise", "cumsum", (x.layout,), (out,), write.program(total), walks={0: walk} if any(walk) else {})


# -- borders: the way there and back along one dimension --------------------------------------------------------------
class Border(NamedTuple):
    """``before`` and ``after`` copies of a tensor's own entries around dimension ``axis`` of ``length`` entries."""

    axis: int
    mode: str
    length: int
    before: int
    after: int

    def rule(self) -> Rule:
        """Where the entries of the wider tensor come from."""
        if self.mode == "circular":
            return Rule(self.axis, "around", self.length - self.before, self.length)
        return Rule(self.axis, {"reflect": "mirrored", "replicate": "within"}[self.mode], self.before, self.length - 1)


def widened(x: Tensor, borders: tuple[Border, ...]) -> Tensor:
    """``x`` with borders, in one kernel."""
    shape = list(x.shape)
    for b in borders:
        shape[b.axis] = b.before + b.length + b.after
    with no_grad():
        out = mapped("pad", x.detach(), tuple(shape), [b.rule() for b in borders])
    return tape(out, "pad", _grad_widened, (x,), (), borders)


def _grad_widened(n: Node, g: Tensor) -> tuple[Tensor]:
    for border in n.attributes:
        g = _edges_added(g, border) if border.mode == "replicate" else _folded(g, border)
    return (g,)


def _edges_added(g: Tensor, border: Border) -> Tensor:
    """The sums of what went out from the first and the last entry, and the entries between as they are."""
    from .joining import cat
    from .reduction import sum
    from .views import narrow

    axis, _, n, before, after = border
    if n == 1:
        return sum(g, axis, keepdim=True)
    first = sum(narrow(g, axis, 0, before + 1), axis, keepdim=True)
    last = sum(narrow(g, axis, before + n - 1, after + 1), axis, keepdim=True)
    return cat([first, narrow(g, axis, before + 1, n - 2), last], axis)


def _folded(g: Tensor, border: Border) -> Tensor:
    """To every entry what went out from it: to its own place, and to those of its copies before and after."""
    shape = (*g.shape[: border.axis], border.length, *g.shape[border.axis + 1 :])
    layout = g.layout
    key = (layout, border.axis, border.mode, shape)
    spec = _specs.get(key)
    if spec is None:
        spec = _specs.put(key, _folding_spec(g, border, shape))
    axis, mode, n, before, after = border
    # Which entries have a copy before the first one (from, to), and where it is: at factor * coordinate + offset. Then after the last.
    if mode == "circular":
        copies = [n - before, n - 1, 1, before - n, 0, after - 1, 1, before + n]
    else:
        copies = [1, before, -1, before, n - 1 - after, n - 2, -1, before + 2 * (n - 1)]
    out = enqueue(spec, (g.detach(),), [*_divisors(shape, axis), layout.strides[axis], before, *copies, 0.0])
    return tape(out, "pad_back", lambda node, gg: (widened(gg, (node.attributes,)),), (g,), (), border)


def _folding_spec(g: Tensor, border: Border, shape: Shape) -> CommandSpec:
    axis = border.axis
    out = layout_of(g.device, g.dtype, shape)
    write = ProgramWriter([g.dtype], [dt.int32] * 16 + [g.dtype])
    table, *divisors = write.registers[:7]
    stride, before, *copies, zero = write.registers[7:]
    c = _coordinate(write, write.index(dt.int32), shape, axis, divisors)
    own = write("add", c, before)
    total = write("lookup", write("mul", own, stride), table)
    for k in (0, 4):
        low, high, factor, offset = copies[k : k + 4]
        there = write("logical_and", write("ge", c, low), write("le", c, high))
        place = write("where", there, write("add", write("mul", c, factor), offset), own)
        value = write("lookup", write("mul", place, stride), table)
        total = write("add", total, write("where", there, value, zero))
    walk = tuple([0 if a == axis else s for a, s in enumerate(g.layout.strides)])
    return CommandSpec("elementwise", "pad_back", (g.layout,), (out,), write.program(total), walks={0: walk} if any(walk) else {})
