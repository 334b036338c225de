"""Planning: commands in, kernels in levels with their memory out. Pure bookkeeping: no device, no waiting."""

from __future__ import annotations

from collections.abc import Sequence

from ..driver import Traits
from ..layout import Layout
from .decode import decode, drop_dead
from .fuse import fuse
from .lower import Lowering
from .order import levels
from .place import arrange, gaps, marked, segment_of
from .plan import Kernel, Plan


def make_plan(
    key: Sequence[object], living: Sequence[int], traits: Traits, error_layout: Layout, join: bool = True
) -> Plan:
    """The plan of a batch: ``key`` as `Batch` describes it, ``living`` the new storages that somebody can still see.

    Without ``join`` every command is a kernel of its own.
    """
    decoded = decode(key)
    commands = drop_dead(decoded.commands, decoded.made, living)
    lowering = Lowering(traits, decoded.values, error_layout)
    groups = fuse(commands, living, decoded.made, traits, join)
    kernels: list[Kernel] = []
    for group, stored in groups:
        kernels += lowering.lower(group, stored)
    ordered = levels(kernels, traits.hazard_alignment)

    touched = {a.value for k in kernels for a in (*k.reads(), *k.writes())}
    outputs = tuple(living)
    sizes = decoded.made | lowering.sizes
    temporary = {v: sizes[v] for v in sorted(touched) if v in sizes and v not in set(living)}
    lasting = {v: sizes[v] for v in outputs if v in touched}
    placed = arrange(ordered, temporary, lasting, traits)
    ordered = marked(ordered, placed.donated)
    carved = {v: offset for v, offset in placed.offsets.items() if v in lasting}
    older = [v for v in sorted(touched) if v not in sizes]
    written = {a.value for k in kernels for a in k.writes()}
    return Plan(
        levels=ordered,
        bound=(*older, *outputs),
        outputs=outputs,
        written=tuple(v for v in (*older, *outputs) if v in written),
        offsets={v: offset for v, offset in placed.offsets.items() if v not in lasting},
        sizes=sizes,
        arena=placed.size,
        fused=len(commands) - len(groups),
        carved=carved,
        gaps=gaps(carved, sizes, placed.size, traits.alignment),
        segment=segment_of(traits),
    )
