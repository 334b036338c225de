"""Loaders in scripts: the same batches whatever the number of threads, bounded work ahead, errors, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

import rasptorch as rt
from rasptorch import data
from rasptorch.runtime import settings
from tests.support.manual import PATIENCE

WORKERS = (0, 1, 4)
ROWS = np.arange(20, dtype=np.float32).reshape(10, 2)


class Recorder(data.Dataset[Any]):
    """Counts fetches; ``gate`` keeps them from going on, ``bad`` raises."""

    def __init__(self, n: int, bad: int = -1) -> None:
        self.n, self.bad = n, bad
        self.fetched: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def __getitem__(self, index: int) -> tuple[Any, int]:
        self.gate.wait(PATIENCE)
        self.fetched.append(index)
        if index == self.bad:
            raise KeyError("broken item")
        return np.full(2, index, np.float32), index

    def __len__(self) -> int:
        return self.n


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("loader")]


def until(condition: Any) -> None:
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, "it never happened"
        sleep(0.002)


def contents(loader: data.DataLoader) -> list[Any]:
    return [[value.tolist() for value in batch] for batch in loader]


@pytest.mark.parametrize("workers", WORKERS)
def test_batches(workers: int, device: str) -> None:
    loader = data.DataLoader(data.TensorDataset(ROWS, np.arange(10)), 4, num_workers=workers, device=device)
    found = list(loader)
    assert [x.shape for x, _ in found] == [(4, 2), (4, 2), (2, 2)] and len(loader) == 3
    assert all(str(x.device) == device and str(y.device) == device for x, y in found)
    assert rt.cat([x for x, _ in found]).tolist() == ROWS.tolist()
    assert found[0][1].dtype is rt.int64 and found[0][0].dtype is rt.float32


def test_threads_do_not_change_the_batches() -> None:
    def noisy(batch: Any) -> Any:
        sleep(float(data.batch_random().random()) * 0.004)  # so that threads overtake each other
        return batch + data.batch_random().random(batch.shape).astype(np.float32)

    def epochs(workers: int) -> list[Any]:
        loader = data.DataLoader(Recorder(23), 3, shuffle=True, num_workers=workers, seed=5, transform=noisy)
        return [contents(loader), contents(loader)]

    first = epochs(0)
    assert first[0] != first[1]
    assert epochs(1) == first and epochs(4) == first


@pytest.mark.parametrize("workers", WORKERS)
def test_a_pass_can_begin_anywhere(workers: int) -> None:
    def loader() -> data.DataLoader:
        return data.DataLoader(
            Recorder(10), 3, shuffle=True, num_workers=workers, seed=1, transform=lambda b: b + data.batch_random().random()
        )

    whole, later = contents(loader()), loader()
    with later.batches(start=2) as batches:
        assert batches.number == 2
        assert [[v.tolist() for v in batch] for batch in batches] == whole[2:]
    assert set(later.dataset.fetched) == {int(k) for _, labels in whole[2:] for k in labels}


def test_state_of_a_loader() -> None:
    for make in (
        lambda: data.DataLoader(Recorder(10), 3, shuffle=True, seed=4),
        lambda: data.DataLoader(Recorder(10), 3, sampler=data.RandomSampler(range(10), generator=rt.Generator(4)), seed=5),
    ):
        one, other = make(), make()
        contents(one)
        other.load_state_dict(one.state_dict())
        assert contents(one) == contents(other) != contents(make())
    with pytest.raises(data.DataError, match="1 generators, this loader draws from 2"):
        other.load_state_dict({"generators": [[0, 0]]})


@pytest.mark.parametrize("workers", [1, 3])
def test_work_ahead_is_bounded(workers: int) -> None:
    ds = Recorder(100)
    with iter(data.DataLoader(ds, 1, num_workers=workers, prefetch_factor=2)) as batches:
        until(lambda: len(ds.fetched) == 2 * workers)
        sleep(0.05)
        assert len(ds.fetched) == 2 * workers
        next(batches)
        until(lambda: len(ds.fetched) == 2 * workers + 1)
    assert not threads()


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_comes_in_its_turn_with_the_place(workers: int) -> None:
    loader = data.DataLoader(Recorder(12, bad=7), 3, num_workers=workers)
    seen = []
    with pytest.raises(KeyError, match="broken item") as caught:
        for _, labels in loader:
            seen += labels.tolist()
    assert seen == [0, 1, 2, 3, 4, 5]
    assert caught.value.__notes__ == ["raised by item 7 of the Recorder", "raised while the loader made batch 2 of items 6, 7, 8"]
    assert "__getitem__" in [entry.name for entry in caught.traceback]
    del caught
    until(lambda: not threads())


@pytest.mark.parametrize("workers", WORKERS)
def test_a_sampler_that_raises(workers: int) -> None:
    def indices() -> Iterator[int]:
        yield 1
        raise RuntimeError("no more indices")

    with pytest.raises(RuntimeError, match="no more indices"):
        contents(data.DataLoader(Recorder(5), 1, sampler=indices(), num_workers=workers))
    until(lambda: not threads())


@pytest.mark.parametrize("workers", WORKERS)
def test_an_empty_dataset(workers: int) -> None:
    for shuffle in (False, True):
        loader = data.DataLoader(Recorder(0), 3, shuffle=shuffle, num_workers=workers)
        assert contents(loader) == [] and len(loader) == 0


@pytest.mark.parametrize("workers", WORKERS)
def test_drop_last(workers: int) -> None:
    loader = data.DataLoader(Recorder(7), 3, drop_last=True, num_workers=workers)
    assert [len(labels) for _, labels in loader] == [3, 3] and len(loader) == 2


@pytest.mark.parametrize("workers", WORKERS)
def test_iterable_datasets(workers: int) -> None:
    class Lines(data.IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            yield from range(7)

    assert [b.tolist() for b in data.DataLoader(Lines(), 3, num_workers=workers)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [int(b) for b in data.DataLoader(Lines(), None, num_workers=workers)] == list(range(7))
    with pytest.raises(data.DataError, match="order of its own"):
        data.DataLoader(Lines(), 3, shuffle=True)


def test_single_items_and_collate() -> None:
    assert [int(k) for _, k in data.DataLoader(Recorder(3), None)] == [0, 1, 2]
    total = data.DataLoader(Recorder(4), 2, collate_fn=lambda items: np.stack([x for x, _ in items]).sum())
    assert [float(b) for b in total] == [2.0, 10.0]
    rows = data.DataLoader(data.TensorDataset(ROWS), 5, collate_fn=len)  # also of a dataset that gives whole batches
    assert list(rows) == [5, 5]
    batches = data.DataLoader(Recorder(4), batch_sampler=[[3, 1], [0]])
    assert [y.tolist() for _, y in batches] == [[3, 1], [0]] and len(batches) == 2


def test_default_collate() -> None:
    made = data.default_collate([{"a": (1, 2.5), "b": "x", "c": True}, {"a": (3, 4.5), "b": "y", "c": False}])
    assert made["a"][0].dtype == np.int64 and made["a"][1].dtype == np.float32 and made["c"].dtype == bool
    assert made["b"] == ["x", "y"] and made["a"][1].tolist() == [2.5, 4.5]
    assert data.default_collate([rt.ones(2), rt.zeros(2)]).tolist() == [[1, 1], [0, 0]]
    with pytest.raises(data.DataError, match=r"shapes \[2\], \[3\] do not make a batch"):
        data.default_collate([np.zeros(2), np.zeros(3)])
    with pytest.raises(data.DataError, match="object cannot be put together"):
        data.default_collate([object()])
    with pytest.raises(data.DataError, match=r"items of \[1, 2\] entries"):
        data.default_collate([(1,), (1, 2)])


@pytest.mark.drivers("lavapipe")
def test_tensors_of_a_gpu_stay_there(device: str) -> None:
    class Rows(data.Dataset[rt.Tensor]):
        rows = rt.arange(6, dtype=rt.float32, device=device).reshape(3, 2)

        def __getitem__(self, index: int) -> rt.Tensor:
            return self.rows[index]

        def __len__(self) -> int:
            return 3

    for workers in (0, 2):
        before = rt.statistics(device)
        found = list(data.DataLoader(Rows(), 2, num_workers=workers, device=device))
        assert (rt.statistics(device) - before).readbacks == 0
        assert [b.tolist() for b in found] == [[[0, 1], [2, 3]], [[4, 5]]]
    del Rows.rows


def test_targets_are_transformed() -> None:
    loader = data.DataLoader(Recorder(3), 3, transform=lambda x: x * 2, target_transform=data.OneHot(3))
    ((x, y),) = loader
    assert x.tolist() == [[0, 0], [2, 2], [4, 4]] and y.tolist() == np.eye(3).tolist()
    with pytest.raises(data.DataError, match="no tuples"):
        list(data.DataLoader(range(3), 3, target_transform=data.OneHot(3)))


def test_options_that_do_not_go_together() -> None:
    ds = Recorder(3)
    for options, said in (
        ({"sampler": [0], "shuffle": True}, "leave shuffle out"),
        ({"batch_sampler": [[0]], "shuffle": True}, "batch_sampler decides"),
        ({"batch_size": 0}, "at least 1, got 0"),
        ({"batch_size": None, "drop_last": True}, "no last batch"),
        ({"num_workers": -1}, "at least 0"),
        ({"seed": 1, "generator": rt.Generator(1)}, "one of the two"),
    ):
        with pytest.raises(data.DataError, match=said):
            data.DataLoader(ds, **options)
    with pytest.raises(data.DataError, match="number of a batch, got -1"):
        data.DataLoader(ds).batches(-1)


@pytest.mark.parametrize("workers", [0, 2])
def test_uploads_have_a_stream_of_their_own(workers: int, device: str) -> None:
    """Where they are commands: then they do not wait behind the computing, and it waits for them only where it uses them."""
    with settings.override(staging="always"):
        found = rt.device(device)
        submitted = found.default_stream.submitted
        loader = data.DataLoader(data.TensorDataset(ROWS), 5, num_workers=workers, device=device)
        batches = list(loader)
        (stream,) = loader._uploads.values()
        assert stream.submitted == 2 and found.default_stream.submitted == submitted
        assert [(x * 2).sum().item() for (x,) in batches] == [2 * ROWS[:5].sum(), 2 * ROWS[5:].sum()]


def test_memory_is_bounded(device: str) -> None:
    """However quick the loader is: what is prefetched, and what is in flight."""
    nbytes = 1 << 16
    loader = data.DataLoader(range(60), 1, num_workers=2, device=device, collate_fn=lambda _: np.zeros(nbytes, np.uint8))
    rt.synchronize(device)
    before, most = rt.statistics(device).bytes_in_use, 0
    for batch in loader:
        del batch
        most = max(most, rt.statistics(device).bytes_in_use - before)
    assert most <= 5 * nbytes
