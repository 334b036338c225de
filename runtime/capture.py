"""Capture and replay: a function's commands recorded once, submitted again and again with new inputs.

The first call with inputs of some form runs the function and keeps the batch it made: its plan, and for every storage the batch
touches what it is at replay: an input, something that lives outside the function (parameters, optimiser state, gradients), or a
result. A replay then binds storages and submits; no operation runs in Python. Scalars that must change from call to call (draws of
random numbers, an optimiser's step size) come from functions noted by `live` and are computed anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .errors import RasptorchError
from .storage import Slot, Storage

if TYPE_CHECKING:
    from .batch import Batch
    from .plan.plan import Plan
    from .stream import Stream


class CaptureError(RasptorchError, RuntimeError):
    """Something a captured function may not do."""


def live(stream: Stream, compute: Callable[[], Sequence[float]]) -> Sequence[float]:
    """The scalars of the command that is enqueued next; computed again at every replay if ``stream`` is being captured."""
    recording = stream.capturing
    if recording is not None:
        recording.note_scalars(compute)
    return compute()


class Recording:
    """A capture under way on one stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.scalars: list[tuple[int, Callable[[], Sequence[float]]]] = []

    def note_scalars(self, compute: Callable[[], Sequence[float]]) -> None:
        self.scalars.append((self._stream.scalars_so_far(), compute))

    def refuse(self) -> None:
        """Called when something would have submitted the batch halfway."""
        raise CaptureError(
            "a captured function cannot read a value back, synchronise, or hand a tensor to another stream: its commands are only "
            "submitted when it returns; return the tensor and read it outside"
        )


class Captured:
    """A batch to be submitted again. ``inputs`` are the storages the caller passed in, in order."""

    def __init__(
        self, stream: Stream, batch: Batch, plan: Plan, inputs: Sequence[Slot], results: Sequence[Storage], recording: Recording
    ) -> None:
        self._stream = stream
        self._plan = plan
        self._scalars = list(batch.scalars)
        self._live = recording.scalars
        self._commands = batch.commands
        self._nbytes = [slot.nbytes for slot in batch.slots]
        numbers = {id(slot): k for k, slot in enumerate(batch.slots)}
        self._input_numbers = [numbers.get(id(slot)) for slot in inputs]
        self.result_numbers = [numbers.get(id(storage.slot)) for storage in results]
        mine = {*(n for n in self._input_numbers if n is not None)}
        fresh = set(batch.fresh)
        mine |= {n for n in self.result_numbers if n is not None and n in fresh}
        # Everything else keeps its place: parameters, state, gradients that somebody holds on to.
        self._fixed = [None if k in mine else slot for k, slot in enumerate(batch.slots)]
        self._made = [n for n in self.result_numbers if n is not None and n in fresh]

    def makes(self, position: int) -> bool:
        """Whether result number ``position`` is a storage that every replay makes anew."""
        return self.result_numbers[position] in self._made

    def replay(self, inputs: Sequence[Slot]) -> dict[int, Storage]:
        """Submit once more; returns the new storages of the results by their positions. Only enqueues."""
        stream = self._stream
        with stream.device.lock:
            stream.submit()
            slots = list(self._fixed)
            for number, slot in zip(self._input_numbers, inputs, strict=True):
                if number is not None:
                    stream.take_over(slot)
                    slots[number] = slot
            made = {}
            for number in self._made:
                storage = Storage(Slot(stream, self._nbytes[number]))
                made[number] = storage
                slots[number] = storage.slot
            bound = {k: slot for k, slot in enumerate(slots) if slot is not None}
            self._touch(bound)
            scalars = self._scalars
            for at, compute in self._live:
                values = compute()
                scalars[at : at + len(values)] = values
            stream.launch(bound, self._plan, list(scalars), self._commands)
        stream.make_room_if_crowded()
        return {k: made[n] for k, n in enumerate(self.result_numbers) if n in made}

    def _touch(self, bound: dict[int, Slot]) -> None:
        """What is written in place has a new version, and values still being read from it are put aside first."""
        for number in self._plan.written:
            slot = bound[number]
            if slot.readbacks:
                self._stream.keep_readbacks(slot)
            owner = slot.owner()
            if owner is not None:
                owner.version += 1
        self._stream.submit()
