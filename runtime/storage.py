"""What a tensor holds: bytes that will exist. They get a buffer when a batch is planned, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from weakref import ref

from .buffer import Memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from .buffer import Buffer
    from .fence import Fence
    from .readback import Readback
    from .stream import Stream


class Slot:
    """The engine's side of a storage; lives on while a batch still needs it after the tensors are gone.

    ``batch`` and ``index`` say where the open batch knows it; ``dirty`` is the last batch that writes it. ``written`` and ``used``
    are the fences of its last writer and of each stream's last use: nothing may be added to that dict, which slots share. ``failure`` is
    set when the batch that should have computed it could not run.
    """

    __slots__ = (
        "batch", "buffer", "dirty", "failure", "index", "memory", "nbytes", "owner", "readbacks", "stream", "used", "written",
    )  # fmt: skip

    def __init__(self, stream: Stream, nbytes: int, memory: Memory = Memory.DEVICE, batch: int = 0, index: int = 0) -> None:
        """``batch`` is the one that makes it, if one does, and ``index`` its number there."""
        self.stream = stream
        self.nbytes = nbytes
        self.memory = memory
        self.batch = self.dirty = batch
        self.index = index
        self.buffer: Buffer | None = None
        self.owner: Callable[[], Storage | None] = _nobody
        self.written: Fence | None = None
        self.used: dict[Stream, int] | None = None
        self.readbacks: list[ref[Readback[Any]]] | None = None
        self.failure: BaseException | None = None

    def __del__(self) -> None:
        buffer = getattr(self, "buffer", None)  # Ctrl-C may come before there is one
        if buffer is not None:
            buffer.pool.give_back(buffer, self.used)


def _nobody() -> None:
    return None


class Storage:
    """What tensors and saved values hold. When the last reference goes, nobody can see the bytes any more.

    ``version`` counts in-place writes, for autograd.
    """

    __slots__ = ("__weakref__", "slot", "version")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.version = 0
        slot.owner = ref(self)


class Placed(Protocol):
    """What begins at an element of a storage: a tensor, or a `Place`."""

    @property
    def storage(self) -> Storage:
        """Where its elements are."""

    @property
    def offset(self) -> int:
        """The first one's number there."""


class Place(NamedTuple):
    """The element number ``offset`` of a storage."""

    storage: Storage
    offset: int
