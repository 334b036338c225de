"""Steps of optimisers as single commands: several tensors computed from each other and written where they
lie.

An update is a `ProgramWriter` program over a handful of tensors of one shape. What it changes from step to
step (learning rate, bias corrections) are scalars, so a training loop repeats the same plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..runtime import dtype as dt
from ..runtime.capture import live
from ..runtime.command import CommandSpec, Program
from ..runtime.dtype import DType
from ..runtime.errors import ShapeError
from ..tensor import Tensor
from .dispatch import SpecCache, check_dtype, same_device
from .program import ProgramWriter

Rule = Callable[..., Sequence[int]]


class Update:
    """An in-place computation on tensors of one shape: ``update(options, written, read, scalars)``.

    ``rule(write, options, tensors, scalars)`` gets registers of the tensors (those written first, then those
    only read) and of the scalars, all in the dtype it computes in, and gives the registers that go to the
    written ones. It computes in the written tensors' dtype, or in float32 for the 16-bit ones. Nothing is
    taped.
    """

    def __init__(self, name: str, rule: Rule) -> None:
        self.name = name
        self._rule = rule
        self._specs = SpecCache()

    def __call__(
        self,
        options: tuple[int, ...],
        written: Sequence[Tensor],
        read: Sequence[Tensor],
        scalars: Callable[[], Sequence[float]],
    ) -> None:
        """Enqueue one command; the versions of all that is ``written`` go up.

        ``scalars()`` gives this step's numbers; a captured step calls it again at every replay.
        """
        tensors = (*written, *read)
        stream = written[0].layout.device.stream()
        now = live(stream, scalars)
        key = (options, *[t.layout for t in tensors])
        spec = self._specs.get(key)
        if spec is None:
            spec = self._specs.put(key, self._make(options, written, read, len(now)))
        places = [(t.storage.slot, t.offset) for t in tensors]
        stream.enqueue(spec, places, now, places[: len(written)])
        for tensor in written:
            tensor.storage.version += 1

    def _make(
        self, options: tuple[int, ...], written: Sequence[Tensor], read: Sequence[Tensor], scalars: int
    ) -> CommandSpec:
        layouts = tuple(t.layout for t in (*written, *read))
        device = same_device(self.name, layouts)
        check_dtype(self.name, device, *(layout.dtype for layout in layouts))
        for layout in layouts:
            if layout.shape != layouts[0].shape:
                shapes = ", ".join(str(list(other.shape)) for other in layouts)
                raise ShapeError(
                    f"{self.name}: parameter, gradient and state have different shapes: {shapes}"
                )
        program = self._program(options, tuple(x.dtype for x in layouts), len(written), scalars)
        count = len(written)
        return CommandSpec("elementwise", self.name, layouts, layouts[:count], program, in_place=count)

    def _program(
        self, options: tuple[int, ...], dtypes: tuple[DType, ...], count: int, scalars: int
    ) -> Program:
        compute = dt.float32 if dtypes[0].itemsize < 4 else dtypes[0]
        write = ProgramWriter(dtypes, (compute,) * scalars)
        tensors = [write.cast(register, compute) for register in write.registers[: len(dtypes)]]
        results = self._rule(write, options, tensors, write.registers[len(dtypes) :])
        return write.program(*(write.cast(r, d) for r, d in zip(results, dtypes[:count], strict=True)))
