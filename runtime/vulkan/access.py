"""How kernels read and write elements of every dtype, with what the device has.

Devices without 8-bit or 16-bit storage reach small elements through 32-bit words; a write then clears and sets the bits with
two atomic operations, because neighbours share the word. Devices without 64-bit integers see an int64 as its low word,
sign-extended when written: operations only let through what stays right that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import dtype as dt
from ..dtype import DType
from . import functions
from .spirv import DECOR_ALIASED, Module, Op


@dataclass(frozen=True)
class Abilities:
    """What a device's shaders may use."""

    storage8: bool
    storage16: bool
    int64: bool
    preserve_nan: bool


# VkFormat of texel buffers by element size: of one element, and of four.
_FLOATS, _INTEGERS, _WORDS = (100, 109), (99, 108), {1: (13, 41), 2: (74, 95)}


def texel_formats(dtype: DType) -> tuple[int, int] | None:
    """The formats in which texel fetches can read a dtype: one element at a time, or four. Every device has them."""
    if dtype.itemsize == 4:
        return _FLOATS if dtype.is_floating_point else _INTEGERS
    return _WORDS.get(dtype.itemsize)


class Tensor:
    """A buffer of one dtype inside a shader under construction.

    ``four``: of at most 32 bits per element, read and written four elements at a time only. ``texels``: only read, by texel fetches;
    software drivers make better code of those than of loads.
    """

    def __init__(
        self, m: Module, binding: int, dtype: DType, abilities: Abilities, *, writable: bool, aliased: bool, four: bool = False,
        texels: bool = False,
    ) -> None:  # fmt: skip
        self._m = m
        self._dtype = dtype
        self._abilities = abilities
        self._texels = texels
        self._size = dtype.itemsize
        if texels:
            self._variable = m.texels(binding, m.u32 if dtype.itemsize < 4 else functions.register_type(m, dtype))
            return
        element, self._size = self._piece() if four else self._element()
        self._variable = m.buffer(binding, element, self._size, writable=writable)
        if aliased:
            m.decorate(self._variable, DECOR_ALIASED)

    def _element(self) -> tuple[int, int]:
        m, dtype, has = self._m, self._dtype, self._abilities
        if dtype.itemsize == 1:
            return (m.u8, 1) if has.storage8 else (m.u32, 4)
        if dtype.itemsize == 2:
            return (m.u16, 2) if has.storage16 else (m.u32, 4)
        if dtype is dt.int64:
            return (m.i64, 8) if has.int64 else (m.i32, 4)
        return functions.register_type(m, dtype), dtype.itemsize

    def _piece(self) -> tuple[int, int]:
        """The type and bytes of four elements in storage."""
        m, dtype = self._m, self._dtype
        if dtype.itemsize == 4:
            return m.vector(functions.register_type(m, dtype), 4), 16
        return (m.u32, 4) if dtype.itemsize == 1 else (m.vector(m.u32, 2), 8)

    def load(self, index: int) -> int:
        """Element ``index`` (u32) in register form."""
        m, dtype = self._m, self._dtype
        if self._texels:
            value = m.components(m.fetch(self._variable, index), 1)[0]
            return value if dtype.itemsize == 4 else self._unpacked(value)
        if dtype is dt.int64 and not self._abilities.int64:
            return m.load(self._variable, m.mul(index, m.u(2)))
        if dtype.itemsize >= 4:
            return m.load(self._variable, index)
        if self._size == dtype.itemsize:
            return self._unpacked(m.op(Op.UConvert, m.u32, m.load(self._variable, index)))
        word_index, shift = self._word(index)
        word = m.op(Op.ShiftRightLogical, m.u32, m.load(self._variable, word_index), shift)
        return self._unpacked(m.op(Op.BitwiseAnd, m.u32, word, m.u(0xFF if dtype.itemsize == 1 else 0xFFFF)))

    def _unpacked(self, word: int) -> int:
        """The register form of an element of 8 or 16 bits."""
        m, dtype = self._m, self._dtype
        if dtype is dt.bool_:
            return m.op(Op.INotEqual, m.bool, word, m.u(0))
        return m.bitcast(m.i32, word) if dtype is dt.uint8 else functions.unpack_16(m, dtype, word)

    def _packed(self, value: int) -> int:
        """The 8 or 16 bits of a register, in an u32 that is 0 above."""
        m, dtype = self._m, self._dtype
        if dtype is dt.bool_:
            return m.select(value, m.u(1), m.u(0))
        if dtype is dt.uint8:
            return m.op(Op.BitwiseAnd, m.u32, m.bitcast(m.u32, value), m.u(0xFF))
        return functions.pack_16(m, dtype, value)

    def load_four(self, index: int) -> int:
        """Elements ``index`` to ``index + 3`` of float32 as a vector; ``index`` is a multiple of four. For buffers made with ``four``."""
        place = self._m.op(Op.ShiftRightLogical, self._m.u32, index, self._m.u(2))
        return self._m.fetch(self._variable, place) if self._texels else self._m.load(self._variable, place)

    def load_each(self, index: int) -> list[int]:
        """Elements ``index`` to ``index + 3`` in register form, as `load_four`; of any dtype that has pieces of four."""
        m, dtype = self._m, self._dtype
        piece = self.load_four(index)
        if dtype.itemsize == 4:
            return m.components(piece)
        if self._texels:
            return [self._unpacked(word) for word in m.components(piece)]
        words = [piece] if dtype.itemsize == 1 else m.components(piece, 2)
        bits, out = 8 * dtype.itemsize, []
        for word in words:
            for k in range(32 // bits):
                shifted = m.op(Op.ShiftRightLogical, m.u32, word, m.u(bits * k)) if k else word
                out.append(self._unpacked(m.op(Op.BitwiseAnd, m.u32, shifted, m.u((1 << bits) - 1))))
        return out

    def store_each(self, index: int, values: Sequence[int]) -> None:
        """Write registers to elements ``index`` to ``index + 3``; ``index`` is a multiple of four. For buffers made with ``four``."""
        m, dtype = self._m, self._dtype
        place = m.op(Op.ShiftRightLogical, m.u32, index, m.u(2))
        if dtype.itemsize == 4:
            m.store(self._variable, place, m.composed(values))
            return
        words = [self._packed(value) for value in values]
        per_word = 4 // dtype.itemsize
        joined = []
        for first in range(0, 4, per_word):
            word = words[first]
            for k in range(1, per_word):
                shifted = m.op(Op.ShiftLeftLogical, m.u32, words[first + k], m.u(8 * dtype.itemsize * k))
                word = m.op(Op.BitwiseOr, m.u32, word, shifted)
            joined.append(word)
        m.store(self._variable, place, joined[0] if len(joined) == 1 else m.composed(joined))

    def store(self, index: int, value: int) -> None:
        """Write a register to element ``index`` (u32)."""
        m, dtype = self._m, self._dtype
        if dtype is dt.int64 and not self._abilities.int64:
            low = m.mul(index, m.u(2))
            m.store(self._variable, low, value)
            m.store(self._variable, m.add(low, m.u(1)), m.op(Op.ShiftRightArithmetic, m.i32, value, m.u(31)))
            return
        if dtype.itemsize >= 4:
            m.store(self._variable, index, value)
            return
        word = self._packed(value)
        if self._size == dtype.itemsize:
            m.store(self._variable, index, m.op(Op.UConvert, m.u8 if self._size == 1 else m.u16, word))
        else:
            self._replace_bits(index, word)

    def _word(self, index: int) -> tuple[int, int]:
        """Which 32-bit word holds an element, and by how many bits it is shifted."""
        m, per_word = self._m, 4 // self._dtype.itemsize
        word = m.op(Op.UDiv, m.u32, index, m.u(per_word))
        place = m.op(Op.UMod, m.u32, index, m.u(per_word))
        return word, m.mul(place, m.u(8 * self._dtype.itemsize))

    def _replace_bits(self, index: int, word: int) -> None:
        m = self._m
        where, shift = self._word(index)
        pointer = m.element(self._variable, where)
        mask = m.op(Op.ShiftLeftLogical, m.u32, m.u(0xFF if self._dtype.itemsize == 1 else 0xFFFF), shift)
        device, relaxed = m.u(1), m.u(0)
        m.op(Op.AtomicAnd, m.u32, pointer, device, relaxed, m.op(Op.Not, m.u32, mask))
        m.op(Op.AtomicOr, m.u32, pointer, device, relaxed, m.op(Op.ShiftLeftLogical, m.u32, word, shift))

    def note_first(self, words: tuple[int, ...]) -> None:
        """For the stream's error words: keep ``words`` if nothing has been noted yet."""
        m = self._m
        first = m.element(self._variable, m.u(0))
        device, relaxed = m.u(1), m.u(0)
        before = m.op(Op.AtomicCompareExchange, m.i32, first, device, relaxed, relaxed, words[0], m.i(0))
        with m.if_(m.op(Op.IEqual, m.bool, before, m.i(0))):
            for k, word in enumerate(words[1:], 1):
                m.store(self._variable, m.u(k), word)
