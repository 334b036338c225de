"""From a call on tensors to a command: find the spec, enqueue it, tape it.

An operation keeps one `CommandSpec` per combination of layouts. Shapes, dtypes and devices are checked when the spec is made,
at the caller's line; every later call of the same form costs one dictionary look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..autograd.mode import recording
from ..autograd.node import Gradient, Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.dtype import DType
from ..runtime.errors import DeviceError, DTypeError, RasptorchError, ShapeError
from ..runtime.layout import Layout, Shape, broadcast_shapes
from ..tensor import Tensor

if TYPE_CHECKING:
    from ..runtime.device import Device

Number = bool | int | float
SPECS_MAX: Final = 20_000


def same_device(operation: str, layouts: Sequence[Layout]) -> Device:
    """The device all operands are on; `DeviceError` names both when there are two."""
    device = layouts[0].device
    for layout in layouts[1:]:
        if layout.device is not device:
            raise DeviceError(
                f"{operation}: operands are on {device} and {layout.device}; move one with .to('{device}') or .to('{layout.device}')"
            )
    return device


def only_tensors(operation: str, *values: object) -> None:
    """`TypeError` where something is no tensor."""
    for value in values:
        if not isinstance(value, Tensor):
            raise TypeError(f"{operation}: expected a tensor, got {type(value).__name__}")


def stretching(operation: str, *tensors: Tensor) -> Shape:
    """The shape that the tensors, all on one device, stretch to: for operations made of others, so that errors name the one called."""
    only_tensors(operation, *tensors)
    same_device(operation, [x.layout for x in tensors])
    return broadcast_shapes(operation, *(x.shape for x in tensors))


def check_dtype(operation: str, device: Device, *dtypes: DType) -> None:
    """`DTypeError` when the device cannot compute in one of these types."""
    traits = device.driver.traits
    for dtype in dtypes:
        if (dtype is dt.int64 and not traits.int64) or (dtype is dt.float64 and not traits.float64):
            raise DTypeError(
                f"{operation}: {device} ({traits.name}) does not compute in {dtype.name}; "
                f"convert with .to(rasptorch.{'int32' if dtype is dt.int64 else 'float32'}), or use the cpu device"
            )


def check_size(operation: str, layout: Layout) -> None:
    """`ShapeError` for a tensor larger than any kernel of the device can be given."""
    traits = layout.device.driver.traits
    limit = min(traits.max_range, traits.max_block)
    if layout.nbytes > limit:
        raise ShapeError(
            f"{operation}: shape {list(layout.shape)} of {layout.dtype.name} is {layout.nbytes:,} bytes; {layout.device} "
            f"({traits.name}) takes at most {limit:,} per tensor: split it"
        )


def result_dtype(operands: Sequence[Layout | Number]) -> DType:
    """PyTorch's promotion: Python numbers and 0-d tensors only count when their category is higher."""
    groups: list[DType | None] = [None, None, None]
    for operand in operands:
        if isinstance(operand, Layout):
            rank, dtype = (0 if operand.shape else 1), operand.dtype
        else:
            rank, dtype = 2, dt.of_scalar(operand)
        before = groups[rank]
        groups[rank] = dtype if before is None else dt.promote(before, dtype)
    result: DType | None = None
    for dtype_or_none in groups:
        if dtype_or_none is not None and (result is None or dtype_or_none.category > result.category):
            result = dtype_or_none
    assert result is not None
    return result


class SpecCache:
    """One operation's specs. Past its size it starts anew: that costs time, never correctness."""

    __slots__ = ("_specs", "get")

    def __init__(self) -> None:
        self._specs: dict[Any, CommandSpec] = {}
        self.get = self._specs.get

    def put(self, key: Any, spec: CommandSpec) -> CommandSpec:
        if len(self._specs) >= SPECS_MAX:
            self._specs.clear()
        self._specs[key] = spec
        return spec


def enqueue(spec: CommandSpec, tensors: Sequence[Tensor], scalars: Sequence[Number] = ()) -> Tensor:
    """Run a command with one new output."""
    layout = spec.outputs[0]
    (storage,) = layout.device.stream().enqueue(spec, tensors, scalars)
    return Tensor._make(storage, 0, layout)


def enqueue_into(spec: CommandSpec, target: Tensor, tensors: Sequence[Tensor], scalars: Sequence[Number] = ()) -> None:
    """Run a command whose one output is ``target``'s memory."""
    target.layout.device.stream().enqueue(spec, tensors, scalars, (target,))
    target.storage.version += 1


def tape(
    out: Tensor, name: str, gradient: Gradient, inputs: Sequence[Any], saved: tuple[Any, ...] = (),
    attributes: Any = None, keep_output: bool = False,
) -> Tensor:  # fmt: skip
    """Give ``out`` a node if any input requires gradients and taping is on. Returns ``out``."""
    if recording.get():
        for value in inputs:
            if type(value) is not float and getattr(value, "requires_grad", False):
                node = Node(name, gradient, inputs, saved, attributes)
                if keep_output:
                    node.keep_output(out)
                out.node = node
                out.requires_grad = True
                break
    return out


class NotDifferentiable(RasptorchError, RuntimeError):
    """The operation has no gradient."""


def no_gradient(reason: str) -> Callable[[Node, Tensor], Sequence[Tensor | None]]:
    def refuse(node: Node, gradient: Tensor) -> Sequence[Tensor | None]:
        raise NotDifferentiable(f"{node.name} has no gradient: {reason}")

    return refuse
