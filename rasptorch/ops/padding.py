"""Borders around tensors: forward and gradient side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd.mode import no_grad
from ..autograd.node import Node
from ..runtime.errors import ShapeError
from ..tensor import Tensor
from .creation import full
from .dispatch import tape
from .joining import cat
from .mapping import Border, widened
from .on_host import on_host
from .views import clone, copy_into, narrow

THIN = 32  # reflected entries up to which slices of one entry each are worth it
MODES = ("constant", "reflect", "replicate", "circular")


def _inner(x: Tensor, border: Sequence[tuple[int, int]]) -> Tensor:
    """Without the border."""
    for axis, (before, after) in enumerate(border):
        if before or after:
            x = narrow(x, axis, before, x.shape[axis] - before - after)
    return x


def _grad_pad(n: Node, g: Tensor) -> tuple[Tensor]:
    return (_inner(g, n.attributes),)


def _constant(x: Tensor, border: list[tuple[int, int]], value: float) -> Tensor:
    """A negative border cuts off what is there."""
    x = _inner(x, [(max(-before, 0), max(-after, 0)) for before, after in border])
    border = [(max(before, 0), max(after, 0)) for before, after in border]
    if not any(map(any, border)):
        return clone(x)
    with no_grad():
        shape = [n + before + after for n, (before, after) in zip(x.shape, border, strict=True)]
        out = full(shape, value, dtype=x.dtype, device=x.device)
        if x.layout.numel:
            copy_into(_inner(out, border), x)
    return tape(out, "pad", _grad_pad, (x,), (), tuple(border))


def _border(x: Tensor, axis: int, before: int, after: int, mode: str) -> Border:
    """Copies of ``x``'s own entries at both ends of ``axis``."""
    n = x.shape[axis]
    most = {"reflect": n - 1, "circular": n}.get(mode)
    if n == 0 or (most is not None and max(before, after) > most):
        raise ShapeError(
            f"pad: mode {mode!r} takes its border of {before} and {after} entries from dimension {axis} of shape "
            f"{list(x.shape)}, which has {'none' if n == 0 else f'{most} to give'}; use a smaller one, or mode 'replicate' or 'constant'"
        )
    return Border(axis, mode, n, before, after)


def _joined(x: Tensor, border: Border) -> Tensor:
    """The same by slices of ``x``, copied one after another."""
    axis, mode, n, before, after = border
    if mode != "reflect":
        ends = []
        for width, start, edge in ((before, n - before, 0), (after, 0, n - 1)):
            wide = (*x.shape[:axis], width, *x.shape[axis + 1 :])
            ends.append(narrow(x, axis, start, width) if mode == "circular" else narrow(x, axis, edge, 1).expand(wide))
        # An end without entries would have a gradient to be computed.
        return cat([*ends[: before > 0], x, *ends[1 : 1 + (after > 0)]], axis)
    # Strides are never negative, so every reflected entry is a slice of its own: borders are thin.
    left = [narrow(x, axis, k, 1) for k in range(before, 0, -1)]
    right = [narrow(x, axis, n - 2 - k, 1) for k in range(after)]
    return cat([*left, x, *right], axis)


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Tensor:
    """A border around ``input``; ``pad`` gives its width before and after, for the last dimension first.

    ``mode``: ``constant`` (``value``, 0 unless given; negative widths cut off), ``reflect`` (mirrored at the first and last entry,
    which are not repeated), ``replicate`` (the edge again and again) or ``circular``; on Vulkan these three take one kernel.
    """
    widths = list(pad)
    if len(widths) % 2 or len(widths) > 2 * input.ndim:
        raise ShapeError(f"pad: {widths} does not give two widths for each of at most {input.ndim} dimensions (shape {list(input.shape)})")
    if mode not in MODES:
        raise ValueError(f"pad: mode is one of {', '.join(MODES)}, got {mode!r}")
    border = [(0, 0)] * (input.ndim - len(widths) // 2)
    border += [(widths[k - 2], widths[k - 1]) for k in range(len(widths), 0, -2)]
    for n, (before, after) in zip(input.shape, border, strict=True):
        if n + before + after < 0 or max(-before, 0) + max(-after, 0) > n:
            raise ShapeError(f"pad: {widths} cuts off more than shape {list(input.shape)} has")
    if mode == "constant":
        return _constant(input, border, 0 if value is None else value)
    if value is not None:
        raise ValueError(f"pad: mode {mode!r} takes no value, got {value}")
    if min(widths, default=0) < 0:
        raise ShapeError(f"pad: mode {mode!r} takes no negative widths, got {widths}; use mode 'constant' to cut off")
    borders = tuple(_border(input, axis, *widths, mode) for axis, widths in enumerate(border) if any(widths))
    if not borders:
        return clone(input)
    if not on_host(input) or (mode == "reflect" and sum(b.before + b.after for b in borders) > THIN):
        return widened(input, borders)
    for found in reversed(borders):
        input = _joined(input, found)
    return input
