"""Look-ups: what they become one kernel with, what they read, and what may be written meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

import rasptorch as rt
from rasptorch import Tensor
from rasptorch.ops.gathering import looked_up, selected
from rasptorch.runtime import dtype as dtypes
from rasptorch.runtime.command import Program, step
from rasptorch.runtime.vulkan import elementwise
from rasptorch.runtime.vulkan.access import Abilities
from rasptorch.runtime.vulkan.descriptors import NO_FORMAT
from tests.support.compare import assert_close
from tests.support.counting import counting
from tests.support.spirv import Check

from .looking import arrays, bindings, here, kinds, planned


def numbers(count: int, below: int, device: str, seed: int = 0) -> tuple[Tensor, np.ndarray]:
    index = np.random.default_rng([seed, count]).integers(0, below, count).astype(np.int32)
    return here(index, device), index


def of(x: Tensor, index: Tensor) -> Tensor:
    """Elements of a vector by checked numbers."""
    return selected(x, 0, index)


@pytest.mark.every_driver
def test_fuses_with_what_comes_before_and_after(device: str) -> None:
    (a, b) = arrays(2, 100)
    x, y = here(a, device), here(b, device)
    index, i = numbers(100, 50, device)
    result, plan = planned(device, lambda: (of(x, index * 2 + 1) * y + y).relu())
    assert kinds(plan) == ["elementwise"]
    assert_close(result, np.maximum(a[i * 2 + 1] * b + b, 0))


@pytest.mark.every_driver
def test_what_is_written_in_the_batch_is_looked_up_by_a_later_kernel(device: str) -> None:
    (a,) = arrays(1, 64)
    x, (index, i) = here(a, device), numbers(64, 64, device)
    with counting(device) as n:
        result = of(x * 2.0, index) + 1.0
        rt.synchronize(device)
    assert (n.dispatches, n.submissions) == (2, 1) and (device == "cpu" or n.barriers >= 1)
    assert_close(result, a[i] * 2 + 1)


def test_an_index_that_is_looked_up_itself(device: str) -> None:
    (first, i), (second, j) = numbers(30, 40, device), numbers(40, 50, device, 1)
    x = here(np.arange(50, dtype=np.float32), device)
    result, plan = planned(device, lambda: of(x, of(second, first)))
    assert kinds(plan) == ["elementwise"]
    assert_close(result, j[i].astype(np.float32))


def test_a_constant_table_needs_no_memory(device: str) -> None:
    index, _ = numbers(20, 10, device)
    result, plan = planned(device, lambda: of(rt.full((10,), 2.5, device=device), index) + 1.0)
    assert len(plan.kernels) == 1 and not plan.kernels[0].inputs
    assert result.tolist() == [3.5] * 20


def test_what_is_overwritten_afterwards_was_read_before(device: str) -> None:
    (a,) = arrays(1, 64)
    x, (index, i) = here(a.copy(), device), numbers(64, 64, device)
    result, _ = planned(device, lambda: (of(x, index), x.add_(1.0))[0])
    assert_close(result, a[i])
    assert_close(x, a + 1)


def test_no_output_takes_the_place_of_a_table(device: str) -> None:
    """The table is a temporary of the output's size that nobody needs afterwards: it may not be given to the output."""
    (a,) = arrays(1, 5000)
    x, order = here(a, device), here(np.arange(4999, -1, -1, dtype=np.int32), device)
    for _ in range(2):
        result, _ = planned(device, lambda: of(of(x * 2.0, order) + 1.0, order))
        assert_close(result, a * 2 + 1)


@pytest.mark.every_driver
def test_tables_with_offsets_strides_and_walks(device: str) -> None:
    (a,) = arrays(1, 9, 14)
    x = here(a, device)
    index, i = numbers(24, 3, device)
    views = [
        (x[2:8, 1:13], a[2:8, 1:13]), (x[1::2, ::3], a[1::2, ::3]), (x.T[3:9], a.T[3:9]), (x[:4, :1].expand(4, 8), a[:4, :1].repeat(8, 1)),
    ]  # fmt: skip
    for view, seen in views:
        for axis in (0, 1):
            assert_close(selected(view, axis, index) * 2.0, np.take(seen, i, axis) * 2)


def test_many_tables_stay_within_the_buffers(device: str) -> None:
    given = arrays(12, 32)
    tables, (index, i) = [here(a, device) for a in given], numbers(32, 32, device)
    result, plan = planned(device, lambda: sum((of(t, index) for t in tables[1:]), of(tables[0], index)))
    assert all(bindings(kernel) <= 8 for kernel in plan.kernels) or device == "cpu"
    assert_close(result, np.sum([a[i] for a in given], 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32"])
@pytest.mark.every_driver
def test_dtypes(dtype: str, device: str) -> None:
    values = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 200, (7, 12))
    x, (index, i) = rt.tensor(values, dtype=dtype, device=device), numbers(9, 7, device)
    assert_close(selected(x, 0, index), values[i], check_dtype=False, rtol=0, atol=0)
    assert_close(selected(x, 1, index % 5), values[:, i % 5], check_dtype=False, rtol=0, atol=0)


def test_a_mean_of_what_was_looked_up(device: str) -> None:
    (a,) = arrays(1, 300)
    x, (index, i) = here(a, device), numbers(200, 300, device)
    result, plan = planned(device, lambda: (of(x, index) * 2.0).mean())
    assert kinds(plan) == ["elementwise", "reduce"]
    assert_close(result, (a[i] * 2).mean(), rtol=1e-5)


def test_more_elements_than_a_piece(device: str) -> None:
    """Rows that are copied whole, and elements, in several pieces on several threads."""
    table = np.arange(3000 * 100, dtype=np.float32).reshape(3000, 100)
    x, (index, i) = here(table, device), numbers(4000, 3000, device)
    assert_close(selected(x, 0, index), table[i])
    assert_close(selected(x[:, 1:90], 0, index), table[:, 1:90][i])
    wide = np.arange(3 * 150_000, dtype=np.float32).reshape(3, 150_000)
    few, k = numbers(5, 3, device)
    assert_close(selected(here(wide, device), 0, few), wide[k])
    flat, j = numbers(300_001, 300_000, device)
    assert_close(looked_up("taken", x, [(flat, (1,), 1)], (300_001,), (0,)), table.reshape(-1)[j])


ABILITIES = {"all": Abilities(True, True, True, True), "least": Abilities(False, False, False, False)}


@pytest.mark.parametrize("abilities", ABILITIES)
@pytest.mark.parametrize("how", [elementwise.TABLE, elementwise.ALONG])
@pytest.mark.parametrize("each", [1, 4])
def test_modules(abilities: str, how: str, each: int, valid: Check) -> None:
    """With a check of the index in the same kernel, and a program long enough for a loop."""
    for dtype in (dtypes.bool_, dtypes.uint8, dtypes.int32, dtypes.int64, dtypes.float16, dtypes.bfloat16, dtypes.float32):
        for long in (False, True):
            steps = [step("check_index", dtypes.int32, (0, 2, 3)), step("lookup", dtype, (4, 1))]
            if long and dtype is dtypes.float32:
                steps += [step("tanh", dtype, (5 + k,)) for k in range(5)]
            program = Program((dtypes.int32, dtype), (dtypes.int32, dtypes.int32), tuple(steps), (3 + len(steps),))
            out = elementwise.SHIFTED if each == 4 and dtype.itemsize == 8 else elementwise.LINEAR
            key = elementwise.ElementwiseKey(
                program, 2, (elementwise.LINEAR, how, out), 1, (0, 1, 2), (NO_FORMAT,) * 2, each, False, True, False
            )
            valid(elementwise.emit(key, ABILITIES[abilities]))
