"""Elementwise kernels: one small shader per program and way of walking, for any size."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .. import dtype as dt
from ..command import Program
from ..driver import Traits
from ..dtype import DType
from ..hazards import Access, overlap
from ..layout import Shape, contiguous_strides
from ..plan.plan import ElementwiseKernel, Kernel, Operand
from .access import Abilities, Tensor
from .parameters import Parameters, load_scalar
from .program import evaluate
from .spirv import Module, Op

LOCAL = 256
LINEAR, SINGLE, STRIDED = "linear", "single", "strided"


def mode(strides: Shape, shape: Shape) -> str:
    """How an operand is walked: element number itself, always one element, or by coordinates."""
    if strides == contiguous_strides(shape):
        return LINEAR
    return STRIDED if any(strides) else SINGLE


def bindings_of(kernel: Kernel) -> tuple[int, ...]:
    """The binding of each operand. What is read and then written in place has one: there are few of them."""
    numbers: list[int] = []
    read: dict[tuple[Access, DType], int] = {}
    for operand in kernel.inputs:
        numbers.append(len(numbers))
        read[operand.access, operand.dtype] = numbers[-1]
    following = len(numbers)
    for operand in kernel.outputs:
        shared = read.get((operand.access, operand.dtype))
        numbers.append(following if shared is None else shared)
        following += shared is None
    return tuple(numbers)


def aliased(kernel: Kernel, bindings: tuple[int, ...]) -> bool:
    """Whether two bindings share memory and one of them is written: the compiler must then not assume otherwise."""
    everything = list(zip((*kernel.inputs, *kernel.outputs), bindings, strict=True))
    written = everything[len(kernel.inputs) :]
    return any(k != n and overlap(o.access, p.access) for o, k in written for p, n in everything)


def tensors_of(
    m: Module, dtypes: Sequence[DType], bindings: Sequence[int], outputs: int, abilities: Abilities, shared: bool,
    fours: Collection[int] = (), texels: Collection[int] = (),
) -> list[Tensor]:  # fmt: skip
    """A tensor per operand, the last ``outputs`` of them written; ``fours`` and ``texels`` as `Tensor` takes them."""
    written = set(bindings[len(bindings) - outputs :])
    made: dict[int, Tensor] = {}
    for k, (number, dtype) in enumerate(zip(bindings, dtypes, strict=True)):
        if number not in made:
            made[number] = Tensor(
                m, number, dtype, abilities, writable=number in written, aliased=shared, four=k in fours, texels=k in texels
            )
    return [made[number] for number in bindings]


def coordinates(m: Module, number: int, dims: list[int], rank: int) -> list[int]:
    """Coordinates of element ``number``; ``dims`` are the lengths of the axes after the first, as values."""
    out = []
    for axis in range(rank - 1, 0, -1):
        out.append(m.op(Op.UMod, m.u32, number, dims[axis - 1]))
        number = m.op(Op.UDiv, m.u32, number, dims[axis - 1])
    out.append(number)
    return out[::-1]


def walked(m: Module, start: int, position: list[int], strides: list[int]) -> int:
    for coordinate, stride in zip(position, strides, strict=True):
        start = m.add(start, m.mul(coordinate, stride))
    return start


@dataclass(frozen=True, slots=True)
class ElementwiseKey:
    """What makes two elementwise kernels the same shader."""

    program: Program
    rank: int
    modes: tuple[str, ...]
    outputs: int
    bindings: tuple[int, ...]
    errors: bool
    aliased: bool


def key_of(kernel: ElementwiseKernel, traits: Traits) -> ElementwiseKey:
    operands = kernel.inputs + kernel.outputs
    modes = tuple(mode(o.strides, kernel.shape) for o in operands)
    rank = len(kernel.shape) if STRIDED in modes else 0
    bindings = bindings_of(kernel)
    return ElementwiseKey(
        kernel.program, rank, modes, len(kernel.outputs), bindings, kernel.errors is not None, aliased(kernel, bindings)
    )


def parameters_of(kernel: ElementwiseKernel, key: ElementwiseKey, starts: list[int]) -> Parameters:
    """``starts`` are the operands' first elements, counted from where their bindings begin."""
    made = Parameters()
    made.add(math.prod(kernel.shape), *starts, *(kernel.shape[1:] if key.rank else ()))
    operands: tuple[Operand, ...] = kernel.inputs + kernel.outputs
    for operand, how in zip(operands, key.modes, strict=True):
        if how == STRIDED:
            made.add(*operand.strides)
    made.add_scalars(kernel.scalars, kernel.program.scalars)
    return made


class Words:
    """Reads the parameters in the order `parameters_of` writes them."""

    def __init__(self, m: Module, at: int) -> None:
        self._m = m
        self.at = at

    def take(self, count: int) -> list[int]:
        words = [self._m.param(self.at + k) for k in range(count)]
        self.at += count
        return words


def scalars_of(m: Module, program: Program, at: int, abilities: Abilities) -> tuple[list[int], int]:
    """The program's scalars, whose words begin at ``at``; and the word after them."""
    out = []
    for dtype in program.scalars:
        out.append(load_scalar(m, at, dtype, int64=abilities.int64))
        at += 2 if dtype.itemsize == 8 else 1
    return out, at


def emit(key: ElementwiseKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: inputs, outputs, then the error words."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    program = key.program
    results = [program.dtype_of(r) for r in program.results]
    dtypes = [*program.inputs, *results]
    count = len(program.inputs)
    tensors = tensors_of(m, dtypes, key.bindings, key.outputs, abilities, key.aliased)
    errors = Tensor(m, len(set(key.bindings)), dt.int32, abilities, writable=True, aliased=False) if key.errors else None
    words = Words(m, 1)
    starts = words.take(len(dtypes))
    dims = words.take(max(0, key.rank - 1)) if key.rank else []
    strides = [words.take(key.rank) if how == STRIDED else [] for how in key.modes]
    scalar_at = words.at
    number = m.invocation()
    with m.if_(m.op(Op.ULessThan, m.bool, number, m.param(0))):
        position = coordinates(m, number, dims, key.rank) if key.rank else []
        scalars, _ = scalars_of(m, program, scalar_at, abilities)
        places = []
        for k, how in enumerate(key.modes):
            if how == LINEAR:
                places.append(m.add(starts[k], number))
            else:
                places.append(walked(m, starts[k], position, strides[k]) if how == STRIDED else starts[k])
        values = [tensor.load(place) for tensor, place in zip(tensors[:count], places, strict=False)]
        computed = evaluate(m, program, values, scalars, abilities, number, errors)
        for tensor, place, value in zip(tensors[count:], places[count:], computed, strict=True):
            tensor.store(place, value)
    return m.finish()
