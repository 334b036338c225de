"""``axis=`` and ``keepdims=``, NumPy's names for ``dim=`` and ``keepdim=``, wherever PyTorch takes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_ALIASES = {"axis": "dim", "keepdims": "keepdim"}


def renamed(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the function ``name`` under PyTorch's names. `TypeError` where one is given under both."""
    if not _ALIASES.keys() & options.keys():
        return options
    made: dict[str, Any] = {}
    for option, value in options.items():
        meant = _ALIASES.get(option, option)
        if meant in made:
            raise TypeError(f"{name}: {meant} is given twice, as {meant}= and under NumPy's name for it; leave one of them out")
        made[meant] = value
    return made


def takes_axis(function: Callable[P, R]) -> Callable[P, R]:
    """For functions with ``dim``: it may be given as ``axis``."""
    name = function.__name__

    @wraps(function)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        return function(*args, **renamed(name, options)) if options else function(*args)  # type: ignore[call-arg]  # ParamSpec

    return wrapped
