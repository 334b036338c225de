"""Hooks on what is saved for backward, as in PyTorch; gradients in batches."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch

import rasptorch as rt
from rasptorch import nn
from rasptorch.autograd import Context, Function, grad, gradcheck, gradgradcheck
from rasptorch.autograd.graph import disable_saved_tensors_hooks, save_on_cpu, saved_tensors_hooks
from rasptorch.autograd.node import SavedTensorError
from rasptorch.utils.checkpoint import checkpoint
from tests.support.compare import assert_close

LIBRARIES = pytest.mark.parametrize("m", [rt, torch], ids=["rasptorch", "torch"])


def leaf(m: Any, values: Any) -> Any:
    return m.tensor(values, requires_grad=True)


def log(calls: list[Any]) -> Any:
    """Hooks that write down what they are given."""

    def pack(x: Any) -> Any:
        calls.append(("pack", x.detach().tolist()))
        return x.detach() * 1

    def unpack(kept: Any) -> Any:
        calls.append(("unpack", kept.tolist()))
        return kept

    return pack, unpack


def entered(first: Any, second: Any) -> None:
    with first, second:
        pytest.fail("the second was entered")


@LIBRARIES
def test_hooks_see_what_is_saved_and_when(m: Any) -> None:
    calls: list[Any] = []
    x, y = leaf(m, [1.0, 2.0]), leaf(m, [3.0, 4.0])
    with m.autograd.graph.saved_tensors_hooks(*log(calls)):
        z = (x * y).relu()
        u = x + y  # saves nothing
    assert sorted(calls) == [("pack", [1, 2]), ("pack", [3, 4]), ("pack", [3, 8])]
    calls.clear()
    (z + u).sum().backward(retain_graph=True)
    once = [("unpack", [1, 2]), ("unpack", [3, 4]), ("unpack", [3, 8])]
    assert sorted(calls) == once
    (z + u).sum().backward()
    assert sorted(calls) == sorted(once * 2)  # with retain_graph, each time
    assert x.grad.tolist() == [8, 10] and y.grad.tolist() == [4, 6]
    with pytest.raises(RuntimeError):
        (z + u).sum().backward()


@LIBRARIES
def test_backward_uses_what_unpack_returns(m: Any) -> None:
    x = leaf(m, [1.0, 2.0])
    with m.autograd.graph.saved_tensors_hooks(lambda t: t.tolist(), lambda kept: m.tensor(kept) * 10):
        y, z = x * x, x.exp()
    y.sum().backward()
    assert x.grad.tolist() == [20, 40]
    (g,) = m.autograd.grad(z.sum(), x)
    assert g.tolist() == (z * 10).tolist()


@LIBRARIES
def test_the_innermost_hooks_count(m: Any) -> None:
    outer: list[Any] = []
    inner: list[Any] = []
    x = leaf(m, [2.0])
    hooks = m.autograd.graph.saved_tensors_hooks
    with hooks(*log(outer)):
        a = x * x
        with hooks(*log(inner)):
            b = a * x
        c = b * b
    d = c * c
    d.sum().backward()
    assert [kind for kind, _ in outer].count("pack") == 4 and [kind for kind, _ in inner].count("pack") == 2
    assert {tuple(v) for _, v in outer} == {(2,), (8,)} and {tuple(v) for _, v in inner} == {(4,), (2,)}
    assert x.grad.tolist() == [12 * 2**11]


@LIBRARIES
def test_changes_in_place(m: Any) -> None:
    hooks = m.autograd.graph.saved_tensors_hooks
    x, y = leaf(m, [2.0]), m.tensor([3.0])
    with pytest.raises(RuntimeError, match="pack"), hooks(lambda t: t.mul_(2), lambda t: t):
        y * x
    y = m.tensor([3.0])
    with hooks(lambda t: t.detach().clone(), lambda t: t):
        z = x * y
    y.zero_()  # what pack copied is not changed, and nobody minds
    z.backward()
    assert x.grad.tolist() == [3]


@LIBRARIES
def test_refusals(m: Any) -> None:
    graph = m.autograd.graph
    x = leaf(m, [2.0, 1.0])
    with graph.saved_tensors_hooks(lambda t: t, lambda t: 3):
        y = x * x
    with pytest.raises(TypeError, match="int"):
        y.sum().backward()
    with pytest.raises(TypeError), graph.saved_tensors_hooks(3, 4):
        assert x.numel() == 2
    with pytest.raises(RuntimeError, match="not here"):
        entered(graph.disable_saved_tensors_hooks("not here"), graph.saved_tensors_hooks(*log([])))
    with pytest.raises(RuntimeError, match="not here"):
        entered(graph.saved_tensors_hooks(*log([])), graph.disable_saved_tensors_hooks("not here"))
    calls: list[Any] = []
    with graph.saved_tensors_hooks(*log(calls)):  # nothing of the refused ones is left
        x * x
    assert calls


def test_what_unpack_returns_is_checked() -> None:
    x = leaf(rt, [2.0, 1.0])
    for unpack, message in (
        (lambda t: t[:1], r"shape \[1\] for a tensor of shape \[2\]"),
        (lambda t: t.to(rt.float64), "float64 on cpu for float32"),
        (lambda t: t.tolist(), "returns a tensor, got list"),
    ):
        with saved_tensors_hooks(lambda t: t, unpack):
            y = (x * x).sum()
        with pytest.raises((TypeError, RuntimeError, rt.ShapeError), match=message):
            y.backward()


def test_gradients_of_gradients(device: str) -> None:
    def f(x: Any, w: Any) -> Any:
        with saved_tensors_hooks(lambda t: t.detach().t().clone(), lambda t: t.t()):
            return ((x @ w).tanh() * x).softmax(-1).exp().sum()

    rt.manual_seed(1)
    inputs = [rt.rand(3, 3, device=device, requires_grad=True) for _ in range(2)]
    for (a, b), (c, d) in zip(
        *[[(g, grad((g * g).sum(), x, retain_graph=True)[0]) for x in inputs for g in grad(make(*inputs), x, create_graph=True)]
          for make in (f, lambda x, w: ((x @ w).tanh() * x).softmax(-1).exp().sum())], strict=True
    ):  # fmt: skip
        assert_close(a, c.detach(), rtol=1e-5)
        assert_close(b, d, rtol=1e-5)
    if device == "cpu":
        doubles = [x.detach().to(rt.float64).requires_grad_() for x in inputs]
        assert gradcheck(f, doubles) and gradgradcheck(f, doubles)


class Both(Function):
    """Two outputs, which are saved, as an input is."""

    @staticmethod
    def forward(ctx: Context, x: Any) -> Any:
        y, z = x.exp(), x * x
        ctx.save_for_backward(x, y, z)
        return y, z

    @staticmethod
    def backward(ctx: Context, gy: Any, gz: Any) -> Any:
        x, y, _ = ctx.saved_tensors
        return gy * y + gz * 2 * x


def test_functions_written_by_hand() -> None:
    calls: list[Any] = []
    x = rt.tensor([0.0, 1.0], dtype=rt.float64, requires_grad=True)
    with saved_tensors_hooks(*log(calls)):
        y, z = Both.apply(x)
    assert [kind for kind, _ in calls] == ["pack"] * 3
    (y + z).sum().backward()
    assert [kind for kind, _ in calls[3:]] == ["unpack"] * 3
    assert_close(x.grad, (x.exp() + 2 * x).detach())

    def f(x: Any) -> Any:
        with saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
            return Both.apply(x)

    assert gradcheck(f, [x.detach().requires_grad_()]) and gradgradcheck(f, [x.detach().requires_grad_()])


def test_nothing_is_kept_once_backward_is_done() -> None:
    x = leaf(rt, [1.0, 2.0])
    kept: list[Any] = []

    class Box:
        def __init__(self, value: Any) -> None:
            self.value = value
            kept.append(weakref.ref(self))

    gc.disable()  # what follows must not depend on the collector of cycles
    try:
        with saved_tensors_hooks(Box, lambda box: box.value):
            y = (x.exp() * x).sigmoid().sum()
        assert len(kept) >= 4
        y.backward(retain_graph=True)
        assert all(box() is not None for box in kept)
        y.backward()
        assert all(box() is None for box in kept)
        with pytest.raises(SavedTensorError, match="second time"):
            y.backward()
        kept.clear()
        with saved_tensors_hooks(Box, lambda box: box.value):
            z = (x.exp() * x).sigmoid().sum()
        assert len(kept) >= 4
        del z
        assert all(box() is None for box in kept)
    finally:
        gc.enable()


def test_checkpoints_and_hooks() -> None:
    outer: list[Any] = []
    inner: list[Any] = []
    x = leaf(rt, [0.5])

    def f(x: Any) -> Any:
        y = x * x
        with saved_tensors_hooks(*log(inner)):
            return y * y

    with saved_tensors_hooks(*log(outer)):
        y = checkpoint(f, x)
    assert not outer and not inner  # a checkpoint keeps nothing
    y.backward()
    assert not outer and [kind for kind, _ in inner] == ["pack"] * 2 + ["unpack"] * 2
    assert x.grad is not None and x.grad.tolist() == [0.5]


def test_save_on_cpu(device: str) -> None:
    rt.manual_seed(2)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8), nn.Softmax(-1)).to(device)
    x = rt.rand(5, 4, device=device, requires_grad=True)
    found = []
    for wrapped in (False, True):
        net.zero_grad()
        x.grad = None
        if wrapped:
            with save_on_cpu():
                y = net(x)
        else:
            y = net(x)
        (y * y).sum().backward()
        found.append([y.detach(), x.grad, *(p.grad for p in net.parameters())])
    for plain, again in zip(*found, strict=True):
        assert again is not None and again.tolist() == plain.tolist()


def test_hooks_belong_to_a_context() -> None:
    from threading import Thread

    calls: list[Any] = []
    x = leaf(rt, [1.0])
    with saved_tensors_hooks(*log(calls)):
        other = Thread(target=lambda: x * x)
        other.start()
        other.join()
    assert not calls
    with disable_saved_tensors_hooks("no"):
        assert (x * x).tolist() == [1]


# -- gradients in batches -------------------------------------------------------------------------------------------
@LIBRARIES
def test_batched_gradients(m: Any) -> None:
    x, y, unused = leaf(m, [[1.0, 2.0], [3.0, 4.0]]), leaf(m, [5.0, 6.0]), leaf(m, [1.0])
    a, b = (x * y).sum(-1), x.exp().sum()
    ga, gb = m.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0]]), m.tensor([1.0, 0.0, -1.0])
    found = m.autograd.grad([a, b], [x, y, unused], [ga, gb], is_grads_batched=True, retain_graph=True, allow_unused=True)
    assert found[2] is None
    for k in range(3):
        rows = m.autograd.grad([a, b], [x, y], [ga[k], gb[k]], retain_graph=True)
        assert [g[k].tolist() for g in found[:2]] == [g.tolist() for g in rows]
    (zeros,) = m.autograd.grad(a, [unused], ga, is_grads_batched=True, retain_graph=True, materialize_grads=True)
    assert zeros.tolist() == [0]
    (g,) = m.autograd.grad(a, y, ga, is_grads_batched=True)
    assert g.tolist() == [[1, 2], [3, 4], [11, 16]] and not g.requires_grad
    with pytest.raises(RuntimeError):  # the graph of `a` is gone now
        m.autograd.grad(a, y, ga, is_grads_batched=True)


@LIBRARIES
def test_batched_gradients_have_gradients(m: Any) -> None:
    x = leaf(m, [1.0, 2.0])
    (rows,) = m.autograd.grad(x**3, x, m.eye(2), is_grads_batched=True, create_graph=True)
    assert rows.tolist() == [[3, 0], [0, 12]]
    (g,) = m.autograd.grad(rows.sum(), x)
    assert g.tolist() == [6, 12]


def test_batched_gradients_on_devices(device: str) -> None:
    rt.manual_seed(4)
    w, x = (rt.rand(3, 3, device=device, requires_grad=True) for _ in range(2))
    y = (x @ w).tanh()
    given = rt.rand(4, 3, 3, device=device)
    found = grad(y, [w, x], given, is_grads_batched=True, retain_graph=True)
    for k in range(4):
        for rows, row in zip(found, grad(y, [w, x], given[k], retain_graph=True), strict=True):
            assert rows[k].tolist() == row.tolist()


def test_batched_gradients_need_a_dimension_in_front() -> None:
    x = leaf(rt, [1.0, 2.0])
    for output, given, message in (
        (x * 2, rt.ones(2), r"\[passes, \*\[2\]\]; got \[2\]"),
        (x * 2, rt.ones(4, 3), r"got \[4, 3\]"),
        (x * 2, None, "got None"),
        ((x * 2).sum(), None, "got None"),
        (x * 2, rt.ones(0, 2), "at least 1"),
        ([x * 2, x * 3], [rt.ones(1, 2), rt.ones(2, 2)], r"one length in front, at least 1; got \[1, 2\]"),
        ([x * 2, x * 3], [rt.ones(1, 2)], "2 tensors but 1 gradients"),
    ):
        with pytest.raises(RuntimeError, match=message) if "tensors but" in message else pytest.raises(ValueError, match=message):
            grad(output, x, given, is_grads_batched=True)
