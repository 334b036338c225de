"""Backward as a dependency DAG: a node runs once every gradient it waits for has arrived.

Nothing recurses and nothing reads back: each gradient is one or more commands on the stream. Nodes that wait
for nothing are taken newest first, which is close to the reverse of the forward order and keeps few gradients
alive; independent branches get no ordering from here, so the planner is free to put them on one level.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from ..runtime.errors import RasptorchError, ShapeError
from .mode import recording
from .node import Edge, Node

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


class Run:
    """One backward pass. ``wanted`` are the tensors whose gradients `grad` returns; None: accumulate into
    leaves.
    """

    def __init__(self, create_graph: bool, retain_graph: bool, wanted: Sequence[Tensor] | None) -> None:
        self._create_graph = create_graph
        self._retain = retain_graph
        self._gradients: dict[Node, Tensor] = {}
        self._leaves: dict[int, tuple[Tensor, Tensor]] = {}
        self._wanted_nodes: dict[Node, list[int]] = {}
        self._wanted_leaves: dict[int, list[int]] = {}
        for k, t in enumerate(wanted or ()):
            if t.node is not None:
                self._wanted_nodes.setdefault(t.node, []).append(k)
            else:
                self._wanted_leaves.setdefault(id(t), []).append(k)
        self.found: dict[int, Tensor] = {}
        self._only = wanted is not None
        self._exposed = False  # users' code saw gradients, and may hold on to them

    def execute(self, roots: Sequence[tuple[Edge, Tensor]]) -> None:
        waiting = awaited([edge for edge, _ in roots])
        for edge, gradient in roots:
            self._arrive(edge, gradient)
        ready: list[tuple[int, Node]] = []
        for edge in {edge for edge, _ in roots if type(edge) is Node}:
            assert isinstance(edge, Node)
            if waiting[edge] == 0:
                heappush(ready, (-edge.number, edge))
        while ready:
            node = heappop(ready)[1]
            for edge, passed in zip(node.edges, self._run(node), strict=True):
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
        for hook in node.hooks or ():
            changed = hook(gradient)
            gradient = gradient if changed is None else changed
        for wanted in self._wanted_nodes.get(node, ()):
            self.found[wanted] = gradient
        if node.hooks or node.foreign:
            self._exposed = True
        out = node.gradient(node, gradient)
        if not self._retain:
            node.release()
        return out

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
            gradient = total
            for hook in leaf.hooks or ():
                changed = hook(gradient)
                gradient = gradient if changed is None else changed
            if self._only:
                for wanted in self._wanted_leaves.get(key, ()):
                    self.found[wanted] = gradient
            else:
                self._accumulate(leaf, gradient, given)

    def _accumulate(self, leaf: Tensor, gradient: Tensor, given: set[int]) -> None:
        if leaf.grad is not None:
            if self._create_graph:
                leaf.grad = leaf.grad + gradient
            else:
                leaf.grad.add_(gradient)
            return
        if not self._create_graph:
            gradient = gradient.detach()
            # Two leaves must not share one gradient's memory, nor a leaf the memory of a tensor the user holds.
            shared = self._exposed or leaf.hooks or id(gradient.storage) in given
            if shared or gradient.offset or not gradient.layout.contiguous:
                gradient = gradient.clone()
            given.add(id(gradient.storage))
        leaf.grad = gradient


def _run(outputs: Sequence[Tensor], gradients: Sequence[Tensor], run: Run, create_graph: bool) -> None:
    token = recording.set(create_graph)
    try:
        roots: list[tuple[Any, Tensor]] = [
            (output.node if output.node is not None else output, gradient)
            for output, gradient in zip(outputs, gradients, strict=True)
        ]
        run.execute(roots)
    finally:
        recording.reset(token)


def backward(
    tensors: Sequence[Tensor] | Tensor,
    gradients: Sequence[Tensor | None] | Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradients of ``tensors`` into ``.grad`` of the leaves they came from.

    ``gradients`` have the tensors' shapes; one may be left out for a tensor of one element. Only enqueues.
    """
    outputs, starts = _pairs(tensors, gradients)
    # What the user passed in must not become somebody's .grad.
    starts = [g if given is None else g.clone() for g, given in zip(starts, _as_list(gradients, len(outputs)), strict=True)]
    retain = create_graph if retain_graph is None else retain_graph
    _run(outputs, starts, Run(create_graph, retain, None), create_graph)


def _as_list(value: Any, count: int) -> list[Any]:
    if value is None:
        return [None] * count
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _pairs(tensors: Any, gradients: Any) -> tuple[list[Tensor], list[Tensor]]:
    outputs = _as_list(tensors, 1)
    given = _as_list(gradients, len(outputs))
    if len(given) != len(outputs):
        raise GraphError(f"backward: {len(outputs)} tensors but {len(given)} gradients")
    return outputs, [_root_gradient(t, g) for t, g in zip(outputs, given, strict=True)]


def grad(
    outputs: Sequence[Tensor] | Tensor,
    inputs: Sequence[Tensor] | Tensor,
    grad_outputs: Sequence[Tensor | None] | Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of ``outputs`` with respect to ``inputs``, without touching any ``.grad``.

    An input that the outputs do not depend on is an error, or None with ``allow_unused``.
    """
    wanted = _as_list(inputs, 1)
    for number, tensor in enumerate(wanted):
        if not tensor.requires_grad:
            raise GraphError(f"grad: input {number} (shape {list(tensor.shape)}) does not require gradients")
    roots, starts = _pairs(outputs, grad_outputs)
    run = Run(create_graph, create_graph if retain_graph is None else retain_graph, wanted)
    _run(roots, starts, run, create_graph)
    missing = [k for k in range(len(wanted)) if k not in run.found]
    if missing and not allow_unused:
        raise GraphError(f"grad: the outputs do not depend on input {missing[0]}; pass allow_unused=True to get None for it")
    return tuple(run.found.get(k) for k in range(len(wanted)))
