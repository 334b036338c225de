"""The same step again and again: one submission, no allocation, no new pipeline, plan, recording or memory."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import rasptorch as rt
from rasptorch.runtime.manual_driver import ManualDriver, manual_device
from tests.support.counting import counting


class Training:
    """A small network, plain gradient descent, the loss read at the end of each step."""

    def __init__(self, device: Any) -> None:
        rng = np.random.default_rng(0)

        def values(*shape: int) -> rt.Tensor:
            return rt.tensor((rng.standard_normal(shape) * 0.3).astype(np.float32), device=device)

        self.x, self.target = values(16, 8), values(16, 1)
        self.weights = [values(8, 12).requires_grad_(), values(12, 1).requires_grad_()]

    def loss(self) -> rt.Tensor:
        first, second = self.weights
        return (((self.x @ first).relu() @ second - self.target) ** 2).mean()

    def enqueue(self) -> rt.Tensor:
        loss = self.loss()
        loss.backward()
        with rt.no_grad():
            for w in self.weights:
                assert w.grad is not None
                w.sub_(0.05 * w.grad)
                w.grad = None
        return loss.detach()

    def step(self) -> float:
        return float(self.enqueue().item())


@pytest.mark.every_driver
def test_a_step_costs_one_submission_and_nothing_new(device: str) -> None:
    training = Training(device)
    losses = [training.step() for _ in range(6)]
    for _ in range(5):
        with counting(device) as n:
            losses.append(training.step())
        assert (n.submissions, n.plan_hits, n.plan_misses) == (1, 1, 0)
        assert (n.allocations, n.bytes_in_use, n.bytes_reserved) == (0, 0, 0)
        assert (n.pipelines_created, n.recordings_made, n.recordings_reused) == (0, 0, 1)
        assert (n.uploads, n.readbacks, n.waits <= 1) == (0, 1, True)
    assert sorted(losses, reverse=True) == losses


def test_steps_in_flight_reuse_what_is_idle(device: str) -> None:
    training = Training(device)
    for _ in range(12):
        training.enqueue()
        rt.device(device).default_stream.flush()
    rt.synchronize(device)
    with counting(device) as n:
        for _ in range(12):
            training.enqueue()
            rt.device(device).default_stream.flush()
        rt.synchronize(device)
    assert (n.submissions, n.plan_hits, n.allocations, n.pipelines_created) == (12, 12, 0, 0)


def test_two_thousand_steps_stay_flat(device: str) -> None:
    training = Training(device)
    for _ in range(20):
        training.step()
    gc.collect()
    objects = len(gc.get_objects())
    with counting(device) as n:
        for _ in range(2000):
            training.step()
    gc.collect()
    assert (n.submissions, n.allocations, n.bytes_in_use, n.bytes_reserved) == (2000, 0, 0, 0)
    assert n.plan_misses == 0 and n.recordings_made <= 2
    assert len(gc.get_objects()) < objects + 200


def test_shapes_that_come_back_cost_nothing_new(device: str) -> None:
    def work(rows: int) -> None:
        x = rt.ones(rows, 10, device=device)
        ((x * 2).sum(1) + 1).numpy()

    for _ in range(3):
        for rows in (3, 17, 100):
            work(rows)
    with counting(device) as n:
        for _ in range(20):
            for rows in (3, 17, 100):
                work(rows)
    assert (n.plan_misses, n.allocations, n.pipelines_created, n.bytes_in_use) == (0, 0, 0, 0)


def test_ever_new_shapes_stay_bounded() -> None:
    with manual_device(ManualDriver(automatic=True)) as (device, driver):
        for rows in range(1, 400):
            x = rt.ones(rows, 7, device=device)
            (x * 2 + 1).sum().item()
        assert len(device.plans._plans) <= 256
        assert driver.allocated <= 3 * 16 * 2**20
