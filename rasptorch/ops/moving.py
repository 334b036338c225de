"""Entries of rows read and written at given places: what sorting, choosing and their gradients move data with."""

from __future__ import annotations

from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.layout import layout_of
from ..tensor import Tensor
from .dispatch import SpecCache, check_size, enqueue, tape
from .views import contiguous

_specs = SpecCache()


def _move(name: str, x: Tensor, index: Tensor, length: int) -> Tensor:
    """``pick`` or ``put``; ``length``: of the rows that the places are in."""
    x, index = contiguous(x), contiguous(index)
    key = (name, x.layout, index.layout, length)
    spec = _specs.get(key)
    if spec is None:
        assert index.dtype is dt.int32
        rows, count = index.shape
        out = layout_of(x.device, x.dtype, (rows, count if name == "pick" else length))
        check_size(name, out)
        work = 4 * max(rows * count, out.numel)
        spec = _specs.put(
            key, CommandSpec("shader", name, (x.layout, index.layout), (out,), None, (name, work, rows, length, count))
        )
    return enqueue(spec, (x, index))


def _grad_pick(n: Node, g: Tensor) -> tuple[Tensor]:
    (index,) = n.values()
    return (put_rows(n.attributes, index, g),)


def pick_rows(x: Tensor, index: Tensor) -> Tensor:
    """``out[r, k] = x[r, index[r, k]]``: ``x`` is ``[rows, n]``, ``index`` ``[rows, count]`` int32 in range, different in each row."""
    return tape(_move("pick", x, index, x.shape[1]), "pick_rows", _grad_pick, (x,), (index,), x.shape[1])


def _grad_put(n: Node, g: Tensor) -> tuple[Tensor]:
    (index,) = n.values()
    return (pick_rows(g, index),)


def put_rows(length: int, index: Tensor, values: Tensor) -> Tensor:
    """``out[r, index[r, k]] = values[r, k]`` in rows of ``length`` zeros; the places are in range and different in each row."""
    return tape(_move("put", values, index, length), "put_rows", _grad_put, (values,), (index,))
