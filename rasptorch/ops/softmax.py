"""Softmax and its logarithm over one dimension: one pass kernel forward, fusable operations backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.errors import DTypeError
from ..runtime.layout import layout_of
from ..tensor import Tensor, _axis
from .aliases import takes_axis
from .dispatch import SpecCache, check_dtype, enqueue, tape
from .functions import exp, log
from .precision import in_full_precision
from .reduction import amax, sum

LONG = 16_384  # entries of a row from which on one invocation is not enough

_specs = SpecCache()


def _rows(name: str, x: Tensor, dim: int, gradient: Callable[[Node, Tensor], tuple[Tensor]]) -> Tensor:
    """Run the row kernel ``name`` along ``dim``."""
    if not x.dtype.is_floating_point:
        raise DTypeError(f"{name} is not defined for {x.dtype.name}; convert with .to(rasptorch.float32)")
    axis = _axis(name, dim, x.ndim)
    if x.ndim == 0:
        return _rows(name, x.reshape(1), 0, gradient).reshape(())
    if axis != x.ndim - 1:
        return _rows(name, x.transpose(axis, -1), -1, gradient).transpose(axis, -1)
    if x.shape[-1] > LONG and x.device.driver.traits.kind != "host":
        return tape(_of_long_rows(name, x.detach()), name, gradient, (x,), (), axis, keep_output=True)
    source, x = x, x.contiguous()
    key = (name, x.layout)
    spec = _specs.get(key)
    if spec is None:
        layout = x.layout
        check_dtype(name, layout.device, layout.dtype)
        out = layout_of(layout.device, layout.dtype, layout.shape)
        columns = layout.shape[-1]
        rows = layout.numel // columns if columns else 0
        spec = _specs.put(key, CommandSpec("shader", name, (layout,), (out,), None, (name, 40 * rows * columns, rows, columns)))
    return tape(enqueue(spec, (x,)), name, gradient, (source,), (), axis, keep_output=True)


def _of_long_rows(name: str, x: Tensor) -> Tensor:
    """By reductions, which share a row among many invocations; software devices may cut a loop off after 65,535 turns."""
    with no_grad():
        wide = x.to(dt.float32) if x.dtype.itemsize == 2 else x
        shifted = wide - amax(wide, -1, True)
        total = sum(exp(shifted), -1, True)
        out = exp(shifted) / total if name == "softmax" else shifted - log(total)
    return out.to(x.dtype)


def grad_log_softmax(n: Node, g: Tensor) -> tuple[Tensor]:
    return (g - exp(n.result()) * sum(g, n.attributes, True),)


def _grad_softmax(n: Node, g: Tensor) -> tuple[Tensor]:
    y = n.result()
    return (y * (g - sum(g * y, n.attributes, True)),)


@takes_axis
@in_full_precision
def log_softmax(input: Tensor, dim: int = -1, *, dtype: Any = None) -> Tensor:
    """``log(softmax(input))`` along ``dim``, without overflow for any finite input; computed in ``dtype`` if given."""
    return _rows("log_softmax", input if dtype is None else input.to(dtype), dim, grad_log_softmax)


@takes_axis
@in_full_precision
def softmax(input: Tensor, dim: int = -1, *, dtype: Any = None) -> Tensor:
    """``exp(input) / sum(exp(input))`` along ``dim``, without overflow for any finite input; computed in ``dtype`` if given."""
    return _rows("softmax", input if dtype is None else input.to(dtype), dim, _grad_softmax)
