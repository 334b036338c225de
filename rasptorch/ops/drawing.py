"""Drawing by chance: permutations and samples. Permutations are equal on every device for equal seeds."""

from __future__ import annotations

from typing import Any

from ..runtime import dtype as dt
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import layout_of
from ..tensor import Tensor
from .creation import device_of
from .functions import log
from .outputs import makes_out, takes_out
from .random import Generator, uniform
from .sampling import _bits
from .scan import cumsum
from .searching import places
from .sorting import sorted_rows, topk
from .views import cast, narrow, reshape


@makes_out
def randperm(n: int, *, generator: Generator | None = None, dtype: Any = dt.int64, device: Any = None, out: Any = None) -> Tensor:
    """The numbers from 0 to ``n - 1`` in random order: the order in which ``n`` random words of 32 bits are sorted."""
    if n < 0:
        raise ShapeError(f"randperm: n is not negative, got {n}")
    keys = _bits(layout_of(device_of(device), dt.int32, (1, n)), generator)
    return cast(reshape(sorted_rows(keys, False)[1], (n,)), dt.as_dtype(dtype))


@takes_out
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None, out: Any = None
) -> Tensor:
    """Indices (int64) drawn with probabilities in proportion to the entries of a vector, or of each row of a matrix.

    Without ``replacement`` an index is drawn once at most: those of the largest weights divided by exponentially distributed numbers
    (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters 97, 2006). With it, running
    sums are searched.
    """
    if not input.dtype.is_floating_point:
        raise DTypeError(f"multinomial: weights are floating-point, got {input.dtype.name}")
    if input.ndim not in (1, 2):
        raise ShapeError(f"multinomial: weights are a vector or a matrix, got shape {list(input.shape)}")
    count = input.shape[-1]
    if num_samples < 1 or (not replacement and num_samples > count):
        raise ValueError(f"multinomial: {num_samples} samples of {count} entries" + ("" if replacement else " without replacement"))
    working = dt.float32 if input.dtype.itemsize == 2 else input.dtype
    rows = cast(reshape(input.detach(), (-1, count)), working)
    if replacement:
        sums = cumsum(rows, 1)
        height = uniform(layout_of(input.device, working, (rows.shape[0], num_samples)), generator) * narrow(sums, 1, count - 1, 1)
        drawn = cast(places(sums, height, True).clamp(max=count - 1), dt.int64)
    else:
        waiting = -log(1.0 - uniform(rows.layout if rows.layout.contiguous else layout_of(input.device, working, rows.shape), generator))
        drawn = topk(rows / waiting, num_samples, 1).indices
    return reshape(drawn, (*input.shape[:-1], num_samples))
