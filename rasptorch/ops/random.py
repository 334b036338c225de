"""Random numbers by counter (Philox 4x32-10): element ``i`` of draw number ``n`` of a seed is always the same number.

Uniform numbers are bit-equal on every device; nothing depends on how commands were batched.
"""

from __future__ import annotations

import math
import os
import threading
from typing import Any

from ..autograd.recompute import drawing
from ..runtime import dtype as dt
from ..runtime.capture import live
from ..runtime.command import CommandSpec, Program, Step, step
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError
from ..runtime.layout import Layout, layout_of
from ..tensor import Tensor
from .arithmetic import div, where
from .creation import _like, device_of, floating, shape_of
from .dispatch import SpecCache, check_dtype, check_size, enqueue
from .functions import cos, log, sqrt
from .outputs import makes_out, takes_out

_specs = SpecCache()


class Generator:
    """A seed and how many draws were made from it. Threads may share one."""

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self.manual_seed(int.from_bytes(os.urandom(8), "little") >> 1 if seed is None else seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start over from ``seed`` (taken modulo 2**64)."""
        with self._lock:
            self._seed = int(seed) % (1 << 64)
            self._draws = 0
        return self

    def initial_seed(self) -> int:
        return self._seed

    def get_state(self) -> tuple[int, int]:
        """Seed and number of draws so far: all there is to know."""
        with self._lock:
            return self._seed, self._draws

    def set_state(self, state: tuple[int, int]) -> None:
        with self._lock:
            self._seed, self._draws = int(state[0]) % (1 << 64), int(state[1])

    def draw(self) -> tuple[int, int, int]:
        """Scalars for one draw, as int32: draw number, low and high half of the seed."""
        with self._lock:
            number = self._draws
            self._draws += 1
            return _signed(number), _signed(self._seed), _signed(self._seed >> 32)


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


default_generator = Generator()

# The upper bits that short floats can hold; with more, numbers close to 1 would be rounded up to 1.
_MASKS = {dt.float16: -(1 << 21), dt.bfloat16: -(1 << 24)}


def manual_seed(seed: int) -> Generator:
    """Seed the generator that is used when none is given."""
    return default_generator.manual_seed(seed)


def _bits_spec(layout: Layout, result: DType) -> CommandSpec:
    key = (layout, result)
    spec = _specs.get(key)
    if spec is None:
        check_size("rand", layout)
        count = 4 if result in _MASKS else 3
        steps: list[Step] = [step("index", dt.int32, ()), step("philox", dt.int32, (count, 0, 1, 2))]
        last = count + 1

        def then(opcode: str, source: DType, *more: int, to: DType | None = None) -> None:
            nonlocal last
            steps.append(step(opcode, source, (last, *more), to))
            last += 1

        if result in _MASKS:
            then("bitwise_and", dt.int32, 3)
        if result is not dt.int32:
            then("unit_uniform", dt.int32)
        if result not in (dt.int32, dt.float32):
            then("cast", dt.float32, to=result)
        program = Program((), (dt.int32,) * count, tuple(steps), (last,))
        spec = _specs.put(key, CommandSpec("elementwise", "rand", (), (layout,), program))
    return spec


def uniform(layout: Layout, generator: Generator | None = None) -> Tensor:
    """New numbers in [0, 1): multiples of 2**-24, of 2**-11 in float16, of 2**-8 in bfloat16."""
    if not layout.dtype.is_floating_point:
        raise DTypeError(f"rand gives floating-point numbers, not {layout.dtype.name}; use randint")
    check_dtype("rand", layout.device, layout.dtype)
    mask = (_MASKS[layout.dtype],) if layout.dtype in _MASKS else ()
    draw = drawing((generator or default_generator).draw)
    return enqueue(_bits_spec(layout, layout.dtype), (), live(layout.device.stream(), lambda: (*draw(), *mask)))


@makes_out
def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    out: Any = None,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1)."""
    layout = layout_of(device_of(device), floating(dtype), shape_of("rand", size))
    made = uniform(layout, generator)
    return made.requires_grad_() if requires_grad else made


def normal(layout: Layout, generator: Generator | None = None) -> Tensor:
    """Standard normal numbers by Box and Muller's transform (Annals of Mathematical Statistics 29, 1958)."""
    short = layout.dtype in (dt.float16, dt.bfloat16)
    working = layout_of(layout.device, dt.float32, layout.shape) if short else layout
    radius = sqrt(log(1.0 - uniform(working, generator)) * -2.0)
    return (radius * cos(uniform(working, generator) * (2.0 * math.pi))).to(layout.dtype)


@makes_out
def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    out: Any = None,
) -> Tensor:  # fmt: skip
    """Normally distributed numbers of mean 0 and variance 1."""
    layout = layout_of(device_of(device), floating(dtype), shape_of("randn", size))
    made = normal(layout, generator)
    return made.requires_grad_() if requires_grad else made


def rand_like(
    input: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:  # fmt: skip
    """As `rand`, in the shape of another tensor, with its dtype and on its device unless told otherwise."""
    made = uniform(_like(input, dtype, device), generator)
    return made.requires_grad_() if requires_grad else made


def randn_like(
    input: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:  # fmt: skip
    """As `randn`, in the shape of another tensor, with its dtype and on its device unless told otherwise."""
    made = normal(_like(input, dtype, device), generator)
    return made.requires_grad_() if requires_grad else made


@takes_out
def bernoulli(input: Tensor, *, generator: Generator | None = None, out: Any = None) -> Tensor:
    """Ones with probability ``input`` for each element, zeros otherwise, in ``input``'s dtype."""
    return (rand_like(input, generator=generator) < input).to(input.dtype)


def dropout(x: Tensor, p: float = 0.5, training: bool = True, *, generator: Generator | None = None) -> Tensor:
    """Each element is zero with probability ``p``; the others are divided by ``1 - p``."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: p is a probability between 0 and 1, got {p}")
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return x * 0.0
    keep = uniform(layout_of(x.device, dt.float32, x.shape), generator) >= p
    return where(keep, div(x, 1.0 - p), 0.0)


def channel_dropout(x: Tensor, p: float, training: bool, whole: int, *, generator: Generator | None = None) -> Tensor:
    """As `dropout`, but for the last ``whole`` dimensions together: a channel stays or goes as one."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: p is a probability between 0 and 1, got {p}")
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return x * 0.0
    shape = (*x.shape[: x.ndim - whole], *(1,) * whole)
    keep = uniform(layout_of(x.device, dt.float32, shape), generator) >= p
    return where(keep, div(x, 1.0 - p), 0.0)
