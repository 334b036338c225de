"""What must hold of every plan before a device sees it; `CheckFailed` names the kernels and the bytes where it does not.

Nothing here trusts how the plan was made: levels, lifetimes and places are worked out again from the kernels' accesses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import CheckFailed
from ..hazards import Access, overlap
from .convolution import ConvKernel
from .place import lifetimes
from .plan import ElementwiseKernel, Kernel, MatmulKernel, Operand, Plan, ReduceKernel

if TYPE_CHECKING:
    from ..buffer import Buffer
    from ..driver import Traits
    from ..layout import Shape


def check_plan(plan: Plan, buffers: Sequence[Buffer], traits: Traits) -> None:
    """Check ``plan`` as it is bound to ``buffers``."""
    expected = len(plan.bound) + len(plan.arenas())
    if len(buffers) != expected:
        raise CheckFailed(f"a plan for {expected} buffers was bound to {len(buffers)}")
    _check_arena(plan, traits)
    _check_accesses(plan, buffers)
    _check_levels(plan, buffers, traits.hazard_alignment)
    _check_order(plan)


def title(kernel: Kernel) -> str:
    """``add+mul [1024]``, as messages name a kernel."""
    shape = domain(kernel)
    return "+".join(kernel.names) + ("" if shape is None else f" {list(shape)}")


def domain(kernel: Kernel) -> Shape | None:
    """What the outputs are walked over; None where only the kernel itself knows."""
    if isinstance(kernel, ElementwiseKernel):
        return kernel.shape
    if isinstance(kernel, ReduceKernel):
        return (*kernel.kept, kernel.splits) if kernel.splits > 1 else kernel.kept
    if isinstance(kernel, MatmulKernel):
        return (*kernel.batch, kernel.rows, kernel.columns)
    return kernel.shape if isinstance(kernel, ConvKernel) else None


def _walks(kernel: Kernel) -> Iterator[tuple[Operand, Shape]]:
    """Operands and the shapes that the kernel walks them over."""
    shape = domain(kernel)
    if shape is None:
        return
    shapes = [shape] * len(kernel.inputs)
    if isinstance(kernel, ReduceKernel):
        early = len(kernel.inputs) - kernel.late
        shapes = [(*kernel.kept, *kernel.reduced)] * early + [kernel.kept] * kernel.late
    elif isinstance(kernel, MatmulKernel):
        shapes[:2] = (*kernel.batch, kernel.rows, kernel.depth), (*kernel.batch, kernel.depth, kernel.columns)
    elif isinstance(kernel, ConvKernel):
        shapes = kernel.walks()
    yield from zip(kernel.inputs, shapes, strict=True)
    yield from ((operand, shape) for operand in kernel.outputs)


# -- bounds -------------------------------------------------------------------------------------------------------
def _check_accesses(plan: Plan, buffers: Sequence[Buffer]) -> None:
    """Every access lies inside its value, and every value inside its memory."""
    room = {value: buffer.nbytes for value, buffer in zip(plan.bound, buffers, strict=False)}
    room |= {value: plan.sizes[value] for value in plan.offsets}
    for value in plan.outputs:
        if plan.sizes[value] > room[value]:
            raise CheckFailed(f"value {value} of {plan.sizes[value]} bytes is bound to a buffer of {room[value]}")
    for kernel in plan.kernels:
        for access in (*kernel.reads(), *kernel.writes()):
            if access.value not in room:
                raise CheckFailed(f"{title(kernel)}: value {access.value} has no memory")
            if not 0 <= access.start <= access.end <= room[access.value]:
                raise CheckFailed(
                    f"{title(kernel)}: bytes {access.start} to {access.end} of value {access.value}, "
                    f"which has {room[access.value]}"
                )
        for operand, shape in _walks(kernel):
            _check_walk(kernel, operand, shape)


def _check_walk(kernel: Kernel, operand: Operand, shape: Shape) -> None:
    if len(shape) != len(operand.strides):
        raise CheckFailed(f"{title(kernel)}: strides {operand.strides} over {list(shape)}")
    if 0 in shape:
        return
    last = operand.offset + sum((n - 1) * s for n, s in zip(shape, operand.strides, strict=True))
    size, access = operand.dtype.itemsize, operand.access
    if operand.offset * size < access.start or (last + 1) * size > access.end:
        raise CheckFailed(
            f"{title(kernel)}: walks bytes {operand.offset * size} to {(last + 1) * size} of value {operand.value}, "
            f"but says {access.start} to {access.end}"
        )


# -- the arena ----------------------------------------------------------------------------------------------------
def _check_arena(plan: Plan, traits: Traits) -> None:
    """What lies in the arena lies inside of it, aligned; what shares bytes is never alive on the same level.

    The exception: one kernel reads the one for the last time and writes the other, at the same places.
    """
    places = {**plan.offsets, **plan.carved}
    lives = lifetimes(plan.levels, places, plan.carved)
    pieces = sorted((offset, offset + plan.sizes[value], value) for value, offset in places.items())
    open_pieces: list[tuple[int, int, int]] = []
    for start, end, value in pieces:
        if start % traits.alignment or end > plan.arena:
            raise CheckFailed(f"temporary {value} lies at {start} to {end} of an arena of {plan.arena}")
        if start // plan.segment != (end - 1) // plan.segment and plan.sizes[value] <= plan.segment:
            raise CheckFailed(f"temporary {value} lies at {start} to {end}, across two pieces of {plan.segment}")
        open_pieces = [piece for piece in open_pieces if piece[1] > start]
        for other_start, other_end, other in open_pieces:
            if value in lives and other in lives:
                first, last = max(lives[value][0], lives[other][0]), min(lives[value][1], lives[other][1])
                if first < last or (first == last and not _handed_over(plan.levels[first], value, other)):
                    raise CheckFailed(
                        f"temporaries {other} ({other_start} to {other_end}) and {value} ({start} to {end}) share "
                        f"bytes and are both alive on level {first}"
                    )
        if end > start:
            open_pieces.append((start, end, value))


def _handed_over(level: Sequence[Kernel], a: int, b: int) -> bool:
    """Whether on this level the two are touched by one kernel only, which reads the one where it writes the other."""
    for kernel in level:
        touched = [access.value for access in (*kernel.reads(), *kernel.writes())]
        if a in touched or b in touched:
            if not kernel.donated or touched.count(a) != 1 or touched.count(b) != 1:
                return False
            walks = {o.value: (o.offset, o.strides, o.dtype.itemsize) for o in (*kernel.inputs, *kernel.outputs)}
            outputs = {o.value for o in kernel.outputs}
            if walks[a] != walks[b] or (a in outputs) == (b in outputs):
                return False
    return True


# -- hazards ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Touch:
    """A kernel's access by where it really is: ``place.value`` is the block's key, the bytes count from its start."""

    place: Access
    kernel: int
    writes: bool


def _touches(level: Sequence[Kernel], bases: dict[int, tuple[int, int]], alignment: int) -> list[_Touch]:
    found = []
    for number, kernel in enumerate(level):
        for accesses, writes in ((kernel.reads(), False), (kernel.writes(), True)):
            for a in accesses:
                if a.end > a.start:
                    block, base = bases[a.value]
                    place = Access(block, base + a.start, base + a.end).widened(alignment)
                    found.append(_Touch(place, number, writes))
    found.sort(key=lambda t: (t.place.value, t.place.start))
    return found


def _check_levels(plan: Plan, buffers: Sequence[Buffer], alignment: int) -> None:
    """No kernel writes what another one of its level touches: nothing orders the two."""
    bases = {value: (buffer.block.key, buffer.offset) for value, buffer in zip(plan.bound, buffers, strict=False)}
    for value, piece, offset in plan.spots():
        arena = buffers[len(plan.bound) + piece]
        block, base = arena.block.key, arena.offset
        bases[value] = (block, base + offset)
    for number, level in enumerate(plan.levels):
        before: list[_Touch] = []
        for touch in _touches(level, bases, alignment):
            before = [b for b in before if b.place.value == touch.place.value and b.place.end > touch.place.start]
            for other in before:
                if other.kernel != touch.kernel and (other.writes or touch.writes):
                    _report_conflict(number, level, other, touch)
            before.append(touch)


def _report_conflict(number: int, level: Sequence[Kernel], a: _Touch, b: _Touch) -> None:
    assert overlap(a.place, b.place)
    one, other = (
        f"{title(level[t.kernel])} {'writes' if t.writes else 'reads'} bytes {t.place.start} to {t.place.end}" for t in (a, b)
    )
    raise CheckFailed(f"on level {number}, without a barrier between them, {one} and {other} of block {a.place.value}")


def _check_order(plan: Plan) -> None:
    """What the plan makes is written before it is read, and what somebody can see afterwards is written at all."""
    made = set(plan.offsets) | set(plan.outputs)
    written: dict[int, list[tuple[int, int]]] = {}
    for level in plan.levels:
        for kernel in level:
            for access in kernel.reads():
                if access.value in made and not _covered(access, written.get(access.value, ())):
                    raise CheckFailed(
                        f"{title(kernel)} reads bytes {access.start} to {access.end} of value {access.value} before "
                        "they are written"
                    )
        for kernel in level:
            for access in kernel.writes():
                if access.value in made:
                    pieces = written.setdefault(access.value, [])
                    pieces.append((access.start, access.end))
                    pieces.sort()
    for value in plan.outputs:
        if plan.sizes[value] and not _covered(Access(value, 0, plan.sizes[value]), written.get(value, ())):
            raise CheckFailed(f"nothing writes all {plan.sizes[value]} bytes of value {value}, which is an output")


def _covered(access: Access, pieces: Iterable[tuple[int, int]]) -> bool:
    """Whether sorted ``pieces`` leave no gap in the access's bytes."""
    reached = access.start
    for start, end in pieces:
        if start > reached:
            break
        reached = max(reached, end)
    return reached >= access.end
