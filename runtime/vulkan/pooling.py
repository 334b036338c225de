"""Maximum pooling: the largest value of each window and where it is, what comes back to there, and what lies there.

One invocation computes one output element. Long windows are shared among several, and another one looks at what they found. The
gradient is gathered: every input looks at the windows that it is in, so nothing is added up in an order that could change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .. import dtype as dt
from ..division import division
from ..driver import Traits
from ..dtype import DType
from ..plan.plan import ShaderKernel
from ..plan.pooling import Windows
from . import functions
from .access import Abilities, Tensor
from .descriptors import NO_FORMAT
from .division import WORDS as DIVISION
from .division import divided
from .operands import Words, bindings_of, reads_texels, tensors_of, texel_format
from .parameters import Parameters
from .spirv import Module, Op

LOCAL = 64
FORWARD, BACK, PICK, SHARE, JOIN = "max_pool", "max_pool_back", "max_pool_pick", "max_pool_share", "max_pool_join"
NOWHERE = 0xFFFFFFFF  # the place of a share that found nothing, because its part of the window is outside


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What makes two of these kernels the same shader."""

    shader: str
    dtype: DType
    bindings: tuple[int, ...]
    formats: tuple[int, ...]


def windows_of(kernel: ShaderKernel) -> Windows:
    windows = kernel.attributes[0]
    assert isinstance(windows, Windows)
    return windows


def key_of(kernel: ShaderKernel, traits: Traits) -> PoolKey:
    inputs = kernel.inputs
    formats = [texel_format(o, False, traits) if reads_texels(traits) else NO_FORMAT for o in inputs]
    bindings = bindings_of(kernel, [k for k, f in enumerate(formats) if f != NO_FORMAT])
    return PoolKey(kernel.shader, inputs[0].dtype, bindings, tuple(formats))


def _shares(kernel: ShaderKernel) -> int:
    shares = kernel.attributes[1]
    assert isinstance(shares, int)
    return shares


def _elements(kernel: ShaderKernel) -> int:
    w = windows_of(kernel)
    return w.planes * math.prod(w.inputs if kernel.shader == BACK else w.outputs)


def invocations(kernel: ShaderKernel, key: PoolKey) -> int:
    return _elements(kernel) * (_shares(kernel) if kernel.shader == SHARE else 1)


def parameters_of(kernel: ShaderKernel, key: PoolKey, starts: list[int]) -> Parameters:
    w = windows_of(kernel)
    made = Parameters()
    made.add(invocations(kernel, key), *starts)
    for k in (0, 1):
        made.add(w.inputs[k], w.outputs[k], w.size[k], w.stride[k], w.padding[k], w.dilation[k], w.sharing[k])
        made.add(*division((w.inputs if kernel.shader == BACK else w.outputs)[k]), *division(w.stride[k]))
    if kernel.shader in (SHARE, JOIN):
        shares = _shares(kernel)
        made.add(shares, -(-math.prod(w.size) // shares), *division(_elements(kernel)))
    return made


class Axis:
    """One axis' parameters."""

    def __init__(self, words: Words) -> None:
        self.inputs, self.outputs, self.size, self.stride, self.padding, self.dilation, self.sharing = words.take(7)
        self.length, self.windows = words.take(DIVISION), words.take(DIVISION)


def emit(key: PoolKey, abilities: Abilities) -> bytes:
    """The shader. Bindings: values in (and indices in), values out (and indices out)."""
    m = Module(local_size=LOCAL, preserve_nan=abilities.preserve_nan)
    dtypes = {
        FORWARD: [key.dtype, key.dtype, dt.int32], SHARE: [key.dtype, key.dtype, dt.int32],
        JOIN: [key.dtype, dt.int32, key.dtype, dt.int32],
    }.get(key.shader, [key.dtype, dt.int32, key.dtype])  # fmt: skip
    texels = [k for k, f in enumerate(key.formats) if f != NO_FORMAT]
    tensors = tensors_of(m, dtypes, key.bindings, 1 if key.shader in (BACK, PICK) else 2, abilities, False, (), texels)
    words = Words(m, 1)
    starts = words.take(len(dtypes))
    down, along = Axis(words), Axis(words)
    number = m.invocation()
    with m.if_(m.op(Op.ULessThan, m.bool, number, m.param(0))):
        if key.shader == JOIN:
            _joined(m, key, tensors, starts, Shared(words), number)
        else:
            _element(m, key, tensors, starts, down, along, Shared(words) if key.shader == SHARE else None, number)
    return m.finish()


def _element(
    m: Module, key: PoolKey, tensors: list[Tensor], starts: list[int], down: Axis, along: Axis, shared: Shared | None, number: int
) -> None:
    """One element of the output, or of what comes back, or one share of one."""
    share, element = (None, number) if shared is None else divided(m, number, shared.elements)
    rest, x = divided(m, element, along.length)
    plane, y = divided(m, rest, down.length)
    base = m.mul(plane, m.mul(down.inputs, along.inputs))
    if key.shader == BACK:
        tensors[2].store(m.add(starts[2], number), _returned(m, key, tensors, starts, down, along, plane, y, x))
    elif key.shader == PICK:
        index = m.bitcast(m.u32, tensors[1].load(m.add(starts[1], number)))
        tensors[2].store(m.add(starts[2], number), tensors[0].load(m.add(starts[0], m.add(base, index))))
    else:
        window = Window(m, tensors[0], m.add(starts[0], base), down, along, y, x)
        found = Found(m, key.dtype, 0 if shared is None else NOWHERE)
        if share is None or shared is None:
            window.offer_all(found)
        else:
            window.offer_share(found, shared, share)
        found.store(tensors[1:], starts[1:], number)


class Window:
    """What one output element sees."""

    def __init__(self, m: Module, source: Tensor, base: int, down: Axis, along: Axis, y: int, x: int) -> None:
        self._m, self._source, self._base, self._down, self._along = m, source, base, down, along
        self._row, self._column = (m.op(Op.ISub, m.u32, m.mul(at, axis.stride), axis.padding) for at, axis in ((y, down), (x, along)))

    def offer_all(self, found: Found) -> None:
        m = self._m
        with m.loop(m.u(0), self._down.size, m.u(1)) as i:
            row = self._row_at(i)
            with m.loop(m.u(0), self._along.size, m.u(1)) as j:
                self._offer(found, *row, j)

    def offer_share(self, found: Found, shared: Shared, share: int) -> None:
        m = self._m
        places, begin = m.mul(self._down.size, self._along.size), m.mul(share, shared.size)
        end = m.add(begin, shared.size)
        end = m.select(m.op(Op.ULessThan, m.bool, end, places), end, places)
        with m.loop(begin, end, m.u(1)) as place:
            row = self._row_at(m.op(Op.UDiv, m.u32, place, self._along.size))
            self._offer(found, *row, m.op(Op.UMod, m.u32, place, self._along.size))

    def _row_at(self, i: int) -> tuple[int, int]:
        """A row's number in the plane, and whether it is inside."""
        row = self._m.add(self._row, self._m.mul(i, self._down.dilation))
        return row, self._m.op(Op.ULessThan, self._m.bool, row, self._down.inputs)

    def _offer(self, found: Found, row: int, row_in: int, j: int) -> None:
        m = self._m
        column = m.add(self._column, m.mul(j, self._along.dilation))
        with m.if_(m.op(Op.LogicalAnd, m.bool, row_in, m.op(Op.ULessThan, m.bool, column, self._along.inputs))):
            at = m.add(m.mul(row, self._along.inputs), column)
            found.offer(self._source.load(m.add(self._base, at)), at)


class Shared:
    """How windows are shared: in how many parts, of how many places each, and among how many elements."""

    def __init__(self, words: Words) -> None:
        self.shares, self.size = words.take(2)
        self.elements = words.take(DIVISION)


class Found:
    """The first largest value so far (of NaN the last) and its number in the plane."""

    def __init__(self, m: Module, dtype: DType, nowhere: int) -> None:
        self._m, self._dtype = m, dtype
        register = functions.register_type(m, dtype)
        self.value = m.variable(register, m.const(register, -math.inf))
        self.place, self._none = m.variable(m.u32, m.u(nowhere)), m.variable(m.bool, m.const(m.bool, True))

    def offer(self, value: int, place: int) -> None:
        m = self._m
        larger = functions.emit(m, "gt", self._dtype, dt.bool_, (value, m.get(self.value)))
        unordered = m.op(Op.FUnordNotEqual, m.bool, value, value)
        with m.if_(m.op(Op.LogicalOr, m.bool, m.get(self._none), m.op(Op.LogicalOr, m.bool, larger, unordered))):
            m.set(self.value, value)
            m.set(self.place, place)
            m.set(self._none, m.const(m.bool, False))

    def store(self, tensors: Sequence[Tensor], starts: Sequence[int], number: int) -> None:
        m = self._m
        tensors[0].store(m.add(starts[0], number), m.get(self.value))
        tensors[1].store(m.add(starts[1], number), m.bitcast(m.i32, m.get(self.place)))


def _joined(m: Module, key: PoolKey, tensors: list[Tensor], starts: list[int], shared: Shared, number: int) -> None:
    """What the shares of a window found, in order."""
    found = Found(m, key.dtype, 0)
    with m.loop(m.u(0), shared.shares, m.u(1)) as share:
        at = m.add(m.mul(share, shared.elements[0]), number)
        place = m.bitcast(m.u32, tensors[1].load(m.add(starts[1], at)))
        with m.if_(m.op(Op.INotEqual, m.bool, place, m.u(NOWHERE))):
            found.offer(tensors[0].load(m.add(starts[0], at)), place)
    found.store(tensors[2:], starts[2:], number)


def _returned(
    m: Module, key: PoolKey, tensors: list[Tensor], starts: list[int], down: Axis, along: Axis, plane: int, y: int, x: int
) -> int:
    """The sum of what comes back to an input from the windows whose largest value it was."""
    register = functions.register_type(m, key.dtype)
    total = m.variable(register, m.const(register, 0))
    last = [divided(m, m.add(at, axis.padding), axis.windows)[0] for at, axis in ((y, down), (x, along))]
    here = m.bitcast(m.i32, m.add(m.mul(y, along.inputs), x))
    base = m.mul(plane, m.mul(down.outputs, along.outputs))
    with m.loop(m.u(0), down.sharing, m.u(1)) as i:
        row = m.op(Op.ISub, m.u32, last[0], i)
        row_in = m.op(Op.ULessThan, m.bool, row, down.outputs)
        with m.loop(m.u(0), along.sharing, m.u(1)) as j:
            column = m.op(Op.ISub, m.u32, last[1], j)
            with m.if_(m.op(Op.LogicalAnd, m.bool, row_in, m.op(Op.ULessThan, m.bool, column, along.outputs))):
                at = m.add(base, m.add(m.mul(row, along.outputs), column))
                chosen = m.op(Op.IEqual, m.bool, tensors[1].load(m.add(starts[1], at)), here)
                with m.if_(chosen):
                    value = tensors[0].load(m.add(starts[0], at))
                    m.set(total, m.op(Op.FAdd, register, m.get(total), value))
    return functions.round_to(m, key.dtype, m.get(total))
