"""Values that backward needs and that are computed again instead of kept: what `rasptorch.utils.checkpoint` is made of.

While a function runs inside a `Frame`, the nodes it makes keep nothing: each gets a number. The first of them that is asked for its
values has the frame run the function once more; the nodes made then, which keep everything, answer for those with the same numbers.
Random numbers are drawn once: the second run gets those of the first (also in a captured step that is replayed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

from ..runtime.errors import RasptorchError
from .mode import recording

if TYPE_CHECKING:
    from ..tensor import Tensor
    from .node import Node

Draw = Callable[[], Sequence[int]]

# Frames whose function is running in some context, and hooks on what is saved (see `saving`). Empty nearly always, which is what making
# a node looks at first.
running: list[Any] = []
_stack: ContextVar[tuple[Frame, ...]] = ContextVar("rasptorch_recompute_frames", default=())


class RecomputeError(RasptorchError, RuntimeError):
    """The function did something else the second time."""


class Frame:
    """One call of ``function``, whose values are computed again when they are needed. ``keeps_draws``: with the same random numbers."""

    def __init__(self, function: Callable[[], Any], inputs: Sequence[Any], keeps_draws: bool) -> None:
        self._function = function
        self._inputs = [(x.storage, x.storage.version) for x in inputs]
        self._keeps_draws = keeps_draws
        self._context: Context | None = None
        self._names: list[str] = []
        self._released: set[int] = set()
        self._nodes: dict[int, Node] | None = None  # of the second run
        self._draws: list[list[Sequence[int]]] = []
        self._drawn = 0
        self._second = False

    def run(self) -> Any:
        """The first run."""
        self._context = copy_context()
        return self._inside(self._function, _stack.get())

    def _inside(self, function: Callable[[], Any], outer: tuple[Frame, ...]) -> Any:
        token = _stack.set((*outer, self))
        running.append(self)
        try:
            return function()
        finally:
            running.remove(self)
            _stack.reset(token)

    def _run_again(self) -> dict[int, Node]:
        for storage, version in self._inputs:
            if storage.version != version:
                raise RecomputeError(
                    "checkpoint: an input was changed in place after the function was called, so that its values cannot be computed again"
                )
        assert self._context is not None
        self._second, self._drawn = True, 0
        found: dict[int, Node] = {}
        self._nodes = found

        def taped() -> None:
            recording.set(True)
            self._inside(self._function, ())

        try:
            self._context.copy().run(taped)
            if len(found) != len(self._names):
                raise RecomputeError(
                    f"checkpoint: the function made {len(self._names)} taped operations the first time and {len(found)} the second; "
                    "it has to do the same for the same inputs"
                )
        except BaseException:
            self._nodes = None
            raise
        finally:
            self._second = False
        for number in self._released:
            del found[number]
        return found

    def note(self, node: Node) -> bool:
        """Take note of a node that the function makes. True: it keeps nothing, and comes here for its values."""
        if not self._second:
            node.elsewhere = Again(self, len(self._names))
            self._names.append(node.name)
            return True
        assert self._nodes is not None
        number = len(self._nodes)
        if number >= len(self._names) or node.name != self._names[number]:
            expected = self._names[number] if number < len(self._names) else "nothing"
            raise RecomputeError(
                f"checkpoint: taped operation {number} was {expected} the first time and is {node.name} now; "
                "the function has to do the same for the same inputs"
            )
        self._nodes[number] = node
        return False

    def node(self, number: int) -> Node:
        """The node that answers for number ``number``."""
        nodes = self._run_again() if self._nodes is None else self._nodes
        return nodes[number]

    def release(self, number: int) -> None:
        """Nobody will ask for this one again."""
        self._released.add(number)
        if self._nodes is not None:
            self._nodes.pop(number, None)

    def same_draw(self, draw: Draw) -> Draw:
        """A draw of random numbers that gives the second run what it gave the first."""
        if not self._keeps_draws:
            return draw
        if self._second:
            if self._drawn == len(self._draws):
                raise RecomputeError("checkpoint: the function draws more random numbers the second time")
            kept = self._draws[self._drawn]
            self._drawn += 1
            return lambda: kept[0]
        slot: list[Sequence[int]] = [()]
        self._draws.append(slot)

        def once() -> Sequence[int]:
            slot[0] = draw()
            return slot[0]

        return once


class Again(NamedTuple):
    """The values of a node that keeps nothing: those of node ``number`` of the frame's second run."""

    frame: Frame
    number: int

    def values(self) -> tuple[Any, ...]:
        return self.frame.node(self.number).values()

    def keep_output(self, out: Tensor) -> None:
        """The second run's node does."""

    def result(self, node: Node) -> Tensor:
        return self.frame.node(self.number).result()

    def forget(self) -> None:
        """The second run's nodes stay until they are released."""

    def release(self) -> bool:
        self.frame.release(self.number)
        return True


def frames() -> tuple[Frame, ...]:
    """The frames whose function is running here, outermost first."""
    return _stack.get()


def note(node: Node) -> bool:
    """Tell every frame whose function is running of a node it made; whether that node keeps nothing."""
    keeps_nothing = False
    for frame in _stack.get():
        keeps_nothing = frame.note(node) or keeps_nothing
    return keeps_nothing


def first_run() -> bool:
    """Whether a frame's function runs for the first time: what is made keeps nothing anyway."""
    return any(not frame._second for frame in _stack.get())


def drawing(draw: Draw) -> Draw:
    """``draw`` as the frames that are running want it."""
    if running:
        for frame in _stack.get():
            draw = frame.same_draw(draw)
    return draw
