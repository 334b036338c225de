"""The graph that backward walks: nodes and what they point at, to be looked at; hooks on what they save."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .node import AccumulateGrad, Node
from .saving import disable_saved_tensors_hooks, save_on_cpu, saved_tensors_hooks

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = ["AccumulateGrad", "Node", "disable_saved_tensors_hooks", "reachable", "save_on_cpu", "saved_tensors_hooks"]


def reachable(tensors: Tensor | Iterable[Tensor]) -> list[Node]:
    """Every node that a backward pass from these tensors would come to, newest first: no node before one that waits for it."""
    roots: Iterable[Any] = [tensors] if hasattr(tensors, "layout") else tensors
    stack = [t.node for t in roots if t.node is not None]
    seen = set(stack)
    while stack:
        for edge in stack.pop().edges:
            if isinstance(edge, Node) and edge not in seen:
                seen.add(edge)
                stack.append(edge)
    return sorted(seen, key=lambda node: -node.number)
