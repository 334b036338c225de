"""What operations made of others share: a gradient of their own, and a form that writes in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.mode import no_grad, recording
from ..autograd.node import Node
from ..runtime.errors import DTypeError, ShapeError
from ..tensor import Tensor
from .dispatch import tape
from .elementwise import check_writable, fitted
from .indexing import setitem
from .views import copy_into

Gradients = Callable[[Node, Tensor], Sequence[Tensor | None]]


def with_gradients(
    name: str, compute: Callable[[], Tensor], gradients: Gradients, operands: Sequence[Any], keep_output: bool = False
) -> Tensor:
    """The result of ``compute()`` with gradients of its own.

    ``gradients(node, g)`` gives one per operand, as if all had the result's shape; ``node.values()`` are the operands. For formulas
    whose gradient overflows, or costs more than it has to, when it is taken step by step.
    """
    with no_grad():
        out = compute()

    def backward(node: Node, g: Tensor) -> list[Tensor | None]:
        found = zip(gradients(node, g), node.attributes, strict=True)
        return [None if d is None or layout is None else fitted(d, layout) for d, layout in found]

    layouts = [x.layout if isinstance(x, Tensor) else None for x in operands]
    return tape(out, name, backward, operands, tuple(operands), layouts, keep_output)


def written(name: str, target: Tensor, result: Tensor) -> Tensor:
    """``target`` becomes ``result``, which has its shape and whose kind of number fits."""
    check_writable(name, target, (result,))
    if result.shape != target.shape:
        raise ShapeError(f"{name}: the result has shape {list(result.shape)}, the tensor written to {list(target.shape)}")
    if result.dtype.category > target.dtype.category:
        raise DTypeError(f"{name}: the result is {result.dtype.name} and does not fit into a tensor of {target.dtype.name}")
    if recording.get() and (target.requires_grad or result.requires_grad):
        setitem(target, ..., result)
    else:
        copy_into(target, result)
    return target


def in_place(name: str, operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method ``name`` (with its underscore) that writes what ``operation`` gives."""

    def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
        taped = recording.get() and any(isinstance(t, Tensor) and t.requires_grad for t in (self, *args))
        before = self.clone() if taped else self  # gradients may need what was there
        return written(name, self, operation(before, *args, **options))

    method.__name__ = name
    method.__doc__ = f"`{name[:-1]}`, written into this tensor."
    return method
