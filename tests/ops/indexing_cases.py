"""Cases of elements chosen by index tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .case import Case, Shape, of, squared


def numbers(m: Any, like: Any, values: Any, dtype: str = "int64") -> Any:
    """Integers of either library, on the device of ``like``."""
    return m.tensor(values, dtype=getattr(m, dtype), device=like.device)


def _chosen(name: str, run: Callable[[Any, Any], Any], shape: Shape, note: str = "") -> Case:
    # The square makes the second derivative something.
    return Case(name, lambda m, x: run(m, squared(x)), of(shape), note)


GATHERING = [
    _chosen("index_select", lambda m, x: m.index_select(x, 0, numbers(m, x, [2, 0, 2, 1])), (3, 4), "rows"),
    _chosen("index_select", lambda m, x: x.index_select(-1, numbers(m, x, [3, 3], "int32")), (2, 3, 4), "last"),
    _chosen("index_select", lambda m, x: x.mT.index_select(1, numbers(m, x, [1, 0, 1])), (2, 3, 2), "of a view"),
    _chosen("gather", lambda m, x: m.gather(x, 0, numbers(m, x, [[0, 2, 1], [1, 1, 0]])), (3, 4), "first"),
    _chosen("gather", lambda m, x: x.gather(1, numbers(m, x, [[0, 0, 2, 1], [1, 1, 0, 3]])), (3, 4), "repeated"),
    _chosen("gather", lambda m, x: x.T.gather(-1, numbers(m, x, [[0], [1]])), (2, 3), "of a view"),
    _chosen("take", lambda m, x: m.take(x, numbers(m, x, [[0, -1], [3, 3]])), (2, 3)),
    _chosen("take", lambda m, x: x.T.take(numbers(m, x, [1, 2, -2])), (2, 3), "of a view"),
    _chosen("take_along_dim", lambda m, x: m.take_along_dim(x, numbers(m, x, [[0, 2, 2]]), 1), (2, 3), "stretched"),
    _chosen("take_along_dim", lambda m, x: m.take_along_dim(x, numbers(m, x, [[0], [1]]), 0), (2, 3), "of rows"),
    _chosen("take_along_dim", lambda m, x: x.take_along_dim(numbers(m, x, [5, 0, 5])), (2, 3), "flat"),
]

BY_TENSORS = [
    _chosen("getitem", lambda m, x: x[numbers(m, x, [2, 0, 2])], (3, 4), "vector"),
    _chosen("getitem", lambda m, x: x[1:, numbers(m, x, [[0, -1], [1, 1]])], (3, 4), "after a slice"),
    _chosen("getitem", lambda m, x: x[numbers(m, x, [0, 2]), :, numbers(m, x, [1, 1])], (3, 2, 2), "apart"),
    _chosen("getitem", lambda m, x: x.T[numbers(m, x, [[0], [1]]), numbers(m, x, [0, 2])], (3, 2), "stretched"),
    _chosen("getitem", lambda m, x: x[numbers(m, x, [True, False, True], "bool")], (3, 2), "mask"),
    _chosen("masked_select", lambda m, x: m.masked_select(x, numbers(m, x, [True, False, True], "bool")), (2, 3)),
    Case("where", lambda m, x: squared(x)[m.where(numbers(m, x, [0, 1, 1]))], of((3, 2)), "condition alone"),
]

INDEXING = [*GATHERING, *BY_TENSORS]
