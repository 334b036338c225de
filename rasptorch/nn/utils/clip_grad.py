"""Gradients kept within bounds, on the device: nothing is read back, and all gradients share a few dispatches.

That is what PyTorch's ``foreach`` asks for, so it is taken and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...autograd.mode import no_grad
from ...ops.creation import zeros
from ...ops.joining import stack
from ...ops.statistics import norm
from ...runtime import dtype as dt
from ...tensor import Tensor

TINY = 1e-6  # keeps the division defined; PyTorch's


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad.detach() for p in given if p.grad is not None]


def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all elements of ``tensors`` together, as a 0-d tensor, in float32 at least.

    It is the norm of the tensors' norms. With ``error_if_nonfinite`` a NaN or infinite one is a `RuntimeError`; to find that out,
    its value is waited for.
    """
    given = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    norm_type = float(norm_type)
    if not given:
        return zeros(())
    with no_grad():
        norms = [norm(x, norm_type, dtype=dt.float32 if x.dtype.itemsize < 4 else None) for x in given if x.numel()]
        total = norm(stack(norms), norm_type) if norms else zeros((), device=given[0].device)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"the total norm of order {norm_type} of the gradients is not finite, so it cannot be clipped; "
            "pass error_if_nonfinite=False to clip anyway"
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale gradients, whose total norm is ``total_norm``, in place so that it becomes ``max_norm`` at most."""
    with no_grad():
        scale = (float(max_norm) / (total_norm + TINY)).clamp(max=1.0)
        for gradient in _gradients(parameters):
            gradient.mul_(scale)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients of ``parameters`` in place so that their total norm is ``max_norm`` at most; returns what it was.

    ``norm_type`` and ``error_if_nonfinite``: see `get_total_norm`. Nothing is read back without the latter.
    """
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_gradients(given), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(given, max_norm, total)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Bring every element of the gradients between ``-clip_value`` and ``clip_value``, in place."""
    bound = float(clip_value)
    with no_grad():
        for gradient in _gradients(parameters):
            gradient.clamp_(-bound, bound)
