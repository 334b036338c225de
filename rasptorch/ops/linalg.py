"""Matrix products: 1-D, 2-D and batched, forward and gradient side by side."""

from __future__ import annotations

import math
from typing import Any

from ..autograd.mode import no_grad, recording
from ..autograd.node import Node
from ..autograd.precision import low_dtypes
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import broadcast_shapes, layout_of
from ..runtime.readback import Readback
from ..tensor import Tensor
from .arithmetic import add
from .dispatch import SpecCache, check_dtype, check_size, enqueue, same_device, tape
from .outputs import takes_out
from .precision import in_widest_precision, lowered
from .reduction import sum, sum_to
from .views import cast, narrow, turned

DEEPEST = 61_440  # terms of a sum: software devices cut a loop off after 65,535 turns

_specs = SpecCache()


def _spec(a: Tensor, b: Tensor) -> CommandSpec:
    """Of two tensors with at least two dimensions each."""
    key = (a.layout, b.layout)
    spec = _specs.get(key)
    if spec is not None:
        return spec
    x, y = key
    device = same_device("matmul", key)
    if x.dtype is not y.dtype:
        raise DTypeError(f"matmul: operands are {x.dtype.name} and {y.dtype.name}; convert one with .to(...)")
    if x.dtype.category == 0:
        raise DTypeError("matmul is not defined for bool; convert to a number first")
    check_dtype("matmul", device, x.dtype)
    if x.shape[-1] != y.shape[-2]:
        raise ShapeError(
            f"matmul: shapes {list(x.shape)} and {list(y.shape)} do not fit: the first has {x.shape[-1]} columns, "
            f"the second {y.shape[-2]} rows"
        )
    batch = broadcast_shapes("matmul (batch dimensions)", x.shape[:-2], y.shape[:-2])
    inputs = []
    for layout in key:
        lead = len(batch) - (len(layout.shape) - 2)
        strides = (0,) * lead + tuple(0 if n == 1 else s for n, s in zip(layout.shape[:-2], layout.strides[:-2], strict=True))
        inputs.append(layout_of(device, layout.dtype, batch + layout.shape[-2:], strides + layout.strides[-2:]))
    out = layout_of(device, x.dtype, (*batch, x.shape[-2], y.shape[-1]))
    check_size("matmul", out)
    if x.shape[-1] == 0:
        return _specs.put(key, CommandSpec("elementwise", "matmul", (), (out,), _zero(out.dtype)))
    return _specs.put(key, CommandSpec("matmul", "matmul", tuple(inputs), (out,)))


def _zero(dtype: Any) -> Any:
    """A product over nothing is zero."""
    from ..runtime.command import Program, step

    return Program((), (dtype,), (step("sub", dtype, (0, 0)),), (1,))


def _grad_matmul(n: Node, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b = n.values()
    da, db = _grad_factors(n, a, b, g)
    return None if da is None else sum_to(da, a.shape), None if db is None else sum_to(db, b.shape)


def _grad_factors(n: Node, a: Tensor, b: Tensor, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of ``a`` and ``b``, the first inputs of ``n``, for that of ``a @ b``; not yet summed over broadcast dimensions."""
    da = db = None
    if n.needs(0):
        da = _turned(_product(b, _turned(g))) if _is_transposed(a) else _product(g, _turned(b))
    if n.needs(1):
        # For `x @ weight.T` this comes out as the weight lies in memory, so that nothing has to be turned around.
        db = _turned(_product(_turned(g), a)) if _is_transposed(b) else _product(_turned(a), g)
    return da, db


def _turned(x: Tensor) -> Tensor:
    return x.mT if x.requires_grad and recording.get() else turned(x)


def _is_transposed(x: Tensor) -> bool:
    return x.layout.strides[-2] == 1 and x.layout.strides[-1] != 1


def _deep(a: Tensor, b: Tensor) -> Tensor:
    """A product in pieces of its inner dimension, in float32 where the operands have 16 bits."""
    depth, wide = a.shape[-1], a.dtype.is_floating_point and a.dtype.itemsize == 2
    out: Tensor | None = None
    with no_grad():
        for start in range(0, depth, DEEPEST):
            pieces = narrow(a.detach(), -1, start, min(DEEPEST, depth - start)), narrow(b.detach(), -2, start, min(DEEPEST, depth - start))
            part = _product(*[cast(x, dt.float32) if wide else x for x in pieces])
            out = part if out is None else out + part
        assert out is not None
        out = cast(out, a.dtype)
    return tape(out, "matmul", _grad_matmul, (a, b), (a, b))


def _product(a: Tensor, b: Tensor) -> Tensor:
    spec = _spec(a, b)
    if a.layout.shape[-1] > DEEPEST and a.layout.device.driver.traits.kind == "software":
        return _deep(a, b)
    return tape(_enqueued(spec, a, b), "matmul", _grad_matmul, (a, b), (a, b))


def _enqueued(spec: CommandSpec, a: Tensor, b: Tensor) -> Tensor:
    return enqueue(spec, (a, b)) if spec.kind == "matmul" else enqueue(spec, (), (0,))


@takes_out
def matmul(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """The matrix product. A 1-D first operand is a row, a 1-D second one a column; leading dimensions broadcast."""
    if not isinstance(input, Tensor) or not isinstance(other, Tensor):
        late = isinstance(input, Readback) or isinstance(other, Readback)
        hint = ": write `await` in front of the readback to get its value" if late else ""
        raise TypeError(f"matmul takes two tensors, got {type(input).__name__} and {type(other).__name__}{hint}")
    if low_dtypes.get() is not None:
        input, other = lowered(input, other)
    if input.ndim == 0 or other.ndim == 0:
        raise ShapeError(f"matmul: operands need at least one dimension, got shapes {list(input.shape)} and {list(other.shape)}; use *")
    left = input.unsqueeze(0) if input.ndim == 1 else input
    right = other.unsqueeze(1) if other.ndim == 1 else other
    made = _product(left, right)
    if other.ndim == 1:
        made = made.squeeze(-1)
    return made.squeeze(-1 if other.ndim == 1 else -2) if input.ndim == 1 else made


@takes_out
def bmm(input: Tensor, mat2: Tensor, *, out: Any = None) -> Tensor:
    """A batch of matrix products: ``[n, r, k] @ [n, k, c]``."""
    if input.ndim != 3 or mat2.ndim != 3 or input.shape[0] != mat2.shape[0]:
        raise ShapeError(f"bmm takes two tensors [n, r, k] and [n, k, c], got {list(input.shape)} and {list(mat2.shape)}")
    return matmul(input, mat2)


@takes_out
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1, out: Any = None) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)``."""
    input, mat1, mat2 = lowered(input, mat1, mat2)
    product = matmul(mat1, mat2)
    return added(input, product, beta, alpha)


def added(input: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    """``beta * input + alpha * product``; with ``beta`` 0 nothing of ``input`` shows, not even NaN."""
    scaled = product if alpha == 1 else product * alpha
    if beta == 0 and not input.requires_grad:
        input.expand(product.shape)  # it has to fit
        return scaled
    return (input if beta == 1 else input * beta) + scaled


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` for ``x`` of ``[..., in]``, ``weight`` of ``[out, in]``, ``bias`` of ``[out]``."""
    if weight.ndim != 2:
        raise ShapeError(f"linear: weight is [out, in], got {list(weight.shape)}")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: input of shape {list(x.shape)} has no last dimension of {weight.shape[1]}, as weight {list(weight.shape)} wants"
        )
    if bias is not None and bias.shape != (weight.shape[0],):
        raise ShapeError(f"linear: bias has shape {list(bias.shape)}, weight {list(weight.shape)} wants [{weight.shape[0]}]")
    if low_dtypes.get() is not None:
        x, weight, bias = lowered(x, weight, bias)
    # The bias is added to the matrix as the product leaves it, whatever the shape: so it is part of the product's kernel.
    rows = x if x.ndim <= 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    if rows.ndim == 2 and (bias is None or bias.layout.dtype is x.layout.dtype) and x.shape[-1] <= DEEPEST:
        out = _affine(rows, weight, bias)
    else:
        out = matmul(rows, weight.mT)
        out = out if bias is None else out + bias
    return out if x.ndim <= 2 else out.reshape(*x.shape[:-1], weight.shape[0])


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Of matrices; one node, where the operations that it is made of would be three."""
    across = turned(weight)
    out = _enqueued(_spec(x, across), x, across)
    if bias is None:
        return tape(out, "linear", _grad_affine, (x, weight), (x, weight))
    return tape(add.of_two(out, bias.detach()), "linear", _grad_affine, (x, weight, bias), (x, weight))


def _grad_affine(n: Node, g: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = n.values()
    dx, across = _grad_factors(n, x, _turned(weight), g)
    dweight = None if across is None else _turned(across)
    if len(n.edges) == 2:
        return dx, dweight
    return dx, dweight, sum(g, 0) if n.needs(2) else None


@in_widest_precision
def bilinear(x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``y[k] = x1 @ weight[k] @ x2 + bias[k]`` for inputs ``[..., in1]`` and ``[..., in2]``, ``weight`` of ``[out, in1, in2]`` and
    ``bias`` of ``[out]``.

    One product with the weight as a matrix, and a sum of products with ``x2``.
    """
    if weight.ndim != 3:
        raise ShapeError(f"bilinear: weight is [out, in1, in2], got {list(weight.shape)}")
    outputs, first, second = weight.shape
    if x1.shape[:-1] != x2.shape[:-1] or x1.shape[-1:] != (first,) or x2.shape[-1:] != (second,):
        raise ShapeError(f"bilinear: inputs are [..., {first}] and [..., {second}], got {list(x1.shape)} and {list(x2.shape)}")
    rows = math.prod(x1.shape[:-1])
    halfway = matmul(x1.reshape(rows, first), weight.permute(1, 0, 2).reshape(first, outputs * second))
    out = matmul(halfway.reshape(rows, outputs, second), x2.reshape(rows, second, 1)).reshape(*x1.shape[:-1], outputs)
    return out if bias is None else out + bias
