"""Operations on tensors, one module per family; forward and gradient stand side by side."""

from .arithmetic import add, atan2, div, floor_divide, fmod, maximum, minimum, mul, remainder, sub, where
from .arithmetic import power as pow
from .comparison import eq, ge, gt, isfinite, isinf, isnan, le, logical_and, logical_not, logical_or, logical_xor, lt, ne
from .creation import (
    arange,
    as_tensor,
    asarray,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    get_default_device,
    linspace,
    ones,
    ones_like,
    set_default_device,
    tensor,
    zeros,
    zeros_like,
)
from .functions import absolute as abs
from .functions import (
    acos,
    asin,
    atan,
    ceil,
    cos,
    cosh,
    erf,
    exp,
    exp2,
    expm1,
    floor,
    log,
    log1p,
    log2,
    log10,
    neg,
    reciprocal,
    relu,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
    trunc,
)
from .functions import round_ as round
from .linalg import addmm, bmm, matmul
from .random import Generator, bernoulli, manual_seed, rand, rand_like, randn, randn_like
from .reduction import all, amax, amin, any, argmax, argmin, logsumexp, mean, prod, std, sum, var
from .softmax import log_softmax, softmax
from .views import (
    broadcast_to,
    chunk,
    clone,
    flatten,
    narrow,
    permute,
    reshape,
    select,
    split,
    squeeze,
    t,
    transpose,
    unbind,
    unflatten,
    unsqueeze,
)

__all__ = [name for name in dir() if not name.startswith("_") and name not in (
    "arithmetic", "comparison", "creation", "dispatch", "elementwise", "functions", "linalg", "random", "reduction",
    "transfer", "views", "indexing", "methods",
)]  # fmt: skip
