"""Values added up at given places: against NumPy in float64, the same bits in every run, accurate however many meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import rasptorch as rt
from rasptorch.ops.scattering import sum_into
from tests.support.counting import counting

Array = NDArray[Any]
# Entries, places, columns: nothing, one run, runs inside and across blocks, more places than entries, odd columns and fours.
FORMS = [
    (0, 3, 2), (3, 1, 0), (1, 1, 1), (5, 3, 2), (64, 1, 1), (65, 2, 4), (200, 7, 3), (1000, 1, 8), (4097, 3, 1), (5000, 70_000, 4),
    (20_000, 20_000, 1), (300_000, 3, 1),
]  # fmt: skip


def given(form: tuple[int, int, int], dtype: str, seed: int = 0) -> tuple[Array, Array]:
    length, rows, columns = form
    generator = np.random.default_rng([seed, *form])
    index = generator.integers(0, rows, length).astype(np.int32)
    if dtype.startswith("float"):
        return index, generator.uniform(-3, 3, (length, columns)).astype(dtype)
    return index, generator.integers(0, 100, (length, columns)).astype(dtype)


def added(rows: int, index: Array, values: Array) -> Array:
    out = np.zeros((rows, values.shape[1]), np.float64 if values.dtype.kind == "f" else values.dtype)
    np.add.at(out, index, values)
    return out


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_sums(form: tuple[int, int, int], device: str) -> None:
    for dtype in ("float32", "int32", "float16", "uint8"):
        index, values = given(form, dtype)
        places = rt.tensor(index, device=device)
        found = sum_into(form[1], places, rt.tensor(values, device=device)).numpy()
        wanted = added(form[1], index, values)
        assert found.dtype == values.dtype
        if dtype.startswith("float"):
            rounded = np.abs(wanted) * np.finfo(dtype).eps
            bound = rounded + added(form[1], index, np.abs(values)) * 1e-6
            assert (np.abs(found - wanted) <= bound).all(), dtype
        else:
            assert np.array_equal(found, wanted), dtype
        if form[2] == 1:
            flat = sum_into(form[1], places, rt.tensor(values[:, 0], device=device))
            assert flat.shape == (form[1],) and np.array_equal(flat.numpy(), found[:, 0])


@pytest.mark.every_driver
def test_every_driver(device: str) -> None:
    index, values = given((5000, 300, 4), "float32")
    found = sum_into(300, rt.tensor(index, device=device), rt.tensor(values, device=device)).numpy()
    assert np.allclose(found, added(300, index, values), rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_wide_dtypes(dtype: str, device: str) -> None:
    if device != "cpu" and not getattr(rt.device(device).driver.traits, dtype):
        with pytest.raises(rt.DTypeError, match=f"^sum_into: .* does not compute in {dtype}"):
            sum_into(1, rt.zeros(1, dtype="int32", device=device), rt.zeros(1, dtype=dtype, device=device))
        return
    index, values = given((1000, 30, 3), dtype)
    found = sum_into(30, rt.tensor(index, device=device), rt.tensor(values, device=device)).numpy()
    assert np.allclose(found, added(30, index, values), rtol=1e-14, atol=0 if dtype == "int64" else 1e-13)


def test_the_same_bits_in_every_run(device: str) -> None:
    index, values = given((30_000, 50, 4), "float32")
    places, entries = rt.tensor(index, device=device), rt.tensor(values, device=device)
    first = sum_into(50, places, entries).numpy()
    for _ in range(3):
        assert np.array_equal(sum_into(50, places, entries).numpy(), first)


def test_long_sums_are_accurate(device: str) -> None:
    """Adding ones one by one in float32 would stop at 2**24; tenths would be off by percents long before."""
    count = 3_000_000
    index = rt.zeros(count, dtype="int32", device=device)
    assert sum_into(2, index, rt.ones(count, device=device) * 7).tolist() == [7.0 * count, 0.0]
    tenths = sum_into(1, index, rt.full((count, 2), 0.1, device=device)).numpy()
    assert np.allclose(tenths, count * np.float64(np.float32(0.1)), rtol=1e-6, atol=0)


def test_strided_operands_and_parts_of_memory(device: str) -> None:
    index, values = given((90, 5, 6), "float32")
    places = rt.tensor(np.repeat(index, 2), device=device)[::2]
    whole = rt.tensor(values, device=device)
    for part, expected in ((whole[1:, 1:3], values[1:, 1:3]), (whole.T[:, 1:].T, values[1:])):
        found = sum_into(5, places[1:], part).numpy()
        assert np.allclose(found, added(5, index[1:], expected), atol=1e-5)


def test_special_values(device: str) -> None:
    values = np.array([[np.inf, 1.0], [1.0, np.nan], [-np.inf, 2.0], [5.0, 3.0]], np.float32)
    found = sum_into(3, rt.tensor(np.array([0, 2, 2, 0], np.int32), device=device), rt.tensor(values, device=device)).numpy()
    assert np.array_equal(found, np.array([[np.inf, 4.0], [0.0, 0.0], [-np.inf, np.nan]]), equal_nan=True)


def test_one_command_and_one_submission(device: str) -> None:
    index, values = given((10_000, 20_000, 8), "float32")
    places, entries = rt.tensor(index, device=device), rt.tensor(values, device=device)
    rt.synchronize(device)
    with counting(device) as n:
        kept = sum_into(20_000, places, entries)
        rt.synchronize(device)
    assert kept.shape == (20_000, 8) and n.commands == n.submissions == 1
    assert n.dispatches <= (1 if device == "cpu" else 24)


ERRORS = [
    (lambda: sum_into(2, rt.zeros(3), rt.zeros(3)), rt.DTypeError, "^sum_into: places are a vector of int32, got float32"),
    (lambda: sum_into(2, rt.zeros(3, dtype="int32"), rt.zeros(2)), rt.ShapeError, r"^sum_into: 3 places need values of shape \[3, m\]"),
    (
        lambda: sum_into(2, rt.zeros(3, dtype="int32"), rt.zeros(3, dtype="bool")),
        rt.DTypeError,
        "^sum_into: booleans do not add up",
    ),
]


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run()
