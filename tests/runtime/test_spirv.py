"""The SPIR-V assembler and every opcode's code, judged by ``spirv-val`` and by what the modules declare."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rasptorch.runtime import dtype as dtypes
from rasptorch.runtime.dtype import DType
from rasptorch.runtime.errors import DTypeError
from rasptorch.runtime.opcodes import OPCODES
from rasptorch.runtime.vulkan.functions import (
    emit,
    pack_16,
    register_type,
    round_to,
    supported,
    unpack_16,
)
from rasptorch.runtime.vulkan.spirv import (
    CAP_FLOAT64,
    CAP_INT64,
    CAP_PRESERVE_NAN,
    CAP_SHADER,
    CAP_STORAGE8,
    DECOR_NO_CONTRACTION,
    PARAM_WORDS,
    Ext,
    Module,
    Op,
    instructions,
)
from rasptorch.runtime.vulkan.values import Value, polynomial
from tests.support.spirv import Check

# What drivers compute well enough: everything else of GLSL.std.450 has own code.
ALLOWED_EXT = {
    Ext.RoundEven, Ext.Trunc, Ext.Floor, Ext.Ceil, Ext.Sqrt, Ext.FindUMsb, Ext.PackHalf2x16,
    Ext.UnpackHalf2x16,
}  # fmt: skip
BY_CALLER = {"check_index", "lookup"}  # emitted where the error words and the tables are known
OPERANDS = [
    (opcode, dtype)
    for opcode in OPCODES
    if opcode not in BY_CALLER
    for dtype in dtypes.ALL
    if supported(opcode, dtype, int64=True, float64=True)
]


def element(m: Module, dtype: DType) -> tuple[int, int]:
    """How the tests keep a dtype in a buffer: the register form, bool as u32; its type and size."""
    type_ = m.u32 if dtype is dtypes.bool_ else register_type(m, dtype)
    return type_, 8 if dtype in (dtypes.int64, dtypes.float64) else 4


def module_of(body: Callable[[Module, list[int]], int], takes: list[DType], gives: DType) -> bytes:
    """A kernel that loads an element of each input, runs ``body`` and stores its result."""
    m = Module()
    index = m.invocation()
    args = []
    for binding, dtype in enumerate(takes):
        value = m.load(m.buffer(binding, *element(m, dtype), writable=False), index)
        args.append(m.op(Op.INotEqual, m.bool, value, m.u(0)) if dtype is dtypes.bool_ else value)
    result = body(m, args)
    assert m.type_of[result] == register_type(m, gives)
    if gives is dtypes.bool_:
        result = m.select(result, m.u(1), m.u(0))
    m.store(m.buffer(len(takes), *element(m, gives), writable=True), index, result)
    return m.finish()


def results(opcode: str, operands: DType) -> list[DType]:
    gives = OPCODES[opcode].gives
    if gives == "any":
        return list(dtypes.ALL)
    return [operands if gives == "same" else dtypes.BY_NAME[gives]]


def inputs(opcode: str, operands: DType) -> list[DType]:
    if opcode == "where":
        return [dtypes.bool_, operands, operands]
    if opcode == "index":
        return [dtypes.int32]  # the element's number; what the operands are does not matter
    return [operands] * OPCODES[opcode].arity


def opcode_module(opcode: str, operands: DType, result: DType) -> bytes:
    return module_of(
        lambda m, args: emit(m, opcode, operands, result, tuple(args)), inputs(opcode, operands), result
    )


def capabilities(module: bytes) -> set[int]:
    return {words[0] for op, words in instructions(module) if op == Op.Capability}


# -- the assembler ---------------------------------------------------------------------------------


def test_loops_ifs_variables_and_parameters(valid: Check) -> None:
    m = Module(local_size=64)
    source = m.buffer(0, m.f32, 4, writable=False)
    target = m.buffer(1, m.f32, 4, writable=True)
    index = m.invocation()
    total = m.variable(m.f32, m.f(0.0))
    with m.if_(m.op(Op.ULessThan, m.bool, index, m.param(0))):
        with m.loop(m.u(0), m.param(PARAM_WORDS - 1), m.u(2)) as i, m.loop(m.u(0), i, m.u(1)) as j:
            value = m.load(source, m.add(m.mul(i, m.param(5)), j))
            with m.if_(m.op(Op.FOrdGreaterThan, m.bool, value, m.f(1.5))):
                m.set(total, m.exact(m.op(Op.FAdd, m.f32, m.get(total), value)))
        m.store(target, index, m.get(total))
    valid(m.finish())


def test_every_width_of_storage(valid: Check) -> None:
    m = Module(preserve_nan=False)
    index = m.invocation()
    byte = m.op(Op.UConvert, m.u32, m.load(m.buffer(0, m.u8, 1, writable=False), index))
    m.store(m.buffer(1, m.i64, 8, writable=True), index, m.const(m.i64, -(1 << 63)))
    m.store(m.buffer(2, m.f64, 8, writable=True), index, m.const(m.f64, 0.1))
    m.store(m.buffer(3, m.u32, 4, writable=True), index, m.add(*m.wide_mul(byte, m.u(0xFFFFFFFF))))
    module = m.finish()
    valid(module)
    assert capabilities(module) == {CAP_SHADER, CAP_STORAGE8, CAP_INT64, CAP_FLOAT64}


def test_a_parameter_outside_the_block_is_refused() -> None:
    with pytest.raises(ValueError, match=str(PARAM_WORDS)):
        Module().param(PARAM_WORDS)


def test_constants_and_types_are_made_once() -> None:
    m = Module()
    assert m.f(0.1) == m.f(0.1)
    assert m.f(0.0) != m.f(-0.0)
    assert m.i(-1) != m.u(0xFFFFFFFF)
    assert m.pointer(7, m.f32) == m.pointer(7, m.f32)


def test_scalars_are_told_apart() -> None:
    m = Module()
    kinds = [m.scalar(t) for t in (m.bool, m.i32, m.u32, m.f32, m.i64, m.u64, m.f64)]
    assert kinds == [("b", 1), ("i", 32), ("u", 32), ("f", 32), ("i", 64), ("u", 64), ("f", 64)]
    with pytest.raises(ValueError, match="scalar"):
        m.scalar(m.void)


def test_asking_for_a_type_declares_nothing_else() -> None:
    m = Module(preserve_nan=False)
    Value(m, m.f(1.0))
    assert capabilities(m.finish()) == {CAP_SHADER}


def test_a_wrong_module_is_found(valid: Check) -> None:
    m = Module()
    m.op(Op.FAdd, m.f32, m.f(1.0), m.u(1))
    with pytest.raises(AssertionError, match="FAdd"):
        valid(m.finish())


# -- values with operators -------------------------------------------------------------------------


def test_float_operations_may_not_be_fused() -> None:
    m = Module()
    x = Value(m, m.f(2.0))
    polynomial(1.0 - x / 3.0, 1.0, 2.0, 3.0)
    exact, float_results = set(), set()
    for op, words in instructions(m.finish()):
        if op == Op.Decorate and words[1] == DECOR_NO_CONTRACTION:
            exact.add(words[0])
        if op in (Op.FAdd, Op.FSub, Op.FMul, Op.FDiv):
            float_results.add(words[1])
    assert float_results == exact
    assert len(exact) == 6


def test_operators_refuse_kinds_they_are_not_for() -> None:
    m = Module()
    with pytest.raises(TypeError, match="<<"):
        Value(m, m.f(1.0)) << 1
    with pytest.raises(TypeError, match="Value"):
        Value(m, m.const(m.bool, True)).select(1, 2)


# -- opcodes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("opcode", "operands"), OPERANDS, ids=lambda value: getattr(value, "name", value))
def test_opcode_is_valid_and_modest(opcode: str, operands: DType, valid: Check) -> None:
    for result in results(opcode, operands):
        module = opcode_module(opcode, operands, result)
        valid(module)
        wanted = {CAP_SHADER, CAP_PRESERVE_NAN}
        meant = {*inputs(opcode, operands), result}
        wanted |= {CAP_INT64} if dtypes.int64 in meant else set()
        wanted |= {CAP_FLOAT64} if dtypes.float64 in meant else set()
        assert capabilities(module) == wanted
        used = {words[3] for op, words in instructions(module) if op == Op.ExtInst}
        assert used <= ALLOWED_EXT


@pytest.mark.parametrize("opcode", [name for name in OPCODES if name not in BY_CALLER])
@pytest.mark.parametrize("dtype", dtypes.ALL, ids=lambda dtype: dtype.name)
def test_what_is_not_supported_is_refused(opcode: str, dtype: DType) -> None:
    m = Module()
    args = tuple(m.const(register_type(m, taken), 0) for taken in inputs(opcode, dtype))
    if supported(opcode, dtype, int64=True, float64=True):
        emit(m, opcode, dtype, results(opcode, dtype)[0], args)
    else:
        with pytest.raises(DTypeError, match=f"{opcode} of {dtype.name}"):
            emit(m, opcode, dtype, dtype, args)


def test_support_follows_the_device() -> None:
    def asked(opcode: str, dtype: DType, *, int64: bool = False, float64: bool = False) -> bool:
        return supported(opcode, dtype, int64=int64, float64=float64)

    assert asked("exp", dtypes.float32)
    assert asked("exp", dtypes.bfloat16)
    assert not asked("exp", dtypes.float64, float64=True)
    assert asked("sqrt", dtypes.float64, float64=True)
    assert not asked("sqrt", dtypes.float64)
    assert asked("add", dtypes.int64, int64=True)
    assert not asked("add", dtypes.int64)
    assert not asked("add", dtypes.bool_, int64=True, float64=True)
    assert not asked("div", dtypes.int32)
    assert not asked("philox", dtypes.uint8)
    assert asked("philox", dtypes.int32)
    assert asked("check_index", dtypes.int32)


def test_16_bit_forms(valid: Check) -> None:
    for dtype in (dtypes.float16, dtypes.bfloat16):

        def there_and_back(m: Module, args: list[int], dtype: DType = dtype) -> int:
            return unpack_16(m, dtype, pack_16(m, dtype, round_to(m, dtype, args[0])))

        module = module_of(there_and_back, [dtypes.float32], dtype)
        valid(module)
        assert capabilities(module) == {CAP_SHADER, CAP_PRESERVE_NAN}


def test_other_dtypes_have_no_16_bit_form() -> None:
    m = Module()
    assert round_to(m, dtypes.float32, m.f(1.0)) == m.f(1.0)
    with pytest.raises(DTypeError, match="float32"):
        pack_16(m, dtypes.float32, m.f(1.0))
    with pytest.raises(DTypeError, match="float32"):
        unpack_16(m, dtypes.float32, m.u(1))
