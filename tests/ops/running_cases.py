"""Cases of running products and extremes, of tensors turned round, and of small functions that are made of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .case import Case, Shape, of, squared


def _of(
    name: str, shape: Shape, note: str = "", second: bool = True, *args: Any, low: float = -2.0, high: float = 2.0, **options: Any
) -> Case:  # fmt: skip
    # The square makes the second derivative something.
    def run(m: Any, x: Any) -> Any:
        return getattr(m, name)(squared(x) if second else x, *args, **options)

    return Case(name, run, of(shape, low=low, high=high), note, second)


def _first(name: str) -> Callable[[Any, Any], Any]:
    return lambda m, x: getattr(m, name)(x, 1).values


RUNNING = [
    _of("cumprod", (2, 5), "last", True, 1),
    Case("cumprod", lambda m, x: m.cumprod(x * (x > 0), 0), of((5, 2)), "zeros", False),
    Case("logcumsumexp", lambda m, x: m.logcumsumexp(squared(x), 1), of((2, 5)), second=False),  # PyTorch's third derivatives are NaN
    Case("cummax", _first("cummax"), of((2, 5)), second=False),
    Case("cummin", _first("cummin"), of((2, 5)), second=False),
    _of("diff", (2, 5), "once"), _of("diff", (4, 2), "twice", True, 2, 0),
    Case("diff", lambda m, x, y: m.diff(squared(x), prepend=y, append=y), of((2, 3), (2, 1)), "ends"),
    _of("trapezoid", (2, 5), "dx", True, dx=0.5),
    Case("trapezoid", lambda m, y, x: m.trapezoid(y, x, dim=0), of((4, 2), (4,)), "x"),
    _of("cumulative_trapezoid", (2, 5)),
    Case("kron", lambda m, x, y: m.kron(x, y), of((2, 3), (3, 1))),
]
TURNED = [
    _of("flip", (2, 3), "two", True, (0, 1)), _of("flip", (2, 3, 2), "one", True, (1,)),
    _of("fliplr", (2, 3)), _of("flipud", (2, 3)), _of("rot90", (2, 3)), _of("rot90", (2, 3, 2), "other plane", True, 3, (2, 0)),
]
FUNCTIONS = [
    _of("round", (2, 3), "decimals", False, decimals=1, low=0.11, high=0.14),
    _of("round", (2, 3), "tens", False, decimals=-1, low=11.0, high=14.0),
    _of("sinc", (2, 3)), _of("frac", (2, 3), "", False, low=0.1), _of("deg2rad", (2, 3)), _of("rad2deg", (2, 3)),
    Case("logit", lambda m, x: m.logit(x), of((2, 3), low=0.1, high=0.9)),
    Case("logit", lambda m, x: m.logit(x, 0.3), of((2, 3), low=0.1, high=0.9), "eps"),
    Case("xlogy", lambda m, x, y: m.xlogy(x, y), of((2, 3), (3,), low=0.4)),
    Case("xlogy", lambda m, x: m.xlogy(squared(x), 2.0), of((2, 3), low=0.4), "number"),
    Case("dist", lambda m, x, y: m.dist(x, y, 3), of((2, 3), (3,))),
    Case("cdist", lambda m, x, y: m.cdist(x, y), of((2, 3), (4, 3)), second=False),  # PyTorch has no third derivative
    Case("cross", lambda m, x, y: m.cross(x, y, dim=0), of((3, 2), (3, 2))),
    _of("trace", (3, 2)),
    Case("heaviside", lambda m, x: m.heaviside(x.detach(), x.detach()) * x, of((2, 3)), second=False),
    Case(
        "repeat_interleave", lambda m, x: m.repeat_interleave(squared(x), m.tensor([2, 0, 3], device=x.device), 1), of((2, 3)),
        "each its own",
    ),
]  # fmt: skip
CASES = [*RUNNING, *TURNED, *FUNCTIONS]
