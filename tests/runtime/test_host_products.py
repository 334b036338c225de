"""Products on the host: what BLAS is asked for directly, who shares it out, and convolutions in tiles."""

from __future__ import annotations

from itertools import product as combinations

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch.nn import functional as F
from rasptorch.runtime import settings
from rasptorch.runtime.device import Device
from rasptorch.runtime.host import blas, convolution, matmul
from rasptorch.runtime.host.calls import execute
from rasptorch.runtime.host.driver import HostDriver

LAYOUTS = ("plain", "turned", "rows of a larger one", "columns of a larger one")


def laid_out(x: np.ndarray, how: str) -> np.ndarray:
    if how == "turned":
        return np.ascontiguousarray(x.T).T
    if how == "rows of a larger one":
        return np.repeat(x, 2, axis=0)[::2]
    if how == "columns of a larger one":
        return np.concatenate([x, x], axis=1)[:, : x.shape[1]]
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 600, 9), (9, 1, 5), (4, 6, 1), (1, 1, 1)])
def test_a_product_that_blas_is_asked_for_directly(shape: tuple[int, int, int], dtype: type) -> None:
    rows, depth, columns = shape
    rng = np.random.default_rng(0)
    for left, right, terms in combinations(LAYOUTS, LAYOUTS, (None, 4)):
        a = laid_out(rng.standard_normal((rows, depth)).astype(dtype), left)
        b = laid_out(rng.standard_normal((depth, columns)).astype(dtype), right)
        for wide, add in combinations((False, True), (False, True)):
            out = rng.standard_normal((rows, columns + 3 * wide)).astype(dtype)
            before = out.copy()
            calls = blas.product(a, b, out[:, :columns], add=add, terms=terms)
            assert calls is not None and (terms is None or len(calls) == -(-depth // terms))
            execute(calls)
            expected = a.astype(np.float64) @ b + (before[:, :columns] if add else 0)
            np.testing.assert_allclose(out[:, :columns], expected, rtol=1e-5, atol=1e-4)
            np.testing.assert_array_equal(out[:, columns:], before[:, columns:])


def test_what_blas_does_not_take_is_left_to_numpy() -> None:
    x = np.ones((4, 4), np.float32)
    assert blas.product(x.astype(np.int32), x.astype(np.int32), x.astype(np.int32)) is None
    assert blas.product(x.astype(np.float64), x, x) is None
    assert blas.product(x[:, ::2], x[:2], x.copy()) is None
    assert blas.product(np.broadcast_to(x[:1], (4, 4)), x, x.copy()) is None
    assert blas.product(x, x, x.copy().T) is None
    assert blas.product(x[:0], x, x[:0].copy()) is None


@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [
        (300, 700, 120), (64, 784, 512), (64, 1000, 512), (900, 64, 300), (256, 256, 256), (130, 333, 517), (16, 799, 2000),
        (2000, 40, 17), (440, 1945, 6), (19, 993, 373),
    ],
)  # fmt: skip
def test_bits_do_not_depend_on_how_many_threads_share_a_product(
    rows: int, depth: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all layouts, with an epilogue on one thread and on several, and without."""
    rng = np.random.default_rng(0)
    shapes = (rows, depth), (depth, columns), (depth, rows), (columns, depth), (columns,)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    seen = []
    for threads, together in ((1, 1 << 20), (2, 1 << 20), (2, 1), (3, 1 << 20), (4, 1 << 20), (7, 1)):
        monkeypatch.setattr(matmul, "TOGETHER", together)
        with settings.override(host_threads=threads):
            device = Device(f"cpu on {threads} threads", HostDriver())
        a, b, a_turned, b_turned, c = (rt.tensor(v, device=device) for v in arrays)
        made = [a @ b, a_turned.T @ b, a @ b_turned.T, a_turned.T @ b_turned.T, (a @ b_turned.T + c).relu(), (a_turned.T @ b) * 0.5 - c]
        seen.append([x.numpy() for x in made])
        device.close()
    for others in seen[1:]:
        for first, other in zip(seen[0], others, strict=True):
            np.testing.assert_array_equal(first, other)
    exact = arrays[0].astype(np.float64) @ arrays[1]
    np.testing.assert_allclose(seen[0][0], exact, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("few", "kept", "tile", "shared"),
    [(2, 1000, 1 << 20, False), (2, 0, 1 << 12, True), (99, 1000, 1 << 12, True), (99, 1000, 1 << 20, False), (3, 1000, 1 << 14, True)],
)
def test_convolutions_in_tiles(few: int, kept: int, tile: int, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and many items, few and many tiles, on one thread and on several: values, gradients, and what is fused to them."""
    monkeypatch.setattr(convolution, "FEW_ITEMS", few)
    monkeypatch.setattr(convolution, "KEPT_TILES", kept)
    monkeypatch.setattr(convolution, "TILE", tile)
    monkeypatch.setattr(convolution, "WORTH_SHARING", 0 if shared else 1 << 60)
    monkeypatch.setattr(convolution, "PIECE", 100)
    width = 9 + [2, 99, 3].index(few) * 2 + shared + (tile >> 12)  # no recording of another case fits
    rng = np.random.default_rng(0)
    for stride, dilation, groups, batch in ((1, 1, 1, 5), (2, 1, 2, 4), (1, 2, 12, 3), (3, 2, 1, 1)):
        x = rng.standard_normal((batch, 12, 11, width)).astype(np.float32)
        w, b = rng.standard_normal((24, 12 // groups, 3, 2)).astype(np.float32), rng.standard_normal(24).astype(np.float32)
        ours, theirs = ([make(v, requires_grad=True) for v in (x, w, b)] for make in (rt.tensor, torch.tensor))
        arguments = {"stride": stride, "padding": (2, 1), "dilation": dilation, "groups": groups}
        made, expected = F.conv2d(*ours, **arguments).relu(), torch.nn.functional.conv2d(*theirs, **arguments).relu()
        np.testing.assert_allclose(made.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-4)
        gradient = rng.standard_normal(expected.shape).astype(np.float32)
        made.backward(rt.tensor(gradient))
        expected.backward(torch.tensor(gradient))
        for mine, their in zip(ours, theirs, strict=True):
            assert mine.grad is not None and their.grad is not None
            np.testing.assert_allclose(mine.grad.numpy(), their.grad.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 2500), (2, 2500, 7), (3, 1030, 200), (2500,), (700, 400)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_along_one_dimension(shape: tuple[int, ...], dtype: str) -> None:
    """Running sums in stretches and entry by entry, and first places, in one piece and in several."""
    values = (np.random.default_rng(0).standard_normal(shape) * 20).astype(dtype)
    x, exact = rt.tensor(values, device="cpu"), values.astype(np.int64 if dtype == "uint8" else np.dtype(dtype))
    tolerance = 1e-2 if dtype == "float32" else 1e-9
    for dim in range(len(shape)):
        np.testing.assert_allclose(x.cumsum(dim).numpy(), exact.astype(np.float64).cumsum(dim), rtol=0, atol=tolerance)
        flipped = np.flip(exact, dim).astype(np.float64).cumsum(dim)
        if dtype.startswith("float"):
            whole = x.clone().requires_grad_()
            whole.cumsum(dim).backward(x)
            assert whole.grad is not None
            np.testing.assert_allclose(whole.grad.numpy(), np.flip(flipped, dim), rtol=0, atol=tolerance)
        np.testing.assert_array_equal(x.argmax(dim).numpy(), values.argmax(dim))
        np.testing.assert_array_equal(x.argmin(dim, keepdim=True).numpy(), values.argmin(dim, keepdims=True))
    assert x.argmax().item() == values.argmax()


def test_running_sums_of_many_do_not_drift() -> None:
    values = np.random.default_rng(0).random(1 << 20, dtype=np.float32)
    made = rt.tensor(values, device="cpu").cumsum(0).numpy()
    np.testing.assert_allclose(made, values.astype(np.float64).cumsum(), rtol=2e-6)
