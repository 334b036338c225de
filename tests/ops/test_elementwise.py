"""Elementwise operations against PyTorch: special values, dtypes, memory layouts, broadcasting, numbers, in
place.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .table import BINARY, COMPARISONS, LOGICAL, NO_GRADIENT, PREDICATES, STEPS, UNARY
from .values import FLOATS, INTEGERS, LAYOUTS, TORCH, pair, random, special

ALL_UNARY = (*UNARY, *STEPS, *PREDICATES)
ALL_BINARY = (*BINARY, *COMPARISONS, *LOGICAL, *NO_GRADIENT)
DIVIDING = ("floor_divide", "remainder", "fmod")
# Values of float32 that these functions cannot take to PyTorch's accuracy, or where PyTorch itself is wrong.
HUGE = 1e29


def unary_pair(name: str, dtype: str, device: str) -> tuple[rt.Tensor, torch.Tensor]:
    values = special(dtype)
    if dtype in FLOATS:
        low, high = (UNARY | STEPS).get(name, (-2, 2))
        values += random((40,), "float64", low=low, high=high)[1].tolist()
    return pair(values, dtype, device)


def defined(name: str, dtype: str) -> bool:
    return not (name == "neg" and dtype == "bool") and not (
        dtype == "bool" and name in ("square", "relu", "abs", "floor", "ceil", "round", "trunc")
    )


@pytest.mark.every_driver
@pytest.mark.parametrize("name", ALL_UNARY)
def test_unary_special_values(name: str, device: str) -> None:
    x, y = unary_pair(name, "float32", device)
    assert_close(getattr(rt, name)(x), getattr(torch, name)(y), signed_zeros=True)


@pytest.mark.parametrize("dtype", [d for d in TORCH if d != "float32"])
@pytest.mark.parametrize("name", ALL_UNARY)
def test_unary_of_every_dtype(name: str, dtype: str) -> None:
    x, y = unary_pair(name, dtype, "cpu")
    if not defined(name, dtype):
        with pytest.raises(rt.DTypeError, match=f"{name} is not defined for {dtype}"):
            getattr(rt, name)(x)
        return
    assert_close(getattr(rt, name)(x), getattr(torch, name)(y), signed_zeros=True)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool", "float16", "bfloat16", "float64"])
def test_dtypes_on_devices(dtype: str, device: str) -> None:
    """A few operations of each kind in the dtypes that devices store or compute in another way."""
    x, y = random((4, 6), dtype, device)
    assert_close(x, y)
    assert_close(rt.add(x, x), torch.add(y, y))
    assert_close(rt.maximum(x, x), torch.maximum(y, y))
    assert_close(x == 1, y == 1)
    try:
        computed = rt.exp(x)
    except rt.DTypeError:  # then at the operation, not later
        assert dtype == "float64" and device != "cpu"
    else:
        assert_close(computed, torch.exp(y), rtol=2e-2 if dtype == "bfloat16" else None)
    assert_close(rt.sum(x, 1), torch.sum(y, 1), rtol=2e-2 if dtype == "bfloat16" else None)
    for other in TORCH:
        assert_close(x.to(other), y.to(TORCH[other]), what=f"{dtype} to {other}")


@pytest.mark.every_driver
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["exp", "neg"])
def test_unary_layouts(name: str, layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), device=device))
    assert_close(getattr(rt, name)(x), getattr(torch, name)(y))


@pytest.mark.parametrize("name", ALL_UNARY)
def test_unary_in_place(name: str, device: str) -> None:
    x, y = unary_pair(name, "float32", device)
    expected = getattr(torch, name)(y)
    assert getattr(x, name + "_")() is x
    assert_close(x, expected.to(y.dtype), signed_zeros=True)


def grid(name: str, dtype: str, device: str) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Every pair of special values."""
    values = special(dtype)
    pairs = list(itertools.product(values, values))
    if dtype not in FLOATS:
        if name in DIVIDING:
            pairs = [(a, b) for a, b in pairs if b != 0]
        if name == "pow":
            pairs = [(a, b) for a, b in pairs if b >= 0]
    if name in ("fmod", "remainder"):  # PyTorch's vectorised ones give NaN where the quotient overflows
        pairs = [(a, b) for a, b in pairs if not (abs(a) > HUGE and abs(b) < 1)]
    first, second = zip(*pairs, strict=True)
    return pair(list(first), dtype, device), pair(list(second), dtype, device)


@pytest.mark.every_driver
@pytest.mark.parametrize("name", ALL_BINARY)
def test_binary_special_values(name: str, device: str) -> None:
    (a, c), (b, d) = grid(name, "float32", device)
    # The zero that remainder gives has the divisor's sign, as in Python and NumPy, not in PyTorch.
    assert_close(getattr(rt, name)(a, b), getattr(torch, name)(c, d), signed_zeros=name != "remainder")


@pytest.mark.parametrize("dtype", [d for d in TORCH if d != "float32"])
@pytest.mark.parametrize("name", ALL_BINARY)
def test_binary_of_every_dtype(name: str, dtype: str) -> None:
    (a, c), (b, d) = grid(name, dtype, "cpu")
    if dtype == "bool" and name in ("sub", "pow", *DIVIDING):
        with pytest.raises(rt.DTypeError, match=f"{name} is not defined for bool"):
            getattr(rt, name)(a, b)
        return
    assert_close(getattr(rt, name)(a, b), getattr(torch, name)(c, d), signed_zeros=name != "remainder")


@pytest.mark.every_driver
@pytest.mark.parametrize(("left", "right"), list(itertools.product(LAYOUTS, ["contiguous", "transposed", "0-d"])))
def test_binary_layouts(left: str, right: str, device: str) -> None:
    x, y = (LAYOUTS[left](t) for t in random((4, 6), device=device))
    a, b = (LAYOUTS[right](t) for t in random((4, 6), device=device, seed=1))
    try:
        expected = y - b
    except RuntimeError:
        with pytest.raises(rt.ShapeError, match=r"^sub: shapes \[.*\] and \[.*\] do not broadcast"):
            x - a
        return
    assert_close(x - a, expected)


BROADCASTS = [
    ((3, 1), (1, 4)), ((4,), (3, 4)), ((), (2, 3)), ((1, 1, 1), (2,)), ((2, 1, 3), (4, 1)), ((0, 3), (1, 3)),
    ((0,), ()), ((5, 1, 1, 2), (3, 4, 1)), ((1,) * 8, (2,) * 8), ((2, 3), (2, 3)),
]  # fmt: skip


@pytest.mark.every_driver
@pytest.mark.parametrize(("a", "b"), BROADCASTS, ids=str)
def test_broadcasting(a: tuple[int, ...], b: tuple[int, ...], device: str) -> None:
    (x, y), (v, w) = random(a, device=device), random(b, device=device, seed=1)
    assert_close(rt.sub(x, v), torch.sub(y, w))
    assert_close(rt.lt(v, x), torch.lt(w, y))


@pytest.mark.parametrize("name", [*BINARY, *NO_GRADIENT, *LOGICAL, *COMPARISONS])
def test_binary_in_place(name: str, device: str) -> None:
    (x, y), (v, w) = random((2, 3), device=device, low=0.5), random((3,), device=device, low=0.5, seed=1)
    expected = getattr(torch, name)(y, w).to(y.dtype)
    assert getattr(x, name + "_")(v) is x
    assert_close(x, expected)


NUMBERS = (True, 3, -2, 2.5)
OPERATORS = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b,
    "//": lambda a, b: a // b, "%": lambda a, b: a % b, "**": lambda a, b: a**b, "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}  # fmt: skip


@pytest.mark.parametrize("symbol", OPERATORS)
def test_operators_with_numbers(symbol: str, device: str) -> None:
    x, y = random((2, 3), device=device, low=0.5)
    run = OPERATORS[symbol]
    for number in (3, 2.5):
        assert_close(run(x, number), run(y, number))
        assert_close(run(number, x), run(number, y))
    assert_close(run(x, x), run(y, y))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("symbol", OPERATORS)
def test_numbers_promote_by_category(symbol: str, dtype: str) -> None:
    run = OPERATORS[symbol]
    for shape, number in itertools.product([(3,), ()], NUMBERS):
        if number is True and symbol == "-":
            continue  # PyTorch refuses booleans here
        if number == -2 and (dtype == "uint8" or (symbol == "**" and dtype in INTEGERS)):
            continue  # PyTorch refuses negative powers of integers
        x, y = random(shape, dtype, low=0.5)
        if dtype in INTEGERS:
            x, y = x + 1, y + 1
        assert_close(run(x, number), run(y, number), what=f"{shape} {symbol} {number}")


def test_numbers_of_numpy_are_numbers(device: str) -> None:
    import numpy as np

    x, y = random((3,), device=device)
    assert_close(x * np.float64(2.5), y * 2.5)
    assert_close(x + np.int64(2), y + 2)
    assert_close(rt.where(x > 0, x, np.float32(1.5)), torch.where(y > 0, y, 1.5))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_negative_powers_of_whole_numbers(dtype: str, device: str) -> None:
    """As in PyTorch an error where the exponent is a number, and what is left of the fraction where it is a tensor."""
    import numpy as np

    x, y = pair([1, 2, 3, 0], dtype, device=device)
    refused = [
        lambda: x**-1, lambda: rt.pow(x, exponent=-2), lambda: x.pow_(-1), lambda: x ** np.int64(-1), lambda: rt.pow(x, -1, out=x),
    ]  # fmt: skip
    for run in refused * 2:  # nor after the exponent 2 was seen
        with pytest.raises(rt.DTypeError, match=rf"pow: {dtype} to the power of -[12] is no integer; write a float"):
            run()
        assert_close(x**2, y**2)
    assert_close(x, y)
    assert_close(x[:3] ** -1.0, y[:3] ** -1.0)
    if dtype != "uint8":
        assert_close(x ** rt.tensor(-1, dtype=x.dtype, device=device), y ** torch.tensor(-1, dtype=y.dtype))


@pytest.mark.parametrize("name", ["__and__", "__or__", "__invert__"])
def test_logical_operators_of_booleans(name: str, device: str) -> None:
    x, y = pair([True, True, False, False], "bool", device)
    a, b = pair([True, False, True, False], "bool", device)
    arguments = ((), ()) if name == "__invert__" else ((a,), (b,))
    assert_close(getattr(x, name)(*arguments[0]), getattr(y, name)(*arguments[1]))


@pytest.mark.parametrize(("yes", "no"), list(itertools.product(TORCH, TORCH)))
def test_where_promotes(yes: str, no: str) -> None:
    c, d = pair([[True], [False]], "bool")
    (x, y), (v, w) = random((3,), yes), random((2, 1), no, seed=1)
    assert_close(rt.where(c, x, v), torch.where(d, y, w))


def test_where_takes_numbers_and_layouts(device: str) -> None:
    (c, d) = (t > 0 for t in random((4, 6), device=device))
    x, y = random((4, 6), device=device, seed=1)
    assert_close(rt.where(c.T, x.T, 0.0), torch.where(d.T, y.T, 0.0))
    assert_close(rt.where(c, 1, x), torch.where(d, 1, y))
    assert_close(rt.where(c[0], x, float("nan")), torch.where(d[0], y, float("nan")))


@pytest.mark.parametrize(("target", "source"), list(itertools.product(TORCH, TORCH)))
def test_in_place_keeps_the_dtype_or_refuses(target: str, source: str) -> None:
    (x, y), (v, w) = random((2, 3), target), random((3,), source, seed=1)
    try:
        y.mul_(w)
    except RuntimeError:
        with pytest.raises(rt.DTypeError, match=f"^mul_: the result is .* does not fit into a tensor of {target}"):
            x.mul_(v)
        return
    assert_close(x.mul_(v), y)


def test_in_place_on_views_writes_only_there(device: str) -> None:
    x, y = random((4, 6), device=device)
    for ours, theirs in ((x.T[1], y.T[1]), (x[1::2, ::3], y[1::2, ::3]), (x[0, 0], y[0, 0])):
        ours.mul_(2.0)
        theirs.mul_(2.0)
        assert_close(x, y)


def test_in_place_with_its_own_memory(device: str) -> None:
    """An operand that overlaps the target is read as it was before."""
    x, y = random((5, 5), device=device)
    expected = y + y.T.clone()
    x.add_(x.T)
    assert_close(x, expected)
    x, y = random((6,), device=device)
    expected = y.clone()
    expected[1:] += y[:-1]
    x[1:].add_(x[:-1])
    assert_close(x, expected)


def test_augmented_assignment(device: str) -> None:
    x, y = random((3,), device=device, low=0.5)
    kept = x
    for a in (x, y):
        a += 1
        a *= 3.0
        a -= 0.5
        a /= 2
        a //= 0.3
        a %= 2.5
        a **= 2
    assert kept is x
    assert_close(x, y)


def test_alpha(device: str) -> None:
    (x, y), (v, w) = random((3,), device=device), random((3,), device=device, seed=1)
    assert_close(x.clone().add_(v, alpha=-0.5), y.clone().add_(w, alpha=-0.5))
    assert_close(x.clone().sub_(v, alpha=2), y.clone().sub_(w, alpha=2))


def test_filling(device: str) -> None:
    x, y = random((4, 6), device=device)
    x[1].fill_(7)
    y[1].fill_(7)
    x[:, 2].zero_()
    y[:, 2].zero_()
    x[2:].copy_(x[:1])
    y[2:].copy_(y[:1].clone())
    assert_close(x, y)
    whole = rt.zeros(3, dtype=rt.int32, device=device).copy_(rt.tensor([1.7, -1.7, 3.0], device=device))
    assert whole.tolist() == [1, -1, 3]


ERRORS = [
    (lambda x: x + rt.ones(2, 5), rt.ShapeError, r"^add: shapes \[2, 3\] and \[2, 5\] do not broadcast"),
    (lambda x: x.mul_(rt.ones(2, 2, 3)), rt.ShapeError, r"^mul_: the result has shape \[2, 2, 3\]"),
    (lambda x: rt.exp(x, x), TypeError, "^exp takes 1 operands, got 2"),
    (lambda x: rt.add(x, "1"), TypeError, "^add: expected a tensor or a number, got str"),
    (lambda x: x + "1", TypeError, "unsupported operand"),
    (lambda x: "1" - x, TypeError, "unsupported operand"),
    (lambda x: x.expand(4, 2, 3).add_(1), RuntimeError, "^add_: several elements of this expanded tensor share memory"),
    (lambda x: x.copy_(rt.ones(4)), rt.ShapeError, r"^copy_: shape \[4\] does not stretch to \[2, 3\]"),
    (lambda x: rt.matmul(x, 2), TypeError, "^matmul takes two tensors"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3))


@pytest.mark.drivers("lavapipe")
def test_two_devices_do_not_mix(device: str) -> None:
    with pytest.raises(rt.RasptorchError, match=r"add: operands are on cpu and vulkan:\d; move one with"):
        rt.ones(2) + rt.ones(2, device=device)


@pytest.mark.every_driver
@pytest.mark.parametrize("decimals", [1, 3, -1, -2])
def test_rounding_to_decimals(decimals: int, device: str) -> None:
    x, y = pair([*special("float32"), 1.25, -1.35, 5.015, 123456.789, 45.0, -55.0, 149.9], device=device)
    expected = torch.round(y, decimals=decimals)
    assert_close(rt.round(x, decimals=decimals), expected, signed_zeros=True)
    assert_close(x.round(decimals=decimals), expected)
    assert_close(rt.round(x, decimals=decimals, out=rt.zeros_like(x)), expected)
    x.round_(decimals=decimals)
    assert_close(x, expected)


def test_rounding_other_dtypes_and_errors() -> None:
    for dtype in ("float16", "bfloat16", "float64"):
        x, y = random((40,), dtype, low=-99, high=99)
        for decimals in (2, -1):
            assert_close(x.round(decimals=decimals), y.round(decimals=decimals), what=dtype)
    x = rt.tensor([1.26], requires_grad=True)
    (x * 1).round_(decimals=1).sum().backward()
    assert_close(x.grad, torch.zeros(1))
    with pytest.raises(rt.DTypeError, match="^round to 2 decimals is not defined for int64; convert"):
        rt.round(rt.ones(2, dtype=rt.int64), decimals=2)
    with pytest.raises(TypeError, match="^round: decimals is a whole number, got 1.5"):
        rt.round(rt.ones(2), decimals=1.5)
