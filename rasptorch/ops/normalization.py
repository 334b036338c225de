"""Normalisation by moments taken of the input itself: forward in three passes, and gradients of their own.

Everything here is one function, `standardized`: what layer, group, instance and batch normalisation differ in is only
over which dimensions moments are taken and how scale and shift stretch. Its gradient is the closed form (Ioffe and Szegedy,
ICML 2015), made of reductions and elementwise operations on tensors, so it fuses and can be differentiated again.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..autograd.mode import no_grad, recording
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.errors import DTypeError, ShapeError
from ..tensor import Tensor
from .creation import zeros
from .dispatch import tape
from .functions import rsqrt, square
from .precision import in_full_precision
from .reduction import mean, sum, sum_to, variance


class Standardized(NamedTuple):
    """What was computed, and the moments (with the reduced dimensions as 1, without history) it came from."""

    value: Tensor
    mean: Tensor | None
    variance: Tensor


class _Form(NamedTuple):
    over: tuple[int, ...]
    eps: float
    centred: bool
    values: int


def check_floating(name: str, x: Tensor) -> None:
    if not x.dtype.is_floating_point:
        raise DTypeError(f"{name} is not defined for {x.dtype.name}; convert with .to(rasptorch.float32)")


def _moments(x: Tensor, form: _Form) -> tuple[Tensor | None, Tensor]:
    if not form.centred:
        return None, mean(square(x), form.over, True)
    average = mean(x, form.over, True)
    return average, variance(x, average, form.over, 0, True)


def _hat(x: Tensor, average: Tensor | None, inverse: Tensor) -> Tensor:
    return x * inverse if average is None else (x - average) * inverse


def standardized(
    x: Tensor, over: tuple[int, ...], eps: float, scale: Tensor | None = None, shift: Tensor | None = None, *, centred: bool = True
) -> Standardized:
    """``(x - mean) / sqrt(variance + eps) * scale + shift`` with moments over the dimensions ``over``.

    ``scale`` and ``shift`` broadcast against ``x``. The variance is the biased one. Without ``centred`` the mean counts as
    zero and the variance is the mean square. 16-bit inputs are computed in float32.
    """
    wide = x.to(dt.float32) if x.dtype in (dt.float16, dt.bfloat16) else x
    form = _Form(over, float(eps), centred, math.prod(x.shape[a] for a in over))
    with no_grad():
        average, spread = _moments(wide, form)
        inverse = rsqrt(spread + form.eps)
        out = _hat(wide, average, inverse)
        out = out if scale is None else out * scale
        out = out if shift is None else out + shift
    about = form, () if shift is None else shift.shape
    tape(out, "standardized", _gradient, (wide, scale, shift), (wide, scale, average, inverse), about)
    return Standardized(out if out.dtype is x.dtype else out.to(x.dtype), average, spread)


def _gradient(n: Node, g: Tensor) -> tuple[Any, Any, Any]:
    """With ``h`` the standardised input and ``s`` the scale: ``(g s - mean(g s) - h mean(g s h)) / sqrt(variance + eps)``."""
    x, scale, average, inverse = n.values()
    form, shift_shape = n.attributes
    if recording.get():  # the gradient's own gradient goes through the moments, too
        average, spread = _moments(x, form)
        inverse = rsqrt(spread + form.eps)
    # The standardised input is written down anew for each use: every kernel computes it, and none has to store it.
    dscale = sum_to(g * _hat(x, average, inverse), scale.shape) if n.needs(1) else None
    dshift = sum_to(g, shift_shape) if n.needs(2) else None
    if not n.needs(0):
        return None, dscale, dshift
    whole = scale is not None and scale.shape == inverse.shape
    pulled = g if scale is None or whole else g * scale
    # Where a scale belongs to one set of moments (batch normalisation), the sums for its gradient are those needed here.
    first = dshift if whole and dshift is not None and shift_shape == inverse.shape else None
    second = dscale if whole else None
    along = sum(pulled * _hat(x, average, inverse), form.over, True) if second is None else second
    rest = pulled - _hat(x, average, inverse) * (along / form.values)
    if form.centred:
        rest = rest - (sum(pulled, form.over, True) if first is None else first) / form.values
    return rest * (inverse * scale if whole else inverse), dscale, dshift


# -- the functions -----------------------------------------------------------------------------------------------
def _normalized_axes(name: str, x: Tensor, normalized_shape: Any) -> tuple[int, ...]:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    check_floating(name, x)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(f"{name}: normalized_shape {list(shape)} is not how the input's shape {list(x.shape)} ends")
    return tuple(range(x.ndim - len(shape), x.ndim))


def _check_affine(name: str, wanted: tuple[int, ...], **given: Tensor | None) -> None:
    for what, value in given.items():
        if value is not None and value.shape != wanted:
            raise ShapeError(f"{name}: {what} has shape {list(value.shape)}, wanted is {list(wanted)}")


@in_full_precision
def layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Mean 0 and variance 1 over the last dimensions, which are ``normalized_shape``; then times ``weight`` plus ``bias`` of
    that shape (Ba, Kiros and Hinton, 2016).
    """
    over = _normalized_axes("layer_norm", input, normalized_shape)
    _check_affine("layer_norm", input.shape[over[0] :], weight=weight, bias=bias)
    return standardized(input, over, eps, weight, bias).value


@in_full_precision
def rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """``input`` over its root mean square in the last dimensions, which are ``normalized_shape``; then times ``weight`` (Zhang and
    Sennrich, NeurIPS 2019). ``eps`` None is the dtype's distance from 1 to the next number.
    """
    over = _normalized_axes("rms_norm", input, normalized_shape)
    _check_affine("rms_norm", input.shape[over[0] :], weight=weight)
    return standardized(input, over, _EPS[input.dtype.name] if eps is None else eps, weight, centred=False).value


_EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@in_full_precision
def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """``input`` of ``[n, channels, ...]`` with mean 0 and variance 1 in each of ``num_groups`` groups of channels of each sample; then
    times ``weight`` plus ``bias``, one per channel (Wu and He, ECCV 2018).
    """
    check_floating("group_norm", input)
    if input.ndim < 2 or num_groups < 1 or input.shape[1] % num_groups:
        raise ShapeError(f"group_norm: input is [n, channels, ...] with channels a multiple of {num_groups}, got {list(input.shape)}")
    _check_affine("group_norm", (input.shape[1],), weight=weight, bias=bias)
    shape = (input.shape[0], num_groups, input.shape[1] // num_groups, math.prod(input.shape[2:]))
    per_channel = (1, num_groups, shape[2], 1)
    scale, shift = (v if v is None else v.reshape(per_channel) for v in (weight, bias))
    return standardized(input.reshape(shape), (2, 3), eps, scale, shift).value.reshape(input.shape)


def per_channel(value: Tensor | None, x: Tensor) -> Tensor | None:
    """A vector with one entry per channel, shaped to stretch along dimension 1 of ``x``."""
    return None if value is None else value.reshape((1, -1, *(1,) * (x.ndim - 2)))


def with_moments(
    x: Tensor, average: Tensor, spread: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """``x`` of ``[n, channels, ...]`` normalised by given moments per channel, scaled and shifted; in the dtype of ``x``."""
    factor = rsqrt(spread + eps)
    if weight is not None:
        factor = factor * weight
    out = (x - per_channel(average, x)) * per_channel(factor, x)
    out = out if bias is None else out + per_channel(bias, x)
    return out if out.dtype is x.dtype else out.to(x.dtype)


def _blend(target: Tensor, seen: Tensor, momentum: Any) -> None:
    """``target`` moves to ``seen`` by the part ``momentum``: a number, or a 0-d tensor. In place, without history."""
    from .views import copy_into

    with no_grad():
        now = seen.reshape(target.shape)
        copy_into(target.detach(), target * (1.0 - momentum) + now * momentum)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``input`` of ``[n, channels, ...]`` with mean 0 and variance 1 per channel, then times ``weight`` plus ``bias``, one per channel
    (Ioffe and Szegedy, ICML 2015).

    While ``training`` the moments are the batch's, and ``running_mean`` and ``running_var`` (unbiased) move towards them by the
    part ``momentum``, a number or a 0-d tensor. Otherwise the running ones are used.
    """
    check_floating("batch_norm", input)
    if input.ndim < 2:
        raise ShapeError(f"batch_norm: input is [n, channels, ...], got {list(input.shape)}")
    _check_affine("batch_norm", (input.shape[1],), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: give running_mean and running_var, or training=True to use the batch's moments")
        return with_moments(input, running_mean, running_var, weight, bias, eps)
    over = (0, *range(2, input.ndim))
    count = math.prod(input.shape[a] for a in over)
    if count == 0:  # nothing has no moments, and changes none
        nothing = zeros(input.shape[1], dtype=input.dtype, device=input.device)
        return with_moments(input, nothing, nothing + 1.0, weight, bias, eps)
    if count == 1:
        raise ValueError(f"batch_norm: more than one value per channel is needed when training, got input of shape {list(input.shape)}")
    made = standardized(input, over, eps, per_channel(weight, input), per_channel(bias, input))
    if running_mean is not None and made.mean is not None:
        _blend(running_mean, made.mean, momentum)
    if running_var is not None:
        _blend(running_var, made.variance * (count / (count - 1)), momentum)
    return made.value


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``input`` of ``[n, channels, ...]`` with mean 0 and variance 1 in each channel of each sample, then times ``weight`` plus
    ``bias``, one per channel (Ulyanov, Vedaldi and Lempitsky, 2016).

    With ``use_input_stats`` running moments, if given, move towards the batch's means of the samples' moments. Otherwise the
    running ones are used.
    """
    check_floating("instance_norm", input)
    if input.ndim < 3:
        raise ShapeError(f"instance_norm: input is [n, channels, length, ...], got {list(input.shape)}")
    _check_affine("instance_norm", (input.shape[1],), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError("instance_norm: give running_mean and running_var, or use_input_stats=True")
        return with_moments(input, running_mean, running_var, weight, bias, eps)
    count = math.prod(input.shape[2:])
    if count <= 1:
        raise ValueError(f"instance_norm: more than one value per channel is needed, got input of shape {list(input.shape)}")
    made = standardized(input, tuple(range(2, input.ndim)), eps, per_channel(weight, input), per_channel(bias, input))
    if running_mean is not None and made.mean is not None:
        _blend(running_mean, mean(made.mean, 0), momentum)
    if running_var is not None:
        _blend(running_var, mean(made.variance, 0) * (count / (count - 1)), momentum)
    return made.value
