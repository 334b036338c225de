"""How workers begin, stay from pass to pass, and are given up on: PyTorch's options of that name."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
import trio

import rasptorch as rt
from rasptorch import data
from tests.support.manual import PATIENCE

from .test_loader import Recorder, contents, threads, until

BOTH = pytest.mark.parametrize("stay", [False, True])


class Begun:
    """A `worker_init_fn` that notes numbers and threads, and what had been fetched by then in its thread."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.idents: list[int] = []

    def __call__(self, number: int) -> None:
        self.numbers.append(number)
        self.idents.append(threading.get_ident())


class Where(Recorder):
    """Notes which threads fetch."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.idents: list[int] = []

    def __getitem__(self, index: int) -> Any:
        self.idents.append(threading.get_ident())
        return super().__getitem__(index)


@BOTH
def test_each_worker_begins_once(stay: bool) -> None:
    """In its own thread, which is the one that fetches; again in the next pass unless it stays."""
    began, ds = Begun(), Where(12)
    loader = data.DataLoader(ds, 2, num_workers=3, worker_init_fn=began, persistent_workers=stay)
    first = contents(loader)
    assert len(threads()) == (3 if stay else 0)
    assert contents(loader) == first and len(first) == 6
    if stay:  # a pass may be over before its third thread has begun
        until(lambda: len(began.numbers) == 3)
        assert sorted(began.numbers) == [0, 1, 2] and set(ds.idents) <= set(began.idents)
    else:
        assert sorted(began.numbers) == [0, 0, 1, 1, 2, 2]
    del loader
    assert not threads()


def test_without_workers_nothing_begins() -> None:
    began = Begun()
    contents(data.DataLoader(Recorder(4), 2, worker_init_fn=began))
    assert not began.numbers


@BOTH
@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_that_cannot_begin(stay: bool, workers: int) -> None:
    def begin(number: int) -> None:
        raise KeyError(f"no camera {number}")

    loader = data.DataLoader(Recorder(8), 2, num_workers=workers, worker_init_fn=begin, persistent_workers=stay)
    for _ in range(2):
        with pytest.raises(KeyError, match="no camera") as caught:
            contents(loader)
        assert any(note.startswith("raised by worker_init_fn(") for note in caught.value.__notes__)
    del loader, caught
    gc.collect()
    until(lambda: not threads())


def test_threads_that_stay_change_nothing(device: str) -> None:
    """The same batches, in the same random order, with passes that end early in between."""
    options: dict[str, Any] = {"shuffle": True, "seed": 3, "num_workers": 2, "device": device}
    with_, without = (data.DataLoader(Recorder(20), 3, persistent_workers=stay, **options) for stay in (True, False))
    for _ in range(2):
        assert contents(with_) == contents(without)
        for loader in (with_, without):
            for _ in loader:
                break
    with iter(with_) as batches:
        assert len(list(batches)) == 7
    assert len(threads()) == 2


def test_a_new_pass_ends_the_one_before() -> None:
    loader = data.DataLoader(Recorder(20), 2, num_workers=2, persistent_workers=True)
    first = iter(loader)
    next(first)
    assert len(list(loader)) == 10
    assert list(first) == [] and len(threads()) == 2


def test_a_pass_keeps_its_threads() -> None:
    """A loader that nobody else holds, as in ``for batch in DataLoader(...)``."""
    began = monotonic()
    numbers = [batch[1].tolist() for batch in data.DataLoader(Recorder(6), 2, num_workers=2, persistent_workers=True)]
    assert numbers == [[0, 1], [2, 3], [4, 5]]
    gc.collect()
    until(lambda: not threads())
    assert monotonic() - began < PATIENCE


def test_they_stay_under_trio() -> None:
    began = Begun()
    loader = data.DataLoader(Recorder(6), 2, num_workers=2, persistent_workers=True, worker_init_fn=began)

    async def main() -> int:
        seen = 0
        for _ in range(3):
            async for _ in loader:
                seen += 1
        return seen

    assert trio.run(main) == 9 and sorted(began.numbers) == [0, 1]


@pytest.fixture
def stuck() -> Iterator[Recorder]:
    """A dataset whose items come when its gate opens: at the end at the latest."""
    ds = Recorder(4)
    ds.gate.clear()
    yield ds
    ds.gate.set()
    until(lambda: not threads())


@BOTH
def test_too_long_for_a_batch(stay: bool, stuck: Recorder) -> None:
    loader = data.DataLoader(stuck, 2, num_workers=1, timeout=0.05, persistent_workers=stay)
    began = monotonic()
    batches = iter(loader)
    with pytest.raises(data.DataTimeout, match=r"within 0\.05 seconds \(timeout\)"):
        next(batches)
    assert list(batches) == []
    del batches
    assert monotonic() - began < PATIENCE / 2  # the thread was not waited for
    stuck.gate.set()
    until(lambda: stuck.fetched)
    assert len(contents(data.DataLoader(stuck, 2, num_workers=1, timeout=PATIENCE))) == 2
    assert issubclass(data.DataTimeout, RuntimeError)


def test_too_long_under_trio(stuck: Recorder) -> None:
    async def main() -> None:
        with pytest.raises(data.DataTimeout, match="within 0.05 seconds"):
            async for _ in data.DataLoader(stuck, 2, num_workers=1, timeout=0.05):
                pass
        stuck.gate.set()

    trio.run(main)


def test_options() -> None:
    for options, said in (
        ({"timeout": -1, "num_workers": 1}, "timeout is at least 0 seconds .*got -1"),
        ({"timeout": 3}, "there are none: give num_workers"),
        ({"persistent_workers": True}, "there are none: give num_workers"),
    ):
        with pytest.raises(data.DataError, match=said):
            data.DataLoader(Recorder(3), **options)
    loader = data.DataLoader(Recorder(3), 1, False, None, None, 2, None, False, False, 5.0, print, prefetch_factor=None)
    assert (loader.timeout, loader.worker_init_fn, loader.prefetch_factor, loader.persistent_workers) == (5.0, print, 2, False)
    assert rt.data is data
