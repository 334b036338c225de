"""Tensors filled with random numbers where they are: PyTorch's methods with an underscore, equal on every device for equal seeds."""

from __future__ import annotations

import math
from typing import Any

from ..runtime import dtype as dt
from ..runtime.errors import DTypeError
from ..runtime.layout import Layout, layout_of
from ..tensor import Tensor
from .composed import written
from .functions import ceil, exp, log, tan
from .random import Generator, normal, uniform
from .sampling import _integers, _whole
from .views import cast

# Up to which whole number every smaller one is a number of the dtype, too.
_EXACT = {
    dt.bool_: 1, dt.uint8: 255, dt.int32: 2**31 - 1, dt.int64: 2**63 - 2, dt.float16: 2**11, dt.bfloat16: 2**8, dt.float32: 2**24,
    dt.float64: 2**53,
}  # fmt: skip


def _floats(name: str, x: Tensor) -> Layout:
    """The layout of what is drawn: of 16-bit tensors in float32, as the few uniform numbers of theirs would show."""
    if not x.dtype.is_floating_point:
        raise DTypeError(f"{name} fills floating-point tensors, this one is {x.dtype.name}; see random_")
    return layout_of(x.device, dt.float32 if x.dtype.itemsize == 2 else x.dtype, x.shape)


def _waiting(layout: Layout, generator: Generator | None) -> Tensor:
    """Exponentially distributed numbers of mean 1."""
    return -log(1.0 - uniform(layout, generator))


def normal_(x: Tensor, mean: float = 0, std: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Fill with normally distributed numbers."""
    if not std >= 0:
        raise ValueError(f"normal_: a standard deviation is not negative, got {std}")
    return written("normal_", x, cast(normal(_floats("normal_", x), generator) * std + mean, x.dtype))


def log_normal_(x: Tensor, mean: float = 1, std: float = 2, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers whose logarithms are normally distributed."""
    if not std > 0:
        raise ValueError(f"log_normal_: a standard deviation is above 0, got {std}")
    return written("log_normal_", x, cast(exp(normal(_floats("log_normal_", x), generator) * std + mean), x.dtype))


def uniform_(x: Tensor, from_: float = 0, to: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Fill with uniform numbers from ``from_`` up to ``to``."""
    if not from_ <= to:
        raise ValueError(f"uniform_: the first bound is not above the second, got {from_} and {to}")
    return written("uniform_", x, cast(uniform(_floats("uniform_", x), generator) * (to - from_) + from_, x.dtype))


def exponential_(x: Tensor, lambd: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponentially distributed numbers of mean ``1 / lambd``."""
    if not lambd > 0:
        raise ValueError(f"exponential_: lambd is above 0, got {lambd}")
    return written("exponential_", x, cast(_waiting(_floats("exponential_", x), generator) / lambd, x.dtype))


def cauchy_(x: Tensor, median: float = 0, sigma: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Fill with Cauchy-distributed numbers around ``median``; half of them are closer to it than ``sigma``."""
    if not sigma > 0:
        raise ValueError(f"cauchy_: sigma is above 0, got {sigma}")
    angle = (uniform(_floats("cauchy_", x), generator) - 0.5) * math.pi
    return written("cauchy_", x, cast(tan(angle) * sigma + median, x.dtype))


def geometric_(x: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the numbers of trials, each successful with probability ``p``, up to and with the first success."""
    if not 0 < p < 1:
        raise ValueError(f"geometric_: p is between 0 and 1, got {p}")
    working = dt.float64 if x.dtype is dt.float64 else dt.float32
    trials = ceil(_waiting(layout_of(x.device, working, x.shape), generator) / -math.log1p(-p)).clamp(min=1)
    return written("geometric_", x, cast(trials, x.dtype))


def bernoulli_(x: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with ones, each with probability ``p`` (a number, or a tensor that stretches to this one's shape), and zeros."""
    if not isinstance(p, Tensor) and not 0 <= p <= 1:
        raise ValueError(f"bernoulli_: p is from 0 to 1, got {p}")
    chance = p.detach() if isinstance(p, Tensor) else p
    return written("bernoulli_", x, cast(uniform(layout_of(x.device, dt.float32, x.shape), generator) < chance, x.dtype))


def random_(x: Tensor, from_: int = 0, to: int | None = None, *, generator: Generator | None = None) -> Tensor:
    """``random_(from_, to)``, ``random_(to)`` or ``random_()``: fill with whole numbers from ``from_`` (0) to ``to - 1``.

    Without bounds up to the greatest number of an integer dtype, or up to which a floating-point one has all.
    """
    low, high = _whole("random_", from_), to if to is None else _whole("random_", to)
    if high is None:
        low, high = (0, low) if low else (0, _EXACT[x.dtype] + 1)
    if not low < high:
        raise ValueError(f"random_: the first bound is below the second, got {low} and {high}")
    if low < (-_EXACT[x.dtype] - 1 if x.dtype.is_signed else 0) or high > _EXACT[x.dtype] + 1:
        raise ValueError(f"random_: {x.dtype.name} does not hold all numbers from {low} to {high - 1}")
    return written("random_", x, _integers("random_", layout_of(x.device, x.dtype, x.shape), low, high, generator))
