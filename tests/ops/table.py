"""Every differentiable operation as a `Case`, and the names that the tests of elementwise operations run over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .case import Case, Shape, of, squared
from .indexing_cases import INDEXING
from .joining_cases import JOINING
from .more_cases import MORE
from .running_cases import CASES as RUNNING
from .sorting_cases import SCATTERED, SORTING

# Functions of one variable: the interval on which they are smooth.
UNARY = {
    "neg": (-2, 2), "square": (-2, 2), "abs": (0.2, 2), "relu": (0.2, 2), "sqrt": (0.3, 3), "rsqrt": (0.3, 3), "reciprocal": (0.3, 3),
    "exp": (-2, 2), "exp2": (-2, 2), "expm1": (-2, 2), "log": (0.3, 3), "log2": (0.3, 3), "log10": (0.3, 3),
    "log1p": (-0.6, 3), "sin": (-4, 4), "cos": (-4, 4), "tan": (-1.2, 1.2), "asin": (-0.8, 0.8), "acos": (-0.8, 0.8),
    "atan": (-3, 3), "sinh": (-2, 2), "cosh": (-2, 2), "tanh": (-2, 2), "sigmoid": (-4, 4), "erf": (-2, 2),
}  # fmt: skip
STEPS = {"sign": (0.2, 2), "floor": (0.1, 0.9), "ceil": (0.1, 0.9), "round": (0.6, 1.4), "trunc": (0.1, 0.9)}
PREDICATES = ("isnan", "isinf", "isfinite", "logical_not")

BINARY = {
    "add": ((-2, 2), (-2, 2)), "sub": ((-2, 2), (-2, 2)), "mul": ((-2, 2), (-2, 2)), "div": ((-2, 2), (0.4, 2)),
    "pow": ((0.4, 2), (-2, 2)), "maximum": ((-2, 0), (0.1, 2)), "minimum": ((-2, 0), (0.1, 2)),
    "atan2": ((0.3, 2), (0.3, 2)), "remainder": ((0.1, 0.9), (1, 2)), "fmod": ((-0.9, -0.1), (1, 2)),
    "clamp_min": ((-2, 0), (0.1, 2)), "clamp_max": ((-2, 0), (0.1, 2)),
}  # fmt: skip
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
LOGICAL = ("logical_and", "logical_or", "logical_xor")
BITWISE = ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift")  # of two integers
BITS = ("bitwise_not",)
NO_GRADIENT = ("floor_divide",)

A, B = (-2.0, 2.0), (0.4, 2.0)


def _unary() -> list[Case]:
    def case(name: str, low: float, high: float, second: bool) -> Case:
        return Case(name, lambda m, x: getattr(m, name)(x), of((2, 3), low=low, high=high), second=second)

    linear = ("neg", "abs", "relu")  # nothing left to differentiate
    cases = [case(name, *interval, second=name not in linear) for name, interval in UNARY.items()]
    return cases + [case(name, *interval, second=False) for name, interval in STEPS.items()]


def _binary() -> list[Case]:
    shapes: dict[str, tuple[Shape, Shape]] = {
        "same": ((2, 3), (2, 3)), "rows": ((2, 3), (3,)), "outer": ((3, 1), (1, 2)), "0-d": ((), (2, 2)),
        "one": ((2, 3), (1, 1)),
    }  # fmt: skip
    cases = []
    for name, ((low, high), (low2, high2)) in BINARY.items():
        second = name not in ("add", "sub", "maximum", "minimum", "clamp_min", "clamp_max", "remainder", "fmod")
        for note, (a, b) in shapes.items():
            if note in ("outer", "0-d", "one") and name not in ("mul", "div", "pow"):
                continue

            def run(m: Any, x: Any, y: Any, name: str = name) -> Any:
                return getattr(m, name)(x, y)

            cases.append(Case(name, run, ((a, low, high), (b, low2, high2)), note, second))
    return cases


WITH_NUMBERS = [
    Case("add", lambda m, x: 2.5 + x + 1, of((3,)), "numbers", False),
    Case("sub", lambda m, x: 2.5 - (x - 1), of((3,)), "numbers", False),
    Case("mul", lambda m, x: 2 * x * True * 1.5, of((3,)), "numbers", False),
    Case("div", lambda m, x: 2.5 / (x / 4), of((3,), low=0.3), "numbers"),
    Case("pow", lambda m, x: x**3, of((3,)), "whole exponent"),
    Case("pow", lambda m, x: x**0, of((3,)), "exponent 0", False),
    Case("pow", lambda m, x: x**1, of((3,)), "exponent 1", False),
    Case("pow", lambda m, x: x**-1.5, of((3,), low=0.4), "negative exponent"),
    Case("pow", lambda m, x: 2**x, of((3,)), "number to the"),
    Case("remainder", lambda m, x: x % 1.5, of((3,), low=0.1, high=1.4), "number", False),
    Case("mul", lambda m, x: x * x, of((3,)), "with itself"),
    Case("matmul", lambda m, x: x @ x, of((2, 2)), "with itself"),
]

CHOOSING = [
    Case("where", lambda m, x, y: m.where(x > 0, x, y), of((2, 3), (3,)), "tensors", False),
    Case("where", lambda m, x: m.where(x > 0, squared(x), 0.0), of((2, 3)), "number"),
    Case("where", lambda m, x: m.where(x > 0, 1.0, x.exp()), of((2, 3)), "number first"),
]


def _over(name: str, note: str, second: bool, low: float = -2.0, high: float = 2.0, **options: Any) -> Case:
    def run(m: Any, x: Any) -> Any:
        return getattr(m, name)(x, **options)

    return Case(name, run, of((2, 3, 2), low=low, high=high), note, second)


REDUCTIONS = [
    *(_over(n, "all", n == "prod", 0.4) for n in ("sum", "mean", "prod")),
    *(_over(n, "one", n == "prod", 0.4, dim=1) for n in ("sum", "mean", "prod")),
    *(_over(n, "keep", n == "prod", 0.4, dim=-1, keepdim=True) for n in ("sum", "mean", "prod")),
    *(_over(n, "two", False, dim=(0, 2)) for n in ("sum", "mean", "amax", "amin")),
    *(_over(n, "one", False, dim=1, keepdim=True) for n in ("amax", "amin")),
    _over("logsumexp", "one", True, dim=1),
    _over("logsumexp", "two", True, dim=(0, 1), keepdim=True),
    *(_over(n, "all", True, correction=0) for n in ("var", "std")),
    *(_over(n, "one", True, dim=1) for n in ("var", "std")),
    *(_over(n, "two", True, dim=(0, 2), keepdim=True) for n in ("var", "std")),
    *(_over(n, "last", True, dim=-1) for n in ("softmax", "log_softmax")),
    *(_over(n, "first", True, dim=0) for n in ("softmax", "log_softmax")),
]

PRODUCTS = [
    Case("matmul", lambda m, x, y: m.matmul(x, y), of((2, 3), (3, 2)), "2-d"),
    Case("matmul", lambda m, x, y: x @ y, of((3,), (3,)), "1-d"),
    Case("matmul", lambda m, x, y: x @ y, of((3,), (3, 2)), "row"),
    Case("matmul", lambda m, x, y: x @ y, of((2, 3), (3,)), "column"),
    Case("matmul", lambda m, x, y: x @ y, of((2, 2, 3), (3, 2)), "batch and 2-d"),
    Case("matmul", lambda m, x, y: x @ y, of((2, 1, 2, 3), (3, 3, 1)), "stretched batches"),
    Case("matmul", lambda m, x, y: x @ y, of((2, 2, 3), (3,)), "batch and column"),
    Case("matmul", lambda m, x, y: x.T @ y.mT, of((3, 2), (2, 3)), "transposed"),
    Case("bmm", lambda m, x, y: m.bmm(x, y), of((2, 2, 3), (2, 3, 1))),
    Case("addmm", lambda m, b, x, y: m.addmm(b, x, y, beta=0.5, alpha=2), of((2,), (2, 3), (3, 2))),
]


def _view(name: str, run: Callable[[Any], Any], shape: Shape, note: str = "") -> Case:
    # The square makes the second derivative something.
    return Case(name, lambda m, x: run(squared(x)), of(shape), note)


VIEWS = [
    _view("reshape", lambda x: x.reshape(3, -1), (2, 3), "same order"),
    _view("reshape", lambda x: x.T.reshape(-1), (2, 3), "needs a copy"),
    _view("view", lambda x: x.view(6), (2, 3)),
    _view("flatten", lambda x: x.flatten(1), (2, 3, 2)),
    _view("unflatten", lambda x: x.unflatten(1, (2, -1)), (2, 4)),
    _view("permute", lambda x: x.permute(2, 0, 1), (2, 3, 2)),
    _view("transpose", lambda x: x.transpose(0, -1), (2, 3)),
    _view("t", lambda x: x.t(), (2, 3)),
    _view("T", lambda x: x.T, (2, 3)),
    _view("mT", lambda x: x.mT, (2, 3, 2)),
    _view("squeeze", lambda x: x.squeeze(1), (2, 1, 3), "one"),
    _view("squeeze", lambda x: x.squeeze(), (1, 3, 1), "all"),
    _view("unsqueeze", lambda x: x.unsqueeze(-1), (2, 3)),
    _view("expand", lambda x: x.expand(2, 3, -1), (3, 1)),
    _view("expand", lambda x: x.expand(2, 3, 4), (3, 1), "stretched"),
    _view("broadcast_to", lambda x: x.broadcast_to((2, 3)), (3,)),
    _view("expand_as", lambda x: x.expand_as(x.detach().unsqueeze(0).expand(2, 3)), (3,)),
    Case("broadcast_tensors", lambda m, x, y: m.mul(*m.broadcast_tensors(x, y)), of((2, 3), (3,))),
    *(Case(n, lambda m, x, y, n=n: getattr(squared(x), n)(y) * y, of((2, 3), (2, 3))) for n in ("view_as", "reshape_as")),
    _view("narrow", lambda x: x.narrow(1, 1, 2), (2, 4)),
    _view("select", lambda x: x.select(1, -1), (2, 3)),
    _view("split", lambda x: x.split(2, 1)[1], (2, 5)),
    _view("split", lambda x: x.split([1, 3], -1)[1], (2, 4), "sizes"),
    _view("chunk", lambda x: x.chunk(3)[0], (5,)),
    _view("unbind", lambda x: x.unbind(1)[2] * x.unbind(1)[0], (2, 3)),
    _view("getitem", lambda x: x[1], (2, 3), "integer"),
    _view("getitem", lambda x: x[-1, 1:], (2, 3), "negative"),
    _view("getitem", lambda x: x[:, ::2], (2, 5), "step"),
    _view("getitem", lambda x: x[..., None, 0], (2, 3), "ellipsis"),
    _view("getitem", lambda x: x.T[1:, 0], (2, 3), "of a view"),
    _view("getitem", lambda x: x[0] * x[1] + x[0], (2, 3), "used twice"),
    _view("clone", lambda x: x.T.clone(), (2, 3)),
    _view("contiguous", lambda x: x.T.contiguous(), (2, 3)),
]

CASES = [
    *_unary(), *_binary(), *WITH_NUMBERS, *CHOOSING, *REDUCTIONS, *PRODUCTS, *VIEWS, *MORE, *JOINING, *INDEXING, *SORTING, *SCATTERED,
    *RUNNING,
]  # fmt: skip
