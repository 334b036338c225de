"""Pooling as functions, with PyTorch's arguments. Averages are convolutions with a kernel of ones that takes no memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..ops.arithmetic import minimum
from ..ops.convolution import Geometry, convolve
from ..ops.creation import arange, ones
from ..ops.gathering import index_select
from ..ops.pooling import largest
from ..ops.reduction import mean
from ..ops.resampling import resampled
from ..ops.views import cast
from ..runtime import dtype as dt
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.plan.pooling import Windows
from ..tensor import Tensor
from .convolutions import Numbers, Size, batched, numbers, pair, unbatched

Pooled = Tensor | tuple[Tensor, Tensor]


def _outputs(operation: str, x: Tensor, size: Numbers, stride: Numbers, padding: Numbers, dilation: Numbers, ceil_mode: bool) -> Numbers:
    """How many windows there are along each dimension."""
    dims, made = len(size), []
    for n, k, s, p, d in zip(x.shape[-dims:], size, stride, padding, dilation, strict=True):
        if 2 * p > d * (k - 1) + 1:
            raise ValueError(f"{operation}: padding is at most half of the window, got padding={list(padding)}, kernel_size={list(size)}")
        room = n + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= n + p:
            count -= 1  # windows begin inside of the input or of the padding before it
        if count < 1:
            raise ShapeError(
                f"{operation}: the window of {list(size)} with dilation {list(dilation)} is larger than the input of "
                f"{list(x.shape[-dims:])} with padding {list(padding)}"
            )
        made.append(count)
    return tuple(made)


def _arguments(operation: str, dims: int, kernel_size: Size, stride: Size | None, padding: Size, dilation: Size) -> list[Numbers]:
    size = numbers(operation, "kernel_size", kernel_size, dims, 1)
    steps = size if stride is None else numbers(operation, "stride", stride, dims, 1)
    return [size, steps, numbers(operation, "padding", padding, dims, 0), numbers(operation, "dilation", dilation, dims, 1)]


def _max_pool(
    operation: str, dims: int, x: Tensor, kernel_size: Size, stride: Size | None, padding: Size, dilation: Size, ceil_mode: bool,
    return_indices: bool,
) -> Pooled:  # fmt: skip
    source = batched(operation, x, dims).contiguous()
    size, steps, start, spread = _arguments(operation, dims, kernel_size, stride, padding, dilation)
    outputs = pair(_outputs(operation, x, size, steps, start, spread, ceil_mode), 1)
    n, c, h, w = source.shape
    windows = Windows(n * c, (h, w), outputs, pair(size, 1), pair(steps, 1), pair(start, 0), pair(spread, 1))
    values, place = largest(source, windows, (n, c, *outputs))
    values = unbatched(values, x, dims)
    if not return_indices:
        return values
    return values, unbatched(cast(place.reshape(n, c, *outputs), dt.int64), x, dims)


def max_pool1d(
    input: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Pooled:  # fmt: skip
    """The largest value of each window of ``[n, c, length]``; see `max_pool2d`."""
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Pooled:  # fmt: skip
    """The largest value of each window of ``[n, c, height, width]`` (or without ``n``), ``stride`` apart (the window's size if None).

    Padding counts as -inf, NaN as larger than everything. The gradient goes to the first largest value. With ``return_indices`` also
    where it was: int64 numbers in the plane. ``ceil_mode`` also takes windows that reach past the end.
    """
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _covered(n: int, count: int, size: int, stride: int, padding: int, with_padding: bool) -> list[int]:
    """How many places the first and the last windows count along one axis, and one in between."""
    low, high = (-padding, n + padding) if with_padding else (0, n)
    places = [*range(min(count, padding + 1)), *range(max(0, count - padding - 2), count)]
    return [min(at * stride - padding + size, high) - max(at * stride - padding, low) for at in places]


def _counts(x: Tensor, axis: int, n: int, count: int, size: int, stride: int, padding: int, with_padding: bool) -> Tensor:
    """How many places each window counts along ``axis`` of four, in ``x``'s dtype."""
    low, high = (-padding, n + padding) if with_padding else (0, n)
    start = arange(count, dtype=dt.int32, device=x.device) * stride - padding
    counted = (start + size).clamp(max=high) - start.clamp(min=low)
    return counted.to(x.dtype).reshape([count if a == axis else 1 for a in range(4)])


def _avg_pool(
    operation: str, dims: int, x: Tensor, kernel_size: Size, stride: Size | None, padding: Size, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    if not x.dtype.is_floating_point:
        raise DTypeError(f"{operation} is not defined for {x.dtype.name}; convert with .to(rasptorch.float32)")
    source = batched(operation, x, dims)
    size, steps, start, spread = _arguments(operation, dims, kernel_size, stride, padding, 1)
    outputs = _outputs(operation, x, size, steps, start, spread, ceil_mode)
    if divisor_override is not None and divisor_override == 0:
        raise ValueError(f"{operation}: divisor_override cannot be 0")
    channels = source.shape[1]
    weight = ones(1, 1, 1, 1, dtype=x.dtype, device=x.device).expand(channels, 1, *pair(size, 1))
    inputs = source.shape[2], source.shape[3]
    geometry = Geometry(operation, inputs, pair(outputs, 1), pair(size, 1), pair(steps, 1), pair(start, 0), (1, 1), max(channels, 1))
    total = convolve(source, weight, geometry)
    if divisor_override is not None:
        return unbatched(total / divisor_override, x, dims)
    counts = [
        _covered(n, count, k, s, p, count_include_pad)
        for n, count, k, s, p in zip(x.shape[-dims:], outputs, size, steps, start, strict=True)
    ]
    if all(len(set(counted)) == 1 for counted in counts):
        return unbatched(total / math.prod(counted[0] for counted in counts), x, dims)
    walks = enumerate(zip(x.shape[-dims:], outputs, size, steps, start, strict=True), 4 - dims)
    divisors = [_counts(x, axis, *walk, count_include_pad) for axis, walk in walks]
    return unbatched(total / (divisors[0] if dims == 1 else divisors[0] * divisors[1]), x, dims)


def avg_pool1d(
    input: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False, count_include_pad: bool = True
) -> Tensor:
    """The mean of each window of ``[n, c, length]``; see `avg_pool2d`."""
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of ``[n, c, height, width]`` (or without ``n``), ``stride`` apart (the window's size if None).

    Zeros of the padding count unless ``count_include_pad`` is False; what ``ceil_mode`` adds at the end never does. Sums are divided by
    ``divisor_override`` instead where that is given.
    """
    return _avg_pool("avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _adaptive_sizes(operation: str, x: Tensor, output_size: int | Sequence[int | None] | None, dims: int) -> Numbers:
    wanted = [output_size] * dims if output_size is None or isinstance(output_size, int) else list(output_size)
    if len(wanted) != dims or any(n is not None and n < 1 for n in wanted):
        raise ValueError(f"{operation}: output_size is a positive whole number or {dims} of them or None, got {output_size!r}")
    return tuple(own if n is None else n for own, n in zip(x.shape[-dims:], wanted, strict=True))


def _adaptive_avg_pool(operation: str, x: Tensor, output_size: int | Sequence[int | None] | None, dims: int) -> Tensor:
    batched(operation, x, dims)
    sizes, own = _adaptive_sizes(operation, x, output_size, dims), x.shape[-dims:]
    if not x.dtype.is_floating_point:
        raise DTypeError(f"{operation} is not defined for {x.dtype.name}; convert with .to(rasptorch.float32)")
    if sizes == (1,) * dims:
        return mean(x, tuple(range(-dims, 0)), True)
    if all(n % m == 0 for n, m in zip(own, sizes, strict=True)):
        window = [n // m for n, m in zip(own, sizes, strict=True)]
        return x if set(window) == {1} else _avg_pool(operation, dims, x, window, None, 0, False, True)
    for axis, size in zip(range(x.ndim - dims, x.ndim), sizes, strict=True):
        x = resampled(x, axis, size, "area")
    return x


def adaptive_avg_pool1d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Means of windows that share ``[n, c, length]`` out evenly among ``output_size`` outputs."""
    return _adaptive_avg_pool("adaptive_avg_pool1d", input, output_size, 1)


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Means of windows that share ``[n, c, height, width]`` out evenly among ``output_size`` outputs; None keeps a size.

    Output ``i`` of ``m`` is the mean of inputs ``floor(i n / m)`` to ``ceil((i + 1) n / m) - 1``.
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", input, output_size, 2)


def _adaptive_place(at: Tensor, own: int, count: int, longest: int) -> Tensor:
    """Which input the ``at``-th place is, where windows lie side by side, each as long as the longest; int32. Shorter ones end in
    repetitions of their last input.
    """
    window = at // longest
    last = ((window + 1) * own + (count - 1)) // count - 1
    return minimum(window * own // count + at % longest, last)


def _adaptive_max_pool(
    operation: str, x: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool, dims: int
) -> Pooled:
    batched(operation, x, dims)
    sizes, own = _adaptive_sizes(operation, x, output_size, dims), x.shape[-dims:]
    longest = [max(-(-(k + 1) * n // m) - k * n // m for k in range(m)) for n, m in zip(own, sizes, strict=True)]
    spread = x
    for axis, n, m, k in zip(range(x.ndim - dims, x.ndim), own, sizes, longest, strict=True):
        if m * k != n:
            places = _adaptive_place(arange(m * k, dtype=dt.int32, device=x.device), n, m, k)
            spread = index_select(spread, axis, places)
    if not return_indices:
        return _max_pool(operation, dims, spread, longest, None, 0, 1, False, False)
    values, found = _max_pool(operation, dims, spread, longest, None, 0, 1, False, True)
    place, width = cast(found, dt.int32), sizes[-1] * longest[-1]
    column = _adaptive_place(place % width, own[-1], sizes[-1], longest[-1])
    if dims == 2:
        column = column + _adaptive_place(place // width, own[0], sizes[0], longest[0]) * own[-1]
    return values, cast(column, dt.int64)


def adaptive_max_pool1d(input: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool = False) -> Pooled:
    """The largest values of windows that share ``[n, c, length]`` out evenly; see `adaptive_max_pool2d`."""
    return _adaptive_max_pool("adaptive_max_pool1d", input, output_size, return_indices, 1)


def adaptive_max_pool2d(input: Tensor, output_size: int | Sequence[int | None] | None, return_indices: bool = False) -> Pooled:
    """The largest values of windows that share ``[n, c, height, width]`` out evenly among ``output_size`` outputs; None keeps a size.

    Output ``i`` of ``m`` is the largest of inputs ``floor(i n / m)`` to ``ceil((i + 1) n / m) - 1``; its gradient goes to the first of
    equals, and NaN is the largest. With ``return_indices`` also where it was: int64 numbers in the plane.
    """
    return _adaptive_max_pool("adaptive_max_pool2d", input, output_size, return_indices, 2)
