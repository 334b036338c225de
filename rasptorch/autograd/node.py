"""The tape: one node per taped operation, pointing at the nodes its inputs came from.

A node never holds the tensor it made (that tensor holds the node), so there is no reference cycle and
everything dies when the last tensor does; CPython's deallocator takes long chains apart without recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, Union

from ..runtime.errors import RasptorchError
from . import anomaly, saving
from .hooks import Hook, Hooks, RemovableHandle

if TYPE_CHECKING:
    from ..runtime.layout import Layout
    from ..runtime.storage import Storage
    from ..tensor import Tensor

Edge = Union["Node", "Tensor", None]
Gradient = Callable[["Node", "Tensor"], Sequence["Tensor | None"]]

_numbers = count(1)


class SavedTensorError(RasptorchError, RuntimeError):
    """A value that backward needs was overwritten, or already let go of."""


class AccumulateGrad:
    """Where a gradient ends: the leaf ``variable``, whose ``.grad`` it is added to."""

    name = "AccumulateGrad"
    next_functions: tuple[()] = ()

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable

    def __repr__(self) -> str:
        return f"<AccumulateGrad of shape {list(self.variable.shape)}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self) -> int:
        return id(self.variable)


class Elsewhere(Protocol):
    """Who has a node's values, if the node itself does not: see `recompute` and `saving`. It does not hold the node, which holds it."""

    def values(self) -> tuple[Any, ...]: ...
    def keep_output(self, out: Tensor) -> None: ...
    def result(self, node: Node) -> Tensor: ...
    def forget(self) -> None:
        """The node's gradient has been computed and may be computed again."""

    def release(self) -> bool:
        """Let go of the values; whether there was any."""
        ...


class Node:
    """One taped operation.

    ``edges`` has an entry per input: the node it came from, the leaf itself, or None where no gradient is
    wanted. ``saved`` are the values the gradient needs: tensors (with the version they had) and plain Python
    values. ``output`` is the output's storage, if the gradient wants it. ``is_view``: the output looks at its
    first input's memory. ``replaced``: the tensor it made was changed in place and has another node now.
    ``foreign``: users' code computes the gradient. ``elsewhere``: who has the saved values, if not this node.
    ``made_at``: where in the program, if `detect_anomaly` wants to know.
    """

    __slots__ = (
        "__weakref__", "attributes", "edges", "elsewhere", "foreign", "gradient", "hooks", "is_view", "made_at", "name", "number",
        "output", "replaced", "saved", "versions",
    )  # fmt: skip

    def __init__(
        self, name: str, gradient: Gradient, inputs: Sequence[Any], saved: tuple[Any, ...], attributes: Any = None
    ) -> None:
        self.name = name
        self.gradient = gradient
        self.number = next(_numbers)
        self.edges: tuple[Edge, ...] = tuple([_edge(t) for t in inputs])
        self.elsewhere: Elsewhere | None = None
        if saving.watching and saving.elsewhere(self, saved):
            saved = ()
        self.saved: tuple[Any, ...] | None = saved
        self.versions = [t.storage.version if hasattr(t, "storage") else 0 for t in saved] if saved else ()
        self.attributes = attributes
        self.output: tuple[Callable[[Storage, int, Layout], Tensor], Storage, int, Layout, int] | None = None
        self.hooks: Hooks | None = None
        self.foreign = self.is_view = self.replaced = False
        self.made_at = anomaly.place() if anomaly.active else None

    def __repr__(self) -> str:
        return f"<{self.name} node {self.number}>"

    @property
    def next_functions(self) -> tuple[tuple[Node | AccumulateGrad | None, int], ...]:
        """What each input came from (`AccumulateGrad` for a leaf, None where no gradient goes), paired with 0."""
        return tuple([(AccumulateGrad(e) if e is not None and not isinstance(e, Node) else e, 0) for e in self.edges])

    def register_hook(self, fn: Hook) -> RemovableHandle:
        """Call ``fn(grad_inputs, grad_outputs)`` (tuples) after this node ran; what it returns, if not None, replaces the former."""
        return RemovableHandle(self._hooks().after, fn)

    def register_prehook(self, fn: Hook) -> RemovableHandle:
        """Call ``fn(grad_outputs)`` (a tuple) before this node runs; what it returns, if not None, replaces them."""
        return RemovableHandle(self._hooks().before, fn)

    def _hooks(self) -> Hooks:
        if self.hooks is None:
            self.hooks = Hooks()
        return self.hooks

    def needs(self, index: int) -> bool:
        """Whether input ``index`` wants its gradient."""
        return self.edges[index] is not None

    def values(self) -> tuple[Any, ...]:
        """The saved values; raises `SavedTensorError` if one was overwritten since or the graph was let go
        of.
        """
        if self.elsewhere is not None:
            return self.elsewhere.values()
        saved = self.saved
        if saved is None:
            raise SavedTensorError(
                f"backward through {self.name} a second time: its saved values are gone; "
                "pass retain_graph=True to the first backward"
            )
        for value, version in zip(saved, self.versions, strict=True):
            if hasattr(value, "storage") and value.storage.version != version:
                raise SavedTensorError(
                    f"{self.name}: a value of shape {list(value.shape)} that its gradient needs was changed in place "
                    f"(version {value.storage.version}, saved at {version}); use the operation without the underscore, or a clone"
                )
        return saved

    def result(self) -> Tensor:
        """The operation's own output, for gradients that are simplest in terms of it."""
        if self.elsewhere is not None:
            return self.elsewhere.result(self)
        if self.output is None:
            raise SavedTensorError(f"backward through {self.name} a second time: pass retain_graph=True to the first backward")
        make, storage, offset, layout, version = self.output
        if storage.version != version:
            raise SavedTensorError(f"{self.name}: its output was changed in place, and its gradient needs it; use a clone")
        tensor = make(storage, offset, layout)
        tensor.node = self
        tensor.requires_grad = True
        return tensor

    def keep_output(self, out: Tensor) -> None:
        """The gradient wants ``out``, what this node made: its memory is kept, but not the tensor, which holds this node."""
        if self.elsewhere is not None:
            self.elsewhere.keep_output(out)
        else:
            self.output = (type(out)._make, out.storage, out.offset, out.layout, out.storage.version)

    def release(self) -> None:
        """Let go of saved values once the gradient has been computed."""
        if self.elsewhere is not None:
            self.saved = None if self.elsewhere.release() else ()
            self.elsewhere = None
        if self.saved:
            self.saved = None
        self.output = None


def _edge(value: Any) -> Edge:
    node = getattr(value, "node", None)
    if node is not None:
        if value.is_view:
            _check_current(node)
        return node  # type: ignore[no-any-return]
    return value if getattr(value, "requires_grad", False) else None


def _check_current(node: Node) -> None:
    """A view's history must be that of its memory: refuse views of what was changed in place after they were
    taken.
    """
    edge: Edge = node
    while isinstance(edge, Node) and edge.is_view:
        edge = edge.edges[0]
        if isinstance(edge, Node) and edge.replaced:
            raise SavedTensorError(
                f"this view ({node.name}) was taken before its tensor was changed in place; take it again from that tensor"
            )
