"""A dispatch's parameters: words of the uniform block at set 0, binding 0. Sizes, offsets, strides, then the scalars.

Kernels read sizes and strides from here instead of having them compiled in, so one pipeline serves every shape of its kind,
and scalars may change between submissions of one recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..dtype import DType, wrapped
from . import functions
from .spirv import Module, Op


@dataclass(slots=True)
class Parameters:
    """Static ``words``, and ``scalars`` as (word, position in the batch's scalars, dtype)."""

    words: list[int] = field(default_factory=list)
    scalars: list[tuple[int, int, DType]] = field(default_factory=list)

    def add(self, *values: int) -> int:
        """Append words; returns the index of the first."""
        at = len(self.words)
        self.words.extend(values)
        return at

    def add_scalars(self, positions: Sequence[int], dtypes: Sequence[DType]) -> list[int]:
        """Room for scalars, two words for 64-bit ones; returns the index of each."""
        places = []
        for position, dtype in zip(positions, dtypes, strict=True):
            places.append(self.add(*[0] * words_of(dtype)))
            self.scalars.append((places[-1], position, dtype))
        return places


def words_of(dtype: DType) -> int:
    return 2 if dtype.itemsize == 8 else 1


def scalar_words(value: float, dtype: DType) -> list[int]:
    """A scalar as words: floats of less than 64 bits as float32, integers and booleans as int32."""
    if dtype.itemsize == 8:
        exact = np.array([value], np.float64) if dtype.is_floating_point else np.array([wrapped(value, dtype)], np.int64)
        return [int(w) for w in exact.view(np.uint32)]
    if dtype.is_floating_point:
        with np.errstate(over="ignore"):
            return [int(np.array([value], np.float32).view(np.uint32)[0])]
    return [int(value) & (0xFF if dtype.name == "uint8" else 0xFFFFFFFF)]


class Scalars:
    """Where a recording's scalars go: (word, position in the batch's scalars, dtype) of each. Many at a time, as NumPy likes it."""

    def __init__(self, scalars: Sequence[tuple[int, int, DType]]) -> None:
        short = [s for s in scalars if s[2].is_floating_point and s[2].itemsize < 8]
        self._words = np.array([word for word, _, _ in short], np.int64)
        self._positions = [position for _, position, _ in short]
        self._others = [s for s in scalars if not (s[2].is_floating_point and s[2].itemsize < 8)]

    def write(self, words: NDArray[np.uint32], values: Sequence[float]) -> None:
        if len(self._words):
            wanted = np.array([values[k] for k in self._positions], np.float64)
            with np.errstate(over="ignore"):
                words[self._words] = wanted.astype(np.float32).view(np.uint32)
        for at, position, dtype in self._others:
            for k, word in enumerate(scalar_words(values[position], dtype)):
                words[at + k] = word


def load_scalar(m: Module, word: int, dtype: DType, *, int64: bool) -> int:
    """A scalar in register form, inside the shader; ``word`` is the number of its first parameter word."""
    wide = dtype.itemsize == 8 and (int64 or dtype.is_floating_point)
    return scalar_in(m, [m.param(word), *([m.param(word + 1)] if wide else ())], dtype, int64=int64)


def scalar_in(m: Module, words: Sequence[int], dtype: DType, *, int64: bool) -> int:
    """The scalar that ``words`` hold, in register form."""
    low = words[0]
    if dtype.name == "bool":
        return m.op(Op.INotEqual, m.bool, low, m.u(0))
    if dtype.itemsize == 8 and (int64 or dtype.is_floating_point):
        pair = m.op(Op.CompositeConstruct, m.vector(m.u32, 2), low, words[1])
        return m.op(Op.Bitcast, functions.register_type(m, dtype), pair)
    if dtype.is_floating_point:
        return functions.round_to(m, dtype, m.op(Op.Bitcast, m.f32, low))
    return m.bitcast(m.i32, low)
