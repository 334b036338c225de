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
from ..runtime.layout import layout_of
from ..tensor import Tensor
from .dispatch import SpecCache, check_dtype, same_device
from .program import ProgramWriter

Rule = Callable[..., Sequence[int]]


def _none() -> tuple[float, ...]:
    return ()


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
        options: tuple[object, ...],
        written: Sequence[Tensor],
        read: Sequence[Tensor],
        scalars: Callable[[], Sequence[float]] = _none,
        singles: Sequence[Tensor] = (),
        unless: Tensor | None = None,
        fresh: int = 0,
    ) -> list[Tensor]:
        """Enqueue one command; the versions of all that is ``written`` go up.

        ``scalars()`` gives this step's numbers; a captured step calls it again at every replay. ``singles`` are
        0-d tensors: the rule gets them as further scalars. Where the 0-d tensor ``unless`` is not 0, what is
        written stays as it is. The rule's last ``fresh`` results become new tensors.
        """
        alone = (*singles, unless) if unless is not None else tuple(singles)
        tensors = (*written, *read, *alone)
        stream = written[0].layout.device.stream()
        now = live(stream, scalars) if scalars is not _none else ()
        key = (options, len(singles), len(written), *[t.layout for t in tensors])
        spec = self._specs.get(key)
        if spec is None:
            spec = self._specs.put(key, self._make(options, written, read, alone, (len(now), len(singles), fresh)))
        made = stream.enqueue(spec, tensors, now, written)
        for tensor in written:
            tensor.storage.version += 1
        return [Tensor._make(storage, 0, x) for storage, x in zip(made, spec.outputs[len(written) :], strict=True)]

    def _make(
        self, options: tuple[object, ...], written: Sequence[Tensor], read: Sequence[Tensor], alone: Sequence[Tensor],
        counts: tuple[int, int, int],
    ) -> CommandSpec:  # fmt: skip
        """``counts``: of the scalars, of the singles, of the results that are fresh."""
        scalars, singles, fresh = counts
        layouts = tuple(t.layout for t in (*written, *read))
        device = same_device(self.name, (*layouts, *(t.layout for t in alone)))
        check_dtype(self.name, device, *(layout.dtype for layout in layouts))
        shape = layouts[0].shape
        for layout in layouts:
            if layout.shape != shape:
                shapes = ", ".join(str(list(other.shape)) for other in layouts)
                raise ShapeError(
                    f"{self.name}: parameter, gradient and state have different shapes: {shapes}"
                )
        stretched = tuple(layout_of(device, t.dtype, shape, (0,) * len(shape)) for t in alone)
        dtypes = tuple(x.dtype for x in (*layouts, *stretched))
        count = len(written)
        program = self._program(options, dtypes, len(layouts), count, scalars, singles)
        outputs = (*layouts[:count], *(layout_of(device, _computed_in(dtypes), shape),) * fresh)
        return CommandSpec("elementwise", self.name, (*layouts, *stretched), outputs, program, in_place=count)

    def _program(
        self, options: tuple[object, ...], dtypes: tuple[DType, ...], tensors: int, count: int, scalars: int, singles: int
    ) -> Program:
        compute = _computed_in(dtypes)
        write = ProgramWriter(dtypes, (compute,) * scalars)
        registers = write.registers
        values = [write.cast(register, compute) for register in registers[: len(dtypes)]]
        numbers = [*registers[len(dtypes) :], *values[tensors : tensors + singles]]
        results = self._rule(write, options, values[:tensors], numbers)
        if len(dtypes) > tensors + singles:
            skipped = write.cast(values[-1], dt.bool_)
            kept = [write("where", skipped, values[k], result) for k, result in enumerate(results[:count])]
            results = [*kept, *results[count:]]
        stored = [write.cast(r, d) for r, d in zip(results, dtypes[:count], strict=False)]
        return write.program(*stored, *results[count:])


def _computed_in(dtypes: Sequence[DType]) -> DType:
    return dt.float32 if dtypes[0].itemsize < 4 else dtypes[0]
