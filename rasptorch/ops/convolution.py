"""Convolutions of 4-D tensors: the product and both of its gradients are the same kind of command with other parts to play.

The gradient of each of the three is made of the other two, so gradients of gradients need nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, reduce

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime.command import CommandSpec, Program, step
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError
from ..runtime.layout import Layout, Shape, layout_of
from ..runtime.plan.convolution import ConvAxis, Piece, accumulated, pieces
from ..runtime.storage import Place
from ..tensor import Tensor
from .arithmetic import add
from .dispatch import SpecCache, check_dtype, check_size, enqueue, same_device, tape
from .views import cast

Pair = tuple[int, int]
_specs = SpecCache()


@dataclass(frozen=True, slots=True)
class Geometry:
    """How output, input and taps meet: ``input = output * stride - padding + tap * dilation`` per spatial axis.

    Sizes are (height, width). ``padding`` is that at the start; how far the input is padded at its end follows from the sizes.
    """

    name: str
    inputs: Pair
    outputs: Pair
    taps: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def axes(self, role: str) -> tuple[ConvAxis, ConvAxis]:
        """The axes of the output's kernel, or of the ``input``'s or the ``weight``'s gradient's."""
        first, second = (self._axis(role, k) for k in (0, 1))
        return first, second

    def _axis(self, role: str, k: int) -> ConvAxis:
        n, out, taps, s, p, d = self.inputs[k], self.outputs[k], self.taps[k], self.stride[k], self.padding[k], self.dilation[k]
        if role == "input":
            return ConvAxis(out, n, taps, 1, p, -d, s)
        return ConvAxis(n, taps, out, d, -p, s, 1) if role == "weight" else ConvAxis(n, out, taps, s, -p, d, 1)


def _parts(layout: Layout, groups: int, axis: int) -> tuple[Shape, Shape]:
    """Shape and strides with dimension ``axis`` split into groups and what is in each."""
    n, s = layout.shape[axis] // groups, layout.strides[axis]
    shape, strides = layout.shape, layout.strides
    return (*shape[:axis], groups, n, *shape[axis + 1 :]), (*strides[:axis], n * s, s, *strides[axis + 1 :])


def _arranged(layout: Layout, groups: int, axis: int, order: tuple[int, ...]) -> Layout:
    shape, strides = _parts(layout, groups, axis)
    return layout_of(layout.device, layout.dtype, tuple(shape[k] for k in order), tuple(strides[k] for k in order))


# Per part: which dimension of each operand has the groups, and the order that makes (b, g, k, ...) and (g, m, k, ...) of them then.
_ROLES = {
    "output": ((1, (0, 1, 2, 3, 4)), (0, (0, 1, 2, 3, 4))),
    "input": ((1, (0, 1, 2, 3, 4)), (0, (0, 2, 1, 3, 4))),
    "weight": ((1, (2, 1, 0, 3, 4)), (1, (1, 2, 0, 3, 4))),
}


def _run(role: str, geometry: Geometry, source: Tensor, weight: Tensor, shape: Shape) -> Tensor:
    """The command that makes ``role`` of shape ``shape``; what takes the weight's place is ``weight``."""
    key = (role, geometry, source.layout, weight.layout, shape)
    spec = _specs.get(key)
    if spec is None:
        spec = _specs.put(key, _spec(role, geometry, source.layout, weight.layout, shape))
    if not spec.inputs:
        return enqueue(spec, (), (0,))
    return enqueue(spec, (source, weight)) if len(_pieces(spec)) == 1 else _long(role, geometry, source, weight, shape)


@lru_cache(4096)
def _pieces(spec: CommandSpec) -> tuple[Piece, ...]:
    return tuple(pieces(spec, spec.outputs[0].device.driver.traits))


def _long(role: str, geometry: Geometry, source: Tensor, weight: Tensor, shape: Shape) -> Tensor:
    """The same where sums are too long for the loops of a software device: in pieces, in float32 where the operands have 16 bits."""
    with no_grad():
        dtype, wide = source.dtype, accumulated(source.dtype)
        source, weight = cast(source.detach(), wide), cast(weight.detach(), wide)
        key = (role, geometry, source.layout, weight.layout, shape)
        spec = _specs.get(key) or _specs.put(key, _spec(role, geometry, source.layout, weight.layout, shape))
        stream, parts = spec.outputs[0].device.stream(), []
        for part, start, begin in _pieces(spec):
            places = Place(source.storage, source.offset + start), Place(weight.storage, weight.offset + begin)
            (made,) = stream.enqueue(part, places)
            parts.append(Tensor._make(made, 0, part.outputs[0]))
        return cast(reduce(add, parts), dtype)


def _spec(role: str, geometry: Geometry, source: Layout, weight: Layout, shape: Shape) -> CommandSpec:
    name = geometry.name if role == "output" else f"{geometry.name}_{role}_gradient"
    device = same_device(geometry.name, (source, weight))
    if source.dtype is not weight.dtype:
        raise DTypeError(f"{geometry.name}: input is {source.dtype.name}, weight {weight.dtype.name}; convert one with .to(...)")
    if not source.dtype.is_floating_point:
        raise DTypeError(f"{geometry.name} is not defined for {source.dtype.name}; convert with .to(rasptorch.float32)")
    check_dtype(geometry.name, device, source.dtype)
    out = layout_of(device, source.dtype, shape)
    check_size(geometry.name, out)
    if source.numel == 0 or weight.numel == 0:
        return CommandSpec("elementwise", name, (), (out,), _zero(out.dtype))
    inputs = tuple(
        _arranged(layout, geometry.groups, axis, order) for layout, (axis, order) in zip((source, weight), _ROLES[role], strict=True)
    )
    return CommandSpec("conv", name, inputs, (out,), None, (role == "weight", geometry.groups, geometry.axes(role)))


def _zero(dtype: DType) -> Program:
    """A sum over nothing."""
    return Program((), (dtype,), (step("copy", dtype, (0,)),), (1,))


def convolve(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """``[n, c, h, w]`` and ``[m, c / groups, i, j]`` give ``[n, m, y, x]``."""
    out = _run("output", geometry, x, weight, (x.shape[0], weight.shape[0], *geometry.outputs))
    return tape(out, geometry.name, _grad_output, (x, weight), (x, weight), geometry)


def convolve_back(g: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of `convolve`'s input, which is the transposed convolution: ``[n, m, y, x]`` gives ``[n, c, h, w]``."""
    out = _run("input", geometry, g, weight, (g.shape[0], weight.shape[1] * geometry.groups, *geometry.inputs))
    return tape(out, f"{geometry.name}_input_gradient", _grad_input, (g, weight), (g, weight), geometry)


def correlate(x: Tensor, g: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of `convolve`'s weight: ``[n, c, h, w]`` and ``[n, m, y, x]`` give ``[m, c / groups, i, j]``."""
    out = _run("weight", geometry, x, g, (g.shape[1], x.shape[1] // geometry.groups, *geometry.taps))
    return tape(out, f"{geometry.name}_weight_gradient", _grad_weight, (x, g), (x, g), geometry)


Two = tuple[Tensor | None, Tensor | None]


def _grad_output(n: Node, g: Tensor) -> Two:
    x, weight = n.values()
    return (
        convolve_back(g, weight, n.attributes) if n.needs(0) else None,
        correlate(x, g, n.attributes) if n.needs(1) else None,
    )


def _grad_input(n: Node, g: Tensor) -> Two:
    back, weight = n.values()
    return (
        convolve(g, weight, n.attributes) if n.needs(0) else None,
        correlate(g, back, n.attributes) if n.needs(1) else None,
    )


def _grad_weight(n: Node, g: Tensor) -> Two:
    x, back = n.values()
    return (
        convolve_back(back, g, n.attributes) if n.needs(0) else None,
        convolve(x, g, n.attributes) if n.needs(1) else None,
    )
