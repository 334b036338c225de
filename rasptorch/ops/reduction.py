"""Sums, means, extremes over any dimensions: forward and gradient side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec, Program, step
from ..runtime.dtype import DType
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import Layout, layout_of
from ..tensor import Tensor, axes
from .arithmetic import div, where
from .dispatch import SpecCache, check_dtype, enqueue, tape
from .functions import exp, log, sqrt
from .on_host import first_extreme, on_host
from .outputs import takes_out
from .precision import in_full_precision, in_wide_steps
from .views import cast
from .words import lacks_int64

Dim = int | Sequence[int] | None
_specs = SpecCache()


def _accumulate(dtype: DType) -> DType:
    return dt.float32 if dtype in (dt.float16, dt.bfloat16) else dtype


def _spec(name: str, layout: Layout, dim: Dim, combine: str, result: DType) -> CommandSpec:
    key = (layout, dim, combine, result, name)
    spec = _specs.get(key)
    if spec is None:
        over = axes(name, dim, len(layout.shape))
        if over != dim:
            return _specs.put(key, _spec(name, layout, over, combine, result))
        if combine in ("maximum", "minimum") and 0 in [layout.shape[a] for a in over]:
            raise ShapeError(f"{name}: nothing to choose from over dimensions {list(over)} of shape {list(layout.shape)}")
        check_dtype(name, layout.device, layout.dtype, result)
        kept = tuple(n for a, n in enumerate(layout.shape) if a not in over)
        source = layout.dtype
        program = Program((source,), (), (), (0,))
        if source is not result and not (source in (dt.float16, dt.bfloat16) and result is source):
            program = Program((source,), (), (step("cast", source, (0,), result),), (1,))
        spec = _specs.put(
            key,
            CommandSpec(
                "reduce", name, (layout,), (layout_of(layout.device, result, kept),), program,
                (combine, over, _accumulate(result)),
            ),
        )  # fmt: skip
    return spec


def reduced(name: str, x: Tensor, dim: Dim, keepdim: bool, combine: str, result: DType) -> tuple[Tensor, tuple[int, ...]]:
    """``x`` combined over ``dim``, and the dimensions that were meant."""
    if dim is not None and type(dim) is not int:  # a list cannot be looked up
        dim = axes(name, dim, x.ndim)
    spec = _spec(name, x.layout, dim, combine, result)
    over = spec.attributes[1]
    assert isinstance(over, tuple)
    out = enqueue(spec, (x,))
    if keepdim:
        shape = tuple(1 if a in over else n for a, n in enumerate(x.shape))
        out = Tensor._make(out.storage, 0, layout_of(x.device, result, shape))
    return out, over


def spread(g: Tensor, shape: tuple[int, ...], over: tuple[int, ...]) -> Tensor:
    """A reduction's result (or gradient), with or without the reduced dimensions, stretched back to ``shape``."""
    kept = tuple(1 if a in over else n for a, n in enumerate(shape))
    return g.reshape(kept).expand(shape)


def _sum_dtype(x: Tensor, dtype: Any) -> DType:
    if dtype is not None:
        return dt.as_dtype(dtype)
    return x.dtype if x.dtype.is_floating_point else dt.int64


def _grad_sum(n: Node, g: Tensor) -> tuple[Tensor]:
    shape, over, dtype = n.attributes
    spreaded = spread(g, shape, over)
    return (spreaded if spreaded.dtype is dtype else spreaded.to(dtype),)


@takes_out
@in_full_precision
def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Tensor:
    """The sum over ``dim`` (None: all dimensions). Integers and booleans add up in int64."""
    wanted = _sum_dtype(input, dtype)
    if wanted is dt.int64 and input.dtype.itemsize == 1 and lacks_int64(input.device):
        largest = 255 if input.dtype is dt.uint8 else 1
        if largest * input.layout.numel < 1 << 31:  # int32 holds it; as int64 it is only stored
            return cast(reduced("sum", input, dim, keepdim, "add", dt.int32)[0], dt.int64)
    return _summed("sum", input, dim, keepdim, wanted)


def _summed(name: str, x: Tensor, dim: Dim, keepdim: bool, dtype: DType) -> Tensor:
    out, over = reduced(name, x, dim, keepdim, "add", dtype)
    return tape(out, "sum", _grad_sum, (x,), (), (x.layout.shape, over, x.layout.dtype))


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo a broadcast from ``shape``: sum over the dimensions that were stretched."""
    if x.layout.shape == shape:
        return x
    lead = x.ndim - len(shape)
    over = tuple(range(lead)) + tuple(
        a for a, n in enumerate(shape, lead) if n == 1 and x.shape[a] != 1
    )
    return sum(x, over).reshape(shape) if over else x.reshape(shape)


@takes_out
@in_full_precision
def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Tensor:
    """The mean over ``dim`` (None: all dimensions); NaN of nothing."""
    wanted = input.dtype if dtype is None else dt.as_dtype(dtype)
    if not wanted.is_floating_point:
        raise DTypeError(f"mean is not defined for {wanted.name}: convert first, or pass dtype=rasptorch.float32")
    total = _summed("mean", input, dim, keepdim, dt.float32 if wanted.itemsize == 2 else wanted)  # which 16 bits may not hold
    means = total.layout.numel
    count = input.layout.numel // means if means else 1
    out = div(total, count) if count else total * float("nan")
    return out if out.layout.dtype is wanted else cast(out, wanted)


def _grad_prod(n: Node, g: Tensor) -> tuple[Tensor]:
    """Product of the others: exact also where elements are zero, by counting the zeros of each product."""
    (x,) = n.values()
    over = n.attributes
    zeros = sum(x == 0, over, True, dtype=dt.int32)
    filled = where(x == 0, 1.0, x)
    others = prod(filled, over, True)
    slope = where(zeros == 0, others / filled, where(zeros == 1, where(x == 0, others, 0.0), 0.0))
    return (spread(g, x.shape, over) * slope,)


@takes_out
@in_full_precision
def prod(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Tensor:
    """The product over ``dim`` (None: all dimensions)."""
    out, over = reduced("prod", input, dim, keepdim, "mul", _sum_dtype(input, dtype))
    return tape(out, "prod", _grad_prod, (input,), (input,), over)


def _grad_extreme(n: Node, g: Tensor) -> tuple[Tensor]:
    """Shared evenly among all elements that attain the extreme, as PyTorch's ``amax``."""
    (x,) = n.values()
    over = n.attributes
    hit = (x == spread(n.result().detach(), x.shape, over)).to(x.dtype)
    share = hit / sum(hit, over, True)
    return (spread(g, x.shape, over) * share,)


@takes_out
def amax(input: Tensor, dim: Dim = None, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """The largest value over ``dim``; NaN if there is one. The gradient is shared among equals."""
    out, over = reduced("amax", input, dim, keepdim, "maximum", input.dtype)
    return tape(out, "amax", _grad_extreme, (input,), (input,), over, keep_output=True)


@takes_out
def amin(input: Tensor, dim: Dim = None, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """The smallest value over ``dim``; NaN if there is one. The gradient is shared among equals."""
    out, over = reduced("amin", input, dim, keepdim, "minimum", input.dtype)
    return tape(out, "amin", _grad_extreme, (input,), (input,), over, keep_output=True)


@takes_out
def any(input: Tensor, dim: Dim = None, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """Whether any element over ``dim`` is true (not zero)."""
    return _logical("any", input, dim, keepdim, "maximum", False)


@takes_out
def all(input: Tensor, dim: Dim = None, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """Whether every element over ``dim`` is true (not zero)."""
    return _logical("all", input, dim, keepdim, "minimum", True)


def _logical(name: str, x: Tensor, dim: Dim, keepdim: bool, combine: str, of_nothing: bool) -> Tensor:
    if isinstance(dim, Sequence) and not dim:  # of no dimensions: each element for itself
        return cast(x, dt.bool_) if x.dtype.category else x.clone()
    over = axes(name, dim, x.ndim)
    if math.prod(x.shape[a] for a in over) == 0:
        from .creation import filled

        shape = tuple(1 if a in over else n for a, n in enumerate(x.shape) if keepdim or a not in over)
        return filled(name, layout_of(x.device, dt.bool_, shape), of_nothing)
    return reduced(name, x, dim, keepdim, combine, dt.bool_)[0]


def _arg_extreme(name: str, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    """The first place that attains the extreme (NaN counts as it): the smallest index among those that are equal to it.

    Two reductions rather than one with pairs: both split over as many invocations as the device has, in a fixed order. NumPy has a
    function for rows, which is quicker.
    """
    if x.layout.numel == 0 and (dim is None or x.shape[axes(name, dim, x.ndim)[0]] == 0):
        raise ShapeError(f"{name}: nothing to choose from in shape {list(x.shape)}")
    if dim is None:
        flat = _arg_extreme(name, x.reshape(-1), 0, False)
        return flat.reshape((1,) * x.ndim) if keepdim else flat
    (axis,) = axes(name, dim, x.ndim) or (0,)
    if on_host(x) and axis == x.ndim - 1:
        return first_extreme(name, x, axis, keepdim)
    best = (amax if name == "argmax" else amin)(x.detach(), dim, True)
    return cast(first_place(x.detach(), best, axis, keepdim), dt.int64)


def first_place(x: Tensor, best: Tensor, axis: int, keepdim: bool) -> Tensor:
    """The smallest index (int32) along ``axis`` at which ``x`` is ``best`` (one per row of ``axis``) or NaN."""
    from .creation import counted

    if x.ndim == 0:
        return counted("index", layout_of(x.device, dt.int32, ()), 0, 0)
    hit = x == best
    if x.dtype.is_floating_point:
        hit = hit.logical_or(x != x)
    shape = tuple(n if a == axis else 1 for a, n in enumerate(x.shape))
    index = counted("index", layout_of(x.device, dt.int32, shape), 0, 1)
    return amin(where(hit, index, x.shape[axis]), axis, keepdim)


@takes_out
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """The index (int64) of the first largest value along ``dim``, or in the flattened tensor."""
    return _arg_extreme("argmax", input, dim, keepdim)


@takes_out
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """The index (int64) of the first smallest value along ``dim``, or in the flattened tensor."""
    return _arg_extreme("argmin", input, dim, keepdim)


@takes_out
@in_full_precision
@in_wide_steps
def var(
    input: Tensor, dim: Dim = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1, out: Any = None
) -> Tensor:  # fmt: skip
    """The variance over ``dim``, in two passes; divided by ``n - correction`` (``unbiased``: by ``n - 1``, or if False by ``n``)."""
    dim, correction = divided_by(dim, unbiased, correction)
    over = axes("var", dim, input.ndim)
    return variance(input, mean(input, over, True), over, correction, keepdim)


def divided_by(dim: Dim, unbiased: bool | None, correction: float) -> tuple[Dim, float]:
    """The dimensions and the correction that are meant: ``unbiased`` is the correction, and may stand in the place of ``dim``."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return dim, correction if unbiased is None else int(unbiased)


def variance(x: Tensor, average: Tensor, over: tuple[int, ...], correction: float, keepdim: bool) -> Tensor:
    """Of ``x``, whose mean over the dimensions ``over`` is ``average``."""
    count = math.prod(x.shape[a] for a in over)
    away = x - average
    divisor = max(count - correction, 0)
    total = sum(away * away, over, keepdim)
    return total / divisor if divisor else total * float("nan")


@takes_out
@in_full_precision
@in_wide_steps
def std(
    input: Tensor, dim: Dim = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1, out: Any = None
) -> Tensor:  # fmt: skip
    """The standard deviation over ``dim``."""
    return sqrt(var(input, dim, unbiased, keepdim, correction=correction))


@takes_out
@in_full_precision
def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False, *, out: Any = None) -> Tensor:
    """``log(sum(exp(input)))`` over ``dim``, shifted by the maximum so that nothing overflows."""
    over = axes("logsumexp", dim, input.ndim)
    if 0 in [input.shape[a] for a in over]:
        return log(sum(exp(input), over, keepdim))  # the logarithm of nothing is -inf
    top = amax(input.detach(), over, True)
    top = where(top.isfinite(), top, 0.0)
    made = log(sum(exp(input - top), over, True)) + top
    return made if keepdim else made.reshape(tuple(n for a, n in enumerate(input.shape) if a not in over))
