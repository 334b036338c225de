"""int64 where the device computes in int32 only: what can be said exactly of the two halves."""

from __future__ import annotations

from typing import Any

from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.device import Device
from ..runtime.layout import Layout, broadcast_shapes, broadcast_strides, layout_of
from ..tensor import Tensor
from .creation import halves
from .dispatch import SpecCache, enqueue, result_dtype, same_device
from .elementwise import Elementwise
from .program import ProgramWriter
from .views import cast, half

_specs = SpecCache()


def lacks_int64(device: Device) -> bool:
    """Whether int64 is only stored there, not computed in."""
    return not device.driver.traits.int64


class Equality(Elementwise):
    """``eq`` and ``ne``, which a device without 64-bit arithmetic answers by comparing halves."""

    def __call__(self, *operands: Any, **options: Any) -> Tensor:
        if options:
            return self._named(operands, options)
        for x in operands:
            if type(x) is Tensor and x.layout.dtype is dt.int64 and not x.layout.device.driver.traits.int64:
                return self._in_words(operands)
        return super().__call__(*operands)

    def _in_words(self, operands: tuple[Any, ...]) -> Tensor:
        plain, _ = self._plain(operands)
        device = same_device(self.name, [x.layout for x in plain if type(x) is Tensor])
        if result_dtype([x.layout if type(x) is Tensor else x for x in plain]) is not dt.int64:
            return super().__call__(*plain)  # one of them is floating-point: refused there
        whole = tuple([cast(x.detach(), dt.int64) if type(x) is Tensor else int(x) for x in plain])
        for number in whole:
            if type(number) is int and not -(1 << 63) <= number < 1 << 63:
                raise OverflowError(f"{self.name}: {number} does not fit into int64")
        tensors = [x for x in whole if type(x) is Tensor]
        key = (self.name, *[x.layout if type(x) is Tensor else None for x in whole])
        spec = _specs.get(key) or _specs.put(key, self._spec(device, whole))
        scalars = [word for x in whole if type(x) is int for word in halves(x)]
        return enqueue(spec, [half(x, which) for x in tensors for which in (0, 1)], scalars)

    def _spec(self, device: Device, operands: tuple[Any, ...]) -> CommandSpec:
        layouts = [x.layout for x in operands if type(x) is Tensor]
        shape = broadcast_shapes(self.name, *(x.shape for x in layouts))
        inputs = [half for layout in layouts for half in [_half(layout, shape)] * 2]
        write = ProgramWriter([dt.int32] * len(inputs), [dt.int32] * (4 - len(inputs)))
        first, second = iter(write.registers), iter(write.registers[len(inputs) :])
        low, high = zip(*[[next(first if type(x) is Tensor else second) for _ in "lh"] for x in operands], strict=True)
        answer = write(self.opcode, *low), write(self.opcode, *high)
        program = write.program(write("logical_and" if self.name == "eq" else "logical_or", *answer))
        return CommandSpec("elementwise", self.name, tuple(inputs), (layout_of(device, dt.bool_, shape),), program)


def _half(layout: Layout, shape: tuple[int, ...]) -> Layout:
    """One half of every element, as int32 over ``shape``: every second word."""
    return layout_of(layout.device, dt.int32, shape, tuple(2 * s for s in broadcast_strides(layout, shape)))
