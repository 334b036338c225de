"""What backward gives: accumulation, graphs that meet again, retained graphs, hooks, `grad`; against PyTorch."""

from __future__ import annotations

import copy
import gc
import sys
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch.autograd import backward, grad
from tests.support.compare import assert_close
from tests.support.counting import counting


def leaf(values: Any, device: str = "cpu") -> rt.Tensor:
    return rt.tensor(values, device=device, requires_grad=True)


def given_grad(x: rt.Tensor) -> list[Any]:
    assert x.grad is not None
    return x.grad.tolist()  # type: ignore[no-any-return]


# -- shapes of graphs ----------------------------------------------------------------------------------------
def test_a_tensor_used_twice(device: str) -> None:
    x, y = leaf([1.0, -2.0, 3.0], device), leaf([2.0, 1.0, -4.0], device)
    (x * y + x).relu().sum().backward()
    assert given_grad(x) == [3, 0, 0] and given_grad(y) == [1, 0, 0]


def test_a_diamond_runs_each_node_once(device: str) -> None:
    calls = []
    x = leaf([2.0], device)
    middle = x * 3
    middle.register_hook(lambda g: calls.append(g.tolist()))
    ((middle * 2) * (middle + 1) + middle).sum().backward()
    assert calls == [[27.0]], "2 * (m + 1) + 2 m + 1 at m = 6, complete before it goes on"
    assert given_grad(x) == [81.0]


def test_a_long_and_a_short_way(device: str) -> None:
    x = leaf([1.5], device)
    long = x
    for _ in range(20):
        long = long * 1.1
    (long * x + x).sum().backward()
    assert given_grad(x)[0] == pytest.approx(2 * 1.5 * 1.1**20 + 1, rel=1e-5)


def test_the_root_may_be_a_leaf(device: str) -> None:
    x = leaf([1.0, 2.0], device)
    x.backward(rt.tensor([3.0, 4.0], device=device))
    x.backward(rt.tensor([3.0, 4.0], device=device))
    assert given_grad(x) == [6, 8]


def test_several_roots(device: str) -> None:
    x = leaf([1.0, 2.0], device)
    y = x * 2
    z = y.sum()
    backward([z, y], [None, rt.tensor([10.0, 100.0], device=device)])
    assert given_grad(x) == [22, 202], "one root is an ancestor of the other"


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """Operations on values by number; two values exist at the start."""
    names = st.sampled_from(["add", "mul", "sub", "tanh", "sum", "view", "where"])
    return [(draw(names), draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))) for count in range(2, draw(st.integers(3, 14)))]


def run_program(m: Any, program: list[tuple[str, int, int]], values: list[Any]) -> Any:
    values = list(values)
    for name, a, b in program:
        x, y = values[a], values[b]
        values.append(
            {
                "add": lambda x=x, y=y: x + y,
                "sub": lambda x=x, y=y: x - y,
                "mul": lambda x=x, y=y: x * y * 0.5,
                "tanh": lambda x=x: m.tanh(x),
                "sum": lambda x=x: x.sum(1, keepdim=True) * 0.1 + 0 * x,
                "view": lambda x=x: x.T.reshape(2, 3),
                "where": lambda x=x, y=y: m.where(x > y, x, y),
            }[name]()
        )
    return values[-1] + values[len(values) // 2]


@settings(max_examples=60, deadline=None)
@given(programs())
def test_random_graphs_are_pytorchs(program: list[tuple[str, int, int]]) -> None:
    numbers = np.random.default_rng(0).uniform(-1, 1, (2, 2, 3))
    ours = [rt.tensor(n, requires_grad=True) for n in numbers]
    theirs = [torch.tensor(n, requires_grad=True) for n in numbers]
    run_program(rt, program, ours).sum().backward()
    run_program(torch, program, theirs).sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        assert (x.grad is None) == (y.grad is None)
        if y.grad is not None:
            assert_close(x.grad, y.grad)


# -- accumulation --------------------------------------------------------------------------------------------
def test_gradients_accumulate(device: str) -> None:
    x = leaf([1.0, 2.0], device)
    (x * x).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert given_grad(x) == [5, 7] and x.grad is first
    x.grad = None
    (x * 3).sum().backward()
    assert given_grad(x) == [3, 3]


def test_leaves_do_not_share_memory(device: str) -> None:
    x, y = leaf([1.0, 2.0], device), leaf([3.0, 4.0], device)
    seed = rt.tensor([1.0, 1.0], device=device)
    (x + y).backward(seed)
    assert x.grad is not None and y.grad is not None
    x.grad.mul_(10)
    assert given_grad(y) == [1, 1] and seed.tolist() == [1, 1]


def test_a_gradient_is_not_the_memory_of_what_a_hook_saw(device: str) -> None:
    kept: list[rt.Tensor] = []
    x = leaf([1.0, 2.0], device)
    for _ in range(2):
        y = x + 1
        y.register_hook(lambda g: kept.append(g))
        (y * y).sum().backward()
    assert kept[0].tolist() == [4, 6] and given_grad(x) == [8, 12]
    x.grad = None
    fixed = rt.tensor([5.0, 5.0], device=device)
    x.register_hook(lambda g: fixed)
    (x * 2).sum().backward()
    (x * 2).sum().backward()
    assert fixed.tolist() == [5, 5] and given_grad(x) == [10, 10]


def test_the_gradients_of_views_are_whole_tensors(device: str) -> None:
    x = leaf([[1.0, 2.0], [3.0, 4.0]], device)
    x.T[0].sum().backward()
    assert x.grad is not None and x.grad.is_contiguous() and given_grad(x) == [[1, 0], [1, 0]]


# -- keeping and letting go ----------------------------------------------------------------------------------
def test_the_graph_is_let_go_of(device: str) -> None:
    x = leaf([2.0], device)
    y = (x * x).exp()
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    before = given_grad(x)[0]
    assert before == pytest.approx(2 * 4 * np.exp(4.0), rel=1e-5)
    with pytest.raises(RuntimeError, match=r"^backward through exp a second time.*retain_graph=True"):
        y.sum().backward()


def test_saved_values_die_with_backward(device: str) -> None:
    x = leaf([2.0], device)
    middle = x * 3
    out = (middle * middle).sum()
    watched = weakref.ref(middle.storage)
    del middle
    assert watched() is not None, "the product's gradient needs it"
    out.backward()
    assert watched() is None, "without the collector"


def test_graphs_make_no_cycles() -> None:
    """Everything dies by reference counting, taped or not, in place or not."""
    gc.collect()
    gc.disable()
    try:
        x = leaf([[1.0, 2.0]])
        y = (x * x).exp() + 1
        y.mul_(2)
        y[0, 0] = x.sum()
        y.mul_(y)
        z = (y.softmax(1) @ y.T).relu().sum()
        watched = [weakref.ref(t.storage) for t in (y, z)] + [weakref.ref(z.node), weakref.ref(y.node)]
        z.backward()
        del y, z
        assert [w() for w in watched] == [None] * len(watched)
    finally:
        gc.enable()


LONG = 100_000


def test_a_chain_of_100_000_operations() -> None:
    """Forward, backward and the end of it recurse nowhere."""
    assert 50 * sys.getrecursionlimit() < LONG
    x = leaf([1.0])
    y = x
    for _ in range(LONG):
        y = y + 0.5
    y.backward(rt.tensor([2.0]))
    assert given_grad(x) == [2.0] and y.item() == 1.0 + LONG / 2
    del y
    assert given_grad(x) == [2.0]


def test_a_chain_that_is_never_used_backward_dies_quietly() -> None:
    y = leaf([1.0])
    for _ in range(LONG // 2):
        y = -y
    node = weakref.ref(y.node)
    del y
    assert node() is None


def test_backward_only_enqueues(device: str) -> None:
    x = rt.rand(8, 8, device=device, requires_grad=True)
    rt.synchronize(device)
    with counting(device) as n, rt.forbid_waiting():
        loss = ((x @ x).relu().softmax(1) * x).sum()
        loss.backward()
    assert (n.readbacks, n.waits) == (0, 0)
    with counting(device) as n:
        assert x.grad is not None
        x.grad.numpy()
    assert n.submissions == 1, "the step's commands go out together"


# -- hooks ---------------------------------------------------------------------------------------------------
def test_hooks_see_and_replace_gradients(device: str) -> None:
    x = leaf([1.0, 2.0], device)
    y = x * 2
    remove = y.register_hook(lambda g: g * 10)
    seen: list[Any] = []
    x.register_hook(lambda g: seen.append(g.tolist()))
    y.sum().backward(retain_graph=True)
    assert given_grad(x) == [20, 20] and seen == [[20, 20]]
    remove.remove()
    remove.remove()
    y.sum().backward()
    assert given_grad(x) == [22, 22] and seen == [[20, 20], [2, 2]]
    with pytest.raises(rt.RasptorchError, match="does not require gradients"):
        rt.ones(1).register_hook(lambda g: None)


def test_hooks_run_in_order(device: str) -> None:
    x = leaf([1.0], device)
    x.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: g * 10)
    (x * 2).sum().backward()
    assert given_grad(x) == [30]


# -- grad ----------------------------------------------------------------------------------------------------
def test_grad_touches_no_leaf(device: str) -> None:
    x, y = leaf([1.0, 2.0], device), leaf([3.0, 4.0], device)
    z = x * y
    w = z * z
    found = grad(w.sum(), [z, x, x, y])
    assert [None if g is None else g.tolist() for g in found] == [[6, 16], [18, 64], [18, 64], [6, 32]]
    assert x.grad is None and y.grad is None


def test_grad_of_what_is_not_used(device: str) -> None:
    x, y = leaf([1.0], device), leaf([1.0], device)
    with pytest.raises(RuntimeError, match="^grad: the outputs do not depend on input 1; pass allow_unused=True"):
        grad((x * 2).sum(), [x, y])
    assert grad((x * 2).sum(), [x, y], allow_unused=True)[1] is None
    with pytest.raises(RuntimeError, match=r"^grad: input 0 \(shape \[1\]\) does not require gradients"):
        grad((x * 2).sum(), rt.ones(1))


def test_grad_outputs(device: str) -> None:
    x = leaf([1.0, 2.0], device)
    (found,) = grad([x * 2, x * x], x, [rt.tensor([1.0, 10.0], device=device), rt.tensor([1.0, 1.0], device=device)])
    assert found is not None and found.tolist() == [4, 24]


def test_create_graph(device: str) -> None:
    x = leaf([2.0, 3.0], device)
    (first,) = grad((x**3).sum(), x, create_graph=True)
    assert first is not None and first.requires_grad and first.tolist() == [12, 27]
    (second,) = grad(first.sum(), x, create_graph=True)
    assert second is not None
    (third,) = grad(second.sum(), x)
    assert third is not None and not third.requires_grad
    assert second.tolist() == [12, 18] and third.tolist() == [6, 6]


def test_backward_with_create_graph(device: str) -> None:
    x = leaf([2.0], device)
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    assert first is not None and first.requires_grad
    x.grad = None
    (first * first).sum().backward()
    assert given_grad(x) == [2 * 12 * 12]


def test_second_order_through_assignment() -> None:
    """What was overwritten passes nothing on, in the second order too."""
    found = []
    for m in (rt, torch):
        x, w = m.tensor([1.0, 2.0, 3.0], requires_grad=True), m.tensor([0.5], requires_grad=True)
        y = x * x
        y[1:2] = w * w
        gradient = grad if m is rt else torch.autograd.grad
        dx, dw = gradient((y * y * y).sum(), [x, w], create_graph=True)
        found.append(gradient((dx * dx).sum() + (dw * dw).sum(), [x, w]))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs)


# -- what is refused -----------------------------------------------------------------------------------------
def test_errors(device: str) -> None:
    x = leaf([1.0, 2.0], device)
    with pytest.raises(RuntimeError, match=r"^backward: a gradient can only be left out for one element.*\[2\]"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="^backward: this tensor does not require gradients"):
        rt.ones(1, device=device).backward()
    with pytest.raises(rt.ShapeError, match=r"^backward: gradient has shape \[3\], the tensor \[2\]"):
        (x * 2).backward(rt.ones(3, device=device))
    with pytest.raises(RuntimeError, match="^backward: 1 tensors but 2 gradients"):
        backward([x * 2], [None, None])


@pytest.mark.drivers("lavapipe")
def test_a_gradient_on_another_device(device: str) -> None:
    with pytest.raises(RuntimeError, match=f"^backward: the gradient is on {device}, the tensor on cpu"):
        (leaf([1.0]) * 2).backward(rt.ones(1, device=device))


# -- leaves --------------------------------------------------------------------------------------------------
def test_leaves_and_detaching(device: str) -> None:
    x = leaf([1.0, 2.0], device)
    y = x * 2
    assert x.is_leaf and x.grad_fn is None and not y.is_leaf and "mul" in repr(y.grad_fn)
    free = y.detach()
    assert free.is_leaf and not free.requires_grad and free.storage is y.storage
    (y.detach() * x).sum().backward()
    assert given_grad(x) == [2, 4]
    assert y.detach_() is y and y.is_leaf
    with pytest.raises(RuntimeError, match="does not require gradients"):
        y.sum().backward()


def test_requires_grad() -> None:
    with pytest.raises(rt.RasptorchError, match="^only floating-point tensors can require gradients, this one is int64"):
        rt.tensor([1]).requires_grad_()
    x = leaf([1.0])
    with pytest.raises(rt.RasptorchError, match=r"can only be switched off on a leaf; use \.detach\(\)"):
        (x * 2).requires_grad_(False)
    assert not x.requires_grad_(False).requires_grad and not (x * 2).requires_grad
    x.requires_grad_()
    for result in (x > 0, x.argmax(), x.isnan(), x.to("int32"), x.logical_not()):
        assert not result.requires_grad


def test_copies_of_leaves() -> None:
    x = leaf([1.0, 2.0])
    (x * 3).sum().backward()
    other = copy.deepcopy(x)
    other.grad.mul_(2)  # type: ignore[union-attr]
    with rt.no_grad():
        other.add_(1)
    assert other.requires_grad and other.is_leaf and x.tolist() == [1, 2] and given_grad(x) == [3, 3]
    with pytest.raises(rt.RasptorchError, match="only leaves can be copied"):
        copy.deepcopy(x * 2)


def test_mixed_dtypes_get_gradients_of_their_own(device: str) -> None:
    x = rt.tensor([1.0, 2.0], device=device, requires_grad=True)
    y = rt.tensor([1.5, 2.5], dtype="bfloat16", device=device, requires_grad=True)
    (x * y).sum().backward()
    assert x.grad is not None and y.grad is not None
    assert (x.grad.dtype, y.grad.dtype) == (rt.float32, rt.bfloat16)
    (y.to("float32") * 3).sum().backward()
    assert given_grad(y) == [4, 5]
