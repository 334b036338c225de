"""What generated kernels share: how operands are walked, bound and declared, and how parameters come back out of their words."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..command import Program
from ..driver import Traits
from ..dtype import DType
from ..hazards import Access, overlap
from ..layout import Shape, contiguous_strides
from ..plan.plan import Kernel, Operand
from .access import Abilities, Tensor, texel_formats
from .descriptors import NO_FORMAT
from .parameters import load_scalar
from .spirv import Module, Op

LINEAR, SINGLE, STRIDED = "linear", "single", "strided"
MANY_TEXELS = 1 << 20  # devices that allow fewer in a texel buffer are left to read storage buffers


def reads_texels(traits: Traits) -> bool:
    """Whether a device reads faster through texel buffers: Mesa's software driver loads from storage buffers lane by lane."""
    return traits.kind == "software" and traits.texels >= MANY_TEXELS


def texel_format(operand: Operand, four: bool, traits: Traits) -> int:
    """The format in which texel fetches can read an operand; `NO_FORMAT` where they cannot."""
    formats = texel_formats(operand.dtype)
    if formats is None:
        return NO_FORMAT
    elements = (operand.access.end - operand.access.start) // operand.dtype.itemsize
    # Up to 256 bytes before the operand may be in its range, too.
    return formats[four] if elements // (4 if four else 1) + 256 <= traits.texels else NO_FORMAT


def in_fours(operand: Operand, axis: int, length: int) -> bool:
    """Whether an axis of ``length`` elements lies in aligned pieces of four everywhere. For dtypes of at most 32 bits."""
    others = [s for k, s in enumerate(operand.strides) if k != axis % len(operand.strides)]
    return (
        operand.dtype.itemsize <= 4 and operand.strides[axis] == 1 and length % 4 == 0 and operand.offset % 4 == 0
        and not any(s % 4 for s in others)
    )  # fmt: skip


def mode(strides: Shape, shape: Shape) -> str:
    """How an operand is walked: element number itself, always one element, or by coordinates."""
    if strides == contiguous_strides(shape):
        return LINEAR
    return STRIDED if any(strides) else SINGLE


def bindings_of(kernel: Kernel, texels: Collection[int] = ()) -> tuple[int, ...]:
    """The binding of each operand. What is read and then written in place has one: there are few storage buffers.

    Inputs that are ``texels`` are no storage buffers, so what is written in their place has its own.
    """
    numbers: list[int] = []
    read: dict[tuple[Access, DType], int] = {}
    for k, operand in enumerate(kernel.inputs):
        numbers.append(k)
        if k not in texels:
            read[operand.access, operand.dtype] = k
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
    return kernel.donated or any(k != n and overlap(o.access, p.access) for o, k in written for p, n in everything)


def tensors_of(
    m: Module, dtypes: Sequence[DType], bindings: Sequence[int], outputs: int, abilities: Abilities, shared: bool,
    fours: Collection[int] = (), texels: Collection[int] = (),
) -> list[Tensor]:  # fmt: skip
    """A tensor per operand, the last ``outputs`` of them written; ``fours`` and ``texels`` as `Tensor` takes them.

    Operands of one binding that are walked differently see it as two variables.
    """
    written = set(bindings[len(bindings) - outputs :])
    forms = [(number, k in fours, k in texels) for k, number in enumerate(bindings)]
    numbers = [number for number, _, _ in set(forms)]
    made: dict[tuple[int, bool, bool], Tensor] = {}
    for (number, four, texel), dtype in zip(forms, dtypes, strict=True):
        if (number, four, texel) not in made:
            made[number, four, texel] = Tensor(
                m, number, dtype, abilities, writable=number in written, aliased=shared or numbers.count(number) > 1, four=four,
                texels=texel,
            )  # fmt: skip
    return [made[form] for form in forms]


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


class Words:
    """Reads the parameters in the order `parameters_of` writes them."""

    def __init__(self, m: Module, at: int) -> None:
        self._m = m
        self.at = at

    def take(self, count: int) -> list[int]:
        words = [self._m.param(self.at + k) for k in range(count)]
        self.at += count
        return words

    def scalars(self, program: Program, abilities: Abilities) -> list[int]:
        """The program's scalars, in register form."""
        found, self.at = scalars_of(self._m, program, self.at, abilities)
        return found

    def number(self) -> int:
        """The number of this invocation."""
        return self._m.invocation()


def scalars_of(m: Module, program: Program, at: int, abilities: Abilities) -> tuple[list[int], int]:
    """The program's scalars, whose words begin at ``at``; and the word after them."""
    out = []
    for dtype in program.scalars:
        out.append(load_scalar(m, at, dtype, int64=abilities.int64))
        at += 2 if dtype.itemsize == 8 else 1
    return out, at
