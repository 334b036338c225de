"""Entries read from places that follow from their own (borders, rolled and reversed tensors): values, gradients, and one kernel each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch.autograd import grad, gradcheck, gradgradcheck
from rasptorch.ops import scan
from tests.support.compare import assert_close
from tests.support.counting import counting

from .joining_cases import padded
from .values import pair, random

MODES = ("reflect", "replicate", "circular")
WIDTHS = {"one": (2, 3), "first only": (3, 0), "last only": (0, 3), "two": (1, 2, 3, 1), "three": (1, 0, 2, 1, 0, 2)}

# Dispatches forward and backward, of a tensor of shape [2, 3, 4, 5, 6] on a device of its own.
KERNELS: dict[str, tuple[Callable[[Any], Any], int, int]] = {
    "reflect": (lambda x: rt.pad(x, (3, 2), "reflect"), 1, 1),
    "reflect 2": (lambda x: rt.pad(x, (3, 2, 1, 1), "reflect"), 1, 2),
    "reflect 3": (lambda x: rt.pad(x, (3, 2, 1, 1, 0, 2), "reflect"), 1, 3),
    "circular": (lambda x: rt.pad(x, (3, 2), "circular"), 1, 1),
    "circular 2": (lambda x: rt.pad(x, (3, 2, 1, 1), "circular"), 1, 2),
    "replicate": (lambda x: rt.pad(x, (3, 2), "replicate"), 1, 3),
    "replicate 2": (lambda x: rt.pad(x, (3, 2, 1, 1), "replicate"), 1, 6),
    "roll": (lambda x: rt.roll(x, 2, -1), 1, 1),
    "roll 3": (lambda x: rt.roll(x, (2, 1, -7), (0, 2, 4)), 1, 1),
    "roll flat": (lambda x: rt.roll(x, 100), 1, 1),
    "roll strided": (lambda x: rt.roll(x.transpose(1, 4), (2, 1), (1, 3)), 1, 1),
    "flip": (lambda x: rt.flip(x, (0, 2, 4)), 1, 1),
    "tril": (lambda x: rt.tril(x, -1), 1, 1),
    "triu of a sum": (lambda x: rt.triu(x + 1.0), 1, 1),
    "cumsum": (lambda x: rt.cumsum(x, -1), 2, 2),
    "repeat_interleave": (lambda x: rt.repeat_interleave(x, 3, 1), 1, 1),
    "repeat_interleave last": (lambda x: rt.repeat_interleave(x, 3, -1), 1, 1),
}


@pytest.mark.drivers("lavapipe")
@pytest.mark.parametrize("name", KERNELS)
def test_dispatches(name: str, device: str) -> None:
    run, forward, backward = KERNELS[name]
    x = rt.rand(2, 3, 4, 5, 6, device=device, requires_grad=True)
    g = rt.rand(*run(x).shape, device=device)
    rt.synchronize(device)
    with counting(device) as n:
        y = run(x)
        rt.synchronize(device)
    assert (n.dispatches, n.submissions) == (forward, 1)
    with counting(device) as n:
        (found,) = grad(y, x, g)
        rt.synchronize(device)
    assert (n.dispatches, n.submissions) == (backward, 1) and found is not None


@pytest.mark.drivers("lavapipe")
def test_what_follows_is_done_in_the_same_kernel(device: str) -> None:
    x = rt.rand(8, 8, device=device)
    rt.synchronize(device)
    with counting(device) as n:
        kept = (rt.pad(x, (2, 2), "reflect") * 2.0).relu() + 1.0
        rt.synchronize(device)
    assert (n.dispatches, kept.shape) == (1, (8, 12))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("widths", WIDTHS)
def test_borders(mode: str, widths: str, device: str) -> None:
    shape = {2: (4, 5), 4: (2, 4, 5), 6: (2, 4, 3, 5)}[len(WIDTHS[widths])]
    x, y = random(shape, device=device)
    x.requires_grad_()
    y.requires_grad_()
    for a, b in ((x, y), (x.transpose(-1, -2), y.transpose(-1, -2)), (x[..., 1:, :], y[..., 1:, :])):
        batch = max(0, 2 + (len(WIDTHS[widths]) > 2) + (len(WIDTHS[widths]) > 4) - a.ndim)  # PyTorch wants a dimension or two in front
        a, b = (t.reshape((1,) * batch + tuple(t.shape)) for t in (a, b))
        if max(WIDTHS[widths]) > min(a.shape[-len(WIDTHS[widths]) // 2 :]) - 1:
            continue
        ours, theirs = padded(rt, a, WIDTHS[widths], mode=mode), padded(torch, b, WIDTHS[widths], mode=mode)
        assert_close(ours, theirs.detach())
        g, h = random(tuple(theirs.shape), device=device)
        assert_close(grad(ours, x, g)[0], torch.autograd.grad(theirs, y, h)[0])


@pytest.mark.parametrize("mode", MODES)
def test_the_widest_borders(mode: str, device: str) -> None:
    """All there is to reflect, everything once around, and further than the tensor is long."""
    for n in (1, 2, 5):
        x, y = random((3, n), device=device)
        x.requires_grad_()
        y.requires_grad_()
        width = {"reflect": n - 1, "circular": n, "replicate": 2 * n + 1}[mode]
        ours, theirs = padded(rt, x, (width, width), mode=mode), padded(torch, y, (width, width), mode=mode)
        assert_close(ours, theirs.detach())
        g, h = random(tuple(theirs.shape), device=device)
        assert_close(grad(ours, x, g)[0], torch.autograd.grad(theirs, y, h)[0])


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_gradients_of_borders(mode: str, device: str) -> None:
    x = rt.rand(2, 3, 4, device=device, requires_grad=True)
    w = rt.rand(2, 6, 7, device=device)

    def f(x: Any) -> Any:
        return ((rt.pad(x, (2, 1, 1, 2), mode) ** 3) * w.to(x.dtype)).sum()

    (g,) = grad(f(x), x, create_graph=True)
    (second,) = grad((g * g).sum(), x)
    y = torch.tensor(x.tolist(), requires_grad=True)
    z = (torch.nn.functional.pad(y, (2, 1, 1, 2), mode) ** 3 * torch.tensor(w.tolist())).sum()
    (h,) = torch.autograd.grad(z, y, create_graph=True)
    assert_close(g.detach(), h.detach(), rtol=1e-5)
    assert_close(second, torch.autograd.grad((h * h).sum(), y)[0], rtol=1e-5)
    if device == "cpu":
        double = x.detach().to(rt.float64).requires_grad_()
        assert gradcheck(f, [double]) and gradgradcheck(f, [double])


def test_any_rank_and_dtype(device: str) -> None:
    for dtype in ("int64", "int32", "uint8", "bool", "float16", "bfloat16"):
        values = torch.arange(2**8).reshape((2,) * 8).to(getattr(torch, dtype))
        x = rt.from_numpy(values.numpy()).to(device) if dtype != "bfloat16" else rt.arange(2**8, device=device).reshape((2,) * 8).to(dtype)
        for ours, theirs in (
            (rt.roll(x, (1, 1, 3), (0, 4, -1)), torch.roll(values, (1, 1, 3), (0, 4, -1))),
            (rt.roll(x, 77), torch.roll(values, 77)),
            (rt.flip(x, (1, 3, -1)), torch.flip(values, (1, 3, -1))),
            *[(rt.repeat_interleave(x, 2, d), torch.repeat_interleave(values, 2, d)) for d in range(8)],
        ):
            assert_close(ours, theirs)


def test_rolling_a_dimension_of_nothing(device: str) -> None:
    x, y = pair([[]] * 3, device=device)
    assert_close(rt.roll(x, (1, 2), (0, 1)), torch.roll(y, (1, 2), (0, 1)))
    assert rt.roll(rt.tensor(3.0, device=device), 5).item() == 3.0


def test_many_elements(device: str) -> None:
    x = rt.arange(3 * 70_001, dtype=rt.int32, device=device).reshape(3, 70_001)
    y = torch.arange(3 * 70_001, dtype=torch.int32).reshape(3, 70_001)
    assert_close(rt.roll(x, (1, 34_567), (0, 1)), torch.roll(y, (1, 34_567), (0, 1)))
    assert_close(rt.pad(x, (70_000, 5), "reflect"), torch.nn.functional.pad(y, (70_000, 5), "reflect"))


@pytest.mark.drivers("lavapipe")
def test_dispatches_of_repeats_by_tensor(device: str) -> None:
    """A look at the 100 counts, sums before each of them, the entry of each place, the gather; backward sorts and adds up."""
    repeats = (rt.arange(100, dtype=rt.int32, device=device) % 4).contiguous()
    x = rt.rand(100, 8, device=device, requires_grad=True)
    rt.synchronize(device)
    with counting(device) as n:
        y = x.repeat_interleave(repeats, 0, output_size=150)
        rt.synchronize(device)
    assert (n.dispatches, n.submissions) == (4, 1) and y.shape == (150, 8)
    g = rt.rand(150, 8, device=device)
    rt.synchronize(device)
    with counting(device) as n:
        (found,) = grad(y, x, g)
        rt.synchronize(device)
    assert n.dispatches <= 12 and found is not None
    with counting(device) as n:
        y = x.detach().repeat_interleave(repeats, 0)
        rt.synchronize(device)
    assert (n.dispatches, n.submissions) == (5, 2) and y.shape == (150, 8)  # and the sum of all, which is waited for


@pytest.mark.every_driver
def test_negative_repeats(device: str) -> None:
    x = rt.arange(4.0, device=device)
    for size in (None, 5):
        with pytest.raises(IndexError, match="repeat_interleave: repeats: index -2 is out of range; indices go from 0"):
            x.repeat_interleave(rt.tensor([1, -2, 3, 3], device=device), output_size=size).numpy()


@pytest.mark.every_driver
@pytest.mark.parametrize(("count", "most"), [(1, 5), (3, 1), (257, 4), (70_001, 3), (300, 1000)])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_repeats_by_tensor(count: int, most: int, dtype: str, device: str) -> None:
    """Also where some entries, the first or the last are not repeated at all."""
    counts = np.random.default_rng(count).integers(0, most, count)
    counts[[0, -1]] = 0 if count > 1 else 3
    x, y = random((count, 2), device=device)
    x.requires_grad_()
    y.requires_grad_()
    repeats, wanted = rt.tensor(counts.astype(dtype), device=device), torch.tensor(counts)
    total = int(counts.sum())
    for size in (None, total):
        out, expected = (t.T.repeat_interleave(r, 1, output_size=size) for t, r in ((x, repeats), (y, wanted)))
        assert_close(out.detach(), expected.detach())
        assert_close(rt.repeat_interleave(repeats, output_size=size), torch.repeat_interleave(wanted).to(getattr(torch, dtype)))
    weights = np.float32(np.random.default_rng(0).random((2, total)))
    (out * rt.tensor(weights, device=device)).sum().backward()
    (expected * torch.tensor(weights)).sum().backward()
    assert_close(x.grad, y.grad, rtol=1e-4)


def test_repeats_of_nothing(device: str) -> None:
    nothing = rt.zeros(0, 3, device=device)
    for repeats in (rt.zeros(0, dtype=rt.int32, device=device), rt.tensor([2], device=device)):
        assert nothing.repeat_interleave(repeats, 0).shape == (0, 3)
        assert nothing.repeat_interleave(repeats, 0, output_size=0).shape == (0, 3)
    with pytest.raises(rt.ShapeError, match=r"repeat_interleave: output_size=2, but dimension 0 of shape \[0, 3\] has no entries"):
        nothing.repeat_interleave(rt.tensor([2], device=device), 0, output_size=2)
    some = rt.ones(2, 3, device=device)
    assert some.repeat_interleave(rt.zeros(2, dtype=rt.int32, device=device), 0).shape == (0, 3)


@pytest.mark.parametrize("shape", [(1000,), (3, 70), (70, 3), (2, 5, 33), (4,), (5, 1)])
def test_running_sums_of_two_steps_at_once_have_the_same_bits(
    shape: tuple[int, ...], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _ = random(shape, device=device)
    x = (x - 0.5).requires_grad_()

    def sums() -> list[Any]:
        made = [turned(x.detach()).cumsum(axis).tolist() for axis in range(len(shape)) for turned in (lambda t: t, lambda t: t.flip(0))]
        (gradient,) = grad((x.cumsum(-1) * x.detach()).sum(), x)
        assert gradient is not None
        return [*made, gradient.tolist()]

    few = sums()
    monkeypatch.setattr(scan, "SMALL", 0)
    assert sums() == few
