"""Indices whose range only the data shows: checked where they are used, without reading anything back.

An index out of range becomes 0 and a note in the device's error words; the next sync point raises
`IndexError` with the operation, the value and the range. int64 indices are converted to int32 at once: one that
32 bits do not hold becomes the farthest that they do, which is out of any range, tensors being smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError
from ..runtime.layout import Layout, layout_of
from ..tensor import Tensor, _axis
from .dispatch import SpecCache, check_dtype, enqueue
from .program import ProgramWriter
from .views import half, only_stored

_checks = SpecCache()
_classes = SpecCache()
_masks = SpecCache()
_conversions = SpecCache()


def _index_layout(name: str, index: Tensor) -> Layout:
    if index.dtype.category != 1:
        raise DTypeError(f"{name}: indices are int64, int32 or uint8, got {index.dtype.name}")
    return layout_of(index.device, dt.int32, index.shape)


_LEAST, _MOST = -(1 << 31), (1 << 31) - 1


def _given(index: Tensor) -> list[Tensor]:
    """What a command reads of indices: themselves, or both halves where the device has no arithmetic for them."""
    return [half(index, 0), half(index, 1)] if index.dtype is dt.int64 and only_stored(index.layout) else [index]


def _limits(given: Sequence[Tensor]) -> tuple[int, ...]:
    """The last scalars of a command made by `_Reading`."""
    if len(given) == 2:
        return 31, _MOST
    return (_LEAST, _MOST) if given[0].dtype is dt.int64 else ()


class _Reading:
    """A program that begins with what is ``given`` as an int32 ``number``; ``scalars`` are those of what else it does.

    Of two halves the high one has to be the sign of the low one.
    """

    def __init__(self, given: Sequence[Tensor], scalars: Sequence[DType]) -> None:
        dtypes = [x.dtype for x in given]
        self.inputs = tuple([x.layout for x in given])
        self.write = write = ProgramWriter(dtypes, (*scalars, *[dtypes[0]] * len(_limits(given))))
        first = len(given)
        self.scalars = write.registers[first : first + len(scalars)]
        limits = write.registers[first + len(scalars) :]
        number = 0
        if len(given) == 2:
            number = write("where", write("eq", 1, write("shift_right", 0, limits[0])), 0, limits[1])
        elif limits:
            number = write("minimum", write("maximum", 0, limits[0]), limits[1])
        self.number = write.cast(number, dt.int32)

    def spec(self, name: str, out: Layout, result: int) -> CommandSpec:
        return CommandSpec("elementwise", name, self.inputs, (out,), self.write.program(result), notes_errors=True)


def checked_index(index: Tensor, size: int, name: str, wrap: bool = True) -> Tensor:
    """``index`` as int32 in ``0..size-1``; negative ones count from the end if ``wrap``, and are errors
    otherwise.

    ``name`` is what the index is for, as the message begins: ``"take: index"``.
    """
    given = _given(index)
    spec = _checks.get((index.layout, name))
    if spec is None:
        out, reading = _index_layout(name, index), _Reading(given, (dt.int32, dt.int32))
        bound, tag = reading.scalars
        checked = reading.write("check_index", reading.number, bound, tag)
        spec = _checks.put((index.layout, name), reading.spec(name, out, checked))
    return enqueue(spec, given, (size if wrap else -size, index.device.error_tag(name), *_limits(given)))


def checked_classes(target: Tensor, classes: int, ignore_index: int, name: str) -> Tensor:
    """Class numbers as int32, ``0..classes-1``; those equal to ``ignore_index`` become -1, all others out of
    range are errors.
    """
    given = _given(target)
    spec = _classes.get((target.layout, name))
    if spec is None:
        out, reading = _index_layout(name, target), _Reading(given, (dt.int32,) * 5)
        write, (bound, tag, ignored, zero, minus_one) = reading.write, reading.scalars
        skip = write("eq", reading.number, ignored)
        checked = write("check_index", write("where", skip, zero, reading.number), bound, tag)
        spec = _classes.put((target.layout, name), reading.spec(name, out, write("where", skip, minus_one, checked)))
    return enqueue(spec, given, (-classes, target.device.error_tag(name), ignore_index, 0, -1, *_limits(given)))


def class_mask(numbers: Tensor, classes: int, dim: int = -1) -> Tensor:
    """Booleans with a new dimension ``dim`` of ``classes`` entries: true at the entry that ``numbers``
    (int32) names.

    Numbers outside ``0..classes-1`` give a row of false.
    """
    axis = _axis("class_mask", dim, numbers.ndim + 1)
    key = (numbers.layout, classes, axis)
    spec = _masks.get(key)
    layout = numbers.layout
    inner = math.prod(layout.shape[axis:])
    if spec is None:
        shape = (*layout.shape[:axis], classes, *layout.shape[axis:])
        strides = (*layout.strides[:axis], 0, *layout.strides[axis:])
        write = ProgramWriter((dt.int32,), (dt.int32, dt.int32))
        number, after, count = write.registers
        position = write.index(dt.int32)
        entry = write("remainder", write("floor_divide", position, after) if inner != 1 else position, count)
        program = write.program(write("eq", number, entry))
        stretched = layout_of(layout.device, dt.int32, shape, strides)
        out = layout_of(layout.device, dt.bool_, shape)
        spec = _masks.put(key, CommandSpec("elementwise", "class_mask", (stretched,), (out,), program))
    return enqueue(spec, (numbers,), (inner, classes))


def from_integers(x: Tensor, dtype: DType) -> Tensor:
    """Small whole numbers as ``dtype``, also int64 ones where the device computes in int32 only."""
    key = (x.layout, dtype)
    spec = _conversions.get(key)
    if spec is None:
        check_dtype("to", x.device, dtype)
        write = ProgramWriter((x.dtype,), ())
        register = write.cast(0, dt.int32) if x.dtype is dt.int64 else 0
        out = layout_of(x.device, dtype, x.shape)
        program = write.program(write.cast(register, dtype))
        spec = _conversions.put(key, CommandSpec("elementwise", "to", (x.layout,), (out,), program))
    return enqueue(spec, (x,))


def one_hot(index: Tensor, num_classes: int, *, dtype: Any = dt.int64) -> Tensor:
    """``[...]`` indices to ``[..., num_classes]`` with a 1 at the index and 0 elsewhere.

    ``num_classes`` has to be given: finding the largest index would mean reading it back. Where the device
    has no int64, ask for another ``dtype``.
    """
    if num_classes < 1:
        raise ValueError(f"one_hot: num_classes is the number of classes, at least 1, got {num_classes}")
    numbers = checked_index(index, num_classes, "one_hot: index", wrap=False)
    return class_mask(numbers, num_classes).to(dt.as_dtype(dtype))
