"""Cases of operations without a gradient: what they give is true or false, a place, a count, or whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .case import Case, Shape, of


def _of(name: str, shape: Shape, note: str = "", *args: Any, **options: Any) -> Case:
    return Case(name, lambda m, x: getattr(m, name)(x, *args, **options), of(shape), note, False)


def _two(name: str) -> Case:
    return Case(name, lambda m, x, y: getattr(m, name)(x, y), of((2, 3), (3,)), "", False)


def _whole(name: str, count: int = 1) -> Case:
    """Of small whole numbers, made of the floats that every case gets."""

    def run(m: Any, *xs: Any) -> Any:
        return getattr(m, name)(*((x * 3).abs().to(m.int32) for x in xs))

    return Case(name, run, of(*((2, 3), (3,))[:count]), "", False)


def _weighted(name: str, read: Callable[[Any], Any], *shapes: Shape, note: str = "") -> Case:
    """What gives no tensor, or several, made one by ``read``."""
    return Case(name, lambda m, *xs: read(getattr(m, name)(*xs)), of(*shapes), note, False)


def _bincount(m: Any, x: Any) -> Any:
    return m.bincount((x * 3).abs().to(m.int32))


TRUTH = [
    *(_of(n, (2, 3)) for n in ("isnan", "isinf", "isfinite", "isneginf", "isposinf", "signbit", "logical_not")),
    *(_two(n) for n in ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "isclose")),
    *(_of(n, (2, 3), note, **options) for n in ("any", "all") for note, options in (("all", {}), ("one", {"dim": -1}))),
    *(_weighted(n, lambda same: same, (2, 3), (2, 3)) for n in ("equal", "allclose")),
    Case("isin", lambda m, x, y: m.isin(x, y), of((2, 3), (4,)), "", False),
]
# PyTorch's search among boundaries that are NaN ends wherever it happens to look: the sorted ones have none.
PLACES = [
    *(_of(n, (2, 3), note, **options) for n in ("argmax", "argmin") for note, options in (("all", {}), ("one", {"dim": -1}))),
    _of("argsort", (2, 5), "", dim=-1, stable=True),
    _of("argwhere", (2, 3)),
    _weighted("nonzero", lambda found: found, (2, 3)),
    Case("searchsorted", lambda m, x, y: m.searchsorted(m.sort(m.nan_to_num(x))[0], y), of((5,), (2, 3)), "", False),
    Case("bucketize", lambda m, x, y: m.bucketize(x, m.sort(m.nan_to_num(y))[0]), of((2, 3), (5,)), "", False),
]
COUNTS = [
    _of("count_nonzero", (2, 3), "all"), _of("count_nonzero", (2, 3), "one", 1),
    Case("bincount", _bincount, of((7,)), "", False),
    Case("histc", lambda m, x: m.histc(x, 4, -1.5, 1.5), of((2, 5)), "", False),
    _of("unique", (2, 3)), _of("unique_consecutive", (2, 3)),
]  # fmt: skip
WHOLE = [
    *(_whole(n, 2) for n in ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift")),
    _whole("bitwise_not"),
    Case("floor_divide", lambda m, x, y: m.floor_divide(x, y), (((2, 3), -2, 2), ((3,), 0.4, 2)), "", False),
]
CONVERTED = [
    Case("type_as", lambda m, x, y: x.type_as(y > 0), of((2, 3), (3,)), "", False),
    Case("to", lambda m, x: x.to(m.bfloat16), of((2, 3)), "", False),
]


def _at(m: Any, x: Any) -> Any:
    """Places for all entries of ``x`` along its first dimension, as many as there are, be that none."""
    return m.argsort(x, dim=0, stable=True)


def _rows(m: Any, x: Any) -> Any:
    """The places of the rows of ``x``, which is one row if it has no dimensions."""
    return m.argsort(m.zeros(x.shape[:1] or (1,), device=x.device), dim=0, stable=True)


def _any(name: str, run: Callable[..., Any], *shapes: Shape) -> Case:
    return Case(name, run, of(*(shapes or ((2, 3),))), "of any rank", False)


# Other cases of these name dimensions, places or lengths that not every shape has.
ANY_RANK = [
    *(_any(n, lambda m, x, n=n: getattr(m, n)(x, 0)) for n in ("amax", "amin", "logcumsumexp", "logsumexp", "nanmean", "flatten")),
    *(_any(n, lambda m, x, n=n: getattr(m, n)(x, 0)[0]) for n in ("cummax", "cummin", "std_mean")),
    *(_any(n, lambda m, x, n=n: getattr(m, n)(x, 1, 0)[0]) for n in ("topk", "kthvalue")),
    *(_any(n, lambda m, x, n=n: getattr(x, n)()) for n in ("clone", "contiguous", "ravel", "msort")),
    *(_any(n, lambda m, x, n=n: getattr(x, n)(1, *x.shape)) for n in ("reshape", "view")),
    *(_any(n, lambda m, x, y, n=n: getattr(m, n)(x, 0, _at(m, y), y), (2, 3), (2, 3)) for n in ("scatter", "scatter_add")),
    *(_any(n, lambda m, x, y, n=n: getattr(m, n)(x, 0, _rows(m, y), y), (2, 3), (2, 3)) for n in ("index_add", "index_copy")),
    _any("scatter_reduce", lambda m, x, y: m.scatter_reduce(x, 0, _at(m, y), y, "sum"), (2, 3), (2, 3)),
    _any("aminmax", lambda m, x: m.aminmax(x, dim=-1).max),
    _any("stack", lambda m, x, y: m.stack([x, y]), (2, 3), (2, 3)),
    _any("einsum", lambda m, x, y: m.einsum("...,...->...", x, y), (2, 3), (3,)),
    _any("cdist", lambda m, x, y: m.cdist(x, y), (2, 2, 3), (2, 4, 3)),
    _any("trapezoid", lambda m, y, x: m.trapezoid(y, x), (2, 4), (2, 4)),
    _any("movedim", lambda m, x: m.movedim(x, 0, -1)),
    _any("flip", lambda m, x: m.flip(x, (-1,))),
    _any("unfold", lambda m, x: x.unfold(0, 1, 1)),
    _any("permute", lambda m, x: x.permute(tuple(reversed(range(x.ndim))))),
    _any("getitem", lambda m, x: x[None, ...]),
    _any("broadcast_to", lambda m, x: x.broadcast_to((2, *x.shape))),
    _any("expand_as", lambda m, x, y: x.expand_as(y), (3,), (2, 3)),
    _any("take", lambda m, x: m.take(x, _at(m, x.reshape(-1)))),
    _any("gather", lambda m, x: m.gather(x, 0, _at(m, x))),
    _any("take_along_dim", lambda m, x: m.take_along_dim(x, _at(m, x.reshape(-1)))),
    _any("index_select", lambda m, x: m.index_select(x, 0, _rows(m, x))),
]

VALUES = [*ANY_RANK, *TRUTH, *PLACES, *COUNTS, *WHOLE, *CONVERTED]
