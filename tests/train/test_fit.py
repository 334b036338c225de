"""`fit` and `fit_async`: one training in two ways, and everything it can be told."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import trio

import rasptorch as rt
from rasptorch import data, nn, train
from rasptorch import functional as F
from rasptorch.optim import SGD
from tests.data.test_loader import threads
from tests.support.manual import PATIENCE, Manual

from .small import LABELS, POINTS, dataset, figures, loader, parameters, run, training

MODES = ("script", "trio")


def test_the_same_in_every_way(device: str) -> None:
    """Threads or none, a script or Trio: the same losses and parameters, to the last bit."""
    expected = None
    for mode in MODES:
        for workers in (0, 1, 4):
            arguments, options = training(device, workers)
            found = figures(run(mode, *arguments, **options)), parameters(arguments[0])
            expected = expected or found
            assert found == expected, (mode, workers)
    assert expected is not None and expected[0][-1]["loss"] < expected[0][0]["loss"]


def test_against_a_loop_by_hand(device: str) -> None:
    (net, optimizer, batches), _ = training(device, seed=5)
    losses, right = [], 0
    for x, y in data.DataLoader(dataset(), 8, shuffle=True, seed=5, transform=batches.transform, device=device):
        optimizer.zero_grad()
        out = net(x)
        loss = F.cross_entropy(out, y)
        loss.backward()
        optimizer.step()
        losses.append((float(loss), len(x)))
        right += int((out.detach().numpy().argmax(1) == y.numpy()).sum())
    expected = parameters(net)
    arguments, options = training(device, seed=5, epochs=1, val_loader=None)
    history = train.fit(*arguments, **options)
    assert parameters(arguments[0]) == expected
    assert history["loss"] == [pytest.approx(sum(loss * n for loss, n in losses) / 70, rel=1e-6)]
    assert history["accuracy"] == [pytest.approx(right / 70)] and history["epoch"] == [1] and history["lr"] == [0.02]


def test_validation_is_without_dropout_and_gradients(device: str) -> None:
    arguments, options = training(device, epochs=1)
    history = train.fit(*arguments, **options)
    net = arguments[0]
    assert net.training
    with rt.no_grad():
        out = net.eval()(rt.tensor(POINTS, device=device))
        assert history["val_loss"][0] == pytest.approx(F.cross_entropy(out, rt.tensor(LABELS, device=device)).item(), rel=1e-5)
    assert history["val_accuracy"][0] == pytest.approx((out.numpy().argmax(1) == LABELS).mean())


# -- waiting ------------------------------------------------------------------------------------------------------
class NoWaits(train.Callback):
    """From the first step of an epoch to its last, waiting is an error."""

    def __init__(self, steps: int) -> None:
        self.steps, self.seen = steps, 0
        self.block: Any = None

    def on_step_end(self, training: train.Training) -> None:
        self.seen += 1
        if training.batch == 1:
            self.block = rt.forbid_waiting()
            self.block.__enter__()
        if training.batch == self.steps:
            self.block.__exit__(None, None, None)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [0, 2])
def test_no_step_waits(mode: str, workers: int, device: str) -> None:
    """Log points included. The one wait allowed, for room, is not needed so early."""
    check = NoWaits(9)
    with rt.runtime.settings.override(in_flight=32):
        arguments, options = training(device, workers, callbacks=[check], log_every=2, progress=lambda line: None, epochs=2)
        run(mode, *arguments, **options)
    assert check.seen == 18


def test_a_step_is_one_submission(device: str) -> None:
    counts: list[Any] = []

    def note(training: train.Training) -> None:
        counts.append(rt.statistics(device))

    class AtSteps(train.Callback):
        def on_step_end(self, training: train.Training) -> None:
            note(training)

    arguments, options = training(device, callbacks=[AtSteps()], epochs=4)
    train.fit(*arguments, **options)
    spent = [b - a for a, b in pairwise(counts[27:35])]  # full batches of the last epoch
    assert [(s.submissions, s.plan_misses, s.readbacks, s.allocations) for s in spent] == [(1, 0, 0, 0)] * 7


@pytest.mark.trio
async def test_steps_are_enqueued_while_the_device_is_busy(manual: Manual) -> None:
    """Nothing of the first step is finished, and the loader and the next steps go on, as far as there is room."""
    device, driver = manual
    made: list[int] = []

    class Counted(data.Dataset[Any]):
        def __getitem__(self, index: int) -> Any:
            made.append(index)
            return POINTS[index], LABELS[index]

        def __len__(self) -> int:
            return 12

    (net, optimizer, _), _ = training(device)
    driver.finish_all()
    batches = data.DataLoader(Counted(), 2, num_workers=1, prefetch_factor=2)
    found: list[train.History] = []

    async def fitting() -> None:
        found.append(await train.fit_async(net, optimizer, batches, loss_fn=F.cross_entropy, device=device, progress=False))

    with trio.fail_after(PATIENCE), rt.runtime.settings.override(in_flight=2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fitting)
            while len(driver.unfinished) < 2 or len(made) < 8:
                await trio.sleep(0.001)
            await trio.sleep(0.02)
            # Two steps are in flight, none is done, and two more batches are there: no more than that.
            assert len(driver.unfinished) == 2 and made == list(range(8))
            while not found:
                if driver.unfinished:
                    driver.finish()
                await trio.sleep(0)
    assert made == list(range(12))


@pytest.mark.trio
async def test_fit_in_a_task_says_what_to_write() -> None:
    arguments, options = training("cpu")
    with pytest.raises(rt.BlockingInTrio, match="fit_async"):
        train.fit(*arguments, **options)


# -- what it can be told ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", MODES)
def test_any_iterable_is_a_loader(mode: str, device: str) -> None:
    pairs = [(POINTS[k : k + 10], LABELS[k : k + 10]) for k in range(0, 70, 10)]
    loaders = (
        pairs,
        [(rt.tensor(x), rt.tensor(y)) for x, y in pairs],
        [[torch.tensor(x), torch.tensor(y)] for x, y in pairs],
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(POINTS), torch.tensor(LABELS)), 10),
    )
    results = []
    for batches in loaders:
        (net, optimizer, _), options = training(device, epochs=2)
        results.append(figures(run(mode, net, optimizer, batches, **options)))
    assert all(r == results[0] for r in results)


def test_models_with_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x: Any, scale: Any) -> Any:
            return self.linear(x * scale)

    two = np.full((10, 1), 2.0, np.float32)
    losses = []
    for inputs in ((POINTS[:10], two), {"scale": two, "x": POINTS[:10]}):
        rt.manual_seed(0)
        net = Two()
        history = train.fit(net, SGD(net.parameters(), lr=0.1), [(inputs, LABELS[:10])], loss_fn=F.cross_entropy, progress=False)
        losses += history["loss"]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.drivers("lavapipe")
def test_the_model_is_brought_to_the_device(mode: str, device: str) -> None:
    arguments, options = training("cpu", epochs=1)
    run(mode, *arguments, **(options | {"device": device}))
    assert all(str(p.device) == device for p in arguments[0].parameters())


def test_a_scheduler_and_its_rhythm() -> None:
    class Halving:
        def __init__(self, optimizer: Any) -> None:
            self.optimizer, self.calls = optimizer, 0

        def step(self) -> None:
            self.calls += 1
            self.optimizer.param_groups[0]["lr"] /= 2

    class Plateau(Halving):
        def step(self, metrics: float) -> None:  # type: ignore[override]
            assert metrics > 0
            super().step()

    for kind, every, calls in ((Halving, "epoch", 3), (Halving, "step", 27), (Plateau, "epoch", 3)):
        arguments, options = training("cpu")
        scheduler = kind(arguments[1])
        history = train.fit(*arguments, **options, scheduler=scheduler, scheduler_every=every)
        assert scheduler.calls == calls
        assert history["lr"][0] == (0.02 if every == "epoch" else 0.02 / 2**9)


def test_early_stopping() -> None:
    losses = iter([3.0, 2.0, 2.0, 2.5, 2.0, 1.0])

    def put(training: train.Training) -> None:
        training.history[-1]["val_loss"] = next(losses)

    arguments, options = training("cpu", epochs=6)
    history = train.fit(*arguments, **options, callbacks=[put], early_stopping=2)
    assert history["val_loss"] == [3.0, 2.0, 2.0, 2.5]


def test_the_best_state_comes_back() -> None:
    states: list[Any] = []

    def put(training: train.Training) -> None:
        training.history[-1]["score"] = [1.0, 5.0, 4.0][training.epoch - 1]
        states.append(parameters(training.model))

    arguments, options = training("cpu")
    stopping = train.EarlyStopping("score", patience=5, mode="max", restore_best=True)
    train.fit(*arguments, **options, callbacks=[put], early_stopping=stopping)
    assert stopping.best_epoch == 2 and stopping.best == 5.0
    assert parameters(arguments[0]) == states[1] != states[2]
    with pytest.raises(ValueError, match="'nothing' is not measured; there are epoch, loss"):
        train.fit(*training("cpu")[0], **training("cpu", early_stopping=train.EarlyStopping("nothing"))[1])


def test_callbacks_in_their_order() -> None:
    seen: list[str] = []

    class Spy(train.Callback):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("on_"):
                seen.append(name)
            return super().__getattribute__(name)

    arguments, options = training("cpu", epochs=1, max_steps=2, callbacks=[Spy()])
    train.fit(*arguments, **options)
    steps = ["on_backward", "on_step_end"] * 2
    assert seen == ["on_train_begin", "on_epoch_begin", *steps, "on_epoch_end", "on_train_end"]


@pytest.mark.parametrize("mode", MODES)
def test_lines(mode: str) -> None:
    lines: list[str] = []
    arguments, options = training("cpu", epochs=2)
    run(mode, *arguments, **(options | {"progress": lines.append, "log_every": 4}))
    steps = [line.split("  loss")[0] for line in lines if "step" in line]
    assert steps == ["epoch   1  step 4", "epoch   1  step 8", "epoch   2  step 12", "epoch   2  step 16"]
    ends = [line for line in lines if "step" not in line]
    form = r"epoch   \d  loss \d\.\d{6}  accuracy \d\.\d{4}  val_loss \d\.\d{6}  val_accuracy \d\.\d{4}  +\d+ samples/s"
    assert len(ends) == 2 and all(re.fullmatch(form, line) for line in ends)


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    arguments, options = training("cpu", epochs=1)
    train.fit(*arguments, **(options | {"progress": True}))
    out, err = capsys.readouterr()
    assert out.startswith("epoch   1  loss") and "epoch 1/1" in err and "/9" in err
    monkeypatch.setitem(sys.modules, "tqdm", None)
    arguments, options = training("cpu", epochs=1)
    train.fit(*arguments, **(options | {"progress": True}))
    assert capsys.readouterr().out.startswith("epoch   1  loss")


# -- mistakes -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "problem", "said"),
    [
        ({"metrics": [train.Accuracy]}, TypeError, r"write Accuracy\(\)"),
        ({"metrics": [train.Accuracy(), train.Accuracy()]}, ValueError, "two metrics are called accuracy"),
        ({"callbacks": [3]}, TypeError, "callbacks are objects"),
        ({"early_stopping": "soon"}, TypeError, "early_stopping is an EarlyStopping or a number"),
        ({"epochs": -1}, ValueError, "epochs is a whole number"),
        ({"log_every": 0}, ValueError, "log_every is at least 1"),
        ({"scheduler_every": "week"}, ValueError, "'epoch' or 'step'"),
        ({"loss_fn": lambda a, b: 3.0}, ValueError, "gives a tensor with one element.* got float"),
        ({"loss_fn": lambda a, b: a}, ValueError, r"got shape \[8, 3\]"),
        ({"loss_fn": lambda a, b: a.detach().sum()}, ValueError, "does not depend on any parameter"),
        ({"resume": True}, ValueError, "name one, or give resume= a path"),
        ({"checkpoint": 3}, TypeError, "checkpoint is a path"),
        ({"device": "cuda"}, rt.DeviceError, "no device 'cuda'"),
        ({"colour": 1}, TypeError, "unexpected keyword argument 'colour'"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_mistakes(mode: str, change: dict[str, Any], problem: Any, said: str) -> None:
    arguments, options = training("cpu")
    with pytest.raises(problem, match=said):
        run(mode, *arguments, **(options | change))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [0, 3])
def test_loaders_that_give_nothing_or_raise(mode: str, workers: int) -> None:
    (net, optimizer, _), options = training("cpu")
    empty = data.DataLoader(data.Subset(dataset(), []), 4, num_workers=workers)
    with pytest.raises(train.TrainingError, match="the training loader gave no batch"):
        run(mode, net, optimizer, empty, **options)
    with pytest.raises(train.TrainingError, match="the validation loader gave no batch"):
        run(mode, net, optimizer, loader(), **(options | {"val_loader": empty}))
    with pytest.raises(train.TrainingError, match="pairs of inputs and target, got 3 entries"):
        run(mode, net, optimizer, [(1, 2, 3)], **options)

    class Broken(data.Dataset[Any]):
        def __getitem__(self, index: int) -> Any:
            if index == 20:
                raise OSError("disk gone")
            return POINTS[index], LABELS[index]

        def __len__(self) -> int:
            return 70

    with pytest.raises(OSError, match="disk gone") as caught:
        run(mode, net, optimizer, data.DataLoader(Broken(), 8, num_workers=workers), **options)
    assert caught.value.__notes__[0] == "raised by item 20 of the Broken"
    del caught


class Leave(train.Callback):
    """Ends a training in the middle of an epoch, by what ``how`` does."""

    def __init__(self, how: Callable[[], Any]) -> None:
        self.how = how

    def on_step_end(self, training: train.Training) -> None:
        if training.step == 4:
            self.how()


def fail() -> None:
    raise KeyError("a callback")


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("mode", MODES)
def test_no_thread_is_left_when_it_ends_early(mode: str, workers: int) -> None:
    """At the next line, without any time to end in: after an error, and after ``max_steps``."""
    arguments, options = training("cpu", workers, callbacks=[Leave(fail)])
    with pytest.raises(KeyError, match="a callback"):
        run(mode, *arguments, **options)
    assert not threads()
    arguments, options = training("cpu", workers, max_steps=4)
    run(mode, *arguments, **options)
    assert not threads()


@pytest.mark.parametrize("workers", [1, 4])
def test_no_thread_is_left_of_a_cancelled_nursery(workers: int) -> None:
    left: list[Any] = []

    async def main() -> None:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                arguments, options = training("cpu", workers, callbacks=[Leave(nursery.cancel_scope.cancel)])
                nursery.start_soon(partial(train.fit_async, *arguments, **options))
            left.extend(threads())
            assert nursery.cancel_scope.cancelled_caught

    trio.run(main)
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("steps", [100_000])
def test_memory_is_flat(steps: int) -> None:
    resident_is_flat(steps)


def test_memory_is_flat_for_a_while() -> None:
    resident_is_flat(3_000)


def resident_is_flat(steps: int) -> None:
    """Of the device exactly; of the process but for what Python's allocator keeps."""
    marks: list[tuple[int, int]] = []

    class Watch(train.Callback):
        def on_step_end(self, training: train.Training) -> None:
            if training.step in (steps // 3, steps - 1):
                with open("/proc/self/statm") as file:
                    marks.append((rt.statistics("cpu").bytes_in_use, int(file.read().split()[1]) * 4096))

    rt.manual_seed(0)
    net = nn.Linear(4, 3)
    indices = data.RandomSampler(range(70), replacement=True, num_samples=steps * 4)
    batches = data.DataLoader(dataset(), 4, sampler=indices, num_workers=2)
    options: dict[str, Any] = {"callbacks": [Watch()], "progress": False, "metrics": [train.Accuracy()]}
    train.fit(net, SGD(net.parameters(), lr=0.01), batches, loss_fn=F.cross_entropy, **options)
    (device_before, process_before), (device_after, process_after) = marks
    assert device_after - device_before < 4096  # the batches that are prefetched vary
    assert process_after - process_before < 4 << 20
