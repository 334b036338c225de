"""Pieces of device memory: blocks as the driver gives them, buffers as the pool cuts them."""

from __future__ import annotations

from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .pool import Pool
    from .stream import Stream

_keys = count(1)


class Memory(Enum):
    """What a buffer is for. On machines with one kind of memory all three are the same."""

    DEVICE = "device"
    UPLOAD = "upload"  # the host writes, the device reads
    READBACK = "readback"  # the device writes, the host reads (cached where there is such a type)


class Block:
    """A driver's allocation. ``bytes`` is its memory as the host sees it, or None where the host cannot.

    ``handle`` belongs to the driver. ``borrowed``: not the driver's but somebody else's, and back with them when unused.
    """

    __slots__ = ("borrowed", "bytes", "handle", "key", "memory", "nbytes")

    def __init__(
        self, nbytes: int, memory: Memory, handle: Any, bytes_: NDArray[np.uint8] | None, borrowed: bool = False
    ) -> None:
        self.borrowed: Final = borrowed
        self.key: Final = next(_keys)
        self.nbytes: Final = nbytes
        self.memory: Final = memory
        self.handle: Final = handle
        self.bytes: Final = bytes_


class Buffer:
    """``nbytes`` at ``offset`` in a block. Belongs to one slot or one batch; goes back to the pool with its fences.

    ``uses`` are the submissions that still used these bytes when a stream took them over from its own earlier work.
    """

    __slots__ = ("block", "key", "nbytes", "offset", "pool", "uses")

    def __init__(self, pool: Pool, block: Block, offset: int, nbytes: int, uses: dict[Stream, int] | None = None) -> None:
        self.uses: Final = uses
        self.pool: Final = pool
        self.block: Final = block
        self.offset: Final = offset
        self.nbytes: Final = nbytes
        self.key: Final = block.key << 48 | offset  # one number: recordings are found by those of all buffers

    def view(self, nbytes: int, start: int = 0) -> NDArray[np.uint8]:
        """``nbytes`` from ``start`` on as the host sees them. Only for mapped memory, and only when no command is using it."""
        if self.block.bytes is None:
            raise RuntimeError("this buffer's memory is not visible to the host")
        start += self.offset
        return self.block.bytes[start : start + nbytes]

    @property
    def mapped(self) -> bool:
        return self.block.bytes is not None
