"""Operations whose result has a shape that depends on values: they wait for one number, the size, and say so.

In a Trio task each of them has a form to be awaited, with ``_async`` at the end of its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.errors import BlockingInTrio, DTypeError, ShapeError
from ..runtime.layout import Shape, layout_of
from ..runtime.waiting import in_trio_task
from ..tensor import Tensor, _axis
from .checked_index import checked_index
from .comparison import ne
from .creation import counted, filled
from .dispatch import SpecCache, check_size, enqueue, only_tensors
from .joining import cat
from .moving import put_rows, select_rows
from .rearranging import movedim
from .reduction import amax, amin, any
from .scan import cumsum
from .scattering import sum_into
from .searching import places
from .sorting import sorted_rows
from .views import cast, contiguous, narrow, reshape

Back = Callable[[Tensor], Tensor]
_specs = SpecCache()


@dataclass(slots=True)
class Sized:
    """A result of which only the size is missing: ``finish`` makes it from the numbers in ``size``."""

    size: Tensor
    finish: Callable[[list[int]], Any]

    def now(self, name: str, instead: str) -> Any:
        readback = self.size.readback()
        if in_trio_task() and not readback.is_done():
            raise BlockingInTrio(f"{name}: the size of the result depends on values and would block the Trio loop: {instead}")
        return self.finish([int(n) for n in readback.wait().reshape(-1)])

    async def later(self) -> Any:
        return self.finish([int(n) for n in (await self.size.readback()).reshape(-1)])


# -- equal entries ------------------------------------------------------------------------------------------------
def _runs(flat: Tensor, order: Tensor | None, shape: Shape, return_inverse: bool, return_counts: bool, back: Back | None = None) -> Sized:
    """``flat`` (entries, or rows of them, equal ones side by side) without repetition.

    ``order`` are the places that they had where the inverse is of shape ``shape``; ``back`` makes the result of the rows that stay.
    """
    length = flat.shape[0]
    layout = layout_of(flat.device, dt.int32, (1,))
    differ = ne(narrow(flat, 0, 1, length - 1), narrow(flat, 0, 0, length - 1))
    changes = cast(differ if flat.ndim == 1 else any(differ, 1), dt.int32)
    number = cat([filled("unique", layout, 0), cumsum(changes, 0, dtype=dt.int32)], 0)

    def finish(size: list[int]) -> Any:
        count = size[0] + 1
        wanted = counted("index", layout_of(flat.device, dt.int32, (1, count)), 0, 1)
        first = reshape(places(reshape(number, (1, length)), wanted, False), -1)
        kept = select_rows(flat, first)
        out: list[Tensor] = [kept if back is None else back(kept)]
        if return_inverse:
            inverse = number if order is None else reshape(put_rows(length, order, reshape(number, (1, length))), -1)
            out.append(reshape(cast(inverse, dt.int64), shape))
        if return_counts:
            end = filled("unique", layout, length)
            after = cat([narrow(first, 0, 1, count - 1), end], 0)
            out.append(cast(after - first, dt.int64))
        return out[0] if len(out) == 1 else tuple(out)

    return Sized(narrow(number, 0, length - 1, 1), finish)


def _nothing(x: Tensor, dim: int | None, return_inverse: bool, return_counts: bool) -> Any:
    out = [layout_of(x.device, x.dtype, (0,) if dim is None else x.shape)]
    numbers = layout_of(x.device, dt.int64, (0,))
    out += [layout_of(x.device, dt.int64, x.shape) if dim is None else numbers] * return_inverse + [numbers] * return_counts
    made = tuple(Tensor._make(x.device.stream().new_storage(0), 0, layout) for layout in out)
    return made[0] if len(made) == 1 else made


def _in_order(rows: Tensor) -> Tensor:
    """The places (``[1, n]`` int32) of rows in lexicographic order: stable sorts by each column, from the last to the first."""
    order: Tensor | None = None
    for column in reversed(range(rows.shape[1])):
        keys = reshape(narrow(rows, 1, column, 1), -1)
        if order is not None:
            keys = select_rows(keys, reshape(order, -1))
        _, moved = sorted_rows(reshape(keys, (1, -1)), False)
        order = moved if order is None else reshape(select_rows(reshape(order, -1), reshape(moved, -1)), (1, -1))
    assert order is not None
    return order


def _along(x: Tensor, dim: int, ordered: bool, return_inverse: bool, return_counts: bool) -> Sized:
    """The different entries of dimension ``dim``, each of which is a tensor of the other dimensions."""
    front = movedim(x.detach(), dim, 0)
    length, rest = front.shape[0], front.shape[1:]
    rows = contiguous(reshape(front, (length, front.layout.numel // length)))
    order = _in_order(rows) if ordered else None
    if order is not None:
        rows = select_rows(rows, reshape(order, -1))

    def back(kept: Tensor) -> Tensor:
        return contiguous(movedim(reshape(kept, (kept.shape[0], *rest)), 0, dim))

    return _runs(rows, order, (length,), return_inverse, return_counts, back)


def _unique(name: str, x: Tensor, ordered: bool, return_inverse: bool, return_counts: bool, dim: int | None) -> Any:
    """What is to be waited for; for an empty tensor the result itself."""
    only_tensors(name, x)
    if dim is not None:
        if not x.ndim:
            raise ShapeError(f"{name}: a 0-d tensor has no dimension {dim}")
        dim = _axis(name, dim, x.ndim)
        if x.shape.count(0) > (x.shape[dim] == 0):
            raise ShapeError(f"{name}: the entries of dimension {dim} of shape {list(x.shape)} are empty")
    if not x.layout.numel:
        return _nothing(x, dim, return_inverse, return_counts)
    if dim is not None:
        return _along(x, dim, ordered, return_inverse, return_counts)
    flat = reshape(x.detach(), (1, x.layout.numel))
    values, order = sorted_rows(flat, False) if ordered else (flat, None)
    return _runs(reshape(values, -1), order, x.shape, return_inverse, return_counts)


def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:  # fmt: skip
    """The different values among all elements, in ascending order; waits for their number.

    With ``return_inverse`` also, in ``input``'s shape, which of them each element is (int64), with ``return_counts`` how often each occurs
    (int64). Every NaN is different from all others. In a Trio task: ``await unique_async(...)``.

    With ``dim`` the different entries of that dimension (rows, for 0), in lexicographic order; the inverse is a vector then. They are
    sorted by each of their elements in turn, so that takes as many sorts as an entry has elements.
    """
    made = _unique("unique", input, True, return_inverse, return_counts, dim)
    return made.now("unique", "use await rasptorch.unique_async(...)") if isinstance(made, Sized) else made


async def unique_async(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:  # fmt: skip
    """`unique` for Trio tasks."""
    made = _unique("unique", input, True, return_inverse, return_counts, dim)
    return await made.later() if isinstance(made, Sized) else made


def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None) -> Any:
    """As `unique`, of the flattened tensor (or dimension ``dim``) as it is: only neighbours that are equal become one."""
    made = _unique("unique_consecutive", input, False, return_inverse, return_counts, dim)
    return made.now("unique_consecutive", "use await rasptorch.unique_consecutive_async(...)") if isinstance(made, Sized) else made


async def unique_consecutive_async(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:  # fmt: skip
    """`unique_consecutive` for Trio tasks."""
    made = _unique("unique_consecutive", input, False, return_inverse, return_counts, dim)
    return await made.later() if isinstance(made, Sized) else made


# -- counts -------------------------------------------------------------------------------------------------------
def _bincount(x: Tensor, weights: Tensor | None, minlength: int) -> Sized:
    only_tensors("bincount", x)
    if x.ndim != 1 or x.dtype.category != 1:
        raise DTypeError(f"bincount: takes a vector of whole numbers, got {x.dtype.name} of shape {list(x.shape)}")
    if weights is not None and weights.shape != x.shape:
        raise ShapeError(f"bincount: {x.shape[0]} numbers need as many weights, got shape {list(weights.shape)}")
    if minlength < 0:
        raise ValueError(f"bincount: minlength is not negative, got {minlength}")
    index = cast(x.detach(), dt.int32)
    dtype = dt.int32 if weights is None else weights.dtype if weights.dtype is dt.float32 else dt.float64

    def finish(size: list[int]) -> Tensor:
        low, high = size if size else (0, -1)
        if low < 0:
            raise ValueError(f"bincount: numbers are not negative, got {low}")
        values = filled("bincount", layout_of(x.device, dt.int32, x.shape), 1) if weights is None else cast(weights.detach(), dtype)
        out = sum_into(max(high + 1, minlength), index, values)
        return cast(out, dt.int64) if weights is None else out

    if not x.shape[0]:
        return Sized(index, finish)
    return Sized(cat([reshape(amin(index), 1), reshape(amax(index), 1)], 0), finish)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often (int64) each whole number from 0 occurs in a vector, or the sums of their ``weights``; waits for the largest number.

    In a Trio task: ``await bincount_async(...)``.
    """
    made: Tensor = _bincount(input, weights, minlength).now("bincount", "use await rasptorch.bincount_async(...)")
    return made


async def bincount_async(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """`bincount` for Trio tasks."""
    made: Tensor = await _bincount(input, weights, minlength).later()
    return made


# -- repetition ---------------------------------------------------------------------------------------------------
def _before(counts: Tensor) -> Tensor:
    """The sum of the counts before each of them, int32 as they are."""
    spec = _specs.get(counts.layout)
    if spec is None:
        attributes = ("sums_before", 2 * counts.layout.numel, 1, counts.layout.numel)
        spec = _specs.put(counts.layout, CommandSpec("shader", "sums_before", (counts.layout,), (counts.layout,), None, attributes))
    return enqueue(spec, (counts,))


def _repeated(starts: Tensor, total: int) -> Tensor:
    """Which entry each of ``total`` places has, where entries begin at ``starts``: ``[total]`` int32."""
    key = (starts.layout, total)
    spec = _specs.get(key)
    if spec is None:
        out, length = layout_of(starts.device, dt.int32, (total,)), starts.layout.numel
        check_size("repeat_interleave", out)
        attributes = ("repeated", 2 * total * max(length.bit_length(), 1), length, total)
        spec = _specs.put(key, CommandSpec("shader", "repeated", (starts.layout,), (out,), None, attributes))
    return enqueue(spec, (starts,))


def repeated(x: Tensor, repeats: Tensor, dim: int | None, output_size: int | None) -> Tensor:
    """`repeat_interleave` with a number of repetitions for each entry; waits for their sum unless ``output_size`` gives it.

    A negative number raises `IndexError` at the next point where somebody waits.
    """
    if repeats.dtype.category != 1 or repeats.ndim > 1:
        got = f"{repeats.dtype.name} of shape {list(repeats.shape)}"
        raise DTypeError(f"repeat_interleave: repeats are a vector of whole numbers, got {got}")
    if dim is None or x.ndim == 0:
        return repeated(reshape(x, -1), repeats, 0, output_size)
    axis = _axis("repeat_interleave", dim, x.ndim)
    turned = x.transpose(0, axis)
    count = turned.shape[0]
    if repeats.layout.numel not in (1, count):
        raise ShapeError(f"repeat_interleave: {repeats.layout.numel} repeats for {count} entries along dimension {dim}")
    if output_size and not count:
        raise ShapeError(f"repeat_interleave: output_size={output_size}, but dimension {dim} of shape {list(x.shape)} has no entries")
    whole = checked_index(repeats.detach(), 2**31 - 1, "repeat_interleave: repeats", wrap=False)
    counts = contiguous(reshape(whole, -1).expand(count))
    starts = _before(counts)

    def finish(size: list[int]) -> Tensor:
        total = size[0] if size else 0
        rows = reshape(turned, (count, turned.layout.numel // count if count else 0))
        taken = select_rows(rows, _repeated(starts, total))
        return reshape(taken, (total, *turned.shape[1:])).transpose(0, axis)

    if output_size is not None:
        return finish([output_size])
    last, some = max(count - 1, 0), min(count, 1)
    made: Tensor = Sized(narrow(starts, 0, last, some) + narrow(counts, 0, last, some), finish).now(
        "repeat_interleave", "give output_size, the sum of the repeats"
    )
    return made
