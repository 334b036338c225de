"""Captured functions: a replay is what another call would have been, only cheaper; what cannot be replayed is an error."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import rasptorch as rt
from rasptorch import Tensor, nn
from rasptorch.nn import functional as F
from rasptorch.runtime import settings
from rasptorch.runtime.capture import CaptureError
from rasptorch.runtime.manual_driver import ManualDriver, manual_device
from tests.support.compare import assert_close
from tests.support.counting import counting
from tests.support.manual import PATIENCE, Manual, started

from .looking import here, ramp


# -- values -------------------------------------------------------------------------------------------------------
@pytest.mark.every_driver
def test_a_replay_computes_with_the_new_inputs(device: str) -> None:
    calls = []

    @rt.capture
    def f(x: Tensor, y: Tensor) -> Tensor:
        calls.append(x.shape)
        return (x * y + 1).sum(0) @ y.mT

    for k in range(5):
        a = np.random.default_rng(k).standard_normal((2, 3, 4)).astype(np.float32)
        x, y = here(a[0], device), here(a[1], device)
        with counting(device) as n:
            out = f(x, y)
            rt.device(device).flush()
        assert n.submissions == 1
        assert_close(out, (a[0] * a[1] + 1).sum(0) @ a[1].T, rtol=1e-5, atol=1e-5)
    assert f.captures == len(calls) == 1


def test_results_of_earlier_replays_stay(device: str) -> None:
    @rt.capture
    def f(x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, x.sum()

    made = [f(here(np.full(5, float(k), np.float32), device)) for k in range(6)]
    for k, (double, total) in enumerate(made):
        assert double.tolist() == [2.0 * k] * 5 and total.item() == 5.0 * k


def test_results_feed_the_next_replay(device: str) -> None:
    f = rt.capture(lambda x: x * 2 + 1)
    x, expected = ramp(4, device), np.arange(4, dtype=np.float32)
    for _ in range(8):
        x, expected = f(x), expected * 2 + 1
    assert x.tolist() == expected.tolist()


def test_inputs_of_other_forms_are_captured_afresh(device: str) -> None:
    @rt.capture
    def f(x: Tensor, factor: float = 2.0, *, shift: int = 0) -> Tensor:
        return x * factor + shift

    a = ramp(12, device)
    assert f(a).tolist()[-1] == 22 and f.captures == 1
    assert f(a.reshape(3, 4)).tolist()[-1][-1] == 22 and f.captures == 2
    assert f(a[::2]).tolist()[-1] == 20 and f.captures == 3  # other strides
    assert f(a[3:7]).tolist() == [6, 8, 10, 12] and f.captures == 4  # another offset
    assert f(a.to(rt.int32)).tolist()[-1] == 22 and f.captures == 5
    assert f(a, 3.0).tolist()[-1] == 33 and f.captures == 6
    assert f(a, shift=1).tolist()[-1] == 23 and f.captures == 7
    for again in (lambda: f(a), lambda: f(a.reshape(3, 4)), lambda: f(a[3:7]), lambda: f(a, 3.0)):
        again()
    assert f.captures == 7


def test_equal_values_of_other_types_are_others(device: str) -> None:
    f = rt.capture(lambda x, k: x * k)
    x = here(np.arange(3, dtype=np.int32), device)
    results = [f(x, k) for k in (1, 1.0, True)]
    assert [r.dtype for r in results] == [rt.int32, rt.float32, rt.int32] and f.captures == 3
    g = rt.capture(lambda x, zero: x * zero)
    ones = here(np.ones(2, np.float32), device)
    assert np.signbit(g(ones, 0.0).numpy()).tolist() == [False, False]
    assert np.signbit(g(ones, -0.0).numpy()).tolist() == [True, True]
    assert np.isnan(g(ones, float("nan")).numpy()).all() and np.isnan(g(ones, float("nan")).numpy()).all()
    assert g.captures == 3


def test_the_oldest_forms_are_forgotten(device: str) -> None:
    f = rt.capture(lambda x, k: x + k)
    x = ramp(2, device)
    for k in range(20):
        assert f(x, k).tolist() == [k, k + 1]
    assert f.captures == 20
    f(x, 19)
    assert f.captures == 20
    f(x, 0)
    assert f.captures == 21


class Pair(NamedTuple):
    one: Tensor
    other: Any


def test_nested_arguments_and_results(device: str) -> None:
    @rt.capture
    def f(batch: dict[str, Any], *rest: Any) -> Any:
        x, (y, k) = batch["x"], batch["more"]
        return {"sum": x + y * k, "list": [x, None, "text", 1.5], "pair": Pair(x - y, 3)}, rest

    for k in range(3):
        x, y = here(np.full(2, k, np.float32), device), ramp(2, device)
        made, rest = f({"x": x, "more": (y, 2)}, y)
        assert made["sum"].tolist() == [k, k + 2] and made["list"][1:] == [None, "text", 1.5]
        assert made["list"][0].tolist() == [k, k] and isinstance(made["pair"], Pair)
        assert made["pair"].one.tolist() == [k, k - 1] and made["pair"].other == 3
        assert isinstance(rest, tuple) and rest[0].tolist() == [0, 1]
    assert f.captures == 1
    with pytest.raises(CaptureError, match="tensors and hashable values, not set"):
        f({1, 2})


def test_results_that_are_inputs_views_or_from_outside(device: str) -> None:
    weight = ramp(4, device)
    f = rt.capture(lambda x: (x, x[1:3], weight, weight[2:], x.add_(1)))
    for k in range(3):
        x = here(np.full(4, 10.0 * k, np.float32), device)
        same, part, outside, piece, changed = f(x)
        assert same.storage is x.storage and part.storage is x.storage and changed.storage is x.storage
        assert outside.storage is weight.storage and piece.storage is weight.storage
        assert part.tolist() == [10 * k + 1] * 2 and piece.tolist() == [2, 3] and x.tolist() == [10 * k + 1] * 4
    assert f.captures == 1


def test_inputs_written_in_place(device: str) -> None:
    @rt.capture
    def f(x: Tensor) -> Tensor:
        x.mul_(2)
        x[:2].add_(1)
        return x.sum()

    for k in range(4):
        x = here(np.full(4, float(k), np.float32), device)
        version = x.storage.version
        assert f(x).item() == 8 * k + 2
        assert x.tolist() == [2 * k + 1] * 2 + [2 * k] * 2
        assert x.storage.version > version, "autograd must see that its values changed"


def test_a_value_being_read_is_not_overwritten_by_a_replay(device: str) -> None:
    total = here(np.zeros(3, np.float32), device)
    f = rt.capture(lambda x: total.add_(x))
    later = []
    for k in range(5):
        f(here(np.full(3, 1.0 + k, np.float32), device))
        later.append(total.readback())
    assert [r.wait().tolist()[0] for r in later] == [1, 3, 6, 10, 15]


def test_views_as_inputs(device: str) -> None:
    f = rt.capture(lambda x, y: x @ y)
    for k in range(3):
        base = np.random.default_rng(k).standard_normal((5, 6)).astype(np.float32)
        t = here(base, device)
        assert_close(f(t[1:4], t.mT), base[1:4] @ base.T, rtol=1e-5, atol=1e-5)
    assert f.captures == 1


def test_inputs_that_share_memory_are_another_form(device: str) -> None:
    @rt.capture
    def f(x: Tensor, y: Tensor) -> Tensor:
        x.add_(1)
        return y * 10

    x, y = ramp(3, device), ramp(3, device)
    assert f(x, y).tolist() == [0, 10, 20] and f.captures == 1
    assert f(x, x).tolist() == [20, 30, 40] and f.captures == 2
    assert f(y, x).tolist() == [20, 30, 40] and f.captures == 2


def test_an_input_that_the_function_also_uses_by_itself(device: str) -> None:
    """What was captured took the two for different tensors: it would not see what it writes."""
    state = ramp(3, device)

    @rt.capture
    def f(x: Tensor) -> Tensor:
        state.add_(1)
        return x * 10

    assert f(ramp(3, device)).tolist() == [0, 10, 20]
    assert f(state).tolist() == [20, 30, 40]
    assert f(ramp(3, device)).tolist() == [0, 10, 20] and state.tolist() == [3, 4, 5]


def test_nothing_to_run(device: str) -> None:
    f = rt.capture(lambda x, k: (x[k:], k), device=device)
    for k in (0, 1, 1):
        part, same = f(ramp(3, device), k)
        assert part.tolist() == [0, 1, 2][k:] and same == k
    assert f.captures == 2


def test_without_inputs(device: str) -> None:
    counter = here(np.zeros(1, np.float32), device)
    f = rt.capture(lambda: counter.add_(1) * 2, device=device)
    assert [f().item() for _ in range(4)] == [2, 4, 6, 8]
    assert f.captures == 1 and f.__name__ == "<lambda>"


# -- random numbers -----------------------------------------------------------------------------------------------
@pytest.mark.every_driver
def test_random_numbers_advance_as_in_eager_calls(device: str) -> None:
    def draw(x: Tensor) -> tuple[Tensor, ...]:
        return rt.rand(4, device=device) + x, rt.randn(3, device=device), F.dropout(x.expand(64), 0.5)

    f, x = rt.capture(draw), here(np.ones(1, np.float32), device)
    rt.manual_seed(11)
    eager = [[t.numpy() for t in draw(x)] for _ in range(4)]
    rt.manual_seed(11)
    replayed = [[t.numpy() for t in f(x)] for _ in range(4)]
    assert f.captures == 1
    for one, other in zip(eager, replayed, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not (replayed[0][2] == replayed[1][2]).all()


def test_a_generator_of_ones_own(device: str) -> None:
    generator = rt.Generator(3)
    f = rt.capture(lambda: rt.rand(5, generator=generator, device=device), device=device)
    first, second = f().numpy(), f().numpy()
    generator.manual_seed(3)
    np.testing.assert_array_equal(f().numpy(), first)
    np.testing.assert_array_equal(f().numpy(), second)


# -- training -----------------------------------------------------------------------------------------------------
OPTIMIZERS: list[tuple[str, Callable[[Any], rt.optim.Optimizer]]] = [
    ("sgd", lambda p: rt.optim.SGD(p, lr=0.05)),
    ("momentum", lambda p: rt.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.3, weight_decay=1e-2)),
    ("nesterov", lambda p: rt.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True)),
    ("adam", lambda p: rt.optim.Adam(p, lr=0.01)),
    ("amsgrad", lambda p: rt.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=1e-2)),
    ("adamw", lambda p: rt.optim.AdamW(p, lr=0.01)),
]


class Training:
    """A small network with dropout, its optimiser and a step; seeded, so that two of them do the same."""

    def __init__(self, device: str, make: Callable[[Any], rt.optim.Optimizer]) -> None:
        rt.manual_seed(2)
        self.model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.25), nn.Linear(16, 3)).to(device)
        self.update = make(self.model.parameters())

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        self.update.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        self.update.step()
        return loss

    def state(self) -> list[Any]:
        return [p.detach().numpy() for p in self.model.parameters()]

    def gradients(self) -> list[Any]:
        return [p.grad.numpy() for p in self.model.parameters() if p.grad is not None]


@pytest.mark.parametrize("make", [m for _, m in OPTIMIZERS], ids=[name for name, _ in OPTIMIZERS])
def test_captured_training_is_training(device: str, make: Callable[[Any], rt.optim.Optimizer]) -> None:
    """Bias corrections, step counts, momentum, dropout and a learning rate that changes on the way."""
    random = np.random.default_rng(5)
    batches = [
        (random.standard_normal((8, 6)).astype(np.float32), random.integers(0, 3, 8).astype(np.int32)) for _ in range(12)
    ]
    outcomes = []
    for captured in (False, True):
        training = Training(device, make)
        step = rt.capture(training.step) if captured else training.step
        rt.manual_seed(9)
        losses = []
        for k, (x, y) in enumerate(batches):
            if k == 6:
                training.update.param_groups[0]["lr"] = 0.002
            losses.append(float(step(here(x, device), here(y, device)).detach().numpy()))
        outcomes.append((losses, training.state(), training.gradients()))
        if captured:
            assert step.captures == 1
    (losses, state, gradients), (replayed, its_state, its_gradients) = outcomes
    assert_close(np.array(replayed), np.array(losses), rtol=1e-5)
    assert len(gradients) == len(its_gradients) == 4
    for one, other in zip((*state, *gradients), (*its_state, *its_gradients), strict=True):
        assert_close(other, one, rtol=1e-4, atol=1e-6)


def test_capturing_may_begin_in_the_middle(device: str) -> None:
    x, y = here(np.ones((8, 6), np.float32), device), here(np.arange(8) % 3, device)
    states = []
    for captured in (False, True):
        training = Training(device, OPTIMIZERS[3][1])
        training.model.eval()
        step = rt.capture(training.step) if captured else training.step
        for k in range(9):
            # A change to eager calls and back: both go on from where the other was.
            (step if k in (2, 3, 4, 7) else training.step)(x, y)
        states.append(training.state())
    for one, other in zip(*states, strict=True):
        assert_close(other, one, rtol=1e-5, atol=1e-6)


def test_gradients_as_results(device: str) -> None:
    weight = here(np.full((3, 2), 0.5, np.float32), device).requires_grad_()

    @rt.capture
    def f(x: Tensor) -> tuple[Tensor | None, ...]:
        loss = ((x @ weight) ** 2).sum()
        return rt.autograd.grad(loss, [weight, x])

    for k in range(3):
        a = np.random.default_rng(k).standard_normal((4, 3)).astype(np.float32)
        by_weight, by_x = f(here(a, device).requires_grad_())
        slope = 2 * (a @ np.full((3, 2), 0.5, np.float32))
        assert_close(by_weight, a.T @ slope, rtol=1e-4, atol=1e-5)
        assert_close(by_x, slope @ np.full((2, 3), 0.5, np.float32), rtol=1e-4, atol=1e-5)
    assert f.captures == 1


def test_results_have_no_history_and_keep_none(device: str) -> None:
    """A forward pass alone does not keep what a backward pass would have needed."""
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(8))).to(device)
    f = rt.capture(lambda x: model(x).sum())
    x = rt.rand(256, 64, device=device)
    rt.synchronize(device)
    before = rt.statistics(device).bytes_in_use
    for _ in range(3):
        out = f(x)
        assert not out.requires_grad and out.node is None
    rt.synchronize(device)
    assert rt.statistics(device).bytes_in_use - before < 3 * 4 * 256 * 64


# -- what it costs ------------------------------------------------------------------------------------------------
def test_a_replay_is_one_submission_and_nothing_else(device: str) -> None:
    training = Training(device, OPTIMIZERS[3][1])
    step = rt.capture(training.step)
    x, y = here(np.ones((8, 6), np.float32), device), here(np.arange(8) % 3, device)
    for _ in range(30):
        loss = step(x, y)
    rt.synchronize(device)
    with counting(device) as n:
        for _ in range(50):
            loss = step(x, y)
        rt.synchronize(device)
    assert np.isfinite(loss.numpy())
    assert (n.submissions, n.allocations, n.plan_misses, n.pipelines_created) == (50, 0, 0, 0)
    more = 0 if rt.device(device).driver.traits.reentrant_recordings else settings.current.in_flight + 1
    assert n.recordings_made <= more and n.recordings_made + n.recordings_reused == 50
    assert n.commands > 50 * 20, "commands are counted as if each had been enqueued"


def test_replaying_only_enqueues(manual: Manual) -> None:
    device, driver = manual
    f = rt.capture(lambda x: x * 2 + 1)
    x = rt.ones(3, device=device)
    with rt.forbid_waiting():
        made = [f(x) for _ in range(3)]
    assert len(driver.unfinished) == 4  # `x`, and three times the function
    driver.finish_all()
    assert [m.tolist() for m in made] == [[3, 3, 3]] * 3


def test_replays_have_back_pressure(manual: Manual) -> None:
    device, driver = manual
    f = rt.capture(lambda x: x * 2)
    x = rt.ones(3, device=device)

    def run() -> list[Tensor]:
        return [f(x) for _ in range(6)]

    with settings.override(in_flight=2):
        future = started(run)
        driver.until_waiting()
        assert len(driver.unfinished) == 3
        while not future.done():
            if driver.unfinished:
                driver.finish()
    driver.finish_all()
    assert [m.tolist() for m in future.result(PATIENCE)] == [[2, 2, 2]] * 6


def test_a_captured_function_gives_back_what_it_held() -> None:
    with manual_device(ManualDriver(automatic=True)) as (device, _):
        f = rt.capture(lambda x: (x @ x).sum())
        x = rt.ones(32, 32, device=device)
        f(x)
        f(x)
        with settings.override(plan_cache=1):
            (x + 1).numpy()
            f(x)
            assert all(plan is not f._known for plan in device.plans._plans.values())
        (known,) = f._known.values()
        plan = known.captured._plan
        assert plan.recordings
        del f, known
        gc.collect()
        (x + 2).numpy()
        assert not plan.recordings, "recordings of a plan that only the captured function had"
