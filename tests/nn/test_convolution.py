"""Convolutions against PyTorch's: values, gradients of everything, gradients of gradients, and what they cost."""

from __future__ import annotations

import math
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


def check(device: str, name: str, x: tuple[int, ...], weight: tuple[int, ...], bias: bool, second: bool = True, **options: Any) -> None:
    """Values and gradients of input, weight and bias, and of those."""
    channels = weight[1] * options.get("groups", 1) if "transpose" in name else weight[0]
    arrays = [array(*x), array(*weight, seed=1), *([array(channels, seed=2)] if bias else [])]

    def run(m: Any) -> Any:
        return lambda x, w, *b: getattr(m, name)(x, w, *b, **options)

    compare(device, run(F), run(TORCH), *arrays, second=second, rtol=2e-4, atol=2e-4)


@st.composite
def configurations(draw: st.DrawFn) -> tuple[str, tuple[int, ...], tuple[int, ...], bool, dict[str, Any]]:
    """An operation, shapes of input and weight, whether there is a bias, and the other arguments."""
    dims, transposed = draw(st.integers(1, 2)), draw(st.booleans())

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inside, outside = groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 10))
    kernel, stride, dilation, padding = some(1, 4), some(1, 3), some(1, 3), some(0, 3)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        options["output_padding"] = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
        least = [
            max(1, -(-(2 * p + 1 - d * (k - 1) - 1) // s) + 1)
            for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True)
        ]
        weight = inside, outside // groups, *kernel
    else:
        least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
        weight = outside, inside // groups, *kernel
    sizes = tuple(n + draw(st.integers(0, 9)) for n in least)
    lead = draw(st.sampled_from([(), (1,), (3,)]))
    name = f"conv_transpose{dims}d" if transposed else f"conv{dims}d"
    return name, (*lead, inside, *sizes), weight, draw(st.booleans()), options


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(configuration=configurations())
def test_random_configurations(configuration: Any, device: str) -> None:
    name, x, weight, bias, options = configuration
    check(device, name, x, weight, bias, second=False, **options)


CASES: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("conv2d", (2, 3, 9, 8), (4, 3, 3, 3), {"padding": 1}),
    ("conv2d", (2, 4, 7, 9), (6, 2, 2, 3), {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2), "groups": 2}),
    ("conv2d", (3, 5, 6), (2, 3, 1, 1), {}),
    ("conv2d", (2, 6, 5, 5), (12, 1, 3, 3), {"groups": 6, "padding": 1}),
    ("conv2d", (1, 2, 8, 8), (3, 2, 4, 3), {"padding": "same", "dilation": 2}),
    ("conv2d", (1, 2, 8, 8), (3, 2, 4, 3), {"padding": "valid"}),
    ("conv1d", (2, 3, 11), (4, 3, 3), {"stride": 2, "padding": 1}),
    ("conv1d", (3, 11), (4, 3, 5), {"padding": "same"}),
    ("conv_transpose2d", (2, 4, 4, 5), (4, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ("conv_transpose2d", (2, 4, 4, 5), (4, 3, 2, 4), {"stride": (2, 3), "groups": 2, "dilation": (3, 1)}),
    ("conv_transpose2d", (1, 2, 3, 3), (2, 2, 2, 2), {"stride": 4, "dilation": 2}),
    ("conv_transpose1d", (2, 4, 5), (4, 3, 4), {"stride": 3, "padding": 1}),
]


@pytest.mark.every_driver
@pytest.mark.parametrize(("name", "x", "weight", "options"), CASES, ids=lambda value: str(value).replace(" ", ""))
def test_values_and_two_derivatives(name: str, x: Any, weight: Any, options: dict[str, Any], device: str) -> None:
    x = x if len(x) > 3 or "1d" in name else (3, *x[1:])
    check(device, name, x, weight, True, **options)


@pytest.mark.parametrize(("name", "x", "weight", "options"), CASES[1::2], ids=lambda value: str(value).replace(" ", ""))
def test_central_differences(name: str, x: Any, weight: Any, options: dict[str, Any]) -> None:
    arrays = [rt.tensor(array(*shape, seed=k), dtype=rt.float64, requires_grad=True) for k, shape in enumerate((x, weight))]
    gradcheck(lambda *xs: getattr(F, name)(*xs, **options), arrays)
    gradgradcheck(lambda *xs: getattr(F, name)(*xs, **options), arrays)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes(device: str, dtype: str) -> None:
    x, w, b = (rt.tensor(array(*shape), dtype=dtype, device=device) for shape in ((2, 5, 9, 7), (6, 5, 3, 3), (6,)))
    wide = [torch.tensor(v.to("float64").numpy(), requires_grad=True) for v in (x, w, b)]
    for v in (x, w, b):
        v.requires_grad_()
    out, expected = F.conv2d(x, w, b, 2, 1), TORCH.conv2d(*wide, 2, 1)
    assert out.dtype.name == dtype
    out.sum().backward()
    expected.sum().backward()
    rtol, atol = {"float16": (4e-3, 2e-2), "bfloat16": (3e-2, 2e-1), "float64": (1e-10, 1e-10)}[dtype]
    for mine, theirs in zip((out, x.grad, w.grad, b.grad), (expected, *(v.grad for v in wide)), strict=True):
        assert_close(mine, theirs, rtol, atol, check_dtype=False)


def test_strided_inputs(device: str) -> None:
    x, w = array(10, 3, 9, 4), array(8, 3, 3, 3)
    a, c = (rt.tensor(v, device=device, requires_grad=True) for v in (x, w))
    views = a[1::3].permute(0, 1, 3, 2)[..., 1::2], c[1:7].transpose(2, 3)
    ta, tc = (torch.tensor(v, requires_grad=True) for v in (x, w))
    theirs = ta[1::3].permute(0, 1, 3, 2)[..., 1::2], tc[1:7].transpose(2, 3)
    mine, expected = F.conv2d(*views, padding=1), TORCH.conv2d(*theirs, padding=1)
    assert_close(mine, expected)
    mine.square().sum().backward()
    expected.square().sum().backward()
    assert_close(a.grad, ta.grad, 1e-4, 1e-3)
    assert_close(c.grad, tc.grad, 1e-4, 1e-3)


def test_nothing_in_the_batch(device: str) -> None:
    x, w, b = (rt.zeros(*s, device=device, requires_grad=True) for s in ((0, 3, 5, 5), (4, 3, 3, 3), (4,)))
    out = F.conv2d(x, w, b)
    assert out.shape == (0, 4, 3, 3)
    out.sum().backward()
    assert x.grad.shape == (0, 3, 5, 5) and not w.grad.numpy().any() and not b.grad.numpy().any()
    assert F.conv_transpose2d(rt.zeros(0, 3, 2, 2, device=device), rt.zeros(3, 1, 2, 2, device=device)).shape == (0, 1, 3, 3)


def test_many_groups(device: str) -> None:
    check(device, "conv2d", (1, 130, 5, 5), (260, 1, 3, 3), True, groups=130, padding=1)


def test_only_the_gradients_that_are_wanted(device: str) -> None:
    x, w = array(2, 3, 8, 8), array(4, 3, 3, 3)
    for wanted in ((True, False), (False, True)):
        a, b = (rt.tensor(v, device=device, requires_grad=g) for v, g in zip((x, w), wanted, strict=True))
        c, d = (torch.tensor(v, requires_grad=g) for v, g in zip((x, w), wanted, strict=True))
        F.conv2d(a, b, padding=1).square().sum().backward()
        TORCH.conv2d(c, d, padding=1).square().sum().backward()
        for mine, theirs in ((a, c), (b, d)):
            assert (mine.grad is None) == (theirs.grad is None)
            if theirs.grad is not None:
                assert_close(mine.grad, theirs.grad, 1e-4, 1e-4)


def test_long_sums_are_shared_and_the_same_every_time(device: str) -> None:
    """The gradient of a small weight over many places: more than one invocation adds up."""
    x, g = array(4, 2, 64, 64), array(4, 3, 64, 64)
    a, b = rt.tensor(x, device=device), rt.tensor(g, device=device)

    def weight_gradient() -> Any:
        w = rt.zeros(3, 2, 3, 3, device=device, requires_grad=True)
        F.conv2d(a, w, padding=1).backward(b)
        return w.grad.numpy()

    w = torch.zeros(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    TORCH.conv2d(torch.tensor(x).double(), w, padding=1).backward(torch.tensor(g).double())
    first = weight_gradient()
    assert np.abs(first - w.grad.numpy()).max() < 2e-3  # of sums of 16,384 products of up to 4
    assert np.array_equal(weight_gradient(), first)


def test_dropout_after_a_convolution_is_what_it_is_apart(device: str) -> None:
    """The epilogue numbers elements as the output has them, whatever order the kernel works in."""
    x, w = rt.tensor(array(3, 4, 6, 5), device=device), rt.tensor(array(6, 4, 3, 3), device=device)
    rt.manual_seed(1)
    fused = F.dropout(F.conv2d(x, w, padding=1), 0.5).numpy()
    rt.manual_seed(1)
    out = F.conv2d(x, w, padding=1)
    out.numpy()
    assert np.array_equal(fused, F.dropout(out, 0.5).numpy())


# -- what it costs -------------------------------------------------------------------------------------------------
def test_bias_and_activation_are_part_of_the_kernel(device: str) -> None:
    x, w, b = (rt.tensor(array(*s), device=device) for s in ((2, 3, 16, 16), (8, 3, 3, 3), (8,)))
    F.conv2d(x, w, b, padding=1).relu().numpy()
    with counting(device) as n:
        F.conv2d(x, w, b, padding=1).relu().numpy()
    assert n.dispatches == 1


def test_a_step_with_its_update_is_few_kernels(device: str) -> None:
    """Forward, two gradients of which the weight's is taken off the weight at once, and the bias'."""
    layer = nn.Conv2d(4, 8, 3, padding=1, device=device)
    optimizer = rt.optim.SGD(layer.parameters(), lr=0.1)
    x, g = rt.tensor(array(2, 4, 8, 8), device=device, requires_grad=True), rt.tensor(array(2, 8, 8, 8), device=device)

    def step() -> None:
        optimizer.zero_grad()
        x.grad = None
        layer(x).backward(g)
        optimizer.step()
        rt.synchronize(device)

    step()
    with counting(device) as n:
        step()
    assert n.dispatches == 4  # a copy of the gradient that was handed in, and three; nobody looks at the output


@pytest.mark.fresh
def test_a_step_of_lenet(device: str) -> None:
    """Losses are PyTorch's; the step is one submission of few kernels."""

    def network(m: Any) -> Any:
        convolutions = [m.Conv2d(1, 6, 5, padding=2), m.ReLU(), m.MaxPool2d(2), m.Conv2d(6, 16, 5), m.ReLU(), m.MaxPool2d(2)]
        return m.Sequential(*convolutions, m.Flatten(), m.Linear(400, 120), m.ReLU(), m.Linear(120, 84), m.ReLU(), m.Linear(84, 10))

    def step(model: Any, optimizer: Any, entropy: Any, x: Any, classes: Any) -> Any:
        optimizer.zero_grad()
        loss = entropy(model(x), classes)
        loss.backward()
        optimizer.step()
        return loss

    ours, theirs = network(nn).to(device), network(torch.nn)
    ours.load_state_dict(theirs.state_dict())
    x, classes = array(32, 1, 28, 28), np.arange(32) % 10
    mine = ours, rt.optim.SGD(ours.parameters(), lr=0.1), F.cross_entropy, rt.tensor(x, device=device), rt.tensor(classes, device=device)
    other = theirs, torch.optim.SGD(theirs.parameters(), lr=0.1), TORCH.cross_entropy, torch.tensor(x), torch.tensor(classes)
    for _ in range(3):
        assert_close(step(*mine), step(*other), 1e-4, 1e-5)
    with counting(device) as n:
        step(*mine)
        rt.synchronize(device)
    assert n.submissions == 1 and n.dispatches <= (28 if device == "cpu" else 33)


def test_memory_of_a_large_convolution(device: str) -> None:
    """Nothing is unfolded: input, weights and output, and a tenth of that; backward the gradients too, and partial sums."""
    x, w = rt.zeros(8, 3, 224, 224, device=device), rt.zeros(64, 3, 3, 3, device=device)
    rt.synchronize(device)
    forward = x.layout.nbytes + w.layout.nbytes + 8 * 64 * 224 * 224 * 4
    found = rt.device(device)
    held = rt.statistics(device).bytes_in_use
    found.statistics.bytes_peak = held
    out = F.conv2d(x, w, padding=1)
    rt.synchronize(device)
    assert rt.statistics(device).bytes_peak - held + x.layout.nbytes + w.layout.nbytes <= 1.1 * forward
    del out
    x.requires_grad_()
    w.requires_grad_()
    F.conv2d(x, w, padding=1).sum().backward()
    rt.synchronize(device)
    assert rt.statistics(device).bytes_peak - held <= 1.2 * forward  # the output is dead by the time its gradient is made


# -- layers --------------------------------------------------------------------------------------------------------
LAYERS = [
    lambda m: m.Conv2d(3, 6, 3, padding=1), lambda m: m.Conv2d(3, 6, (3, 5), (2, 1), "valid", (1, 2), 3, False),
    lambda m: m.Conv2d(3, 4, 3, padding="same", padding_mode="reflect"), lambda m: m.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
    lambda m: m.Conv1d(3, 6, 5, stride=2), lambda m: m.ConvTranspose2d(3, 6, 3, 2, 1, 1), lambda m: m.ConvTranspose1d(3, 2, 4, bias=False),
]  # fmt: skip


@pytest.mark.parametrize("made", LAYERS, ids=lambda made: repr(made(torch.nn)).replace(" ", ""))
def test_layers_are_pytorchs(made: Any, device: str) -> None:
    ours, theirs = made(nn).to(device), made(torch.nn)
    assert repr(ours) == repr(theirs)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
    ours.load_state_dict(theirs.state_dict())
    x = array(2, 3, 9) if "1d" in repr(theirs) else array(2, 3, 9, 11)
    assert_close(ours(rt.tensor(x, device=device)), theirs(torch.tensor(x)), 1e-4, 1e-5)


@pytest.mark.parametrize("made", [lambda m: m.Conv2d(30, 60, 3, groups=2), lambda m: m.ConvTranspose2d(60, 30, 3, groups=2)])
def test_starting_values_are_spread_as_pytorchs(made: Any) -> None:
    rt.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = made(nn), made(torch.nn)
    for mine, other in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        a, b = mine.detach().numpy(), other.detach().numpy()
        bound = 1 / math.sqrt(math.prod(theirs.weight.shape[1:]))
        assert np.abs(a).max() <= bound and np.abs(b).max() <= bound and abs(a.std() - b.std()) < 0.3 * bound


def test_an_output_size_that_is_asked_for() -> None:
    ours, theirs = nn.ConvTranspose2d(2, 3, 3, 2, 1), torch.nn.ConvTranspose2d(2, 3, 3, 2, 1)
    ours.load_state_dict(theirs.state_dict())
    x = array(1, 2, 5, 5)
    for size in ((9, 10), (1, 3, 10, 10)):
        assert_close(ours(rt.tensor(x), size), theirs(torch.tensor(x), size), 1e-4, 1e-5)
    with pytest.raises(ValueError, match=r"output_size is between \[9, 9\] and \[10, 10\].*got \[11, 10\]"):
        ours(rt.tensor(x), (11, 10))


# -- errors --------------------------------------------------------------------------------------------------------
X, W = (2, 4, 5, 6), (6, 4, 3, 3)
WRONG: list[tuple[str, Any, Any, dict[str, Any], str]] = [
    ("conv2d", (4, 5), W, {}, r"conv2d: input is \[in_channels, height, width\].*got shape \[4, 5\]"),
    ("conv1d", X, (6, 4, 3), {}, r"conv1d: input is .*got shape \[2, 4, 5, 6\]"),
    ("conv2d", X, (6, 4, 3), {}, r"conv2d: weight is \[out_channels, in_channels / groups, kernel, kernel\], got shape \[6, 4, 3\]"),
    ("conv2d", X, (6, 3, 3, 3), {}, r"input has 4 channels, weight of shape \[6, 3, 3, 3\] with groups=1 takes 3"),
    ("conv2d", X, (6, 1, 3, 3), {"groups": 4}, "6 out_channels, which are no 4 groups"),
    ("conv2d", X, W, {"groups": 0}, "groups is a positive whole number, got 0"),
    ("conv2d", X, (6, 4, 7, 3), {}, r"kernel of \[7, 3\] with dilation \[1, 1\] is larger than the input of \[5, 6\] with padding 0"),
    ("conv2d", X, W, {"stride": 0}, "conv2d: stride is at least 1, got 0"),
    ("conv2d", X, W, {"dilation": (1, 2, 3)}, r"dilation is a whole number or 2 of them, got \(1, 2, 3\)"),
    ("conv2d", X, W, {"padding": "full"}, "padding is a number, 'same' or 'valid', got 'full'"),
    ("conv2d", X, W, {"padding": "same", "stride": 2}, r"padding='same' is for stride 1, got stride \[2, 2\]"),
    ("conv_transpose2d", X, (4, 2, 3, 3), {"output_padding": 1}, "output_padding is smaller than stride or dilation, got output_padding=1"),
    ("conv_transpose2d", X, (4, 2, 1, 1), {"padding": 3}, r"the output would be \[-1, 0\]"),
    ("conv_transpose2d", X, (3, 2, 3, 3), {}, r"input has 4 channels, weight of shape \[3, 2, 3, 3\] with groups=1 takes 3"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "x", "weight", "options", "message"), WRONG, ids=[case[-1][:40] for case in WRONG])
def test_what_does_not_fit_is_named(name: str, x: Any, weight: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((rt.ShapeError, ValueError, TypeError), match=message):
        getattr(F, name)(rt.zeros(*x), rt.zeros(*weight), **options)


def test_operands_that_do_not_go_together() -> None:
    x, w = rt.zeros(*X), rt.zeros(*W)
    with pytest.raises(rt.ShapeError, match=r"bias has shape \[4\], weight of shape \[6, 4, 3, 3\] wants \[6\]"):
        F.conv2d(x, w, rt.zeros(4))
    with pytest.raises(rt.DTypeError, match="input is float32, weight float64"):
        F.conv2d(x, w.to("float64"))
    with pytest.raises(rt.DTypeError, match="conv2d is not defined for int32"):
        F.conv2d(x.to("int32"), w.to("int32"))
    with pytest.raises(rt.DeviceError, match="conv2d: operands are on cpu and"):
        F.conv2d(x, w.to("gpu"))
    with pytest.raises(ValueError, match="multiples of groups, got 3, 4 and groups=2"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="padding_mode is one of zeros, reflect, replicate, circular, got 'mirror'"):
        nn.Conv2d(3, 4, 3, padding_mode="mirror")
    with pytest.raises(ValueError, match="ConvTranspose2d: pads with zeros"):
        nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect")
