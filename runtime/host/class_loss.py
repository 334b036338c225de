"""Cross entropy of class numbers, and its gradient: all rows at once, where other devices compose several kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..plan.plan import ShaderKernel
from .elementwise import Pieces
from .record import Array, Binding, Runner, Workers, error_words, note_error
from .rows import EXPONENTIAL, STEPS, row_blocks, row_pieces


def class_loss(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    """The mean of minus the logarithms at the class numbers; those logarithms, the numbers (-1: does not count), and how many do."""
    lines, columns, ignored, tag = _integers(kernel)
    target, numbers = binding.rows(kernel.inputs[1], (1, lines))[0], binding.rows(kernel.outputs[2], (1, lines))[0]
    loss, counted = binding.array(kernel.outputs[0], ()), binding.array(kernel.outputs[3], ())
    flat = binding.rows(kernel.outputs[1], (1, lines * columns))[0]
    words = error_words(kernel, binding)
    assert words is not None
    pieces = row_pieces("log_softmax", kernel.inputs[0], kernel.outputs[1], (lines, columns), binding, driver)
    firsts, at, right = np.arange(lines) * columns, np.empty(lines, np.intp), np.empty(lines, flat.dtype)
    unsigned = target.view(f"u{target.itemsize}")  # in which negative numbers are the largest

    def run(_: Sequence[float]) -> None:
        pieces.run()
        if lines and not 0 <= ignored < columns and np.maximum.reduce(unsigned) < columns:
            np.copyto(numbers, target, casting="unsafe")
            np.add(firsts, numbers, at)
            flat.take(at, None, right, "clip")
            count = lines
        else:
            skip = target == ignored
            bad = ~skip & ((target < 0) | (target >= columns))
            if bad.any():
                worst = int(target[bad][0])
                note_error(words, tag, max(-(1 << 31), min(worst, (1 << 31) - 1)), -columns)
            np.copyto(numbers, np.where(skip, -1, np.where(bad, 0, target)), casting="unsafe")
            # Chosen, not multiplied: 0 times the logarithm of 0 would be NaN.
            right[:] = 0 if not columns else np.where(skip, 0, flat[firsts + np.maximum(numbers, 0)])
            count = lines - int(np.count_nonzero(skip))
        counted[...] = count
        np.add.reduce(right, out=loss)
        np.negative(loss, loss)
        np.divide(loss, counted, loss)

    return run


def class_loss_back(kernel: ShaderKernel, binding: Binding, driver: Workers) -> Runner:
    """The gradient of the logits: softmax, less 1 at the class numbers, times the gradient over how many count."""
    lines, columns = _integers(kernel)
    logs, out = (binding.rows(o, (lines, columns)) for o in (kernel.inputs[0], kernel.outputs[0]))
    numbers = binding.rows(kernel.inputs[1], (1, lines))[0]
    counted, gradient = (binding.array(o, ()) for o in kernel.inputs[2:])
    scale = np.empty((), out.dtype)
    blocks = row_blocks(lines, columns)
    pieces = Pieces(EXPONENTIAL * out.size, len(blocks), STEPS, driver)
    for rows in blocks:
        count = rows.stop - rows.start
        call = _slopes, (logs[rows], numbers[rows], np.arange(count) * columns, scale, np.empty(count, out.dtype), out[rows])
        pieces.add(lambda share, call=call: [call])  # type: ignore[misc]

    def run(_: Sequence[float]) -> None:
        np.divide(gradient, counted, scale)
        pieces.run()

    return run


def _slopes(logs: Array, numbers: Array, firsts: Array, scale: Array, right: Array, out: Array) -> None:
    flat = out.reshape(-1)
    np.exp(logs, out)
    at = firsts + np.maximum(numbers, 0)
    flat.take(at, None, right, "clip")
    np.subtract(right, 1, right)
    flat[at] = right
    np.multiply(out, scale, out)
    if np.minimum.reduce(numbers) < 0:
        out[numbers < 0] = 0  # not multiplied: a row may be NaN


def _integers(kernel: ShaderKernel) -> tuple[int, ...]:
    found = []
    for attribute in kernel.attributes:
        assert isinstance(attribute, int)
        found.append(attribute)
    return tuple(found)
