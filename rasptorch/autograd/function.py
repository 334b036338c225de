"""Operations with a gradient written by hand, as in PyTorch: subclass `Function`, call ``.apply``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from ..runtime.errors import RasptorchError, ShapeError
from ..runtime.layout import Layout
from ..tensor import Tensor
from .mode import no_grad, recording
from .node import Node
from .saving import Packed

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
        self.materialize_grads = True
        self._saved: Saved = ()
        self._values: Callable[[], Saved] | None = None
        self._dirty: tuple[Tensor, ...] = ()
        self._plain: tuple[Tensor, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs, outputs or tensors in between for ``backward``. Called at most once, in ``forward``."""
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

    def mark_dirty(self, *args: Tensor) -> None:
        """These arguments of ``forward`` were changed in place there; they have to be among its outputs."""
        self._dirty = args

    def mark_non_differentiable(self, *args: Tensor) -> None:
        """These outputs have no gradient (``backward`` gets zeros, or None, for them)."""
        self._plain = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether ``backward`` gets zeros (the default) or None for outputs that no gradient came from."""
        self.materialize_grads = value


class Function:
    """Subclass with two static methods and call ``YourFunction.apply(*args)``.

    ``forward(ctx, *args)`` computes the output, a new tensor, or a tuple of tensors (and other things, which are
    passed on), without being taped. Or ``forward(*args)`` does, and ``setup_context(ctx, inputs, output)`` says what to keep.
    ``backward(ctx, *gradients)`` gets a gradient per output and returns one per argument of ``apply`` (None for
    those that have none). It is written with operations on tensors, so gradients of gradients work.
    """

    def __init__(self) -> None:
        raise FunctionError(f"a Function is not instantiated: call {type(self).__name__}.apply(...)")

    @staticmethod
    def forward(*args: Any) -> Any:
        raise NotImplementedError("a Function needs a static method forward(ctx, ...)")

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
        raise NotImplementedError("a Function whose forward has no ctx needs a static method setup_context(ctx, inputs, output)")

    @staticmethod
    def backward(ctx: Context, *gradients: Any) -> Any:
        raise NotImplementedError("a Function needs a static method backward(ctx, gradient)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward``, and tape it when an argument requires gradients. Returns its output or outputs."""
        ctx = Context(tuple(isinstance(a, Tensor) and a.requires_grad for a in args))
        with no_grad():
            if cls.setup_context is Function.setup_context:
                result = cls.forward(ctx, *args)
            else:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        if not any(isinstance(x, Tensor) for x in outputs):
            kind = type(result).__name__
            raise FunctionError(f"{cls.__name__}.forward returned {kind}: a Function returns a tensor, or a tuple with tensors")
        if recording.get() and any(ctx.needs_input_grad):
            outputs = _Taping(cls, ctx, args, outputs).outputs
        return tuple(outputs) if isinstance(result, (tuple, list)) else outputs[0]


class _Taping:
    """Makes the node of one call, and the outputs' places on the tape.

    Several outputs have a node each, which hands its gradient on to the one that runs ``backward``.
    """

    def __init__(self, kind: type[Function], ctx: Context, args: tuple[Any, ...], outputs: list[Any]) -> None:
        self._check_dirty(kind, ctx, args, outputs)
        saved, ctx._saved = ctx._saved, ()
        plain = [any(x is p for p in ctx._plain) or not isinstance(x, Tensor) or not x.dtype.is_floating_point for x in outputs]
        originals = outputs
        self.outputs = [self._own(x, args, ctx) for x in outputs]
        if all(plain):
            return
        # A node must not hold its own output: that would be a reference cycle.
        which = [_place(x, originals, self.outputs) for x in saved]
        kept = tuple(x if k is None else None for x, k in zip(saved, which, strict=True))
        layouts = [a.layout if isinstance(a, Tensor) else None for a in args]
        forms = [x.layout if isinstance(x, Tensor) else None for x in self.outputs]
        backward = _Backward(kind, ctx, layouts, which, forms)
        node = Node(kind.__name__, backward, [a if isinstance(a, Tensor) else None for a in args], kept)
        node.foreign = True
        several = len(outputs) > 1
        for k, x in enumerate(self.outputs):
            if not plain[k]:
                if x.node is not None:
                    x.node.replaced = True  # it was changed in place
                x.node = _part(node, k) if several else node
                x.requires_grad = True
        if several:
            backward.remember(node, self.outputs)
        elif which.count(0):
            node.keep_output(self.outputs[0])

    @staticmethod
    def _check_dirty(kind: type[Function], ctx: Context, args: tuple[Any, ...], outputs: list[Any]) -> None:
        for x in ctx._dirty:
            if not any(x is y for y in outputs):
                raise FunctionError(f"{kind.__name__}.forward: a tensor marked as dirty has to be returned as well")
            if not any(x is a for a in args):
                raise FunctionError(f"{kind.__name__}.forward: only arguments can be marked as dirty")
            if x.requires_grad and x.node is None:
                raise RasptorchError(f"{kind.__name__}: a leaf that requires gradients was changed in place; give it a clone")
            if x.is_view:
                raise RasptorchError(f"{kind.__name__}: a view was changed in place while gradients are recorded; clone it first")

    @staticmethod
    def _own(x: Any, args: tuple[Any, ...], ctx: Context) -> Any:
        """An argument passed on as it is: the same memory, another history."""
        if not any(x is a for a in args) or not isinstance(x, Tensor) or any(x is d for d in ctx._dirty):
            return x
        out = x.alias()
        out.is_view = True
        return out


def _place(x: Tensor | None, returned: list[Any], outputs: list[Any]) -> int | None:
    """Which output a saved value is; None for those that are no output, or an argument passed on."""
    if x is None:
        return None
    return next((k for k, y in enumerate(returned) if x is y and y is outputs[k]), None)


class Parts:
    """Gradients of several outputs, on their way to the node that made these; they add up like one gradient."""

    def __init__(self, parts: dict[int, Tensor]) -> None:
        self.parts = parts

    def __add__(self, other: Parts) -> Parts:
        joined = dict(self.parts)
        for k, g in other.parts.items():
            joined[k] = joined[k] + g if k in joined else g
        return Parts(joined)


def _part(node: Node, number: int) -> Node:
    """The node of output ``number``, which comes from ``node``."""
    made = Node(f"{node.name}[{number}]", lambda n, g: (Parts({n.attributes: g}),), (), (), number)  # type: ignore[arg-type, return-value]  # the engine only adds and passes on
    made.edges = (node,)
    return made


class _Backward:
    """The node's gradient: gives ``backward`` its context and checks what it returns."""

    def __init__(
        self, kind: type[Function], ctx: Context, layouts: Sequence[Layout | None], which: Sequence[int | None],
        forms: Sequence[Layout | None],
    ) -> None:  # fmt: skip
        self._kind = kind
        self._ctx = ctx
        self._layouts = layouts
        self._which = which  # for each saved value: the output it is, if it is one
        self._forms = forms
        self._outputs: dict[int, tuple[Any, ...]] = {}
        self._packed: dict[int, Any] = {}  # the same, where there are `saved_tensors_hooks`

    def remember(self, node: Node, outputs: Sequence[Any]) -> None:
        """Of several outputs: the memory of those that are saved."""
        for k in self._which:
            if k is not None:
                x = outputs[k]
                if isinstance(node.elsewhere, Packed):
                    self._packed[k] = node.elsewhere.output(x)
                    continue
                self._outputs[k] = (x.storage, x.offset, x.layout, x.storage.version)

    def _output(self, node: Node, number: int) -> Tensor:
        if number in self._packed:
            found: Tensor = self._packed[number].value(_part(node, number))
            return found
        if not self._outputs:
            return node.result()
        storage, offset, layout, version = self._outputs[number]
        if storage.version != version:
            raise RasptorchError(f"{node.name}: its output {number} was changed in place, and its gradient needs it; use a clone")
        x = Tensor._make(storage, offset, layout)
        x.node, x.requires_grad = _part(node, number), True
        return x

    def _saved(self, node: Node) -> Saved:
        kept = node.values()
        return tuple(x if k is None else self._output(node, k) for x, k in zip(kept, self._which, strict=True))

    def _gradients(self, gradient: Any) -> list[Tensor | None]:
        """One per output of ``forward``."""
        found = gradient.parts if isinstance(gradient, Parts) else {0: gradient}
        out: list[Tensor | None] = []
        for k, layout in enumerate(self._forms):
            if k in found or layout is None or not self._ctx.materialize_grads:
                out.append(found.get(k))
            else:
                from ..ops.creation import zeros

                out.append(zeros(layout.shape, dtype=layout.dtype, device=layout.device))
        return out

    def __call__(self, node: Node, gradient: Tensor) -> Sequence[Tensor | None]:
        self._ctx._values = lambda: self._saved(node)
        try:
            given = self._kind.backward(self._ctx, *self._gradients(gradient))
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


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """For a ``backward`` that is not made of differentiable operations: its results do not require gradients, and a second derivative
    through them is an error.
    """

    @wraps(fn)
    def wrapped(ctx: Context, *gradients: Any) -> Any:
        with no_grad():
            found = fn(ctx, *gradients)
        if not recording.get():
            return found
        several = isinstance(found, (tuple, list))
        out = [_refusing(x) if isinstance(x, Tensor) else x for x in (found if several else [found])]
        return tuple(out) if several else out[0]

    return wrapped


def _refusing(x: Tensor) -> Tensor:
    def refuse(node: Node, gradient: Tensor) -> Sequence[Tensor | None]:
        raise FunctionError("a second derivative through a backward that is marked with once_differentiable")

    out = x.detach()
    out.node, out.requires_grad = Node("once_differentiable", refuse, (), ()), True
    return out
