"""Cases of sorting, of what is read off sorted rows, and of values written at given places."""

from __future__ import annotations

from typing import Any

from .case import Case, of


def _weighted(m: Any, x: Any) -> Any:
    """Entries that count differently, so that a gradient in the wrong order is seen."""
    return x * (x.detach() * 0 + 1).cumsum(-1)


SORTING = [
    Case("sort", lambda m, x: _weighted(m, m.sort(x * x)[0]), of((2, 5)), "last"),
    Case("sort", lambda m, x: _weighted(m, x.sort(0, descending=True).values.T), of((5, 2)), "first, descending", False),
    Case("sort", lambda m, x: _weighted(m, m.sort(x * x, dim=1)[0].transpose(1, 2)), of((2, 70, 1)), "long"),
    Case("msort", lambda m, x: _weighted(m, m.msort(x * x).T), of((5, 2))),
    Case("topk", lambda m, x: _weighted(m, m.topk(x * x, 3)[0]), of((2, 6)), "largest"),
    Case("topk", lambda m, x: _weighted(m, x.topk(2, 0, largest=False).values.T), of((4, 2)), "smallest", False),
    Case("kthvalue", lambda m, x: m.kthvalue(x * x, 2)[0], of((2, 5))),
    Case("kthvalue", lambda m, x: x.kthvalue(3, 0, keepdim=True).values, of((5, 2)), "keepdim", False),
    Case("median", lambda m, x: m.median(x * x), of((2, 3)), "all"),
    Case("median", lambda m, x: m.median(x * x, 1)[0], of((2, 4)), "dim"),
    Case("nanmedian", lambda m, x: m.nanmedian(x * x, 0, True)[0], of((4, 2)), "dim"),
]
