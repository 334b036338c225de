"""``grad``: gradients handed back instead of added into ``.grad``, one or a batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..runtime.errors import ShapeError
from .engine import GraphError, Run, Wanted, as_list, differentiable, pairs, run_backward

if TYPE_CHECKING:
    from ..tensor import Tensor


def grad(
    outputs: Sequence[Tensor] | Tensor,
    inputs: Sequence[Tensor] | Tensor,
    grad_outputs: Sequence[Tensor | None] | Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of ``outputs`` with respect to ``inputs``, without touching any ``.grad``.

    An input that the outputs do not depend on is an error; None with ``allow_unused``, and zeros with ``materialize_grads``. Only
    what lies between the two is computed. With ``is_grads_batched`` each of ``grad_outputs`` has one dimension more, in front, of a
    length that they share: a backward pass is enqueued for each of its entries, and the gradients come back along such a dimension.
    """
    if materialize_grads and allow_unused is False:
        raise ValueError("grad: materialize_grads gives zeros for unused inputs, so allow_unused=False means nothing")
    targets = differentiable("grad", inputs)
    retain = create_graph if retain_graph is None else retain_graph
    if is_grads_batched:
        found = _batched(as_list(outputs, 1), targets, grad_outputs, retain, create_graph)
    else:
        roots, starts = pairs(outputs, grad_outputs)
        wanted = Wanted(targets)
        run_backward(roots, starts, Run(create_graph, retain, wanted), create_graph)
        found = [wanted.found.get(k) for k in range(len(targets))]
    missing = [k for k, g in enumerate(found) if g is None]
    if missing and not allow_unused and not materialize_grads:
        raise GraphError(f"grad: the outputs do not depend on input {missing[0]}; pass allow_unused=True to get None for it")
    if materialize_grads:
        for k in missing:
            found[k] = targets[k].detach().new_zeros(targets[k].shape)
    return tuple(found)


def _batched(outputs: list[Tensor], targets: list[Tensor], given: Any, retain: bool, create_graph: bool) -> list[Tensor | None]:
    """For each of ``targets`` its gradients, one for each entry of the given gradients, stacked."""
    from ..ops.joining import stack

    batches = as_list(given, len(outputs))
    if len(batches) != len(outputs):
        raise GraphError(f"grad: {len(outputs)} tensors but {len(batches)} gradients")
    for output, batch in zip(outputs, batches, strict=True):
        if batch is None or batch.ndim == 0 or batch.shape[1:] != output.shape:
            raise ShapeError(
                f"grad: with is_grads_batched, each of grad_outputs has a dimension before those of its output, "
                f"[passes, *{list(output.shape)}]; got {None if batch is None else list(batch.shape)}"
            )
    counts = {batch.shape[0] for batch in batches}
    if len(counts) != 1 or 0 in counts:
        raise ShapeError(f"grad: with is_grads_batched, grad_outputs have one length in front, at least 1; got {sorted(counts)}")
    (count,) = counts
    rows = []
    for k in range(count):
        wanted = Wanted(targets)
        _, starts = pairs(outputs, [batch[k] for batch in batches])
        run_backward(outputs, starts, Run(create_graph, retain or k + 1 < count, wanted), create_graph)
        rows.append([wanted.found.get(j) for j in range(len(targets))])
    columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
    return [None if column[0] is None else stack(column) for column in columns]
