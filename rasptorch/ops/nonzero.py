"""Where values are not zero. How many there are only the device knows, so these wait; the places themselves never leave it.

The places come from a stable sort of one bit: the true elements first, in their order. Only their number is read back.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from ..runtime import dtype as dt
from ..runtime.errors import BlockingInTrio, DTypeError
from ..runtime.layout import broadcast_shapes, contiguous_strides
from ..runtime.readback import Readback
from ..runtime.waiting import in_trio_task
from ..tensor import Tensor
from .arithmetic import floor_divide, remainder
from .checked_index import from_integers
from .comparison import ne
from .dispatch import same_device, tape
from .gathering import looked_up, sums_at
from .joining import stack
from .reduction import sum
from .sorting import sorted_rows
from .transfer import readback_item
from .views import expand, narrow, reshape


def as_mask(x: Tensor) -> Tensor:
    """True where ``x`` is not zero (NaN is not)."""
    return x.detach() if x.dtype is dt.bool_ else ne(x.detach(), 0)


def _count(mask: Tensor) -> Readback[Any]:
    """How many elements are true, on its way to the host."""
    return readback_item(sum(from_integers(mask, dt.int32), dtype=dt.int32))


def _ordered(mask: Tensor) -> Tensor:
    """The row-major numbers of all elements (int32), those of the true ones first."""
    return reshape(sorted_rows(reshape(mask, 1, -1), True)[1], -1)


def true_places(mask: Tensor, operation: str) -> Tensor:
    """The row-major numbers of the true elements, a vector of int32. Waits for their number."""
    if in_trio_task():
        raise BlockingInTrio(
            f"{operation}: the result is as long as there are true elements, which only the device knows, so this would block the "
            "Trio loop: index with `await rasptorch.nonzero_async(mask, as_tuple=True)` instead, or choose with `where`"
        )
    if not mask.layout.numel:
        return _ordered(mask)
    order = _ordered(mask)
    return narrow(order, 0, 0, int(_count(mask).wait()))


def coordinates(places: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    """Coordinates (int32) in ``shape`` of the elements that ``places`` numbers."""
    out = []
    for axis, (n, step) in enumerate(zip(shape, contiguous_strides(shape), strict=True)):
        along = floor_divide(places, step) if step != 1 else places
        out.append(remainder(along, n) if axis and n else along)
    return out


def _as_result(places: Tensor, shape: tuple[int, ...], as_tuple: bool) -> Any:
    if as_tuple:
        return tuple(c.to(dt.int64) for c in coordinates(places, shape or (1,)))
    if not shape:
        return reshape(places, -1, 1).to(dt.int64)[:, :0]
    return stack([c.to(dt.int64) for c in coordinates(places, shape)], 1)


def _mask_of(operation: str, x: Tensor) -> Tensor:
    """`as_mask` of what a caller gave."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{operation}: expected a tensor, got {type(x).__name__}")
    return as_mask(x)


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not zero, in row-major order: ``[count, dimensions]`` int64.

    With ``as_tuple`` a vector per dimension, which can be used as an index. Waits for the count; in a Trio task see `nonzero_async`.
    """
    return _as_result(true_places(_mask_of("nonzero", input), "nonzero"), input.layout.shape, as_tuple)


def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements that are not zero: `nonzero` under NumPy's name."""
    places = true_places(_mask_of("argwhere", input), "argwhere")
    return _as_result(places, input.layout.shape, False)  # type: ignore[no-any-return]


def nonzero_async(input: Tensor, *, as_tuple: bool = False) -> Coroutine[Any, Any, Any]:
    """`nonzero` to be awaited in a Trio task: ``input[await rasptorch.nonzero_async(mask, as_tuple=True)]``.

    The work is enqueued at once; what is awaited is the count.
    """
    mask = _mask_of("nonzero", input)
    order, count = _ordered(mask), _count(mask)

    async def found() -> Any:
        return _as_result(narrow(order, 0, 0, int(await count)), input.layout.shape, as_tuple)

    return found()


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements of ``input`` where ``mask`` (bool) is true, as a vector; the two are stretched to one shape. Waits for their number."""
    if mask.dtype is not dt.bool_:
        raise DTypeError(f"masked_select: mask is bool, got {mask.dtype.name}; compare, or convert with .to(rasptorch.bool)")
    same_device("masked_select", [input.layout, mask.layout])
    shape = broadcast_shapes("masked_select", input.layout.shape, mask.layout.shape)
    wide = expand(input, shape)
    places = true_places(expand(mask.detach(), shape), "masked_select")
    split = None if wide.layout.contiguous else shape
    out = looked_up("masked_select", wide.detach(), [(places, (1,), 1)], places.shape, (0,), split)
    return tape(out, "masked_select", lambda n, g: (sums_at(g, n.values()[0], n.attributes),), (wide,), (places,), shape)
