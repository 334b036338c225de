"""Backward as a dependency DAG: a node runs once every gradient it waits for has arrived.

Nothing recurses and nothing reads back: each gradient is one or more commands on the stream. Nodes that wait
for nothing are taken newest first, which is close to the reverse of the forward order and keeps few gradients
alive; independent branches get no ordering from here, so the planner is free to put them on one level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from ..runtime.errors import RasptorchError, ShapeError
from . import anomaly
from .hooks import Hooks
from .mode import recording
from .node import Edge, Node
from .precision import low_dtypes

if TYPE_CHECKING:
    from ..tensor import Tensor


class GraphError(RasptorchError, RuntimeError):
    """There is nothing to differentiate, or not what was asked for."""


def _root_gradient(output: Tensor, gradient: Tensor | None) -> Tensor:
    if not output.requires_grad:
        raise GraphError("backward: this tensor does not require gradients and came from nothing that does")
    if gradient is None:
        if output.numel() != 1:
            raise GraphError(
                f"backward: a gradient can only be left out for one element, this tensor has shape {list(output.shape)}; "
                "reduce it (.sum(), .mean()) or pass `gradient`"
            )
        return output._ones()
    if gradient.shape != output.shape:
        raise ShapeError(f"backward: gradient has shape {list(gradient.shape)}, the tensor {list(output.shape)}")
    if gradient.device is not output.device:
        raise GraphError(f"backward: the gradient is on {gradient.device}, the tensor on {output.device}")
    return gradient


def awaited(roots: Sequence[Edge]) -> dict[Node, int]:
    """How many gradients each node reachable from ``roots`` waits for."""
    counts: dict[Node, int] = {}
    stack = [edge for edge in roots if isinstance(edge, Node)]
    seen = set(stack)
    for node in stack:
        counts.setdefault(node, 0)
    while stack:
        for edge in stack.pop().edges:
            if type(edge) is Node:
                counts[edge] = counts.get(edge, 0) + 1
                if edge not in seen:
                    seen.add(edge)
                    stack.append(edge)
    return counts


def _leading(nodes: Iterable[Node], wanted: Wanted) -> set[Node]:
    """Those of ``nodes`` from which a gradient goes on to what is wanted. Nodes come after those they point at."""
    found: set[Node] = set()
    for node in sorted(nodes, key=lambda node: node.number):
        if node in wanted.nodes or any(_leads(edge, found, wanted) for edge in node.edges):
            found.add(node)
    return found


def _leads(edge: Edge, nodes: set[Node], wanted: Wanted) -> bool:
    return edge in nodes if isinstance(edge, Node) else id(edge) in wanted.leaves


class Wanted:
    """The tensors whose gradients were asked for, by the node or leaf that has them; ``found`` by number."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.nodes: dict[Node, list[int]] = {}
        self.leaves: dict[int, list[int]] = {}
        self.found: dict[int, Tensor] = {}
        for k, t in enumerate(tensors):
            if t.node is not None:
                self.nodes.setdefault(t.node, []).append(k)
            else:
                self.leaves.setdefault(id(t), []).append(k)


class Run:
    """One backward pass. With ``wanted`` only those gradients are found; without, gradients are added into
    leaves.
    """

    def __init__(self, create_graph: bool, retain_graph: bool, wanted: Wanted | None) -> None:
        self._create_graph = create_graph
        self._retain = retain_graph
        self._gradients: dict[Node, Tensor] = {}
        self._leaves: dict[int, tuple[Tensor, Tensor]] = {}
        self._wanted = wanted
        self._leading: set[Node] | None = None
        self._exposed = False  # users' code saw gradients, and may hold on to them

    def execute(self, roots: Sequence[tuple[Edge, Tensor]]) -> None:
        waiting = awaited([edge for edge, _ in roots])
        leading = self._leading = None if self._wanted is None else _leading(waiting, self._wanted)
        for edge, gradient in roots:
            self._arrive(edge, gradient)
        ready: list[tuple[int, Node]] = []
        for edge in {edge for edge, _ in roots if type(edge) is Node}:
            assert isinstance(edge, Node)
            if waiting[edge] == 0:
                heappush(ready, (-edge.number, edge))
        while ready:
            node = heappop(ready)[1]
            found = self._run(node) if leading is None or node in leading else (None,) * len(node.edges)
            for edge, passed in zip(node.edges, found, strict=True):
                if edge is None:
                    continue
                if passed is not None:
                    self._arrive(edge, passed)
                if type(edge) is Node:
                    waiting[edge] -= 1
                    if waiting[edge] == 0:
                        heappush(ready, (-edge.number, edge))
        self._deliver()

    def _run(self, node: Node) -> Sequence[Tensor | None]:
        if node not in self._gradients:  # nothing that reached this node had a gradient for it
            return (None,) * len(node.edges)
        gradient = self._gradients.pop(node)
        if node.hooks is not None:
            gradient = self._hooked(node.hooks, gradient)
        if self._wanted is not None and node in self._wanted.nodes:
            for number in self._wanted.nodes[node]:
                self._wanted.found[number] = gradient
            assert self._leading is not None
            if not any(_leads(edge, self._leading, self._wanted) for edge in node.edges):
                return (None,) * len(node.edges)
        if node.hooks is not None or node.foreign:
            self._exposed = True
        try:
            out = node.gradient(node, gradient)
        except Exception as problem:
            anomaly.explain(node, problem)
            raise
        if anomaly.active and anomaly.check_nan:
            anomaly.look(node, out)
        if node.hooks is not None:
            for after in list(node.hooks.after.values()):
                changed = after(tuple(out), (gradient,))
                out = out if changed is None else changed
        if not self._retain:
            node.release()
        elif node.elsewhere is not None:
            node.elsewhere.forget()
        return out

    def _hooked(self, hooks: Hooks, gradient: Tensor) -> Tensor:
        """The gradient that a node goes on with."""
        for before in list(hooks.before.values()):
            changed = before((gradient,))
            gradient = gradient if changed is None else changed[0]
        gradient = hooks.replaced(gradient)
        keeper = None if hooks.retained is None else hooks.retained()
        if keeper is not None:
            kept = gradient if self._create_graph else gradient.detach().clone()
            keeper.grad = kept if keeper.grad is None else keeper.grad + kept
        return gradient

    def _arrive(self, edge: Edge, gradient: Tensor) -> None:
        if type(edge) is Node:
            before = self._gradients.get(edge)
            self._gradients[edge] = gradient if before is None else before + gradient
        elif edge is not None:
            assert not isinstance(edge, Node)
            known = self._leaves.get(id(edge))
            self._leaves[id(edge)] = (edge, gradient if known is None else known[1] + gradient)

    def _deliver(self) -> None:
        given: set[int] = set()
        for key, (leaf, total) in self._leaves.items():
            if self._wanted is None:
                gradient = total if leaf.hooks is None else leaf.hooks.replaced(total)
                self.accumulate(leaf, gradient, given)
            elif key in self._wanted.leaves:
                gradient = total if leaf.hooks is None else leaf.hooks.replaced(total)
                for number in self._wanted.leaves[key]:
                    self._wanted.found[number] = gradient

    def accumulate(self, leaf: Tensor, gradient: Tensor, given: set[int]) -> None:
        """Add to ``.grad``; ``given`` are the storages that became one in this pass."""
        if leaf.grad is not None:
            if self._create_graph:
                leaf.grad = leaf.grad + gradient
            else:
                leaf.grad.add_(gradient)
        else:
            if not self._create_graph:
                gradient = gradient.detach()
                # Two leaves must not share one gradient's memory, nor a leaf the memory of a tensor the user holds.
                shared = self._exposed or leaf.hooks or id(gradient.storage) in given
                if shared or gradient.offset or not gradient.layout.contiguous:
                    gradient = gradient.clone()
                given.add(id(gradient.storage))
            leaf.grad = gradient
        if leaf.hooks is not None and leaf.node is None:
            for hook in list(leaf.hooks.accumulated.values()):
                hook(leaf)


def run_backward(outputs: Sequence[Tensor], gradients: Sequence[Tensor], run: Run, create_graph: bool) -> None:
    token = recording.set(create_graph)
    precision = low_dtypes.set(None)  # gradients have the dtypes that forward gave them
    try:
        roots: list[tuple[Any, Tensor]] = [
            (output.node if output.node is not None else output, gradient)
            for output, gradient in zip(outputs, gradients, strict=True)
        ]
        run.execute(roots)
    finally:
        low_dtypes.reset(precision)
        recording.reset(token)


def backward(
    tensors: Sequence[Tensor] | Tensor,
    grad_tensors: Sequence[Tensor | None] | Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Sequence[Tensor] | Tensor | None = None,
) -> None:
    """Add the gradients of ``tensors`` into ``.grad`` of the leaves they came from, or only of ``inputs``.

    ``grad_tensors`` have the tensors' shapes; one may be left out for a tensor of one element. Only enqueues.
    """
    outputs, starts = pairs(tensors, grad_tensors)
    # What the user passed in must not become somebody's .grad.
    starts = [g if given is None else g.clone() for g, given in zip(starts, as_list(grad_tensors, len(outputs)), strict=True)]
    retain = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        run_backward(outputs, starts, Run(create_graph, retain, None), create_graph)
        return
    targets = differentiable("backward", inputs)
    if not targets:
        raise GraphError("backward: inputs is empty; leave it out to mean all leaves")
    wanted = Wanted(targets)
    run = Run(create_graph, retain, wanted)
    run_backward(outputs, starts, run, create_graph)
    given_storages: set[int] = set()
    for number, gradient in sorted(wanted.found.items()):
        run.accumulate(targets[number], gradient, given_storages)


def as_list(value: Any, count: int) -> list[Any]:
    if value is None:
        return [None] * count
    return list(value) if isinstance(value, (list, tuple)) else [value]


def pairs(tensors: Any, gradients: Any) -> tuple[list[Tensor], list[Tensor]]:
    outputs = as_list(tensors, 1)
    given = as_list(gradients, len(outputs))
    if len(given) != len(outputs):
        raise GraphError(f"backward: {len(outputs)} tensors but {len(given)} gradients")
    return outputs, [_root_gradient(t, g) for t, g in zip(outputs, given, strict=True)]


def differentiable(operation: str, inputs: Any) -> list[Tensor]:
    wanted = as_list(inputs, 1)
    for number, tensor in enumerate(wanted):
        if not tensor.requires_grad:
            raise GraphError(f"{operation}: input {number} (shape {list(tensor.shape)}) does not require gradients")
    return wanted
