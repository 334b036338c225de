"""Choosing on the host: extremes beside a scalar, and ``where`` by masking bits."""

from __future__ import annotations

import numpy as np
import pytest

from rasptorch.runtime import dtype as dtypes
from rasptorch.runtime.dtype import DType
from rasptorch.runtime.host.functions import function


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64, dtypes.int32, dtypes.int64, dtypes.uint8])
@pytest.mark.parametrize("shape", [(), (3,), (5000,), (4096,), (70, 100), (30, 300), (2, 5000), (3, 0)])
def test_extremes_beside_a_scalar(shape: tuple[int, ...], dtype: DType) -> None:
    """In rows, in one long row with a rest, and in columns of a larger array; in place, too."""
    rng = np.random.default_rng(0)
    made = np.asarray((rng.standard_normal(shape) * 50).astype(dtype.numpy))
    if dtype.category == 2 and made.size > 3:
        made.reshape(-1)[:3] = np.nan, -0.0, np.inf
    wide = np.repeat(made, 2, axis=-1)[..., : 2 * made.shape[-1]] if shape else made
    strided = wide[..., ::2] if shape else made
    scalar = np.array(7, dtype.numpy)
    for name, ufunc in (("maximum", np.maximum), ("minimum", np.minimum), ("relu", np.maximum)):
        compute = function(name, dtype, dtype)
        for x in (made, strided):
            for operands in ((x, scalar), (scalar, x)) if name != "relu" else ((x,),):
                out = np.empty_like(made)
                compute(*operands, out)
                expected = ufunc(*operands) if name != "relu" else ufunc(np.zeros((), dtype.numpy), x)
                np.testing.assert_array_equal(out, expected)
                np.testing.assert_array_equal(np.signbit(out), np.signbit(expected))
                again = x.copy()
                compute(*(again if o is x else o for o in operands), again)
                np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64, dtypes.int64, dtypes.uint8, dtypes.bool_])
@pytest.mark.parametrize("shape", [(), (5,), (70, 100)])
def test_where_with_arrays_and_scalars(shape: tuple[int, ...], dtype: DType) -> None:
    """Bits are chosen: NaN and the sign of zero stay. ``out`` may be an operand."""
    rng = np.random.default_rng(0)
    condition = np.asarray(rng.random(shape) < 0.5)
    full = [np.asarray((rng.standard_normal(shape) * 50).astype(dtype.numpy)) for _ in range(2)]
    if dtype.category == 2 and shape:
        full[0].reshape(-1)[:2], full[1].reshape(-1)[2:4] = np.nan, -0.0
    scalars = [np.array(0, dtype.numpy), np.array(1, dtype.numpy)]
    compute = function("where", dtype, dtype)
    for yes in (full[0], *scalars):
        for no in (full[1], *scalars):
            expected = np.where(condition, yes, no)
            out = np.empty(shape, dtype.numpy)
            compute(condition, yes, no, out)
            assert out.tobytes() == expected.tobytes()
            for operand in (yes, no):
                if operand.shape == shape:
                    again = operand.copy()
                    compute(condition, again if operand is yes else yes, again if operand is no else no, again)
                    assert again.tobytes() == expected.tobytes()
