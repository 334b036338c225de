"""Scaled dot-product attention (Vaswani et al., NeurIPS 2017), forward and gradient side by side.

Small problems keep the probabilities for backward. Where those would take more than `SCORES_KEPT` bytes, nothing of the size
queries times keys is kept: forward goes over blocks of queries and keeps the logarithm of each row's sum of exponentials, from which
backward computes the probabilities anew, block by block (Rabe and Staats, 2021). All blocks use the same scratch memory: each has to
wait for the one before it, which is what bounds the memory, as the planner would run independent blocks side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..autograd.mode import no_grad, recording
from ..autograd.node import Node
from ..runtime import dtype as dt
from ..runtime.capture import live
from ..runtime.command import CommandSpec
from ..runtime.errors import DTypeError, ShapeError
from ..runtime.layout import broadcast_shapes, layout_of
from ..tensor import Tensor
from .arithmetic import add, where
from .comparison import eq
from .creation import empty, zeros
from .dispatch import SpecCache, enqueue, same_device, tape
from .functions import exp, log
from .linalg import matmul
from .precision import in_low_precision
from .program import ProgramWriter
from .random import Generator, _bits_spec, default_generator
from .reduction import amax, sum, sum_to
from .softmax import softmax
from .views import copy_into

SCORES_KEPT: Final = 16 << 20  # bytes of probabilities up to which they are kept for backward
BLOCK: Final = 4 << 20  # bytes of probabilities of one block of queries
INF = float("inf")
_causal = SpecCache()


class _Dropping:
    """Which probabilities are dropped: drawn in forward, drawn again, the same ones, in backward. Nothing is stored but counters."""

    def __init__(self, p: float, generator: Generator | None) -> None:
        self.p: Final = p
        self._draw = (generator or default_generator).draw
        self._words: dict[int, Sequence[int]] = {}

    def _drawn(self, block: int) -> Sequence[int]:
        self._words[block] = self._draw()
        return self._words[block]

    def __call__(self, x: Tensor, block: int, again: bool) -> Tensor:
        """``x`` over ``1 - p`` where it is kept, 0 elsewhere. ``again``: as forward did for this block."""
        layout = layout_of(x.device, dt.float32, x.shape)
        words = (lambda: self._words[block]) if again else (lambda: self._drawn(block))
        drawn = enqueue(_bits_spec(layout, dt.float32), (), live(layout.device.stream(), words))
        return where(drawn >= self.p, x / ((1.0 - self.p) or 1.0), 0.0)  # with 1 nothing is kept


@dataclass(frozen=True, slots=True)
class _Form:
    """``rows``: queries per block; all of them where the probabilities are kept. ``batch`` is what the leading dimensions become."""

    scale: float
    causal: bool
    rows: int
    batch: tuple[int, ...]
    dropping: _Dropping | None = field(compare=False)

    def dropped(self, x: Tensor, block: int, again: bool) -> Tensor:
        return x if self.dropping is None else self.dropping(x, block, again)


def _below_diagonal(x: Tensor, offset: int, fill: float) -> Tensor:
    """``x`` where the column is not greater than the row plus ``offset``, ``fill`` elsewhere."""
    spec = _causal.get(x.layout)
    if spec is None:
        write = ProgramWriter((x.dtype,), (dt.int32, dt.int32, dt.int32, x.dtype))
        value, rows, columns, first, other = write.registers
        position = write.index(dt.int32)
        row = write("add", write("remainder", write("floor_divide", position, columns), rows), first)
        seen = write("ge", row, write("remainder", position, columns))
        out = layout_of(x.device, x.dtype, x.shape)
        program = write.program(write("where", seen, value, other))
        spec = _causal.put(x.layout, CommandSpec("elementwise", "causal_mask", (x.layout,), (out,), program))
    return tape(enqueue(spec, (x,), (*x.shape[-2:], offset, fill)), "causal_mask", _grad_below_diagonal, (x,), (), offset)


def _grad_below_diagonal(n: Node, g: Tensor) -> tuple[Tensor]:
    return (_below_diagonal(g, n.attributes, 0.0),)


def _scores(form: _Form, q: Tensor, k: Tensor, mask: Tensor | None, start: int) -> Tensor:
    out = matmul(q, k.mT) * form.scale
    if mask is not None:
        out = where(mask, out, -INF) if mask.dtype is dt.bool_ else out + mask
    return _below_diagonal(out, start, -INF) if form.causal else out


def _probabilities(form: _Form, q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    scores = _scores(form, q, k, mask, 0)
    out = softmax(scores)
    return out if mask is None else where(eq(scores, -INF), 0.0, out)  # a row without any key attends to nothing: not NaN


def in_order_of(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """A new tensor whose dimensions lie in memory in the order in which those of ``like`` do."""
    order = sorted(range(len(shape)), key=lambda a: -like.layout.strides[a])
    made = empty([shape[a] for a in order], dtype=like.dtype, device=like.device)
    back = [order.index(a) for a in range(len(shape))]
    return made.permute(*back) if shape else made


# -- with the probabilities kept -----------------------------------------------------------------------------------
def _forward(form: _Form, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
    kept = _probabilities(form, q, k, mask)
    copy_into(out, matmul(form.dropped(kept, 0, False), v))
    return kept


def _gradients(
    form: _Form, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, kept: Tensor, out: Tensor | None, g: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For queries, keys, values and the scores. ``out`` is the result, for where the gradient need not be differentiated."""
    pulled = form.dropped(matmul(g, v.mT), 0, True)
    along = sum(pulled * kept if out is None else g * out, -1, True)
    slope = kept * (pulled - along)
    dv = matmul(form.dropped(kept, 0, True).mT, g)
    return matmul(slope, k) * form.scale, matmul(slope.mT, q) * form.scale, dv, slope


# -- block by block ------------------------------------------------------------------------------------------------
def _rows_of(x: Tensor | None, start: int, stop: int) -> Tensor | None:
    return x if x is None or x.ndim < 2 or x.shape[-2] == 1 else x[..., start:stop, :]


def _blocks(form: _Form, queries: int, keys: int) -> list[tuple[int, int, int, int]]:
    """Number, first and last query, and how many keys they may see."""
    starts = range(0, queries, form.rows)
    stops = [min(start + form.rows, queries) for start in starts]
    return [(b, start, stop, min(keys, stop) if form.causal else keys) for b, (start, stop) in enumerate(zip(starts, stops, strict=True))]


def _seen(mask: Tensor | None, start: int, stop: int, end: int) -> Tensor | None:
    rows = _rows_of(mask, start, stop)
    return rows if rows is None or rows.shape[-1] == 1 else rows[..., :end]


def _forward_in_blocks(form: _Form, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
    """Writes ``out`` and returns each row's logarithm of the sum of exponentials: infinite where there is no key."""
    queries, keys = q.shape[-2], k.shape[-2]
    wide = dt.float64 if q.dtype is dt.float64 else dt.float32
    sums = empty(*form.batch, queries, 1, dtype=wide, device=q.device)
    scratch = empty(*form.batch, form.rows, keys, dtype=q.dtype, device=q.device)

    def one(block: int, start: int, stop: int, end: int) -> None:
        part = scratch[..., : stop - start, :end]
        copy_into(part, _scores(form, q[..., start:stop, :], k[..., :end, :], _seen(mask, start, stop, end), start))
        top = amax(part, -1, True).to(wide)
        top = where(eq(top, -INF), 0.0, top)
        total = sum(exp(part.to(wide) - top), -1, True)
        logs = where(eq(total, 0.0), INF, log(total) + top)
        copy_into(sums[..., start:stop, :], logs)
        copy_into(part, form.dropped(exp(part.to(wide) - logs).to(q.dtype), block, False))
        copy_into(out[..., start:stop, :], matmul(part, v[..., :end, :]))

    for which in _blocks(form, queries, keys):
        one(*which)  # a call each: tensors that this function still held when the batch goes out would be stored
    return sums


def _gradients_in_blocks(
    form: _Form, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, sums: Tensor, out: Tensor, g: Tensor, mask_wanted: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    queries, keys = q.shape[-2], k.shape[-2]
    at: dict[str, Any] = {"dtype": q.dtype, "device": q.device}
    dq, dk, dv = empty(*form.batch, *q.shape[-2:], **at), zeros(k.shape, **at), zeros(v.shape, **at)
    dmask = zeros(mask.shape, **at) if mask_wanted and mask is not None else None
    chances, slopes = (empty(*form.batch, form.rows, keys, **at) for _ in range(2))
    along = sum(g * out, -1, True)

    def one(block: int, start: int, stop: int, end: int) -> None:
        p, d = (x[..., : stop - start, :end] for x in (chances, slopes))
        mine, keyed, pulled = q[..., start:stop, :], k[..., :end, :], g[..., start:stop, :]
        scores = _scores(form, mine, keyed, _seen(mask, start, stop, end), start)
        copy_into(p, exp(scores.to(sums.dtype) - sums[..., start:stop, :]).to(q.dtype))
        back = form.dropped(matmul(pulled, v[..., :end, :].mT), block, True)
        copy_into(d, p * (back - along[..., start:stop, :]))
        if form.dropping is not None:
            copy_into(p, form.dropped(p, block, True))
        copy_into(dq[..., start:stop, :], matmul(d, keyed) * form.scale)
        _accumulate(dk[..., :end, :], matmul(d.mT, mine) * form.scale)
        _accumulate(dv[..., :end, :], matmul(p.mT, pulled))
        if dmask is not None:
            seen = _seen(dmask, start, stop, end)
            assert seen is not None
            _accumulate(seen, d)

    for which in _blocks(form, queries, keys):
        one(*which)
    return sum_to(dq, q.shape), dk, dv, dmask


def _accumulate(target: Tensor, part: Tensor) -> None:
    add.in_place(target, sum_to(part, target.shape))


# -- the operation -------------------------------------------------------------------------------------------------
def _form(q: Tensor, k: Tensor, mask: Tensor | None, p: float, causal: bool, scale: float | None, generator: Generator | None) -> _Form:
    batch = broadcast_shapes("scaled_dot_product_attention (batch dimensions)", q.shape[:-2], k.shape[:-2])
    if mask is not None:
        batch = broadcast_shapes("scaled_dot_product_attention (attn_mask)", (*batch, q.shape[-2], k.shape[-2]), mask.shape)[:-2]
    row = math.prod(batch) * k.shape[-2] * q.dtype.itemsize
    rows = q.shape[-2]
    if row * rows > SCORES_KEPT:
        rows = max(1, min(rows, BLOCK // row))
    if scale is None:
        scale = 1.0 / math.sqrt(q.shape[-1]) if q.shape[-1] else 1.0
    return _Form(float(scale), causal, rows, batch, _Dropping(p, generator) if p else None)


def _attend(form: _Form, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The result, and what backward needs besides the operands."""
    with no_grad():
        shape = (*broadcast_shapes("scaled_dot_product_attention", form.batch, v.shape[:-2]), q.shape[-2], v.shape[-1])
        out = in_order_of(shape, q) if len(shape) == q.ndim else empty(shape, dtype=q.dtype, device=q.device)
        whole = form.rows == q.shape[-2]
        return out, (_forward if whole else _forward_in_blocks)(form, q, k, v, mask, out)


def _backward(
    form: _Form, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, kept: Tensor, out: Tensor, g: Tensor, mask_wanted: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    if recording.get():  # to be differentiated again: from operations that are taped
        kept = _probabilities(form, q, k, mask)
        dq, dk, dv, slope = _gradients(form, q, k, v, mask, kept, None, g)
    elif form.rows == q.shape[-2]:
        dq, dk, dv, slope = _gradients(form, q, k, v, mask, kept, out, g)
    else:
        return _gradients_in_blocks(form, q, k, v, mask, kept, out, g, mask_wanted)
    dmask = sum_to(slope, mask.shape) if mask_wanted and mask is not None else None
    return sum_to(dq, q.shape), sum_to(dk, k.shape), sum_to(dv, v.shape), dmask


def _grad_attention(n: Node, g: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, mask, kept = n.values()
    return _backward(n.attributes, q, k, v, mask, kept, n.result().detach(), g, n.needs(3))


def _checked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float, is_causal: bool) -> None:
    name = "scaled_dot_product_attention"
    for x in (q, k, v):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} takes tensors, got {type(x).__name__}")
        if x.ndim < 2:
            raise ShapeError(f"{name}: query, key and value are [..., length, features], got shape {list(x.shape)}")
        if not x.dtype.is_floating_point or x.dtype is not q.dtype:
            raise DTypeError(f"{name}: query, key and value share one floating-point dtype, got {q.dtype.name} and {x.dtype.name}")
    same_device(name, [x.layout for x in (q, k, v, mask) if x is not None])
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ShapeError(
            f"{name}: query {list(q.shape)} and key {list(k.shape)} have the same number of features, key and value {list(v.shape)} "
            "the same length"
        )
    if mask is not None:
        if is_causal:
            raise ValueError(f"{name}: give attn_mask or is_causal=True, not both")
        if mask.dtype is not dt.bool_ and mask.dtype is not q.dtype:
            raise DTypeError(f"{name}: attn_mask is bool (true: may be attended to) or {q.dtype.name} (added), got {mask.dtype.name}")
    if not 0.0 <= dropout_p <= 1.0:
        raise ValueError(f"{name}: dropout_p is a probability between 0 and 1, got {dropout_p}")


@in_low_precision
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """``softmax(query @ key.T * scale + mask) @ value``: ``[..., queries, e]``, ``[..., keys, e]``, ``[..., keys, v]`` give
    ``[..., queries, v]``.

    ``attn_mask`` broadcasts to ``[..., queries, keys]``: booleans, true where a key takes part, or numbers that are added to the
    scores. A query without any key gets zeros. ``is_causal``: query ``i`` sees keys ``0..i``. ``scale`` is ``1 / sqrt(e)`` when left out.
    Probabilities are dropped with ``dropout_p``, always: pass 0 in evaluation. ``enable_gqa``: key and value have fewer heads
    (dimension -3), each of which serves several of the query's, one after another.

    Large inputs are computed in blocks of queries, and nothing of the size queries times keys is kept for backward.
    """
    if enable_gqa and query.ndim >= 3 and key.ndim >= 3 and query.shape[-3] != key.shape[-3]:
        if key.shape[-3] != value.shape[-3] or query.shape[-3] % key.shape[-3]:
            raise ShapeError(
                f"scaled_dot_product_attention: {query.shape[-3]} heads of the query are no multiple of the {key.shape[-3]} of the key "
                f"and {value.shape[-3]} of the value"
            )
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    _checked(query, key, value, attn_mask, dropout_p, is_causal)
    form = _form(query, key, attn_mask, dropout_p, is_causal, scale, generator)
    out, kept = _attend(form, query, key, value, attn_mask)
    return tape(
        out, "attention", _grad_attention, (query, key, value, attn_mask), (query, key, value, attn_mask, kept), form, keep_output=True
    )


# -- queries, keys and values in one tensor -------------------------------------------------------------------------
def _parted(packed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``[n, length, 3, heads, e]`` as three of ``[n, heads, length, e]``."""
    q, k, v = (packed[:, :, number].transpose(1, 2) for number in range(3))
    return q, k, v


def _grad_packed(n: Node, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    packed, mask, kept = n.values()
    found = _backward(n.attributes, *_parted(packed), mask, kept, n.result().detach(), g, n.needs(1))
    if recording.get():
        from .joining import stack

        return stack([d.transpose(1, 2) for d in found[:3] if d is not None], 2), found[3]
    out = in_order_of(packed.shape, packed)
    for target, part in zip(_parted(out), found, strict=False):
        assert part is not None
        copy_into(target, part)
    return out, found[3]


@in_low_precision
def packed_attention(
    packed: Tensor, attn_mask: Tensor | None, dropout_p: float, is_causal: bool, generator: Generator | None = None
) -> Tensor:
    """`scaled_dot_product_attention` of ``[n, length, 3, heads, e]``, as a projection to all three gives it, to ``[n, heads, length, e]``.

    One node of the tape: the three gradients are written into one tensor where they are computed.
    """
    with no_grad():
        q, k, v = _parted(packed.detach())
    _checked(q, k, v, attn_mask, dropout_p, is_causal)
    form = _form(q, k, attn_mask, dropout_p, is_causal, None, generator)
    out, kept = _attend(form, q, k, v, attn_mask)
    return tape(out, "attention", _grad_packed, (packed, attn_mask), (packed, attn_mask, kept), form, keep_output=True)
