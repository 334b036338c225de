"""Questions about dtypes and closeness, answered as PyTorch does."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import FLOATS, INF, INTEGERS, NAN, TORCH, pair, random

PAIRS = list(itertools.product(TORCH, TORCH))


@pytest.mark.parametrize("name", FLOATS)
def test_finfo(name: str) -> None:
    ours, theirs = rt.finfo(getattr(rt, name)), torch.finfo(TORCH[name])
    for field in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert repr(ours) == repr(theirs)
    assert rt.finfo().dtype == "float32"
    with pytest.raises(rt.DTypeError, match="use iinfo"):
        rt.finfo(rt.int32)


@pytest.mark.parametrize("name", INTEGERS)
def test_iinfo(name: str) -> None:
    ours, theirs = rt.iinfo(getattr(rt, name)), torch.iinfo(TORCH[name])
    for field in ("bits", "max", "min", "dtype"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert repr(ours) == repr(theirs)
    with pytest.raises(rt.DTypeError, match="use finfo"):
        rt.iinfo(rt.float32)


def test_promotion_of_dtypes() -> None:
    for a, b in PAIRS:
        assert rt.promote_types(a, b).name == str(torch.promote_types(TORCH[a], TORCH[b])).removeprefix("torch."), (a, b)
        assert rt.can_cast(a, b) == torch.can_cast(TORCH[a], TORCH[b]), (a, b)


@pytest.mark.parametrize("other", [True, 3, 2.5, "0-d", "1-d"])
def test_result_type(other: Any) -> None:
    for a, b in PAIRS:
        (x, y), (v, w) = random((2,), a), random(() if other == "0-d" else (2,), b)
        if not isinstance(other, str):
            v = w = other
        assert rt.result_type(x, v).name == str(torch.result_type(y, w)).removeprefix("torch."), (a, b)
    with pytest.raises(TypeError, match="see promote_types"):
        rt.result_type(rt.ones(2), rt.float32)


def test_questions() -> None:
    for name in TORCH:
        x, y = random((2, 3), name)
        assert rt.is_floating_point(x) == x.is_floating_point() == y.is_floating_point()
        assert rt.is_signed(x) == x.is_signed() == y.is_signed()
        assert rt.is_complex(x) == x.is_complex() == y.is_complex()
        assert rt.numel(x) == x.numel() == x.nelement() == 6
        assert (x.element_size(), x.itemsize, x.nbytes) == (y.element_size(), y.itemsize, y.nbytes)
        assert x.T.is_contiguous() is False
        assert x[0, 1:].storage_offset() == y[0, 1:].storage_offset() == 1
    assert rt.is_tensor(rt.ones(1)) and not rt.is_tensor([1.0])
    assert rt.broadcast_shapes((2, 1), (3,), 1) == torch.broadcast_shapes((2, 1), (3,), 1)
    with pytest.raises(rt.ShapeError, match="broadcast_shapes"):
        rt.broadcast_shapes((2,), (3,))
    with pytest.raises(rt.RasptorchError, match="__dlpack__"):
        rt.ones(1).data_ptr()


NEAR = ([1.0, NAN, INF, -INF, INF, 0.0, 1e-9, 2.0], [1.0 + 1e-6, NAN, INF, INF, 1.0, -0.0, 0.0, 2.1])


@pytest.mark.parametrize("equal_nan", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_isclose(dtype: str, equal_nan: bool) -> None:
    (x, y), (v, w) = (pair(values, dtype) for values in NEAR)
    assert_close(rt.isclose(x, v, equal_nan=equal_nan), torch.isclose(y, w, equal_nan=equal_nan))
    assert_close(x.isclose(v, 0.1, 0.2, equal_nan), y.isclose(w, 0.1, 0.2, equal_nan))


@pytest.mark.every_driver
def test_closeness_everywhere(device: str) -> None:
    (x, y), (v, w) = (pair(values, device=device) for values in NEAR)
    assert_close(rt.isclose(x, v), torch.isclose(y, w))
    assert rt.allclose(x, v) is torch.allclose(y, w) is False
    assert rt.allclose(x[:1], v[:1]) is True
    assert x[:1].allclose(v[:1], rtol=0, atol=0) is y[:1].allclose(w[:1], rtol=0, atol=0)
    assert rt.equal(x, x) is torch.equal(y, y) is False  # NaN
    assert x[2:].equal(x[2:]) is True
    assert rt.equal(x, x[:3]) is False
    for values in ([2**40 + 1, -1], [True, False]):
        a = rt.tensor(values, device=device)
        assert rt.equal(a, a.clone())
        assert not rt.equal(a, rt.tensor(values[::-1], device=device))


def test_closeness_of_integers() -> None:
    x, y = pair([1, 2, 100], "int64")
    v, w = pair([1, 3, 101], "int64")
    assert_close(rt.isclose(x, v, rtol=0.02), torch.isclose(y, w, rtol=0.02))
    assert_close(rt.isclose(x, v), torch.isclose(y, w))
    with pytest.raises(rt.DTypeError, match="isclose: the tensors are int64 and float32"):
        rt.isclose(x, v.float())
    with pytest.raises(ValueError, match="isclose: tolerances"):
        rt.isclose(x, v, rtol=-1)


CASTS = ("bool", "byte", "int", "long", "half", "bfloat16", "float", "double")


@pytest.mark.parametrize("name", CASTS)
def test_conversions_by_name(name: str) -> None:
    for dtype in TORCH:
        x, y = random((2, 3), dtype, low=0.0)
        assert_close(getattr(x, name)(), getattr(y, name)(), what=dtype)
        assert_close(x.type_as(rt.ones(1).to(getattr(x, name)().dtype)), getattr(y, name)(), what=dtype)
    z = getattr(rt.ones(2), name)()
    assert getattr(z, name)() is z


def test_to() -> None:
    x = rt.ones(2)
    assert x.to("cpu") is x.to(rt.float32) is x.to(x) is x.to("cpu", rt.float32, True, False) is x
    for other in (x.to("cpu", copy=True), x.to(rt.float32, False, True), x.to(x, copy=True), x.to(copy=True)):
        assert other.storage is not x.storage
        assert other.tolist() == [1, 1]
    assert x.to(rt.ones(1, dtype=rt.int32)).dtype is rt.int32
    with pytest.raises(TypeError, match="^to takes a device"):
        x.to("cpu", rt.float32, 3)


def test_shapes_of_others() -> None:
    x, y = random((2, 6))
    v, w = random((4, 3))
    assert_close(x.view_as(v), y.view_as(w))
    assert_close(x.T.reshape_as(v), y.T.reshape_as(w))
    assert_close(x.H, y.H)
    assert x.ndimension() == 2
    for a, b in zip(rt.broadcast_tensors(x, x[:, :1], x[0]), torch.broadcast_tensors(y, y[:, :1], y[0]), strict=True):
        assert_close(a, b)
    with pytest.raises(rt.ShapeError, match="H: takes a matrix"):
        _ = x[None].H


def test_get_device(device: str) -> None:
    assert rt.ones(1, device=device).get_device() == (-1 if device == "cpu" else int(device.partition(":")[2]))
