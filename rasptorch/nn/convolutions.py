"""Convolutions as functions, with PyTorch's arguments: what they mean as numbers, and what is wrong with those that fit nothing."""

from __future__ import annotations

from collections.abc import Sequence

from ..ops.convolution import Geometry, convolve, convolve_back
from ..ops.precision import in_low_precision
from ..runtime.errors import ShapeError
from ..tensor import Tensor

Size = int | Sequence[int]
Numbers = tuple[int, ...]


def numbers(operation: str, name: str, value: Size, count: int, least: int) -> Numbers:
    """One number per spatial dimension, the last dimension's last; ``least`` is the smallest that makes sense."""
    made = (value,) * count if isinstance(value, int) else tuple(value)
    if len(made) == 1:
        made *= count
    if len(made) != count or any(isinstance(n, bool) or not isinstance(n, int) for n in made):
        raise TypeError(f"{operation}: {name} is a whole number or {count} of them, got {value!r}")
    if min(made) < least:
        raise ValueError(f"{operation}: {name} is at least {least}, got {value!r}")
    return made


def pair(values: Numbers, other: int) -> tuple[int, int]:
    """(height, width); a single number is the width."""
    return (other, values[0]) if len(values) == 1 else (values[0], values[1])


def batched(operation: str, x: Tensor, dims: int, channels: str = "channels") -> Tensor:
    """``x`` as ``[n, c, h, w]``; ``dims`` is how many spatial dimensions it has, after which an item of a batch has one more."""
    if x.ndim not in (dims + 1, dims + 2):
        spatial = ", ".join(("height", "width")[2 - dims :])
        raise ShapeError(
            f"{operation}: input is [{channels}, {spatial}] or [batch, {channels}, {spatial}], got shape {list(x.shape)}"
        )
    x = x.unsqueeze(0) if x.ndim == dims + 1 else x
    return x.unsqueeze(2) if dims == 1 else x


def unbatched(out: Tensor, x: Tensor, dims: int) -> Tensor:
    """The result ``[n, c, h, w]`` in the form that the input ``x`` had."""
    out = out.squeeze(2) if dims == 1 else out
    return out.squeeze(0) if x.ndim == dims + 1 else out


def padded(operation: str, padding: Size | str, taps: Numbers, stride: Numbers, dilation: Numbers) -> tuple[Numbers, Numbers]:
    """Padding at the start and in all, per dimension."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"{operation}: padding is a number, 'same' or 'valid', got {padding!r}")
        if padding == "valid":
            return (0,) * len(taps), (0,) * len(taps)
        if any(s != 1 for s in stride):
            raise ValueError(f"{operation}: padding='same' is for stride 1, got stride {list(stride)}; give the padding as numbers")
        total = tuple(d * (k - 1) for k, d in zip(taps, dilation, strict=True))
        return tuple(n // 2 for n in total), total
    start = numbers(operation, "padding", padding, len(taps), 0)
    return start, tuple(2 * n for n in start)


def _check_weight(operation: str, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, dims: int, transposed: bool) -> None:
    """``x`` is ``[n, c, h, w]``, ``weight`` what the caller gave."""
    form = "in_channels, out_channels / groups" if transposed else "out_channels, in_channels / groups"
    if weight.ndim != dims + 2:
        raise ShapeError(f"{operation}: weight is [{form}, {', '.join(['kernel'] * dims)}], got shape {list(weight.shape)}")
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise ValueError(f"{operation}: groups is a positive whole number, got {groups!r}")
    if weight.shape[0] % groups:
        raise ShapeError(
            f"{operation}: weight of shape {list(weight.shape)} has {weight.shape[0]} {form.split(',')[0]}, which are no {groups} groups"
        )
    wanted = weight.shape[0] if transposed else weight.shape[1] * groups
    if x.shape[1] != wanted:
        raise ShapeError(
            f"{operation}: input has {x.shape[1]} channels, weight of shape {list(weight.shape)} with groups={groups} takes {wanted}"
        )
    if min(weight.shape[2:]) < 1:
        raise ShapeError(f"{operation}: the kernel has no elements: weight has shape {list(weight.shape)}")
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and bias.shape != (channels,):
        raise ShapeError(f"{operation}: bias has shape {list(bias.shape)}, weight of shape {list(weight.shape)} wants [{channels}]")


def _with_bias(out: Tensor, bias: Tensor | None) -> Tensor:
    return out if bias is None else out + bias.reshape(-1, 1, 1)


@in_low_precision
def _convolution(
    operation: str, dims: int, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Size, padding: Size | str, dilation: Size,
    groups: int,
) -> Tensor:  # fmt: skip
    source = batched(operation, x, dims, "in_channels")
    _check_weight(operation, source, weight, bias, groups, dims, False)
    taps = weight.shape[2:]
    steps, spread = numbers(operation, "stride", stride, dims, 1), numbers(operation, "dilation", dilation, dims, 1)
    start, total = padded(operation, padding, taps, steps, spread)
    outputs = []
    for n, k, s, p, d in zip(x.shape[-dims:], taps, steps, total, spread, strict=True):
        if n + p < d * (k - 1) + 1:
            raise ShapeError(
                f"{operation}: the kernel of {list(taps)} with dilation {list(spread)} is larger than the input of "
                f"{list(x.shape[-dims:])} with padding {padding!r}"
            )
        outputs.append((n + p - d * (k - 1) - 1) // s + 1)
    sizes = source.shape[2], source.shape[3]
    geometry = Geometry(
        operation, sizes, pair(tuple(outputs), 1), pair(taps, 1), pair(steps, 1), pair(start, 0), pair(spread, 1), groups
    )
    out = convolve(source, weight.unsqueeze(2) if dims == 1 else weight, geometry)
    return unbatched(_with_bias(out, bias), x, dims)


@in_low_precision
def _transposed(
    operation: str, dims: int, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Size, padding: Size, output_padding: Size,
    groups: int, dilation: Size,
) -> Tensor:  # fmt: skip
    source = batched(operation, x, dims, "in_channels")
    _check_weight(operation, source, weight, bias, groups, dims, True)
    taps = weight.shape[2:]
    steps, spread = numbers(operation, "stride", stride, dims, 1), numbers(operation, "dilation", dilation, dims, 1)
    start = numbers(operation, "padding", padding, dims, 0)
    extra = numbers(operation, "output_padding", output_padding, dims, 0)
    sizes = []
    for n, k, s, p, d, more in zip(x.shape[-dims:], taps, steps, start, spread, extra, strict=True):
        if more >= max(s, d):
            raise ValueError(
                f"{operation}: output_padding is smaller than stride or dilation, got output_padding={output_padding}, "
                f"stride={stride}, dilation={dilation}"
            )
        sizes.append((n - 1) * s - 2 * p + d * (k - 1) + more + 1)
    if min(sizes) < 1:
        raise ShapeError(
            f"{operation}: the output would be {sizes}: input of {list(x.shape[-dims:])}, kernel of {list(taps)}, stride {list(steps)}, "
            f"padding {list(start)}"
        )
    outputs = source.shape[2], source.shape[3]
    geometry = Geometry(operation, pair(tuple(sizes), 1), outputs, pair(taps, 1), pair(steps, 1), pair(start, 0), pair(spread, 1), groups)
    out = convolve_back(source, weight.unsqueeze(2) if dims == 1 else weight, geometry)
    return unbatched(_with_bias(out, bias), x, dims)


def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size | str = 0, dilation: Size = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """``[n, c, length]`` (or without ``n``) with ``weight`` of ``[out, c / groups, kernel]`` and ``bias`` of ``[out]``.

    As every convolution here it correlates: the kernel is not turned around.
    """
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size | str = 0, dilation: Size = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """``[n, c, height, width]`` (or without ``n``) with ``weight`` of ``[out, c / groups, kernel, kernel]`` and ``bias`` of ``[out]``.

    ``padding`` counts zeros on each side; ``"same"`` keeps the size (stride 1), ``"valid"`` is none. Numbers may be pairs (height, width).
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size = 0, output_padding: Size = 0,
    groups: int = 1, dilation: Size = 1,
) -> Tensor:  # fmt: skip
    """The gradient of `conv1d` by its input, as an operation: ``weight`` is ``[c, out / groups, kernel]``."""
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 1, padding: Size = 0, output_padding: Size = 0,
    groups: int = 1, dilation: Size = 1,
) -> Tensor:  # fmt: skip
    """The gradient of `conv2d` by its input, as an operation: ``weight`` is ``[c, out / groups, kernel, kernel]``.

    ``output_padding`` adds rows and columns at the end of the output, whose size the other arguments leave open.
    """
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)
