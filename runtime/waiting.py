"""The only place where anybody waits; written once for threads and once for Trio.

Rules: enqueueing never comes here, except for back-pressure in a script. A blocking wait inside a Trio task is an error
that says what to await. Cancelling an await loses nothing and stops nothing. A failed stream wakes everybody.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from . import capture, settings
from .errors import BlockingInTrio, TooMuchInFlight, WaitingForbidden
from .interrupts import in_main_thread

if TYPE_CHECKING:
    import trio

    from .device import Device
    from .fence import Fence
    from .stream import Stream

_forbidden: ContextVar[bool] = ContextVar("rasptorch_waiting_forbidden", default=False)
_LOOK_UP = 0.1  # seconds the main thread stays inside one wait: Ctrl-C is only seen between two
_LINGER = 0.2  # seconds a watcher stays when nobody waits: making a thread costs more than a wait


def in_trio_task() -> bool:
    """Whether the caller runs inside a Trio task. Does not import Trio: who has not imported it is not in a task."""
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())


def task_name() -> str:
    """The name of the Trio task that the caller runs in; empty outside of tasks. Does not import Trio either."""
    return str(sys.modules["trio"].lowlevel.current_task().name) if in_trio_task() else ""


@contextmanager
def forbid_waiting() -> Iterator[None]:
    """Inside, any wait raises `WaitingForbidden`: proves that a stretch of a program only enqueues."""
    token = _forbidden.set(True)
    try:
        yield
    finally:
        _forbidden.reset(token)


def _check_allowed(fence: Fence) -> None:
    if _forbidden.get():
        raise WaitingForbidden(f"waiting for {fence} would wait, inside `with forbid_waiting():`")


def wait_blocking(fence: Fence, timeout: float | None = None) -> None:
    """Block this thread until ``fence`` is done. ``timeout`` in seconds; `TimeoutError` past it."""
    if capture.active:
        capture.refuse("waiting")
    stream = fence.stream
    refused = in_trio_task() or _forbidden.get()
    _submit_up_to(fence, waited=not refused)
    if not refused:
        _block(fence, timeout)
    elif not fence.is_done():
        _check_allowed(fence)
        raise BlockingInTrio("this would block the Trio loop: `await` the fence or readback instead")
    stream.retire()
    stream.device.raise_noted_errors()


def _submit_up_to(fence: Fence, *, waited: bool = False) -> None:
    """Submit the batch that ``fence`` stands for, if it is still being gathered. Raises what kept it from running."""
    stream = fence.stream
    stream.device.check_process()
    if fence.value > stream.submitted:
        stream.submit(waited=waited)
        if fence.value > stream.submitted:
            problem = stream.failure or stream.abandoned
            raise problem or ValueError(f"{fence} is never reached: nothing is enqueued that leads there")


def _block(fence: Fence, timeout: float | None) -> None:
    stream, device = fence.stream, fence.stream.device
    driver = device.driver
    interrupts = driver.interrupts()  # before one looks, so that no wake-up is missed
    if fence.is_done():
        return
    began = perf_counter()
    deadline = None if timeout is None else monotonic() + timeout
    longest = _LOOK_UP if in_main_thread() else None
    while True:
        seconds = longest
        if deadline is not None:
            seconds = deadline - monotonic()
            if seconds <= 0:
                raise TimeoutError(f"{fence} was not reached within {timeout} s")
            seconds = seconds if longest is None else min(seconds, longest)
        try:
            driver.wait([(stream.timeline, fence.value)], seconds, interrupts)
        except Exception as problem:
            device.poison(problem)
        interrupts = driver.interrupts()
        if fence.is_done():
            break
    device.statistics.waits += 1
    for observer in device.observers.active:
        observer.waited(fence, began, perf_counter() - began, True)


def wait_for_room(stream: Stream, value: int) -> None:
    """Back-pressure: a script waits until submission ``value`` is done; a Trio task goes on, up to the hard limit."""
    from .fence import Fence

    if in_trio_task() or _forbidden.get():
        waiting, limit = stream.submitted - stream.completed(), settings.current.in_flight_hard
        if waiting > limit:
            raise TooMuchInFlight(
                f"{waiting} submissions of {stream.name} are unfinished, past the limit of {limit} "
                "(RASPTORCH_IN_FLIGHT_HARD): `await stream.has_room()` or await a readback in the loop"
            )
        return
    _block(Fence(stream, value), None)


async def wait_trio(fence: Fence) -> None:
    """Wait in a Trio task; always a checkpoint. Cancelling it neither loses the work nor stops the device."""
    import trio

    capture.refuse("waiting")
    stream, device = fence.stream, fence.stream.device
    _submit_up_to(fence)
    if fence.is_done():
        await trio.lowlevel.checkpoint()
    else:
        _check_allowed(fence)
        began = perf_counter()
        while not fence.is_done():
            await device.watcher.reached(fence)
        device.statistics.waits += 1
        for observer in device.observers.active:
            observer.waited(fence, began, perf_counter() - began, False)
    stream.retire()
    device.raise_noted_errors()


class Watcher:
    """One thread per device that blocks for all Trio tasks; it exists only while somebody awaits (and a moment longer)."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._changed = threading.Condition()
        self._waiters: dict[object, tuple[Fence, trio.lowlevel.Task, trio.lowlevel.TrioToken]] = {}
        self._waking: dict[object, trio.lowlevel.Task] = {}
        self._thread: threading.Thread | None = None
        self._closing = False

    def close(self) -> None:
        """Wake whoever still awaits (their streams have failed by now) and end the thread."""
        with self._changed:
            self._closing = True
            thread = self._thread
            self._changed.notify()
        self._device.driver.interrupt()
        if thread is not None:
            thread.join()

    async def reached(self, fence: Fence) -> None:
        """Returns once the fence is done or its stream has failed (look again: wake-ups may be early)."""
        import trio

        key = object()

        def abort(_: Any) -> trio.lowlevel.Abort:
            with self._changed:
                self._waiters.pop(key, None)
                self._waking.pop(key, None)
            return trio.lowlevel.Abort.SUCCEEDED

        with self._changed:
            self._waiters[key] = (fence, trio.lowlevel.current_task(), trio.lowlevel.current_trio_token())
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name=f"{self._device.name} watcher", daemon=True)
                self._thread.start()
            self._changed.notify()
        self._device.driver.interrupt()  # the thread may be blocked on somebody else's fence
        await trio.lowlevel.wait_task_rescheduled(abort)

    def _watch(self) -> None:
        driver = self._device.driver
        while True:
            interrupts = driver.interrupts()
            with self._changed:
                self._wake_reached()
                if not self._waiters:
                    self._changed.wait_for(lambda: bool(self._waiters) or self._closing, _LINGER)
                    if not self._waiters:
                        self._thread = None
                        return
                points = [(f.stream.timeline, f.value) for f, _, _ in self._waiters.values()]
            try:
                driver.wait(points, None, interrupts)
            except Exception as problem:
                self._device.poison(problem)

    def _wake_reached(self) -> None:
        for key, (fence, task, token) in list(self._waiters.items()):
            if fence.state in ("done", "failed"):
                del self._waiters[key]
                self._waking[key] = task
                try:
                    token.run_sync_soon(self._reschedule, key)
                except RuntimeError:  # trio.RunFinishedError: the loop is gone, and the task with it
                    del self._waking[key]

    def _reschedule(self, key: object) -> None:
        """In the Trio thread: wake the task unless it was cancelled meanwhile."""
        import trio

        with self._changed:
            task = self._waking.pop(key, None)
        if task is not None:
            trio.lowlevel.reschedule(task)


def finish_submitted(stream: Stream) -> None:
    """Wait for what has been submitted, whoever asks: the pool is out of memory and nothing else can help."""
    from .fence import Fence

    if stream.failure is None and stream.completed() < stream.submitted:
        _block(Fence(stream, stream.submitted), None)
    stream.retire()
