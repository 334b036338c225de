"""Operations with a gradient written by hand."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import rasptorch as rt
from rasptorch.autograd import Context, Function, gradcheck, gradgradcheck, once_differentiable


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
    with pytest.raises(TypeError, match="^Returns.forward returned int: a Function returns a tensor"):
        Returns.apply(leaf(1.0), 3, None)
    with pytest.raises(TypeError, match="^save_for_backward takes tensors, got int"):
        Context(()).save_for_backward(1)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="static method forward"):
        Function.apply(rt.ones(1))


# -- several outputs ------------------------------------------------------------------------------------------
class SinCos(Function):
    """Two outputs, both saved."""

    @staticmethod
    def forward(ctx: Context, x: Any) -> Any:
        s, c = x.sin(), x.cos()
        ctx.save_for_backward(s, c)
        return s, c, "a note"

    @staticmethod
    def backward(ctx: Context, ds: Any, dc: Any, note: Any) -> Any:
        assert note is None
        s, c = ctx.saved_tensors
        return ds * c - dc * s


class Split(Function):
    """Writes down which gradients came."""

    seen: list[Any] = []

    @staticmethod
    def forward(x: Any, materialize: bool) -> Any:
        return x * 1, x * 2, (x > 0)

    @staticmethod
    def setup_context(ctx: Context, inputs: Any, output: Any) -> None:
        ctx.set_materialize_grads(inputs[1])
        ctx.mark_non_differentiable(output[2])

    @staticmethod
    def backward(ctx: Context, a: Any, b: Any, c: Any) -> Any:
        Split.seen.append([None if g is None else g.tolist() for g in (a, b, c)])
        return b, None


def test_several_outputs(device: str) -> None:
    x = rt.tensor([0.3, -0.8], device=device, requires_grad=True)
    s, c, note = SinCos.apply(x)
    assert note == "a note"
    (s * c).sum().backward()
    assert x.grad is not None
    assert rt.allclose(x.grad, (x.detach() * 2).cos())


def test_derivatives_through_several_outputs() -> None:
    x = rt.tensor([0.3, -0.8], dtype=rt.float64, requires_grad=True)
    assert gradcheck(lambda x: SinCos.apply(x)[:2], [x])
    assert gradgradcheck(lambda x: SinCos.apply(x)[0] * SinCos.apply(x)[1], [x])


def test_gradients_that_do_not_come() -> None:
    x = rt.tensor([1.0, -1.0], requires_grad=True)
    Split.seen.clear()
    for materialize in (True, False):
        _, b, positive = Split.apply(x, materialize)
        assert not positive.requires_grad
        b.sum().backward()
    assert Split.seen == [[[0, 0], [1, 1], [0, 0]], [None, [1, 1], None]]


class Doubled(Function):
    """Changes its argument in place."""

    @staticmethod
    def forward(ctx: Context, x: Any, returned: bool) -> Any:
        x.mul_(2)
        ctx.mark_dirty(x)
        return x if returned else x.clone()

    @staticmethod
    def backward(ctx: Context, g: Any) -> Any:
        return g * 2, None


def test_changing_an_argument_in_place() -> None:
    x = rt.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    view_before = y[:1]
    z = Doubled.apply(y, True)
    assert z is y
    (y * y).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [72, 144]  # y = 6 x
    with pytest.raises(RuntimeError, match="taken before its tensor was changed"):
        view_before * 2
    with pytest.raises(rt.RasptorchError, match="a leaf that requires gradients was changed"):
        Doubled.apply(x, True)
    with pytest.raises(TypeError, match="has to be returned"):
        Doubled.apply(x * 1, False)
    with pytest.raises(rt.RasptorchError, match="a view was changed"):
        Doubled.apply((x * 1)[:1], True)


class Rounded(Function):
    @staticmethod
    def forward(ctx: Context, x: Any) -> Any:
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, g: Any) -> Any:
        return g * 7


def test_once_differentiable() -> None:
    x = rt.ones(1, requires_grad=True)
    (g,) = rt.autograd.grad(Rounded.apply(x).sum(), x, create_graph=True)
    assert g is not None
    assert g.tolist() == [7]
    with pytest.raises(TypeError, match="once_differentiable"):
        g.sum().backward()
    Rounded.apply(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [7]
