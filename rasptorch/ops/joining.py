"""Tensors put together and repeated: every piece is written into its place in a new tensor; forward and gradient side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.dtype import promote
from ..runtime.errors import ShapeError
from ..runtime.layout import MAX_RANK, layout_of
from ..tensor import Tensor, _axis
from .aliases import takes_axis
from .dispatch import check_size, same_device, tape
from .elementwise import fitted
from .outputs import takes_out
from .views import cast, clone, copy_into, narrow, reshape, unsqueeze

Tensors = Sequence[Tensor]


def _given(name: str, tensors: Tensors) -> list[Tensor]:
    """What was given as a list, which must not be empty."""
    if isinstance(tensors, Tensor):
        raise TypeError(f"{name} takes a sequence of tensors, got one tensor of shape {list(tensors.shape)}")
    found = list(tensors)
    for x in found:
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} takes tensors, got {type(x).__name__}")
    if not found:
        raise ValueError(f"{name}: there is no tensor to join")
    return found


def _grad_cat(n: Node, g: Tensor) -> list[Tensor | None]:
    axis, layouts = n.attributes
    out: list[Tensor | None] = []
    start = 0
    for k, layout in enumerate(layouts):
        length = layout.shape[axis]
        out.append(fitted(narrow(g, axis, start, length), layout) if n.needs(k) else None)
        start += length
    return out


def _check_pieces(axis: int, pieces: list[Tensor]) -> None:
    first = pieces[0].shape
    for k, x in enumerate(pieces):
        if x.ndim != len(first) or [n for a, n in enumerate(x.shape) if a != axis] != [n for a, n in enumerate(first) if a != axis]:
            raise ShapeError(
                f"cat: shapes {list(first)} and {list(x.shape)} (piece {k}) may only differ in dimension {axis}; "
                "use reshape or expand to make them fit, or stack for a new dimension"
            )


class _Places:
    """Where the pieces of one form go: which count, the layout of the whole, and each piece's first element and layout in it."""

    __slots__ = ("axis", "counted", "layout", "layouts", "places")

    def __init__(self, given: list[Tensor], dim: int) -> None:
        for k, x in enumerate(given):
            if x.ndim == 0:
                raise ShapeError(f"cat: piece {k} is 0-d and has no dimension to join along; use stack")
        device = same_device("cat", [x.layout for x in given])
        self.counted = [k for k, x in enumerate(given) if x.shape != (0,)] or [0]
        pieces = [given[k] for k in self.counted]
        self.axis = axis = _axis("cat", dim, pieces[0].ndim)
        _check_pieces(axis, pieces)
        dtype = reduce(promote, [x.dtype for x in given])
        self.layouts = [x.layout for x in pieces]
        first = pieces[0].shape
        self.layout = layout_of(device, dtype, (*first[:axis], sum(x.shape[axis] for x in pieces), *first[axis + 1 :]))
        check_size("cat", self.layout)
        self.places = []
        start = 0
        for x in pieces:
            self.places.append((start * self.layout.strides[axis], layout_of(device, dtype, x.shape, self.layout.strides)))
            start += x.shape[axis]


_PLACES_MAX = 5_000
_places: dict[Any, _Places] = {}


@takes_out
def cat(tensors: Tensors, dim: int = 0, *, out: Any = None) -> Tensor:
    """The tensors one after another along ``dim``, in their common dtype. Pieces of shape ``[0]`` are passed over."""
    given = _given("cat", tensors)
    key = (dim, *[x.layout for x in given])
    found = _places.get(key)
    if found is None:
        found = _Places(given, dim)
        if len(_places) >= _PLACES_MAX:
            _places.clear()
        _places[key] = found
    layout = found.layout
    out = Tensor._make(layout.device.stream().new_storage(layout.nbytes), 0, layout)
    pieces = [given[k] for k in found.counted]
    for x, (offset, place) in zip(pieces, found.places, strict=True):
        if place.numel:
            copy_into(Tensor._make(out.storage, offset, place), x)
    return tape(out, "cat", _grad_cat, pieces, (), (found.axis, found.layouts))


@takes_out
def stack(tensors: Tensors, dim: int = 0, *, out: Any = None) -> Tensor:
    """Tensors of one shape side by side along a new dimension ``dim``."""
    pieces = _given("stack", tensors)
    for k, x in enumerate(pieces):
        if x.shape != pieces[0].shape:
            raise ShapeError(f"stack: tensors have one shape, got {list(pieces[0].shape)} and {list(x.shape)} (number {k}); see cat")
    axis = _axis("stack", dim, pieces[0].ndim + 1)
    return cat([unsqueeze(x, axis) for x in pieces], axis)


@takes_out
def hstack(tensors: Tensors, *, out: Any = None) -> Tensor:
    """Side by side: along dimension 1, or along the only one."""
    pieces = [reshape(x, 1) if x.ndim == 0 else x for x in _given("hstack", tensors)]
    return cat(pieces, 0 if pieces[0].ndim == 1 else 1)


@takes_out
def vstack(tensors: Tensors, *, out: Any = None) -> Tensor:
    """On top of each other: along dimension 0, vectors as rows."""
    return cat([reshape(x, 1, -1) if x.ndim < 2 else x for x in _given("vstack", tensors)], 0)


def _copied(out: Tensor, x: Tensor) -> Tensor:
    """``out`` in memory of its own, where it still looks at ``x``'s."""
    return clone(out) if out.storage is x.storage else out


def _counts(name: str, sizes: Sequence[Any]) -> tuple[int, ...]:
    counts = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else tuple(sizes)
    for n in counts:
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ShapeError(f"{name}: numbers of repetitions are whole and not negative, got {list(counts)}")
    return counts


def _repeated(x: Tensor, counts: tuple[int, ...]) -> Tensor:
    """As many ``counts`` as dimensions."""
    if x.ndim + sum(n != 1 for n in counts) > MAX_RANK:  # one dimension after another: together there are too many
        for axis, n in enumerate(counts):
            x = _repeated(x, (*(1,) * axis, n, *(1,) * (x.ndim - axis - 1)))
        return x
    parts: list[int] = []
    wide: list[int] = []
    for length, n in zip(x.shape, counts, strict=True):
        parts += [length] if n == 1 else [1, length]
        wide += [length] if n == 1 else [n, length]
    out = reshape(reshape(x, parts).expand(wide), [length * n for length, n in zip(x.shape, counts, strict=True)])
    return _copied(out, x)


def repeat(x: Tensor, *sizes: Any, repeats: Any = None) -> Tensor:
    """``sizes[k]`` copies one after another along each dimension; more sizes than dimensions add dimensions in front."""
    counts = _counts("repeat", sizes if repeats is None else (repeats,))
    if len(counts) < x.ndim:
        raise ShapeError(f"repeat: {list(counts)} has fewer entries than shape {list(x.shape)} has dimensions; see tile")
    return _repeated(reshape(x, (1,) * (len(counts) - x.ndim) + x.shape), counts)


def tile(input: Tensor, *sizes: Any, dims: Any = None) -> Tensor:
    """As `repeat`, but where there are fewer numbers than dimensions the first dimensions stay as they are."""
    counts = _counts("tile", sizes if dims is None else (dims,))
    return repeat(input, (1,) * (input.ndim - len(counts)) + counts)


def _indices_repeated(repeats: Tensor, output_size: int | None) -> Tensor:
    from .creation import counted
    from .sized import repeated

    if repeats.ndim != 1:
        raise ShapeError(f"repeat_interleave: repeats are a vector, got shape {list(repeats.shape)}")
    indices = counted("index", layout_of(repeats.device, dt.int32, repeats.shape), 0, 1)
    return cast(repeated(indices, repeats, 0, output_size), repeats.dtype)


@takes_axis
def repeat_interleave(input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
    """Every entry along ``dim`` (without it: of the flattened tensor) ``repeats`` times in a row.

    ``repeats`` may be a vector with a number for each entry; then this waits for their sum, unless ``output_size`` gives it. As
    the only argument it asks for the indices themselves.
    """
    if repeats is None:
        return _indices_repeated(input, output_size)
    if isinstance(repeats, Tensor):
        from .sized import repeated

        return repeated(input, repeats, dim, output_size)
    if isinstance(repeats, bool) or not isinstance(repeats, int):
        raise TypeError(f"repeat_interleave: repeats is one whole number or a tensor, got {type(repeats).__name__}")
    if repeats < 0:
        raise ShapeError(f"repeat_interleave: repeats cannot be negative, got {repeats}")
    if dim is None or input.ndim == 0:
        return repeat_interleave(reshape(input, -1), repeats, 0)
    axis = _axis("repeat_interleave", dim, input.ndim)
    if input.ndim == MAX_RANK:  # one dimension more would be too many: two others become one
        first = 0 if axis > 1 else axis + 1 if axis else 1
        merged = (*input.shape[:first], input.shape[first] * input.shape[first + 1], *input.shape[first + 2 :])
        out = repeat_interleave(reshape(input, merged), repeats, axis - 1 if first < axis else axis)
        return reshape(out, (*input.shape[:axis], input.shape[axis] * repeats, *input.shape[axis + 1 :]))
    after = (*input.shape[: axis + 1], repeats, *input.shape[axis + 1 :])
    shape = (*input.shape[:axis], input.shape[axis] * repeats, *input.shape[axis + 1 :])
    out = reshape(unsqueeze(input, axis + 1).expand(after), shape)
    return _copied(out, input)
