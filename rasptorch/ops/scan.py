"""Running sums: forward and gradient side by side."""

from __future__ import annotations

from typing import Any

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..tensor import Tensor, _axis
from .creation import empty
from .dispatch import check_dtype, tape
from .mapping import four_summed
from .on_host import on_host, running_sum
from .outputs import takes_out
from .precision import in_full_precision
from .reduction import _accumulate
from .views import cast, clone, copy_into, narrow

SMALL = 1 << 16  # elements up to which fewer kernels are quicker, although each entry is looked up for itself


def _scanned(x: Tensor, axis: int, backwards: bool) -> Tensor:
    """Every entry plus all before it (after it) along ``axis``.

    By doubling (Hillis and Steele, "Data parallel algorithms", CACM 29, 1986): after step ``k`` every entry is the sum of the
    ``2**k`` that end there. ``n log n`` additions in ``log n`` steps, each over the whole tensor; two steps are one kernel where
    starting kernels is what takes time: on Vulkan, for small tensors. The sums are the same. The host goes along one by one.
    """
    length, reach = x.shape[axis], 1
    if not x.layout.numel:
        return clone(x)
    if on_host(x):
        return running_sum(x, axis, backwards)
    while reach < length and x.layout.numel <= SMALL:
        x, reach = four_summed(x, axis, reach, backwards), 4 * reach
    while reach < length:
        out = empty(x.shape, dtype=x.dtype, device=x.device)
        rest = length - reach
        near, far = (0, reach) if backwards else (reach, 0)
        copy_into(narrow(out, axis, near, rest), narrow(x, axis, near, rest) + narrow(x, axis, far, rest))
        done = rest if backwards else 0
        copy_into(narrow(out, axis, done, reach), narrow(x, axis, done, reach))
        x, reach = out, 2 * reach
    return x


def _scan(name: str, x: Tensor, axis: int, backwards: bool) -> Tensor:
    with no_grad():
        wide = cast(x.detach(), _accumulate(x.dtype))
        out = cast(_scanned(wide, axis, backwards), x.dtype)
        out = clone(out) if out.storage is x.storage else out
    return tape(out, name, _grad_scan, (x,), (), (axis, not backwards))


def _grad_scan(n: Node, g: Tensor) -> tuple[Tensor]:
    axis, backwards = n.attributes
    return (_scan("cumsum", g, axis, backwards),)


@takes_out
@in_full_precision
def cumsum(input: Tensor, dim: int, *, dtype: Any = None, out: Any = None) -> Tensor:
    """The sums of the entries up to each along ``dim``. Integers and booleans add up in int64."""
    axis = _axis("cumsum", dim, input.ndim)
    wanted = dt.as_dtype(dtype) if dtype is not None else input.dtype if input.dtype.is_floating_point else dt.int64
    check_dtype("cumsum", input.device, wanted)
    input = input.to(wanted)
    return _scan("cumsum", input, axis, False) if input.ndim else clone(input)
