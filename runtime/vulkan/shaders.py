"""Kernels with code of their own: which module makes the shader of which name.

Such a module has what the other families have:

- ``LOCAL``: invocations per workgroup;
- ``key_of(kernel, traits)``: a hashable key of everything that makes two kernels different shaders. It has ``bindings``, the binding of
  each operand as `operands.bindings_of` gives it, and may have ``formats`` (of texel buffers, a `NO_FORMAT` for other bindings) and
  ``variant`` (what was chosen, for people);
- ``invocations(kernel, key)``: how many are needed;
- ``parameters_of(kernel, key, starts)``: the words that the shader reads; ``starts`` are the operands' first elements, counted from
  where their bindings begin;
- ``emit(key, abilities)``: the SPIR-V. The error words, if the kernel has them, are at the binding after the operands'.

A command for one is ``CommandSpec("shader", name of the operation, inputs, outputs, program, (shader, work, *attributes))``: ``program``
only declares the scalars and may be None. Nothing is fused with it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from . import choosing, moves, pooling, repeats, resampling, rows, runs, scans, search, sorting

FAMILIES: Final[dict[str, ModuleType]] = {
    "log_softmax": rows,
    "max_pool": pooling,
    "max_pool_back": pooling,
    "max_pool_join": pooling,
    "max_pool_pick": pooling,
    "max_pool_share": pooling,
    "pick": moves,
    "put": moves,
    "repeated": repeats,
    "resample": resampling,
    "run_bounds": runs,
    "run_clear": runs,
    "run_long": runs,
    "run_part": runs,
    "run_sum": runs,
    "scan": scans,
    "scan_sums": scans,
    "search": search,
    "softmax": rows,
    "sort_count": sorting,
    "sort_few": choosing,
    "sort_head": choosing,
    "sort_move": sorting,
    "sort_rank": sorting,
}
