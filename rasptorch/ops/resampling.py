"""Another number of places along one dimension: nearest, linear, cubic, or means of what a place covers."""

from __future__ import annotations

import math
from dataclasses import replace

from ..autograd.node import Node
from ..runtime.command import CommandSpec
from ..runtime.errors import DTypeError
from ..runtime.layout import layout_of
from ..runtime.plan.resampling import Resampling
from ..tensor import Tensor
from .dispatch import SpecCache, check_dtype, check_size, enqueue, tape

_specs = SpecCache()


def resampled(x: Tensor, axis: int, size: int, mode: str, scale: float = 0.0) -> Tensor:
    """``x`` with ``size`` places along ``axis``; ``mode`` and ``scale`` as `Resampling` has them."""
    shape = x.shape
    how = Resampling(math.prod(shape[:axis]), math.prod(shape[axis + 1 :]), shape[axis], size, mode, scale, False)
    return _run(x, axis, how)


def _run(x: Tensor, axis: int, how: Resampling) -> Tensor:
    source, x = x, x.contiguous()
    key = (x.layout, axis, how)
    spec = _specs.get(key)
    if spec is None:
        layout = x.layout
        if not x.dtype.is_floating_point:
            raise DTypeError(f"interpolate is not defined for {x.dtype.name}; convert with .to(rasptorch.float32)")
        check_dtype("interpolate", layout.device, x.dtype)
        n = how.source if how.adjoint else how.target
        out = layout_of(layout.device, x.dtype, (*x.shape[:axis], n, *x.shape[axis + 1 :]))
        check_size("interpolate", out)
        work = 16 * max(layout.numel, out.numel)
        spec = _specs.put(key, CommandSpec("shader", "resample", (layout,), (out,), None, ("resample", work, how)))
    return tape(enqueue(spec, (x,)), "resample", _grad_resample, (source,), (), (axis, how))


def _grad_resample(n: Node, g: Tensor) -> tuple[Tensor]:
    axis, how = n.attributes
    return (_run(g, axis, replace(how, adjoint=not how.adjoint)),)
