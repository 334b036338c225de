"""Bounds, replacements, arithmetic with options and other names against PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import rasptorch as rt
from rasptorch.ops import methods
from tests.support.compare import assert_close
from tests.support.counting import counting

from .values import INF, INTEGERS, LAYOUTS, NAN, TORCH, pair, random, special

LIMITS: list[dict[str, Any]] = [
    {"min": -1.0, "max": 1.0}, {"min": 0.5}, {"max": 0.5}, {"min": 2, "max": 1}, {"min": -INF, "max": INF}, {"min": NAN},
    {"min": 0.0, "max": NAN},
]  # fmt: skip


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_clamp_special_values(limits: dict[str, Any], device: str) -> None:
    x, y = pair(special("float32"), device=device)
    for name in ("clamp", "clip"):
        assert_close(getattr(rt, name)(x, **limits), getattr(torch, name)(y, **limits))
        assert_close(getattr(x.clone(), name + "_")(**limits), y.clamp(**limits))


@pytest.mark.parametrize("dtype", [d for d in TORCH if d != "bool"])
def test_clamp_dtypes(dtype: str) -> None:
    x, y = pair(special(dtype), dtype)
    for low, high in itertools.product((None, 1, 0.5), (None, 3, 2.5)):
        if low is None and high is None:
            continue
        assert_close(x.clamp(low, high), y.clamp(low, high), what=f"{low}, {high}")
    (v, w) = random((len(x),), dtype, seed=1)
    assert_close(rt.clamp(x, v, v + 1), torch.clamp(y, w, w + 1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), device=device))
    v, w = random((), device=device, seed=1)
    assert_close(rt.clamp(x, -0.5, v), torch.clamp(y, -0.5, w))
    assert_close(rt.masked_fill(x, x > 0, 7), torch.masked_fill(y, y > 0, 7))
    assert_close(rt.lerp(x, v, 0.25), torch.lerp(y, w, 0.25))
    assert_close(rt.addcmul(x, x, v), torch.addcmul(y, y, w))
    assert_close(rt.hypot(x, v), torch.hypot(y, w))


def test_gradients_at_the_bounds() -> None:
    for low, high in ((-1.0, 1.0), (None, 1.0), (-1.0, None), (1.0, -1.0)):
        x, y = pair([-2.0, -1.0, 0.0, 1.0, 2.0, NAN, INF])
        x.requires_grad_().clamp(low, high).sum().backward()
        y.requires_grad_().clamp(low, high).sum().backward()
        assert_close(x.grad, y.grad, what=f"{low}, {high}")


@pytest.mark.parametrize(("dtype", "value"), list(itertools.product(TORCH, (True, 3, 1.5))))
def test_masked_fill_keeps_the_dtype(dtype: str, value: Any) -> None:
    x, y = random((2, 3), dtype)
    (v, w) = pair([[True], [False]], "bool")
    assert_close(x.masked_fill(v, value), y.masked_fill(w, value))
    assert_close(x.masked_fill(v, rt.tensor(value)), y.masked_fill(w, torch.tensor(value)))
    assert_close(x.masked_fill_(v, value), y.masked_fill_(w, value))


def test_masked_fill_in_place(device: str) -> None:
    x, y = random((4, 6), device=device)
    mask, wanted = x[:, :1] > 0, y[:, :1] > 0
    x.T[:4].masked_fill_(mask.T, -INF)
    y.T[:4].masked_fill_(wanted.T, -INF)
    assert_close(x, y)
    (a, b), (v, w) = random((3,), device=device), random((), device=device, seed=1)
    (a.requires_grad_() * 2).masked_fill_(a > 0, v.requires_grad_()).sum().backward()
    (b.requires_grad_() * 2).masked_fill_(b > 0, w.requires_grad_()).sum().backward()
    assert_close(a.grad, b.grad)
    assert_close(v.grad, w.grad)


def test_mul_add_relu_is_one_command(device: str) -> None:
    (x, y), (v, w), (a, b) = (random(s, device=device, seed=k) for k, s in enumerate([(2, 3), (3,), (2, 1)]))
    with counting(device) as n:
        out = rt.mul_add_relu(x, v, a)
        out.numpy()
    assert n.commands == 1
    assert_close(out, torch.relu(y * w + b))
    special_x, special_y = pair(special("float32"), device=device)
    assert_close(rt.mul_add_relu(special_x, 2.0, 1), torch.relu(special_y * 2.0 + 1))


def test_nan_to_num(device: str) -> None:
    for dtype in ("float16", "bfloat16", "float32"):
        x, y = pair(special("float32"), dtype, device)
        assert_close(rt.nan_to_num(x), torch.nan_to_num(y))
        assert_close(x.nan_to_num(1.0, posinf=2.0, neginf=-3), y.nan_to_num(1.0, posinf=2.0, neginf=-3))
        assert_close(x.nan_to_num_(), y.nan_to_num_())
    x, y = pair(special("float64"), "float64")
    assert_close(rt.nan_to_num(x), torch.nan_to_num(y))
    x, y = pair(special("int32"), "int32")
    assert_close(rt.nan_to_num(x), torch.nan_to_num(y))


OPTIONS: dict[str, Any] = {
    "add": lambda m, x, y: m.add(x, y, alpha=3), "sub": lambda m, x, y: x.sub(y, alpha=-2), "rsub": lambda m, x, y: m.rsub(x, y),
    "rsub alpha": lambda m, x, y: m.rsub(x, y, alpha=2), "number": lambda m, x, y: m.add(x, 2, alpha=3),
    "trunc": lambda m, x, y: m.div(x, y + 7, rounding_mode="trunc"), "floor": lambda m, x, y: m.div(x, y + 7, rounding_mode="floor"),
    "trunc number": lambda m, x, y: m.div(x, -2, rounding_mode="trunc"), "trunc float": lambda m, x, y: x.div(1.5, rounding_mode="trunc"),
    "true": lambda m, x, y: m.div(x, y + 7), "addcmul": lambda m, x, y: m.addcmul(x, x, y, value=2),
    "copysign": lambda m, x, y: m.copysign(x, y), "copysign -0.0": lambda m, x, y: m.copysign(x, -0.0),
    "signbit": lambda m, x, y: m.signbit(x), "square": lambda m, x, y: m.square(x),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [d for d in TORCH if d != "bool"])
@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_every_dtype(name: str, dtype: str) -> None:
    (x, y), (v, w) = random((4, 3), dtype, low=-5, high=5), random((3,), dtype, seed=1)
    if dtype in ("int32", "int64"):
        x, y = x * 7 - 9, y * 7 - 9
    if dtype == "uint8" and name in ("sub", "trunc number"):
        return  # negative numbers do not fit
    assert_close(OPTIONS[name](rt, x, v), OPTIONS[name](torch, y, w))


@pytest.mark.parametrize("name", ["logaddexp", "hypot", "copysign"])
def test_two_variables(name: str, device: str) -> None:
    values = special("float32")
    first, second = zip(*itertools.product(values, values), strict=True)
    (a, c), (b, d) = pair(list(first), device=device), pair(list(second), device=device)
    assert_close(getattr(rt, name)(a, b), getattr(torch, name)(c, d), signed_zeros=name == "copysign")
    assert_close(rt.signbit(a), torch.signbit(c))


def test_lerp_reaches_its_ends(device: str) -> None:
    (x, y), (v, w) = random((20,), device=device, low=-1e6), random((20,), device=device, low=-1e-3, seed=1)
    for weight in (0.0, 1.0, 0.3, 0.5, 2.0, -1.0):
        assert_close(rt.lerp(x, v, weight), torch.lerp(y, w, weight))
    assert rt.lerp(x, v, 1.0).tolist() == v.tolist()
    (s, t) = random((20,), device=device, low=-1.5, high=1.5, seed=2)
    assert_close(rt.lerp(x, v, s), torch.lerp(y, w, t), atol=1.0)


IN_PLACE: dict[str, Any] = {
    "add_": lambda x, y: x.add_(y, alpha=2), "sub_": lambda x, y: x.sub_(y, alpha=0.5), "div_": lambda x, y: x.div_(y),
    "div_ floor": lambda x, y: x.div_(y, rounding_mode="floor"), "addcmul_": lambda x, y: x.addcmul_(y, y, value=2),
    "addcdiv_": lambda x, y: x.addcdiv_(y, y + 1), "lerp_": lambda x, y: x.lerp_(y, 0.25), "hypot_": lambda x, y: x.hypot_(y),
    "copysign_": lambda x, y: x.copysign_(-y), "nan_to_num_": lambda x, y: x.nan_to_num_(), "tril_": lambda x, y: x.tril_(),
    "triu_": lambda x, y: x.triu_(1), "clamp_min_": lambda x, y: x.clamp_min_(y), "square_": lambda x, y: x.square_(),
    "subtract_": lambda x, y: x.subtract_(y), "clamp_": lambda x, y: x.clamp_(0.6, 1.5),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name: str, device: str) -> None:
    """Values, and the gradients of what was there and of what was written."""
    (x, y), (v, w) = random((3, 3), device=device, low=0.4), random((3,), device=device, low=0.4, seed=1)
    changed, expected = x.clone(), y.clone()
    assert IN_PLACE[name](changed, v) is changed
    assert_close(changed, IN_PLACE[name](expected, w))
    ours = IN_PLACE[name](x.requires_grad_() * 2, v.requires_grad_())
    theirs = IN_PLACE[name](y.requires_grad_() * 2, w.requires_grad_())
    (ours * ours).sum().backward()
    (theirs * theirs).sum().backward()
    for a, b in ((x, y), (v, w)):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            assert_close(a.grad, b.grad)


def test_logaddexp_in_place(device: str) -> None:  # PyTorch has no such method
    (x, y), (v, w) = random((3,), device=device), random((3,), device=device, seed=1)
    assert_close(x.logaddexp_(v), torch.logaddexp(y, w))


@pytest.mark.parametrize("name", methods.ALIASES)
def test_other_names(name: str) -> None:
    """The same operation under both names, as function, as method, and in place where there is one."""
    same = methods.ALIASES[name]
    assert getattr(rt, name) is getattr(rt, same)
    assert getattr(rt.Tensor, name) is getattr(rt.Tensor, same)
    assert hasattr(torch, name) and hasattr(torch.Tensor, name)
    if hasattr(rt.Tensor, same + "_"):
        assert getattr(rt.Tensor, name + "_") is getattr(rt.Tensor, same + "_")


def whole() -> rt.Tensor:
    return rt.ones(3, dtype="int32")


ERRORS = [
    (lambda x: x.clamp(), ValueError, "^clamp: give min, max or both"),
    (lambda x: x.masked_fill(x, 1), rt.DTypeError, "^masked_fill: the mask is a tensor of booleans, got float32"),
    (lambda x: x.masked_fill(x > 0, x), rt.ShapeError, r"^masked_fill: the value is a number or a 0-d tensor, got shape \[3\]"),
    (lambda x: x.masked_fill_(rt.ones(2, 3) > 0, 1), rt.ShapeError, r"^masked_fill_: the result has shape \[2, 3\]"),
    (lambda x: rt.add(whole(), whole(), alpha=1.5), rt.DTypeError, "^add: whole numbers cannot be multiplied by 1.5"),
    (lambda x: rt.div(x, x, rounding_mode="up"), ValueError, "^div: rounding_mode is None, 'trunc' or 'floor', got 'up'"),
    (lambda x: rt.addcdiv(whole(), whole(), whole()), rt.DTypeError, "^addcdiv: whole numbers do not divide"),
    (lambda x: rt.lerp(x, x.double(), 0.5), rt.DTypeError, "^lerp: .* share one floating-point dtype; end is float64, input float32"),
    (lambda x: rt.lerp(whole(), whole(), 2), rt.DTypeError, "^lerp: .* share one floating-point dtype; input is int32"),
    (lambda x: rt.square(x > 0), rt.DTypeError, "^square is not defined for bool"),
    (lambda x: x.hypot_(rt.ones(2, 3)), rt.ShapeError, r"^hypot_: the result has shape \[2, 3\], the tensor written to \[3\]"),
    (lambda x: whole().div_(2, rounding_mode="trunc").lerp_(x, 0.5), rt.DTypeError, "^lerp: "),
    (lambda x: whole().copysign_(1), rt.DTypeError, "^copysign_: the result is float32 and does not fit into a tensor of int32"),
    (lambda x: rt.mul_add_relu(x, x), TypeError, "^mul_add_relu takes 3 operands, got 2"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(3))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_division_towards_zero_is_exact(dtype: str) -> None:
    values = special(dtype)
    pairs = [(a, b) for a, b in itertools.product(values, values) if b != 0 and not (b == -1 and a < -(2**30))]
    first, second = zip(*pairs, strict=True)
    (a, c), (b, d) = pair(list(first), dtype), pair(list(second), dtype)
    assert_close(rt.div(a, b, rounding_mode="trunc"), torch.div(c, d, rounding_mode="trunc"))
