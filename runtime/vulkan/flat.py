"""Elementwise kernels on contiguous tensors, merged: one shader whatever their sizes, unlike `runtime.vulkan.elementwise`'s, which is
another one for sizes that do not divide by four or are smaller than that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..command import Program
from ..driver import Traits
from ..plan.plan import ElementwiseKernel
from .access import Abilities, Tensor
from .descriptors import NO_FORMAT
from .elementwise import LOCAL, WHOLE, in_four, load_some, results_of, store_some
from .operands import SINGLE, STRIDED, bindings_of, mode, reads_texels, tensors_of, texel_format
from .parameters import Parameters
from .spirv import Ext, Module, Op
from .table import Row

EACH = 4  # elements at a time
TURNS = 8  # times an invocation does that: finding its row costs as much as some elements


@dataclass(frozen=True, slots=True)
class FlatKey:
    """What makes two of these the same shader. ``columns``: per operand, which of the row's first elements is its own."""

    program: Program
    modes: tuple[str, ...]
    outputs: int
    bindings: tuple[int, ...]
    formats: tuple[int, ...]
    columns: tuple[int, ...]


def key_of(kernel: ElementwiseKernel, traits: Traits) -> FlatKey | None:
    """None where an operand is walked by coordinates."""
    operands = kernel.inputs + kernel.outputs
    modes = [mode(o.strides, kernel.shape) for o in operands]
    if STRIDED in modes:
        return None
    modes = [in_four(o, how, 0) for o, how in zip(operands, modes, strict=True)]
    formats = [NO_FORMAT] * len(kernel.inputs)
    if reads_texels(traits):
        formats = [texel_format(o, how in WHOLE, traits) for o, how in zip(kernel.inputs, modes, strict=False)]
    bindings = bindings_of(kernel, [k for k, f in enumerate(formats) if f != NO_FORMAT])
    places = [(o.value, o.offset, o.dtype) for o in operands]
    columns = tuple(list(dict.fromkeys(places)).index(p) for p in places)
    return FlatKey(kernel.program, tuple(modes), len(kernel.outputs), bindings, tuple(formats), columns)


def invocations(kernel: ElementwiseKernel, key: FlatKey) -> int:
    return -(-math.prod(kernel.shape) // (EACH * TURNS))


def parameters_of(kernel: ElementwiseKernel, key: FlatKey, starts: list[int]) -> Parameters:
    made = Parameters()
    columns = dict(zip(key.columns, starts, strict=True))
    made.add(math.prod(kernel.shape), *(columns[k] for k in range(len(columns))))
    made.add_scalars(kernel.scalars, kernel.program.scalars)
    return made


def emit(key: FlatKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: inputs, outputs."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    program, count = key.program, len(key.program.inputs)
    dtypes = [*program.inputs, *(program.dtype_of(r) for r in program.results)]
    fours = [k for k, how in enumerate(key.modes) if how in WHOLE]
    texels = [k for k, f in enumerate(key.formats) if f != NO_FORMAT]
    tensors = tensors_of(m, dtypes, key.bindings, key.outputs, abilities, True, fours, texels)
    singly = [
        Tensor(m, key.bindings[k], dtypes[k], abilities, writable=True, aliased=True) if key.modes[k] in WHOLE else tensors[k]
        for k in range(count, len(tensors))
    ]
    row = Row(m)
    number = row.number()
    (length,) = row.take(1)
    columns = row.take(max(key.columns) + 1)
    scalars = row.scalars(program, abilities)
    # Invocations next to each other take elements next to each other at every turn.
    inside = m.op(Op.UMod, m.u32, number, m.u(LOCAL))
    begin = m.mul(m.add(m.mul(m.op(Op.ISub, m.u32, number, inside), m.u(TURNS)), inside), m.u(EACH))
    end = m.ext(Ext.UMin, m.u32, length, m.add(begin, m.u(LOCAL * EACH * TURNS)))
    with m.loop(begin, end, m.u(LOCAL * EACH)) as first:
        starts = [columns[k] for k in key.columns]
        places = [start if how == SINGLE else m.add(start, first) for how, start in zip(key.modes, starts, strict=True)]
        one = m.u(1)
        loaded = [load_some(m, t, how, place, one) for t, how, place in zip(tensors[:count], key.modes, places, strict=False)]
        results = results_of(m, program, loaded, scalars, abilities, first)
        left = m.op(Op.ISub, m.u32, length, first)
        for k in range(count, len(tensors)):
            store_some(m, (tensors[k], singly[k - count]), key.modes[k], places[k], one, results[k - count], left)
    return m.finish()
