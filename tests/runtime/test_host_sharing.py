"""Work on the host that several threads share: helpers, products side by side, tiles."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from weakref import ref

import numpy as np
import pytest

import rasptorch as rt
from rasptorch import nn, optim
from rasptorch.runtime import settings
from rasptorch.runtime.device import Device
from rasptorch.runtime.host import beside, blas, matmul, spinning, tiles
from rasptorch.runtime.host.calls import Call, execute
from rasptorch.runtime.host.driver import HostDriver
from rasptorch.runtime.host.elementwise import PARALLEL, Pieces, stretches
from rasptorch.runtime.host.evaluate import Evaluator
from rasptorch.runtime.host.helpers import WAKING, Helpers, bounds
from rasptorch.runtime.host.spinning import Spinning

Layout = Callable[[np.ndarray], np.ndarray]


@pytest.fixture
def helpers() -> Iterator[Helpers]:
    made = Helpers(2)
    yield made
    made.close()


def test_parts_run_at_once_and_all_of_them(helpers: Helpers) -> None:
    meeting = threading.Barrier(3, timeout=10)
    names = []

    def part() -> None:
        meeting.wait()  # nobody passes unless all three are there
        names.append(threading.current_thread().name)

    for _ in range(50):
        names.clear()
        helpers.together([part, part, part])
        assert len(names) == 3 and names.count("cpu helper") == 2


def test_what_no_thread_has_begun_is_taken_back(helpers: Helpers) -> None:
    """A helper that gets no core costs its part, and does not hold up the rest."""
    begun, release, done = threading.Event(), threading.Event(), []

    def long() -> None:
        begun.set()
        assert release.wait(10)

    def first() -> None:
        assert begun.wait(10)

    def last() -> None:
        done.append(threading.current_thread())
        release.set()

    single = Helpers(1)
    single.together([first, long, last])  # `last` is behind `long` in the helper's queue, which waits for it
    assert done == [threading.current_thread()]
    single.close()


def test_who_is_slower_takes_fewer_pieces() -> None:
    with settings.override(host_threads=2):
        driver = HostDriver()
    taken: dict[int, list[int]] = {0: [], 1: []}
    begun, ended = threading.Event(), threading.Event()

    def bind(number: int, share: int) -> list[Call]:
        def compute() -> None:
            taken[share].append(number)
            if share == 1:
                begun.set()
                assert ended.wait(10)
            else:
                assert begun.wait(10)
                if number == 8:
                    ended.set()

        return [(compute, ())]

    pieces = Pieces(PARALLEL, 10, 1, driver)
    for number in range(10):
        pieces.add(partial(bind, number))
    for _ in range(3):
        pieces.run()
        assert taken == {0: list(range(9)), 1: [9]}
        taken[0].clear(), taken[1].clear(), begun.clear(), ended.clear()
    driver.close()


def test_pieces_after_an_error_are_those_of_the_next_run() -> None:
    with settings.override(host_threads=1):
        driver = HostDriver()
    done, broken = list[int](), True

    def compute(number: int) -> None:
        if broken and number == 2:
            raise ZeroDivisionError
        done.append(number)

    pieces = Pieces(PARALLEL, 5, 1, driver)
    for number in range(5):
        pieces.add(lambda share, number=number: [(compute, (number,))])  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        pieces.run()
    broken = False
    done.clear()
    pieces.run()
    assert done == [0, 1, 2, 3, 4]
    driver.close()


def test_recordings_go_without_the_garbage_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold memory that Python does not count."""
    with settings.override(host_threads=2):
        device = Device("cpu, recordings", HostDriver())
    x = rt.tensor(np.ones((1024, 300), np.float32), device=device)
    monkeypatch.setattr(beside, "WORTH_BESIDE", 1000)
    kinds = (Pieces, Evaluator, matmul.Product, beside.Beside)
    gc.collect()
    gc.disable()
    others = [found for found in gc.get_objects() if type(found) in kinds]
    try:
        for made in ((x * 2 + x).relu(), x.sum(), x.max(), (x * x).sum(1), x.softmax(1), x.cumsum(1), x.argmax(0), (x @ x.T).relu()):
            made.numpy()
        first, second = x.T @ x, (x.T @ x).exp()
        rt.synchronize(device)
        del made, first, second
        known = set(map(id, others))
        kept = [ref(found) for found in gc.get_objects() if type(found) in kinds and id(found) not in known]
        assert {type(reference()) for reference in kept} == set(kinds)
        with device.lock:
            for plan in device.plans._plans.values():
                device.recordings.forget(plan)
        assert not [reference() for reference in kept if reference() is not None]
    finally:
        gc.enable()
    device.close()


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_what_is_read_once_is_cut_in_few_pieces(threads: int) -> None:
    for length, elements, step in ((4096, 4096 << 10, 1), (4096, 4096 << 10, 64), (1000, 1 << 20, 64), (3, 3 << 20, 1), (0, 0, 1)):
        made = stretches(length, elements, threads, step)
        assert [part.start for part in made] == [0, *(part.stop for part in made[:-1])] and made[-1].stop == length
        assert all(part.start % step == 0 for part in made) and len(made) <= 2 * threads
        assert len(made) > 1 or elements < PARALLEL
    assert stretches(4096, PARALLEL - 1, threads) == [slice(0, 4096)] == stretches(4096, 4096 << 10, 1)


@pytest.mark.parametrize("where", [0, 1, 2])
def test_errors_are_raised_when_all_have_ended(where: int, helpers: Helpers) -> None:
    ended = []

    def make(number: int) -> Callable[[], None]:
        def part() -> None:
            ended.append(number)
            if number == where:
                raise ZeroDivisionError(number)

        return part

    for _ in range(20):
        ended.clear()
        with pytest.raises(ZeroDivisionError, match=str(where)):
            helpers.together([make(k) for k in range(3)])
        assert sorted(ended) == [0, 1, 2]
    helpers.together([lambda: None] * 3)


@pytest.mark.parametrize("length", [8, PARALLEL])
def test_warnings_of_the_programs_do_not_matter_to_kernels(length: int) -> None:
    """Neither where kernels are computed at once, nor by the thread that waits, helpers and the worker."""
    x = rt.zeros(length, device="cpu")
    with np.errstate(all="raise"):
        at_once = (1 / x).sum()
        assert at_once.item() == float("inf")
        by_others = (x / x).max()
        rt.device("cpu").default_stream.flush()
        assert np.isnan(by_others.item())
        assert np.geterr()["divide"] == "raise"
        with pytest.raises(FloatingPointError):
            np.ones(1) / np.zeros(1)


def test_without_helpers_one_thread_does_everything() -> None:
    alone, seen = Helpers(0), list[int]()
    alone.together([lambda k=k: seen.append(k) for k in range(4)])  # type: ignore[misc]
    assert seen == [0, 1, 2, 3]
    alone.close()


class Watched(Spinning):
    """With threads that have run for as long as a test says."""

    __slots__ = ("ran",)

    def __init__(self) -> None:
        super().__init__()
        self.ran = 1.0

    def before(self) -> float:
        return self.ran


def test_openblas_computes_large_products_while_it_is_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(spinning, "perf_counter", lambda: now)
    watched = Watched()

    def product(beside: float) -> None:
        """One of 0.01 s, in which OpenBLAS's threads run for so long."""
        before = watched.before()
        watched.ran += beside
        watched.after(before, 0.01)

    product(0.001)
    assert not watched.spread
    product(0.009)
    assert watched.spread
    now += spinning.SPREAD - 0.01
    assert watched.spread
    now += 0.02
    assert not watched.spread
    product(0.01)
    assert not watched.spread, "they are awake because of the products before"
    now += spinning.CALM
    product(0.01)
    assert watched.spread


def test_the_clocks_of_openblas_threads_are_found() -> None:
    library = blas.found()
    assert library is not None, "the NumPy of the tests comes with OpenBLAS"
    before_that = library.get_threads()
    library.set_threads(2)
    try:
        x = np.ones((700, 700), np.float32)
        x @ x  # its threads begin with the first product
        real = Spinning()
        for _ in range(20):  # others may have the second core for a while
            began, before = time.perf_counter(), real.before()
            while time.perf_counter() - began < 0.2:
                x @ x
            real.after(before, time.perf_counter() - began)
            if real.spread:
                break
        assert real.spread
    finally:
        library.set_threads(before_that)


def test_bits_do_not_depend_on_whose_threads_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "LARGE", 1000)
    monkeypatch.setattr(tiles, "CORES", frozenset())
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((300, 1100), (1100, 470), (470, 1100), (470,))]
    seen = []
    for spread in (False, True):
        monkeypatch.setattr(Spinning, "spread", property(lambda self, spread=spread: spread))
        with settings.override(host_threads=2):
            device = Device(f"cpu, spread {spread}", HostDriver())
        a, b, b_turned, c = (rt.tensor(v, device=device) for v in arrays)
        seen.append([(a @ b).numpy(), (a @ b_turned.T + c).relu().numpy(), ((a @ b) * 2).numpy()])
        device.close()
    for own, others in zip(*seen, strict=True):
        np.testing.assert_array_equal(own, others)
    np.testing.assert_allclose(seen[0][0], arrays[0].astype(np.float64) @ arrays[1], rtol=1e-3, atol=1e-3)


def turned(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.T).T


@pytest.mark.parametrize("tile", [(8, 64), (32, 48), (64, 16), (500, 500), (7, 5)])
@pytest.mark.parametrize("shape", [(64, 100, 96), (65, 33, 70), (3, 40, 500), (8, 1, 64)])
def test_products_in_tiles(shape: tuple[int, int, int], tile: tuple[int, int]) -> None:
    rows, depth, columns = shape
    rng = np.random.default_rng(0)
    for left, right in ((np.asarray, np.asarray), (turned, np.asarray), (np.asarray, turned)):
        a = left(rng.standard_normal((rows, depth)).astype(np.float32))
        b = right(rng.standard_normal((depth, columns)).astype(np.float32))
        wide = np.full((rows, columns + 3), np.nan, np.float32)
        execute(tiles.tiled(a, b, wide[:, :columns], tile))
        np.testing.assert_allclose(wide[:, :columns], a.astype(np.float64) @ b, rtol=1e-4, atol=1e-4)
        assert np.isnan(wide[:, columns:]).all()


def test_which_products_are_tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(rows: int, depth: int, columns: int, left: Layout = np.asarray, right: Layout = np.asarray) -> tiles.Grid | None:
        return tiles.grid(left(np.ones((rows, depth), np.float32)), right(np.ones((depth, columns), np.float32)))

    library = blas.found()
    assert library is not None, "the NumPy of the tests comes with OpenBLAS"
    monkeypatch.setattr(tiles, "CORES", frozenset({library.core}))
    for left, right in ((np.asarray, np.asarray), (turned, np.asarray), (np.asarray, turned)):
        for shape in ((64, 784, 512), (512, 130, 784), (500, 300, 700), (17, 799, 333), (2000, 128, 33)):
            made = of(*shape, left, right)
            assert made is not None and made[0] * made[1] * shape[1] <= tiles.SMALL, (shape, made)
    assert of(64, 900, 512) is None and of(2000, 700, 2000) is None  # too deep, too large
    assert of(64, 20, 64) is None and of(8, 700, 2000) is None  # small enough for BLAS to do so itself, too thin
    assert of(200, 200, 200, turned, turned) is None
    monkeypatch.setattr(tiles, "CORES", frozenset())
    assert of(64, 784, 512) is None


def test_parts_end_at_about_the_same_time() -> None:
    work, waking = 500e-6, WAKING
    for delays in ([0.0, waking], [80e-6, waking], [0.0] * 4, [0.0, waking, waking, waking], [1.0, 0.0], [0.0, 1.0]):
        for length, step in ((512, 16), (512, 1), (500, 16), (3, 1), (1, 1), (0, 1)):
            ends = bounds(length, step, work, delays)
            assert ends[0] == 0 and ends[-1] == length and ends == sorted(ends) and len(ends) == len(delays) + 1
            assert all(end % step == 0 or end == length for end in ends)
    one, other = (bounds(512, 16, work, [0.0, delay])[1] for delay in (0.0, 100e-6))
    assert 256 <= one <= 288 and one < other <= 320
    assert bounds(512, 16, work, [1.0, 0.0])[1] == 0 and matmul.bounds(512, 16, work, [0.0, 1.0])[1] == 512


def pairs(monkeypatch: pytest.MonkeyPatch) -> list[beside.Beside]:
    made: list[beside.Beside] = []
    original = beside.Beside.__init__

    def noting(self: beside.Beside, *arguments: object) -> None:
        original(self, *arguments)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(beside.Beside, "__init__", noting)
    monkeypatch.setattr(beside, "WORTH_BESIDE", 1000)
    monkeypatch.setattr(matmul, "WORTH_SHARING", 1000)
    return made


def trained(name: str, threads: int) -> list[np.ndarray]:
    """Parameters and gradients after some steps, on a device of its own."""
    with settings.override(host_threads=threads):
        device = Device(name, HostDriver())
    rt.manual_seed(0)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(67, 67), nn.Tanh()) for _ in range(3))).to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01)
    x = rt.tensor(np.random.default_rng(0).standard_normal((48, 67)), dtype=rt.float32, device=device)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).pow(2).mean().backward()
        optimizer.step()
    made = [value.numpy() for p in model.parameters() for value in (p.detach(), p.grad) if value is not None]
    device.close()
    return made


@pytest.mark.parametrize("threads", [2, 4, 5])
def test_gradients_side_by_side_are_the_same_bits(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new weight may not be written before the input's gradient has been computed with the old one."""
    expected = trained("cpu, one after the other", 1)
    made = pairs(monkeypatch)
    got = trained("cpu, side by side", threads)
    assert len(made) >= 2
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a, b)


def test_products_that_need_each_other_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    made = pairs(monkeypatch)
    rng = np.random.default_rng(0)
    x, y, z = (rng.standard_normal((61, 61)).astype(np.float32) for _ in range(3))
    with settings.override(host_threads=2):
        device = Device("cpu, products", HostDriver())
    a, b, c = (rt.tensor(v, device=device) for v in (x, y, z))
    chain = a @ b @ c @ a
    np.testing.assert_allclose(chain.numpy(), x.astype(np.float64) @ y @ z @ x, rtol=1e-3, atol=1e-2)
    assert not made
    first, second, third = (a @ b).relu(), b @ c, (c @ a) * 2 - b
    for tensor, exact in ((first, np.maximum(x @ y, 0)), (second, y @ z), (third, (z @ x) * 2 - y)):
        np.testing.assert_allclose(tensor.numpy(), exact, rtol=1e-3, atol=1e-3)
    assert len(made) == 1  # two of three
    device.close()


def test_bits_of_standardised_rows_do_not_depend_on_the_number_of_threads() -> None:
    values, weight = (np.random.default_rng(0).standard_normal(n).astype(np.float32) for n in ((3000, 150), 150))
    seen = []
    for threads in (1, 2, 3):
        with settings.override(host_threads=threads):
            device = Device(f"cpu with {threads} threads", HostDriver())
        x, w = (rt.tensor(v, device=device, requires_grad=True) for v in (values, weight))
        y = nn.functional.layer_norm(x, (150,), w, w)
        (y * y).sum().backward()
        seen.append([t.numpy(force=True) for t in (y, x.grad, w.grad) if t is not None])
        device.close()
    for others in seen[1:]:
        for a, b in zip(seen[0], others, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(700, 500), (350_001,), (3, 120_000), (120_000, 3), (40, 90, 100)])
def test_bits_of_reductions_do_not_depend_on_the_number_of_threads(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    seen = []
    for threads in (1, 2, 3):
        with settings.override(host_threads=threads):
            device = Device(f"cpu on {threads} threads", HostDriver())
        x = rt.tensor(values, device=device)
        made = [x.sum(), x.max(), x.amin(0), x.amax(-1), x.mean(-1), x.sum(0), x.var(-1), (x * 2).sum(), x.prod(0)]
        made += [x.argmax(-1), x.argmin(0), x.cumsum(-1), x.cumsum(0), x.half().sum(-1), x.softmax(-1), (x + 1).relu()]
        seen.append([m.numpy() for m in made])
        device.close()
    for others in seen[1:]:
        for first, other in zip(seen[0], others, strict=True):
            np.testing.assert_array_equal(first, other)
    exact = values.astype(np.float64)
    expected = [exact.sum(), exact.max(), exact.min(0), exact.max(-1), exact.mean(-1), exact.sum(0), exact.var(-1, ddof=1)]
    for got, wanted in zip(seen[0], expected, strict=False):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-3)
