"""Convolutions as layers, with PyTorch's arguments, starting values and state-dict keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ops.creation import empty
from ..ops.padding import pad
from ..runtime import dtype as dt
from ..tensor import Tensor
from . import convolutions as F
from . import init
from .convolutions import Numbers, Size, numbers
from .module import Module
from .parameter import Parameter

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What all convolutions have: ``weight`` and ``bias``, which start uniform in ``±1/sqrt(fan in)``."""

    dims = 2
    transposed = False

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size, padding: Size | str, output_padding: Size,
        dilation: Size, groups: int, bias: bool, padding_mode: str, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: in_channels and out_channels are multiples of groups, got {in_channels}, {out_channels} and groups={groups}"
            )
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"{name}: padding_mode is one of {', '.join(PADDING_MODES)}, got {padding_mode!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = numbers(name, "kernel_size", kernel_size, self.dims, 1)
        self.stride = numbers(name, "stride", stride, self.dims, 1)
        self.dilation = numbers(name, "dilation", dilation, self.dims, 1)
        self.padding: Numbers | str = padding if isinstance(padding, str) else numbers(name, "padding", padding, self.dims, 0)
        self.output_padding = numbers(name, "output_padding", output_padding, self.dims, 0)
        self.groups = groups
        self.padding_mode = padding_mode
        F.padded(name, self.padding, self.kernel_size, self.stride, self.dilation)  # an error now rather than at the first call
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(empty(first, second // groups, *self.kernel_size, dtype=dtype, device=device))
        self.register_parameter("bias", Parameter(empty(out_channels, dtype=dtype, device=device)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values from the default generator: the weight first, then the bias."""
        init.weight_and_bias_(self.weight, self.bias)

    def _padded(self, x: Tensor) -> tuple[Tensor, Size | str]:
        """The input with the border that ``padding_mode`` asks for, and the zeros that are left to count."""
        if self.padding_mode == "zeros":
            return x, self.padding
        start, total = F.padded(type(self).__name__, self.padding, self.kernel_size, self.stride, self.dilation)
        widths = [n for before, both in zip(reversed(start), reversed(total), strict=True) for n in (before, both - before)]
        return pad(x, widths, self.padding_mode), 0

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0,) * len(self.padding):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self.dims:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != (0,) * self.dims:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Plain(_Conv):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Size | str = 0, dilation: Size = 1,
        groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, 0, dilation, groups, bias, padding_mode, device, dtype
        )


class Conv1d(_Plain):
    """``[n, in_channels, length]`` to ``[n, out_channels, length']``, or both without ``n``; see `functional.conv1d`.

    ``weight`` is ``[out_channels, in_channels / groups, kernel]``, ``bias`` ``[out_channels]``.
    """

    dims = 1

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self._padded(input)
        return F.conv1d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(_Plain):
    """``[n, in_channels, height, width]`` to ``[n, out_channels, height', width']``, or both without ``n``; see `functional.conv2d`.

    ``weight`` is ``[out_channels, in_channels / groups, kernel, kernel]``, ``bias`` ``[out_channels]``.
    """

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self._padded(input)
        return F.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class _Transposed(_Conv):
    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Size = 0, output_padding: Size = 0,
        groups: int = 1, bias: bool = True, dilation: Size = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        if padding_mode != "zeros" or isinstance(padding, str):
            raise ValueError(
                f"{type(self).__name__}: pads with zeros, by numbers, got padding={padding!r} and padding_mode={padding_mode!r}"
            )
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias, padding_mode, device, dtype
        )

    def _extra(self, x: Tensor, output_size: Sequence[int] | None) -> Numbers:
        """The output padding that makes the output as large as ``output_size`` says."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-self.dims :]
        assert not isinstance(self.padding, str)
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(x.shape[-self.dims :], self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        ]
        most = [n + s - 1 for n, s in zip(least, self.stride, strict=True)]
        if len(output_size) not in (self.dims, x.ndim) or any(not a <= n <= b for a, n, b in zip(least, wanted, most, strict=False)):
            raise ValueError(
                f"{type(self).__name__}: output_size is between {least} and {most} for an input of shape {list(x.shape)}, "
                f"got {list(output_size)}"
            )
        return tuple(n - a for n, a in zip(wanted, least, strict=True))


class ConvTranspose1d(_Transposed):
    """The gradient of a `Conv1d` by its input, as a layer; ``weight`` is ``[in_channels, out_channels / groups, kernel]``."""

    dims = 1

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        extra = self._extra(input, output_size)
        assert not isinstance(self.padding, str)
        return F.conv_transpose1d(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)


class ConvTranspose2d(_Transposed):
    """The gradient of a `Conv2d` by its input, as a layer; ``weight`` is ``[in_channels, out_channels / groups, kernel, kernel]``."""

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        extra = self._extra(input, output_size)
        assert not isinstance(self.padding, str)
        return F.conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)
