"""Functions that users hang onto an optimiser: around its steps, and around its state on the way out and in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..autograd.hooks import Hook, RemovableHandle

if TYPE_CHECKING:
    from .optimizer import Optimizer

KINDS = ("before a step", "after a step", "before saving", "after saving", "before loading", "after loading")


class Hooked:
    """What registers hooks; they run in the order of registration, those with ``prepend`` before all others."""

    def __init__(self) -> None:
        self._hooks: dict[str, dict[int, Hook]] = {kind: {} for kind in KINDS}

    def _added(self, kind: str, hook: Hook, prepend: bool = False) -> RemovableHandle:
        hooks = self._hooks[kind]
        handle = RemovableHandle(hooks, hook)
        if prepend:
            for key in [key for key in hooks if key != handle.id]:
                hooks[key] = hooks.pop(key)
        return handle

    def _call(self, kind: str, *args: Any) -> None:
        for hook in tuple(self._hooks[kind].values()):
            hook(self, *args)

    def _passed(self, kind: str, state: dict[str, Any]) -> dict[str, Any]:
        """``state`` after the hooks, each of which may return another one."""
        for hook in tuple(self._hooks[kind].values()):
            changed = hook(self, state)
            state = state if changed is None else changed
        return state

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before every step; ``args`` begins with the optimiser, and a closure is in ``kwargs``.
        What it returns, if not None, is a pair that replaces both. A captured step calls hooks only while it is captured.
        """
        return self._added("before a step", hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after every step; see `register_step_pre_hook`."""
        return self._added("after a step", hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` before ``state_dict`` looks at anything."""
        return self._added("before saving", hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` on what ``state_dict`` made; what it returns, if not None, replaces that."""
        return self._added("after saving", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` on a shallow copy of what is to be loaded; what it returns, if not None, replaces that."""
        return self._added("before loading", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` when a state is loaded."""
        return self._added("after loading", hook, prepend)


def arguments(optimizer: Optimizer, hooks: dict[int, Hook], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A step's arguments as the hooks before it leave them."""
    for hook in tuple(hooks.values()):
        changed = hook(optimizer, args, kwargs)
        if changed is not None:
            if not (isinstance(changed, tuple) and len(changed) == 2):
                raise RuntimeError(
                    f"{type(optimizer).__name__}: a hook before a step returns None or (args, kwargs), got {type(changed).__name__}"
                )
            args, kwargs = changed
    return args, kwargs
