"""Products of vectors and matrices under their own names, each with the shapes it insists on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..runtime.errors import DTypeError, ShapeError
from ..tensor import Tensor, axes
from .arithmetic import mul
from .linalg import matmul
from .outputs import takes_out
from .precision import in_widest_precision
from .reduction import sum
from .views import permute, reshape, unsqueeze


def _ranks(name: str, a: Tensor, b: Tensor, first: int, second: int) -> None:
    for x in (a, b):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} takes two tensors, got {type(x).__name__}")
    if (a.ndim, b.ndim) != (first, second):
        raise ShapeError(f"{name}: takes {first} and {second} dimensions, got shapes {list(a.shape)} and {list(b.shape)}; see matmul")


@takes_out
@in_widest_precision
def dot(input: Tensor, tensor: Tensor, *, out: Any = None) -> Tensor:
    """The sum of the products of two vectors' elements."""
    _ranks("dot", input, tensor, 1, 1)
    if input.shape != tensor.shape:
        raise ShapeError(f"dot: vectors of {input.shape[0]} and {tensor.shape[0]} elements do not fit")
    return matmul(input, tensor)


@takes_out
@in_widest_precision
def vdot(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """`dot`: without complex numbers nothing is conjugated."""
    return dot(input, other)


@takes_out
def mv(input: Tensor, vec: Tensor, *, out: Any = None) -> Tensor:
    """Matrix ``[r, k]`` times vector ``[k]``."""
    _ranks("mv", input, vec, 2, 1)
    return matmul(input, vec)


@takes_out
def mm(input: Tensor, mat2: Tensor, *, out: Any = None) -> Tensor:
    """Matrix ``[r, k]`` times matrix ``[k, c]``; nothing is broadcast."""
    _ranks("mm", input, mat2, 2, 2)
    return matmul(input, mat2)


@takes_out
def outer(input: Tensor, vec2: Tensor, *, out: Any = None) -> Tensor:
    """The products of every element of one vector with every element of another: ``[n], [m] -> [n, m]``."""
    _ranks("outer", input, vec2, 1, 1)
    return mul(unsqueeze(input, 1), vec2)


def _contracted(dims: int | Sequence[Sequence[int] | int], a: Tensor, b: Tensor) -> tuple[list[int], list[int]]:
    """The dimensions of each operand that are summed over, pair by pair."""
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise ShapeError(f"tensordot: {dims} dimensions to sum over, the operands have shapes {list(a.shape)} and {list(b.shape)}")
        return _contracted([list(range(a.ndim - dims, a.ndim)), list(range(dims))], a, b)
    first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    for x, named in ((a, first), (b, second)):
        axes("tensordot", named, x.ndim)
    if len(first) != len(second):
        raise ShapeError(f"tensordot: dimensions {first} and {second} do not pair up")
    first, second = [d % max(a.ndim, 1) for d in first], [d % max(b.ndim, 1) for d in second]
    for d, e in zip(first, second, strict=True):
        if a.shape[d] != b.shape[e] and 1 not in (a.shape[d], b.shape[e]):
            raise ShapeError(
                f"tensordot: dimension {d} of {list(a.shape)} and dimension {e} of {list(b.shape)} are summed over together "
                "and must have one length, or one of them length 1"
            )
    return first, second


@takes_out
@in_widest_precision
def tensordot(a: Tensor, b: Tensor, dims: int | Sequence[Sequence[int] | int] = 2, *, out: Any = None) -> Tensor:
    """Products summed over pairs of dimensions: the last ``dims`` of ``a`` with the first of ``b``, or those in two lists.

    Dimensions of length 1 stretch to the length of the one they meet.
    """
    if a.dtype is not b.dtype:
        raise DTypeError(f"tensordot: operands are {a.dtype.name} and {b.dtype.name}; convert one with .to(...)")
    first, second = _contracted(dims, a, b)
    short = [(d, e) for d, e in zip(first, second, strict=True) if a.shape[d] != b.shape[e]]
    over_a, over_b = [d for d, e in short if b.shape[e] == 1], [e for d, e in short if a.shape[d] == 1]
    a = sum(a, over_a, True) if over_a else a
    b = sum(b, over_b, True) if over_b else b
    rows = [d for d in range(a.ndim) if d not in first]
    columns = [d for d in range(b.ndim) if d not in second]
    count = math.prod(a.shape[d] for d in first)
    left = reshape(permute(a, *rows, *first), math.prod(a.shape[d] for d in rows), count)
    right = reshape(permute(b, *second, *columns), count, math.prod(b.shape[d] for d in columns))
    return reshape(matmul(left, right), [a.shape[d] for d in rows] + [b.shape[d] for d in columns])
