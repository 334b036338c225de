"""Operations with a gradient written by hand."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import rasptorch as rt
from rasptorch.autograd import Context, Function, gradcheck, gradgradcheck


class Scaled(Function):
    """``x * y * factor``, with everything `Context` offers."""

    @staticmethod
    def forward(ctx: Context, x: Any, y: Any, factor: float) -> rt.Tensor:
        ctx.save_for_backward(x, y)
        ctx.factor = factor  # type: ignore[attr-defined]
        assert not rt.is_grad_enabled()
        return x * y * factor

    @staticmethod
    def backward(ctx: Context, gradient: rt.Tensor) -> Any:
        x, y = ctx.saved_tensors
        needs = ctx.needs_input_grad
        factor = ctx.factor  # type: ignore[attr-defined]
        return gradient * y * factor if needs[0] else None, gradient * x * factor if needs[1] else None, None


class Exponential(Function):
    """Keeps its own output."""

    @staticmethod
    def forward(ctx: Context, x: Any) -> rt.Tensor:
        y = x.exp()
        ctx.save_for_backward(y, None)
        return y

    @staticmethod
    def backward(ctx: Context, gradient: rt.Tensor) -> rt.Tensor:
        y, nothing = ctx.saved_tensors
        assert nothing is None and y is not None
        return gradient * y


class Returns(Function):
    """``forward`` and ``backward`` return what they are told to."""

    @staticmethod
    def forward(ctx: Context, x: Any, out: Any, gradient: Any) -> Any:
        ctx.returned = gradient  # type: ignore[attr-defined]
        return x if out == "argument" else out

    @staticmethod
    def backward(ctx: Context, gradient: rt.Tensor) -> Any:
        return ctx.returned  # type: ignore[attr-defined]


def leaf(*values: float, device: str = "cpu", dtype: str = "float32") -> rt.Tensor:
    return rt.tensor(values, device=device, dtype=dtype, requires_grad=True)


def test_gradients(device: str) -> None:
    x, y = leaf(1.0, 2.0, device=device), leaf(3.0, 4.0, device=device)
    out = Scaled.apply(x, y, 10.0)
    assert out.tolist() == [30, 80] and "Scaled" in repr(out.grad_fn)
    out.sum().backward()
    assert x.grad is not None and y.grad is not None
    assert x.grad.tolist() == [30, 40] and y.grad.tolist() == [10, 20]


def test_only_what_is_needed() -> None:
    x, y = leaf(1.0), rt.ones(1)
    Scaled.apply(x, y, 2.0).backward()
    assert y.grad is None and x.grad is not None
    assert not Scaled.apply(y, y, 1.0).requires_grad
    with rt.no_grad():
        assert not Scaled.apply(x, x, 1.0).requires_grad


def test_orders_of_derivatives() -> None:
    x, y = leaf(0.3, -0.7, dtype="float64"), leaf(1.1, 0.4, dtype="float64")
    for check in (gradcheck, gradgradcheck):
        check(lambda a, b: Scaled.apply(a, b, 1.5), [x, y])
        check(Exponential.apply, [x])
        check(lambda a: Exponential.apply(a * a) * a, [x])


def test_no_reference_cycle() -> None:
    gc.collect()
    gc.disable()
    try:
        out = Exponential.apply(leaf(1.0))
        watched = weakref.ref(out.storage)
        del out
        assert watched() is None
    finally:
        gc.enable()


def test_saved_tensors_are_watched() -> None:
    x = leaf(1.0)
    y = x * 2
    out = Scaled.apply(y, y, 1.0)
    with rt.no_grad():
        y.add_(1)
    with pytest.raises(RuntimeError, match="^Scaled: a value .* changed in place"):
        out.backward()
    out = Exponential.apply(x)
    out.backward()
    with pytest.raises(RuntimeError, match="^backward through Exponential a second time"):
        out.backward()


def test_an_argument_passed_on_has_a_history_of_its_own() -> None:
    x = leaf(1.0, 2.0)
    out = Returns.apply(x, "argument", (rt.tensor([5.0, 6.0]), None, None))
    assert out is not x and out.storage is x.storage
    out.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [5, 6]


def test_a_gradient_that_belongs_to_somebody_is_copied() -> None:
    x, mine = leaf(1.0), rt.tensor([2.0])
    for _ in range(2):
        Returns.apply(x, rt.ones(1), (mine, None, None)).backward()
    assert mine.tolist() == [2] and x.grad is not None and x.grad.tolist() == [4]


def test_gradients_are_converted_to_the_arguments_dtype() -> None:
    x = leaf(1.0, dtype="float64")
    Returns.apply(x, rt.ones(1), (rt.tensor([2.0]), None, None)).backward()
    assert x.grad is not None and x.grad.dtype is rt.float64


WRONG = [
    ((rt.ones(2), None), rt.RasptorchError, "^Returns.backward returned 2 gradients for 3 arguments"),
    ((rt.ones(2), None, None), rt.ShapeError, r"^Returns.backward: .* argument 0 has shape \[2\], the argument \[1\]"),
    ((1.0, None, None), TypeError, "^Returns.backward returned float for argument 0"),
]


@pytest.mark.parametrize(("gradient", "kind", "text"), WRONG, ids=[text for _, _, text in WRONG])
def test_wrong_gradients_are_named(gradient: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        Returns.apply(leaf(1.0), rt.ones(1), gradient).backward()


def test_misuse_is_named() -> None:
    with pytest.raises(TypeError, match=r"call Scaled\.apply"):
        Scaled()
    with pytest.raises(TypeError, match="^Returns.forward returned tuple: a Function has one output"):
        Returns.apply(leaf(1.0), (rt.ones(1), rt.ones(1)), None)
    with pytest.raises(TypeError, match="^save_for_backward takes tensors, got int"):
        Context(()).save_for_backward(1)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="static method forward"):
        Function.apply(rt.ones(1))
