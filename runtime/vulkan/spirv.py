"""A small SPIR-V assembler for compute shaders: enough of the language for generated kernels, and no more.

A `Module` is one shader. Values are ids (plain ints); `Module.type_of` tells their type. Instructions go to the end of
the current block; constants, parameters and variables go where SPIR-V wants them. Control flow is structured
(`loop`, `if_`), so what comes out always has the merge instructions the language asks for.

Reference: Khronos, *SPIR-V Specification* 1.5 (unified), sections 2.3 (layout) and 3 (binary form).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Final

import numpy as np

from .spirv_numbers import (
    BUILTIN_LOCAL_ID,
    BUILTIN_NUM_WORKGROUPS,
    BUILTIN_WORKGROUP_ID,
    CAP_FLOAT64,
    CAP_INT64,
    CAP_PRESERVE_NAN,
    CAP_SAMPLED_BUFFER,
    CAP_SHADER,
    CAP_STORAGE8,
    CAP_STORAGE16,
    DECOR_ALIASED,
    DECOR_ARRAY_STRIDE,
    DECOR_BINDING,
    DECOR_BLOCK,
    DECOR_BUILTIN,
    DECOR_NO_CONTRACTION,
    DECOR_NON_WRITABLE,
    DECOR_OFFSET,
    DECOR_SET,
    DIM_BUFFER,
    FUNCTION,
    INPUT,
    MODE_PRESERVE_NAN,
    SCALARS,
    STORAGE_BUFFER,
    UNIFORM,
    UNIFORM_CONSTANT,
    Ext,
    Op,
)

__all__ = ["PARAM_BYTES", "PARAM_WORDS", "DECOR_ALIASED", "Ext", "Module", "Op", "instructions"]

MAGIC: Final = 0x07230203
VERSION_1_5: Final = 0x00010500
PARAM_WORDS: Final = 256  # of the uniform block at set 0, binding 0
PARAM_BYTES: Final = PARAM_WORDS * 4


def text_words(text: str) -> list[int]:
    """A literal string: UTF-8, zero-terminated, padded to words."""
    raw = text.encode() + b"\0"
    raw += b"\0" * (-len(raw) % 4)
    return list(struct.unpack(f"<{len(raw) // 4}I", raw))


class Module:
    """One compute shader under construction; `finish` gives its words.

    ``preserve_nan`` asks for IEEE infinities, NaN and signed zero (give it where the device reports
    ``shaderSignedZeroInfNanPreserveFloat32``).
    """

    def __init__(self, *, local_size: int = 256, preserve_nan: bool = True) -> None:
        self._next = 1
        self._capabilities: dict[int, None] = {CAP_SHADER: None}
        self._decorations: list[int] = []
        self._globals: list[int] = []
        self._variables: list[int] = []
        self._entry: list[int] = []
        self._body: list[int] = []
        self._interface: list[int] = []
        self._memo: dict[tuple[object, ...], int] = {}
        self._params: int | None = None
        self.type_of: dict[int, int] = {}
        self.local_size: Final = local_size
        self._preserve_nan = preserve_nan
        self._glsl = self.new_id()
        self.void = self._type(Op.TypeVoid)
        self.bool = self._type(Op.TypeBool)
        self.u32 = self._type(Op.TypeInt, 32, 0)
        self.i32 = self._type(Op.TypeInt, 32, 1)
        self.f32 = self._type(Op.TypeFloat, 32)
        self._main = self.new_id()

    # -- ids, types, constants ------------------------------------------------------------------------------------
    def new_id(self) -> int:
        self._next += 1
        return self._next - 1

    @staticmethod
    def _emit(section: list[int], op: int, *words: int) -> None:
        section.append((len(words) + 1) << 16 | op)
        section.extend(words)

    def _type(self, op: Op, *words: int) -> int:
        key = (op, *words)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self.new_id()
            self._emit(self._globals, op, found, *words)
        return found

    @property
    def f64(self) -> int:
        self._capabilities[CAP_FLOAT64] = None
        return self._type(Op.TypeFloat, 64)

    @property
    def i64(self) -> int:
        self._capabilities[CAP_INT64] = None
        return self._type(Op.TypeInt, 64, 1)

    @property
    def u64(self) -> int:
        self._capabilities[CAP_INT64] = None
        return self._type(Op.TypeInt, 64, 0)

    @property
    def u8(self) -> int:
        """Bytes in storage only: load, convert, store."""
        self._capabilities[CAP_STORAGE8] = None
        return self._type(Op.TypeInt, 8, 0)

    @property
    def u16(self) -> int:
        """16-bit words in storage only: load, convert, store."""
        self._capabilities[CAP_STORAGE16] = None
        return self._type(Op.TypeInt, 16, 0)

    def vector(self, element: int, count: int) -> int:
        made = self._type(Op.TypeVector, element, count)
        self._memo["scalar", made] = element
        return made

    def pointer(self, storage: int, pointee: int) -> int:
        return self._type(Op.TypePointer, storage, pointee)

    def const(self, type_: int, value: float | bool) -> int:
        """A constant of a scalar type; floats are rounded to the type, integers wrap into it."""
        if type_ == self.bool:
            return self._constant(Op.ConstantTrue if value else Op.ConstantFalse, type_)
        is_f64 = (Op.TypeFloat, 64) in self._memo and type_ == self._memo[Op.TypeFloat, 64]
        if is_f64:
            words = struct.unpack("<2I", struct.pack("<d", value))
        elif type_ == self.f32:
            words = (int(np.float32(value).view(np.uint32)),)
        elif type_ in (self.i32, self.u32):
            words = (int(value) & 0xFFFFFFFF,)
        else:
            words = (int(value) & 0xFFFFFFFF, int(value) >> 32 & 0xFFFFFFFF)
        return self._constant(Op.Constant, type_, *words)

    def _constant(self, op: Op, type_: int, *words: int) -> int:
        key = (op, type_, *words)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self.new_id()
            self._emit(self._globals, op, type_, found, *words)
            self.type_of[found] = type_
        return found

    def f(self, value: float) -> int:
        return self.const(self.f32, value)

    def i(self, value: int) -> int:
        return self.const(self.i32, value)

    def u(self, value: int) -> int:
        return self.const(self.u32, value)

    def decorate(self, target: int, *words: int) -> None:
        self._emit(self._decorations, Op.Decorate, target, *words)

    # -- instructions ---------------------------------------------------------------------------------------------
    def op(self, op: Op, type_: int, *operands: int) -> int:
        """Append an instruction with a result."""
        result = self.new_id()
        self._emit(self._body, op, type_, result, *operands)
        self.type_of[result] = type_
        return result

    def run(self, op: Op, *operands: int) -> None:
        """Append an instruction without a result."""
        self._emit(self._body, op, *operands)

    def ext(self, instruction: Ext, type_: int, *operands: int) -> int:
        return self.op(Op.ExtInst, type_, self._glsl, instruction, *operands)

    def exact(self, value: int) -> int:
        """Forbid fusing this multiplication or addition with a neighbour (``NoContraction``)."""
        self.decorate(value, DECOR_NO_CONTRACTION)
        return value

    def select(self, condition: int, yes: int, no: int) -> int:
        """``condition`` is a bool, or a vector of them for vectors."""
        return self.op(Op.Select, self.type_of[yes], condition, yes, no)

    def composed(self, values: Sequence[int]) -> int:
        """A vector of scalars of one type."""
        return self.op(Op.CompositeConstruct, self.vector(self.type_of[values[0]], len(values)), *values)

    def components(self, vector: int, count: int = 4) -> list[int]:
        """The first elements of a vector."""
        scalar = self._memo["scalar", self.type_of[vector]]
        return [self.op(Op.CompositeExtract, scalar, vector, k) for k in range(count)]

    def bitcast(self, type_: int, value: int) -> int:
        return value if self.type_of[value] == type_ else self.op(Op.Bitcast, type_, value)

    def add(self, a: int, b: int) -> int:
        return self.op(Op.IAdd, self.type_of[a], a, b)

    def mul(self, a: int, b: int) -> int:
        return self.op(Op.IMul, self.type_of[a], a, b)

    def scalar(self, type_: int) -> tuple[str, int]:
        """What a scalar type holds: ``b`` (bool), ``i`` (signed), ``u`` (unsigned) or ``f``, and its bits."""
        for key, found in SCALARS.items():
            if self._memo.get(key) == type_:
                return found
        raise ValueError(f"%{type_} is not a scalar type")

    def wide_mul(self, a: int, b: int) -> tuple[int, int]:
        """The 64 bits of the product of two u32, as (low, high)."""
        pair = self.op(Op.UMulExtended, self._type(Op.TypeStruct, self.u32, self.u32), a, b)
        low = self.op(Op.CompositeExtract, self.u32, pair, 0)
        return low, self.op(Op.CompositeExtract, self.u32, pair, 1)

    # -- memory ---------------------------------------------------------------------------------------------------
    def _global(self, storage: int, pointee: int) -> int:
        pointer = self.pointer(storage, pointee)
        variable = self.new_id()
        self._emit(self._globals, Op.Variable, pointer, variable, storage)
        self._interface.append(variable)
        return variable

    def buffer(self, binding: int, element: int, size: int, *, writable: bool) -> int:
        """A storage buffer of set 1: an array of ``element`` of ``size`` bytes each. Gives the variable for `load`."""
        array = self.new_id()
        self._emit(self._globals, Op.TypeRuntimeArray, array, element)
        self.decorate(array, DECOR_ARRAY_STRIDE, size)
        block = self.new_id()
        self._emit(self._globals, Op.TypeStruct, block, array)
        self.decorate(block, DECOR_BLOCK)
        self._emit(self._decorations, Op.MemberDecorate, block, 0, DECOR_OFFSET, 0)
        if not writable:
            self._emit(self._decorations, Op.MemberDecorate, block, 0, DECOR_NON_WRITABLE)
        variable = self._global(STORAGE_BUFFER, block)
        self.decorate(variable, DECOR_SET, 1)
        self.decorate(variable, DECOR_BINDING, binding)
        self._memo["element", variable] = element
        return variable

    def texels(self, binding: int, scalar: int) -> int:
        """A uniform texel buffer of set 1 whose texels hold ``scalar``, for `fetch`."""
        self._capabilities[CAP_SAMPLED_BUFFER] = None
        image = self._type(Op.TypeImage, scalar, DIM_BUFFER, 0, 0, 0, 1, 0)  # sampled, of no format known here
        variable = self._global(UNIFORM_CONSTANT, image)
        self.decorate(variable, DECOR_SET, 1)
        self.decorate(variable, DECOR_BINDING, binding)
        self._memo["element", variable] = image
        self._memo["scalar", variable] = scalar
        return variable

    def fetch(self, texels: int, index: int) -> int:
        """Texel ``index`` as a vector of four; components its format lacks are 0, 0 and 1."""
        image = self.op(Op.Load, self._memo["element", texels], texels)
        return self.op(Op.ImageFetch, self.vector(self._memo["scalar", texels], 4), image, index)

    def element(self, buffer: int, index: int) -> int:
        """A pointer to one element of a storage buffer."""
        pointer = self.pointer(STORAGE_BUFFER, self._memo["element", buffer])
        return self.op(Op.AccessChain, pointer, buffer, self.u(0), index)

    def load(self, buffer: int, index: int) -> int:
        return self.op(Op.Load, self._memo["element", buffer], self.element(buffer, index))

    def store(self, buffer: int, index: int, value: int) -> None:
        self.run(Op.Store, self.element(buffer, index), value)

    def param(self, word: int) -> int:
        """Word ``word`` of the dispatch's parameters, as u32; loaded once, at the start of the shader."""
        if not 0 <= word < PARAM_WORDS:
            raise ValueError(f"parameter word {word} is outside the block of {PARAM_WORDS}")
        found = self._memo.get(("param", word))
        if found is None:
            if self._params is None:
                self._params = self._param_block()
            pointer, found = self.new_id(), self.new_id()
            self._emit(
                self._entry, Op.AccessChain, self.pointer(UNIFORM, self.u32), pointer, self._params,
                self.u(0), self.u(word // 4), self.u(word % 4),
            )  # fmt: skip
            self._emit(self._entry, Op.Load, self.u32, found, pointer)
            self.type_of[found] = self.u32
            self._memo["param", word] = found
        return found

    def param_at(self, word: int) -> int:
        """The parameter word whose number is the value ``word`` (u32), loaded here."""
        if self._params is None:
            self._params = self._param_block()
        four, k = self.op(Op.UDiv, self.u32, word, self.u(4)), self.op(Op.UMod, self.u32, word, self.u(4))
        pointer = self.op(Op.AccessChain, self.pointer(UNIFORM, self.u32), self._params, self.u(0), four, k)
        return self.op(Op.Load, self.u32, pointer)

    def _param_block(self) -> int:
        vec = self.vector(self.u32, 4)
        array = self.new_id()
        length = self.u(PARAM_WORDS // 4)
        self._emit(self._globals, Op.TypeArray, array, vec, length)
        self.decorate(array, DECOR_ARRAY_STRIDE, 16)
        block = self._type(Op.TypeStruct, array)
        self.decorate(block, DECOR_BLOCK)
        self._emit(self._decorations, Op.MemberDecorate, block, 0, DECOR_OFFSET, 0)
        variable = self._global(UNIFORM, block)
        self.decorate(variable, DECOR_SET, 0)
        self.decorate(variable, DECOR_BINDING, 0)
        return variable

    def builtin(self, which: int, axis: int) -> int:
        """One component of a built-in vector, as u32."""
        key = ("builtin", which)
        if key not in self._memo:
            variable = self._global(INPUT, self.vector(self.u32, 3))
            self.decorate(variable, DECOR_BUILTIN, which)
            self._memo[key] = variable
        vec = self.op(Op.Load, self.vector(self.u32, 3), self._memo[key])
        return self.op(Op.CompositeExtract, self.u32, vec, axis)

    def group(self) -> int:
        """The number of this workgroup, counted along x, then y."""
        return self.add(
            self.builtin(BUILTIN_WORKGROUP_ID, 0),
            self.mul(self.builtin(BUILTIN_WORKGROUP_ID, 1), self.builtin(BUILTIN_NUM_WORKGROUPS, 0)),
        )

    def invocation(self) -> int:
        """The number of this invocation over the whole dispatch."""
        return self.add(self.mul(self.group(), self.u(self.local_size)), self.builtin(BUILTIN_LOCAL_ID, 0))

    def variable(self, type_: int, value: int) -> int:
        """A local variable, set to ``value`` here and now."""
        variable = self.new_id()
        self._emit(self._variables, Op.Variable, self.pointer(FUNCTION, type_), variable, FUNCTION)
        self._memo["variable", variable] = type_
        self.set(variable, value)
        return variable

    def get(self, variable: int) -> int:
        return self.op(Op.Load, self._memo["variable", variable], variable)

    def set(self, variable: int, value: int) -> None:
        self.run(Op.Store, variable, value)

    # -- control flow ---------------------------------------------------------------------------------------------
    @contextmanager
    def if_(self, condition: int) -> Iterator[None]:
        inside, after = self.new_id(), self.new_id()
        self.run(Op.SelectionMerge, after, 0)
        self.run(Op.BranchConditional, condition, inside, after)
        self.run(Op.Label, inside)
        yield
        self.run(Op.Branch, after)
        self.run(Op.Label, after)

    @contextmanager
    def loop(self, start: int, end: int, step: int) -> Iterator[int]:
        """``for (i = start; i < end; i += step)``, all u32; gives ``i``."""
        head, check, body, tail, after = (self.new_id() for _ in range(5))
        counter = self.variable(self.u32, start)
        self.run(Op.Branch, head)
        self.run(Op.Label, head)
        self.run(Op.LoopMerge, after, tail, 0)
        self.run(Op.Branch, check)
        self.run(Op.Label, check)
        i = self.get(counter)
        self.run(Op.BranchConditional, self.op(Op.ULessThan, self.bool, i, end), body, after)
        self.run(Op.Label, body)
        yield i
        self.run(Op.Branch, tail)
        self.run(Op.Label, tail)
        self.set(counter, self.add(self.get(counter), step))
        self.run(Op.Branch, head)
        self.run(Op.Label, after)

    # -- the module -----------------------------------------------------------------------------------------------
    def finish(self) -> bytes:
        """The module as bytes, ready for ``vkCreateShaderModule``."""
        signature = self._type(Op.TypeFunction, self.void)
        if self._preserve_nan:
            self._capabilities[CAP_PRESERVE_NAN] = None
        words: list[int] = []
        for capability in self._capabilities:
            self._emit(words, Op.Capability, capability)
        self._emit(words, Op.ExtInstImport, self._glsl, *text_words("GLSL.std.450"))
        self._emit(words, Op.MemoryModel, 0, 1)
        self._emit(words, Op.EntryPoint, 5, self._main, *text_words("main"), *self._interface)
        self._emit(words, Op.ExecutionMode, self._main, 17, self.local_size, 1, 1)
        if self._preserve_nan:
            self._emit(words, Op.ExecutionMode, self._main, MODE_PRESERVE_NAN, 32)
        words += self._decorations
        words += self._globals
        self._emit(words, Op.Function, self.void, self._main, 0, signature)
        self._emit(words, Op.Label, self.new_id())
        words += self._variables + self._entry + self._body
        self._emit(words, Op.Return)
        self._emit(words, Op.FunctionEnd)
        header = [MAGIC, VERSION_1_5, 0, self._next, 0]
        return struct.pack(f"<{len(header) + len(words)}I", *header, *words)


def instructions(module: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Walk a module's instructions as (number, operands): for the tests that check limits from the SPIR-V."""
    words = struct.unpack(f"<{len(module) // 4}I", module)
    starts = [5]
    while starts[-1] < len(words):
        starts.append(starts[-1] + (words[starts[-1]] >> 16))
    for start, end in pairwise(starts):
        yield words[start] & 0xFFFF, words[start + 1 : end]
