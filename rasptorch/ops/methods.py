"""Attach the operations to `Tensor`: one table, so that the method and the function of a name are always the same thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..runtime import dtype as dt
from ..tensor import Tensor
from . import arithmetic as a
from . import clamping as k
from . import (
    closeness,
    creation,
    diagonals,
    drawing,
    extremes,
    filling,
    joining,
    kinds,
    making,
    pieces,
    products,
    quantiles,
    random,
    rearranging,
    reshaping,
    running,
    searching,
    sharing,
    sized,
    small_functions,
    statistics,
    striding,
    transfer,
    turning,
    variants,
    views,
)
from . import comparison as c
from . import functions as f
from . import gathering as g
from . import linalg as m
from . import more_functions as also
from . import placing as s
from . import reduction as r
from . import sorting as o
from .composed import in_place, written
from .elementwise import Elementwise
from .nonzero import argwhere, masked_select, nonzero
from .scan import cumsum
from .softmax import log_softmax, softmax

UNARY = {
    "neg": f.neg, "square": f.square, "sign": f.sign, "abs": f.absolute, "relu": f.relu, "sqrt": f.sqrt, "rsqrt": f.rsqrt,
    "reciprocal": f.reciprocal, "exp": f.exp, "exp2": f.exp2, "expm1": f.expm1, "log": f.log, "log2": f.log2,
    "log10": f.log10, "log1p": f.log1p, "sin": f.sin, "cos": f.cos, "tan": f.tan, "asin": f.asin, "acos": f.acos,
    "atan": f.atan, "sinh": f.sinh, "cosh": f.cosh, "tanh": f.tanh, "sigmoid": f.sigmoid, "erf": f.erf,
    "floor": f.floor, "ceil": f.ceil, "trunc": f.trunc,
    "isnan": c.isnan, "isinf": c.isinf, "isfinite": c.isfinite, "logical_not": c.logical_not,
    "bitwise_not": c.bitwise_not,
}  # fmt: skip

BINARY = {
    "mul": a.mul, "floor_divide": a.floor_divide, "remainder": a.remainder, "fmod": a.fmod, "pow": a.power,
    "maximum": a.maximum, "minimum": a.minimum, "atan2": a.atan2,
    "eq": c.eq, "ne": c.ne, "lt": c.lt, "le": c.le, "gt": c.gt, "ge": c.ge,
    "logical_and": c.logical_and, "logical_or": c.logical_or, "logical_xor": c.logical_xor,
    "bitwise_and": c.bitwise_and, "bitwise_or": c.bitwise_or, "bitwise_xor": c.bitwise_xor,
    "bitwise_left_shift": c.bitwise_left_shift, "bitwise_right_shift": c.bitwise_right_shift,
    "clamp_min": k.clamp_min, "clamp_max": k.clamp_max,
}  # fmt: skip

def split(self: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of ``split_size`` entries (the last may be smaller), or of the given sizes, along ``dim``."""
    return views.split(self, split_size, dim)


OTHER: dict[str, Callable[..., Any]] = {
    "sum": r.sum, "mean": r.mean, "prod": r.prod, "amax": r.amax, "amin": r.amin, "any": r.any, "all": r.all,
    "argmax": r.argmax, "argmin": r.argmin, "var": r.var, "std": r.std, "logsumexp": r.logsumexp,
    "matmul": m.matmul, "bmm": m.bmm, "addmm": m.addmm,
    "softmax": softmax, "log_softmax": log_softmax,
    "reshape": views.reshape, "view": reshaping.view, "permute": views.permute, "transpose": views.transpose, "t": views.t,
    "flatten": views.flatten, "unflatten": views.unflatten, "squeeze": views.squeeze, "unsqueeze": views.unsqueeze,
    "expand": views.expand, "expand_as": views.expand_as, "broadcast_to": views.broadcast_to, "narrow": views.narrow,
    "as_strided": striding.as_strided, "select": views.select, "split": split, "chunk": views.chunk, "unbind": views.unbind,
    "contiguous": views.contiguous, "clone": views.clone, "to": transfer.to, "bernoulli": random.bernoulli,
    "add": variants.add, "add_": variants.add_, "sub": variants.sub, "sub_": variants.sub_, "div": variants.div,
    "clamp": k.clamp, "clamp_": k.clamp_, "masked_fill": k.masked_fill, "masked_fill_": k.masked_fill_,
    "round": variants.round, "round_": variants.round_in_place, "signbit": variants.signbit,
    "roll": turning.roll, "repeat": joining.repeat, "tile": joining.tile, "repeat_interleave": joining.repeat_interleave,
    "diag": diagonals.diag, "diagonal": diagonals.diagonal, "diagonal_scatter": diagonals.diagonal_scatter,
    "diag_embed": diagonals.diag_embed,
    "unfold": rearranging.unfold, "movedim": rearranging.movedim, "swapaxes": rearranging.swapaxes, "ravel": rearranging.ravel,
    "nonzero": nonzero, "argwhere": argwhere, "masked_select": masked_select,
    "index_select": g.index_select, "gather": g.gather, "take": g.take, "take_along_dim": g.take_along_dim,
    "max": extremes.max, "min": extremes.min, "aminmax": extremes.aminmax, "cumsum": cumsum,
    "norm": statistics.norm, "nansum": statistics.nansum, "nanmean": statistics.nanmean,
    "count_nonzero": statistics.count_nonzero,
    "sort": o.sort, "argsort": o.argsort, "msort": o.msort, "topk": o.topk, "kthvalue": o.kthvalue, "median": o.median,
    "nanmedian": o.nanmedian, "quantile": quantiles.quantile, "nanquantile": quantiles.nanquantile, "mode": quantiles.mode,
    "cummax": running.cummax, "cummin": running.cummin, "cumprod": running.cumprod, "logcumsumexp": running.logcumsumexp,
    "diff": running.diff, "kron": running.kron,
    "flip": turning.flip, "fliplr": turning.fliplr, "flipud": turning.flipud, "rot90": turning.rot90,
    "histc": searching.histc, "isin": searching.isin,
    "bincount": sized.bincount, "unique": sized.unique, "unique_consecutive": sized.unique_consecutive,
    "multinomial": drawing.multinomial,
    "normal_": filling.normal_, "log_normal_": filling.log_normal_, "uniform_": filling.uniform_, "exponential_": filling.exponential_,
    "cauchy_": filling.cauchy_, "geometric_": filling.geometric_, "bernoulli_": filling.bernoulli_, "random_": filling.random_,
    **{name: getattr(small_functions, name) for name in ("corrcoef", "cov", "fmax", "fmin", "inner", "isneginf", "isposinf", "positive")},
    "logaddexp2": small_functions.logaddexp2,
    **{name: getattr(pieces, name) for name in (
        "diagflat", "dsplit", "hsplit", "is_nonzero", "select_scatter", "slice_scatter", "split_with_sizes", "sum_to_size", "tensor_split",
        "vsplit",
    )},
    "cross": also.cross, "dist": also.dist, "trace": also.trace,
    "dot": products.dot, "vdot": products.vdot, "mv": products.mv, "mm": products.mm, "outer": products.outer,
    "new_zeros": making.new_zeros, "new_ones": making.new_ones, "new_full": making.new_full, "new_empty": making.new_empty,
    "new_tensor": making.new_tensor,
    "view_as": views.view_as, "reshape_as": views.reshape_as, "type_as": transfer.type_as, "to_device": transfer.to_device,
    "is_floating_point": kinds.is_floating_point, "is_complex": kinds.is_complex, "is_signed": kinds.is_signed, "nelement": kinds.numel,
    "isclose": closeness.isclose, "allclose": closeness.allclose, "equal": closeness.equal,
    "storage_offset": kinds.storage_offset, "data_ptr": kinds.data_ptr,
    "ndimension": kinds.ndimension, "get_device": kinds.get_device,
}  # fmt: skip

OPERATORS = {
    "add": a.add, "sub": a.sub, "mul": a.mul, "truediv": a.div, "floordiv": a.floor_divide, "mod": a.remainder, "pow": a.power,
}  # fmt: skip

# Functions that also have a form with an underscore, which writes the result into the tensor.
WITH_IN_PLACE: dict[str, Callable[..., Tensor]] = {
    "addcmul": variants.addcmul, "addcdiv": variants.addcdiv, "lerp": variants.lerp, "hypot": variants.hypot,
    "logaddexp": variants.logaddexp, "copysign": variants.copysign, "nan_to_num": k.nan_to_num,
    "tril": diagonals.tril, "triu": diagonals.triu, "cumsum": cumsum, "cumprod": running.cumprod,
    "deg2rad": also.deg2rad, "rad2deg": also.rad2deg, "frac": also.frac, "heaviside": also.heaviside, "logit": also.logit,
    "sinc": also.sinc, "xlogy": also.xlogy, "ldexp": small_functions.ldexp,
    "addmm": m.addmm, "addmv": small_functions.addmv, "addr": small_functions.addr,
    "addbmm": small_functions.addbmm, "baddbmm": small_functions.baddbmm,
    "scatter": s.scatter, "scatter_add": s.scatter_add, "scatter_reduce": s.scatter_reduce, "index_add": s.index_add,
    "index_copy": s.index_copy, "index_fill": s.index_fill, "index_put": s.index_put, "masked_scatter": s.masked_scatter,
}  # fmt: skip

# PyTorch's other names of the same operations. Those with an in-place form have it under the other name too.
ALIASES = {
    "absolute": "abs", "negative": "neg", "arccos": "acos", "arcsin": "asin", "arctan": "atan", "arctan2": "atan2",
    "fix": "trunc", "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div", "clip": "clamp",
    "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le", "not_equal": "ne",
    "moveaxis": "movedim", "swapdims": "swapaxes", "ger": "outer", "sgn": "sign",
}  # fmt: skip

# Of integers and booleans.
BITWISE = {
    "and": c.bitwise_and, "or": c.bitwise_or, "xor": c.bitwise_xor, "lshift": c.bitwise_left_shift,
    "rshift": c.bitwise_right_shift,
}  # fmt: skip

COMPARISONS = {"eq": c.eq, "ne": c.ne, "lt": c.lt, "le": c.le, "gt": c.gt, "ge": c.ge}


def _method(operation: Callable[..., Any]) -> Callable[..., Any]:
    """``Elementwise`` objects are no functions and would not bind."""

    def method(self: Tensor, *operands: Any, **named: Any) -> Any:
        return operation(self, *operands, **named)

    return method


def _unary(operation: Elementwise) -> Callable[[Tensor], Tensor]:
    def method(self: Tensor) -> Tensor:
        return operation.of_one(self)

    return method


def _binary(operation: Elementwise) -> Callable[[Tensor, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        if type(other) is Tensor:
            return operation.of_two(self, other)
        return operation.of_number(self, other) if _is_operand(other) else NotImplemented

    return method


def _reflected(operation: Elementwise) -> Callable[[Tensor, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        return operation(other, self) if _is_operand(other) else NotImplemented

    return method


def _in_place(operation: Elementwise) -> Callable[..., Tensor]:
    def method(self: Tensor, *operands: Any) -> Tensor:
        return operation.in_place(self, *operands)

    return method


_OPERANDS = (Tensor, bool, int, float, np.bool_, np.integer, np.floating)


def _is_operand(value: Any) -> bool:
    return isinstance(value, _OPERANDS)


def div_(self: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``self /= other``, rounded as `div` does."""
    if rounding_mode is None:
        return a.div.in_place(self, other)
    return written("div_", self, variants.div(self, other, rounding_mode=rounding_mode))


def where(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """This tensor's elements where ``condition`` is true, those of ``other`` elsewhere."""
    return a.where(condition, self, other)


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
    for name, function in WITH_IN_PLACE.items():
        _attach(name, function)
        _attach(name + "_", in_place(name + "_", function))
    for name, operation in (OPERATORS | BITWISE).items():
        _attach(f"__{name}__", _binary(operation))
        _attach(f"__r{name}__", _reflected(operation))
        _attach(f"__i{name}__", _in_place(operation))
    for name, operation in COMPARISONS.items():
        _attach(f"__{name}__", _binary(operation))
    for name, function in reshaping.IN_PLACE.items():
        _attach(name, function)
    _attach("fill_diagonal_", reshaping.fill_diagonal_)
    _attach("where", where)
    _attach("div_", div_)
    _attach("copy_", copy_)
    _attach("fill_", fill_)
    _attach("zero_", lambda self: fill_(self, 0))
    _attach("__neg__", _unary(f.neg))
    _attach("__abs__", _unary(f.absolute))
    _attach("__matmul__", m.matmul)
    _attach("__invert__", _unary(c.bitwise_not))
    _attach("T", property(views.T))
    _attach("H", property(views.H))
    _attach("itemsize", property(Tensor.element_size))
    _attach("nbytes", property(kinds.nbytes))
    _attach("mT", property(views.mT))
    for name in ("dlpack", "dlpack_device"):
        _attach(f"__{name}__", getattr(sharing, name))
    for to_host in (transfer.readback, transfer.numpy, transfer.item, transfer.tolist):
        _attach(to_host.__name__, to_host)
    _attach("cpu", lambda self: transfer.to(self, "cpu"))
    _attach("gpu", lambda self: transfer.to(self, "gpu"))
    for name, dtype in {
        "float": dt.float32,
        "double": dt.float64,
        "half": dt.float16,
        "bfloat16": dt.bfloat16,
        "byte": dt.uint8,
        "int": dt.int32,
        "long": dt.int64,
        "bool": dt.bool_,
    }.items():
        _attach(name, lambda self, dtype=dtype: views.cast(self, dtype))
    for name, same in ALIASES.items():
        for ending in ("", "_"):
            if hasattr(Tensor, same + ending):
                _attach(name + ending, getattr(Tensor, same + ending))
