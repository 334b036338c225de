"""Entries read and written at given places: what sorting, scattering and their gradients move data with.

Places are int32 and in range: whoever calls has checked them. Only bits move here, so every dtype can.
"""

from __future__ import annotations

from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.command import CommandSpec
from ..runtime.layout import layout_of
from ..tensor import Tensor
from .dispatch import SpecCache, check_size, enqueue, tape
from .views import contiguous

_specs = SpecCache()
Sizes = tuple[int, int, int, int]  # rows, their length where the places are, places in each, elements of an entry


def _move(name: str, x: Tensor, index: Tensor, sizes: Sizes, shape: tuple[int, ...]) -> Tensor:
    x, index = contiguous(x), contiguous(index)
    key = (name, x.layout, index.layout, sizes)
    spec = _specs.get(key)
    if spec is None:
        assert index.dtype is dt.int32
        out = layout_of(x.device, x.dtype, shape)
        check_size(name, out)
        work = 4 * max(out.numel, x.layout.numel)
        spec = _specs.put(key, CommandSpec("shader", name, (x.layout, index.layout), (out,), None, (name, work, *sizes)))
    return enqueue(spec, (x, index))


def _grad_pick(n: Node, g: Tensor) -> tuple[Tensor]:
    (index,) = n.values()
    return (put_rows(n.attributes, index, g),)


def pick_rows(x: Tensor, index: Tensor) -> Tensor:
    """``out[r, k] = x[r, index[r, k]]``: ``x`` is ``[rows, n]``, ``index`` ``[rows, count]``, different numbers in each row."""
    rows, length = x.shape
    out = _move("pick", x, index, (rows, length, index.shape[1], 1), index.shape)
    return tape(out, "pick_rows", _grad_pick, (x,), (index,), length)


def _grad_put(n: Node, g: Tensor) -> tuple[Tensor]:
    (index,) = n.values()
    return (pick_rows(g, index),)


def put_rows(length: int, index: Tensor, values: Tensor) -> Tensor:
    """``out[r, index[r, k]] = values[r, k]`` in rows of ``length`` zeros; different numbers in each row of ``index``."""
    rows, count = index.shape
    out = _move("put", values, index, (rows, length, count, 1), (rows, length))
    return tape(out, "put_rows", _grad_put, (values,), (index,))


def _grad_select(n: Node, g: Tensor) -> tuple[Tensor]:
    from .scattering import sum_into

    (index,) = n.values()
    return (sum_into(n.attributes, index, g),)


def select_rows(x: Tensor, index: Tensor) -> Tensor:
    """``out[k] = x[index[k]]``: ``x`` is ``[n, m]`` or ``[n]``, ``index`` ``[count]``; numbers may repeat."""
    (count,) = index.shape
    columns = x.shape[1] if x.ndim == 2 else 1
    out = _move("pick", x, index, (1, x.shape[0], count, columns), (count, *x.shape[1:]))
    return tape(out, "select_rows", _grad_select, (x,), (index,), x.shape[0])
