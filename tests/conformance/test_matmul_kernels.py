"""Every variant of the matrix product, on every driver: shapes with edges, transposes, batches, epilogues, special values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

import rasptorch as rt
from rasptorch.runtime import settings
from rasptorch.runtime.host import blas
from rasptorch.runtime.plan.plan import MatmulKernel
from rasptorch.runtime.vulkan import matmul

pytestmark = [pytest.mark.drivers("lavapipe", "swiftshader")]

Array = NDArray[np.float32]
VARIANTS = ("auto", *matmul.VARIANTS)
# (rows, depth, columns): single elements, vectors, edges in every direction, several workgroups
SHAPES = [(1, 1, 1), (3, 5, 7), (4, 4, 4), (8, 12, 16), (33, 20, 12), (1, 64, 70), (70, 9, 1), (17, 6, 36), (66, 40, 130)]


@contextmanager
def forced(device: str, variant: str) -> Iterator[None]:
    """Products of this block are compiled anew, by ``variant``."""
    with settings.override(matmul=variant, plan_cache=1):
        (rt.zeros(3, device=device) + 1).numpy()  # the only plan that is kept
        yield
        (rt.zeros(3, device=device) + 1).numpy()


def numbers(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def close(found: rt.Tensor, a: Array, b: Array, expected: NDArray[np.float64] | None = None) -> None:
    """Within the bound on the rounding error of a sum of products in any order."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    bound = (abs(wide_a) @ abs(wide_b)) * a.shape[-1] * 2.0**-23 + 1e-6
    error = abs(np.asarray(found.readback().wait()) - (wide_a @ wide_b if expected is None else expected))
    assert (error <= bound).all(), f"off by up to {error.max():g}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_and_transposes(device: str, variant: str) -> None:
    with forced(device, variant):
        for (m, k, n), left, right in itertools.product(SHAPES, (False, True), (False, True)):
            a, b = numbers(m, k), numbers(k, n)
            x = rt.tensor(a.T.copy(), device=device).T if left else rt.tensor(a, device=device)
            y = rt.tensor(b.T.copy(), device=device).T if right else rt.tensor(b, device=device)
            close(x @ y, a, b)


@pytest.mark.parametrize("variant", VARIANTS)
def test_batches_and_slices(device: str, variant: str) -> None:
    a, b = numbers(3, 1, 6, 8), numbers(2, 8, 12)
    with forced(device, variant):
        x, y = rt.tensor(a, device=device), rt.tensor(b, device=device)
        close(x @ y, a, b)
        close(x[0, 0] @ y, a[0, 0], b)
        close(x[..., 1:5] @ y[:, 2:6, 1:10], a[..., 1:5], b[:, 2:6, 1:10])
        close(x[:, 0, ::2, ::3] @ y[0, 1::3, ::5], a[:, 0, ::2, ::3], b[0, 1::3, ::5])


@pytest.mark.parametrize("variant", VARIANTS)
def test_epilogues(device: str, variant: str) -> None:
    for m, k, n in ((20, 8, 36), (5, 7, 9), (64, 16, 6)):
        a, b, bias, other = numbers(m, k), numbers(k, n), numbers(n), numbers(m, n)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        with forced(device, variant):
            x, y = rt.tensor(a, device=device), rt.tensor(b, device=device)
            u, v = rt.tensor(bias, device=device), rt.tensor(other, device=device)
            close((x @ y + u).relu(), a, b, np.maximum(exact + bias, 0))
            close(x @ y * 2 - v.T.contiguous().T, a, b, exact * 2 - other)
            total = x @ y + v
            assert np.array_equal((total > 0).numpy(), total.numpy() > 0)
            v += x @ y
            close(v, a, b, other + exact)


@pytest.mark.parametrize("variant", VARIANTS)
def test_infinities_and_nan_stay_in_their_rows_and_columns(device: str, variant: str) -> None:
    a, b = numbers(9, 10), numbers(10, 11)
    a[2, 3], a[8, 0], b[1, 10] = np.inf, np.nan, -np.inf
    with forced(device, variant), np.errstate(invalid="ignore"):
        found = (rt.tensor(a, device=device) @ rt.tensor(b, device=device)).numpy()
        expected = a @ b
    assert np.array_equal(np.isnan(found), np.isnan(expected)) and np.array_equal(np.isinf(found), np.isinf(expected))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "uint8"])
def test_other_dtypes(device: str, dtype: str) -> None:
    a, b = (np.random.default_rng(k).integers(0, 4, (13, 13)) for k in range(2))
    x, y = (rt.tensor(v.astype(np.int32), device=device).to(dtype) for v in (a, b))
    assert np.array_equal((x @ y).to("int32").numpy(), a @ b)  # small enough to be exact


def test_no_depth(device: str) -> None:
    product = rt.zeros(3, 0, device=device) @ rt.zeros(0, 5, device=device) + 1
    assert np.array_equal(product.numpy(), np.ones((3, 5), np.float32))


def test_the_same_bits_every_time(device: str) -> None:
    a, b = rt.tensor(numbers(65, 130), device=device), rt.tensor(numbers(130, 67), device=device)
    first = (a @ b).numpy()
    for _ in range(3):
        assert np.array_equal((a @ b).numpy(), first)


def test_an_unknown_variant_is_named(device: str) -> None:
    kernel = MatmulKernel((), (), (), (), None, (), 1, 1, 1, None, None)  # type: ignore[arg-type]
    with settings.override(matmul="fastest"), pytest.raises(ValueError, match="RASPTORCH_MATMUL='fastest'.*texel"):
        matmul.variant_for(kernel, rt.device(device).driver.traits)


def test_what_was_chosen_can_be_seen(device: str) -> None:
    from rasptorch.runtime.vulkan.compile import Dispatch

    made: list[str] = []
    original = Dispatch.__init__

    def noting(self: Dispatch, *args: object) -> None:
        original(self, *args)  # type: ignore[arg-type]
        made.append(self.variant)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dispatch, "__init__", noting)
        for variant in matmul.VARIANTS:
            with forced(device, variant):
                (rt.ones(8, 8, device=device) @ rt.ones(8, 8, device=device)).numpy()
    assert [v for v in made if v] == list(matmul.VARIANTS)


@pytest.mark.drivers("cpu")
@pytest.mark.parametrize(
    ("batch", "rows", "depth", "columns"),
    [((), 700, 40, 700), ((), 64, 600, 512), ((8,), 128, 128, 128), ((), 6000, 900, 3), ((3, 3), 130, 130, 130)],
)
def test_products_shared_out_among_threads(batch: tuple[int, ...], rows: int, depth: int, columns: int, device: str) -> None:
    """In parts with an epilogue on each, and BLAS has the threads it had before."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((*batch, rows, depth)), rng.standard_normal((*batch, depth, columns))
    bias = rng.standard_normal(columns)
    x, w, c = (rt.tensor(v.astype(np.float32), device=device) for v in (a, b, bias))
    library = blas.found()
    before = library.get_threads() if library else 0
    for left, right in ((x, w), (x.mT.contiguous().mT, w), (x, w.mT.contiguous().mT)):
        plain, fused = (left @ right).numpy(), (left @ right + c).relu().numpy()
        np.testing.assert_allclose(plain, a @ b, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(fused, np.maximum(a @ b + bias, 0), rtol=1e-4, atol=1e-3)
    assert (library.get_threads() if library else 0) == before
