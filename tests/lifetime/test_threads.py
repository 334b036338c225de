"""Storages made in one thread and used in others, and several threads on one device at once."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

import numpy as np

import rasptorch as rt
from tests.support.manual import PATIENCE, started


def in_threads(work: Callable[[int], Any], count: int) -> list[Any]:
    running = [started(lambda k=k: work(k)) for k in range(count)]  # type: ignore[misc]
    return [thread.result(PATIENCE) for thread in running]


def test_tensors_travel_between_threads(device: str) -> None:
    stages: list[queue.Queue[Any]] = [queue.Queue() for _ in range(4)]

    def work(k: int) -> list[Any]:
        results = []
        for _ in range(20):
            x = stages[k].get(timeout=PATIENCE) * 2 + k
            if k < 3:
                stages[k + 1].put(x)
            else:
                results.append(x.numpy())
            del x
        return results

    running = [started(lambda k=k: work(k)) for k in range(4)]  # type: ignore[misc]
    for k in range(20):
        stages[0].put(rt.full((300,), float(k), device=device))
    results = [r.result(PATIENCE) for r in running][3]
    for k, array in enumerate(results):
        np.testing.assert_array_equal(array, np.full(300, ((k * 2 * 2 + 1) * 2 + 2) * 2 + 3, np.float32))


def test_several_threads_hammer_one_device(device: str) -> None:
    shared = rt.tensor(np.arange(256, dtype=np.float32), device=device)

    def work(k: int) -> bool:
        rng = np.random.default_rng(k)
        for _ in range(15):
            data = rng.standard_normal((16, 16)).astype(np.float32)
            x = rt.tensor(data, device=device)
            y = (x @ x).relu().sum(0)
            z = shared + float(k)
            np.testing.assert_allclose(y.numpy(), np.maximum(data @ data, 0).sum(0), rtol=1e-4, atol=1e-4)
            np.testing.assert_array_equal(z.numpy(), np.arange(256, dtype=np.float32) + k)
        return True

    assert in_threads(work, 5) == [True] * 5


def test_threads_on_streams_of_their_own(device: str) -> None:
    found = rt.device(device)
    shared = rt.full((1000,), 2.0, device=device)

    def work(k: int) -> float:
        with found.using(found.new_stream()):
            x = shared * float(k)
            for _ in range(30):
                x = x + shared
            return float(x[0].item())

    assert in_threads(work, 4) == [2.0 * k + 60 for k in range(4)]


def test_one_tensor_written_by_many_threads(device: str) -> None:
    x = rt.zeros(100, device=device)

    def work(k: int) -> None:
        for _ in range(50):
            x.add_(1.0)

    in_threads(work, 4)
    assert x.tolist() == [200.0] * 100


def test_training_in_threads(device: str) -> None:
    def work(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        x = rt.tensor(rng.standard_normal((8, 4)).astype(np.float32), device=device)
        w = rt.zeros(4, 1, device=device, requires_grad=True)
        target = rt.tensor(rng.standard_normal((8, 1)).astype(np.float32), device=device)
        for _ in range(10):
            loss = ((x @ w - target) ** 2).mean()
            loss.backward()
            with rt.no_grad():
                assert w.grad is not None
                w -= 0.1 * w.grad
            w.grad = None
        return list(w.detach().numpy()[:, 0])

    together = in_threads(work, 4)
    for seed in range(4):
        np.testing.assert_array_equal(together[seed], work(seed))


def test_a_thread_that_dies_leaves_its_tensors(device: str) -> None:
    def make() -> rt.Tensor:
        return rt.full((64,), 9.0, device=device) + 1

    x = started(make).result(PATIENCE)
    assert x.tolist() == [10.0] * 64


def test_tensors_that_die_in_other_threads(device: str) -> None:
    before = rt.statistics(device).bytes_in_use
    for _ in range(20):
        box = [rt.full((512,), 1.0, device=device) * 3]
        box[0].numpy()
        started(box.clear).result(PATIENCE)
    rt.synchronize(device)
    assert rt.statistics(device).bytes_in_use == before


def test_opening_a_device_in_many_threads(device: str) -> None:
    assert len({id(found) for found in in_threads(lambda k: rt.device(device), 6)}) == 1
