"""Commands that take several kernels on devices of many invocations: which ones, in which order, with which temporaries.

A stable radix sort (Knuth, "The Art of Computer Programming", volume 3, section 5.2.5), digit by digit from the lowest: every invocation
counts the digits of its share of the entries, sums over the counts tell where its entries of each digit go, and it moves them there.
The host's driver has one kernel for each of these commands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .. import dtype as dt
from ..driver import Traits
from ..dtype import DType
from ..hazards import Access
from .plan import Kernel, Operand, ShaderKernel
from .pooling import LONGEST, Windows

RANKED = 64  # entries up to which each one counts those that come before it
FEW = 16  # entries that an invocation keeps in registers
RUN = 64  # sorted entries that are added up together
LEVELS = 3  # of blocks of blocks: more would be more buffers than a kernel has
BLOCK = 64  # counts that one invocation adds up on devices of many invocations


class Stages:
    """The kernels so far of one command; makes more of them."""

    def __init__(self, command: ShaderKernel, traits: Traits, temporary: Callable[[int], int]) -> None:
        self.traits = traits
        self.kernels: list[Kernel] = []
        self._name = "+".join(command.names)
        self._temporary = temporary

    def room(self, count: int, dtype: DType = dt.int32) -> Operand:
        """A new temporary of so many elements."""
        nbytes = max(count, 1) * dtype.itemsize
        value = self._temporary(nbytes)
        return Operand(value, 0, dtype, (1,), Access(value, 0, nbytes))

    def add(self, shader: str, work: int, inputs: Sequence[Operand], outputs: Sequence[Operand], *attributes: object) -> None:
        names = (f"{self._name}.{shader}",)
        self.kernels.append(ShaderKernel(names, tuple(inputs), tuple(outputs), (), None, shader, work, attributes))


def staged(command: ShaderKernel, traits: Traits, temporary: Callable[[int], int]) -> list[Kernel]:
    """The kernels of one command: itself where one is enough."""
    stages = Stages(command, traits, temporary)
    expand = EXPANSIONS.get(command.shader)
    if expand is None or traits.kind == "host":
        return [command]
    expand(stages, command)
    return stages.kernels


# -- sorting ------------------------------------------------------------------------------------------------------
def key_digits(dtype: DType, bits: int) -> list[tuple[int, int, int]]:
    """The words of a sorting key from the lowest: (word, first bit that counts, bits). ``bits`` above 0: of small whole numbers."""
    if bits:
        return [(0, 0, bits)]
    if dtype.itemsize == 8:
        return [(0, 0, 32), (1, 0, 32)]
    low, count = {dt.bool_: (0, 1), dt.uint8: (0, 8), dt.float16: (16, 16), dt.bfloat16: (16, 16)}.get(dtype, (0, 32))
    return [(0, low, count)]


def _shares(traits: Traits, rows: int, length: int, digits: int) -> int:
    """How many invocations share a row: each with at least about as many entries as there are digits."""
    wanted = -(-max(4 * traits.parallelism, 64) // rows)
    return max(1, min(wanted, length // (4 * digits if traits.kind != "software" else digits)), -(-length // LONGEST))


def ordered(
    stages: Stages, x: Operand, rows: int, length: int, descending: bool, bits: int, order: Operand, values: Operand | None = None
) -> None:
    """Write the places of ``x``'s entries in sorted order to ``order``, and the entries to ``values``."""
    total = rows * length
    ends = [order] if values is None else [order, values]
    if length <= RANKED:
        stages.add("sort_rank", total * (length + 4), [x], ends, rows, length, descending, bits)
        return
    wide = 8 if stages.traits.kind == "software" or rows * length < 1 << 12 else 4
    passes = []
    for word, low, count in key_digits(x.dtype, bits):
        each = -(-count // -(-count // wide))  # digits of about the same width
        passes += [(word, low + k, min(each, count - k)) for k in range(0, count, each)]
    before: Operand | None = None
    for number, (word, shift, width) in enumerate(passes):
        digits = 1 << width
        shares = _shares(stages.traits, rows, length, digits)
        size = -(-length // shares)
        places = stages.room(rows * digits * shares)
        last = number == len(passes) - 1
        after = order if last else stages.room(total)
        given = [x] if before is None else [x, before]
        how = (rows, length, descending, bits, word, shift, digits, shares, size, before is not None)
        stages.add("sort_count", 4 * total, given, [places], *how)
        summed(stages, places, rows, digits * shares)
        stages.add("sort_move", 8 * total, [*given, places], [*(ends if last else [after]), places], *how)
        before = after


def summed(stages: Stages, counts: Operand, rows: int, length: int, into: Operand | None = None) -> None:
    """Replace each of ``length`` counts in a row by the sum of those before it, or write that sum to ``into``."""
    into = counts if into is None else into
    block = 256 if stages.traits.kind == "software" else BLOCK
    if length <= block:
        stages.add("scan", 2 * rows * length, [counts], [into], rows, length, length)
        return
    blocks = -(-length // block)
    sums = stages.room(rows * blocks)
    stages.add("scan_sums", rows * length, [counts], [sums], rows, length, block)
    summed(stages, sums, rows, blocks)
    stages.add("scan", 2 * rows * length, [sums, counts], [into], rows, length, block)


def _sums_before(stages: Stages, command: ShaderKernel) -> None:
    rows, length = command.attributes
    assert isinstance(rows, int) and isinstance(length, int)
    if rows * length:
        summed(stages, command.inputs[0], rows, length, command.outputs[0])


def _sort(stages: Stages, command: ShaderKernel) -> None:
    rows, length, descending, bits = command.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(bits, int)
    (x,), (order, *values) = command.inputs, command.outputs
    if rows * length:
        ordered(stages, x, rows, length, bool(descending), bits, order, values[0] if values else None)


def _topk(stages: Stages, command: ShaderKernel) -> None:
    """A few entries: shares of a row keep theirs, and of those that are kept shares of them, until there is one. More: by sorting."""
    rows, length, descending, count = command.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(count, int)
    (x,) = command.inputs
    if not rows * count:
        return
    if count > FEW or length <= RANKED:
        order = stages.room(rows * length)
        ordered(stages, x, rows, length, bool(descending), 0, order)
        stages.add("sort_head", 4 * rows * count, [x, order], command.outputs, rows, length, length, 1, count, descending)
        return
    given, span = [x], length
    while True:
        shares = max(1, min(-(-max(4 * stages.traits.parallelism, 64) // rows), span // (16 * count)), -(-span // LONGEST))
        ends = command.outputs if shares == 1 else [stages.room(rows * shares * count)]
        stages.add("sort_few", (4 + count) * rows * span, given, ends, rows, length, span, shares, count, descending)
        if shares == 1:
            return
        given, span = [x, ends[0]], shares * count


# -- what goes to given places ------------------------------------------------------------------------------------
def _sum_into(stages: Stages, command: ShaderKernel) -> None:
    """Into new memory: zeros first."""
    rows, length, columns = command.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(columns, int)
    stages.add("run_clear", rows * columns, [], command.outputs, rows * columns)
    _combined(stages, command, (rows, length, columns), "add", False)


def _combine_into(stages: Stages, command: ShaderKernel) -> None:
    rows, length, columns, how, fold = command.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(columns, int) and isinstance(how, str)
    _combined(stages, command, (rows, length, columns), how, bool(fold))


def _combined(stages: Stages, command: ShaderKernel, sizes: tuple[int, int, int], how: str, fold: bool) -> None:
    """Sort the entries by where they go; then the first of each run combines it, after whole blocks of long ones."""
    rows, length, columns = sizes
    index, values, out = command.inputs[0], command.inputs[1], command.outputs[0]
    if not length * columns:
        return
    accumulate = dt.float32 if values.dtype in (dt.float16, dt.bfloat16) else values.dtype
    order, places, bounds = stages.room(length), stages.room(length), stages.room(2 * rows)
    ordered(stages, index, 1, length, False, max((rows - 1).bit_length(), 1), order, places)
    stages.add("run_bounds", 4 * length, [places], [bounds], length)
    given = [places, order, bounds, values]
    stages.add("run_sum", 4 * length * columns, given, [out], length, columns, 0, how, fold)
    if length <= RUN or how == "last":
        return
    parts: list[Operand] = []
    count = length // RUN
    while count and len(parts) < LEVELS:
        part = stages.room(count * columns, accumulate)
        stages.add(
            "run_part", 2 * count * RUN * columns, [places, parts[-1]] if parts else [places, order, values], [part],
            length, columns, len(parts) + 1, how, False,
        )  # fmt: skip
        parts.append(part)
        count //= RUN
    stages.add("run_long", 4 * length * columns, [*given, *parts], [out], length, columns, len(parts), how, fold)


def _put(stages: Stages, command: ShaderKernel) -> None:
    """Zeros first, where not every place is written."""
    rows, length, count, columns = command.attributes
    assert isinstance(rows, int) and isinstance(length, int) and isinstance(count, int) and isinstance(columns, int)
    if count < length:
        stages.add("run_clear", rows * length * columns, [], command.outputs, rows * length * columns)
    if rows * count * columns:
        stages.kernels.append(command)


# -- windows ------------------------------------------------------------------------------------------------------
def _max_pool(stages: Stages, command: ShaderKernel) -> None:
    """Shares of a long window are looked at by themselves; then what they found."""
    (windows,) = command.attributes
    assert isinstance(windows, Windows)
    shares, count = windows.shares(stages.traits.parallelism), windows.planes * math.prod(windows.outputs)
    if shares == 1:
        stages.kernels.append(command)
        return
    found = [stages.room(shares * count, command.inputs[0].dtype), stages.room(shares * count)]
    stages.add("max_pool_share", command.work, command.inputs, found, windows, shares)
    stages.add("max_pool_join", 2 * shares * count, found, command.outputs, windows, shares)


EXPANSIONS: dict[str, Callable[[Stages, ShaderKernel], None]] = {
    "combine_into": _combine_into,
    "max_pool": _max_pool,
    "put": _put,
    "sort": _sort,
    "sum_into": _sum_into,
    "sums_before": _sums_before,
    "topk": _topk,
}
