"""Values of a shader under construction, with operators: formulas that read as formulas.

A `Value` is an id of a `Module` with its scalar type; operators append instructions. Python numbers on one
side become constants of the other side's type. Every floating-point operation is marked ``NoContraction``:
drivers may then not fuse or rearrange it, which the exact steps of the algorithms need, and the same program
gives the same bits whether an operation is compiled alone or in a group.
"""

from __future__ import annotations

from typing import Final

from .spirv import Ext, Module, Op

Number = int | float

_ARITHMETIC: Final[dict[str, dict[str, Op]]] = {
    "+": {"f": Op.FAdd, "i": Op.IAdd, "u": Op.IAdd},
    "-": {"f": Op.FSub, "i": Op.ISub, "u": Op.ISub},
    "*": {"f": Op.FMul, "i": Op.IMul, "u": Op.IMul},
    "/": {"f": Op.FDiv, "i": Op.SDiv, "u": Op.UDiv},
    "&": {"b": Op.LogicalAnd, "i": Op.BitwiseAnd, "u": Op.BitwiseAnd},
    "|": {"b": Op.LogicalOr, "i": Op.BitwiseOr, "u": Op.BitwiseOr},
    "^": {"b": Op.LogicalNotEqual, "i": Op.BitwiseXor, "u": Op.BitwiseXor},
    "<<": {"i": Op.ShiftLeftLogical, "u": Op.ShiftLeftLogical},
    ">>": {"i": Op.ShiftRightArithmetic, "u": Op.ShiftRightLogical},
}
_COMPARISON: Final[dict[str, dict[str, Op]]] = {
    "<": {"f": Op.FOrdLessThan, "i": Op.SLessThan, "u": Op.ULessThan},
    "<=": {"f": Op.FOrdLessThanEqual, "i": Op.SLessThanEqual, "u": Op.ULessThanEqual},
    ">": {"f": Op.FOrdGreaterThan, "i": Op.SGreaterThan, "u": Op.UGreaterThan},
    ">=": {"f": Op.FOrdGreaterThanEqual, "i": Op.SGreaterThanEqual, "u": Op.UGreaterThanEqual},
    "==": {"f": Op.FOrdEqual, "i": Op.IEqual, "u": Op.IEqual, "b": Op.LogicalEqual},
    "!=": {"f": Op.FUnordNotEqual, "i": Op.INotEqual, "u": Op.INotEqual, "b": Op.LogicalNotEqual},
}
_CONVERSION: Final[dict[str, Op]] = {
    "fi": Op.ConvertFToS, "fu": Op.ConvertFToU, "if": Op.ConvertSToF, "uf": Op.ConvertUToF,
    "ff": Op.FConvert, "ii": Op.SConvert, "uu": Op.UConvert,
}  # fmt: skip


class Value:
    """One scalar of the shader. ``kind`` is ``b``, ``i`` (signed), ``u`` or ``f``; ``width`` its bits."""

    __slots__ = ("id", "kind", "m", "type", "width")

    def __init__(self, m: Module, id_: int) -> None:
        self.m: Final = m
        self.id: Final = id_
        self.type: Final = m.type_of[id_]
        self.kind, self.width = m.scalar(self.type)

    def like(self, number: Number) -> Value:
        """A constant of this value's type."""
        return Value(self.m, self.m.const(self.type, number))

    def _operate(self, name: str, left: Value | Number, right: Value | Number) -> Value:
        a = left if isinstance(left, Value) else self.like(left)
        b = right if isinstance(right, Value) else self.like(right)
        found = _ARITHMETIC[name].get(self.kind)
        if found is not None:
            result = self.m.op(found, self.type, a.id, b.id)
            return Value(self.m, self.m.exact(result) if self.kind == "f" else result)
        raise TypeError(f"{name} does not take values of kind {self.kind}")

    def _compare(self, name: str, other: Value | Number) -> Value:
        b = other if isinstance(other, Value) else self.like(other)
        return Value(self.m, self.m.op(_COMPARISON[name][self.kind], self.m.bool, self.id, b.id))

    def __add__(self, other: Value | Number) -> Value:
        return self._operate("+", self, other)

    def __radd__(self, other: Number) -> Value:
        return self._operate("+", other, self)

    def __sub__(self, other: Value | Number) -> Value:
        return self._operate("-", self, other)

    def __rsub__(self, other: Number) -> Value:
        return self._operate("-", other, self)

    def __mul__(self, other: Value | Number) -> Value:
        return self._operate("*", self, other)

    def __rmul__(self, other: Number) -> Value:
        return self._operate("*", other, self)

    def __truediv__(self, other: Value | Number) -> Value:
        """Division; of integers it truncates, and the divisor must not be 0."""
        return self._operate("/", self, other)

    def __rtruediv__(self, other: Number) -> Value:
        return self._operate("/", other, self)

    def __and__(self, other: Value | Number) -> Value:
        return self._operate("&", self, other)

    def __or__(self, other: Value | Number) -> Value:
        return self._operate("|", self, other)

    def __xor__(self, other: Value | Number) -> Value:
        return self._operate("^", self, other)

    def __lshift__(self, other: Value | Number) -> Value:
        return self._operate("<<", self, other)

    def __rshift__(self, other: Value | Number) -> Value:
        """Arithmetic for signed integers, logical for unsigned ones."""
        return self._operate(">>", self, other)

    def __invert__(self) -> Value:
        return Value(self.m, self.m.op(Op.LogicalNot if self.kind == "b" else Op.Not, self.type, self.id))

    def __neg__(self) -> Value:
        return Value(self.m, self.m.op(Op.FNegate if self.kind == "f" else Op.SNegate, self.type, self.id))

    def __lt__(self, other: Value | Number) -> Value:
        return self._compare("<", other)

    def __le__(self, other: Value | Number) -> Value:
        return self._compare("<=", other)

    def __gt__(self, other: Value | Number) -> Value:
        return self._compare(">", other)

    def __ge__(self, other: Value | Number) -> Value:
        return self._compare(">=", other)

    def equals(self, other: Value | Number) -> Value:
        return self._compare("==", other)

    def differs(self, other: Value | Number) -> Value:
        return self._compare("!=", other)

    def select(self, yes: Value | Number, no: Value | Number) -> Value:
        """``yes`` where this bool holds, else ``no``; at least one of them is a `Value`."""
        if isinstance(yes, Value):
            other = no if isinstance(no, Value) else yes.like(no)
            return Value(self.m, self.m.select(self.id, yes.id, other.id))
        if isinstance(no, Value):
            return Value(self.m, self.m.select(self.id, no.like(yes).id, no.id))
        raise TypeError("select needs a Value to tell the type from")

    def ext(self, instruction: Ext, *others: Value) -> Value:
        """An instruction of GLSL.std.450 with a result of this value's type."""
        return Value(self.m, self.m.ext(instruction, self.type, self.id, *(other.id for other in others)))

    def bitcast(self, type_: int) -> Value:
        """The same bits as another type of the same width."""
        return Value(self.m, self.m.bitcast(type_, self.id))

    def convert(self, type_: int) -> Value:
        """The same number as another numeric type, as far as that one can hold it."""
        if type_ == self.type:
            return self
        kind, width = self.m.scalar(type_)
        if {self.kind, kind} == {"i", "u"}:
            if width == self.width:
                return self.bitcast(type_)
            same = {"i": (self.m.i32, self.m.u32), "u": (self.m.u32, self.m.i32)}[self.kind]
            if width == 32:
                return self.convert(same[0]).bitcast(type_)
            raise TypeError("convert to the wide type of the same sign first")
        return Value(self.m, self.m.op(_CONVERSION[self.kind + kind], type_, self.id))


def polynomial(x: Value, *coefficients: float) -> Value:
    """The value of a polynomial, coefficients from the lowest power on (Horner)."""
    total = x.like(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total
