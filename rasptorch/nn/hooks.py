"""Functions that users hang onto modules, and how to take them off again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Final

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
