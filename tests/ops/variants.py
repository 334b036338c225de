"""What every case is also run with, derived from its own inputs: other layouts, no elements, no dimensions, special values.

A variant is tried on PyTorch first. What PyTorch does not take of a case is nothing to compare with; that every operation has
variants of each kind is for `test_registry.py` to see, and what is exempt is in `exemptions.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import rasptorch as rt

from .case import Case, Shape, no_squares
from .table import CASES
from .value_cases import VALUES
from .values import INF, NAN

Array = NDArray[np.float32]
KINDS = ("strided", "stretched", "broadcast", "zero-size", "0-d", "special")
# What lies between the elements of a strided input: seen in a result, it was read where it should not have been.
BETWEEN = 77.0

# Values over and over, instead of those of the case. Each with something ordinary, so that not all results are the same.
SPECIAL: dict[str, list[float]] = {
    "NaN": [0.7, NAN, -0.4, 0.9, 1.2, -1.6, 0.3],
    "infinity": [0.7, 0.2, INF, -0.4, 1.2],
    "minus infinity": [-INF, 0.2, 0.7, -0.4, 1.2],
    "both infinities": [INF, -INF, 0.5],
    "zeros": [0.0, -0.0, 1.5, -0.0, 0.0, -0.5, 0.0],
    "extreme": [1e4, -1e4, 100.0, -100.0, 0.0],
}


def _same(x: Any) -> Any:
    return x


@dataclass(frozen=True)
class Variant:
    """A ``case`` with the ``arrays`` to begin with, and how each of the inputs is seen in its array."""

    case: Case
    kind: str
    note: str
    arrays: tuple[Array, ...]
    views: tuple[Callable[[Any], Any], ...]

    @property
    def id(self) -> str:
        return f"{self.case.id}, {self.kind} {self.note}"

    def run(self, m: Any, device: str, last: Callable[[Any], Any] = _same) -> Any:
        """The result of either library, of inputs that went through ``last``."""
        starts = [rt.tensor(a, device=device) if m is rt else torch.tensor(a) for a in self.arrays]
        with no_squares():
            return self.case.run(m, *(last(view(x)) for view, x in zip(self.views, starts, strict=True)))


def _plain(case: Case, shapes: list[Shape]) -> tuple[Array, ...]:
    """Random values from the case's intervals."""
    return tuple(
        np.random.default_rng([k, *shape]).uniform(low, high, shape).astype(np.float32)
        for k, (shape, (_, low, high)) in enumerate(zip(shapes, case.inputs, strict=True))
    )


def _strided(values: Array) -> tuple[Array, Callable[[Any], Any]]:
    """Every second element of a larger tensor, its axes in the opposite order."""
    around = np.full([2 * n + 1 for n in reversed(values.shape)] or [3], BETWEEN, np.float32)
    inner = (slice(1, None, 2),) * values.ndim or (1,)
    around[inner] = values.T
    return around, lambda x: x[inner].permute(*range(values.ndim - 1, -1, -1)) if values.ndim > 1 else x[inner]


def _stretched(values: Array) -> tuple[Array, Callable[[Any], Any]]:
    """One entry of the first axis that has more, said to be all of them."""
    axis = next((a for a, n in enumerate(values.shape) if n > 1), None)
    first = values if axis is None else values.take([0], axis)
    return first, lambda x: x.expand(values.shape)


def _laid(case: Case) -> Iterator[Variant]:
    plain = _plain(case, [shape for shape, _, _ in case.inputs])
    for kind, lay in (("strided", _strided), ("stretched", _stretched)):
        arrays, views = zip(*map(lay, plain), strict=True)
        yield Variant(case, kind, "", arrays, views)


def _shaped(case: Case) -> Iterator[Variant]:
    shapes = [shape for shape, _, _ in case.inputs]
    several = range(len(shapes)) if len(shapes) > 1 else ()

    def variant(kind: str, note: str, new: list[Shape]) -> Variant:
        return Variant(case, kind, note, _plain(case, new), (_same,) * len(new))

    def with_one(k: int, shape: Shape) -> list[Shape]:
        return [*shapes[:k], shape, *shapes[k + 1 :]]

    for k in several:
        rank = len(shapes[k])
        ones = [tuple(1 if a == axis else n for a, n in enumerate(shapes[k])) for axis in range(rank)]
        tried = (variant("broadcast", f"{shape} for input {k}", with_one(k, shape)) for shape in [(1,) * rank, shapes[k][1:], *ones])
        yield from islice((v for v in tried if expected(v) is not None), 2)
        yield variant("0-d", f"input {k}", with_one(k, ()))
    yield variant("0-d", "all", [()] * len(shapes))
    # One length becomes nothing wherever it stands, so that what had to fit still fits; and everything does.
    for length in sorted({n for shape in shapes for n in shape}):
        yield variant("zero-size", f"for {length}", [tuple(0 if n == length else n for n in shape) for shape in shapes])
    for axis in range(len(shapes[0])):
        yield variant("zero-size", f"axis {axis}", with_one(0, (*shapes[0][:axis], 0, *shapes[0][axis + 1 :])))


def _special(case: Case) -> Iterator[Variant]:
    for note, values in SPECIAL.items():
        # Inputs begin at different values, so that NaN meets a number, and infinity a zero.
        arrays = tuple(np.resize(np.roll(np.float32(values), -k), shape) for k, (shape, _, _) in enumerate(case.inputs))
        yield Variant(case, "special", note, arrays, (_same,) * len(arrays))


def expected(variant: Variant) -> torch.Tensor | None:
    """PyTorch's result; None where it does not take such inputs, or warns that some day it will not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*(degrees of freedom is <= 0|non-contiguous)")  # NaN, and that it would be slower
        torch.set_warn_always(True)  # not only the first time in a process
        try:
            out = variant.run(torch, "cpu")
            if variant.kind in ("strided", "stretched"):  # PyTorch's own median of a stretched tensor reads beside it
                out = variant.run(torch, "cpu", torch.clone)
        except (RuntimeError, IndexError, ValueError, TypeError, UserWarning):
            return None
        finally:
            torch.set_warn_always(False)
    return torch.as_tensor(out)


@cache
def variants(name: str) -> tuple[Variant, ...]:
    """All that PyTorch takes, of all cases of one operation."""
    parts = (_laid, _shaped, _special)
    made = [variant for case in (*CASES, *VALUES) if case.name == name for part in parts for variant in part(case)]
    return tuple(variant for variant in made if expected(variant) is not None)


NAMES = sorted({case.name for case in (*CASES, *VALUES)})
