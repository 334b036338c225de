"""Another number of places along one dimension: nearest, linear, cubic, or means of what a place covers."""

from __future__ import annotations

import math
from dataclasses import replace

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime.command import CommandSpec
from ..runtime.errors import DTypeError
from ..runtime.layout import Layout, layout_of
from ..runtime.plan.convolution import accumulated
from ..runtime.plan.resampling import TERMS, Resampling
from ..tensor import Tensor
from .dispatch import SpecCache, check_dtype, check_size, enqueue, tape
from .reduction import sum
from .views import cast

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
        spec = _specs.put(key, _spec(layout, axis, how))
    out = enqueue(spec, (x,))
    if len(out.shape) > x.ndim:
        with no_grad():
            out = cast(sum(out, 0), x.dtype)
    return tape(out, "resample", _grad_resample, (source,), (), (axis, how))


def _spec(layout: Layout, axis: int, how: Resampling) -> CommandSpec:
    """Where an element takes very many places, an invocation walks some of them, and the output has a first dimension to add up."""
    shape = (*layout.shape[:axis], how.source if how.adjoint else how.target, *layout.shape[axis + 1 :])
    out = layout_of(layout.device, layout.dtype, shape)
    check_size("interpolate", out)
    if layout.device.driver.traits.kind != "host" and how.longest > TERMS:
        how = replace(how, shares=-(-how.longest // TERMS))
        out = layout_of(layout.device, accumulated(layout.dtype), (how.shares, *shape))
        check_size("interpolate", out)
    work = 16 * max(layout.numel, out.numel)
    return CommandSpec("shader", "resample", (layout,), (out,), None, ("resample", work, how))


def _grad_resample(n: Node, g: Tensor) -> tuple[Tensor]:
    axis, how = n.attributes
    return (_run(g, axis, replace(how, adjoint=not how.adjoint)),)
