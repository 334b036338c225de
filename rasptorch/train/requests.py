"""What a training asks for, and the two who answer: a blocking loop and a Trio task.

The training itself (`rasptorch/train/loop.py`) is a generator. It yields a `Request` wherever something may have to be waited for and
goes on with the answer, so it is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

from ..data.batches import Batches
from ..data.collate import mapped, on_device
from ..data.loader import DataLoader
from ..runtime.device import Device
from ..runtime.readback import Readback
from ..runtime.stream import Stream
from .interrupts import Interrupts

T = TypeVar("T")
END = object()  # the answer to `Next` when there are no more batches


class Request(Protocol):
    """Something to be waited for, in either way."""

    def block(self) -> Any:
        """The answer, in a script or thread."""

    async def arrive(self) -> Any:
        """The answer, in a Trio task."""


Steps = Generator[Request, Any, T]


class Foreign:
    """Batches of any iterable: arrays (also of other libraries) and tensors are brought to the device as they come."""

    def __init__(self, batches: Iterator[Any], device: Device) -> None:
        self._batches = batches
        self._device = device

    def take(self) -> Any:
        """The next batch, or END."""
        for batch in self._batches:
            return mapped(batch, lambda value: on_device(value, self._device))
        return END

    def close(self) -> None:
        """Let generators clean up."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()


def open_batches(loader: Iterable[Any], start: int, device: Device) -> Batches | Foreign:
    """The batches of a loader from number ``start`` on, on ``device``."""
    if isinstance(loader, DataLoader):
        return loader.batches(start, device)
    return Foreign(islice(iter(loader), start, None), device)


class Next:
    """The next batch, or END. While it is waited for, Ctrl-C acts at once."""

    def __init__(self, source: Batches | Foreign, interrupts: Interrupts) -> None:
        self._source = source
        self._interrupts = interrupts

    def block(self) -> Any:
        with self._interrupts.at_once():
            return self._source.take() if isinstance(self._source, Foreign) else next(self._source, END)

    async def arrive(self) -> Any:
        if isinstance(self._source, Foreign):
            import trio

            return await trio.to_thread.run_sync(self._source.take)
        try:
            return await self._source.__anext__()
        except StopAsyncIteration:
            return END


class Close:
    """No more batches are wanted of this source."""

    def __init__(self, source: Batches | Foreign) -> None:
        self._source = source

    def block(self) -> None:
        self._source.close()

    async def arrive(self) -> None:
        if isinstance(self._source, Foreign):
            self._source.close()
        else:
            await self._source.aclose()


class Values:
    """What several readbacks bring."""

    def __init__(self, readbacks: Sequence[Readback[Any]]) -> None:
        self._readbacks = readbacks

    def block(self) -> list[Any]:
        return [readback.wait() for readback in self._readbacks]

    async def arrive(self) -> list[Any]:
        return [await readback for readback in self._readbacks]


class Room:
    """Room for another submission. In a script, submitting has waited for it already."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def block(self) -> None:
        self._stream.make_room_if_crowded()

    async def arrive(self) -> None:
        await self._stream.has_room()


class Call:
    """The result of a function that blocks; in a Trio task a thread calls it, and being cancelled does not stop it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def block(self) -> Any:
        return self._function()

    async def arrive(self) -> Any:
        import trio

        with trio.CancelScope(shield=True):
            return await trio.to_thread.run_sync(self._function)


def run_blocking(steps: Steps[T]) -> T:
    """Run a training in this thread."""
    answer: Any = None
    problem: BaseException | None = None
    try:
        while True:
            try:
                request = steps.send(answer) if problem is None else steps.throw(problem)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # what a generator returns is not typed there
            answer = problem = None
            try:
                answer = request.block()
            except BaseException as found:
                problem = found
    finally:
        problem = None  # its traceback holds this frame


async def run_trio(steps: Steps[T]) -> T:
    """Run a training in this Trio task. What it does between two requests is not interrupted by Ctrl-C."""
    import trio

    @trio.lowlevel.enable_ki_protection
    def send(value: Any) -> Request:
        return steps.send(value)

    @trio.lowlevel.enable_ki_protection
    def throw(found: BaseException) -> Request:
        return steps.throw(found)

    answer: Any = None
    problem: BaseException | None = None
    try:
        while True:
            try:
                request = send(answer) if problem is None else throw(problem)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # what a generator returns is not typed there
            answer = problem = None
            try:
                answer = await request.arrive()
            except BaseException as found:
                problem = found
    finally:
        problem = None  # its traceback holds this frame
