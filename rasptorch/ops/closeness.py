"""Whether tensors are equal, or nearly so."""

from __future__ import annotations

from typing import Any

from ..runtime.errors import DTypeError
from ..tensor import Tensor
from .comparison import eq, isfinite, le, logical_and, logical_or, ne
from .functions import absolute
from .reduction import all as every


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Where ``|input - other| <= atol + rtol * |other|``, or both are the same infinity (or NaN, with ``equal_nan``)."""
    if rtol < 0 or atol < 0:
        raise ValueError(f"isclose: tolerances are not negative, got rtol={rtol} and atol={atol}")
    if input.dtype is not other.dtype:
        raise DTypeError(f"isclose: the tensors are {input.dtype.name} and {other.dtype.name}; convert one with .to(...)")
    input, other = input.detach(), other.detach()
    close = eq(input, other)
    if input.dtype.category == 0 or (rtol == 0 and atol == 0 and not input.dtype.is_floating_point):
        return close
    if not input.dtype.is_floating_point:
        apart, allowed = absolute(input - other), absolute(other * float(rtol)) + float(atol)
        return logical_or(close, le(apart, allowed))
    apart = absolute(input - other)
    near = logical_and(le(apart, absolute(other * rtol) + atol), isfinite(apart))
    if equal_nan:
        near = logical_or(near, logical_and(ne(input, input), ne(other, other)))
    return logical_or(close, near)


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether `isclose` holds everywhere: a Python bool, for which this waits (in a Trio task: await it)."""
    return every(isclose(input, other, rtol, atol, equal_nan)).item()


def equal(input: Tensor, other: Tensor) -> Any:
    """Whether two tensors have one shape and equal values: a Python bool, for which this waits (in a Trio task: await it)."""
    same = input.shape == other.shape
    answer = every(eq(input.detach(), other.detach())) if same else input.detach().new_zeros((), dtype="bool")
    return answer.item()
