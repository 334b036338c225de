"""Pooling against PyTorch's: values, gradients, places, and the windows at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch import nn
from rasptorch.autograd import gradcheck, gradgradcheck
from rasptorch.nn import functional as F
from tests.support.compare import assert_close
from tests.support.counting import counting

from .both import array, compare

TORCH = torch.nn.functional
ANYHOW = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(device: str, name: str, x: np.ndarray[Any, Any], *args: Any, second: bool = True, **options: Any) -> None:
    def run(m: Any) -> Any:
        return lambda x: getattr(m, name)(x, *args, **options)

    compare(device, run(F), run(TORCH), x, second=second)


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, tuple[int, ...], dict[str, Any]]:
    dims, ceil = draw(st.integers(1, 2)), draw(st.booleans())

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    size = some(1, 4)
    stride = draw(st.sampled_from([None, some(1, 4)]))
    padding = tuple(draw(st.integers(0, k // 2)) for k in size)
    sizes = tuple(max(1, k - 2 * p) + draw(st.integers(0, 9)) for k, p in zip(size, padding, strict=True))
    lead = draw(st.sampled_from([(2,), (1, 3), (2, 2)]))
    return dims, (*lead, *sizes), {"kernel_size": size, "stride": stride, "padding": padding, "ceil_mode": ceil}


@ANYHOW
@given(case=windows(), dilation=st.integers(1, 2))
def test_random_maxima(case: Any, dilation: int, device: str) -> None:
    dims, shape, options = case
    if dilation > 1:
        shape = (*shape[:-dims], *(n + k - 1 for n, k in zip(shape[-dims:], options["kernel_size"], strict=True)))
    x = np.round(array(*shape) * 2)  # with many equal values
    options = {**options, "dilation": dilation, "return_indices": True}
    ours, theirs = rt.tensor(x, device=device, requires_grad=True), torch.tensor(x, requires_grad=True)
    values, places = getattr(F, f"max_pool{dims}d")(ours, **options)
    expected, wanted = getattr(TORCH, f"max_pool{dims}d")(theirs, **options)
    assert_close(values, expected)
    assert_close(places, wanted)
    weights = array(*values.shape, seed=3)
    values.backward(rt.tensor(weights, device=device))
    expected.backward(torch.tensor(weights))
    assert_close(ours.grad, theirs.grad)


@ANYHOW
@given(case=windows(), counted=st.booleans())
def test_random_means(case: Any, counted: bool, device: str) -> None:
    dims, shape, options = case
    check(device, f"avg_pool{dims}d", array(*shape), second=False, count_include_pad=counted, **options)


@pytest.mark.every_driver
def test_every_kind_and_its_derivatives(device: str) -> None:
    x = array(2, 3, 8, 7)
    check(device, "max_pool2d", x, 3, 2, 1)
    check(device, "max_pool2d", x, (2, 3))
    check(device, "max_pool1d", x[0], 3, 1)
    check(device, "avg_pool2d", x, 3, 2, 1, False, False)
    check(device, "avg_pool2d", x, (2, 3), divisor_override=5)
    check(device, "avg_pool1d", x[0], 3, 2, 1, True)
    for size in (1, (4, 7), (3, None), (5, 4), (9, 10), (8, 7)):
        check(device, "adaptive_avg_pool2d", x, size)
    check(device, "adaptive_avg_pool1d", x[0], 3)


def test_central_differences() -> None:
    x = rt.tensor(array(1, 2, 7, 6), dtype=rt.float64, requires_grad=True)
    for function in (
        lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    ):  # fmt: skip
        gradcheck(function, [x])
        gradgradcheck(function, [x])


def test_special_values(device: str) -> None:
    """Padding is -inf, which nothing is smaller than; NaN is larger than everything."""
    x = np.full((1, 1, 4, 6), -np.inf, np.float32)
    x[0, 0, 2:, 2:] = -3.0
    x[0, 0, 3, 4] = np.nan
    x[0, 0, 0, 5] = np.inf
    ours, places = F.max_pool2d(rt.tensor(x, device=device), 2, padding=1, return_indices=True)
    theirs, wanted = TORCH.max_pool2d(torch.tensor(x), 2, padding=1, return_indices=True)
    assert_close(ours, theirs)
    assert_close(places, wanted)
    assert_close(F.avg_pool2d(rt.tensor(x, device=device), 2), TORCH.avg_pool2d(torch.tensor(x), 2))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_dtypes(device: str, dtype: str) -> None:
    x = rt.tensor(array(2, 3, 6, 6), dtype=dtype, device=device)
    wide = torch.tensor(x.to("float32").numpy(), requires_grad=True)
    for name in ("max_pool2d", "avg_pool2d"):
        mine = x.detach().requires_grad_()
        wide.grad = None
        out, expected = getattr(F, name)(mine, 3, 1), getattr(TORCH, name)(wide, 3, 1)
        out.sum().backward()
        expected.sum().backward()
        assert_close(out, expected, check_dtype=False)
        assert_close(mine.grad, wide.grad, check_dtype=False)


def test_strided_and_empty_inputs(device: str) -> None:
    x = array(4, 6, 3, 8)
    for function, theirs in ((F.max_pool2d, TORCH.max_pool2d), (F.avg_pool2d, TORCH.avg_pool2d)):
        compare(
            device, lambda x, f=function: f(x.transpose(1, 2)[:, :, ::2], 2), lambda x, f=theirs: f(x.transpose(1, 2)[:, :, ::2], 2), x
        )
        empty = rt.zeros(0, 3, 4, 4, device=device, requires_grad=True)
        out = function(empty, 2)
        assert out.shape == (0, 3, 2, 2)
        out.sum().backward()
        assert empty.grad.shape == (0, 3, 4, 4)


def test_one_kernel_each_way(device: str) -> None:
    x = rt.tensor(array(2, 3, 8, 8), device=device, requires_grad=True)
    g = rt.tensor(array(2, 3, 4, 4), device=device)
    for _ in range(2):
        with counting(device) as n:
            out = F.max_pool2d(x, 2)
            rt.synchronize(device)
        with counting(device) as m:
            (x.grad,) = rt.autograd.grad(out, [x], g)
            rt.synchronize(device)
    assert n.dispatches == m.dispatches == 1


LAYERS = [
    lambda m: m.MaxPool2d(2), lambda m: m.MaxPool2d((3, 2), 2, 1, ceil_mode=True), lambda m: m.MaxPool1d(3, 2), lambda m: m.AvgPool2d(2),
    lambda m: m.AvgPool2d(3, 2, 1, count_include_pad=False), lambda m: m.AvgPool1d(3, 2), lambda m: m.AdaptiveAvgPool2d((1, None)),
    lambda m: m.AdaptiveAvgPool1d(3),
]  # fmt: skip


@pytest.mark.parametrize("made", LAYERS, ids=lambda made: repr(made(torch.nn)).replace(" ", ""))
def test_layers(made: Any) -> None:
    ours, theirs = made(nn), made(torch.nn)
    assert repr(ours) == repr(theirs) and not ours.state_dict()
    x = array(2, 9, 8, 7) if "2d" in repr(theirs) else array(2, 3, 11)
    assert_close(ours(rt.tensor(x)), theirs(torch.tensor(x)))


def test_what_does_not_fit_is_named() -> None:
    x = rt.zeros(2, 3, 4, 4)
    with pytest.raises(rt.ShapeError, match=r"max_pool2d: the window of \[5, 5\].*larger than the input of \[4, 4\]"):
        F.max_pool2d(x, 5)
    with pytest.raises(ValueError, match=r"avg_pool2d: padding is at most half of the window, got padding=\[2, 2\]"):
        F.avg_pool2d(x, 3, padding=2)
    with pytest.raises(rt.ShapeError, match=r"max_pool1d: input is \[channels, width\].*got shape \[2, 3, 4, 4\]"):
        F.max_pool1d(x, 2)
    with pytest.raises(TypeError, match=r"kernel_size is a whole number or 2 of them, got \(1, 2, 3\)"):
        F.max_pool2d(x, (1, 2, 3))
    with pytest.raises(ValueError, match="stride is at least 1, got 0"):
        F.max_pool2d(x, 2, 0)
    with pytest.raises(ValueError, match="divisor_override cannot be 0"):
        F.avg_pool2d(x, 2, divisor_override=0)
    with pytest.raises(ValueError, match=r"adaptive_avg_pool2d: output_size .* got \(1, 2, 3\)"):
        F.adaptive_avg_pool2d(x, (1, 2, 3))
    for function in (F.max_pool2d, F.avg_pool2d):
        with pytest.raises(rt.DTypeError, match="not defined for int32"):
            function(x.to("int32"), 2)


@st.composite
def adaptive(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    dims = draw(st.integers(1, 2))
    shape = (*draw(st.sampled_from([(2, 3), (3,)])), *(draw(st.integers(1, 11)) for _ in range(dims)))
    return shape, draw(st.one_of(st.integers(1, 6), st.tuples(*[st.one_of(st.none(), st.integers(1, 7))] * dims)))


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=adaptive())
def test_largest_of_even_shares(case: Any, device: str) -> None:
    """Values, gradients (of ties, too: the numbers are whole) and places."""
    shape, size = case
    name = f"adaptive_max_pool{len(shape) - (1 if shape[0] == 3 else 2)}d"
    if isinstance(size, tuple) and None in size and name.endswith("1d"):
        size = 2
    x = np.round(array(*shape))
    ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
    compare(device, lambda x: ours(x, size), lambda x: theirs(x, size), x)
    a, b = ours(rt.tensor(x, device=device), size, True), theirs(torch.tensor(x), size, True)
    assert a[1].dtype is rt.int64
    assert_close(a[0], b[0])
    np.testing.assert_array_equal(a[1].numpy(), b[1].numpy())


def test_adaptive_maximum_layers(device: str) -> None:
    x = array(2, 3, 7, 5)
    x[0, 0, 3, 3] = np.nan
    for name, made in (("AdaptiveMaxPool2d", x), ("AdaptiveMaxPool1d", x[0])):
        ours, theirs = getattr(nn, name)(3, return_indices=True), getattr(torch.nn, name)(3, return_indices=True)
        assert repr(ours) == repr(theirs)
        for a, b in zip(ours(rt.tensor(made, device=device)), theirs(torch.tensor(made)), strict=True):
            assert_close(a, b)
    with pytest.raises(ValueError, match=r"adaptive_max_pool2d: output_size .* got \(1, 2, 3\)"):
        F.adaptive_max_pool2d(rt.ones(1, 1, 4, 4), (1, 2, 3))
    with pytest.raises(rt.DTypeError, match="not defined for int32"):
        F.adaptive_max_pool2d(rt.ones(1, 1, 4, 4, dtype=rt.int32), 3)
