"""Elements read at computed places: forward by look-ups, gradients by sums into the same places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.errors import ShapeError
from ..runtime.layout import Shape, broadcast_shapes, contiguous_strides, layout_of
from ..tensor import Tensor, _axis
from .checked_index import checked_index, class_mask
from .dispatch import SpecCache, check_size, enqueue, same_device, tape
from .indexing import IndexingError
from .outputs import takes_out
from .program import ProgramWriter
from .rearranging import movedim
from .scattering import sum_into
from .views import copy_into, expand, half, only_stored, reshape

_lookups = SpecCache()
_places = SpecCache()

MOST = 1 << 31  # elements that an int32 can number


def usable(name: str, index: Tensor, size: int, wrap: bool) -> Tensor:
    """``index`` as int32 in ``0..size-1`` (see `checked_index`); an error now where there is nothing to choose from."""
    if size == 0 and index.layout.numel:
        raise IndexingError(f"{name}: there are {index.layout.numel} indices (shape {list(index.shape)}) into a dimension of length 0")
    return checked_index(index, size, name, wrap)


def looked_up(
    name: str, x: Tensor, indices: Sequence[tuple[Tensor, Shape, int]], shape: Shape, walk: Shape, split: Shape | None = None
) -> Tensor:
    """``x``'s elements at ``walk`` (strides along ``shape``) plus, for each (index, strides, step), ``index * step``.

    The indices are int32 and have been checked; ``strides`` say how each lies along ``shape``. With ``split`` there is one index, the
    row-major number of an element of that shape, whatever strides ``x`` has. Not taped.
    """
    if x.dtype.itemsize == 8 and only_stored(x.layout):
        return _in_halves(name, x, indices, shape, walk, split)
    key = (name, x.layout, tuple([(i.layout, s, f) for i, s, f in indices]), shape, walk, split)
    spec = _lookups.get(key)
    if spec is None:
        device = same_device(name, [x.layout, *(i.layout for i, _, _ in indices)])
        if x.layout.span >= MOST:
            raise ShapeError(f"{name}: shape {list(x.shape)} spans {x.layout.span:,} elements; indices reach {MOST - 1:,}: split it")
        out = layout_of(device, x.dtype, shape)
        check_size(name, out)
        places = [layout_of(device, dt.int32, shape, s) for _, s, _ in indices]
        steps = contiguous_strides(split) if split is not None else ()
        write = ProgramWriter([dt.int32] * len(indices) + [x.dtype], [dt.int32] * (3 * len(split) if split is not None else len(indices)))
        registers = write.registers
        table, scalars = registers[len(indices)], registers[len(indices) + 1 :]
        parts = []
        if split is not None:
            for k in range(len(steps)):
                whole, length, stride = scalars[3 * k : 3 * k + 3]
                parts.append(write("mul", write("remainder", write("floor_divide", registers[0], whole), length), stride))
        else:
            parts = [i if f == 1 else write("mul", i, s) for i, s, (_, _, f) in zip(registers, scalars, indices, strict=False)]
        number = parts[0]
        for part in parts[1:]:
            number = write("add", number, part)
        program = write.program(write("lookup", number, table))
        spec = _lookups.put(
            key, CommandSpec("elementwise", name, (*places, x.layout), (out,), program, walks={len(indices): walk} if any(walk) else {})
        )
    if split is not None:
        numbers = [n for k, whole in enumerate(contiguous_strides(split)) for n in (whole, split[k], x.layout.strides[k])]
    else:
        numbers = [f for _, _, f in indices]
    return enqueue(spec, [*(i for i, _, _ in indices), x], numbers)


def _in_halves(
    name: str, x: Tensor, indices: Sequence[tuple[Tensor, Shape, int]], shape: Shape, walk: Shape, split: Shape | None
) -> Tensor:
    """`looked_up` of elements that the device has no registers for, as two words each."""
    layout = layout_of(x.device, x.dtype, shape)
    out = Tensor._make(x.device.stream().new_storage(layout.nbytes), 0, layout)
    doubled, along = [(i, s, 2 * f) for i, s, f in indices], tuple([2 * s for s in walk])
    for which in (0, 1):
        copy_into(half(out, which), looked_up(name, half(x, which), doubled, shape, along, split))
    return out


def row_sums(g: Tensor, axis: int, index: Tensor, length: int) -> Tensor:
    """The gradient of a choice along ``axis``: entry ``k`` of ``g`` along it is added to entry ``index[k]`` of ``length`` ones."""
    front = movedim(g, axis, 0)
    rest = front.shape[1:]
    summed = sum_into(length, index, reshape(front, (front.shape[0], math.prod(rest))))
    return movedim(reshape(summed, (length, *rest)), 0, axis)


# -- index_select -------------------------------------------------------------------------------------------------
@takes_out
def index_select(input: Tensor, dim: int, index: Tensor, *, out: Any = None) -> Tensor:
    """The entries ``index`` (a vector of integers, or one) of dimension ``dim``: shape ``[..., len(index), ...]``.

    An index out of range raises `IndexError` at the next point where somebody waits.
    """
    if index.ndim > 1:
        raise ShapeError(f"index_select: index is a vector, got shape {list(index.shape)}; use x[index] or take_along_dim")
    if input.ndim == 0:
        if index.layout.numel != 1:
            raise ShapeError(f"index_select: of a 0-d tensor there is one element to choose, got {index.layout.numel} indices")
        return reshape(index_select(reshape(input, 1), dim, index), ())
    axis = _axis("index_select", dim, input.ndim)
    same_device("index_select", [input.layout, index.layout])
    return selected(input, axis, usable("index_select", reshape(index, -1), input.shape[axis], False))


def selected(x: Tensor, axis: int, index: Tensor, name: str = "index_select") -> Tensor:
    """`index_select` of an index that has been checked."""
    layout = x.layout
    shape = (*layout.shape[:axis], index.shape[0], *layout.shape[axis + 1 :])
    walk = tuple([0 if a == axis else s for a, s in enumerate(layout.strides)])
    along = tuple([index.layout.strides[0] if a == axis else 0 for a in range(x.ndim)])
    out = looked_up(name, x.detach(), [(index, along, layout.strides[axis])], shape, walk)
    return tape(out, name, _grad_selected, (x,), (index,), (axis, layout.shape[axis]))


def _grad_selected(n: Node, g: Tensor) -> tuple[Tensor]:
    axis, length = n.attributes
    return (row_sums(g, axis, n.values()[0], length),)


# -- gather -------------------------------------------------------------------------------------------------------
@takes_out
def gather(input: Tensor, dim: int, index: Tensor, *, out: Any = None) -> Tensor:
    """``out[i, j, k] = input[i, index[i, j, k], k]`` (for ``dim=1``): of the index's shape.

    The index may be shorter than ``input`` along other dimensions.

    An index out of range raises `IndexError` at the next point where somebody waits.
    """
    if input.ndim == 0 or index.ndim == 0:
        if input.ndim > 1 or index.ndim > 1:
            raise ShapeError(f"gather: index of shape {list(index.shape)} has another number of dimensions than {list(input.shape)}")
        return reshape(gather(reshape(input, -1), dim, reshape(index, -1)), index.shape)
    axis = _axis("gather", dim, input.ndim)
    same_device("gather", [input.layout, index.layout])
    if index.layout.numel == 0 and index.ndim != input.ndim:
        return looked_up("gather", input.detach(), [(reshape(index, -1).to(dt.int32), (1,), 1)], (0,), (0,))
    if index.ndim != input.ndim or any(n > m for a, (n, m) in enumerate(zip(index.shape, input.shape, strict=True)) if a != axis):
        raise ShapeError(
            f"gather: index of shape {list(index.shape)} must have {input.ndim} dimensions and be no longer than {list(input.shape)} "
            f"apart from dimension {axis}; use take_along_dim, which broadcasts"
        )
    return gathered(input, axis, usable("gather", index, input.shape[axis], False))


def gathered(x: Tensor, axis: int, index: Tensor, name: str = "gather") -> Tensor:
    """`gather` of an index that has been checked."""
    layout = x.layout
    walk = tuple([0 if a == axis else s for a, s in enumerate(layout.strides)])
    out = looked_up(name, x.detach(), [(index, index.layout.strides, layout.strides[axis])], index.layout.shape, walk)
    return tape(out, name, _grad_gathered, (x,), (index,), (axis, layout.shape))


def _grad_gathered(n: Node, g: Tensor) -> tuple[Tensor]:
    axis, shape = n.attributes
    return (place_sums(g, axis, n.values()[0], shape),)


def place_sums(g: Tensor, axis: int, index: Tensor, shape: Shape) -> Tensor:
    """Zeros of ``shape`` with each entry of ``g`` added where ``index``, of the same shape as ``g``, says along ``axis``."""
    places = reshape(places_along(index, axis, shape), -1)
    return reshape(sum_into(math.prod(shape), places, reshape(g, -1)), shape)


def places_along(index: Tensor, axis: int, shape: Shape) -> Tensor:
    """Row-major numbers in ``shape`` of the elements that have ``index`` as coordinate ``axis`` and their own as the others."""
    key = (index.layout, axis, shape)
    steps = contiguous_strides(shape)
    others = [a for a in range(len(shape)) if a != axis and index.shape[a] != 1]
    spec = _places.get(key)
    if spec is None:
        if math.prod(shape) >= MOST:
            raise ShapeError(f"gather: shape {list(shape)} has {math.prod(shape):,} elements; indices reach {MOST - 1:,}: split it")
        write = ProgramWriter([dt.int32], [dt.int32] * (1 + 3 * len(others)))
        given, step, *scalars = write.registers
        place = write("mul", given, step)
        number = write.index(dt.int32)
        for k in range(len(others)):
            whole, length, stride = scalars[3 * k : 3 * k + 3]
            coordinate = write("remainder", write("floor_divide", number, whole), length)
            place = write("add", place, write("mul", coordinate, stride))
        out = layout_of(index.device, dt.int32, index.shape)
        spec = _places.put(key, CommandSpec("elementwise", "places", (index.layout,), (out,), write.program(place)))
    inner = contiguous_strides(index.shape)
    return enqueue(spec, (index,), [steps[axis], *(v for a in others for v in (inner[a], index.shape[a], steps[a]))])


def picked(x: Tensor, axis: int, index: Tensor) -> Tensor:
    """Entry ``index`` (checked, of ``x``'s shape without ``axis``) of dimension ``axis``, which disappears.

    As one entry of each line is picked, the gradient is no sum: it is written where the numbers say.
    """
    layout = x.layout
    walk = (*layout.strides[:axis], *layout.strides[axis + 1 :])
    out = looked_up("picked", x.detach(), [(index, index.layout.strides, layout.strides[axis])], index.layout.shape, walk)
    return tape(out, "picked", _grad_picked, (x,), (index,), (axis, layout.shape[axis]))


def _grad_picked(n: Node, g: Tensor) -> tuple[Tensor]:
    from .arithmetic import where

    axis, length = n.attributes
    return (where(class_mask(n.values()[0], length, axis), g.unsqueeze(axis), 0.0),)


# -- take ---------------------------------------------------------------------------------------------------------
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements that ``index`` (of any shape) numbers in row-major order; negative numbers count from the end."""
    same_device("take", [input.layout, index.layout])
    return taken(input, usable("take", index, input.layout.numel, True))


def taken(x: Tensor, numbers: Tensor) -> Tensor:
    """`take` of numbers that have been checked."""
    flat = x.layout.contiguous
    out = looked_up(
        "take", x.detach(), [(numbers, numbers.layout.strides, 1)], numbers.shape, (0,) * numbers.ndim, None if flat else x.layout.shape
    )
    return tape(out, "take", _grad_take, (x,), (numbers,), x.layout.shape)


def _grad_take(n: Node, g: Tensor) -> tuple[Tensor]:
    return (sums_at(g, n.values()[0], n.attributes),)


def sums_at(g: Tensor, numbers: Tensor, shape: Shape) -> Tensor:
    """Zeros of ``shape`` with each entry of ``g`` added to the element that ``numbers``, of the same shape as ``g``, names."""
    return reshape(sum_into(math.prod(shape), reshape(numbers, -1), reshape(g, -1)), shape)


@takes_out
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None, *, out: Any = None) -> Tensor:
    """`gather` after ``input`` and ``indices`` were broadcast apart from ``dim``; without ``dim`` of the flattened tensors."""
    if dim is None:
        return take_along_dim(reshape(input, -1), reshape(indices, -1), 0)
    if input.ndim != indices.ndim:
        raise ShapeError(
            f"take_along_dim: the tensor {list(input.shape)} and indices {list(indices.shape)} have one number of dimensions; use unsqueeze"
        )
    axis = _axis("take_along_dim", dim, input.ndim)
    if input.ndim == 0:
        return gather(input, dim, indices)
    same_device("take_along_dim", [input.layout, indices.layout])
    shape = broadcast_shapes("take_along_dim", _with(input.shape, axis, 1), _with(indices.shape, axis, 1))
    input, indices = expand(input, _with(shape, axis, input.shape[axis])), expand(indices, _with(shape, axis, indices.shape[axis]))
    return gathered(input, axis, usable("take_along_dim", indices, input.shape[axis], False), "take_along_dim")


def _with(shape: Shape, axis: int, length: int) -> Shape:
    return (*shape[:axis], length, *shape[axis + 1 :])


# -- embedding ----------------------------------------------------------------------------------------------------
def rows_of(weight: Tensor, index: Tensor, padding: int | None = None) -> Tensor:
    """Rows of a matrix for each entry of a checked ``index``: shape ``[*index.shape, columns]``. The row ``padding`` gets no gradient."""
    layout = weight.layout
    shape = (*index.layout.shape, layout.shape[1])
    along = (*index.layout.strides, 0)
    walk = (*(0,) * index.ndim, layout.strides[1])
    out = looked_up("embedding", weight.detach(), [(index, along, layout.strides[0])], shape, walk)
    return tape(out, "embedding", _grad_rows, (weight,), (index,), (layout.shape[0], padding))


def _grad_rows(n: Node, g: Tensor) -> tuple[Tensor]:
    rows, padding = n.attributes
    return (_rows_summed(g, n.values()[0], rows, padding),)


def _rows_summed(g: Tensor, index: Tensor, rows: int, padding: int | None) -> Tensor:
    """``g`` added up by rows, with zeros in row ``padding``."""
    from .creation import filled

    with no_grad():
        out = sum_into(rows, reshape(index, -1), reshape(g, (index.layout.numel, g.shape[-1])))
        if padding is not None and out.layout.numel:
            row = layout_of(out.device, out.dtype, out.shape[1:])
            filled("embedding", row, 0, Tensor._make(out.storage, padding * out.shape[1], row))
    return tape(out, "embedding_backward", _grad_rows_summed, (g,), (index,), padding)


def _grad_rows_summed(n: Node, g: Tensor) -> tuple[Tensor]:
    (index,), padding = n.values(), n.attributes
    out = rows_of(g, index, padding)
    if padding is not None:
        from .arithmetic import where

        out = where((index != padding).unsqueeze(-1), out, 0.0)
    return (out,)
