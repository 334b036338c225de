"""What kernels are made of on the host: functions with their arguments, bound beforehand and called in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Call = tuple[Callable[..., Any], tuple[Any, ...]]


def execute(calls: Iterable[Call]) -> None:
    for function, arguments in calls:
        function(*arguments)
