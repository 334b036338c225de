"""Other sizes of images against PyTorch's: values, gradients, and what happens at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch import nn
from rasptorch.autograd import gradcheck
from rasptorch.nn import functional as F
from tests.support.compare import assert_close
from tests.support.counting import counting

from .both import array, compare

TORCH = torch.nn.functional
SMOOTH = {1: ["linear"], 2: ["bilinear", "bicubic"]}


@st.composite
def resizings(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any]]:
    dims = draw(st.integers(1, 2))
    mode = draw(st.sampled_from(["nearest", "nearest-exact", "area", *SMOOTH[dims]]))
    shape = (draw(st.integers(1, 2)), 2, *(draw(st.integers(1, 12)) for _ in range(dims)))
    options: dict[str, Any] = {"mode": mode}
    if draw(st.booleans()):
        options["size"] = tuple(draw(st.integers(1, 25)) for _ in range(dims))
    else:
        factors = [0.5, 1.0, 1.5, 2.0, 3.0, 2.7, 0.7]
        fitting = [[f for f in factors if int(n * f) >= 1] for n in shape[2:]]
        options["scale_factor"] = tuple(draw(st.sampled_from(some)) for some in fitting)
        options["recompute_scale_factor"] = draw(st.sampled_from([None, True]))
    if mode in SMOOTH[dims]:
        options["align_corners"] = draw(st.booleans())
    return shape, options


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=resizings())
def test_random_sizes(case: Any, device: str) -> None:
    shape, options = case
    compare(device, lambda x: F.interpolate(x, **options), lambda x: TORCH.interpolate(x, **options), array(*shape), second=False)


@pytest.mark.every_driver
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area", "bilinear", "bilinear corners", "bicubic", "bicubic corners"])
def test_every_mode_and_its_derivatives(mode: str, device: str) -> None:
    options: dict[str, Any] = {"mode": mode.split()[0], "align_corners": True} if "corners" in mode else {"mode": mode}
    x = array(2, 3, 4, 5)
    for size in ((5, 12), (3, 3), (1, 7), (4, 5)):
        compare(device, lambda x, s=size: F.interpolate(x, s, **options), lambda x, s=size: TORCH.interpolate(x, s, **options), x)
    if mode[:2] != "bi":
        compare(device, lambda x: F.interpolate(x, 8, mode=mode), lambda x: TORCH.interpolate(x, 8, mode=mode), array(2, 3, 5))


@pytest.mark.parametrize("mode", ["nearest", "area", "bilinear", "bicubic"])
def test_central_differences(mode: str) -> None:
    x = rt.tensor(array(1, 2, 4, 5), dtype=rt.float64, requires_grad=True)
    gradcheck(lambda x: F.interpolate(x, (6, 3), mode=mode), [x])
    if mode[:2] == "bi":
        gradcheck(lambda x: F.interpolate(x, (6, 3), mode=mode, align_corners=True), [x])


def test_special_values_stay_where_they_are(device: str) -> None:
    x = array(1, 1, 4, 4)
    x[0, 0, 1, 2], x[0, 0, 3, 0] = np.inf, np.nan
    for options in ({"size": (7, 9)}, {"scale_factor": 2}):
        assert_close(F.interpolate(rt.tensor(x, device=device), **options), TORCH.interpolate(torch.tensor(x), **options))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_dtypes(device: str, dtype: str) -> None:
    x = rt.tensor(array(2, 3, 5, 6), dtype=dtype, device=device)
    wide = torch.tensor(x.to("float32").numpy())
    for mode in ("nearest", "bilinear", "bicubic", "area"):
        assert_close(F.interpolate(x, (9, 4), mode=mode), TORCH.interpolate(wide, (9, 4), mode=mode), check_dtype=False)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_kernel_per_axis(mode: str, device: str) -> None:
    x = rt.tensor(array(2, 3, 8, 8), device=device, requires_grad=True)
    g = rt.tensor(array(2, 3, 16, 16), device=device)
    for _ in range(2):
        with counting(device) as forward:
            out = F.interpolate(x, scale_factor=2, mode=mode)
            out.detach().numpy()
        with counting(device) as back:
            rt.autograd.grad(out, x, g)[0].numpy()
    assert (forward.dispatches, back.dispatches) == (2, 2)


def test_cubic_gradients_come_from_everywhere(device: str) -> None:
    """Far apart, side by side, and at edges where one place stands for several; also without corners to align."""
    for shape, size in (((1, 1, 1, 1), (5, 3)), ((1, 2, 2, 3), (37, 1)), ((2, 1, 40, 31), (3, 2)), ((1, 1, 9, 2), (9, 64))):
        for corners in (False, True):
            how = {"size": size, "mode": "bicubic", "align_corners": corners}
            compare(device, lambda x, h=how: F.interpolate(x, **h), lambda x, h=how: TORCH.interpolate(x, **h), array(*shape), second=False)


def test_pixels_are_shuffled_and_back(device: str) -> None:
    compare(device, lambda x: F.pixel_shuffle(x, 2), lambda x: TORCH.pixel_shuffle(x, 2), array(2, 12, 3, 4))
    compare(device, lambda x: F.pixel_shuffle(x, 3), lambda x: TORCH.pixel_shuffle(x, 3), array(9, 3, 2))
    compare(device, lambda x: F.pixel_unshuffle(x, 2), lambda x: TORCH.pixel_unshuffle(x, 2), array(2, 3, 6, 4))
    x = rt.tensor(array(1, 2, 3, 8, 6), device=device)
    assert np.array_equal(F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2).numpy(), x.numpy())


LAYERS = [
    lambda m: m.Upsample(scale_factor=2), lambda m: m.Upsample((9, 4), mode="bilinear", align_corners=True),
    lambda m: m.Upsample(scale_factor=(1.5, 2), mode="bilinear"), lambda m: m.Upsample(scale_factor=3, mode="bicubic", align_corners=True),
    lambda m: m.PixelShuffle(2), lambda m: m.PixelUnshuffle(2),
    lambda m: m.ZeroPad2d(1), lambda m: m.ZeroPad2d((1, 2, -1, 3)),
]  # fmt: skip


@pytest.mark.parametrize("made", LAYERS, ids=lambda made: repr(made(torch.nn)).replace(" ", ""))
def test_layers(made: Any) -> None:
    ours, theirs = made(nn), made(torch.nn)
    assert repr(ours) == repr(theirs) and not ours.state_dict()
    x = array(2, 4, 4, 6)
    assert_close(ours(rt.tensor(x)), theirs(torch.tensor(x)))


def test_what_does_not_fit_is_named() -> None:
    x = rt.zeros(2, 4, 4, 6)
    with pytest.raises(ValueError, match="mode is one of nearest.*got 'cubic'"):
        F.interpolate(x, 3, mode="cubic")
    with pytest.raises(rt.ShapeError, match=r"mode 'bicubic' takes \[n, c, height, width\], got shape \[4, 4, 6\]"):
        F.interpolate(x[0], 3, mode="bicubic")
    with pytest.raises(NotImplementedError, match="no antialias; mode='area'"):
        F.interpolate(x, 3, mode="bicubic", antialias=True)
    with pytest.raises(ValueError, match="give one of size and scale_factor, got size=3 and scale_factor=2"):
        F.interpolate(x, 3, 2)
    with pytest.raises(rt.ShapeError, match=r"mode 'linear' takes \[n, c, length\], got shape \[2, 4, 4, 6\]"):
        F.interpolate(x, 3, mode="linear")
    with pytest.raises(ValueError, match="align_corners is for the modes linear, bilinear and bicubic, got mode='nearest'"):
        F.upsample(x, 3, align_corners=True)
    with pytest.raises(rt.ShapeError, match=r"size=\(1, 2, 3\)"):
        F.interpolate(x, (1, 2, 3))
    with pytest.raises(rt.ShapeError, match=r"multiple of upscale_factor², got shape \[2, 4, 4, 6\] and upscale_factor=3"):
        F.pixel_shuffle(x, 3)
    with pytest.raises(rt.ShapeError, match=r"multiples of downscale_factor, got shape \[2, 4, 4, 6\] and downscale_factor=4"):
        F.pixel_unshuffle(x, 4)
    with pytest.raises(rt.DTypeError, match="interpolate is not defined for int32"):
        F.interpolate(x.to("int32"), 3)
