"""Elementwise programs inside shaders: registers in, registers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from .. import dtype as dt
from ..command import Program
from ..dtype import DType
from . import functions
from .access import Abilities, Tensor
from .spirv import Module, Op

NO_TABLES: Final[Mapping[int, Callable[[int], int]]] = MappingProxyType({})


def narrow(dtype: DType, abilities: Abilities) -> DType:
    """What a dtype is computed as: int64 as int32 where the device has no 64-bit integers."""
    return dt.int32 if dtype is dt.int64 and not abilities.int64 else dtype


def evaluate(
    m: Module, program: Program, inputs: Sequence[int], scalars: Sequence[int], abilities: Abilities,
    index: int | None = None, errors: Tensor | None = None, tables: Mapping[int, Callable[[int], int]] = NO_TABLES,
) -> list[int]:  # fmt: skip
    """The program's results.

    ``index`` is the element's row-major number, ``errors`` the stream's error words; ``tables`` give the element of a number (i32)
    of those inputs that are looked up.
    """
    registers = [*inputs, *scalars]
    for step in program.steps:
        args = tuple(registers[a] for a in step.args)
        operands, result = narrow(step.operands, abilities), narrow(step.result, abilities)
        if step.opcode == "index":
            assert index is not None
            registers.append(m.bitcast(m.i32, index))
        elif step.opcode == "lookup":
            registers.append(tables[step.args[1]](args[0]))
        elif step.opcode == "check_index":
            assert errors is not None
            registers.append(check_index(m, errors, *args))
        elif step.opcode == "copy" or (step.opcode == "cast" and operands is result):
            registers.append(args[0])
        else:
            registers.append(functions.emit(m, step.opcode, operands, result, args))
    return [registers[r] for r in program.results]


def check_index(m: Module, errors: Tensor, index: int, bound: int, tag: int) -> int:
    """The opcode ``check_index``: see `runtime.opcodes`."""
    zero = m.i(0)
    wraps = m.op(Op.SGreaterThan, m.bool, bound, zero)
    size = m.select(wraps, bound, m.op(Op.SNegate, m.i32, bound))
    low = m.select(wraps, m.op(Op.SNegate, m.i32, bound), zero)
    fits = m.op(
        Op.LogicalAnd, m.bool,
        m.op(Op.SGreaterThanEqual, m.bool, index, low), m.op(Op.SLessThan, m.bool, index, size),
    )  # fmt: skip
    with m.if_(m.op(Op.LogicalNot, m.bool, fits)):
        errors.note_first((tag, index, bound))
    negative = m.op(Op.SLessThan, m.bool, index, zero)
    return m.select(fits, m.select(negative, m.add(index, size), index), zero)
