"""Hooks that see, and may replace, the gradients of a module's inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..autograd.function import Context, Function
from ..autograd.mode import recording
from ..tensor import Tensor

if TYPE_CHECKING:
    from .hooks import Hook
    from .module import Module

Gradients = tuple[Tensor | None, ...]


class _Passing(Function):
    """Tensors as they are; their gradients come back all at once (None where there is none) and go through ``passed``."""

    @staticmethod
    def forward(ctx: Context, passed: Callable[[Gradients], Gradients], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.passed = passed  # type: ignore[attr-defined]  # any attribute may be set
        return tensors

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor | None) -> Gradients:
        return (None, *ctx.passed(gradients))  # type: ignore[attr-defined]  # see forward


def _marked(values: Sequence[Any], passed: Callable[[Gradients], Gradients]) -> tuple[list[Any], list[int]]:
    """``values`` with the tensors among them that require gradients at a new place on the tape; which these are."""
    which = [k for k, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad] if recording.get() else []
    made = list(values)
    if which:
        for k, x in zip(which, _Passing.apply(passed, *(values[k] for k in which)), strict=True):
            made[k] = x
    return made, which


def _spread(gradients: Gradients, which: Sequence[int], count: int) -> Gradients:
    """One for each value, None for those without."""
    found = dict(zip(which, gradients, strict=True))
    return tuple(found.get(k) for k in range(count))


class HookedCall:
    """One call of a module with backward hooks: passes on what comes back to its outputs, and then what comes back to its inputs."""

    def __init__(self, module: Module, hooks: Sequence[Hook], before: Sequence[Hook]) -> None:
        self._module = module
        self._hooks = hooks
        self._before = before
        self._inputs: list[int] = []
        self._outputs: list[int] = []
        self._sizes = 0, 0
        self._seen: Gradients | None = None  # the outputs' gradients, while those of the inputs are on their way

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, those with gradients marked."""
        marked, self._inputs = _marked(args, self._entered)
        self._sizes = len(args), 0
        return tuple(marked)

    def leave(self, out: Any) -> Any:
        """The result, its tensors marked: one tensor, or a tuple or list with tensors in it."""
        several = isinstance(out, (tuple, list))
        outs, self._outputs = _marked(out if several else [out], self._left)
        self._sizes = self._sizes[0], len(outs)
        if not several:
            return outs[0]
        return type(out)._make(outs) if hasattr(out, "_make") else type(out)(outs)

    def _changed(self, gradients: Gradients, made: Any, what: str) -> Gradients:
        """What a hook returned in place of ``gradients``."""
        if made is None:
            return gradients
        found: Gradients = made if isinstance(made, tuple) else (made,)
        if len(found) != len(gradients):
            name = type(self._module).__name__
            raise RuntimeError(f"{name}: a backward hook returned {len(found)} gradients in place of {what}, which is {len(gradients)}")
        return found

    def _left(self, gradients: Gradients) -> Gradients:
        """The outputs' gradients are there."""
        seen = _spread(gradients, self._outputs, self._sizes[1])
        for hook in self._before:
            seen = self._changed(seen, hook(self._module, seen), "grad_output")
        if self._inputs:
            self._seen = seen
            return tuple(seen[k] for k in self._outputs)
        nothing: Gradients = (None,) * self._sizes[0]
        for hook in self._hooks:
            made = hook(self._module, nothing, seen)
            if made is not None and any(g is not None for g in (made if isinstance(made, tuple) else (made,))):
                raise RuntimeError(f"{type(self._module).__name__}: a backward hook returned gradients for inputs that require none")
        return tuple(seen[k] for k in self._outputs)

    def _entered(self, gradients: Gradients) -> Gradients:
        """The inputs' gradients are there."""
        seen, self._seen = self._seen, None
        if seen is None:  # they did not come through the outputs
            return gradients
        found = _spread(gradients, self._inputs, self._sizes[0])
        for hook in self._hooks:
            found = self._changed(found, hook(self._module, found, seen), "grad_input")
        return tuple(found[k] for k in self._inputs)
