"""Loaders under Trio: the same batches, nothing blocks the loop, and nothing is left when a loop, a task or a nursery ends."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

import rasptorch as rt
from rasptorch import data
from tests.support.manual import PATIENCE

from .test_loader import WORKERS, Recorder, contents, threads


@pytest.mark.trio
@pytest.mark.parametrize("workers", WORKERS)
async def test_batches(workers: int, device: str) -> None:
    loader = data.DataLoader(Recorder(10), 4, shuffle=True, num_workers=workers, device=device, seed=2)
    found = [[(await x.numpy()).tolist(), (await y.numpy()).tolist()] async for x, y in loader]
    with trio.fail_after(PATIENCE):
        expected = await trio.to_thread.run_sync(contents, data.DataLoader(Recorder(10), 4, shuffle=True, seed=2))
    assert found == expected
    assert not threads()


@pytest.mark.trio
@pytest.mark.parametrize("workers", WORKERS)
async def test_others_go_on_while_a_batch_is_made(workers: int) -> None:
    ds = Recorder(4)
    ds.gate.clear()
    got: list[Any] = []

    async def take() -> None:
        async for _, labels in data.DataLoader(ds, 2, num_workers=workers):
            got.append((await labels.numpy()).tolist())

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert got == []
            ds.gate.set()
    assert got == [[0, 1], [2, 3]]


@pytest.mark.trio
@pytest.mark.parametrize("workers", [1, 4])
async def test_cancelling_a_wait_loses_nothing(workers: int) -> None:
    ds = Recorder(6)
    ds.gate.clear()
    async with aiter(data.DataLoader(ds, 2, num_workers=workers)) as batches:
        with trio.move_on_after(0.02):
            await anext(batches)
        ds.gate.set()
        with trio.fail_after(PATIENCE):
            assert [(await y.numpy()).tolist() async for _, y in batches] == [[0, 1], [2, 3], [4, 5]]
    assert not threads()


@pytest.mark.trio
@pytest.mark.parametrize("workers", [1, 4])
async def test_a_cancelled_nursery_ends_the_threads(workers: int) -> None:
    ds = Recorder(1000)

    async def read() -> None:
        async with aiter(data.DataLoader(ds, 2, num_workers=workers)) as batches:
            async for _ in batches:
                await trio.sleep_forever()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.02)
            nursery.cancel_scope.cancel()
    assert not threads()


@pytest.mark.trio
@pytest.mark.parametrize("workers", WORKERS)
async def test_an_error_comes_in_its_turn(workers: int) -> None:
    seen: list[int] = []
    with pytest.raises(KeyError, match="broken item") as caught:
        async for _, labels in data.DataLoader(Recorder(12, bad=7), 3, num_workers=workers):
            seen += (await labels.numpy()).tolist()
    assert seen == [0, 1, 2, 3, 4, 5]
    assert caught.value.__notes__[0] == "raised by item 7 of the Recorder"
    assert "__getitem__" in [entry.name for entry in caught.traceback]
    assert not threads()


@pytest.mark.trio
@pytest.mark.parametrize("workers", WORKERS)
async def test_an_empty_dataset(workers: int) -> None:
    assert [batch async for batch in data.DataLoader(Recorder(0), 3, shuffle=True, num_workers=workers)] == []


@pytest.mark.trio
async def test_a_plain_loop_that_would_block_says_so() -> None:
    ds = Recorder(4)
    ds.gate.clear()
    batches = iter(data.DataLoader(ds, 2, num_workers=1))
    with pytest.raises(rt.BlockingInTrio, match="use `async for`"):
        next(batches)
    ds.gate.set()
    with trio.fail_after(PATIENCE):
        assert len([b async for b in batches]) == 2


@pytest.mark.trio
async def test_the_loop_gone_with_a_task_that_waits() -> None:
    """A worker that finishes after its Trio run is over: nobody is woken, nothing breaks."""
    ds = Recorder(4)
    ds.gate.clear()

    async def wait_a_little(batches: data.Batches) -> None:
        with trio.move_on_after(0.01):
            await anext(batches)

    batches = iter(data.DataLoader(ds, 2, num_workers=1))
    await trio.to_thread.run_sync(trio.run, wait_a_little, batches)
    ds.gate.set()
    with trio.fail_after(PATIENCE):
        assert len([b async for b in batches]) == 2


@pytest.mark.parametrize("workers", [1, 4])
def test_a_run_ends_after_the_threads_of_a_loop_it_left(workers: int) -> None:
    """Also one that was left by ``break``, without a word."""
    ds = Recorder(1000)

    async def leave() -> None:
        async for _ in data.DataLoader(ds, 2, num_workers=workers):
            break

    trio.run(leave)
    gc.collect()
    assert not threads() and len(ds.fetched) < 50
    assert threading.active_count() < 20


@pytest.mark.trio
async def test_memory_is_bounded(device: str) -> None:
    nbytes = 1 << 16
    loader = data.DataLoader(range(40), 1, num_workers=2, device=device, collate_fn=lambda _: np.zeros(nbytes, np.uint8))
    await rt.synchronize(device)
    before, most = rt.statistics(device).bytes_in_use, 0
    async for batch in loader:
        del batch
        most = max(most, rt.statistics(device).bytes_in_use - before)
    assert most <= 5 * nbytes
