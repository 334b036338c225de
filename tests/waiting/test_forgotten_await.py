"""A readback that nobody awaited is loud: whatever is done with it says to write ``await``."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rasptorch as rt

BINARY = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift",
    "lt", "le", "gt", "ge", "eq", "ne",
)  # fmt: skip
UNARY: dict[str, Callable[[Any], Any]] = {
    "-x": operator.neg, "+x": operator.pos, "~x": operator.invert, "abs": abs, "round": round, "float": float,
    "int": int, "complex": complex, "bool": bool, "index": operator.index, "len": len, "iter": iter, "list": list,
    "sum": sum, "x[0]": lambda x: x[0], "x[:]": lambda x: x[:], "x[0] = 1": lambda x: operator.setitem(x, 0, 1),
    "1 in x": lambda x: 1 in x, "x()": lambda x: x(), "x.shape": lambda x: x.shape, "x.mean()": lambda x: x.mean(),
    "x.dtype": lambda x: x.dtype, "asarray": np.asarray, "array": np.array, "np.sum": np.sum, "np.exp": np.exp,
    "f'{x:.3f}'": lambda x: f"{x:.3f}", "f'{x}'": lambda x: f"{x}", "isnan": math.isnan, "sqrt": math.sqrt,
    "if": lambda x: 1 if x else 2, "max": max, "divmod": lambda x: divmod(x, 2), "x += 1": lambda x: operator.iadd(x, 1),
    "tensor": rt.tensor, "range": range, "format": lambda x: format(x, ""), "trunc": math.trunc,
    "floor": math.floor, "ceil": math.ceil,
}  # fmt: skip


def pending() -> rt.Readback[Any]:
    """Not a fixture: pytest would hold on to it until after the check that nothing is left."""
    return (rt.ones(1) + 1).readback()


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("other", [1, 2.5, "readback", "tensor", "array", None], ids=repr)
def test_operators(name: str, swapped: bool, other: Any) -> None:
    later = pending()
    other = {"readback": later, "tensor": rt.ones(1), "array": np.ones(1)}.get(other, other)
    operands = (other, later) if swapped else (later, other)
    with pytest.raises(TypeError, match=r"write `await|got Tensor and Readback"):
        getattr(operator, name)(*operands)


@pytest.mark.parametrize("use", UNARY.values(), ids=UNARY.keys())
def test_everything_else(use: Callable[[Any], Any]) -> None:
    later = pending()
    with pytest.raises(TypeError, match=r"write `await"):
        use(later)


def test_after_the_value_has_come_it_still_has_to_be_asked_for() -> None:
    later = pending()
    assert later.wait().tolist() == [2.0]
    with pytest.raises(TypeError, match="await"):
        later + 1


def test_the_attribute_is_named() -> None:
    later = pending()
    with pytest.raises(TypeError, match="attribute 'mean' was asked of it"):
        later.mean()


def test_what_tools_look_for_is_quietly_not_there() -> None:
    later = pending()
    assert not hasattr(later, "__len_hint__") and not hasattr(later, "__wrapped__")
    assert "pending" in repr(later) and "await" in repr(later)
    later.wait()
    assert "done" in repr(later)
    assert later in {later: 1}  # identity and hash work: it can be kept in sets and dictionaries
    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(later)
    with pytest.raises((TypeError, AttributeError)):
        copy.deepcopy(later)
