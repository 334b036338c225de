"""Functions that users hang onto modules; taken off again by the handle that `autograd.hooks` has for all hooks."""

from __future__ import annotations

from ..autograd.hooks import Hook, RemovableHandle

__all__ = ["Hook", "RemovableHandle"]
