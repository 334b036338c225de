"""Operations with a gradient written by hand, as in PyTorch: subclass `Function`, call ``.apply``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..runtime.errors import RasptorchError, ShapeError
from ..runtime.layout import Layout
from ..tensor import Tensor
from .mode import no_grad, recording
from .node import Node

Saved = tuple[Tensor | None, ...]


class FunctionError(RasptorchError, TypeError):
    """A `Function` was defined or used in a way that makes no gradient."""


class Context:
    """What ``forward`` leaves for ``backward``.

    ``needs_input_grad`` says for each argument of ``apply`` whether its gradient is wanted. Any attribute
    may be set; tensors belong into `save_for_backward`, which notices when they are changed in place.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self._saved: Saved = ()
        self._values: Callable[[], Saved] | None = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs, the output or tensors in between for ``backward``. Called at most once, in
        ``forward``.
        """
        for x in tensors:
            if x is not None and not isinstance(x, Tensor):
                raise FunctionError(f"save_for_backward takes tensors, got {type(x).__name__}; set an attribute of ctx")
        self._saved = tensors

    @property
    def saved_tensors(self) -> Saved:
        """What was saved. Raises `SavedTensorError` if one was changed in place since, or the graph was let
        go of.
        """
        return self._saved if self._values is None else self._values()


class Function:
    """Subclass with two static methods and call ``YourFunction.apply(*args)``.

    ``forward(ctx, *args)`` computes the output, one new tensor, without being taped. ``backward(ctx,
    gradient)`` returns a gradient per argument of ``apply`` (None for those that have none). It is written
    with operations on tensors, so gradients of gradients work.
    """

    def __init__(self) -> None:
        raise FunctionError(f"a Function is not instantiated: call {type(self).__name__}.apply(...)")

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Tensor:
        raise NotImplementedError("a Function needs a static method forward(ctx, ...)")

    @staticmethod
    def backward(ctx: Context, gradient: Tensor) -> Any:
        raise NotImplementedError("a Function needs a static method backward(ctx, gradient)")

    @classmethod
    def apply(cls, *args: Any) -> Tensor:
        """Run ``forward``, and tape it when an argument requires gradients. Returns its output.

        Raises `FunctionError` when ``forward`` returns anything but one tensor.
        """
        ctx = Context(tuple(isinstance(a, Tensor) and a.requires_grad for a in args))
        with no_grad():
            out: Any = cls.forward(ctx, *args)
        if not isinstance(out, Tensor):
            raise FunctionError(
                f"{cls.__name__}.forward returned {type(out).__name__}: a Function has one output, a tensor "
                "(write one Function per output, or put them into one tensor)"
            )
        if recording.get() and any(ctx.needs_input_grad) and out.dtype.is_floating_point:
            return _tape(cls, ctx, args, out)
        return out


def _tape(kind: type[Function], ctx: Context, args: tuple[Any, ...], out: Tensor) -> Tensor:
    saved, ctx._saved = ctx._saved, ()
    is_output = tuple(x is out for x in saved)
    if any(out is a for a in args):  # an argument passed on as it is: the same memory, another history
        is_output = (False,) * len(saved)
        out = out.alias()
        out.is_view = True
    # A node must not hold its own output: that would be a reference cycle.
    kept = tuple(None if own else x for x, own in zip(saved, is_output, strict=True))
    backward = _Backward(kind, ctx, [a.layout if isinstance(a, Tensor) else None for a in args], is_output)
    node = Node(kind.__name__, backward, [a if isinstance(a, Tensor) else None for a in args], kept)
    node.foreign = True
    if any(is_output):
        node.output = (Tensor._make, out.storage, out.offset, out.layout, out.storage.version)
    out.node, out.requires_grad = node, True
    return out


class _Backward:
    """The node's gradient: gives ``backward`` its context and checks what it returns."""

    def __init__(self, kind: type[Function], ctx: Context, layouts: Sequence[Layout | None], is_output: Sequence[bool]) -> None:
        self._kind = kind
        self._ctx = ctx
        self._layouts = layouts
        self._is_output = is_output

    def __call__(self, node: Node, gradient: Tensor) -> Sequence[Tensor | None]:
        self._ctx._values = lambda: tuple(node.result() if own else x for x, own in zip(node.values(), self._is_output, strict=True))
        try:
            given = self._kind.backward(self._ctx, gradient)
        finally:
            self._ctx._values = None
        found = list(given) if isinstance(given, (tuple, list)) else [given]
        if len(found) != len(self._layouts):
            raise FunctionError(f"{self._kind.__name__}.backward returned {len(found)} gradients for {len(self._layouts)} arguments")
        return [self._checked(k, g) if node.needs(k) else None for k, g in enumerate(found)]

    def _checked(self, number: int, gradient: Any) -> Tensor | None:
        if gradient is None:
            return None
        layout = self._layouts[number]
        assert layout is not None  # only tensors need gradients
        if not isinstance(gradient, Tensor):
            raise FunctionError(
                f"{self._kind.__name__}.backward returned {type(gradient).__name__} for argument {number}, not a tensor or None"
            )
        if gradient.shape != layout.shape:
            raise ShapeError(
                f"{self._kind.__name__}.backward: the gradient of argument {number} has shape "
                f"{list(gradient.shape)}, the argument {list(layout.shape)}"
            )
        return gradient if gradient.dtype is layout.dtype else gradient.to(layout.dtype)
