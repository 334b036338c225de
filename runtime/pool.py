"""Where buffers come from: large blocks, cut best-fit, given back with the fences that still use them.

A range that unfinished work of a stream still uses may be handed to later work of the *same* stream at once, because
the stream runs in order; the host, or another stream, only gets it when that work is done. Ranges with different fences
are joined only when both are idle (so that an idle range never becomes busy by its neighbour), or when nothing else fits.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from . import settings
from .buffer import Block, Buffer, Memory
from .errors import OutOfMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from .driver import Driver
    from .statistics import Statistics
    from .stream import Stream

    Uses = dict[Stream, int] | None

_BLOCK_STEP = 1 << 16
_offset = attrgetter("offset")


class FreeRange:
    """``size`` free bytes at ``offset``, once the submissions in ``uses`` are done."""

    __slots__ = ("offset", "size", "uses")

    def __init__(self, offset: int, size: int, uses: Uses) -> None:
        self.offset = offset
        self.size = size
        self.uses = uses

    def open_to(self, stream: Stream | None) -> bool:
        """Whether ``stream`` (None: the host) may have it now. Forgets uses that are done."""
        uses = self.uses
        if uses is None:
            return True
        for user, value in list(uses.items()):
            if value <= user.completed() or user.failure is not None:
                del uses[user]
            elif user is not stream:
                return False
        if not uses:
            self.uses = None
        return True


def _together(a: Uses, b: Uses) -> Uses:
    if a is None or b is None:
        return a if b is None else b
    joined = dict(a)
    for stream, value in b.items():
        joined[stream] = max(value, joined.get(stream, 0))
    return joined


class Pool:
    """One device's memory. All calls but `give_back` come with the device's lock held."""

    def __init__(self, driver: Driver, statistics: Statistics, reclaim: Callable[[], None]) -> None:
        self._driver = driver
        self._statistics = statistics
        self._reclaim = reclaim
        self._free: dict[Block, list[FreeRange]] = {}  # in the order of their offsets
        self._returned: deque[tuple[Buffer, Uses]] = deque()
        self._align: Final = driver.traits.alignment
        self.departed: list[int] = []  # keys of borrowed blocks that nobody uses any more: recordings forget them
        self.poison: Callable[[Buffer, Stream | None], None] | None = None  # told of every buffer and who gets it

    def give_back(self, buffer: Buffer, uses: Uses) -> None:
        """From any thread, also from the garbage collector: the buffer is free once ``uses`` are done."""
        self._returned.append((buffer, uses))

    def allocate(self, nbytes: int, memory: Memory, stream: Stream | None) -> Buffer:
        """A buffer for commands of ``stream``, or for the host to write now when ``stream`` is None.

        Raises `OutOfMemory` when the driver has no more (or the pool's limit is reached) after waiting for unfinished
        work and giving unused blocks back.
        """
        if self._returned:
            self.collect()
        size = -(-max(nbytes, 1) // self._align) * self._align
        buffer = (
            self._fit(size, memory, stream)
            or (self._join() and self._fit(size, memory, stream))
            or self._grow(size, memory)
            or self._squeeze(size, memory, stream)
        )
        counters = self._statistics
        counters.bytes_in_use += buffer.nbytes
        counters.bytes_peak = max(counters.bytes_peak, counters.bytes_in_use)
        if self.poison is not None:
            self.poison(buffer, stream)
        return buffer

    def borrow(self, data: NDArray[np.uint8]) -> Buffer:
        """A buffer that is somebody else's array. Counts as in use, not as reserved."""
        self.collect()
        block = Block(data.nbytes, Memory.DEVICE, data, data, borrowed=True)
        counters = self._statistics
        counters.bytes_in_use += block.nbytes
        counters.bytes_peak = max(counters.bytes_peak, counters.bytes_in_use)
        return Buffer(self, block, 0, block.nbytes)

    def part(self, buffer: Buffer, offset: int, nbytes: int) -> Buffer:
        """A piece of a buffer as one of its own. All pieces together must be given back instead of the whole."""
        size = -(-max(nbytes, 1) // self._align) * self._align
        return Buffer(self, buffer.block, buffer.offset + offset, size, buffer.uses)

    def collect(self) -> None:
        """Take in what was given back since the last call."""
        while self._returned:
            buffer, uses = self._returned.popleft()
            self._statistics.bytes_in_use -= buffer.nbytes
            if buffer.block.borrowed:
                self.departed.append(buffer.block.key)
                continue
            ranges = self._free.get(buffer.block)
            if ranges is not None:  # None: the pool was closed meanwhile
                kept = uses if buffer.uses is None else _together(uses, buffer.uses)
                insort(ranges, FreeRange(buffer.offset, buffer.nbytes, kept), key=_offset)

    def trim(self) -> int:
        """Give wholly unused, idle blocks back to the driver; returns the bytes."""
        self.collect()
        self._join()
        freed = 0
        for block, ranges in list(self._free.items()):
            if len(ranges) == 1 and ranges[0].size == block.nbytes and ranges[0].open_to(None):
                del self._free[block]
                self._driver.free(block)
                freed += block.nbytes
        self._statistics.bytes_reserved -= freed
        return freed

    def close(self) -> None:
        """Give every block back, used or not."""
        for block in list(self._free):
            del self._free[block]
            self._driver.free(block)
        self._statistics.bytes_reserved = 0

    def summary(self) -> str:
        """Who holds what, for the out-of-memory message."""
        counters = self._statistics
        free = sum(r.size for ranges in self._free.values() for r in ranges)
        largest = max((r.size for ranges in self._free.values() for r in ranges), default=0)
        limit = settings.current.pool_limit
        return (
            f"{counters.bytes_in_use:,} bytes in use, {counters.bytes_reserved:,} reserved in {len(self._free)} blocks, "
            f"{free:,} free (largest piece {largest:,}), peak {counters.bytes_peak:,}, "
            f"limit {f'{limit:,} (RASPTORCH_POOL_LIMIT)' if limit else 'none'}"
        )

    # -- finding room ---------------------------------------------------------------------------------------------
    def _fit(self, size: int, memory: Memory, stream: Stream | None) -> Buffer | None:
        best: tuple[int, Block, FreeRange] | None = None
        for block, ranges in self._free.items():
            if block.memory is not memory:
                continue
            for piece in ranges:
                if piece.size >= size and (best is None or piece.size < best[0]) and (piece.uses is None or piece.open_to(stream)):
                    best = (piece.size, block, piece)
                    if piece.size == size:
                        break
        if best is None:
            return None
        _, block, piece = best
        buffer = Buffer(self, block, piece.offset, size, None if piece.uses is None else dict(piece.uses))
        if piece.size == size:
            self._free[block].remove(piece)
        else:
            piece.offset += size
            piece.size -= size
        return buffer

    def _join(self) -> bool:
        """Merge neighbouring free ranges, busy or not; True if that changed anything."""
        changed = False
        for block, ranges in self._free.items():
            joined: list[FreeRange] = []
            for piece in ranges:
                if joined and joined[-1].offset + joined[-1].size == piece.offset:
                    joined[-1].size += piece.size
                    joined[-1].uses = _together(joined[-1].uses, piece.uses)
                    changed = True
                else:
                    joined.append(piece)
            self._free[block] = joined
        return changed

    def _grow(self, size: int, memory: Memory) -> Buffer | None:
        limit, counters = settings.current.pool_limit, self._statistics
        wanted = max(settings.current.pool_block, -(-size // _BLOCK_STEP) * _BLOCK_STEP)
        for nbytes in (wanted, -(-size // _BLOCK_STEP) * _BLOCK_STEP):
            if nbytes > self._driver.traits.max_block or (limit and counters.bytes_reserved + nbytes > limit):
                continue
            try:
                block = self._driver.allocate(nbytes, memory)
            except MemoryError:
                continue
            counters.allocations += 1
            counters.bytes_reserved += nbytes
            self._free[block] = [FreeRange(size, nbytes - size, None)] if nbytes > size else []
            return Buffer(self, block, 0, size)
        return None

    def _squeeze(self, size: int, memory: Memory, stream: Stream | None) -> Buffer:
        """Wait for unfinished work, give unused blocks back, and try once more."""
        self._reclaim()
        self.trim()
        buffer = self._fit(size, memory, stream) or self._grow(size, memory)
        if buffer is None:
            raise OutOfMemory(
                f"no room for {size:,} bytes of {memory.value} memory on {self._driver.traits.name}: {self.summary()}"
            )
        return buffer
