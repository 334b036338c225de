"""The training itself, written once for scripts and for Trio: a generator that yields where something may have to be waited for.

Between two of its requests it only enqueues. The state that a checkpoint holds is that after the last complete step, which is the
state at every request.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from time import perf_counter
from typing import Any, NamedTuple

from ..autograd.mode import enable_grad, no_grad
from ..data.batches import Batches
from ..io.checkpoint import Saving
from ..ops.random import default_generator
from ..runtime import device as devices
from ..runtime import dtype as dt
from ..runtime.device import Device
from ..runtime.errors import RasptorchError
from ..runtime.readback import Readback
from ..tensor import Tensor
from . import state as states
from .callbacks import as_callbacks
from .checkpoints import Writer, as_checkpoint
from .history import History
from .interrupts import Interrupts, is_interruption
from .metrics import Metric, RunningMean, check_metrics
from .progress import choose, figures_text
from .requests import END, Call, Close, Foreign, Next, Request, Room, Steps, Values, open_batches

Source = Batches | Foreign
Part = Generator[Request, Any, Any]


class TrainingError(RasptorchError, ValueError):
    """What `fit` was given does not make a training."""


@dataclass
class Options:
    """The keyword arguments of `rasptorch.train.fit`, which explains them."""

    loss_fn: Callable[[Any, Any], Tensor]
    device: str | Device | None = None
    epochs: int = 1
    val_loader: Iterable[Any] | None = None
    target_transform: Callable[[Any], Any] | None = None
    metrics: Sequence[Metric] = ()
    scheduler: Any = None
    scheduler_every: str = "epoch"
    callbacks: Sequence[Any] = ()
    early_stopping: Any = None
    progress: bool | Callable[[str], Any] = True
    log_every: int | None = None
    max_steps: int | None = None
    checkpoint: Any = None
    resume: bool | str | PathLike[str] = False


class _Log(NamedTuple):
    """Figures on their way: those of a log point in the middle of an epoch."""

    step: int
    readbacks: list[Readback[Any]]


class Training:
    """A model, its optimiser and how far they are: what callbacks are given.

    ``epoch`` counts from 1; ``batch`` and ``step`` are the steps done, in this epoch and in all. ``loss`` and ``metrics`` hold sums on
    the device; ``history`` has the figures of the epochs that are over. ``stop()`` ends the training.
    """

    def __init__(self, model: Any, optimizer: Any, train_loader: Iterable[Any], options: Options, interrupts: Interrupts) -> None:
        self.model = model
        self.optimizer = optimizer
        self.train_loader = train_loader
        self.val_loader = options.val_loader
        self.scheduler = options.scheduler
        self.epochs = options.epochs
        self.metrics = check_metrics(options.metrics)
        self.callbacks = as_callbacks(options.callbacks, options.early_stopping)
        self.device = _device_of(model, options.device)
        self.history = History()
        self.loss = RunningMean()
        self.epoch = 1
        self.batch = 0  # steps done in this epoch
        self.step = 0  # steps done in all
        self.stopping = False
        self.random_state = default_generator.get_state()
        self.loaders = states.loader_states(self)
        self._options = options
        self._interrupts = interrupts
        self._progress = choose(options.progress)
        checkpoint = as_checkpoint(options.checkpoint)
        self._writer = Writer(checkpoint) if checkpoint is not None else None
        self._logs: deque[_Log] = deque()
        self._whole = True  # whether no step is half done
        self._samples = 0  # in this epoch and process, validation included
        _check_options(options)

    def stop(self) -> None:
        """No more steps after this one; the epoch is closed as usual."""
        self.stopping = True

    # -- from beginning to end ------------------------------------------------------------------------------------
    def run(self) -> Steps[History]:
        """The whole training, from a checkpoint on if there is one: the requests to be answered, then the history.

        An interruption between two steps writes a checkpoint, if one was asked for, and is raised again.
        """
        yield from self._prepare()
        self._call("on_train_begin")
        try:
            while self.epoch <= self.epochs and not self._over():
                yield from self._one_epoch()
            self._call("on_train_end")
            self.device.stream().flush()
            if self._writer is not None and self._writer.due:
                yield from self._write_now()
        except GeneratorExit:
            raise
        except BaseException as problem:
            if self._writer is not None and self._whole and is_interruption(problem):
                yield from self._write_now()
            elif self._writer is not None:
                yield Call(partial(self._writer.give_up, problem))
            raise
        finally:
            self._progress.end()
        if self._writer is not None:
            yield Call(self._writer.finish)
        return self.history

    def _prepare(self) -> Part:
        """Bring the model to the device, and go on from a checkpoint if there is one."""
        if any(value.device is not self.device for value in self.model.state_dict().values()):
            yield Call(lambda: self.model.to(self.device))
        path = self._resumed_path()
        if path is not None:
            kept = yield Call(lambda: states.read(path, self))
            states.restore(self, kept)
            self.device.stream().flush()

    def _resumed_path(self) -> str | PathLike[str] | None:
        resume = self._options.resume
        if not isinstance(resume, bool):
            return resume
        if not resume:
            return None
        if self._writer is None:
            raise TrainingError("fit: resume=True goes on from the file that checkpoint= names: name one, or give resume= a path")
        return self._writer.checkpoint.path if self._writer.checkpoint.exists else None

    def _write_now(self) -> Part:
        writer = self._writer
        assert writer is not None
        saving = Saving(states.capture(self))
        yield Call(lambda: writer.write_now(saving))

    def _over(self) -> bool:
        most = self._options.max_steps
        return self.stopping or (most is not None and self.step >= most)

    def _call(self, name: str) -> None:
        for callback in self.callbacks:
            getattr(callback, name)(self)

    # -- an epoch -------------------------------------------------------------------------------------------------
    def _one_epoch(self) -> Part:
        began, self._samples = perf_counter(), 0
        self.model.train()
        self._call("on_epoch_begin")
        self._progress.begin(self.epoch, self.epochs, _length(self.train_loader), self.batch)
        source = open_batches(self.train_loader, self.batch, self.device)
        if self.batch:
            default_generator.set_state(self.random_state)  # opening the loader has drawn as it did at the epoch's beginning
        yield from self._closing(source, self._steps(source))
        if self.batch == 0:
            raise TrainingError("fit: the training loader gave no batch: the dataset is empty, or smaller than a batch that is dropped")
        figures = self._readbacks(self.loss, self.metrics)
        checked = yield from self._validate()
        while self._logs:
            yield from self._show_log(self._logs.popleft())
        values = yield Values([*figures.values(), *checked.values()])
        self._close_epoch(dict(zip([*figures, *checked], values, strict=True)), perf_counter() - began)

    def _closing(self, source: Source, part: Part) -> Part:
        """Run ``part``, then close ``source``, however it ends."""
        try:
            yield from part
        except GeneratorExit:
            source.close()
            raise
        except BaseException:
            yield Close(source)
            raise
        yield Close(source)

    def _steps(self, source: Source) -> Part:
        stream = self.device.stream()
        while not self._over():
            batch = yield Next(source, self._interrupts)
            if batch is END:
                return
            self._whole = False
            with enable_grad():
                self._one_step(batch)
            del batch
            self.batch += 1
            self.step += 1
            self.random_state = default_generator.get_state()
            self._whole = True
            self._call("on_step_end")
            self._progress.step()
            yield Room(stream)
            yield from self._log()
            if self._writer is not None:
                self._writer.note(self.step, None)
                self._writer.write_if_due(lambda: states.capture(self))
            self._interrupts.check()

    def _one_step(self, batch: Any) -> None:
        """Forward, backward, and the optimiser's step: one submission. The loss and the metrics are added up in it, too."""
        self.optimizer.zero_grad()
        output, target, count = self._forward(batch)
        loss = _checked_loss(self._options.loss_fn(output, target))
        loss.backward()
        self._call("on_backward")
        self._measure(self.loss, self.metrics, loss, output, target, count)
        self.optimizer.step()
        self.device.stream().flush()
        if self.scheduler is not None and self._options.scheduler_every == "step":
            self.scheduler.step()

    def _forward(self, batch: Any) -> tuple[Any, Any, int]:
        """The model's output, the target, and how many samples these are."""
        inputs, target = _pair(batch)
        if isinstance(inputs, Mapping):
            output = self.model(**inputs)
        else:
            output = self.model(*inputs) if isinstance(inputs, (tuple, list)) else self.model(inputs)
        count = _samples(inputs)
        if self._options.target_transform is not None:
            target = self._options.target_transform(target)
        self._samples += count
        return output, target, count

    def _measure(self, mean: RunningMean, metrics: Sequence[Metric], loss: Tensor, output: Any, target: Any, count: int) -> None:
        with no_grad():
            mean.add(loss.detach().to(dt.float32) * float(count), count)
            for metric in metrics:
                metric.update(output, target)

    def _readbacks(self, mean: RunningMean, metrics: Sequence[Metric], prefix: str = "") -> dict[str, Readback[Any]]:
        found = {f"{prefix}loss": mean.readback()}
        found.update((prefix + metric.name, metric.readback()) for metric in metrics)
        self.device.stream().flush()
        return found

    def _validate(self) -> Part:
        """The figures of the validation data, on their way."""
        if self.val_loader is None:
            return {}
        mean, metrics = RunningMean(), [metric.fresh() for metric in self.metrics]
        self.model.eval()
        try:
            source = open_batches(self.val_loader, 0, self.device)
            yield from self._closing(source, self._validation_steps(source, mean, metrics))
        finally:
            self.model.train()
        if mean.state is None:
            raise TrainingError("fit: the validation loader gave no batch")
        return self._readbacks(mean, metrics, "val_")

    def _validation_steps(self, source: Source, mean: RunningMean, metrics: Sequence[Metric]) -> Part:
        stream = self.device.stream()
        while (batch := (yield Next(source, self._interrupts))) is not END:
            with no_grad():
                output, target, count = self._forward(batch)
                self._measure(mean, metrics, self._options.loss_fn(output, target), output, target, count)
            stream.flush()
            del batch, output, target
            yield Room(stream)
            self._interrupts.check()

    def _close_epoch(self, figures: dict[str, Any], seconds: float) -> None:
        """Everything that is done once the figures are there: from the state after the last step to that before the next epoch."""
        self._whole = False
        speed = self._samples / seconds if seconds > 0 else 0.0
        record = {"epoch": self.epoch, **figures, "seconds": seconds, "samples_per_second": speed}
        record["lr"] = self.optimizer.param_groups[0].get("lr")
        self.history.epochs.append(record)
        if self.scheduler is not None and self._options.scheduler_every == "epoch":
            _step_scheduler(self.scheduler, figures)
        self._call("on_epoch_end")
        self._progress.end()
        self._progress.line(f"epoch {self.epoch:3d}  {figures_text(record)}  {speed:8.0f} samples/s")
        done, self.epoch, self.batch = self.epoch, self.epoch + 1, 0
        for metric in (self.loss, *self.metrics):
            metric.reset()
        self.random_state = default_generator.get_state()
        self.loaders = states.loader_states(self)
        self._whole = True
        if self._writer is not None:
            self._writer.note(None, done)
            self._writer.write_if_due(lambda: states.capture(self))

    # -- log points -----------------------------------------------------------------------------------------------
    def _log(self) -> Part:
        """At a log point, start reading; show what has arrived of earlier ones. Waits for none of it."""
        every = self._options.log_every
        if every is None:
            return
        if self.step % every == 0:
            self._logs.append(_Log(self.step, list(self._readbacks(self.loss, self.metrics).values())))
        while self._logs and all(readback.is_done() for readback in self._logs[0].readbacks):
            yield from self._show_log(self._logs.popleft())

    def _show_log(self, log: _Log) -> Part:
        values = yield Values(log.readbacks)
        names = ["loss", *(metric.name for metric in self.metrics)]
        self._progress.line(f"epoch {self.epoch:3d}  step {log.step}  {figures_text(dict(zip(names, values, strict=True)))}")


# -- what was given -----------------------------------------------------------------------------------------------
def _check_options(options: Options) -> None:
    if not isinstance(options.epochs, int) or options.epochs < 0:
        raise TrainingError(f"fit: epochs is a whole number of at least 0, got {options.epochs!r}")
    if options.scheduler_every not in ("epoch", "step"):
        raise TrainingError(f"fit: scheduler_every is 'epoch' or 'step', got {options.scheduler_every!r}")
    if options.scheduler is not None and options.scheduler_every == "step" and _looks_at_a_figure(options.scheduler):
        kind = type(options.scheduler).__name__
        raise TrainingError(f"fit: {kind} looks at a loss, which is there once per epoch: leave scheduler_every='epoch'")
    for name in ("log_every", "max_steps"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise TrainingError(f"fit: {name} is at least 1, got {value}")


def _device_of(model: Any, device: str | Device | None) -> Device:
    if device is not None:
        return devices.get(device)
    for value in model.state_dict().values():
        return value.device  # type: ignore[no-any-return]  # a tensor's
    raise TrainingError("fit: a model without parameters: say on which device to train")


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        what = f"{len(batch)} entries" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise TrainingError(f"fit: batches are pairs of inputs and target, got {what}")
    return batch[0], batch[1]


def _samples(inputs: Any) -> int:
    if isinstance(inputs, Mapping):
        inputs = next(iter(inputs.values()))
    first = inputs[0] if isinstance(inputs, (tuple, list)) else inputs
    return first.shape[0] if first.ndim else 1


def _checked_loss(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TrainingError(f"fit: loss_fn(output, target) gives a tensor with one element, the mean over the batch; got {what}")
    if not loss.requires_grad:
        raise TrainingError("fit: the loss does not depend on any parameter that requires gradients")
    return loss.reshape(())


def _looks_at_a_figure(scheduler: Any) -> bool:
    """Whether it is one like ReduceLROnPlateau."""
    first = next(iter(inspect.signature(scheduler.step).parameters.values()), None)
    return first is not None and first.name == "metrics"


def _step_scheduler(scheduler: Any, figures: Mapping[str, Any]) -> None:
    """Schedulers that look at a figure get the validation loss, or the loss where there is none."""
    if _looks_at_a_figure(scheduler):
        scheduler.step(figures.get("val_loss", figures["loss"]))
    else:
        scheduler.step()
