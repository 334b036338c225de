"""Element types: one object each, PyTorch's promotion table, what can be turned into one."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch.runtime import dtype as dt
from rasptorch.runtime.errors import DTypeError

THEIRS = {d: getattr(torch, d.name) for d in dt.ALL}


@pytest.mark.parametrize(("a", "b"), list(itertools.product(dt.ALL, dt.ALL)), ids=lambda d: d.name)
def test_promotion_is_pytorchs(a: dt.DType, b: dt.DType) -> None:
    expected = torch.promote_types(THEIRS[a], THEIRS[b])
    assert THEIRS[dt.promote(a, b)] is expected
    assert dt.promote(a, b) is dt.promote(b, a)


@pytest.mark.parametrize("value", [True, 3, 2.5])
@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_promotion_with_numbers_is_pytorchs(dtype: dt.DType, value: float) -> None:
    expected = torch.result_type(torch.ones(2, dtype=THEIRS[dtype]), value)
    assert THEIRS[dt.promote_scalar(dtype, value)] is expected


def test_promotion_is_associative_where_pytorchs_is() -> None:
    for a, b, c in itertools.product(dt.ALL, repeat=3):
        left = torch.promote_types(torch.promote_types(THEIRS[a], THEIRS[b]), THEIRS[c])
        assert THEIRS[dt.promote(dt.promote(a, b), c)] is left


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_what_a_dtype_says_of_itself(dtype: dt.DType) -> None:
    theirs = THEIRS[dtype]
    assert dtype.itemsize == theirs.itemsize == dtype.numpy.itemsize
    assert dtype.is_floating_point == theirs.is_floating_point
    assert dtype.is_signed == (theirs.is_signed and dtype is not dt.bool_)
    assert repr(dtype) == f"rasptorch.{dtype.name}"
    assert pickle.loads(pickle.dumps(dtype)) is dtype
    assert dt.BY_NAME[dtype.name] is dtype is dt.ALL[dtype.code]
    assert getattr(rt, dtype.name) is dtype


def test_what_can_be_a_dtype() -> None:
    assert dt.as_dtype("bfloat16") is dt.bfloat16
    assert dt.as_dtype(dt.int32) is dt.int32
    assert [dt.as_dtype(t) for t in (bool, int, float)] == [dt.bool_, dt.int64, dt.float32]
    assert dt.as_dtype(np.float16) is dt.float16 and dt.as_dtype(np.dtype(">f8")) is dt.float64
    for value in ("float31", object(), np.complex64, np.int16, "S3"):
        with pytest.raises(DTypeError, match="bool, uint8, int32, int64, float16, bfloat16, float32, float64"):
            dt.as_dtype(value)


def test_what_a_number_is() -> None:
    assert [dt.of_scalar(v) for v in (True, 1, 1.0)] == [dt.bool_, dt.int64, dt.float32]
