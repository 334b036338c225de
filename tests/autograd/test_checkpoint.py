"""Checkpoints: the same values and gradients as without, less memory, the same random numbers, captured and nested."""

from __future__ import annotations

import gc
from typing import Any

import pytest

import rasptorch as rt
from rasptorch import nn
from rasptorch.autograd import grad, gradcheck, gradgradcheck
from rasptorch.autograd.recompute import RecomputeError
from rasptorch.utils.checkpoint import checkpoint, checkpoint_sequential
from tests.support.compare import assert_close


def leaf(*shape: int, device: str = "cpu", dtype: Any = None) -> rt.Tensor:
    rt.manual_seed(sum(shape))
    return rt.rand(*shape, device=device, dtype=dtype or rt.float32, requires_grad=True)


def test_gradients_reach_inputs_and_parameters(device: str) -> None:
    rt.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)).to(device)
    x = leaf(5, 4, device=device)
    found = []
    for wrapped in (False, True):
        net.zero_grad()
        x.grad = None
        y = checkpoint(net, x) if wrapped else net(x)
        (y * y).sum().backward()
        found.append([y.detach(), x.grad, *(p.grad for p in net.parameters())])
    for plain, again in zip(*found, strict=True):
        assert again is not None
        assert_close(again, plain, rtol=1e-6)


def test_the_function_runs_twice_and_keeps_nothing_between() -> None:
    runs = []

    def f(x: Any) -> Any:
        runs.append(1)
        for _ in range(10):
            x = (x * 1.01).tanh()
        return x

    def held(wrapped: bool) -> int:
        x = leaf(1000)
        rt.synchronize()
        before = rt.statistics("cpu").bytes_in_use
        y = checkpoint(f, x) if wrapped else f(x)
        rt.synchronize()
        used = rt.statistics("cpu").bytes_in_use - before
        y.sum().backward()
        assert x.grad is not None
        x.grad.numpy()
        return used

    plain, wrapped = held(False), held(True)
    assert len(runs) == 3
    assert wrapped < plain / 4, (wrapped, plain)


def test_dropout_drops_the_same(device: str) -> None:
    x = leaf(64, device=device)
    generator = rt.Generator(5)

    def f(x: Any) -> Any:
        x = nn.functional.dropout(x * 2, 0.5)
        return nn.functional.dropout(x, 0.3, generator=generator).exp()

    y = checkpoint(f, x)
    state = rt.ops.random.default_generator.get_state()
    y.sum().backward()
    assert rt.ops.random.default_generator.get_state() == state, "what comes after does not change"
    # d/dx exp(m x) = m exp(m x): zero where dropped, the same elements in both runs.
    dropped = y.detach() == 1
    assert 0 < dropped.sum().item() < 64
    assert x.grad is not None
    assert rt.equal(x.grad == 0, dropped)
    fresh = checkpoint(f, x, preserve_rng_state=False)
    fresh.sum().backward()
    assert rt.ops.random.default_generator.get_state()[1] == state[1] + 2


def test_captured_steps_draw_once_per_replay(device: str) -> None:
    w = rt.ones(64, device=device, requires_grad=True)

    def step(x: Any) -> Any:
        w.grad = None
        y = checkpoint(lambda x: nn.functional.dropout(x * w, 0.5).exp(), x)
        y.sum().backward()
        return y.detach(), w.grad

    captured = rt.capture(step)
    x = rt.ones(64, device=device)
    seen = set()
    for _ in range(4):
        y, g = captured(x)
        dropped = y == 1
        assert rt.equal(g == 0, dropped)
        seen.add(tuple(dropped.tolist()))
    assert len(seen) == 4, "every replay drops others"


def test_nested(device: str) -> None:
    x = leaf(16, device=device)
    runs: list[str] = []

    def inner(x: Any) -> Any:
        runs.append("inner")
        return nn.functional.dropout(x.sin(), 0.5) * 2

    def outer(x: Any) -> Any:
        runs.append("outer")
        y = checkpoint(inner, x * 3)
        return checkpoint(inner, y.exp())

    y = checkpoint(outer, x)
    y.sum().backward()
    assert_close(x.grad, reference(x, y, device))
    assert runs[:3] == ["outer", "inner", "inner"]


def reference(x: rt.Tensor, y: rt.Tensor, device: str) -> rt.Tensor:
    """The gradient of the nested program, from its own values: what was dropped is seen in them."""
    a = (x.detach() * 3).requires_grad_()
    kept = (y.detach() != 0).to(rt.float32)
    generator_free = (a.sin() * 4).exp()  # where the first dropout kept
    dropped_first = rt.isclose(y.detach(), kept * 4 * rt.ones(16, device=device).sin())
    inside = rt.where(dropped_first, rt.ones(16, device=device), generator_free)
    (g,) = grad(((inside.sin()) * kept * 4).sum(), a)
    assert g is not None
    return g * 3


def test_higher_derivatives() -> None:
    x = leaf(3, dtype=rt.float64)
    w = leaf(2, 3, dtype=rt.float64)

    def f(x: Any) -> Any:
        return checkpoint(lambda x: ((w * x).sin() * x.exp()).sum(0), x)

    assert gradcheck(f, [x])
    assert gradgradcheck(f, [x])
    (g,) = grad(f(x).sum(), w)
    (expected,) = grad(((w * x).sin() * x.exp()).sum(), w)
    assert_close(g, expected)


def test_several_inputs_and_outputs() -> None:
    x, y = leaf(3), leaf(3)
    a, (b, note) = checkpoint(lambda x, y, scale: (x * y * scale, (x.exp(), "note")), x, y, scale=2.0)
    assert note == "note"
    a.sum().backward(retain_graph=True)
    b.sum().backward()
    assert_close(x.grad, y.detach() * 2 + x.detach().exp())


def test_a_second_backward_needs_the_graph_kept() -> None:
    x = leaf(3)
    y = checkpoint(lambda x: x.exp().sin(), x)
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.sum().backward()


def test_what_changed_meanwhile_is_an_error() -> None:
    x = leaf(3)
    inside = x * 1
    y = checkpoint(lambda x: x.exp().sin(), inside)
    inside.detach().add_(1)
    with pytest.raises(RecomputeError, match="changed in place"):
        y.sum().backward()
    turns = iter([True, False])
    y = checkpoint(lambda x: x.exp().sin() if next(turns) else x.cos().exp(), x)
    with pytest.raises(RecomputeError, match="was exp the first time and is cos now"):
        y.sum().backward()
    turns = iter([True, False])
    y = checkpoint(lambda x: x.exp().sin() if next(turns) else x.exp(), x)
    with pytest.raises(RecomputeError, match="made 2 taped operations the first time and 1 the second"):
        y.sum().backward()
    with pytest.raises(NotImplementedError, match="use_reentrant"):
        checkpoint(lambda x: x, x, use_reentrant=True)


def test_without_gradients_it_is_a_call() -> None:
    x = leaf(3)
    with rt.no_grad():
        assert not checkpoint(lambda x: x * 2, x).requires_grad
    assert checkpoint(lambda: 3) == 3


def test_sequential() -> None:
    rt.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    x = leaf(4, 3)
    (expected,) = grad(net(x).sum(), x)
    for segments in (1, 2, 5):
        (found,) = grad(checkpoint_sequential(net, segments, x).sum(), x)
        assert_close(found, expected)
    with pytest.raises(ValueError, match="6 segments of 5"):
        checkpoint_sequential(net, 6, x)


def test_nothing_is_left_behind() -> None:
    x = leaf(10)
    gc.collect()
    gc.disable()
    try:
        before = rt.statistics("cpu").bytes_in_use
        y = checkpoint(lambda x: x.exp().sin().tanh(), x)
        y.sum().backward()
        x.grad = None
        del y
        rt.zeros(1).numpy()
        assert rt.statistics("cpu").bytes_in_use <= before + 64
    finally:
        gc.enable()
