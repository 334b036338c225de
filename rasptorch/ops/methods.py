"""Attach the operations to `Tensor`: one table, so that the method and the function of a name are always the same thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..runtime import dtype as dt
from ..tensor import Tensor
from . import arithmetic as a
from . import comparison as c
from . import creation, random, transfer, views
from . import functions as f
from . import linalg as m
from . import reduction as r
from .elementwise import Elementwise
from .softmax import log_softmax, softmax

UNARY = {
    "neg": f.neg, "sign": f.sign, "abs": f.absolute, "relu": f.relu, "sqrt": f.sqrt, "rsqrt": f.rsqrt,
    "reciprocal": f.reciprocal, "exp": f.exp, "exp2": f.exp2, "expm1": f.expm1, "log": f.log, "log2": f.log2,
    "log10": f.log10, "log1p": f.log1p, "sin": f.sin, "cos": f.cos, "tan": f.tan, "asin": f.asin, "acos": f.acos,
    "atan": f.atan, "sinh": f.sinh, "cosh": f.cosh, "tanh": f.tanh, "sigmoid": f.sigmoid, "erf": f.erf,
    "floor": f.floor, "ceil": f.ceil, "round": f.round_, "trunc": f.trunc,
    "isnan": c.isnan, "isinf": c.isinf, "isfinite": c.isfinite, "logical_not": c.logical_not,
}  # fmt: skip

BINARY = {
    "add": a.add, "sub": a.sub, "mul": a.mul, "div": a.div, "floor_divide": a.floor_divide, "remainder": a.remainder,
    "fmod": a.fmod, "pow": a.power, "maximum": a.maximum, "minimum": a.minimum, "atan2": a.atan2,
    "eq": c.eq, "ne": c.ne, "lt": c.lt, "le": c.le, "gt": c.gt, "ge": c.ge,
    "logical_and": c.logical_and, "logical_or": c.logical_or, "logical_xor": c.logical_xor,
}  # fmt: skip

OTHER: dict[str, Callable[..., Any]] = {
    "sum": r.sum, "mean": r.mean, "prod": r.prod, "amax": r.amax, "amin": r.amin, "any": r.any, "all": r.all,
    "argmax": r.argmax, "argmin": r.argmin, "var": r.var, "std": r.std, "logsumexp": r.logsumexp,
    "matmul": m.matmul, "bmm": m.bmm, "addmm": m.addmm,
    "softmax": softmax, "log_softmax": log_softmax,
    "reshape": views.reshape, "view": views.view_, "permute": views.permute, "transpose": views.transpose, "t": views.t,
    "flatten": views.flatten, "unflatten": views.unflatten, "squeeze": views.squeeze, "unsqueeze": views.unsqueeze,
    "expand": views.expand, "expand_as": views.expand_as, "broadcast_to": views.broadcast_to, "narrow": views.narrow,
    "select": views.select, "split": views.split, "chunk": views.chunk, "unbind": views.unbind,
    "contiguous": views.contiguous, "clone": views.clone, "to": transfer.to, "bernoulli": random.bernoulli,
}  # fmt: skip

OPERATORS = {
    "add": a.add, "sub": a.sub, "mul": a.mul, "truediv": a.div, "floordiv": a.floor_divide, "mod": a.remainder, "pow": a.power,
}  # fmt: skip

COMPARISONS = {"eq": c.eq, "ne": c.ne, "lt": c.lt, "le": c.le, "gt": c.gt, "ge": c.ge}


def _method(operation: Callable[..., Any]) -> Callable[..., Any]:
    """``Elementwise`` objects are no functions and would not bind."""

    def method(self: Tensor, *operands: Any) -> Any:
        return operation(self, *operands)

    return method


def _unary(operation: Elementwise) -> Callable[[Tensor], Tensor]:
    def method(self: Tensor) -> Tensor:
        return operation(self)

    return method


def _binary(operation: Elementwise) -> Callable[[Tensor, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        if type(other) is not Tensor and not _is_operand(other):
            return NotImplemented
        return operation(self, other)

    return method


def _reflected(operation: Elementwise) -> Callable[[Tensor, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        return operation(other, self) if _is_operand(other) else NotImplemented

    return method


def _in_place(operation: Elementwise) -> Callable[..., Tensor]:
    def method(self: Tensor, *operands: Any) -> Tensor:
        return operation.in_place(self, *operands)

    return method


def _is_operand(value: Any) -> bool:
    from numpy import bool_, floating, integer

    return isinstance(value, (Tensor, bool, int, float, bool_, integer, floating))


def add_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``self += alpha * other``."""
    return a.add.in_place(self, other if alpha == 1 else other * alpha)


def sub_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``self -= alpha * other``."""
    return a.sub.in_place(self, other if alpha == 1 else other * alpha)


def copy_(self: Tensor, source: Any) -> Tensor:
    """Write ``source``, stretched and converted, into this tensor."""
    from .indexing import setitem

    setitem(self, ..., source)
    return self


def fill_(self: Tensor, value: Any) -> Tensor:
    """Every element becomes ``value``."""
    return copy_(self, value) if self.requires_grad else _filled(self, value)


def _filled(self: Tensor, value: Any) -> Tensor:
    from .elementwise import check_writable

    check_writable("fill_", self)
    return creation.filled("fill_", self.layout, value, self)


def _attach(name: str, function: Any) -> None:
    setattr(Tensor, name, function)


def attach() -> None:
    """Called once, when the package is imported."""
    for name, operation in UNARY.items():
        _attach(name, _unary(operation))
        _attach(name + "_", _in_place(operation))
    for name, operation in BINARY.items():
        _attach(name, _method(operation))
        _attach(name + "_", _in_place(operation))
    for name, function in OTHER.items():
        _attach(name, function)
    for name, operation in OPERATORS.items():
        _attach(f"__{name}__", _binary(operation))
        _attach(f"__r{name}__", _reflected(operation))
        _attach(f"__i{name}__", _in_place(operation))
    for name, operation in COMPARISONS.items():
        _attach(f"__{name}__", _binary(operation))
    in_place: dict[str, Callable[..., Any]] = {"add_": add_, "sub_": sub_, "copy_": copy_, "fill_": fill_}
    for name, function in in_place.items():
        _attach(name, function)
    _attach("zero_", lambda self: fill_(self, 0))
    _attach("__neg__", _unary(f.neg))
    _attach("__abs__", _unary(f.absolute))
    _attach("__matmul__", m.matmul)
    _attach("__and__", _binary(c.logical_and))
    _attach("__or__", _binary(c.logical_or))
    _attach("__invert__", _unary(c.logical_not))
    _attach("T", property(views.T))
    _attach("mT", property(views.mT))
    _attach("cpu", lambda self: transfer.to(self, "cpu"))
    _attach("gpu", lambda self: transfer.to(self, "gpu"))
    for name, dtype in {
        "float": dt.float32,
        "double": dt.float64,
        "half": dt.float16,
        "int": dt.int32,
        "long": dt.int64,
        "bool": dt.bool_,
    }.items():
        _attach(name, lambda self, dtype=dtype: views.cast(self, dtype))
