"""The namespace of the array API standard, against NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rasptorch as rt
from tests.support.compare import assert_close

X = np.arange(12, dtype=np.float32).reshape(3, 4) / 4 - 1
B = X > 0

CASES: dict[str, Any] = {
    "asarray": lambda m, x, b: m.asarray([1, 2, 3], dtype=m.int32),
    "arange": lambda m, x, b: m.arange(1, 7, 2),
    "arange of one": lambda m, x, b: m.arange(3, dtype=m.float32),
    "zeros": lambda m, x, b: m.zeros((2, 3), dtype=m.float32),
    "ones": lambda m, x, b: m.ones(2, dtype=m.int64),
    "full": lambda m, x, b: m.full((2,), 3, dtype=m.int64),
    "empty": lambda m, x, b: m.empty((0, 2), dtype=m.float32),
    "eye": lambda m, x, b: m.eye(3, 4, k=1, dtype=m.float32),
    "eye below": lambda m, x, b: m.eye(3, k=-1, dtype=m.float32),
    "linspace": lambda m, x, b: m.linspace(0, 1, 5, dtype=m.float32, endpoint=False),
    "tril": lambda m, x, b: m.tril(x, k=-1),
    "triu": lambda m, x, b: m.triu(x, k=1),
    "astype": lambda m, x, b: m.astype(x, m.int32),
    "concat": lambda m, x, b: m.concat([x, x], axis=1),
    "concat flat": lambda m, x, b: m.concat([x, x], axis=None),
    "stack": lambda m, x, b: m.stack([x, x], axis=-1),
    "unstack": lambda m, x, b: m.unstack(x, axis=1)[2],
    "expand_dims": lambda m, x, b: m.expand_dims(x, axis=1),
    "squeeze": lambda m, x, b: m.squeeze(x[:1], axis=0),
    "permute_dims": lambda m, x, b: m.permute_dims(x, (1, 0)),
    "matrix_transpose": lambda m, x, b: m.matrix_transpose(x),
    "roll": lambda m, x, b: m.roll(x, 1, axis=(0, 1)),
    "repeat": lambda m, x, b: m.repeat(x, 2, axis=1),
    "broadcast_arrays": lambda m, x, b: m.broadcast_arrays(x, x[:1])[1],
    "broadcast_to": lambda m, x, b: m.broadcast_to(x[0], (2, 4)),
    "positive": lambda m, x, b: m.positive(x),
    "clip": lambda m, x, b: m.clip(x, -0.5, 0.5),
    "bitwise_invert": lambda m, x, b: m.bitwise_invert(b),
    "equal": lambda m, x, b: m.equal(x, x),
    "vecdot": lambda m, x, b: m.vecdot(x, x, axis=0),
    "tensordot": lambda m, x, b: m.tensordot(x, x, axes=2),
    "sum": lambda m, x, b: m.sum(x, axis=1, keepdims=True),
    "prod": lambda m, x, b: m.prod(x, axis=(0, 1)),
    "mean": lambda m, x, b: m.mean(x, axis=0),
    "std": lambda m, x, b: m.std(x, axis=0),
    "var": lambda m, x, b: m.var(x, axis=(0, 1), correction=1.0),
    "max": lambda m, x, b: m.max(x, axis=1),
    "min": lambda m, x, b: m.min(x),
    "all": lambda m, x, b: m.all(b, axis=1),
    "any": lambda m, x, b: m.any(b, axis=0, keepdims=True),
    "argmax": lambda m, x, b: m.argmax(x, axis=0),
    "argmin": lambda m, x, b: m.argmin(x),
    "count_nonzero": lambda m, x, b: m.count_nonzero(x, axis=1),
    "cumulative_sum": lambda m, x, b: m.cumulative_sum(x, axis=1, include_initial=True),
    "diff": lambda m, x, b: m.diff(x * x, axis=0, n=2),
    "where": lambda m, x, b: m.where(b, x, -x),
    "result_type": lambda m, x, b: m.zeros(1, dtype=m.result_type(m.float32, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_as_in_numpy(name: str, device: str) -> None:
    x, b = (rt.tensor(values, device=device) for values in (X, B))
    try:
        rt.set_default_device(device)
        found = CASES[name](x.__array_namespace__(), x, b)
    finally:
        rt.set_default_device("cpu")
    assert found.device is x.device
    assert_close(found, CASES[name](np, X, B))


def test_names_and_kinds() -> None:
    xp = rt.ones(1).__array_namespace__()
    assert xp.pi == np.pi
    assert xp.newaxis is None
    for name in ("int32", "uint8", "float64", "bool"):
        for kind in ("bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric"):
            assert xp.isdtype(getattr(xp, name), kind) == np.isdtype(np.dtype(name), kind)
    assert xp.isdtype(xp.int32, (xp.int64, "integral"))
    with pytest.raises(ValueError, match="is not a kind of dtype"):
        xp.isdtype(xp.int32, "whole")
    info = xp.__array_namespace_info__()
    assert info.default_dtypes()["real floating"] is rt.float32
    assert set(info.dtypes(kind="integral")) == {"int32", "int64", "uint8"}
    assert info.default_device() is rt.get_default_device()
    assert rt.device("cpu") in info.devices()
    assert info.capabilities()["max dimensions"] == 8


def test_versions() -> None:
    x = rt.ones(1)
    assert x.__array_namespace__(api_version="2024.12") is rt.array_api
    with pytest.raises(ValueError, match="2024.12"):
        x.__array_namespace__(api_version="1999.01")
    assert x.to_device("cpu") is x
    with pytest.raises(ValueError, match="squeeze: axis 0"):
        rt.array_api.squeeze(rt.ones(2), 0)
