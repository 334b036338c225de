"""Cases of sorting, of what is read off sorted rows, and of values written at given places."""

from __future__ import annotations

from typing import Any

from .case import Case, of, squared


def _weighted(m: Any, x: Any) -> Any:
    """Entries that count differently, so that a gradient in the wrong order is seen."""
    return x * (x.detach() * 0 + 1).cumsum(-1)


SORTING = [
    Case("sort", lambda m, x: _weighted(m, m.sort(squared(x))[0]), of((2, 5)), "last"),
    Case("sort", lambda m, x: _weighted(m, x.sort(0, descending=True).values.T), of((5, 2)), "first, descending", False),
    Case("sort", lambda m, x: _weighted(m, m.sort(squared(x), dim=1)[0].transpose(1, 2)), of((2, 70, 1)), "long"),
    Case("msort", lambda m, x: _weighted(m, m.msort(squared(x)).T), of((5, 2))),
    Case("topk", lambda m, x: _weighted(m, m.topk(squared(x), 3)[0]), of((2, 6)), "largest"),
    Case("topk", lambda m, x: _weighted(m, x.topk(2, 0, largest=False).values.T), of((4, 2)), "smallest", False),
    Case("kthvalue", lambda m, x: m.kthvalue(squared(x), 2)[0], of((2, 5))),
    Case("kthvalue", lambda m, x: x.kthvalue(3, 0, keepdim=True).values, of((5, 2)), "keepdim", False),
    Case("median", lambda m, x: m.median(squared(x)), of((2, 3)), "all"),
    Case("median", lambda m, x: m.median(squared(x), 1)[0], of((2, 4)), "dim"),
    Case("nanmedian", lambda m, x: m.nanmedian(squared(x), 0, True)[0], of((4, 2)), "dim"),
    Case("quantile", lambda m, x: m.quantile(squared(x), 0.3), of((2, 3)), "all"),
    Case("quantile", lambda m, x: x.quantile(m.tensor([0.9, 0.3], dtype=x.dtype, device=x.device), 1, True), of((2, 4)), "vector", False),
    Case("quantile", lambda m, x: m.quantile(squared(x), 0.4, 0, interpolation="midpoint"), of((4, 2)), "midpoint"),
    Case("quantile", lambda m, x: m.quantile(squared(x), 0.4, 0, interpolation="nearest"), of((4, 2)), "nearest"),
    Case("nanquantile", lambda m, x: m.nanquantile(squared(x), 0.6, 1), of((2, 5)), "dim"),
    Case("mode", lambda m, x: m.mode(squared(x), 0)[0], of((3, 2))),
]


def _index(m: Any, x: Any, values: Any) -> Any:
    """Indices in either library, where ``x`` is."""
    return m.tensor(values, dtype=m.int64, device=x.device)


ROWS = [[0, 2, 1], [3, 3, 0], [3, 1, 2], [2, 0, 2]]  # of a [4, 3] tensor along dimension 0: some repeat, some are not named
APART = [[0, 2, 1], [3, 1, 0]]  # none repeats


def _reduced(how: str, include: bool) -> Any:
    return lambda m, x, y: m.scatter_reduce(squared(x), 0, _index(m, x, ROWS), y, how, include_self=include)


SCATTERED = [
    Case("scatter", lambda m, x, y: m.scatter(squared(x), 0, _index(m, x, APART), squared(y)), of((4, 3), (2, 3)), "rows"),
    Case("scatter", lambda m, x, y: x.scatter(1, _index(m, x, APART).T, y), of((3, 4), (3, 2)), "columns", False),
    Case("scatter", lambda m, x: m.scatter(squared(x), 1, _index(m, x, [[2], [0]]), 1.5), of((3, 4)), "number"),
    Case("scatter_add", lambda m, x, y: m.scatter_add(squared(x), 0, _index(m, x, ROWS), squared(y)), of((4, 3), (4, 3)), "rows"),
    Case("scatter_add", lambda m, x, y: x.scatter_add(-1, _index(m, x, ROWS)[:, :2], y), of((5, 4), (4, 2)), "part", False),
    *(
        Case("scatter_reduce", _reduced(how, include), of((4, 3), (4, 3), low=0.4), f"{how}{'' if include else ', without'}", how == "prod")
        for how in ("sum", "prod", "mean", "amax", "amin") for include in (True, False)
    ),
    Case("index_add", lambda m, x, y: m.index_add(squared(x), 0, _index(m, x, [2, 0, 2]), squared(y), alpha=2), of((4, 3), (3, 3)), "rows"),
    Case("index_add", lambda m, x, y: x.index_add(1, _index(m, x, [2, 0]), y), of((2, 3, 2), (2, 2, 2)), "middle", False),
    Case("index_copy", lambda m, x, y: m.index_copy(squared(x), 1, _index(m, x, [2, 0]), squared(y)), of((4, 3), (4, 2))),
    Case("index_fill", lambda m, x: m.index_fill(squared(x), 0, _index(m, x, [2, 0]), 1.5), of((4, 3)), "number"),
    Case("index_fill", lambda m, x, v: m.index_fill(squared(x), 1, _index(m, x, [2, 0]), squared(v)), of((4, 3), ()), "tensor"),
    Case("index_put", lambda m, x, y: m.index_put(squared(x), (_index(m, x, [2, 0]),), squared(y)), of((4, 3), (2, 3)), "rows"),
    Case(
        "index_put", lambda m, x, y: m.index_put(squared(x), (_index(m, x, [[2], [0]]), _index(m, x, [1, -1, 1])), squared(y), True),
        of((4, 3), (3,)), "add",
    ),
    Case("masked_scatter", lambda m, x, y: m.masked_scatter(squared(x), (x > 0).detach(), squared(y)), of((4, 3), (20,))),
]  # fmt: skip
