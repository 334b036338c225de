"""How kernels read and write elements of every dtype, with what the device has.

Devices without 8-bit or 16-bit storage reach small elements through 32-bit words; a write then clears and sets the bits with
two atomic operations, because neighbours share the word. Devices without 64-bit integers see an int64 as its low word,
sign-extended when written: operations only let through what stays right that way.
"""

from __future__ import annotations

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


class Tensor:
    """A buffer of one dtype inside a shader under construction.

    ``four``: float32, read and written four elements at a time only. ``texels``: float32, only read, by texel fetches; software
    drivers make better code of those than of loads.
    """

    def __init__(
        self, m: Module, binding: int, dtype: DType, abilities: Abilities, *, writable: bool, aliased: bool, four: bool = False,
        texels: bool = False,
    ) -> None:  # fmt: skip
        self._m = m
        self._dtype = dtype
        self._abilities = abilities
        self._texels = texels
        if texels:
            self._variable = m.texels(binding)
            return
        element, size = (m.vector(m.f32, 4), 16) if four else self._element()
        self._size = size
        self._variable = m.buffer(binding, element, size, writable=writable)
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

    def load(self, index: int) -> int:
        """Element ``index`` (u32) in register form."""
        m, dtype = self._m, self._dtype
        if self._texels:
            return m.op(Op.CompositeExtract, m.f32, m.fetch(self._variable, index), 0)
        if dtype is dt.int64 and not self._abilities.int64:
            return m.load(self._variable, m.mul(index, m.u(2)))
        if dtype.itemsize >= 4:
            return m.load(self._variable, index)
        if self._size == dtype.itemsize:
            word = m.op(Op.UConvert, m.u32, m.load(self._variable, index))
        else:
            word_index, shift = self._word(index)
            word = m.op(Op.ShiftRightLogical, m.u32, m.load(self._variable, word_index), shift)
            word = m.op(Op.BitwiseAnd, m.u32, word, m.u(0xFF if dtype.itemsize == 1 else 0xFFFF))
        if dtype is dt.bool_:
            return m.op(Op.INotEqual, m.bool, word, m.u(0))
        return m.bitcast(m.i32, word) if dtype is dt.uint8 else functions.unpack_16(m, dtype, word)

    def load_four(self, index: int) -> int:
        """Elements ``index`` to ``index + 3`` as a vector; ``index`` is a multiple of four. For buffers made with ``four``."""
        place = self._m.op(Op.ShiftRightLogical, self._m.u32, index, self._m.u(2))
        return self._m.fetch(self._variable, place) if self._texels else self._m.load(self._variable, place)

    def store_four(self, index: int, value: int) -> None:
        """Write a vector to elements ``index`` to ``index + 3``; ``index`` is a multiple of four. For buffers made with ``four``."""
        self._m.store(self._variable, self._m.op(Op.ShiftRightLogical, self._m.u32, index, self._m.u(2)), value)

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
        if dtype is dt.bool_:
            word = m.select(value, m.u(1), m.u(0))
        elif dtype is dt.uint8:
            word = m.op(Op.BitwiseAnd, m.u32, m.bitcast(m.u32, value), m.u(0xFF))
        else:
            word = functions.pack_16(m, dtype, value)
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
