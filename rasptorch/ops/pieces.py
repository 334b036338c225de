"""Tensors cut up and put together in PyTorch's other ways, each made of `split`, `cat` and their like."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from ..runtime import dtype as dt
from ..runtime.errors import ShapeError
from ..tensor import Tensor, _axis
from .aliases import takes_axis
from .creation import tensor, zeros
from .diagonals import diag
from .dispatch import only_tensors
from .gathering import selected
from .indexing import getitem, setitem
from .joining import _given, cat, stack
from .outputs import takes_out
from .padding import pad
from .rearranging import meshgrid
from .reduction import sum_to
from .views import clone, reshape, split, unsqueeze

Sections = int | Sequence[int]


def _slice(axis: int, start: int | None, stop: int | None, step: int = 1) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(start, stop, step))


def _sections(name: str, x: Tensor, sections: Sections, axis: int) -> tuple[Tensor, ...]:
    length = x.shape[axis]
    if isinstance(sections, Tensor):
        raise TypeError(f"{name}: sections are a number or a list of indices; use .tolist() on the tensor")
    if isinstance(sections, int):
        if sections < 1:
            raise ValueError(f"{name}: needs at least one section, got {sections}")
        small, larger = divmod(length, sections)
        ends = list(itertools.accumulate(small + (k < larger) for k in range(sections)))[:-1]
    else:
        ends = list(sections)
    return tuple(getitem(x, _slice(axis, a, b)) for a, b in zip([0, *ends], [*ends, length], strict=True))


@takes_axis
def tensor_split(input: Tensor, indices_or_sections: Sections, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of so many nearly equal sections along ``dim`` (the first ones are longer), or cut at the indices of a list."""
    only_tensors("tensor_split", input)
    if not input.ndim:
        raise ShapeError("tensor_split: a 0-d tensor cannot be split")
    return _sections("tensor_split", input, indices_or_sections, _axis("tensor_split", dim, input.ndim))


def _evenly(name: str, x: Tensor, sections: Sections, axis: int, least: int) -> tuple[Tensor, ...]:
    only_tensors(name, x)
    if x.ndim < least:
        raise ShapeError(f"{name}: needs at least {least} dimension{'s' * (least > 1)}, got shape {list(x.shape)}")
    if isinstance(sections, int) and sections > 0 and x.shape[axis] % sections:
        raise ShapeError(f"{name}: dimension {axis} of length {x.shape[axis]} has no {sections} equal sections; see tensor_split")
    return _sections(name, x, sections, axis)


def hsplit(input: Tensor, indices_or_sections: Sections) -> tuple[Tensor, ...]:
    """Equal sections, or what lies between indices, of columns: along dimension 1, or the only one."""
    return _evenly("hsplit", input, indices_or_sections, int(isinstance(input, Tensor) and input.ndim > 1), 1)


def vsplit(input: Tensor, indices_or_sections: Sections) -> tuple[Tensor, ...]:
    """Equal sections, or what lies between indices, along dimension 0."""
    return _evenly("vsplit", input, indices_or_sections, 0, 2)


def dsplit(input: Tensor, indices_or_sections: Sections) -> tuple[Tensor, ...]:
    """Equal sections, or what lies between indices, along dimension 2."""
    return _evenly("dsplit", input, indices_or_sections, 2, 3)


@takes_axis
def split_with_sizes(x: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """`split` into pieces of these sizes."""
    return split(x, list(split_sizes), dim)


def _each(name: str, tensors: tuple[Any, ...], change: Callable[[Tensor], Tensor]) -> Any:
    several = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    only_tensors(name, *several)
    return change(tensors[0]) if several is tensors and len(tensors) == 1 else tuple(change(x) for x in several)


def _flat(x: Tensor) -> Tensor:
    return x if x.ndim else reshape(x, 1)


def _matrix(x: Tensor) -> Tensor:
    return x if x.ndim > 1 else reshape(x, 1, -1)


def _deep(x: Tensor) -> Tensor:
    return x if x.ndim > 2 else unsqueeze(_matrix(x), -1)


def atleast_1d(*tensors: Any) -> Any:
    """Numbers as vectors of one element; a tuple for several tensors, or a list of them."""
    return _each("atleast_1d", tensors, _flat)


def atleast_2d(*tensors: Any) -> Any:
    """Vectors as matrices of one row; a tuple for several tensors, or a list of them."""
    return _each("atleast_2d", tensors, _matrix)


def atleast_3d(*tensors: Any) -> Any:
    """Vectors as ``[1, n, 1]``, matrices as ``[n, m, 1]``; a tuple for several tensors, or a list of them."""
    return _each("atleast_3d", tensors, _deep)


@takes_out
def dstack(tensors: Sequence[Tensor], *, out: Any = None) -> Tensor:
    """Behind each other: along dimension 2."""
    return cat([_deep(x) for x in _given("dstack", tensors)], 2)


@takes_out
def column_stack(tensors: Sequence[Tensor], *, out: Any = None) -> Tensor:
    """Side by side along dimension 1, vectors as columns."""
    return cat([x if x.ndim > 1 else reshape(x, -1, 1) for x in _given("column_stack", tensors)], 1)


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements of ``input`` on its diagonal number ``offset``."""
    only_tensors("diagflat", input)
    return diag(reshape(input, -1), offset)


def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices (vectors are rows, numbers one element) along the diagonal of one, zero elsewhere."""
    only_tensors("block_diag", *tensors)
    for k, x in enumerate(tensors):
        if x.ndim > 2:
            raise ShapeError(f"block_diag: takes at most 2 dimensions, got shape {list(x.shape)} (number {k})")
    blocks = [_matrix(x) for x in tensors] or [zeros((1, 0))]
    ends = [0, *itertools.accumulate(x.shape[1] for x in blocks)]
    return cat([pad(x, (ends[k], ends[-1] - ends[k + 1])) for k, x in enumerate(blocks)], 0)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All choices of one element from each vector, as rows; of one vector the vector itself."""
    only_tensors("cartesian_prod", *tensors)
    for x in tensors:
        if x.ndim != 1:
            raise ShapeError(f"cartesian_prod: takes vectors, got shape {list(x.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([reshape(grid, -1) for grid in meshgrid(*tensors, indexing="ij")], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of ``r`` elements of a vector in their order, as rows ``[count, r]``; ``with_replacement`` the same one may repeat."""
    only_tensors("combinations", input)
    if input.ndim != 1:
        raise ShapeError(f"combinations: takes a vector, got shape {list(input.shape)}")
    if r < 0:
        raise ValueError(f"combinations: r is not negative, got {r}")
    chosen = list((itertools.combinations_with_replacement if with_replacement else itertools.combinations)(range(input.shape[0]), r))
    if not r or not chosen:
        return zeros((0,) if not r else (0, r), dtype=input.dtype, device=input.device)
    places = tensor([k for row in chosen for k in row], dtype=dt.int32, device=input.device)
    return reshape(selected(input, 0, places, "combinations"), (len(chosen), r))


def _replaced(name: str, x: Tensor, index: tuple[Any, ...], src: Tensor) -> Tensor:
    only_tensors(name, x, src)
    shape = getitem(x.detach(), index).shape
    if src.shape != shape:
        raise ShapeError(f"{name}: src has shape {list(src.shape)}, what it takes the place of {list(shape)}")
    made = clone(x)
    setitem(made, index, src)
    return made


@takes_axis
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of ``input`` with ``src`` in place of entry ``index`` of dimension ``dim``."""
    only_tensors("select_scatter", input)
    return _replaced("select_scatter", input, (*(slice(None),) * _axis("select_scatter", dim, input.ndim), index), src)


@takes_axis
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:  # fmt: skip
    """A copy of ``input`` with ``src`` in place of every ``step``-th entry from ``start`` to before ``end`` of dimension ``dim``."""
    only_tensors("slice_scatter", input)
    return _replaced("slice_scatter", input, _slice(_axis("slice_scatter", dim, input.ndim), start, end, step), src)


def sum_to_size(x: Tensor, *size: Any) -> Tensor:
    """Summed over the dimensions along which a tensor of this size would be stretched to ``x``'s."""
    shape = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else tuple(size)
    lead = x.ndim - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, x.shape[lead:], strict=True)):
        raise ShapeError(f"sum_to_size: {list(shape)} does not stretch to shape {list(x.shape)}")
    return sum_to(x, shape)


def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not zero; waits for it."""
    only_tensors("is_nonzero", input)
    if input.layout.numel != 1:
        raise ShapeError(f"is_nonzero: takes one element, got shape {list(input.shape)}; see count_nonzero")
    return bool(input.item())
