"""NumPy's names of arguments, wherever PyTorch takes them."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt

INDEX = [[0, 1, 0, 2], [2, 2, 1, 0]]
VALUES = [[1.5, -2.0, 0.25, 7.0], [4.0, 0.5, -1.0, 3.0], [0.0, 9.0, 2.5, -6.0]]

# More arguments of those that need some: positional ones after the first, and others by name.
MORE: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "chunk": ((2,), {}),
    "cross": ((VALUES,), {}),
    "gather": ((), {"index": INDEX}),
    "index_add": ((), {"index": [2, 0, 1], "source": VALUES}),
    "index_copy": ((), {"index": [2, 0, 1], "source": VALUES}),
    "index_fill": ((), {"index": [2, 0], "value": 1.0}),
    "index_select": ((), {"index": [2, 0]}),
    "kthvalue": ((2,), {}),
    "narrow": ((), {"start": 1, "length": 2}),
    "nanquantile": ((0.5,), {}),
    "quantile": ((0.5,), {}),
    "repeat_interleave": ((2,), {}),
    "scatter": ((), {"index": INDEX, "src": VALUES}),
    "scatter_add": ((), {"index": INDEX, "src": VALUES}),
    "scatter_reduce": ((), {"index": INDEX, "src": VALUES, "reduce": "sum"}),
    "select": ((), {"index": 1}),
    "select_scatter": (([1.0, 2.0, 3.0, 4.0],), {"index": 1}),
    "slice_scatter": ((VALUES,), {}),
    "split_with_sizes": (([1, 2],), {}),
    "take_along_dim": ((INDEX,), {}),
    "tensor_split": ((2,), {}),
    "topk": ((2,), {}),
    "unflatten": ((), {"sizes": (3, 1)}),
}
# PyTorch does not take ``axis`` for these.
BY_DIM = {"norm", "split", "unique", "unique_async", "unique_consecutive", "unique_consecutive_async"}
SEVERAL = {"cat", "concat", "concatenate", "stack"}
NAMES = sorted(
    name for name, function in vars(rt).items()
    if inspect.isfunction(function) and not name.startswith("_") and "dim" in inspect.signature(function).parameters
)  # fmt: skip


def called(library: Any, name: str, **options: Any) -> Any:
    def made(value: Any) -> Any:
        if isinstance(value, list) and name != "split_with_sizes":
            return library.tensor(value)
        return value

    positional, named = MORE.get(name, ((), {}))
    x = library.tensor(VALUES)
    if name in ("all", "any"):
        x = x > 0
    first = [x, x] if name in SEVERAL else x
    return getattr(library, name)(first, *map(made, positional), **{k: made(v) for k, v in named.items()}, **options)


def arrays(found: Any) -> list[np.ndarray]:
    if isinstance(found, (tuple, list)):
        return [array for part in found for array in arrays(part)]
    return [np.asarray(found)]


@pytest.mark.parametrize("name", [n for n in NAMES if n not in BY_DIM])
def test_axis_is_dim(name: str) -> None:
    for got, expected in zip(arrays(called(rt, name, axis=0)), arrays(called(torch, name, axis=0)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    if "keepdim" in inspect.signature(getattr(rt, name)).parameters:
        got, expected = arrays(called(rt, name, axis=0, keepdims=True)), arrays(called(torch, name, dim=0, keepdim=True))
        assert [x.shape for x in got] == [x.shape for x in expected]
    with pytest.raises(TypeError, match=f"^{getattr(rt, name).__name__}: dim is given twice, as dim= and under NumPy's name"):
        called(rt, name, dim=0, axis=0)


@pytest.mark.parametrize("name", sorted(BY_DIM - {"unique_async", "unique_consecutive_async"}))
def test_where_pytorch_does_not_take_it(name: str) -> None:
    more = (2,) if name == "split" else ()
    for library in (rt, torch):
        with pytest.raises(TypeError, match="axis"):
            getattr(library, name)(library.tensor(VALUES), *more, axis=0)


def test_as_methods() -> None:
    x = rt.tensor(VALUES)
    assert x.sum(axis=1, keepdims=True).shape == (3, 1) and x.unsqueeze(axis=0).shape == (1, 3, 4)
    assert x.softmax(axis=0).sum(axis=0).tolist() == pytest.approx([1.0] * 4)
