"""Whether operations are taped. Kept per context, so a Trio task or a thread does not see another's
``no_grad``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

recording: ContextVar[bool] = ContextVar("rasptorch_grad_enabled", default=True)


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require gradients are being taped here."""
    return recording.get()


class set_grad_enabled:
    """``with set_grad_enabled(flag):``, or as a decorator. Also takes effect at once when merely called, as
    in PyTorch.
    """

    def __init__(self, mode: bool) -> None:
        self._mode = mode
        self._tokens: list[Token[bool]] = [recording.set(mode)]

    def __enter__(self) -> None:
        if not self._tokens:
            self._tokens.append(recording.set(self._mode))

    def __exit__(self, *_: object) -> None:
        recording.reset(self._tokens.pop())


class _Mode:
    """A mode that takes effect inside ``with`` and around decorated functions."""

    _value = False

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(recording.set(self._value))

    def __exit__(self, *_: object) -> None:
        recording.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        kind = type(self)

        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> R:
            with kind():
                return function(*args, **kwargs)

        return wrapped


class no_grad(_Mode):
    """``with no_grad():`` or ``@no_grad()``: nothing is taped, results do not require gradients."""


class enable_grad(_Mode):
    """``with enable_grad():`` or ``@enable_grad()``: tape again inside a ``no_grad``."""

    _value = True


class inference_mode(_Mode):
    """As `no_grad`; the name programs for inference use."""
