"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from ...autograd.mode import no_grad
from ...ops.joining import cat
from ...runtime.errors import ShapeError
from ...tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements one after the other, as one tensor; differentiable."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy ``vec``'s elements into ``parameters``, in order, in place. It has as many as they do."""
    given = list(parameters)
    wanted = sum(p.numel() for p in given)
    if vec.shape != (wanted,):
        raise ShapeError(f"vector_to_parameters: the parameters have {wanted} elements, the vector has shape {list(vec.shape)}")
    first = 0
    with no_grad():
        for p in given:
            p.detach().copy_(vec[first : first + p.numel()].reshape(p.shape))
            first += p.numel()
