"""Diagonals and triangles of matrices: forward and gradient side by side."""

from __future__ import annotations

from typing import Any

from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.division import quotient_numbers
from ..runtime.errors import ShapeError
from ..runtime.layout import contiguous_strides, layout_of
from ..tensor import Tensor, _axis
from .arithmetic import where
from .comparison import ge, le
from .creation import counted, filled
from .dispatch import SpecCache, check_dtype, check_size, enqueue, same_device, tape
from .on_host import on_host
from .outputs import takes_out
from .program import ProgramWriter
from .views import cast, clone, embed, only_stored, view

_specs = SpecCache()


def _on_diagonal(shape: tuple[int, ...], strides: tuple[int, ...], offset: int, first: int, second: int) -> tuple[
    tuple[int, ...], tuple[int, ...], int
]:  # fmt: skip
    """Shape, strides and first element of the diagonal of dimensions ``first`` and ``second``, put last."""
    rows, columns = shape[first], shape[second]
    length = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    start = (offset * strides[second] if offset >= 0 else -offset * strides[first]) if length else 0
    kept = [a for a in range(len(shape)) if a not in (first, second)]
    return (*(shape[a] for a in kept), length), (*(strides[a] for a in kept), strides[first] + strides[second]), start


def _grad_diagonal(n: Node, g: Tensor) -> tuple[Tensor]:
    layout, offset, first, second = n.attributes
    shape, strides, start = _on_diagonal(layout.shape, contiguous_strides(layout.shape), offset, first, second)
    return (embed(g, layout.shape, layout_of(layout.device, layout.dtype, shape, strides), start),)


def _two(name: str, x: Tensor, dim1: int, dim2: int) -> tuple[int, int]:
    if x.ndim < 2:
        raise ShapeError(f"{name}: needs at least 2 dimensions, got shape {list(x.shape)}")
    first, second = _axis(name, dim1, x.ndim), _axis(name, dim2, x.ndim)
    if first == second:
        raise ShapeError(f"{name}: a diagonal needs two different dimensions, got {dim1} and {dim2} of shape {list(x.shape)}")
    return first, second


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements whose index in ``dim2`` is that in ``dim1`` plus ``offset``, as the last dimension; no copy."""
    first, second = _two("diagonal", input, dim1, dim2)
    shape, strides, start = _on_diagonal(input.shape, input.layout.strides, offset, first, second)
    return view(input, "diagonal", shape, strides, input.offset + start, _grad_diagonal, (input.layout, offset, first, second))


def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of ``input`` with ``src`` in place of `diagonal` ``(offset, dim1, dim2)``."""
    first, second = _two("diagonal_scatter", input, dim1, dim2)
    same_device("diagonal_scatter", (input.layout, src.layout))
    shape, strides, start = _on_diagonal(input.shape, contiguous_strides(input.shape), offset, first, second)
    if src.shape != shape:
        raise ShapeError(f"diagonal_scatter: src has shape {list(src.shape)}, the diagonal {list(shape)}")
    ones = filled("diagonal_scatter", layout_of(input.device, dt.bool_, shape), True)
    there = embed(ones, input.shape, layout_of(input.device, dt.bool_, shape, strides), start)
    return where(there, embed(cast(src, input.dtype), input.shape, layout_of(input.device, input.dtype, shape, strides), start), input)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Square matrices, zero but for the last dimension of ``input`` on a diagonal."""
    if input.ndim == 0:
        raise ShapeError("diag_embed: needs at least 1 dimension, got a 0-d tensor")
    first, second = _axis("diag_embed", dim1, input.ndim + 1), _axis("diag_embed", dim2, input.ndim + 1)
    if first == second:
        raise ShapeError(f"diag_embed: a diagonal needs two different dimensions, got {dim1} and {dim2}")
    size = input.shape[-1] + abs(offset)
    rest = iter(input.shape[:-1])
    shape = tuple(size if a in (first, second) else next(rest) for a in range(input.ndim + 1))
    region, strides, start = _on_diagonal(shape, contiguous_strides(shape), offset, first, second)
    return embed(input, shape, layout_of(input.device, input.dtype, region, strides), start)


@takes_out
def diag(input: Tensor, diagonal: int = 0, *, out: Any = None) -> Tensor:
    """A matrix with the vector ``input`` on its diagonal, or a copy of the diagonal of the matrix ``input``."""
    if input.ndim not in (1, 2):
        raise ShapeError(f"diag: takes 1 or 2 dimensions, got shape {list(input.shape)}; see diagonal and diag_embed")
    return diag_embed(input, diagonal) if input.ndim == 1 else clone(_diagonal(input, diagonal))


def _triangular(name: str, x: Tensor, offset: int, lower: bool) -> Tensor:
    """In one kernel, in which each element works out its row and its column."""
    rows, columns = x.shape[-2:]
    spec = _specs.get((name, x.layout))
    if spec is None:
        out = layout_of(x.device, x.dtype, x.shape)
        check_dtype(name, x.device, x.dtype)
        check_size(name, out)
        write = ProgramWriter([x.dtype], [*[dt.int32] * 7, x.dtype])
        value, *numbers, reach, zero = write.registers
        line = write("quotient", write.index(dt.int32), *numbers[:3])
        column = write("sub", write.index(dt.int32), write("mul", line, numbers[0]))
        row = write("sub", line, write("mul", write("quotient", line, *numbers[3:]), numbers[3]))
        kept = write("le" if lower else "ge", column, write("add", row, reach))
        program = write.program(write("where", kept, value, zero))
        spec = _specs.put((name, x.layout), CommandSpec("elementwise", name, (x.layout,), (out,), program))
    return enqueue(spec, (x,), [*quotient_numbers(columns), *quotient_numbers(rows), offset, (False, 0, 0.0)[x.dtype.category]])


def _grad_triangle(n: Node, g: Tensor) -> tuple[Tensor]:
    name, offset, lower = n.attributes
    return (_triangle(name, g, offset, lower),)


def _triangle(name: str, x: Tensor, offset: int, lower: bool) -> Tensor:
    if x.ndim < 2:
        raise ShapeError(f"{name}: needs at least 2 dimensions, got shape {list(x.shape)}")
    rows, columns = x.shape[-2:]
    if not on_host(x) and x.layout.numel and not (x.dtype.itemsize == 8 and only_stored(x.layout)):
        reach = min(max(offset, -rows), columns)
        return tape(_triangular(name, x.detach(), reach, lower), name, _grad_triangle, (x,), (), (name, reach, lower))
    row = counted("index", layout_of(x.device, dt.int32, (rows, 1)), 0, 1)
    column = counted("index", layout_of(x.device, dt.int32, (1, columns)), 0, 1)
    kept = (le if lower else ge)(column, row + offset)
    return where(kept, x, (False, 0, 0.0)[x.dtype.category])


@takes_out
def tril(input: Tensor, diagonal: int = 0, *, out: Any = None) -> Tensor:
    """Zero above the diagonal number ``diagonal`` of the last two dimensions."""
    return _triangle("tril", input, diagonal, True)


@takes_out
def triu(input: Tensor, diagonal: int = 0, *, out: Any = None) -> Tensor:
    """Zero below the diagonal number ``diagonal`` of the last two dimensions."""
    return _triangle("triu", input, diagonal, False)


_diagonal = diagonal
