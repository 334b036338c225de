"""Jacobians, Hessians and their products with vectors, of functions of tensors.

Each row of a Jacobian is a backward pass; the passes are only enqueued, and share the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ops.joining import cat
from ..runtime.errors import RasptorchError, ShapeError
from ..tensor import Tensor
from .gradients import grad
from .mode import enable_grad

Function = Callable[..., Any]


class FunctionalError(RasptorchError, RuntimeError):
    """The function or the vectors do not fit."""


def _tuple(name: str, value: Any, what: str) -> tuple[tuple[Tensor, ...], bool]:
    several = isinstance(value, (tuple, list))
    found = tuple(value) if several else (value,)
    for x in found:
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: {what} are tensors, got {type(x).__name__}")
    return found, several


def _leaves(inputs: Sequence[Tensor], create_graph: bool) -> tuple[Tensor, ...]:
    """The inputs, each on a place of its own on the tape; connected to where they come from only with ``create_graph``."""
    return tuple(x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_() for x in inputs)


def _call(name: str, func: Function, inputs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], bool]:
    with enable_grad():
        return _tuple(name, func(*inputs), "what the function returns")


def _gradients(
    name: str, outputs: Sequence[Tensor], inputs: Sequence[Tensor], vectors: Sequence[Tensor | None], create_graph: bool, strict: bool
) -> tuple[Tensor, ...]:
    """Gradients, zeros for what the outputs do not depend on (an error with ``strict``)."""
    pairs = [(y, v) for y, v in zip(outputs, vectors, strict=True) if y.requires_grad]
    if len(pairs) < len(outputs) and strict:
        raise FunctionalError(f"{name}: an output of the function does not depend on its inputs")
    if not pairs:
        return tuple(x.detach().new_zeros(x.shape) for x in inputs)
    found = grad([y for y, _ in pairs], inputs, [v for _, v in pairs], retain_graph=True, create_graph=create_graph, allow_unused=True)
    if strict and any(g is None for g in found):
        raise FunctionalError(f"{name}: the outputs do not depend on input {[g is None for g in found].index(True)}")
    return tuple(x.detach().new_zeros(x.shape) if g is None else g for g, x in zip(found, inputs, strict=True))


def _finished(values: Sequence[Tensor], several: bool, create_graph: bool) -> Any:
    out = tuple(values) if create_graph else tuple(x.detach() for x in values)
    return out if several else out[0]


def _vectors(name: str, v: Any, like: Sequence[Tensor], what: str) -> tuple[Tensor, ...]:
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise FunctionalError(f"{name}: v can only be left out where the {what} is one tensor of one element")
        return (like[0].detach().new_ones(like[0].shape),)
    found, _ = _tuple(name, v, "vectors")
    if [x.shape for x in found] != [x.shape for x in like]:
        raise ShapeError(f"{name}: v has shapes {[list(x.shape) for x in found]}, the {what} {[list(x.shape) for x in like]}")
    return found


def jacobian(
    func: Function, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The derivative of every element of ``func(*inputs)`` by every element of the inputs: shape of the output, then of the input.

    A tensor for one input and one output; a tuple where one of them is a tuple, outputs first. ``vectorize`` changes nothing here.
    """
    if strategy != "reverse-mode":
        raise NotImplementedError(f"jacobian: strategy {strategy!r} is not there; 'reverse-mode' is")
    given, several_in = _tuple("jacobian", inputs, "inputs")
    leaves = _leaves(given, create_graph)
    outputs, several_out = _call("jacobian", func, leaves)
    found = []
    for y in outputs:
        rows = [_gradients("jacobian", [y], leaves, [one], create_graph, strict) for one in _units(y)]
        blocks = []
        for k, x in enumerate(leaves):
            flat = [row[k].reshape(1, -1) for row in rows]
            block = cat(flat, 0) if flat else x.detach().new_zeros((0, x.numel()))
            blocks.append(block.reshape(*y.shape, *x.shape))
        found.append(_finished(blocks, several_in, create_graph))
    return tuple(found) if several_out else found[0]


def _units(y: Tensor) -> list[Tensor]:
    """For each element of ``y`` a tensor with 1 there, and 0 elsewhere."""
    count = y.numel()
    out = []
    for k in range(count):
        one = y.detach().new_zeros(count)
        one[k] = 1
        out.append(one.reshape(y.shape))
    return out


def hessian(
    func: Function, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The second derivatives of a function of one element: shapes of both inputs one after another, tuples of tuples for several."""
    given, several = _tuple("hessian", inputs, "inputs")

    def slopes(*leaves: Tensor) -> tuple[Tensor, ...]:
        outputs, _ = _call("hessian", func, leaves)
        _check_scalar("hessian", outputs)
        return _gradients("hessian", outputs, leaves, [None], True, strict)

    found = jacobian(slopes, given, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found if several else found[0][0]


def _check_scalar(name: str, outputs: Sequence[Tensor]) -> None:
    if len(outputs) != 1 or outputs[0].numel() != 1:
        raise ShapeError(f"{name}: the function returns one element, got shapes {[list(y.shape) for y in outputs]}")


def vjp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """``func(*inputs)``, and ``v`` (in the outputs' shapes) times the Jacobian."""
    given, several_in = _tuple("vjp", inputs, "inputs")
    leaves = _leaves(given, create_graph)
    outputs, several_out = _call("vjp", func, leaves)
    vectors = _vectors("vjp", v, outputs, "output")
    found = _gradients("vjp", outputs, leaves, vectors, create_graph, strict)
    return _finished(outputs, several_out, create_graph), _finished(found, several_in, create_graph)


def jvp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """``func(*inputs)``, and the Jacobian times ``v`` (in the inputs' shapes): by the gradient of a gradient."""
    given, _ = _tuple("jvp", inputs, "inputs")
    leaves = _leaves(given, create_graph)
    vectors = _vectors("jvp", v, leaves, "input")
    outputs, several = _call("jvp", func, leaves)
    # The product with v from the left is linear in v; its derivative by v, times another vector, is the one from the right.
    dummies = [y.detach().new_zeros(y.shape).requires_grad_() for y in outputs]
    slopes = _gradients("jvp", outputs, leaves, dummies, True, strict)
    found = _gradients("jvp", slopes, dummies, vectors, create_graph, strict)
    return _finished(outputs, several, create_graph), _finished(found, several, create_graph)


def vhp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """``func(*inputs)`` of one element, and ``v`` (in the inputs' shapes) times its Hessian."""
    given, several = _tuple("vhp", inputs, "inputs")
    leaves = _leaves(given, create_graph)
    vectors = _vectors("vhp", v, leaves, "input")
    outputs, several_out = _call("vhp", func, leaves)
    _check_scalar("vhp", outputs)
    slopes = _gradients("vhp", outputs, leaves, [None], True, strict)
    found = _gradients("vhp", slopes, leaves, vectors, create_graph, strict)
    return _finished(outputs, several_out, create_graph), _finished(found, several, create_graph)


def hvp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """``func(*inputs)`` of one element, and its Hessian times ``v``: the Hessian is symmetric, so this is `vhp`."""
    return vhp(func, inputs, v, create_graph, strict)
