"""Points on a stream's timeline.

A fence's life: open (its batch is still being gathered) -> submitted -> done or failed. The value never goes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from . import waiting

if TYPE_CHECKING:
    from collections.abc import Generator

    from .stream import Stream


class Fence:
    """Stands for "everything enqueued on ``stream`` up to here"; its value is the submission that holds it."""

    __slots__ = ("stream", "value")

    def __init__(self, stream: Stream, value: int) -> None:
        self.stream: Final = stream
        self.value: Final = value

    def __repr__(self) -> str:
        return f"Fence({self.stream.name}, {self.value}, {self.state})"

    @property
    def state(self) -> str:
        """``open``, ``submitted``, ``done`` or ``failed``."""
        if self.value <= self.stream.completed():
            return "done"
        if self.stream.failure is not None:
            return "failed"
        return "submitted" if self.value <= self.stream.submitted else "open"

    def is_done(self) -> bool:
        """Whether it has been reached; never waits. Raises the stream's failure if it never will be."""
        if self.value <= self.stream.completed():
            return True
        if self.stream.failure is not None:
            raise self.stream.failure
        return False

    def wait(self, timeout: float | None = None) -> None:
        """Block until reached. ``timeout`` in seconds; raises `TimeoutError` past it."""
        waiting.wait_blocking(self, timeout)

    def __await__(self) -> Generator[Any, Any, None]:
        return waiting.wait_trio(self).__await__()
