"""What a back end must do. The conformance suite in ``tests/conformance`` holds every driver to it.

Calls come with the device's lock held, except `wait`, `completed` and `interrupt`, which may come from any thread. A driver never
sees tensors, gradients or Trio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .buffer import Block, Buffer, Memory
    from .plan.plan import Plan
    from .statistics import Statistics


@dataclass(frozen=True)
class Traits:
    """What planning and kernel choice may know of a device. Sizes in bytes."""

    name: str
    kind: str  # "host", "discrete", "integrated", "software"
    alignment: int = 256  # of buffers within blocks
    hazard_alignment: int = 1  # byte ranges are widened to this before they are compared
    max_range: int = 1 << 62  # largest tensor a kernel can be given
    max_block: int = 1 << 62
    storage_buffers: int = 8
    parallelism: int = 1  # invocations that keep the device busy
    texels: int = 0  # most elements of a texel buffer a shader may read
    reduce_chunk: int = 1024  # most elements one invocation adds up: keeps the rounding error of long sums small
    int64: bool = True
    float64: bool = True
    missing: frozenset[tuple[str, str]] = frozenset()  # opcodes it has not, as (opcode, dtype)
    timestamp_every: int = 1  # of the submissions of a plan, one in how many is measured: several where that stops the device
    reentrant_recordings: bool = False  # a recording may be submitted again with other scalars before it is done


class KernelTimes(list[float]):
    """Seconds each dispatch of a submission took, in order, and when the first of them ``began``.

    ``began`` is in seconds on the clock of ``time.perf_counter()`` where ``thread`` names the thread that computed; where it
    is empty, on a clock of the device's own that started anywhere.
    """

    __slots__ = ("began", "thread")

    def __init__(self, seconds: Sequence[float], began: float, thread: str = "") -> None:
        super().__init__(seconds)
        self.began = began
        self.thread = thread


class Recording(Protocol):
    """A plan bound to buffers, ready to be submitted any number of times."""

    def release(self) -> None:
        """Give back what it holds. Only when no submission of it is unfinished."""


class Timeline(Protocol):
    """A counter that submissions raise when they are done."""

    def completed(self) -> int:
        """The value reached so far; never waits."""


class Driver(Protocol):
    name: str
    traits: Traits
    timestamps: bool  # set by the device: recordings made while it is true measure each dispatch

    def allocate(self, nbytes: int, memory: Memory) -> Block:
        """A new block; raises `MemoryError` when the device has no more."""

    def free(self, block: Block) -> None:
        """Give a block back. The caller made sure that nothing uses it any more."""

    def timeline(self) -> Any:
        """A new timeline at value 0."""

    def drop(self, timeline: Any) -> None:
        """Nobody will ask for the timeline any more, though submissions may still raise it.

        Called from anywhere, also by the garbage collector with locks held: only takes note.
        """

    def record(self, plan: Plan, buffers: Sequence[Buffer], statistics: Statistics) -> Any:
        """Bind a plan to buffers (in the order of ``plan.bound``, then the arena if it has one)."""

    def submit(
        self, timeline: Any, value: int, recording: Any, scalars: Sequence[float], waits: Sequence[tuple[Any, int]],
        statistics: Statistics, waited: bool = False,
    ) -> None:  # fmt: skip
        """Run a recording after ``waits`` and everything submitted to this timeline before; then raise it to ``value``.

        Counts what the device is given to do in ``statistics``. ``waited``: the caller will `wait` for it next.
        """

    def wait(self, points: Sequence[tuple[Any, int]], timeout: float | None, interrupts: int) -> None:
        """Until any of the points is reached, ``timeout`` seconds passed, or `interrupt` was called more than ``interrupts`` times.

        May return early. Raises what went wrong on the device, if it did.
        """

    def interrupts(self) -> int:
        """How often `interrupt` was called: read it, look at your condition, then `wait` with it, and nothing is missed."""

    def interrupt(self) -> None:
        """Wake every `wait` now."""

    def kernel_seconds(self, recording: Any) -> KernelTimes | None:
        """How long each dispatch of a finished submission took; None where the recording was made without timestamps.

        Where kernels run side by side, a kernel's time counts from the end of the one before it.
        """

    def close(self) -> None:
        """Finish all work, wake every `wait` and give everything back. Called once, after the last submission."""

    def leave(self) -> None:
        """Instead of `close` where the process ends: save what is worth it. Threads may still be inside, so nothing goes."""
