"""Functions that users hang onto tensors, nodes and modules, and how to take them off again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

if TYPE_CHECKING:
    from ..tensor import Tensor

Hook = Callable[..., Any]

_numbers = count(1)


class RemovableHandle:
    """What registering a hook returns; ``remove()`` takes the hook away. Also a context manager that does so
    at its end.
    """

    def __init__(self, hooks: dict[int, Hook], hook: Hook) -> None:
        self.id: Final = next(_numbers)
        self._hooks = hooks
        hooks[self.id] = hook

    def remove(self) -> None:
        """Take the hook away; doing it twice is fine."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Hooks:
    """The hooks of a leaf or a node: on its gradient, on what was accumulated (leaves), before and after a node runs (nodes).

    ``retained`` is the tensor whose ``.grad`` keeps the gradient although it is no leaf.
    """

    __slots__ = ("accumulated", "after", "before", "gradient", "retained")

    def __init__(self) -> None:
        self.gradient: dict[int, Hook] = {}
        self.accumulated: dict[int, Hook] = {}
        self.before: dict[int, Hook] = {}
        self.after: dict[int, Hook] = {}
        self.retained: ref[Tensor] | None = None

    def replaced(self, gradient: Tensor) -> Tensor:
        """``gradient`` after the hooks on it, in the order in which they were registered."""
        for hook in list(self.gradient.values()):
            changed = hook(gradient)
            gradient = gradient if changed is None else changed
        return gradient
