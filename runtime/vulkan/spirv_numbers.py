"""The numbers of SPIR-V that the assembler uses, by the names of the specification."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Op(IntEnum):
    """Instructions by number (specification, section 3.42)."""

    Extension = 10
    ExtInstImport = 11
    ExtInst = 12
    MemoryModel = 14
    EntryPoint = 15
    ExecutionMode = 16
    Capability = 17
    TypeVoid = 19
    TypeBool = 20
    TypeInt = 21
    TypeFloat = 22
    TypeVector = 23
    TypeImage = 25
    TypeArray = 28
    TypeRuntimeArray = 29
    TypeStruct = 30
    TypePointer = 32
    TypeFunction = 33
    ConstantTrue = 41
    ConstantFalse = 42
    Constant = 43
    Function = 54
    FunctionEnd = 56
    Variable = 59
    Load = 61
    Store = 62
    AccessChain = 65
    Decorate = 71
    MemberDecorate = 72
    CompositeConstruct = 80
    CompositeExtract = 81
    ImageFetch = 95
    ConvertFToU = 109
    ConvertFToS = 110
    ConvertSToF = 111
    ConvertUToF = 112
    UConvert = 113
    SConvert = 114
    FConvert = 115
    Bitcast = 124
    SNegate = 126
    FNegate = 127
    IAdd = 128
    FAdd = 129
    ISub = 130
    FSub = 131
    IMul = 132
    FMul = 133
    UDiv = 134
    SDiv = 135
    FDiv = 136
    UMod = 137
    SRem = 138
    VectorTimesScalar = 142
    UMulExtended = 151
    LogicalEqual = 164
    LogicalNotEqual = 165
    LogicalOr = 166
    LogicalAnd = 167
    LogicalNot = 168
    Select = 169
    IEqual = 170
    INotEqual = 171
    UGreaterThan = 172
    SGreaterThan = 173
    UGreaterThanEqual = 174
    SGreaterThanEqual = 175
    ULessThan = 176
    SLessThan = 177
    ULessThanEqual = 178
    SLessThanEqual = 179
    FOrdEqual = 180
    FUnordNotEqual = 183
    FOrdLessThan = 184
    FOrdGreaterThan = 186
    FOrdLessThanEqual = 188
    FOrdGreaterThanEqual = 190
    ShiftRightLogical = 194
    ShiftRightArithmetic = 195
    ShiftLeftLogical = 196
    BitwiseOr = 197
    BitwiseXor = 198
    BitwiseAnd = 199
    Not = 200
    AtomicCompareExchange = 230
    AtomicAnd = 240
    AtomicOr = 241
    LoopMerge = 246
    SelectionMerge = 247
    Label = 248
    Branch = 249
    BranchConditional = 250
    Return = 253


class Ext(IntEnum):
    """Instructions of GLSL.std.450 by number."""

    RoundEven = 2
    Trunc = 3
    FAbs = 4
    SAbs = 5
    FSign = 6
    SSign = 7
    Floor = 8
    Ceil = 9
    Sin = 13
    Cos = 14
    Exp = 27
    Log = 28
    Exp2 = 29
    Log2 = 30
    Sqrt = 31
    InverseSqrt = 32
    FMin = 37
    UMin = 38
    SMin = 39
    FMax = 40
    UMax = 41
    SMax = 42
    Fma = 50
    Ldexp = 53
    PackHalf2x16 = 58
    UnpackHalf2x16 = 62
    FindUMsb = 75


CAP_SHADER, CAP_FLOAT64, CAP_INT64, CAP_STORAGE8, CAP_STORAGE16 = 1, 10, 11, 4448, 4433
CAP_SAMPLED_BUFFER = 46
CAP_PRESERVE_NAN, MODE_PRESERVE_NAN = 4466, 4461
UNIFORM_CONSTANT, INPUT, UNIFORM, FUNCTION, STORAGE_BUFFER = 0, 1, 2, 7, 12
DIM_BUFFER = 5
DECOR_BLOCK, DECOR_ARRAY_STRIDE, DECOR_BUILTIN, DECOR_NON_WRITABLE = 2, 6, 11, 24
DECOR_ALIASED = 20
DECOR_BINDING, DECOR_SET, DECOR_OFFSET, DECOR_NO_CONTRACTION = 33, 34, 35, 42
BUILTIN_NUM_WORKGROUPS, BUILTIN_LOCAL_ID, BUILTIN_WORKGROUP_ID = 24, 27, 26

SCALARS: Final[dict[tuple[object, ...], tuple[str, int]]] = {
    (Op.TypeBool,): ("b", 1), (Op.TypeFloat, 32): ("f", 32), (Op.TypeFloat, 64): ("f", 64),
    (Op.TypeInt, 32, 1): ("i", 32), (Op.TypeInt, 32, 0): ("u", 32),
    (Op.TypeInt, 64, 1): ("i", 64), (Op.TypeInt, 64, 0): ("u", 64),
}  # fmt: skip
