"""Larger images, and borders around them, as layers with PyTorch's arguments."""

from __future__ import annotations

from collections.abc import Sequence

from ..ops.padding import pad
from ..tensor import Tensor
from . import resizing as F
from .convolutions import numbers
from .module import Module


class Upsample(Module):
    """``[n, c, ...]`` with other sizes after the first two dimensions, given as such or by factors; see `functional.interpolate`."""

    def __init__(
        self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
        align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size = size
        factors = scale_factor
        if factors is not None:
            factors = float(factors) if isinstance(factors, (int, float)) else tuple(float(f) for f in factors)
        self.scale_factor = factors
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)

    def extra_repr(self) -> str:
        given = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{given}, mode={self.mode!r}"


class PixelShuffle(Module):
    """``[..., c r r, h, w]`` to ``[..., c, h r, w r]``; see `functional.pixel_shuffle`."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """``[..., c, h r, w r]`` to ``[..., c r r, h, w]``; see `functional.pixel_unshuffle`."""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ZeroPad2d(Module):
    """A border of zeros around the last two dimensions; ``padding`` is one width, or those left, right, above and below."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        widths = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
        self.padding = numbers("ZeroPad2d", "padding", widths, 4, -(1 << 31))

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding)

    def extra_repr(self) -> str:
        return f"{self.padding}"
