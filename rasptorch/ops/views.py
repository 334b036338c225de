"""Other ways to look at the same memory: no command runs, except where a new shape cannot be had without a copy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from operator import index
from typing import Any

from ..autograd.node import Gradient, Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec, Program, step
from ..runtime.errors import ShapeError
from ..runtime.layout import Layout, broadcast_shapes, broadcast_strides, contiguous_strides, layout_of
from ..tensor import Tensor, _axis
from .aliases import takes_axis
from .dispatch import SpecCache, check_dtype, check_size, enqueue, tape

_copies = SpecCache()


def view(
    x: Tensor, name: str, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, gradient: Gradient, note: Any = None
) -> Tensor:
    """A tensor on ``x``'s memory; ``gradient`` brings a gradient of the new shape back to ``x``'s."""
    return _seen(x, name, layout_of(x.layout.device, x.layout.dtype, shape, strides), offset, gradient, note)


def _seen(x: Tensor, name: str, layout: Layout, offset: int, gradient: Gradient, note: Any) -> Tensor:
    out = Tensor._make(x.storage, offset, layout)
    out.is_view = True
    tape(out, name, gradient, (x,), (), note)
    if out.node is not None:
        out.node.is_view = True
    return out


def contiguous(x: Tensor) -> Tensor:
    """``x`` itself when it lies in row-major order, otherwise a copy that does."""
    return x if x.layout.contiguous else clone(x)


def clone(input: Tensor) -> Tensor:
    """A copy in row-major order; gradients pass through."""
    layout = input.layout
    if layout.dtype.itemsize == 8 and only_stored(layout):
        plain = layout_of(layout.device, layout.dtype, layout.shape)
        made = Tensor._make(layout.device.stream().new_storage(plain.nbytes), 0, plain)
        _move_words("clone", made, input, layout)
        return tape(made, "clone", lambda n, g: (g,), (input,))
    spec = _copies.get(layout)
    if spec is None:
        program = Program((layout.dtype,), (), (step("copy", layout.dtype, (0,)),), (1,))
        spec = _copies.put(
            layout,
            CommandSpec("elementwise", "clone", (layout,), (layout_of(layout.device, layout.dtype, layout.shape),), program),
        )
    return tape(enqueue(spec, (input,)), "clone", lambda n, g: (g,), (input,))


def only_stored(layout: Layout) -> bool:
    """Whether the device keeps numbers of this dtype but has no arithmetic for them, so that they are moved in halves."""
    traits = layout.device.driver.traits
    return not (traits.int64 if layout.dtype is dt.int64 else traits.float64)


def half(x: Tensor, which: int) -> Tensor:
    """The lower (0) or upper (1) halves of elements of 64 bits, as int32."""
    layout = layout_of(x.device, dt.int32, x.layout.shape, tuple(2 * s for s in x.layout.strides))
    return Tensor._make(x.storage, 2 * x.offset + which, layout)


def _move_words(name: str, target: Tensor, source: Tensor, stretched: Layout) -> None:
    """Write ``source``, seen as ``stretched``, into ``target`` of the same dtype: both halves of every element, in one command."""
    if stretched.numel == 0:
        return
    key = (target.layout, stretched, "words")
    spec = _copies.get(key)
    if spec is None:
        read, write = (
            layout_of(x.device, dt.int32, stretched.shape, tuple(2 * s for s in x.strides)) for x in (stretched, target.layout)
        )
        steps = (step("copy", dt.int32, (0,)), step("copy", dt.int32, (1,)))
        program = Program((dt.int32, dt.int32), (), steps, (2, 3))
        spec = _copies.put(key, CommandSpec("elementwise", name, (read, read), (write, write), program, in_place=2))
    halves = [[half(t, which) for which in (0, 1)] for t in (source, target)]
    target.layout.device.stream().enqueue(spec, halves[0], (), halves[1])
    target.storage.version += 1


def cast(x: Tensor, dtype: Any) -> Tensor:
    """The values as ``dtype``; ``x`` itself when they already are."""
    layout = x.layout
    if layout.dtype is dtype:
        return x
    key = (layout, dtype)
    spec = _copies.get(key)
    if spec is None:
        pair = {layout.dtype, dtype}
        if dt.int64 not in pair or any(d.is_floating_point for d in pair):
            # Between integers a device without int64 arithmetic still converts exactly: low words, signs extended.
            check_dtype("to", layout.device, layout.dtype, dtype)
        program = Program((layout.dtype,), (), (step("cast", layout.dtype, (0,), dtype),), (1,))
        made = layout_of(layout.device, dtype, layout.shape)
        check_size("to", made)
        spec = _copies.put(key, CommandSpec("elementwise", "to", (layout,), (made,), program))
    out = enqueue(spec, (x,))
    if dtype.is_floating_point:
        tape(out, "to", lambda n, g: (cast(g, n.attributes),), (x,), (), layout.dtype)
    return out


def _strides_for(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides that show ``layout`` as ``shape`` without a copy; None if there are none."""
    if layout.contiguous:
        return contiguous_strides(shape)
    old = [(n, s) for n, s in zip(layout.shape, layout.strides, strict=True) if n != 1]
    strides: list[int] = []
    at = 0
    remaining: list[tuple[int, int]] = []  # the current run of old axes, as (length, stride), merged
    run = 1
    for n in shape:
        if n == 1:
            strides.append(0)
            continue
        while run % n or run == 1:
            if at == len(old):
                return None
            length, stride = old[at]
            at += 1
            if remaining and remaining[-1][1] != length * stride:
                return None
            remaining = [(run * length, stride)] if run != 1 or remaining else [(length, stride)]
            run *= length
        run //= n
        strides.append(remaining[-1][1] * run)
        if run == 1:
            remaining = []
    return tuple(strides)


def _whole(name: str, shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes that are not all plain numbers: NumPy's serve as well."""
    if any(isinstance(n, (bool, Tensor)) or not hasattr(n, "__index__") or n < -1 for n in shape):
        raise ShapeError(f"{name}: sizes are whole numbers, or -1 for the one to work out, got {list(shape)}")
    return tuple(index(n) for n in shape)


def _wanted_shape(name: str, x: Tensor, size: Sequence[Any]) -> tuple[int, ...]:
    shape = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else tuple(size)
    for n in shape:
        if type(n) is not int or n < -1:
            shape = _whole(name, shape)
            break
    if shape.count(-1) > 1:
        raise ShapeError(f"{name}: only one size can be -1, got {list(shape)}")
    if -1 in shape:
        known = -math.prod(shape)
        if known == 0 or x.layout.numel % known:
            raise ShapeError(
                f"{name}: {x.layout.numel} elements of shape {list(x.shape)} do not fill {list(shape)} for any size in place of -1"
            )
        shape = tuple(x.layout.numel // known if n == -1 else n for n in shape)
    if math.prod(shape) != x.layout.numel:
        raise ShapeError(f"{name}: {x.layout.numel} elements of shape {list(x.shape)} do not make {list(shape)}")
    return shape


def _grad_reshape(n: Node, g: Tensor) -> tuple[Tensor]:
    return (reshape(g, n.attributes),)


def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """The same elements in another shape; one size may be -1. A copy only where strides leave no other way."""
    wanted = _wanted_shape("reshape", input, sizes if shape is None else (shape,))
    if wanted == input.layout.shape:
        return input
    strides = _strides_for(input.layout, wanted)
    if strides is None:
        input = clone(input)
        strides = contiguous_strides(wanted)
    return view(input, "reshape", wanted, strides, input.offset, _grad_reshape, input.layout.shape)


def view_(x: Tensor, *size: Any) -> Tensor:
    """As `reshape`, but an error where that would need a copy."""
    shape = _wanted_shape("view", x, size)
    strides = _strides_for(x.layout, shape)
    if strides is None:
        raise ShapeError(
            f"view: shape {list(x.shape)} with strides {list(x.layout.strides)} cannot be seen as {list(shape)} without a copy; use reshape"
        )
    return view(x, "view", shape, strides, x.offset, _grad_reshape, x.layout.shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions ``start_dim`` to ``end_dim`` (both included) merged into one."""
    if input.ndim == 0:
        return reshape(input, 1)
    first, last = _axis("flatten", start_dim, input.ndim), _axis("flatten", end_dim, input.ndim)
    if first > last:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    return reshape(input, *input.shape[:first], math.prod(input.shape[first : last + 1]), *input.shape[last + 1 :])


@takes_axis
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Dimension ``dim`` split into ``sizes``; one of them may be -1."""
    axis = _axis("unflatten", dim, input.ndim)
    sizes = list(sizes)
    if sizes.count(-1) == 1 and math.prod(sizes) != 0:
        sizes[sizes.index(-1)] = input.shape[axis] // -math.prod(sizes)
    if math.prod(sizes) != input.shape[axis]:
        raise ShapeError(f"unflatten: dimension {dim} of length {input.shape[axis]} does not split into {sizes}")
    return reshape(input, *input.shape[:axis], *sizes, *input.shape[axis + 1 :])


def _grad_permute(n: Node, g: Tensor) -> tuple[Tensor]:
    order = n.attributes
    back = [0] * len(order)
    for position, axis in enumerate(order):
        back[axis] = position
    return (permute(g, *back),)


def permute(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """Dimensions in another order, each named once: numbers, or one sequence of them."""
    if dims is not None:
        order = tuple(dims)
    elif len(order) == 1 and isinstance(order[0], (tuple, list)):
        order = tuple(order[0])
    wanted = tuple(_axis("permute", d, input.ndim) for d in order)
    if sorted(wanted) != list(range(input.ndim)):
        raise ShapeError(f"permute: {list(order)} does not name each of the {input.ndim} dimensions once")
    return _seen(input, "permute", _reordered(input.layout, wanted), input.offset, _grad_permute, wanted)


def _reordered(layout: Layout, order: tuple[int, ...]) -> Layout:
    return layout_of(layout.device, layout.dtype, tuple(layout.shape[a] for a in order), tuple(layout.strides[a] for a in order))


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged."""
    layout, found = _exchanged(input.layout, dim0, dim1)
    return _seen(input, "permute", layout, input.offset, _grad_permute, found) if found else input


def turned(x: Tensor) -> Tensor:
    """The last two dimensions exchanged, without history: for operands that nobody else sees."""
    return Tensor._make(x.storage, x.offset, _exchanged(x.layout, -2, -1)[0])


@lru_cache(4096)
def _exchanged(layout: Layout, dim0: int, dim1: int) -> tuple[Layout, tuple[int, ...]]:
    """The layout with two dimensions exchanged, and the order of dimensions that makes it; none where there are none."""
    rank = len(layout.shape)
    a, b = _axis("transpose", dim0, rank), _axis("transpose", dim1, rank)
    order = list(range(rank))
    if order:
        order[a], order[b] = order[b], order[a]
    return _reordered(layout, tuple(order)), tuple(order)


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; 0-d and 1-d tensors stay as they are."""
    if input.ndim > 2:
        raise ShapeError(f"t: takes at most 2 dimensions, got shape {list(input.shape)}; use .mT or .permute")
    return transpose(input, 0, 1) if input.ndim == 2 else input


def mT(x: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    if x.ndim < 2:
        raise ShapeError(f"mT: needs at least 2 dimensions, got shape {list(x.shape)}")
    return transpose(x, -2, -1)


def T(x: Tensor) -> Tensor:
    """All dimensions in reverse order."""
    return permute(x, *reversed(range(x.ndim))) if x.ndim > 1 else x


@takes_axis
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without dimensions of length 1: all of them, or those named that have it."""
    if dim is None:
        gone = set(range(input.ndim))
    else:
        gone = {_axis("squeeze", d, input.ndim) for d in ((dim,) if isinstance(dim, int) else dim)}
    keep = [a for a in range(input.ndim) if a not in gone or input.shape[a] != 1]
    layout = input.layout
    return view(
        input, "squeeze", tuple(layout.shape[a] for a in keep), tuple(layout.strides[a] for a in keep), input.offset,
        _grad_reshape, layout.shape,
    )  # fmt: skip


@takes_axis
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new dimension of length 1 before ``dim``."""
    axis = _axis("unsqueeze", dim, input.ndim + 1)
    layout = input.layout
    shape = (*layout.shape[:axis], 1, *layout.shape[axis:])
    strides = (*layout.strides[:axis], 0, *layout.strides[axis:])
    return view(input, "unsqueeze", shape, strides, input.offset, _grad_reshape, layout.shape)


def _grad_expand(n: Node, g: Tensor) -> tuple[Tensor]:
    from .reduction import sum_to

    return (sum_to(g, n.attributes),)


def expand(x: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """Dimensions of length 1 stretched without a copy; -1 keeps a length."""
    given = sizes if size is None else (size,)
    wanted = tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else tuple(given)
    lead = len(wanted) - x.ndim
    if lead < 0:
        raise ShapeError(f"expand: {list(wanted)} has fewer dimensions than shape {list(x.shape)}")
    shape = []
    for axis, n in enumerate(wanted):
        own = x.shape[axis - lead] if axis >= lead else 1
        if n == -1 and axis >= lead:
            n = own
        if n < 0 or (own not in (1, n)):
            raise ShapeError(f"expand: shape {list(x.shape)} does not stretch to {list(wanted)}")
        shape.append(n)
    full = tuple(shape)
    if full == x.layout.shape:
        return x
    return view(x, "expand", full, broadcast_strides(x.layout, full), x.offset, _grad_expand, x.layout.shape)


def broadcast_to(input: Tensor, shape: Sequence[int]) -> Tensor:
    """As `expand`, to a shape given as one sequence."""
    return expand(input, *shape)


def expand_as(x: Tensor, other: Tensor) -> Tensor:
    return expand(x, *other.shape)


def embed(g: Tensor, shape: tuple[int, ...], region: Layout, offset: int) -> Tensor:
    """Zeros of ``shape`` (row-major) with ``g`` written where ``region``, relative to its start, looks at it."""
    return tape(_embedded(g, shape, region, offset), "embed", _grad_embed, (g,), (), (region, offset))


def _grad_embed(n: Node, g: Tensor) -> tuple[Tensor]:
    return (part(contiguous(g), g.layout.shape, *n.attributes),)


def part(g: Tensor, shape: tuple[int, ...], region: Layout, offset: int) -> Tensor:
    """What ``region``, relative to its start, looks at in a row-major ``g`` of ``shape``."""
    return view(g, "part", region.shape, region.strides, g.offset + offset, _grad_part, (shape, region, offset))


def _grad_part(n: Node, g: Tensor) -> tuple[Tensor]:
    shape, region, offset = n.attributes
    return (embed(g, shape, region, offset),)


def _embedded(g: Tensor, shape: tuple[int, ...], region: Layout, offset: int) -> Tensor:
    from ..autograd.mode import no_grad
    from .creation import zeros

    with no_grad():
        out = zeros(shape, dtype=g.dtype, device=g.device)
        out_view = Tensor._make(out.storage, offset, region)
        copy_into(out_view, g)
    return out


def copy_into(target: Tensor, source: Tensor) -> None:
    """Write ``source``, stretched and converted, into ``target``'s memory. No taping: callers do that."""
    from .dispatch import enqueue_into, same_device

    key = (target.layout, source.layout, "into")
    spec = _copies.get(key)
    if spec is None:
        device = same_device("copy_", (target.layout, source.layout))
        pair = {target.dtype, source.dtype}
        if len(pair) == 2 and (dt.int64 not in pair or any(d.is_floating_point for d in pair)):
            # As in `cast`; what keeps its dtype is only moved.
            check_dtype("copy_", device, target.dtype, source.dtype)
        try:
            strides = expand(source.detach(), *target.shape).layout.strides
        except ShapeError:
            raise ShapeError(f"copy_: shape {list(source.shape)} does not stretch to {list(target.shape)}") from None
        steps = (
            step("copy", source.dtype, (0,)) if source.dtype is target.dtype else step("cast", source.dtype, (0,), target.dtype),
        )
        program = Program((source.dtype,), (), steps, (1,))
        inputs = (layout_of(device, source.dtype, target.shape, strides),)
        if source.dtype is target.dtype and source.dtype.itemsize == 8 and only_stored(source.layout):
            _move_words("copy_", target, source, inputs[0])
            return
        spec = _copies.put(key, CommandSpec("elementwise", "copy_", inputs, (target.layout,), program, in_place=1))
    enqueue_into(spec, target, (source,))


@takes_axis
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """``length`` entries of dimension ``dim`` from ``start`` on."""
    from .indexing import getitem

    axis = _axis("narrow", dim, input.ndim)
    if start < 0:
        start += input.shape[axis]
    if length < 0 or start < 0 or start + length > input.shape[axis]:
        raise IndexError(f"narrow: {length} entries from {start} on are outside dimension {dim} of length {input.shape[axis]}")
    return getitem(input, (slice(None),) * axis + (slice(start, start + length),))


@takes_axis
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Entry ``index`` of dimension ``dim``, which disappears."""
    from .indexing import getitem

    return getitem(input, (slice(None),) * _axis("select", dim, input.ndim) + (index,))


def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of ``split_size_or_sections`` entries (the last may be smaller), or of the given sizes, along ``dim``."""
    axis = _axis("split", dim, tensor.ndim)
    total = tensor.shape[axis]
    if isinstance(split_size_or_sections, int):
        if split_size_or_sections <= 0:
            raise ShapeError(f"split: pieces need at least one entry, got {split_size_or_sections}")
        parts = [min(split_size_or_sections, total - i) for i in range(0, total, split_size_or_sections)] or [0]
    else:
        parts = list(split_size_or_sections)
        if builtin_sum(parts) != total:
            raise ShapeError(f"split: sizes {parts} add up to {builtin_sum(parts)}, dimension {dim} has {total}")
    out, start = [], 0
    for n in parts:
        out.append(narrow(tensor, axis, start, n))
        start += n
    return tuple(out)


@takes_axis
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` pieces of equal size along ``dim``; the last may be smaller."""
    if chunks <= 0:
        raise ShapeError(f"chunk: needs at least one chunk, got {chunks}")
    total = input.shape[_axis("chunk", dim, input.ndim)]
    if total == 0:  # as many pieces of nothing, as in PyTorch
        return tuple(narrow(input, dim, 0, 0) for _ in range(chunks))
    return split(input, -(-total // chunks), dim)


@takes_axis
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Every entry of ``dim`` as a tensor of its own."""
    return tuple(select(input, dim, i) for i in range(input.shape[_axis("unbind", dim, input.ndim)]))


def view_as(x: Tensor, other: Tensor) -> Tensor:
    """`view` in the shape of another tensor."""
    return view_(x, other.layout.shape)


def reshape_as(x: Tensor, other: Tensor) -> Tensor:
    """`reshape` to the shape of another tensor."""
    return reshape(x, other.layout.shape)


def H(x: Tensor) -> Tensor:
    """The transpose of a matrix: without complex numbers nothing is conjugated."""
    if x.ndim not in (0, 2):
        raise ShapeError(f"H: takes a matrix, got shape {list(x.shape)}; use .mT")
    return t(x)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All stretched to the shape they share, without copies."""
    shape = broadcast_shapes("broadcast_tensors", *(x.layout.shape for x in tensors))
    return tuple(expand(x, shape) for x in tensors)


builtin_sum = sum
