"""In-place writes and the tape: what is allowed gives PyTorch's gradients, the rest says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close


def both(run: Callable[[Any, Any, Any], Any], x: Any = (1.0, 2.0, 3.0), y: Any = (0.5, -1.0, 2.0)) -> None:
    """Run in both libraries and compare value and gradients."""
    made = []
    for m in (rt, torch):
        a, b = m.tensor(x, requires_grad=True), m.tensor(y, requires_grad=True)
        out = run(m, a, b)
        out.sum().backward()
        made.append((out, a.grad, b.grad))
    for ours, theirs in zip(*made, strict=True):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            assert_close(ours, theirs)


def add_then_scale(m: Any, x: Any, y: Any) -> Any:
    z = x * 1
    z.add_(y)
    z.mul_(3.0)
    return z


def multiply_by_tensor(m: Any, x: Any, y: Any) -> Any:
    z = x + 1
    z.mul_(y)
    return z * z


def functions(m: Any, x: Any, y: Any) -> Any:
    return (x + y).sin_().mul_(2).cos_().add_(1.5).log_().pow_(2).abs_().tanh_()


def with_itself(m: Any, x: Any, y: Any) -> Any:
    z = x * 2
    z.add_(z)
    return z * y


def fill_and_zero(m: Any, x: Any, y: Any) -> Any:
    z, w = x * 2, y * 3
    z.fill_(5.0)
    w.zero_()
    return z * w + x + y


def copy_over(m: Any, x: Any, y: Any) -> Any:
    z = x * 2
    z.copy_(y * y)
    return z * x


def assign(m: Any, x: Any, y: Any) -> Any:
    z = x * x
    z[1:] = y[:2] * 3
    z[0] = 7.0
    z[2] = z[1] + x[0]
    return z * z


def assign_into_a_constant(m: Any, x: Any, y: Any) -> Any:
    z = m.zeros(2, 3)
    z[0] = x
    z[1] = y * x
    z[:, 1] = z[:, 1] * 2
    return z * z


def stretch(m: Any, x: Any, y: Any) -> Any:
    z = m.ones(4, 3) * x
    z.mul_(y)
    z[1:3] = x
    return z


def reduce_in_steps(m: Any, x: Any, y: Any) -> Any:
    total = m.zeros(3)
    for k in range(3):
        total += x * k
        total -= y
        total /= 2
    return total**2


ALLOWED = [
    add_then_scale, multiply_by_tensor, functions, with_itself, fill_and_zero, copy_over, assign,
    assign_into_a_constant, stretch, reduce_in_steps,
]  # fmt: skip


@pytest.mark.parametrize("run", ALLOWED, ids=lambda run: run.__name__)
def test_gradients_are_pytorchs(run: Callable[[Any, Any, Any], Any]) -> None:
    both(run)


def on_device(device: str) -> rt.Tensor:
    return rt.tensor([1.0, 2.0], device=device, requires_grad=True)


def test_a_leaf_is_not_changed_while_recording(device: str) -> None:
    x = on_device(device)
    for change in (
        lambda: x.add_(1), lambda: x.exp_(), lambda: x.fill_(2), lambda: x.zero_(), lambda: x.copy_(rt.ones(2)),
        lambda: x.__setitem__(0, 1.0),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"^\w+_?: a leaf tensor that requires gradients is being changed in place"):
            change()
    with rt.no_grad():
        x.add_(1).mul_(2)
        x[0] = 9.0
    assert x.tolist() == [9, 6] and x.is_leaf and x.requires_grad


@pytest.mark.parametrize("name", ["exp", "mul", "matmul", "amax", "relu", "softmax", "prod", "div"])
def test_a_saved_value_that_was_changed_is_named(name: str, device: str) -> None:
    x = on_device(device)
    y = x * 2
    keeps_output = name in ("exp", "relu", "softmax")
    out = {
        "exp": lambda: y.exp(),
        "mul": lambda: y * y,
        "matmul": lambda: y @ y,
        "amax": lambda: y.amax(0),
        "relu": lambda: y.relu(),
        "softmax": lambda: y.softmax(0),
        "prod": lambda: y.prod(),
        "div": lambda: 1.0 / y,
    }[name]()
    with rt.no_grad():
        (out if keeps_output else y).add_(1)
    with pytest.raises(RuntimeError, match=rf"^{name}: .* (was changed in place|changed in place, and its gradient)"):
        out.sum().backward()


def test_what_is_not_saved_may_change(device: str) -> None:
    x = on_device(device)
    y = x * 2
    z = y + 1
    y.mul_(5)
    (z.sum() + y.sum()).backward()
    assert x.grad is not None and x.grad.tolist() == [12, 12]


def test_a_view_is_not_changed_while_recording(device: str) -> None:
    x = on_device(device)
    y = x * 2
    for change in (
        lambda: y[0].mul_(2),
        lambda: y.reshape(2, 1).add_(1),
        lambda: y.reshape(1, 2).__setitem__(0, 1.0),
    ):
        with pytest.raises(RuntimeError, match=r"^\w+_?: changing a view in place while gradients are recorded"):
            change()
    buffer = rt.zeros(2, device=device)
    buffer[0].add_(3)
    assert buffer.tolist() == [3, 0]
    with pytest.raises(RuntimeError, match="^add_: changing a view in place"):
        buffer[0].add_(x[1])


def test_a_stale_view_is_refused(device: str) -> None:
    """Its history would be that of values which are gone."""
    x = on_device(device)
    y = x * 2
    view, of_view = y[:1], y.reshape(1, 2)[0]
    early = view * 3
    y.mul_(3)
    for stale in (view, of_view):
        with pytest.raises(RuntimeError, match="was taken before its tensor was changed in place; take it again"):
            stale.sum()
    y[1] = 0.0
    (y[:1].sum() + y.sum()).backward()
    assert x.grad is not None and x.grad.tolist() == [12, 0]
    del early


def test_answers_written_in_place_are_constants(device: str) -> None:
    x = on_device(device)
    y = x * 2
    y.gt_(2.0)
    assert not y.requires_grad and y.tolist() == [0, 1]
    (y * x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1]


def test_versions_count_writes(device: str) -> None:
    x = rt.ones(3, device=device)
    before = x.storage.version
    x.add_(1)
    x[0] = 2.0
    x[1:].mul_(3)
    assert x.storage.version == before + 3
