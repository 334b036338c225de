"""Maximum pooling of planes: values and where they were found, and what a gradient does with that."""

from __future__ import annotations

import math

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.errors import DTypeError
from ..runtime.layout import Shape, layout_of
from ..runtime.plan.pooling import Windows
from ..tensor import Tensor
from .dispatch import SpecCache, check_dtype, enqueue, tape
from .gathering import place_sums
from .views import reshape

SHARING = 1024  # windows that one input asks for what comes back; where more see it, what comes back is sorted by where it goes

_specs = SpecCache()


def _spec(name: str, windows: Windows, x: Tensor, shape: Shape) -> CommandSpec:
    key = (name, windows, x.layout, shape)
    spec = _specs.get(key)
    if spec is None:
        device = x.layout.device
        if not x.dtype.is_floating_point:
            raise DTypeError(f"{name} is not defined for {x.dtype.name}; convert with .to(rasptorch.float32)")
        check_dtype(name, device, x.dtype)
        index = layout_of(device, dt.int32, (windows.planes, *windows.outputs))
        out = layout_of(device, x.dtype, shape)
        inputs, outputs = ((x.layout,), (out, index)) if name == "max_pool" else ((x.layout, index), (out,))
        work = windows.planes * math.prod(windows.outputs) * math.prod(windows.size) * 4
        spec = _specs.put(key, CommandSpec("shader", name, inputs, outputs, None, (name, work, windows)))
    return spec


def largest(x: Tensor, windows: Windows, shape: Shape) -> tuple[Tensor, Tensor]:
    """The largest value of each window of a row-major ``x`` (NaN counts as that) as ``shape``, and its number in its plane (int32)."""
    spec = _spec("max_pool", windows, x, shape)
    values, index = x.layout.device.stream().enqueue(spec, (x,))
    out, place = Tensor._make(values, 0, spec.outputs[0]), Tensor._make(index, 0, spec.outputs[1])
    return tape(out, "max_pool", _grad_largest, (x,), (place,), (windows, x.shape)), place


def _grad_largest(n: Node, g: Tensor) -> tuple[Tensor]:
    (index,), (windows, shape) = n.values(), n.attributes
    return (_returned(g.contiguous(), index, windows, shape),)


def _returned(g: Tensor, index: Tensor, windows: Windows, shape: Shape) -> Tensor:
    """Each value of ``g`` added to where its window's largest value was."""
    if math.prod(windows.sharing) > SHARING:
        outputs, inputs = (windows.planes, math.prod(windows.outputs)), (windows.planes, math.prod(windows.inputs))
        with no_grad():
            out = reshape(place_sums(reshape(g.detach(), outputs), 1, reshape(index, outputs), inputs), shape)
    else:
        out = enqueue(_spec("max_pool_back", windows, g, shape), (g, index))
    return tape(out, "max_pool_back", _grad_returned, (g,), (index,), (windows, g.shape))


def _grad_returned(n: Node, g: Tensor) -> tuple[Tensor]:
    (index,), (windows, shape) = n.values(), n.attributes
    return (_picked(g.contiguous(), index, windows, shape),)


def _picked(x: Tensor, index: Tensor, windows: Windows, shape: Shape) -> Tensor:
    """What lies where the windows' largest values were."""
    out = enqueue(_spec("max_pool_pick", windows, x, shape), (x, index))
    return tape(out, "max_pool_pick", _grad_largest, (x,), (index,), (windows, x.shape))
