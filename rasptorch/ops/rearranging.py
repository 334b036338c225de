"""More ways to look at tensors: windows, dimensions moved about, grids."""

from __future__ import annotations

from collections.abc import Sequence

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime.errors import ShapeError
from ..tensor import Tensor, _axis
from .arithmetic import add
from .creation import zeros
from .dispatch import same_device, tape
from .views import copy_into, expand, permute, reshape, select, transpose, view


def _grad_unfold(n: Node, g: Tensor) -> tuple[Tensor]:
    return (_folded(g, *n.attributes),)


def unfold(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of ``size`` entries, ``step`` apart, along ``dimension``: a view, with the windows' entries as a new last dimension."""
    if x.ndim == 0:
        return select(unfold(reshape(x, 1), dimension, size, step), 0, 0)
    axis = _axis("unfold", dimension, x.ndim)
    length = x.shape[axis]
    if step < 1 or not 0 <= size <= length:
        raise ShapeError(
            f"unfold: windows of {size} entries, {step} apart, do not lie in dimension {dimension} of length {length}: "
            "size is at most the length, and step at least 1"
        )
    layout = x.layout
    shape = (*layout.shape[:axis], (length - size) // step + 1, *layout.shape[axis + 1 :], size)
    strides = (*layout.strides[:axis], layout.strides[axis] * step, *layout.strides[axis + 1 :], layout.strides[axis])
    return view(x, "unfold", shape, strides, x.offset, _grad_unfold, (x.shape, axis, size, step))


def _folded(g: Tensor, shape: tuple[int, ...], axis: int, size: int, step: int) -> Tensor:
    """Zeros of ``shape`` with every window added where it came from: one command per entry of a window where they overlap."""
    with no_grad():
        out = zeros(shape, dtype=g.dtype, device=g.device)
        windows = unfold(out, axis, size, step)
        if step >= size:
            copy_into(windows, g)
        else:
            for k in range(size):
                add.in_place(select(windows, -1, k), select(g.detach(), -1, k))
    return tape(out, "unfold_backward", _grad_folded, (g,), (), (axis, size, step))


def _grad_folded(n: Node, g: Tensor) -> tuple[Tensor]:
    return (unfold(g, *n.attributes),)


def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Dimensions ``source`` put at the places ``destination``; the others keep their order."""
    moved = [_axis("movedim", d, input.ndim) for d in ((source,) if isinstance(source, int) else source)]
    places = [_axis("movedim", d, input.ndim) for d in ((destination,) if isinstance(destination, int) else destination)]
    if len(moved) != len(places) or len(set(moved)) != len(moved) or len(set(places)) != len(places):
        raise ShapeError(f"movedim: {source} and {destination} must name as many dimensions, each once")
    if input.ndim == 0:
        return input
    order = [a for a in range(input.ndim) if a not in moved]
    for place, axis in sorted(zip(places, moved, strict=True)):
        order.insert(place, axis)
    return permute(input, *order)


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two dimensions exchanged: `transpose` under NumPy's name."""
    return transpose(input, axis0, axis1)


def ravel(input: Tensor) -> Tensor:
    """All elements in row-major order as one dimension; a copy only where strides leave no other way."""
    return reshape(input, -1)


def meshgrid(*tensors: Tensor | Sequence[Tensor], indexing: str = "ij") -> tuple[Tensor, ...]:
    """Vectors stretched over the grid that they span: tensor ``k`` varies along dimension ``k``.

    With ``indexing="xy"`` the first tensor varies along dimension 1 and the second along dimension 0.
    """
    given = tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
    vectors: list[Tensor] = list(given)  # type: ignore[arg-type]
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: indexing is 'ij' or 'xy', got {indexing!r}")
    if not vectors:
        raise ValueError("meshgrid: there is no tensor to make a grid of")
    for x in vectors:
        if x.ndim > 1:
            raise ShapeError(f"meshgrid: takes vectors and numbers, got shape {list(x.shape)}")
    same_device("meshgrid", [x.layout for x in vectors])
    swapped = indexing == "xy" and len(vectors) > 1
    if swapped:
        vectors[0], vectors[1] = vectors[1], vectors[0]
    shape = tuple(x.layout.numel for x in vectors)
    grids = [expand(reshape(x, (*(1,) * k, x.layout.numel, *(1,) * (len(shape) - k - 1))), shape) for k, x in enumerate(vectors)]
    if swapped:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)
