"""Checkpoints of a training: what follows is what would have followed, to the last bit, however the first run ended."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import rasptorch as rt
from rasptorch import train
from rasptorch.io import checkpoint as files
from tests.support.manual import PATIENCE

from .resumable import EPOCHS
from .small import figures, loader, parameters, run, training

ROOT = Path(__file__).resolve().parents[2]
MODES = ("script", "trio")
STEPS = 9 * EPOCHS


class Stop(Exception):
    """What a test ends a training with."""


class StopAt(train.Callback):
    """Raises ``problem`` after a step, or at the end of an epoch."""

    def __init__(self, step: int = -1, epoch: int = -1, problem: Any = Stop) -> None:
        self.step, self.epoch, self.problem = step, epoch, problem

    def on_step_end(self, training: train.Training) -> None:
        if training.step == self.step:
            raise self.problem

    def on_epoch_end(self, training: train.Training) -> None:
        if training.epoch == self.epoch:
            raise self.problem


class Decay:
    """A scheduler with a state."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.epoch = optimizer, 0

    def step(self) -> None:
        self.epoch += 1
        self.optimizer.param_groups[0]["lr"] = 0.02 / (1 + self.epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]


def trained(mode: str, device: str, stop: StopAt, path: Path | None, seed: int | None, **more: Any) -> Any:
    """A training; its figures and parameters if it comes to its end."""
    arguments, options = training(device, 2, seed, callbacks=[stop, train.EarlyStopping(patience=9, restore_best=True)])
    options |= {"scheduler": Decay(arguments[1]), "metrics": [train.Accuracy(), train.F1(3)]} | more
    if path is not None:
        options |= {"checkpoint": train.Checkpoint(path, every_steps=2), "resume": True}
    history = run(mode, *arguments, **options)
    return figures(history), parameters(arguments[0])


@pytest.mark.parametrize(
    ("mode", "stop", "seed"),
    [
        ("script", StopAt(step=5), None),
        ("script", StopAt(step=14), 5),
        ("script", StopAt(epoch=1), None),
        ("script", StopAt(step=18), 5),
        ("trio", StopAt(step=14), None),
        ("trio", StopAt(epoch=1), 5),
    ],
    ids=["step5", "step14-seed", "epoch", "step18-seed", "trio-step14", "trio-epoch-seed"],
)
def test_going_on_is_going_on(mode: str, stop: StopAt, seed: int | None, device: str, tmp_path: Path) -> None:
    expected = trained(mode, device, StopAt(), None, seed)
    with pytest.raises(Stop):
        trained(mode, device, stop, tmp_path / "f", seed)
    assert (tmp_path / "f").exists()
    rt.manual_seed(999)
    assert trained(mode, device, StopAt(), tmp_path / "f", seed) == expected
    # Once more: there is nothing left to be done.
    assert trained(mode, device, StopAt(), tmp_path / "f", seed)[0] == expected[0]


def test_more_epochs(tmp_path: Path) -> None:
    expected = trained("script", "cpu", StopAt(), None, 5, epochs=4)
    trained("script", "cpu", StopAt(), tmp_path / "f", 5, epochs=2)
    again = trained("script", "cpu", StopAt(), tmp_path / "f", 5, epochs=4)
    assert again[0] == expected[0]


# -- killed -------------------------------------------------------------------------------------------------------
def start(folder: Path, mode: str, workers: int, delay: float) -> subprocess.Popen[str]:
    files = str(folder / "checkpoint"), str(folder / "result")
    command = [sys.executable, "-m", "tests.train.resumable", *files, mode, str(workers), str(delay)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)


def finished(folder: Path, mode: str, workers: int) -> Any:
    process = start(folder, mode, workers, 0.0)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    found = rt.load(folder / "result")
    return found["figures"], {name: value.tolist() for name, value in found["parameters"].items()}


def until(process: subprocess.Popen[str], step: int) -> int:
    """Read lines until a step of at least this number."""
    assert process.stdout is not None
    for line in process.stdout:
        if int(line.split()[1]) >= step:
            return int(line.split()[1])
    raise AssertionError(process.communicate()[1])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return finished(tmp_path_factory.mktemp("whole"), "script", 0)


def kill_and_resume(seed: int, folder: Path, expected: Any) -> None:
    """Killed at a random moment, twice as often as not while a checkpoint is being written, and started again."""
    chance = random.Random(seed)
    for _ in range(2):
        process = start(folder, chance.choice(MODES), chance.choice((0, 1, 4)), chance.choice((0.0, 0.004)))
        try:
            until(process, chance.randrange(1, STEPS - 5))
        except AssertionError:
            assert process.wait(PATIENCE) == 0  # the second time there may be less left to do than that
            break
        process.kill()
        process.communicate(timeout=60)
    assert finished(folder, chance.choice(MODES), chance.choice((0, 1, 4))) == expected


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_a_random_moment(seed: int, tmp_path: Path, uninterrupted: Any) -> None:
    kill_and_resume(seed, tmp_path, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 22))
def test_killed_at_many_moments(seed: int, tmp_path: Path, uninterrupted: Any) -> None:
    kill_and_resume(seed, tmp_path, uninterrupted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signals_leave_the_checkpoint_of_the_last_step(mode: str, number: int, tmp_path: Path, uninterrupted: Any) -> None:
    process = start(tmp_path, mode, 2, 0.01)
    step = until(process, 13)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGINT if number == signal.SIGINT else 128 + signal.SIGTERM), err
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)
    last = int(out.split()[-1]) if out else step
    assert rt.load(tmp_path / "checkpoint")["step"] == last
    assert finished(tmp_path, "script", 0) == uninterrupted


# -- while it goes on ---------------------------------------------------------------------------------------------
def test_interrupted_in_a_script(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a step: the step is finished first."""
    arguments, options = training("cpu")

    def loss(output: Any, target: Any) -> Any:
        if seen[-1] == 5:
            signal.raise_signal(signal.SIGINT)
        return plain(output, target)

    seen, plain = [0], options["loss_fn"]

    class Count(train.Callback):
        def on_step_end(self, training: train.Training) -> None:
            seen.append(training.step)

    with pytest.raises(KeyboardInterrupt):
        train.fit(*arguments, **(options | {"loss_fn": loss, "checkpoint": tmp_path / "f", "callbacks": [Count()]}))
    assert seen[-1] == 6 and rt.load(tmp_path / "f")["step"] == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.trio
async def test_cancelled(tmp_path: Path) -> None:
    arguments, options = training("cpu", 2)
    with trio.CancelScope() as scope:

        class CancelAt(train.Callback):
            def on_step_end(self, training: train.Training) -> None:
                if training.step == 7:
                    scope.cancel()

        await train.fit_async(*arguments, **options, callbacks=[CancelAt()], checkpoint=tmp_path / "f")
    assert scope.cancelled_caught
    assert (await trio.to_thread.run_sync(rt.load, tmp_path / "f"))["step"] == 7


def test_writing_waits_for_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A disk that takes its time: steps go on, one checkpoint is written at a time, and the end waits for the last."""
    import threading

    gate, writing, steps = threading.Event(), [], []
    plain = files.Saving.write

    def write(saving: Any, path: Any) -> None:
        writing.append(len(steps))
        assert gate.wait(PATIENCE)
        plain(saving, path)

    class Watch(train.Callback):
        def on_step_end(self, training: train.Training) -> None:
            steps.append(training.step)
            if training.step == 20:
                gate.set()

    monkeypatch.setattr(files.Saving, "write", write)
    arguments, options = training("cpu", callbacks=[Watch()])
    train.fit(*arguments, **options, checkpoint=train.Checkpoint(tmp_path / "f", every_steps=1))
    assert steps == list(range(1, 28)) and writing[0] == 1 and all(n >= 20 for n in writing[1:])
    assert rt.load(tmp_path / "f")["epoch"] == 4


@pytest.mark.parametrize("mode", MODES)
def test_what_keeps_it_from_writing_is_raised(mode: str, tmp_path: Path) -> None:
    arguments, options = training("cpu")
    with pytest.raises(FileNotFoundError) as caught:
        run(mode, *arguments, **options, checkpoint=tmp_path / "nowhere" / "f")
    assert "while the checkpoint" in caught.value.__notes__[0]


# -- checkpoints that do not fit ----------------------------------------------------------------------------------
def test_checkpoints_of_something_else(tmp_path: Path) -> None:
    arguments, options = training("cpu", epochs=1)
    train.fit(*arguments, **options, checkpoint=tmp_path / "f")
    rt.save({"x": 1}, tmp_path / "other")
    for change, said in (
        ({"resume": tmp_path / "other"}, "is not a checkpoint of a training"),
        ({"metrics": [], "resume": tmp_path / "f"}, r"with metrics \['accuracy'\], this training has \[\]"),
        ({"scheduler": Decay(arguments[1]), "resume": tmp_path / "f"}, "without a scheduler"),
        ({"callbacks": [StopAt()], "resume": tmp_path / "f"}, "with 0 callbacks, this training has 1"),
    ):
        with pytest.raises(train.ResumeError, match=said):
            train.fit(*arguments, **(options | change))
    with pytest.raises(FileNotFoundError):
        train.fit(*arguments, **options, resume=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="at least 1, got 0 and None"):
        train.Checkpoint(tmp_path, 0)


def test_a_checkpoint_from_another_device(tmp_path: Path) -> None:
    """Values go where the training is; without `resume`, a file that is there is only written over."""
    arguments, options = training("cpu", epochs=1)
    train.fit(*arguments, **options, checkpoint=tmp_path / "f")
    kept = parameters(arguments[0])
    content = rt.load(tmp_path / "f", device="cpu")
    assert content["kind"] == "rasptorch.train" and content["epoch"] == 2
    arguments, options = training("cpu", epochs=1)
    train.fit(arguments[0], arguments[1], loader(), **options, resume=tmp_path / "f")
    assert parameters(arguments[0]) == kept
