"""The checker finds wrong gradients, and says where."""

from __future__ import annotations

from typing import Any

import pytest

import rasptorch as rt
from rasptorch.autograd import Context, Function, gradcheck, gradgradcheck
from rasptorch.autograd.gradcheck import GradientError


def leaf(*shape: int) -> rt.Tensor:
    return (rt.rand(*shape, dtype="float64", generator=rt.Generator(1)) + 0.5).requires_grad_()


def wrong(change: Any) -> Any:
    """``x * x`` with a gradient changed by ``change``."""

    class Wrong(Function):
        @staticmethod
        def forward(ctx: Context, x: Any) -> rt.Tensor:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Context, gradient: rt.Tensor) -> Any:
            (x,) = ctx.saved_tensors
            assert x is not None
            return change(gradient * x * 2)

    return Wrong.apply


def at_1_2(g: rt.Tensor) -> rt.Tensor:
    g = g.clone()
    with rt.no_grad():
        g[1, 2] = g[1, 2] + 0.5
    return g


def with_nan(g: rt.Tensor) -> rt.Tensor:
    g = g.clone()
    with rt.no_grad():
        g[0, 1] = float("nan")
    return g


def test_right_gradients_pass() -> None:
    x, y = leaf(2, 3), leaf(3)
    assert gradcheck(lambda a, b: (a * b).exp(), [x, y])
    assert gradcheck(lambda a: a.sum(), x)
    assert gradgradcheck(lambda a, b: (a * b).exp(), [x, y])


def test_the_worst_element_is_named() -> None:
    with pytest.raises(GradientError, match=r"^gradient of input 0 at \[1, 2\]: analytic .*, numeric .*1 of 6 elements"):
        gradcheck(wrong(at_1_2), [leaf(2, 3)])


def test_nan_fails() -> None:
    with pytest.raises(GradientError, match=r"at \[0, 1\]: analytic .*nan"):
        gradcheck(wrong(with_nan), [leaf(2, 3)])


def test_nan_in_the_values_fails() -> None:
    with pytest.raises(GradientError, match="nan"):
        gradcheck(lambda a: (a - 10).sqrt(), [leaf(2)])


def test_permuted_gradients_are_seen() -> None:
    """A plain sum could not tell them apart where the function is linear."""

    class Turned(Function):
        @staticmethod
        def forward(ctx: Context, x: Any) -> rt.Tensor:
            return x * 2.0

        @staticmethod
        def backward(ctx: Context, gradient: rt.Tensor) -> rt.Tensor:
            return gradient.T.clone() * 2.0

    with pytest.raises(GradientError):
        gradcheck(Turned.apply, [leaf(3, 3)])


def test_a_factor_is_seen_in_any_output() -> None:
    with pytest.raises(GradientError, match="input 0"):
        gradcheck(lambda a: (a * 2, wrong(lambda g: g * 1.01)(a)), [leaf(2, 2)])


def test_parameters_are_checked() -> None:
    x, w = leaf(2, 3), leaf(3, 2)
    assert gradcheck(lambda a: a @ w, [x], parameters=[w])
    with pytest.raises(GradientError, match=r"^gradient of parameter 0 at \["):
        gradcheck(lambda a: a @ wrong(lambda g: g * 1.5)(w), [x], parameters=[w])
    assert gradcheck(lambda a: a @ w, [x.detach()], parameters=[w])
    with pytest.raises(GradientError, match="parameter 0 does not require gradients"):
        gradcheck(lambda a: a @ w, [x], parameters=[w.detach()])


def test_a_missing_gradient_is_seen() -> None:
    with pytest.raises(GradientError, match="^gradient of input 1"):
        gradcheck(lambda a, b: a * b.detach(), [leaf(2), leaf(2)])


def test_values_are_as_before() -> None:
    x = leaf(2, 3)
    before, version = x.tolist(), x.is_leaf
    gradcheck(lambda a: a * a, [x])
    with pytest.raises(GradientError):
        gradcheck(wrong(at_1_2), [x])
    assert x.tolist() == before and x.is_leaf is version and x.grad is None


def test_a_wrong_second_derivative_is_seen() -> None:
    def constant_slope(x: rt.Tensor) -> rt.Tensor:
        return wrong(lambda g: g.detach())(x)

    gradcheck(constant_slope, [leaf(2)])
    with pytest.raises(GradientError):
        gradgradcheck(lambda a: constant_slope(a) + a**3, [leaf(2)])


REFUSED = [
    (lambda: gradcheck(lambda a: a, [rt.ones(2)]), GradientError, "no input requires gradients"),
    (lambda: gradcheck(lambda a: a, [rt.ones(2, requires_grad=True)]), GradientError, "input 0 is float32 on cpu"),
    (lambda: gradcheck(lambda a: a.detach(), [leaf(2)]), GradientError, "no output depends on"),
    (lambda: gradcheck(lambda a: 1.0, [leaf(2)]), TypeError, "."),
    (lambda: gradcheck(lambda a: [1.0], [leaf(2)]), TypeError, "the function returned float"),
    (lambda: gradgradcheck(lambda a: a * 2, [leaf(2)][:0]), GradientError, "no input requires gradients"),
]


@pytest.mark.parametrize(("run", "kind", "text"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_what_cannot_be_checked_is_refused(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run()
