"""Larger and smaller images as functions, with PyTorch's arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..ops.precision import full
from ..ops.resampling import resampled
from ..ops.views import clone
from ..runtime.errors import ShapeError
from ..runtime.plan.resampling import AREA, CORNERS, CUBIC, CUBIC_CORNERS, LINEAR, NEAREST, NEAREST_EXACT
from ..tensor import Tensor

MODES = {
    "nearest": NEAREST, "nearest-exact": NEAREST_EXACT, "linear": LINEAR, "bilinear": LINEAR, "bicubic": CUBIC, "area": AREA,
}  # fmt: skip
DIMS = {"linear": 1, "bilinear": 2, "bicubic": 2}
ALIGNED = {LINEAR: CORNERS, CUBIC: CUBIC_CORNERS}


def _sizes(
    x: Tensor, size: int | Sequence[int] | None, scale_factor: float | Sequence[float] | None, recompute: bool | None
) -> tuple[list[int], list[float | None]]:
    """Output sizes, and the factors that the places are computed from where they are not the sizes' ratio."""
    own = x.shape[2:]
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: give one of size and scale_factor, got size={size} and scale_factor={scale_factor}")
    if size is not None:
        sizes = [size] * len(own) if isinstance(size, int) else list(size)
        factors: list[float | None] = [None] * len(own)
    else:
        assert scale_factor is not None
        given = [float(scale_factor)] * len(own) if isinstance(scale_factor, (int, float)) else [float(f) for f in scale_factor]
        sizes = [math.floor(n * f) for n, f in zip(own, given, strict=False)]
        factors = [None] * len(own) if recompute else list(given)
    if len(sizes) != len(own) or len(factors) != len(own) or min(sizes) < 1 or min(own) < 1:
        raise ShapeError(
            f"interpolate: size={size}, scale_factor={scale_factor} do not give one size of at least 1 for each of the dimensions "
            f"after the first two of shape {list(x.shape)}"
        )
    return sizes, factors


def interpolate(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """``[n, c, length]`` or ``[n, c, height, width]`` with other sizes, given as such or by factors (rounded down).

    ``mode``: ``nearest``, ``nearest-exact`` (as Pillow has it), ``linear`` (three dimensions), ``bilinear`` or ``bicubic`` (four), or
    ``area`` (means of what a place covers). With ``align_corners`` the first and last places of input and output meet; only for the linear
    modes and the cubic one. The cubic's constant is -0.75, as PyTorch's; its values may be larger than any in the input. ``antialias`` is
    refused.
    """
    if mode not in MODES:
        raise ValueError(f"interpolate: mode is one of {', '.join(MODES)}, got {mode!r}")
    if input.ndim not in (3, 4) or DIMS.get(mode, input.ndim - 2) != input.ndim - 2:
        wanted = {1: "[n, c, length]", 2: "[n, c, height, width]"}.get(DIMS.get(mode, 0), "[n, c, length] or [n, c, height, width]")
        raise ShapeError(f"interpolate: mode {mode!r} takes {wanted}, got shape {list(input.shape)}")
    if align_corners is not None and mode not in DIMS:
        raise ValueError(f"interpolate: align_corners is for the modes linear, bilinear and bicubic, got mode={mode!r}")
    if antialias:
        raise NotImplementedError("interpolate: there is no antialias; mode='area' takes the means of what a place covers")
    sizes, factors = _sizes(input, size, scale_factor, recompute_scale_factor)
    input = input if mode == "area" else full(input)  # inside autocast; pooling, which this is, stays in 16 bits
    how = ALIGNED[MODES[mode]] if align_corners else MODES[mode]
    out = input
    for axis, (n, factor) in reversed(list(enumerate(zip(sizes, factors, strict=True), 2))):
        own = input.shape[axis]
        if n == own and (factor in (None, 1.0) or how in (CORNERS, CUBIC_CORNERS, AREA)):
            continue  # every place takes itself
        if how in (CORNERS, CUBIC_CORNERS):
            scale = (own - 1) / (n - 1) if n > 1 else 0.0
        else:
            scale = own / n if factor is None else 1.0 / factor
        out = resampled(out, axis, n, how, scale)
    return clone(input) if out is input else out


def upsample(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """`interpolate` under its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """``[..., c r r, h, w]`` to ``[..., c, h r, w r]``: each group of r² channels becomes an r by r patch."""
    r = upscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise ShapeError(
            f"pixel_shuffle: input is [..., channels, height, width] with channels a multiple of upscale_factor², got shape "
            f"{list(input.shape)} and upscale_factor={r}"
        )
    *lead, c, h, w = input.shape
    input = input.reshape(math.prod(lead), c // (r * r), r, r, h, w).permute(0, 1, 4, 2, 5, 3)
    return input.reshape(*lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """``[..., c, h r, w r]`` to ``[..., c r r, h, w]``: the inverse of `pixel_shuffle`."""
    r = downscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-2] % r or input.shape[-1] % r:
        raise ShapeError(
            f"pixel_unshuffle: input is [..., channels, height, width] with height and width multiples of downscale_factor, got shape "
            f"{list(input.shape)} and downscale_factor={r}"
        )
    *lead, c, h, w = input.shape
    input = input.reshape(math.prod(lead), c, h // r, r, w // r, r).permute(0, 1, 3, 5, 2, 4)
    return input.reshape(*lead, c * r * r, h // r, w // r)
