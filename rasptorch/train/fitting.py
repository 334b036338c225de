"""`fit` and `fit_async`: the front of the training loop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..runtime.errors import BlockingInTrio
from ..runtime.waiting import in_trio_task
from .history import History
from .interrupts import Interrupts
from .loop import Options, Training
from .requests import run_blocking, run_trio

if TYPE_CHECKING:
    from os import PathLike

    from ..nn.module import Module
    from ..optim.optimizer import Optimizer
    from ..runtime.device import Device
    from ..tensor import Tensor
    from .callbacks import EarlyStopping
    from .checkpoints import Checkpoint
    from .metrics import Metric


def fit(
    model: Module,
    optimizer: Optimizer,
    train_loader: Iterable[Any],
    *,
    loss_fn: Callable[[Any, Any], Tensor],
    device: str | Device | None = None,
    epochs: int = 1,
    val_loader: Iterable[Any] | None = None,
    target_transform: Callable[[Any], Any] | None = None,
    metrics: Sequence[Metric] = (),
    scheduler: Any = None,
    scheduler_every: str = "epoch",
    callbacks: Sequence[Any] = (),
    early_stopping: EarlyStopping | int | None = None,
    progress: bool | Callable[[str], Any] = True,
    log_every: int | None = None,
    max_steps: int | None = None,
    checkpoint: Checkpoint | str | PathLike[str] | None = None,
    resume: bool | str | PathLike[str] = False,
) -> History:
    """Train ``model`` for some epochs; returns a `History` of their figures.

    - ``loss_fn(output, target)``: the mean loss of a batch.
    - ``device``: where to train; the model is brought there. None: where the model is.
    - ``epochs`` (1); ``max_steps``: stop after so many steps in all.
    - ``train_loader``, ``val_loader``: a `rasptorch.data.DataLoader`, or any iterable (anew for each epoch) of pairs of inputs and
      target: tensors, arrays, also PyTorch's. Inputs in a tuple or a dictionary become the model's arguments.
    - ``target_transform(target)``: what loss and metrics get instead.
    - ``metrics``: `Accuracy()` and the like.
    - ``scheduler``: its ``step`` is called after every epoch, with ``scheduler_every="step"`` after every step. One like
      `ReduceLROnPlateau` gets ``val_loss``, or ``loss`` where there is no validation.
    - ``callbacks``: `Callback` objects, or functions of the training that are called after every epoch; ``early_stopping``: an
      `EarlyStopping`, or a number of epochs to be patient.
    - ``progress``: True for a bar on terminals (tqdm) and lines elsewhere, False for nothing, or a function that takes the lines.
    - ``log_every``: a line with the epoch's figures so far every so many steps, printed when they have arrived: no step waits.
    - ``checkpoint``: a path (written after every epoch) or a `Checkpoint`; written by a thread while the training goes on, and when
      Ctrl-C or SIGTERM ends it, or its task is cancelled. ``resume``: True to go on from there if it exists, or a path to go on from.
      What follows is bit for bit what would have followed; loaders that are not of this library have to repeat themselves.

    Loss and metrics are added up on the device and read once per epoch; steps only enqueue. In a Trio task use `fit_async`.
    """
    if in_trio_task():
        raise BlockingInTrio("fit would block the Trio loop: `await rasptorch.train.fit_async(...)`, with the same arguments")
    options = Options(
        loss_fn, device, epochs, val_loader, target_transform, metrics, scheduler, scheduler_every, callbacks,
        early_stopping, progress, log_every, max_steps, checkpoint, resume,
    )  # fmt: skip
    interrupts = Interrupts()
    training = Training(model, optimizer, train_loader, options, interrupts)
    signals = () if checkpoint is None else (signal.SIGINT, signal.SIGTERM)
    with interrupts.handled(*signals):
        return run_blocking(training.run())


async def fit_async(
    model: Module,
    optimizer: Optimizer,
    train_loader: Iterable[Any],
    *,
    loss_fn: Callable[[Any, Any], Tensor],
    device: str | Device | None = None,
    epochs: int = 1,
    val_loader: Iterable[Any] | None = None,
    target_transform: Callable[[Any], Any] | None = None,
    metrics: Sequence[Metric] = (),
    scheduler: Any = None,
    scheduler_every: str = "epoch",
    callbacks: Sequence[Any] = (),
    early_stopping: EarlyStopping | int | None = None,
    progress: bool | Callable[[str], Any] = True,
    log_every: int | None = None,
    max_steps: int | None = None,
    checkpoint: Checkpoint | str | PathLike[str] | None = None,
    resume: bool | str | PathLike[str] = False,
) -> History:
    """As `fit`, in a Trio task: other tasks go on while it waits for batches, for room on the device, for values.

    Cancelling it ends it between two steps. With ``checkpoint`` one is written then, which takes as long as it takes.
    """
    import trio

    options = Options(
        loss_fn, device, epochs, val_loader, target_transform, metrics, scheduler, scheduler_every, callbacks,
        early_stopping, progress, log_every, max_steps, checkpoint, resume,
    )  # fmt: skip
    token, scope = trio.lowlevel.current_trio_token(), trio.CancelScope()
    interrupts = Interrupts(lambda: token.run_sync_soon(scope.cancel))
    training = Training(model, optimizer, train_loader, options, interrupts)
    signals = () if checkpoint is None else (signal.SIGTERM,)
    with interrupts.handled(*signals), scope:
        return await run_trio(training.run())
    interrupts.check()
    raise AssertionError("the scope is cancelled by SIGTERM only")
