"""Hooks on tensors and nodes, retained gradients, `backward(inputs=...)`, `grad` with its options: against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rasptorch as rt
from rasptorch.autograd import backward, grad
from rasptorch.autograd.graph import AccumulateGrad, reachable
from tests.support.compare import assert_close
from tests.support.counting import counting

LIBRARIES = pytest.mark.parametrize("m", [rt, torch], ids=["rasptorch", "torch"])


def leaf(m: Any, values: Any) -> Any:
    return m.tensor(values, requires_grad=True)


@LIBRARIES
def test_hooks_come_off(m: Any) -> None:
    x = leaf(m, [1.0, 2.0])
    handles = [x.register_hook(lambda g: g * 2), x.register_hook(lambda g: g + 1)]
    (x * 3).sum().backward()
    assert x.grad.tolist() == [7, 7]
    handles[0].remove()
    handles[0].remove()
    with handles[1]:
        (x * 3).sum().backward()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [14, 14]


@LIBRARIES
def test_retained_gradients(m: Any) -> None:
    x = leaf(m, [1.0, 2.0])
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 10)  # what is retained is what the hooks made of it, whenever they came
    assert (x.retains_grad, y.retains_grad) == (False, True)
    (y * y).sum().backward(retain_graph=True)
    assert y.grad.tolist() == [40, 80]
    (y * y).sum().backward()
    assert y.grad.tolist() == [80, 160]
    assert x.grad.tolist() == [160, 320]
    x.retain_grad()  # of a leaf: nothing to do
    assert not x.retains_grad
    with pytest.raises(RuntimeError):
        m.ones(1).retain_grad()


@LIBRARIES
def test_hooks_after_accumulation(m: Any) -> None:
    x, seen = leaf(m, [1.0, 2.0]), []
    handle = x.register_post_accumulate_grad_hook(lambda p: seen.append((p is x, p.grad.tolist())))
    (x * 3).sum().backward()
    (x * 3).sum().backward()
    handle.remove()
    (x * 3).sum().backward()
    assert seen == [(True, [3, 3]), (True, [6, 6])]
    with pytest.raises(RuntimeError if m is torch else rt.RasptorchError):
        (x * 2).register_post_accumulate_grad_hook(lambda p: None)


@LIBRARIES
def test_an_optimizer_step_in_a_hook(m: Any) -> None:
    """The use that this hook is for: gradients that do not outlive their step."""
    x = leaf(m, [1.0, 2.0])

    def step(p: Any) -> None:
        with m.no_grad():
            p.sub_(p.grad, alpha=0.5)
        p.grad = None

    x.register_post_accumulate_grad_hook(step)
    for _ in range(2):
        (x * x).sum().backward()
    assert x.grad is None
    assert x.tolist() == [0, 0]


@LIBRARIES
def test_hooks_on_nodes(m: Any) -> None:
    x = leaf(m, [1.0, 2.0])
    y = x.exp()
    z = y * 2
    seen: list[Any] = []
    before = z.grad_fn.register_prehook(lambda gs: (gs[0] * 3,))
    after = y.grad_fn.register_hook(lambda inputs, outputs: seen.append((len(inputs), outputs[0].tolist())))
    z.sum().backward(retain_graph=True)
    assert seen == [(1, [6, 6])]
    before.remove()
    after.remove()
    z.sum().backward(retain_graph=True)
    assert len(seen) == 1
    y.grad_fn.register_hook(lambda inputs, outputs: tuple(g * 0 for g in inputs))
    x.grad = None
    z.sum().backward()
    assert x.grad.tolist() == [0, 0]


@LIBRARIES
def test_what_nodes_point_at(m: Any) -> None:
    x, y = leaf(m, [1.0]), m.ones(1)
    z = (x * 2) * y
    (first, number), (nothing, _) = z.grad_fn.next_functions
    assert number == 0
    assert nothing is None
    ((accumulate, _),) = [f for f in first.next_functions if f[0] is not None]
    assert accumulate.variable is x
    assert accumulate.next_functions == ()


def test_reachable_nodes() -> None:
    x = leaf(rt, [1.0])
    a = x * 2
    b = (a.exp() + a).sin()
    assert [node.name for node in reachable(b)] == ["sin", "add", "exp", "mul"]
    assert [node.name for node in reachable([a, x])] == ["mul"]
    assert a.grad_fn is not None
    (edge, _), *_ = a.grad_fn.next_functions
    assert isinstance(edge, AccumulateGrad) and edge == AccumulateGrad(x) and {edge: 1}[AccumulateGrad(x)] == 1
    assert "AccumulateGrad of shape [1]" in repr(edge)


@LIBRARIES
def test_backward_into_some_inputs(m: Any) -> None:
    x, y = leaf(m, [1.0, 2.0]), leaf(m, [3.0, 4.0])
    z = x * y
    (z * z).sum().backward(inputs=[x, z], retain_graph=True)
    assert x.grad.tolist() == [18, 64]
    assert y.grad is None
    assert z.grad.tolist() == [6, 16]
    m.autograd.backward([(z * 1).sum()], inputs=y)
    assert y.grad.tolist() == [1, 2]
    with pytest.raises(RuntimeError):
        z.sum().backward(inputs=[])


@LIBRARIES
def test_grad_options(m: Any) -> None:
    x, y = leaf(m, [1.0, 2.0]), leaf(m, [3.0])
    with pytest.raises(RuntimeError):
        m.autograd.grad((x * 2).sum(), [x, y])
    assert m.autograd.grad((x * 2).sum(), [x, y], allow_unused=True)[1] is None
    assert m.autograd.grad((x * 2).sum(), [x, y], materialize_grads=True)[1].tolist() == [0]
    with pytest.raises(ValueError, match="allow_unused"):
        m.autograd.grad((x * 2).sum(), [x], materialize_grads=True, allow_unused=False)
    (g,) = m.autograd.grad((x**3).sum(), x, create_graph=True)
    assert m.autograd.grad(g, x, grad_outputs=m.tensor([1.0, 10.0]))[0].tolist() == [6, 120]
    a = x * 3
    assert [t.tolist() for t in m.autograd.grad((a * a).sum(), [a, x])] == [[6, 12], [18, 36]]
    assert x.grad is None


def test_backward_into_nothing_is_refused() -> None:
    x = leaf(rt, [1.0])
    with pytest.raises(rt.RasptorchError, match="inputs is empty"):
        backward((x * 2).sum(), inputs=[])


def test_grad_computes_only_what_lies_between() -> None:
    x, w = leaf(rt, [[1.0, 2.0], [3.0, 4.0]]), leaf(rt, [[1.0, 0.0], [0.0, 1.0]])
    calls: list[str] = []
    before = x
    for _ in range(5):
        before = before @ w
        before.register_hook(lambda g: calls.append("before"))
    top = before * 2
    rt.synchronize()
    with counting("cpu") as n:
        (found,) = grad(top.sum(), before)
        assert found.tolist() == [[2, 2], [2, 2]]
    assert calls == ["before"], "the tensor itself, and nothing behind it"
    assert n.dispatches <= 2


def test_gradients_of_hooked_leaves_are_their_own(device: str) -> None:
    x, y = (rt.ones(2, device=device, requires_grad=True) for _ in range(2))
    for t in (x, y):
        t.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(2))
    (x + y).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert_close(x.grad, torch.full((2,), 2.0))
    assert_close(y.grad, torch.full((2,), 2.0))
