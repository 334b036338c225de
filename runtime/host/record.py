"""Plans bound to memory, for the host: every kernel becomes a function of the batch's scalars."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from ..buffer import Buffer
from ..driver import KernelTimes
from ..dtype import DType
from ..hazards import Access
from ..plan.convolution import ConvKernel
from ..plan.plan import ElementwiseKernel, Kernel, MatmulKernel, Operand, Plan, ReduceKernel, ShaderKernel
from . import functions
from .blas import one_thread
from .scratch import Arena

Array = NDArray[Any]
Runner = Callable[[Sequence[float]], None]


# Seconds, for estimates: of calling NumPy, of a multiplication and addition in BLAS, of an element through one instruction.
CALL, PER_PRODUCT, PER_STEP = 5e-6, 5e-11, 5e-10


class Workers(Protocol):
    """Whose threads compute: ``threads`` in all, the one that runs a recording included."""

    timestamps: bool

    @property
    def threads(self) -> int:
        """How many parts a large kernel may be cut into."""

    @property
    def arenas(self) -> Sequence[Arena]:
        """Memory for each of the threads, that only one kernel at a time uses."""

    def together(self, parts: Sequence[Callable[[], object]]) -> None:
        """Run all ``parts`` at once, the first one on this thread; return, or raise what one of them raised, when all have ended."""


class HostRecording:
    """What to call, in order. ``dispatches`` counts kernels, as on other devices."""

    __slots__ = ("dispatches", "kernel_seconds", "products", "runners", "seconds", "timed")

    def __init__(
        self, runners: list[Runner], dispatches: int = 0, timed: bool = False, seconds: float = 0.0, products: bool = False
    ) -> None:
        self.runners = runners
        self.products = products  # whether any of them may call BLAS
        self.seconds = seconds  # roughly how long it takes
        self.dispatches = dispatches
        self.timed = timed
        self.kernel_seconds: KernelTimes | None = None  # of the last run

    def run(self, scalars: Sequence[float]) -> None:
        if self.timed:
            self._run_timed(scalars)
        elif self.products:
            with one_thread:
                for runner in self.runners:
                    runner(scalars)
        else:
            for runner in self.runners:
                runner(scalars)

    def _run_timed(self, scalars: Sequence[float]) -> None:
        with one_thread:
            marks = [perf_counter()]
            for runner in self.runners:
                runner(scalars)
                marks.append(perf_counter())
        seconds = [end - start for start, end in pairwise(marks)]
        self.kernel_seconds = KernelTimes(seconds, marks[0], threading.current_thread().name)

    def release(self) -> None:
        self.runners = []


class Binding:
    """Where a plan's values lie, as NumPy arrays."""

    def __init__(self, plan: Plan, buffers: Sequence[Buffer]) -> None:
        self._bytes: dict[int, Array] = {}
        for value, buffer in zip(plan.bound, buffers, strict=False):
            self._bytes[value] = buffer.view(buffer.nbytes)
        for value, piece, offset in plan.spots():
            arena = buffers[len(plan.bound) + piece]
            self._bytes[value] = arena.view(arena.nbytes)[offset : offset + max(plan.sizes[value], 1)]

    def bytes(self, access: Access) -> Array:
        return self._bytes[access.value][access.start : access.end]

    def array(self, operand: Operand, shape: tuple[int, ...]) -> Array:
        """The operand as an array of its stored dtype, with one axis per axis of ``shape``."""
        access, dtype = operand.access, operand.dtype.numpy
        flat = self._bytes[operand.value][access.start : access.end].view(dtype)
        return as_strided(flat, shape, tuple(s * dtype.itemsize for s in operand.strides))

    def flat(self, operand: Operand) -> Array:
        """The memory of an operand of which any element may be read, from its first element on."""
        access = operand.access
        return self._bytes[operand.value][access.start : access.end].view(operand.dtype.numpy)

    def rows(self, operand: Operand, shape: tuple[int, int]) -> Array:
        """An operand that lies in row-major order, as a matrix of ``shape``."""
        access = operand.access
        return self._bytes[operand.value][access.start : access.end].view(operand.dtype.numpy).reshape(shape)


def record(plan: Plan, buffers: Sequence[Buffer], driver: Workers) -> HostRecording:
    from .beside import paired

    binding, kernels = Binding(plan, buffers), plan.kernels
    runners = [_runner(kernel, binding, driver) for kernel in kernels]
    if not driver.timestamps:  # for which kernels have to run one after the other
        runners = paired(kernels, runners, binding, driver)
    products = any(map(_may_multiply, kernels))
    seconds = sum(estimated_seconds(kernel) for kernel in kernels)
    return HostRecording(runners, len(kernels), driver.timestamps, seconds, products)


def _may_multiply(kernel: Kernel) -> bool:
    """Whether a kernel may call BLAS; sums do."""
    return not isinstance(kernel, ElementwiseKernel) and not (isinstance(kernel, ReduceKernel) and kernel.combine != "add")


def estimated_seconds(kernel: Kernel) -> float:
    """About how long a kernel takes on a core of a small machine: enough to tell small from large."""
    if isinstance(kernel, MatmulKernel):
        return CALL + math.prod(kernel.batch) * kernel.rows * kernel.columns * kernel.depth * PER_PRODUCT
    if isinstance(kernel, ConvKernel):
        return CALL + kernel.work * PER_PRODUCT
    if isinstance(kernel, ElementwiseKernel):
        return CALL + math.prod(kernel.shape) * (1 + len(kernel.program.steps)) * PER_STEP
    if isinstance(kernel, ReduceKernel):
        return CALL + math.prod(kernel.kept + kernel.reduced) * (1 + len(kernel.program.steps)) * PER_STEP
    assert isinstance(kernel, ShaderKernel)
    return CALL + kernel.work * PER_STEP


def _runner(kernel: Kernel, binding: Binding, driver: Workers) -> Runner:
    from .convolution import convolution
    from .elementwise import elementwise
    from .matmul import Product
    from .reduce import reduce
    from .shaders import KERNELS

    if isinstance(kernel, ElementwiseKernel):
        return elementwise(kernel, binding, driver)
    if isinstance(kernel, ReduceKernel):
        return reduce(kernel, binding, driver)
    if isinstance(kernel, MatmulKernel):
        return Product(kernel, binding, driver)
    if isinstance(kernel, ConvKernel):
        return convolution(kernel, binding, driver)
    assert isinstance(kernel, ShaderKernel)
    return KERNELS[kernel.shader](kernel, binding, driver)


def stored_as_computed(dtype: DType) -> bool:
    """Whether values of ``dtype`` can be computed right where they are stored."""
    return functions.register_dtype(dtype) == dtype.numpy


def error_words(kernel: Kernel, binding: Binding) -> Array | None:
    return None if kernel.errors is None else binding.array(kernel.errors, (4,))


_noting = threading.Lock()


def note_error(words: Array, tag: int, index: int, bound: int) -> None:
    """Keep the first offence only; several threads may have one."""
    with _noting:
        if words[0] == 0:
            words[1:3] = (index, bound)
            words[0] = tag


_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def check_index(words: Array, index: Array, bound: int, tag: int, out: Array) -> None:
    """The opcode ``check_index``: see `runtime.opcodes`."""
    bound = int(bound)  # a scalar of the batch
    size = abs(bound)
    if not index.size:
        return
    unsigned = index.view(_UNSIGNED[index.itemsize])  # in which negative numbers are the largest
    if np.maximum.reduce(unsigned, axis=None) < size:
        np.copyto(out, index, casting="unsafe")
        return
    bad = (index < (-size if bound > 0 else 0)) | (index >= size)
    if bad.any():
        note_error(words, tag, int(index[bad][0]), bound)
    np.copyto(out, np.where(bad, 0, np.where(index < 0, index + size, index)), casting="unsafe")
