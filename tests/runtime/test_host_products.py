"""Products on the host: what BLAS is asked for directly, who shares it out, and convolutions in tiles."""

from __future__ import annotations

from itertools import product as combinations

import numpy as np
import pytest
import torch
import trio

import rasptorch as rt
from rasptorch.nn import functional as F
from rasptorch.runtime.host import blas, convolution, matmul, race
from rasptorch.runtime.host.evaluate import execute
from rasptorch.runtime.host.race import PATIENCE, Race


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(race, "perf_counter", made)
    return made


def ran(racing: Race, clock: Clock, seconds: tuple[float, float], times: int) -> list[int]:
    ways = []
    for _ in range(times):
        ways.append(racing.choose())
        clock.now += seconds[ways[-1]]
        racing.took(ways[-1], seconds[ways[-1]])
    return ways


def test_the_faster_way_is_found_and_found_again(clock: Clock) -> None:
    racing = Race()
    assert sorted(ran(racing, clock, (1.0, 0.7), 6)) == [0, 0, 0, 1, 1, 1]  # both are measured first
    ways = ran(racing, clock, (1.0, 0.7), 1000)
    assert 0 < ways.count(0) <= 1000 * 0.7 / PATIENCE + 1  # tried again, but seldom
    ways = ran(racing, clock, (1.0, 7.0), 1000)
    assert ways[-500:].count(0) >= 495
    assert ways.index(0) <= 3  # two slow ones are believed
    ways = ran(racing, clock, (1.0, 0.1), 6000)
    assert ways[-100:] == [1] * 100


def test_a_much_slower_way_is_measured_once(clock: Clock) -> None:
    assert ran(Race(), clock, (1.0, 9.0), 50).count(1) == 1


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


@pytest.mark.parametrize(("rows", "depth", "columns"), [(300, 700, 120), (64, 1000, 512), (900, 64, 300)])
def test_bits_do_not_depend_on_who_shares_a_product_out(
    rows: int, depth: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is faster at the moment is taken: nobody may see which."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((rows, depth), (depth, columns), (columns, depth), (columns,))]
    a, b, turned, c = (rt.tensor(v, device="cpu") for v in arrays)
    monkeypatch.setattr(matmul, "spreads", lambda threads: True)
    seen = []
    for way in (0, 1):
        monkeypatch.setattr(Race, "choose", lambda self, way=way: way)
        seen.append([(a @ b).numpy(), (a @ turned.T + c).relu().numpy()])
    for own, spread in zip(*seen, strict=True):
        np.testing.assert_array_equal(own, spread)
    np.testing.assert_allclose(seen[0][0], arrays[0].astype(np.float64) @ arrays[1], rtol=1e-4, atol=1e-3)


def test_blas_has_the_cores_only_while_the_program_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(matmul, "spreads", lambda threads: True)
    monkeypatch.setattr(Race, "choose", lambda self: asked.append(self) or 0)
    a = rt.tensor(np.random.default_rng(0).random((409, 409), dtype=np.float32), device="cpu")

    async def awaited() -> None:
        await (a @ a).readback()

    trio.run(awaited)
    assert not asked
    (a @ a).numpy()
    assert len(asked) == (blas.found() is not None)


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
