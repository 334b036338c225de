"""Memory: no more than has to be alive, the same bytes again and again, and nothing that grows in a long run."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rasptorch as rt
from rasptorch import Tensor, nn
from rasptorch.nn import functional as F
from rasptorch.runtime import device as devices
from rasptorch.runtime import settings
from rasptorch.runtime.device import Device
from rasptorch.runtime.host.driver import HostDriver
from rasptorch.runtime.manual_driver import ManualDriver, manual_device
from rasptorch.runtime.vulkan.driver import open_driver
from tests.support.compare import assert_close
from tests.support.counting import counting

from .looking import here, planned

FLOAT = 4  # bytes


def peak_of(device: str, work: Callable[[], object]) -> int:
    """The most bytes in use while ``work`` runs, what was there before included."""
    found = rt.device(device)
    rt.synchronize(device)
    gc.collect()
    found.statistics.bytes_peak = rt.statistics(device).bytes_in_use
    work()
    rt.synchronize(device)
    return rt.statistics(device).bytes_peak


# -- a deep model -------------------------------------------------------------------------------------------------
def must_be_alive(layers: int, width: int, batch: int) -> int:
    """Bytes at the worst moment of forward and backward of ``layers`` times Linear and ReLU.

    Before backward of layer ``k`` (1 is the first): all parameters; the gradients of the layers after ``k``; the input, and the
    ReLU's result of each layer up to ``k``, where the last one serves as ReLU's mask and all others as inputs; and what the step
    itself works on: the gradient of layer ``k``'s result and the one it makes of that.
    """
    parameters = FLOAT * (width * width + width)
    activation = FLOAT * batch * width
    moments = [
        layers * parameters + (layers - k) * parameters + (1 + k) * activation + 2 * activation for k in range(1, layers + 1)
    ]
    at_the_end = 2 * layers * parameters + activation
    return max(*moments, at_the_end)


@pytest.mark.parametrize(("width", "batch"), [(256, 32), (256, 256), (128, 512)])
def test_a_deep_model_needs_what_must_be_alive(device: str, width: int, batch: int) -> None:
    layers = 50
    model = nn.Sequential(*(part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU()))).to(device)
    x = rt.rand(batch, width, device=device)
    held = rt.statistics(device).bytes_in_use
    rt.synchronize(device)

    def train() -> None:
        (model(x) * 1e-3).sum().backward()

    for _ in range(2):
        model.zero_grad()
        with counting(device) as n:
            peak = peak_of(device, train)
        assert n.submissions == 1
        mine = peak - (held - min(held, rt.statistics(device).bytes_in_use))
        assert mine <= 1.15 * must_be_alive(layers, width, batch)
    model.zero_grad()


def test_gradients_that_lie_in_the_arena_are_right(device: str) -> None:
    """Where gradients share memory with what was there before them, they are the same as one command at a time."""
    rt.manual_seed(3)
    model = nn.Sequential(*(part for _ in range(12) for part in (nn.Linear(256, 256), nn.ReLU()))).to(device)
    x = rt.randn(256, 256, device=device)

    def train() -> list[Tensor]:
        model.zero_grad()
        model(x).sum().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    _, plan = planned(device, train)
    assert len(plan.carved) >= 10
    fused = [g.numpy() for g in train()]
    with settings.override(fuse=False):
        alone = [g.numpy() for g in train()]
    assert len(fused) == 24
    for one, other in zip(fused, alone, strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_what_the_user_keeps_does_not_pin_the_arena(device: str) -> None:
    """A loss kept from every step costs its own bytes, not the memory around it."""
    model = nn.Sequential(*(part for _ in range(16) for part in (nn.Linear(256, 256), nn.ReLU()))).to(device)
    update = rt.optim.SGD(model.parameters(), lr=1e-6)
    x = rt.rand(64, 256, device=device)
    losses = []
    for k in range(40):
        update.zero_grad()
        loss = model(x).sum()
        loss.backward()
        update.step()
        losses.append(loss.detach())
        if k == 10:
            rt.synchronize(device)
            reserved = rt.statistics(device).bytes_reserved
    rt.synchronize(device)
    assert max(len(plan.carved) for plan in rt.device(device).plans._plans.values()) >= 16
    assert rt.statistics(device).bytes_reserved == reserved
    assert all(np.isfinite(loss.numpy()) for loss in losses)


# -- the arena ----------------------------------------------------------------------------------------------------
def test_temporaries_take_turns(device: str) -> None:
    """Nine products in a row need two places, however many there are."""
    x = here(np.eye(64, dtype=np.float32), device)

    def chain() -> Tensor:
        out = x
        for _ in range(10):
            out = out @ x
        return out

    out, plan = planned(device, chain)
    assert len(plan.kernels) == 10 and len(plan.offsets) == 9
    assert plan.arena == 2 * FLOAT * 64 * 64
    assert_close(out, np.eye(64, dtype=np.float32))


@pytest.mark.every_driver
def test_an_elementwise_kernel_writes_where_it_reads_for_the_last_time(device: str) -> None:
    x = here(np.ones((64, 64), np.float32), device)

    def long() -> Tensor:
        out = x
        for k in range(240):
            out = out * 1.01 - 0.01 if k % 2 else -(-out)
        return out

    out, plan = planned(device, long)
    assert len(plan.kernels) >= 4 and len(plan.offsets) == len(plan.kernels) - 1
    assert plan.arena == FLOAT * 64 * 64, "one place, taken over from kernel to kernel"
    assert [kernel.donated for kernel in plan.kernels] == [False, *[True] * (len(plan.kernels) - 2), False]
    assert_close(out, np.ones((64, 64), np.float32), rtol=1e-4)


@pytest.mark.every_driver
def test_products_write_over_what_their_epilogues_read(device: str) -> None:
    a = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32) / 8
    x = here(a, device)

    def residual() -> Tensor:
        out = x @ x
        for _ in range(4):
            out = (out.tanh() @ x) + out  # the sum reads `out` at the very place it writes
        return out @ x

    out, plan = planned(device, residual)
    want = a @ a
    for _ in range(4):
        want = np.tanh(want) @ a + want
    assert_close(out, want @ a, rtol=1e-4, atol=1e-5)
    assert any(kernel.donated for kernel in plan.kernels)


def test_nothing_is_taken_over_that_is_read_elsewhere(device: str) -> None:
    """Broadcast, transposed and shifted reads see elements that another invocation would have replaced."""
    a = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    x = here(a, device)

    def crossed() -> Tensor:
        out = x @ x
        out = out + out.mT
        out = out @ x
        return out + out[0]

    out, plan = planned(device, crossed)
    want = a @ a
    want = (want + want.T) @ a
    assert_close(out, want + want[0], rtol=1e-4, atol=1e-4)
    assert not any(kernel.donated for kernel in plan.kernels)


def test_the_arena_goes_back_in_the_order_of_the_stream() -> None:
    """The next batch of the same stream may have it while the one before still runs; peak memory shows that it does."""
    with manual_device(ManualDriver()) as (device, driver):
        x = rt.rand(64, 64, device=device)
        device.flush()
        driver.finish_all()
        results = []
        for _ in range(3):
            out = x
            for _ in range(6):
                out = out @ x
            results.append(out)
            device.default_stream.submit()
        assert len(driver.unfinished) == 3
        held = 4 * FLOAT * 64 * 64 + 2 * FLOAT * 64 * 64  # x, three results, one arena
        assert rt.statistics(device).bytes_peak <= held
        driver.finish_all()
        first = results[0].numpy()
        for other in results[1:]:
            np.testing.assert_array_equal(other.numpy(), first)


# -- long runs ----------------------------------------------------------------------------------------------------
def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def train_for(device: str, steps: int) -> None:
    """Train; after a tenth of the steps nothing is planned, recorded or allocated any more, and nothing grows."""
    rt.manual_seed(1)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 5)).to(device)
    update = rt.optim.Adam(model.parameters(), lr=1e-3)
    x, y = rt.randn(16, 20, device=device), here(np.arange(16) % 5, device)

    def step() -> Tensor:
        update.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        update.step()
        return loss

    first = float(step().detach())
    for _ in range(max(steps // 10, 40)):
        loss = step()  # kept while the next one is made, as below
    rt.synchronize(device)
    gc.collect()
    rss, reserved = resident(), rt.statistics(device).bytes_reserved
    with counting(device) as n:
        for _ in range(steps):
            loss = step()
        rt.synchronize(device)
    gc.collect()
    assert (n.submissions, n.plan_hits, n.plan_misses) == (steps, steps, 0)
    # Where a recording can only run once at a time, one more may be needed when more submissions than before are in flight.
    more = 0 if rt.device(device).driver.traits.reentrant_recordings else settings.current.in_flight + 1
    assert n.recordings_made <= more and n.recordings_made + n.recordings_reused == steps
    assert (n.allocations, n.pipelines_created, n.bytes_reserved) == (0, 0, 0)
    assert abs(n.bytes_in_use) < 1024
    assert rt.statistics(device).bytes_reserved == reserved
    assert resident() - rss < 8 << 20
    assert float(loss.detach()) < first


def test_a_steady_state(device: str) -> None:
    train_for(device, 500)


@pytest.mark.slow
def test_ten_thousand_steps(device: str) -> None:
    train_for(device, 10_000)


def test_temporaries_that_no_single_allocation_holds(device: str) -> None:
    """A device gives 1 MiB at a time at most; the temporaries that live at once need three."""
    driver = devices.get(device).driver
    narrow = HostDriver() if device == "cpu" else open_driver(device)[0]
    narrow.traits = replace(driver.traits, max_block=1 << 20)
    small = Device(f"{device} with small blocks", narrow)
    rng = np.random.default_rng(0)
    x, *weights = (rng.standard_normal((300, 300), np.float32) / 17 for _ in range(9))

    def run(x: Any, weights: Sequence[Any]) -> Any:
        products = [x @ w for w in weights]  # all alive until the last of them is used
        total = products[0]
        for p in products[::-1]:
            total = total @ p
        return total

    with settings.override(pool_block=1 << 20):
        got = run(rt.tensor(x, device=small), [rt.tensor(w, device=small) for w in weights]).numpy()
        (plan,) = [p for p in small.plans._plans.values() if len(p.kernels) == 16]
        assert plan.arena > 2 << 20 and max(plan.arenas()) <= 1 << 20
    np.testing.assert_allclose(got, run(x.astype(np.float64), [w.astype(np.float64) for w in weights]), rtol=1e-3, atol=1e-5)
    small.close()
