"""Hooks around a module's forward: in which order they run, and which of them get keyword arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .hooks import Hook, RemovableHandle

if TYPE_CHECKING:
    from .module import Module


class WithKwargs:
    """A hook that is given keyword arguments, too."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook

    def __call__(self, *args: Any) -> Any:
        return self._hook(*args)


def wants_kwargs(hook: Hook) -> bool:
    return isinstance(hook, WithKwargs)


def added(hooks: dict[int, Hook], hook: Hook, prepend: bool, with_kwargs: bool) -> RemovableHandle:
    """Register ``hook`` at the end, or in front of the others."""
    handle = RemovableHandle(hooks, WithKwargs(hook) if with_kwargs else hook)
    if prepend:
        for key in [key for key in hooks if key != handle.id]:
            hooks[key] = hooks.pop(key)
    return handle


def changed_arguments(hook: Hook, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments as a hook before forward leaves them."""
    if wants_kwargs(hook):
        changed = hook(module, args, kwargs)
        if changed is None:
            return args, kwargs
        if not (isinstance(changed, tuple) and len(changed) == 2):
            raise TypeError(
                f"{type(module).__name__}: a forward pre-hook with keyword arguments returns None or (args, kwargs), "
                f"got {type(changed).__name__}"
            )
        return changed
    changed = hook(module, args)
    if changed is None:
        return args, kwargs
    return (changed if isinstance(changed, tuple) else (changed,)), kwargs
