"""Hooks that see the gradients of a module's inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..autograd.mode import recording
from ..autograd.node import Node
from ..ops.views import view
from ..tensor import Tensor

if TYPE_CHECKING:
    from .hooks import Hook
    from .module import Module

Gradients = tuple[Tensor | None, ...]


def _wants(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _marked(x: Tensor, passed: Callable[[Tensor], Tensor]) -> Tensor:
    """The same tensor as a new place on the tape, where its gradient goes through ``passed``."""

    def gradient(node: Node, g: Tensor) -> tuple[Tensor]:
        return (passed(g),)

    out = view(x, "module", x.shape, x.layout.strides, x.offset, gradient)
    if out.node is not None:
        out.node.foreign = True  # users' code sees the gradient, and may hold on to it
    return out


class HookedCall:
    """One call of a module with backward hooks: gathers gradients until those of all inputs are there."""

    def __init__(self, module: Module, hooks: Sequence[Hook]) -> None:
        self._module = module
        self._hooks = hooks
        self._inputs: list[Tensor | None] = []
        self._outputs: list[Tensor | None] = []
        self._missing = self._unseen = 0

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, those with gradients marked."""
        self._inputs = [None] * len(args)
        if not recording.get():
            return args
        self._missing = sum(map(_wants, args))
        return tuple(_marked(x, self._arrival(k)) if _wants(x) else x for k, x in enumerate(args))

    def leave(self, out: Any) -> Any:
        """The result, its tensors marked: one tensor, or a tuple or list with tensors in it."""
        several = isinstance(out, (tuple, list))
        outs = list(out) if several else [out]
        self._outputs = [None] * len(outs)
        if recording.get():
            self._unseen = sum(map(_wants, outs))
            outs = [_marked(x, self._departure(k)) if _wants(x) else x for k, x in enumerate(outs)]
        if not several:
            return outs[0]
        return type(out)._make(outs) if hasattr(out, "_make") else type(out)(outs)

    def _departure(self, number: int) -> Callable[[Tensor], Tensor]:
        def passed(g: Tensor) -> Tensor:
            self._outputs[number] = g
            self._unseen -= 1
            if self._missing == self._unseen == 0:
                self._call()
            return g

        return passed

    def _arrival(self, number: int) -> Callable[[Tensor], Tensor]:
        def passed(g: Tensor) -> Tensor:
            self._inputs[number] = g
            arrived = [x for x in self._inputs if x is not None]
            if len(arrived) < self._missing:
                return g
            changed = self._call()
            if changed is None:
                return g
            if len(arrived) > 1:
                raise RuntimeError(
                    f"{type(self._module).__name__}: a backward hook can replace the gradient of one input, and "
                    f"{len(arrived)} have one here; put hooks on the tensors (Tensor.register_hook)"
                )
            found = changed[number]
            return g if found is None else found

        return passed

    def _call(self) -> Gradients | None:
        """Call the hooks; what they made of the inputs' gradients, None if nothing was changed."""
        changed = None
        for hook in self._hooks:
            inputs = tuple(self._inputs) if changed is None else changed
            made = hook(self._module, inputs, tuple(self._outputs))
            if made is not None:
                changed = made if isinstance(made, tuple) else (made,)
        return changed
