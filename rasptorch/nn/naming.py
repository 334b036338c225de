"""Names of a module's parts, and how a tree of modules is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .module import Module


def check_name(module: Module, name: Any, kind: str, table: Mapping[str, Any]) -> None:
    """Refuse names that would not work as attribute and as part of a dotted name."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a {kind} is a string, got {type(name).__name__}")
    if not name or "." in name:
        raise KeyError(f"the name of a {kind} is neither empty nor has a dot in it, got {name!r}")
    if name not in table and hasattr(module, name):
        raise KeyError(f"{type(module).__name__} already has an attribute {name!r}")


def described(kind: str, extra: str, parts: Sequence[tuple[str, str]]) -> str:
    """``Kind(extra)`` on one line, or with a line (indented by two) for each named part."""
    lines = extra.split("\n") if extra else []
    lines += [f"({name}): " + text.replace("\n", "\n  ") for name, text in parts]
    if not parts and len(lines) <= 1:
        return f"{kind}({''.join(lines)})"
    return f"{kind}(\n  " + "\n  ".join(lines) + "\n)"
