"""Einstein summation out of diagonals, permutations, sums, elementwise and matrix products: gradients come with those."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

from ..runtime import dtype as dt
from ..runtime.errors import DTypeError, ShapeError
from ..tensor import Tensor
from .arithmetic import mul
from .diagonals import diagonal
from .dispatch import same_device
from .linalg import matmul
from .reduction import sum
from .views import cast, permute, reshape

# A dimension's name: a letter, or for the dimensions of an ellipsis their number from the right.
Label = str | int
Labels = list[Label]
_LETTERS = string.ascii_uppercase + string.ascii_lowercase


def _letters(equation: str, term: str) -> tuple[str, str | None]:
    """What stands before and after the ellipsis; None where there is no ellipsis."""
    before, dots, after = term.partition("...")
    for letter in before + after:
        if not (letter.isascii() and letter.isalpha()):
            raise ValueError(f"einsum: {equation!r} has {letter!r} in it; dimensions are letters, '...' stands for any others")
    return before, after if dots else None


def _labels(equation: str, term: str, x: Tensor) -> Labels:
    """The labels of an operand's dimensions."""
    before, after = _letters(equation, term)
    more = x.ndim - len(before) - len(after or "")
    if more < 0 or (after is None and more):
        raise ShapeError(f"einsum: {term!r} of {equation!r} names {len(term.replace('...', ''))} dimensions of shape {list(x.shape)}")
    return [*before, *range(more - 1, -1, -1), *(after or "")]


def _wanted(equation: str, given: str | None, operands: list[Labels]) -> Labels:
    """The labels of the result; without ``->`` the ellipsis and then every letter that occurs once, in alphabetical order."""
    every = [label for labels in operands for label in labels]
    dots = sorted({label for label in every if isinstance(label, int)}, reverse=True)
    if given is None:
        letters = [label for label in every if isinstance(label, str)]
        return [*dots, *sorted(label for label in letters if letters.count(label) == 1)]
    before, after = _letters(equation, given)
    out: Labels = [*before, *(dots if after is not None else ()), *(after or "")]
    for label in out:
        if label not in every:
            raise ValueError(f"einsum: {label!r} of the result is in no operand of {equation!r}")
        if out.count(label) > 1:
            raise ValueError(f"einsum: {label!r} is twice in the result of {equation!r}")
    return out


def _sizes(equation: str, operands: Sequence[Tensor], labels: list[Labels]) -> dict[Label, int]:
    """The length that each label stands for; dimensions of length 1 stretch."""
    sizes: dict[Label, int] = {}
    for x, names in zip(operands, labels, strict=True):
        for name, n in zip(names, x.shape, strict=True):
            if sizes.get(name, 1) == 1:
                sizes[name] = n
            elif n not in (1, sizes[name]):
                shapes = " and ".join(str(list(t.shape)) for t in operands)
                text = repr(name) if isinstance(name, str) else "the ellipsis"
                raise ShapeError(f"einsum: {text} of {equation!r} is {sizes[name]} and {n} in operands of shapes {shapes}")
    return sizes


def _without_repeats(equation: str, x: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    """The diagonal over dimensions of one name."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if x.shape[first] != x.shape[second]:
                raise ShapeError(f"einsum: {label!r} of {equation!r} names dimensions of {x.shape[first]} and {x.shape[second]} entries")
            x = diagonal(x, 0, first, second)
            labels = [n for a, n in enumerate(labels) if a not in (first, second)] + [label]
    return x, labels


def _summed(x: Tensor, labels: Labels, kept: set[Label]) -> tuple[Tensor, Labels]:
    """Summed in ``x``'s dtype over what nobody asks for any more."""
    gone = [a for a, label in enumerate(labels) if label not in kept]
    if gone and x.dtype is dt.bool_:
        raise DTypeError("einsum: products of booleans cannot be summed; convert with .to(rasptorch.int32)")
    return (sum(x, gone, dtype=x.dtype), [n for n in labels if n in kept]) if gone else (x, labels)


def _aligned(x: Tensor, labels: Labels, order: Labels) -> Tensor:
    """The dimensions in ``order``, those that are missing with length 1."""
    x = permute(x, *[labels.index(n) for n in order if n in labels])
    lengths = iter(x.shape)
    return reshape(x, [next(lengths) if n in labels else 1 for n in order])


def _pair(a: Tensor, first: Labels, b: Tensor, second: Labels, kept: set[Label]) -> tuple[Tensor, Labels]:
    """The product of two operands, summed over what both have and nobody else wants."""
    a, first = _summed(a, first, kept | set(second))
    b, second = _summed(b, second, kept | set(first))
    # A stretched dimension is no dimension of a matrix: it goes, as summing over it or multiplying with it does without.
    stretched = [n for n in first if n in second and a.shape[first.index(n)] != b.shape[second.index(n)]]
    common = [n for n in first if n in second and n not in stretched]
    summed = [n for n in common if n not in kept]
    batch = [n for n in common if n in kept]
    rows, columns = [n for n in first if n not in second], [n for n in second if n not in first]
    if not summed or stretched or not (rows or columns):
        order = [*batch, *stretched, *rows, *columns, *summed]
        left, right = _aligned(a, first, order), _aligned(b, second, order)
        if a.dtype.is_floating_point and a.dtype.itemsize == 2 and any(n not in kept for n in order):  # sums of 16 bits are rounded once
            out, names = _summed(mul(cast(left, dt.float32), cast(right, dt.float32)), order, kept)
            return cast(out, a.dtype), names
        return _summed(mul(left, right), order, kept)
    inner = math.prod(a.shape[first.index(n)] for n in summed)
    left = permute(a, *[first.index(n) for n in [*batch, *rows, *summed]])
    right = permute(b, *[second.index(n) for n in [*batch, *summed, *columns]])
    lengths = left.shape[: len(batch)]
    heights, widths = left.shape[len(batch) : len(batch) + len(rows)], right.shape[len(batch) + len(summed) :]
    out = matmul(reshape(left, *lengths, math.prod(heights), inner), reshape(right, *lengths, inner, math.prod(widths)))
    return reshape(out, *lengths, *heights, *widths), [*batch, *rows, *columns]


def _spelled(arguments: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """``einsum(a, [0, 1], b, [1, 2], [0, 2])`` as an equation and its operands."""

    def letters(numbers: Any) -> str:
        for n in numbers:
            if n is not Ellipsis and (isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 52):
                raise ValueError(f"einsum: dimensions are numbers from 0 to 51, or ..., got {list(numbers)}")
        return "".join("..." if n is Ellipsis else _LETTERS[n] for n in numbers)

    count = len(arguments) // 2
    for numbers in (*arguments[1 : 2 * count : 2], *arguments[2 * count :]):
        if not isinstance(numbers, (list, tuple)):
            raise TypeError(
                f"einsum: the first argument is the equation, a string, got Tensor (or each tensor is followed by a list of numbers, "
                f"not by {type(numbers).__name__})"
            )
    equation = ",".join(letters(numbers) for numbers in arguments[1 : 2 * count : 2])
    return equation + "".join(f"->{letters(numbers)}" for numbers in arguments[2 * count :]), list(arguments[: 2 * count : 2])


def einsum(equation: Any, *operands: Any) -> Tensor:
    """Products of the operands' elements, summed over the dimensions whose letter is not in the result: ``"bij,bjk->bik"``.

    A letter twice in one operand takes its diagonal; ``...`` stands for dimensions that broadcast. Without ``->`` the result has
    the letters that occur once, in alphabetical order. Operands are combined from left to right, as matrix products where a
    dimension is summed over. In the other form numbers take the place of letters: ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.
    """
    if isinstance(equation, Tensor) and operands:
        spelled, given = _spelled((equation, *operands))
        return einsum(spelled, *given)
    if not isinstance(equation, str):
        raise TypeError(f"einsum: the first argument is the equation, a string, got {type(equation).__name__}")
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    terms, arrow, result = equation.replace(" ", "").partition("->")
    parts = terms.split(",")
    if len(parts) != len(tensors):
        raise ValueError(f"einsum: {equation!r} is for {len(parts)} operands, got {len(tensors)}")
    for x in tensors:
        if not isinstance(x, Tensor):
            raise TypeError(f"einsum takes tensors, got {type(x).__name__}")
        if x.dtype is not tensors[0].dtype:
            raise DTypeError(f"einsum: operands are {tensors[0].dtype.name} and {x.dtype.name}; convert one with .to(...)")
    same_device("einsum", [x.layout for x in tensors])
    labels = [_labels(equation, term, x) for term, x in zip(parts, tensors, strict=True)]
    wanted = _wanted(equation, result if arrow else None, labels)
    _sizes(equation, tensors, labels)
    return _evaluated(equation, tensors, labels, wanted)


def _evaluated(equation: str, tensors: list[Tensor], labels: list[Labels], wanted: Labels) -> Tensor:
    plain = [_without_repeats(equation, x, names) for x, names in zip(tensors, labels, strict=True)]
    out, names = plain[0]
    for k, (x, more) in enumerate(plain[1:], 1):
        later = {label for _, rest in plain[k + 1 :] for label in rest}
        out, names = _pair(out, names, x, more, later | set(wanted))
    gone = [a for a, label in enumerate(names) if label not in wanted]
    if gone:  # of one operand; with two it is done by now
        out, names = sum(out, gone), [n for n in names if n in wanted]
    return permute(out, *[names.index(n) for n in wanted])
