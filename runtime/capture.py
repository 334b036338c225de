"""Capture and replay: a function's commands recorded once, submitted again and again with new inputs.

The first call with inputs of some form runs the function and keeps the batch it made: its plan, and for every storage the batch
touches what it is at replay: an input, something that lives outside the function (parameters, optimiser state, gradients), or a
result. A replay then binds storages and submits; no operation runs in Python. Scalars that must change from call to call (draws of
random numbers, an optimiser's step size) come from functions noted by `live` and are computed anew each time.

While a thread captures, it may not do what a replay could not: wait, read a value, or use another stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Final
from weakref import finalize

from .errors import RasptorchError
from .storage import Slot, Storage

if TYPE_CHECKING:
    from .batch import Batch
    from .plan.plan import Plan
    from .stream import Stream


class CaptureError(RasptorchError, RuntimeError):
    """Something a captured function may not do, or may not be done to a stream that is being captured."""


class Recording:
    """A capture under way: one thread's, on one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream: Final = stream
        self.thread: Final = get_ident()
        self.scalars: list[tuple[int, Callable[[], Sequence[float]]]] = []


# All captures under way. Empty nearly always, which is what enqueueing looks at first.
active: list[Recording] = []


def current() -> Recording | None:
    """The capture this thread is in."""
    if not active:
        return None
    thread = get_ident()
    return next((recording for recording in active if recording.thread == thread), None)


def refuse(what: str) -> None:
    """Raise `CaptureError` if this thread is in a capture; ``what`` the function did that it cannot."""
    if current() is not None:
        raise CaptureError(
            f"{what} inside a captured function: its commands are only submitted when it returns, and a replay runs no Python; "
            "return the tensor and read it outside"
        )


def check_stream(stream: Stream) -> None:
    """`CaptureError` where this thread may not enqueue on ``stream`` because of a capture. For when `active` is not empty."""
    mine = current()
    if mine is not None and mine.stream is not stream:
        raise CaptureError(
            f"a captured function can only use one device and one stream: it is being captured on {mine.stream.name}, "
            f"and this would be enqueued on {stream.name}"
        )
    if mine is None and stream.capturing is not None:
        raise CaptureError(
            f"another thread is capturing a function on {stream.name}: its commands would become part of it; "
            "use a stream of this thread's own (`with rt.stream(s):`), or wait until the capture is over"
        )


def live(stream: Stream, compute: Callable[[], Sequence[float]]) -> Sequence[float]:
    """The scalars of the command that is enqueued next; computed again at every replay if ``stream`` is being captured."""
    recording = current()
    if recording is not None and recording.stream is stream:
        recording.scalars.append((stream.scalars_so_far(), compute))
    return compute()


@contextmanager
def outside(stream: Stream) -> Iterator[None]:
    """Commands enqueued in this block are not captured: for state that is made once, at the first step. They use nothing captured."""
    recording = current()
    if recording is None or recording.stream is not stream:
        yield
        return
    with stream.device.lock:
        kept = stream.set_aside()
        active.remove(recording)
        try:
            yield
            stream.submit()
        finally:
            active.append(recording)
            stream.take_back(kept)


class Captured:
    """A batch to be submitted again. ``inputs`` are the storages the caller passed in, in order."""

    def __init__(
        self, stream: Stream, batch: Batch, plan: Plan, inputs: Sequence[Slot], results: Sequence[Storage], recording: Recording
    ) -> None:
        self._stream = stream
        self._plan = plan
        self._scalars = list(batch.scalars)
        self._live = list(recording.scalars)
        self._commands = batch.commands
        numbers = {id(slot): k for k, slot in enumerate(batch.slots)}
        self._input_numbers = [numbers.get(id(slot)) for slot in inputs]
        self.result_numbers = [numbers.get(id(storage.slot)) for storage in results]
        mine = {*(n for n in self._input_numbers if n is not None)}
        fresh = set(batch.fresh)
        mine |= {n for n in self.result_numbers if n is not None and n in fresh}
        # Everything else that has memory keeps it: parameters, state, gradients that somebody holds on to.
        self._fixed = {k: batch.slots[k] for k in plan.bound if k not in mine}
        self._needed = mine.intersection(plan.bound)
        self._outside = {id(slot) for k, slot in enumerate(batch.slots) if k not in mine and k not in fresh}
        self._made = {n: batch.slots[n].nbytes for n in self.result_numbers if n is not None and n in fresh}
        finalize(self, stream.device.recordings.abandon, plan)

    def makes(self, position: int) -> bool:
        """Whether result number ``position`` is a storage that every replay makes anew."""
        return self.result_numbers[position] in self._made

    def fits(self, inputs: Sequence[Slot]) -> bool:
        """Whether the inputs are none of the storages that the function uses anyway: the plan took them for different ones."""
        return not any(id(slot) in self._outside for slot in inputs)

    def replay(self, inputs: Sequence[Slot]) -> dict[int, Storage]:
        """Submit once more; returns the new storages of the results by their positions. Only enqueues."""
        stream = self._stream
        if active:
            refuse("calling another captured function")
        stream.make_room_if_crowded()
        with stream.device.lock:
            if stream.failure is not None:
                raise stream.failure
            if active:
                check_stream(stream)
            if stream.commands_gathered():
                stream.submit()
            bound = self._fixed.copy()
            for number, slot in zip(self._input_numbers, inputs, strict=True):
                if number in self._needed:
                    bound[number] = slot
            several = stream.device.several_streams
            for known in bound.values():
                if known.failure is not None:
                    raise known.failure
                if known.batch and several:
                    stream.take_over(known)
            made = {}
            for number, nbytes in self._made.items():
                storage = Storage(Slot(stream, nbytes))
                made[number] = storage
                bound[number] = storage.slot
            self._touch(bound)
            scalars = self._scalars
            for at, compute in self._live:
                values = compute()
                scalars[at : at + len(values)] = values
            stream.launch(bound, self._plan, list(scalars), self._commands)
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
        if self._stream.commands_gathered():  # the copies
            self._stream.submit()
