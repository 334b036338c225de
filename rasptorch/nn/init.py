"""Starting values: each function overwrites a tensor in place, without taping, and returns it.

Numbers come from ``generator`` or the default one (`rasptorch.manual_seed`); the same seed gives the same
values on every device, up to rounding. Nothing is read back.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..autograd.mode import no_grad
from ..ops import random
from ..ops.creation import eye, filled
from ..ops.creation import tensor as upload
from ..ops.random import Generator
from ..ops.views import copy_into
from ..runtime import dtype as dt
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import layout_of
from ..tensor import Tensor

Array = NDArray[np.float64]


def _write(target: Tensor, value: Tensor) -> Tensor:
    with no_grad():
        copy_into(target.detach(), value)
    return target


def _fill(target: Tensor, value: float) -> Tensor:
    filled("init.constant_", target.layout, value, target.detach())
    return target


def _drawn(target: Tensor, draw: Callable[..., Tensor], generator: Generator | None) -> Tensor:
    """Random numbers of ``target``'s shape: float32 for the 16-bit types, which would round 1 - 2**-24 up to
    1.
    """
    return draw(layout_of(target.device, _drawn_dtype(target), target.shape), generator)


def _drawn_dtype(target: Tensor) -> DType:
    if not target.dtype.is_floating_point:
        raise DTypeError(
            f"random starting values are floating-point numbers, the tensor is {target.dtype.name}"
        )
    return dt.float64 if target.dtype is dt.float64 else dt.float32


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform in ``[a, b)``."""
    with no_grad():
        return _write(tensor, _drawn(tensor, random.uniform, generator) * (b - a) + a)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Normal with this mean and standard deviation."""
    with no_grad():
        return _write(tensor, _drawn(tensor, random.normal, generator) * std + mean)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element ``val``."""
    return _fill(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return _fill(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return _fill(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """A matrix with ones on its diagonal and zeros elsewhere."""
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: takes a matrix, got shape {list(tensor.shape)}")
    return _write(tensor, eye(*tensor.shape, device=tensor.device))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights before this nonlinearity are larger than before none, as in PyTorch.

    ``param`` is the negative slope of ``leaky_relu`` (0.01 when left out). Raises `ValueError` for names it
    does not know.
    """
    gains = {"sigmoid": 1.0, "tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity == "linear" or nonlinearity.startswith("conv"):
        return 1.0
    if nonlinearity not in gains:
        raise ValueError(
            f"calculate_gain: {nonlinearity!r} is none of linear, conv*, leaky_relu, {', '.join(gains)}"
        )
    return gains[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs an output element of a weight ``[out, in, ...]`` sums over, and how many outputs an
    input reaches.
    """
    if tensor.ndim < 2:
        raise ShapeError(f"fan in and fan out need at least 2 dimensions, got shape {list(tensor.shape)}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform, so that variance is kept in both directions on average (Glorot and Bengio, AISTATS 2010)."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal, so that variance is kept in both directions on average (Glorot and Bengio, AISTATS 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor))), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode is 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform, so that variance is kept behind rectifiers of slope ``a`` (He et al., ICCV 2015)."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal, so that variance is kept behind rectifiers of slope ``a`` (He et al., ICCV 2015)."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def weight_and_bias_(weight: Tensor, bias: Tensor | None) -> None:
    """How linear layers and convolutions start, as in PyTorch: both uniform in ``±1/sqrt(fan in)``, the weight drawn first.

    That is Kaiming's bound with a slope of ``sqrt(5)``.
    """
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        fan_in, _ = fans(weight)
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        uniform_(bias, -bound, bound)


# -- drawn on the host ---------------------------------------------------------------------------------------
def _host(generator: Generator | None) -> np.random.Generator:
    """NumPy's generator, seeded by the next draw: values depend on the seed and on how many draws came
    before.
    """
    words = [word & 0xFFFFFFFF for word in (generator or random.default_generator).draw()]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


def _upload(target: Tensor, values: Array) -> Tensor:
    return _write(target, upload(values, dtype=_drawn_dtype(target), device=target.device))


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Orthonormal rows or columns (whichever are fewer) of the tensor seen as ``[first, rest]``, times
    ``gain``.

    The Q of a normal matrix's QR decomposition with R's diagonal made positive, which is uniform over all
    such matrices (Mezzadri, Notices of the AMS 54, 2007). Computed on the host.
    """
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: needs at least 2 dimensions, got shape {list(tensor.shape)}")
    if tensor.numel() == 0:
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    normal = _host(generator).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return _upload(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Normal, with what falls outside ``[a, b]`` (absolute bounds, not multiples of ``std``) drawn again. On
    the host.
    """
    if not (a < b and std > 0):
        raise ValueError(f"trunc_normal_: needs a < b and std > 0, got a={a}, b={b}, std={std}")
    values = _truncated(_host(generator), (a - mean) / std, (b - mean) / std, tensor.numel())
    return _upload(tensor, np.clip(values * std + mean, a, b).reshape(tensor.shape))


def _truncated(source: np.random.Generator, low: float, high: float, count: int) -> Array:
    """Standard normal numbers between ``low`` and ``high``, by rejection.

    Proposals are normal where the window holds a good part of the distribution, otherwise uniform over the
    window, cut off where the density has fallen by exp(-50).
    """
    likely = 0.5 * (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)))
    peak = min(max(0.0, low), high)
    reach = math.sqrt(peak * peak + 100.0)
    low, high = max(low, -reach), min(high, reach)
    out = np.empty(count)
    filled_ = 0
    while filled_ < count:
        if likely > 0.1:
            proposals = source.standard_normal(count)
            accepted = proposals[(proposals >= low) & (proposals <= high)]
        else:
            proposals = source.uniform(low, high, count)
            accepted = proposals[source.random(count) < np.exp((peak * peak - proposals**2) / 2)]
        taken = accepted[: count - filled_]
        out[filled_ : filled_ + len(taken)] = taken
        filled_ += len(taken)
    return out


__all__ = [
    "calculate_gain", "constant_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
    "orthogonal_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip
