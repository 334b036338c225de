"""Quantiles and most frequent values, read off sorted rows; their gradients come with the operations they are made of."""

from __future__ import annotations

from typing import Any

from ..runtime import dtype as dt
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import layout_of
from ..tensor import Tensor
from .arithmetic import where
from .checked_index import checked_index
from .comparison import ge, le, logical_and
from .creation import counted, full
from .dispatch import only_tensors, same_device
from .functions import ceil, floor, round_
from .moving import pick_rows
from .outputs import takes_out
from .rearranging import movedim
from .reduction import amax, first_place, sum
from .searching import places
from .sorting import Rows, Sorted, sorted_rows
from .variants import lerp
from .views import cast, reshape, select, unsqueeze

_WAYS = ("linear", "lower", "higher", "midpoint", "nearest")


def _wanted(name: str, x: Tensor, q: Any) -> Tensor:
    """``q`` as a vector of ``x``'s dtype on its device. Tensors are looked at on the device: the next wait raises."""
    if isinstance(q, (int, float)) and not isinstance(q, bool):
        if not 0 <= q <= 1:
            raise ValueError(f"{name}: q is from 0 to 1, got {q}")
        return full((1,), q, dtype=x.dtype, device=x.device)
    if not isinstance(q, Tensor):
        raise TypeError(f"{name}: q is a number or a tensor, got {type(q).__name__}")
    if q.ndim > 1:
        raise ShapeError(f"{name}: q is a number or a vector, got shape {list(q.shape)}")
    same_device(name, (x.layout, q.layout))
    if q.dtype is not x.dtype:
        raise DTypeError(f"{name}: q is {q.dtype.name} and input {x.dtype.name}; convert one with .to(...)")
    flat = reshape(q, -1)
    plain = flat.detach()
    inside = logical_and(ge(plain, 0), le(plain, 1))
    noted = checked_index(cast(inside.logical_not(), dt.int32), 1, f"{name}: q is not from 0 to 1", wrap=False)
    return flat + cast(noted, x.dtype)  # which adds zeros, and is what makes the check a part of the result


def _quantile(name: str, x: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip_nan: bool) -> Tensor:
    only_tensors(name, x)
    if x.dtype not in (dt.float32, dt.float64):
        raise DTypeError(f"{name} is not defined for {x.dtype.name}; convert with .to(rasptorch.float32)")
    if interpolation not in _WAYS:
        raise ValueError(f"{name}: interpolation is one of {', '.join(_WAYS)}, got {interpolation!r}")
    if not x.layout.numel:
        raise ShapeError(f"{name}: nothing to choose from in shape {list(x.shape)}")
    rows = Rows(name, reshape(x, -1) if dim is None or not x.ndim else x, 0 if dim is None else dim)
    wanted = _wanted(name, x, q)
    values = _between(sorted_rows(rows.matrix, False)[0], wanted, interpolation, skip_nan)
    out = movedim(rows.back(values), rows.axis, 0)
    if keepdim and x.ndim:
        for axis in range(x.ndim) if dim is None else (rows.axis,):
            out = unsqueeze(out, axis + 1)
    return out if isinstance(q, Tensor) and q.ndim else select(out, 0, 0)


def _between(ordered: Tensor, wanted: Tensor, interpolation: str, skip_nan: bool) -> Tensor:
    """The ``wanted`` quantiles, ``[rows, count]``, of rows in order. As in PyTorch, places are numbers of the rows' dtype."""
    last = ordered.shape[1] - 1
    plain = ordered.detach()
    if skip_nan:
        there = sum(plain == plain, 1, True, dtype=dt.int32)  # NaN is at the end
        place = (reshape(wanted, (1, -1)) * cast(there - 1, ordered.dtype)).clamp(min=0)
    else:
        missing = plain[:, last:] != plain[:, last:]
        place = where(missing, float(last), reshape(wanted, (1, -1)) * float(last))
    step = {"lower": floor, "higher": ceil, "nearest": round_}.get(interpolation)
    if step is not None:
        return pick_rows(ordered, cast(step(place.detach()), dt.int32))
    down = floor(place.detach())
    below, above = (pick_rows(ordered, cast(k, dt.int32)) for k in (down, ceil(place.detach())))
    return lerp(below, above, 0.5 if interpolation == "midpoint" else place - down)


@takes_out
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear", out: Any = None
) -> Tensor:  # fmt: skip
    """The quantiles ``q`` (a number from 0 to 1, or a vector of them) along ``dim``, or of all elements; NaN where there is one.

    A vector gives a new first dimension. A quantile between the entries ``a`` and ``b`` of a row in order is, by ``interpolation``:
    ``"linear"`` (in proportion), ``"lower"`` (``a``), ``"higher"`` (``b``), ``"midpoint"`` or ``"nearest"``. float32 and float64. A number
    in a tensor ``q`` that is not from 0 to 1 raises `IndexError` at the next point where somebody waits.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@takes_out
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear", out: Any = None
) -> Tensor:  # fmt: skip
    """As `quantile`, of those entries that are not NaN; NaN where there are no others."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


@takes_out
def mode(input: Tensor, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Sorted:
    """The most frequent entry along ``dim`` and the last index (int64) that has it; of equally frequent ones the smallest."""
    only_tensors("mode", input)
    rows = Rows("mode", input, dim)
    if not rows.length:
        raise ShapeError(f"mode: nothing to choose from along dimension {dim} of shape {list(input.shape)}")
    ordered, came = sorted_rows(rows.matrix, False)
    # How often an entry has occurred up to each place of its row; the first greatest number is the end of the longest run.
    place = counted("index", layout_of(input.device, dt.int32, (1, rows.length)), 0, 1)
    length = place - places(ordered, ordered, False)
    chosen = first_place(length, amax(length, 1, True), 1, True)
    values, indices = pick_rows(ordered, chosen), pick_rows(came, chosen)
    return Sorted(rows.one(values, keepdim), cast(rows.one(indices, keepdim), dt.int64))
