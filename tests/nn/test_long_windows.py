"""Windows of pooling, and sums of convolutions, of more than the 65,535 turns after which a software device leaves its loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch.nn import functional as F
from tests.support.compare import assert_close

from .both import array, compare

TORCH = torch.nn.functional


def against_float64(
    device: str, run: Callable[[Any, Any], Any], *shapes: tuple[int, ...], dtype: Any = rt.float32, rtol: float = 2e-5
) -> None:  # fmt: skip
    """Values and gradients, each against the largest of its kind: PyTorch in float64, whose own sums are exact enough."""
    arrays = [array(*shape, low=0.5) for shape in shapes]
    xs = [rt.tensor(a, device=device).to(dtype).requires_grad_() for a in arrays]
    ys = [torch.tensor(x.detach().to(rt.float32).numpy()).double().requires_grad_() for x in xs]
    out, wanted = run(F, xs), run(TORCH, ys)
    weights = array(*wanted.shape, seed=1, low=0.5)
    out.backward(rt.tensor(weights, device=device).to(dtype))
    wanted.backward(torch.tensor(weights).to(wanted.dtype))
    for got, want in ((out.detach(), wanted.detach()), *((x.grad, y.grad) for x, y in zip(xs, ys, strict=True))):
        assert got is not None and want is not None and got.dtype is dtype
        scale = float(want.abs().max())
        assert_close(got.to(rt.float32) / scale, (want / scale).float(), rtol=rtol, atol=rtol)


@pytest.mark.every_driver
@pytest.mark.parametrize(
    ("mode", "shape", "size"),
    [
        ("area", (1, 1, 200_000), 1), ("area", (2, 1, 200_000), 3), ("area", (1, 2, 140_001, 3), (2, 2)),
        ("area", (1, 1, 300, 300), (1, 1)), ("area", (1, 1, 4_099, 5), (1, 4)), ("area", (1, 1, 3), 250_001),
        ("nearest", (1, 1, 2), 150_000), ("nearest-exact", (1, 1, 1), 70_000),
        ("linear", (1, 2, 3), 150_000), ("bicubic", (1, 1, 2, 2), (70_000, 3)),
    ],
)  # fmt: skip
def test_interpolation(mode: str, shape: tuple[int, ...], size: Any, device: str) -> None:
    against_float64(device, lambda m, x: m.interpolate(x[0], size=size, mode=mode), shape)


def test_interpolation_in_16_bits_and_of_gradients(device: str) -> None:
    against_float64(device, lambda m, x: m.interpolate(x[0], size=3, mode="area"), (2, 2, 100_001), dtype=rt.float16, rtol=1e-3)
    x, y = rt.ones(1, 1, 100_001, device=device, requires_grad=True), torch.ones(1, 1, 100_001).double().requires_grad_()
    grads = []
    for m, t in ((rt, x), (torch, y)):
        m_: Any = m
        f: Any = F if m is rt else TORCH
        out = f.interpolate(t, size=2, mode="area")
        (g,) = m_.autograd.grad((out * out).sum(), t, create_graph=True)
        grads.append(m_.autograd.grad((g * g).sum(), t)[0])
    assert_close(grads[0] * 1e10, (grads[1] * 1e10).float(), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("adaptive_avg_pool1d", (1, 1, 200_000), {"output_size": 3}), ("adaptive_avg_pool1d", (1, 2, 200_000), {"output_size": 1}),
        ("adaptive_avg_pool1d", (1, 1, 200_001), {"output_size": 3}), ("adaptive_avg_pool2d", (1, 1, 300, 300), {"output_size": 1}),
        ("adaptive_avg_pool2d", (1, 2, 601, 300), {"output_size": (2, 1)}), ("avg_pool2d", (2, 1, 300, 300), {"kernel_size": 300}),
        ("avg_pool1d", (1, 1, 200_000), {"kernel_size": 100_000}),
        ("avg_pool1d", (1, 1, 10), {"kernel_size": 140_000, "stride": 2, "padding": 70_000}),
        ("avg_pool2d", (1, 2, 7, 9), {"kernel_size": (600, 500), "stride": (2, 1), "padding": (300, 250)}),
    ],
)  # fmt: skip
def test_averages(name: str, shape: tuple[int, ...], options: dict[str, Any], device: str) -> None:
    against_float64(device, lambda m, x: getattr(m, name)(x[0], **options), shape)


LARGEST = [
    ("max_pool2d", (1, 2, 300, 300), {"kernel_size": 300}), ("max_pool2d", (2, 1, 600, 450), {"kernel_size": (300, 225)}),
    ("max_pool2d", (1, 1, 32_768, 1), {"kernel_size": (32_768, 1)}), ("max_pool1d", (2, 1, 140_000), {"kernel_size": 70_000}),
    ("max_pool1d", (1, 1, 70_040), {"kernel_size": 70_000, "stride": 1}),
    ("max_pool1d", (1, 2, 60), {"kernel_size": 70_000, "stride": 2, "padding": 35_000}),
    ("max_pool2d", (1, 1, 300, 400), {"kernel_size": (290, 300), "stride": (3, 7), "padding": (20, 0), "ceil_mode": True}),
    ("max_pool1d", (1, 1, 80_000), {"kernel_size": 39_000, "stride": 700, "dilation": 2}),
    ("adaptive_max_pool1d", (1, 1, 200_000), {"output_size": 1}), ("adaptive_max_pool1d", (1, 1, 200_001), {"output_size": 2}),
    ("adaptive_max_pool2d", (1, 1, 301, 601), {"output_size": (1, 2)}),
]  # fmt: skip


@pytest.mark.every_driver
@pytest.mark.parametrize(("name", "shape", "options"), LARGEST)
@pytest.mark.parametrize("values", ["different", "few", "nan", "-inf"])
def test_largest(name: str, shape: tuple[int, ...], options: dict[str, Any], values: str, device: str) -> None:
    """Also where many are equal (the first counts), NaN (the last of them), or nothing is larger than what is outside."""
    x = array(*shape)
    if values == "few":
        x = np.minimum(np.round(x * 2), 3)
    elif values == "nan":
        x.reshape(-1)[:: x.size // 3] = np.nan
    elif values == "-inf":
        x[...] = -np.inf
    ours, theirs = rt.tensor(x, device=device, requires_grad=True), torch.tensor(x, requires_grad=True)
    out, place = getattr(F, name)(ours, **options, return_indices=True)
    wanted, expected = getattr(TORCH, name)(theirs, **options, return_indices=True)
    assert_close(out.detach(), wanted.detach())
    assert np.array_equal(place.numpy(), expected.numpy())
    weights = array(*wanted.shape, seed=1, low=0.5)
    out.backward(rt.tensor(weights, device=device))
    wanted.backward(torch.tensor(weights))
    assert ours.grad is not None
    assert_close(ours.grad, theirs.grad, rtol=1e-5)


@pytest.mark.every_driver
@pytest.mark.parametrize("stride", [1, 70_000])
def test_largest_in_16_bits_and_of_gradients(stride: int, device: str) -> None:
    x = np.round(array(1, 1, 70_100, low=0.5) * 64) / 64
    options: dict[str, Any] = {"kernel_size": 70_000, "stride": stride}
    half, place = F.max_pool1d(rt.tensor(x, device=device).to(rt.float16), **options, return_indices=True)
    wanted, expected = TORCH.max_pool1d(torch.tensor(x), **options, return_indices=True)
    assert half.dtype is rt.float16 and np.array_equal(half.numpy(), wanted.numpy()) and np.array_equal(place.numpy(), expected.numpy())
    compare(device, lambda x: F.max_pool1d(x, **options), lambda x: TORCH.max_pool1d(x, **options), x, rtol=1e-5)


@pytest.mark.parametrize(("size", "dilation"), [(1500, 1), (2, 70_000)])
def test_an_input_between_very_many_windows(size: int, dilation: int, device: str) -> None:
    """One element is the largest of all windows that see it: what comes back to it is the sum of theirs."""
    x = array(1, 1, 2 * (size - 1) * dilation + 1)
    x[0, 0, (size - 1) * dilation] = 5
    ours, theirs = rt.tensor(x, device=device, requires_grad=True), torch.tensor(x, requires_grad=True)
    F.max_pool1d(ours, size, 1, dilation=dilation).sum().backward()
    TORCH.max_pool1d(theirs, size, 1, dilation=dilation).sum().backward()
    assert ours.grad is not None and ours.grad.max().item() == size
    assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(
    ("name", "x", "weight", "options"),
    [
        ("conv2d", (1, 70_001, 1, 1), (2, 70_001, 1, 1), {}), ("conv2d", (70_001, 1, 2, 2), (2, 1, 1, 1), {}),
        ("conv2d", (1, 140_002, 1, 1), (4, 70_001, 1, 1), {"groups": 2}), ("conv2d", (1, 30_001, 2, 2), (2, 30_001, 3, 3), {"padding": 1}),
        ("conv_transpose2d", (1, 70_001, 2, 2), (70_001, 2, 3, 3), {"stride": 2}),
        ("conv1d", (1, 1, 10), (1, 1, 140_000), {"stride": 2, "padding": 70_000}),
    ],
)  # fmt: skip
def test_convolutions(name: str, x: tuple[int, ...], weight: tuple[int, ...], options: dict[str, Any], device: str) -> None:
    against_float64(device, lambda m, given: getattr(m, name)(*given, **options), x, weight)


@pytest.mark.drivers("lavapipe")
def test_phases_of_transposed_convolutions(device: str) -> None:
    """Few outputs, each of which meets every second tap of very many. The others would take 36 GiB to say so."""
    x, weight, padding = array(69_000, low=0.5), array(140_000, low=0.5), 138_990
    out = F.conv_transpose1d(*(rt.tensor(a, device=device).reshape(1, 1, -1) for a in (x, weight)), stride=2, padding=padding)
    wanted = np.zeros(out.shape[-1])
    for k in range(len(wanted)):
        place = (k + padding - np.arange(k % 2, len(weight), 2)) // 2
        met = (place >= 0) & (place < len(x))
        wanted[k] = x[place[met]].astype(float) @ weight[k % 2 :: 2][met]
    assert_close(out.reshape(-1), np.float32(wanted), rtol=1e-5)


def test_convolutions_in_16_bits(device: str) -> None:
    options = {"stride": 2, "padding": 70_000}
    against_float64(device, lambda m, x: m.conv1d(*x, **options) / 512, (1, 1, 10), (1, 1, 140_000), dtype=rt.float16, rtol=2e-3)
