"""``repr`` of tensors: values where they are there, ``<pending>`` where printing would block a Trio loop.

The text is PyTorch's, apart from the names of dtypes, devices and gradient functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .runtime.waiting import in_trio_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .tensor import Tensor

    Array = NDArray[Any]


@dataclass(frozen=True)
class Options:
    """``precision``: digits after the point. Over ``threshold`` elements only ``edgeitems`` at each end of a dimension are shown."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


PROFILES = {"default": Options(), "short": Options(precision=2, edgeitems=2), "full": Options(threshold=math.inf)}
_options = [PROFILES["default"]]


def set_printoptions(
    precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None, linewidth: int | None = None,
    profile: str | None = None, sci_mode: bool | None = None,
) -> None:  # fmt: skip
    """How tensors are printed: see `Options`. ``profile`` is default, short or full; ``sci_mode`` None lets the values decide."""
    if profile is not None and profile not in PROFILES:
        raise ValueError(f"set_printoptions: profile is one of {', '.join(PROFILES)}, got {profile!r}")
    options = _options[0] if profile is None else PROFILES[profile]
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    _options[0] = replace(options, sci_mode=sci_mode, **changed)


def get_printoptions() -> dict[str, Any]:
    """The options as a dictionary."""
    return dict(vars(_options[0]))


class _Numbers:
    """How the numbers of one tensor are written: all in one width, as whole numbers, fractions or powers of ten."""

    def __init__(self, shown: Array, options: Options) -> None:
        self._precision = options.precision
        self._floating = shown.dtype.kind == "f"
        self._form = ""
        self.width = 1
        flat = shown.reshape(-1)
        if not self._floating:
            self.width = max([1, *(len(str(value)) for value in flat.tolist())])
            return
        flat = flat.astype(np.float64)
        counted = flat[np.isfinite(flat) & (flat != 0)]
        if counted.size == 0:
            self._form = "whole"
            return
        sizes = np.abs(counted)
        least, most = float(sizes.min()), float(sizes.max())
        powers = most / least > 1000 or most > 1e8 or least < 1e-4
        if powers if options.sci_mode is None else options.sci_mode:
            self._form = "power"
        elif bool((counted == np.ceil(counted)).all()):
            self._form = "whole"
        self.width = max([1, *(len(self._text(value)) for value in counted.tolist())])

    def _text(self, value: Any) -> str:
        if not self._floating:
            return str(value)
        if self._form == "power":
            return f"{value:.{self._precision}e}"
        if self._form == "whole":
            return f"{value:.0f}" + ("." if math.isfinite(value) else "")
        return f"{value:.{self._precision}f}"

    def __call__(self, value: Any) -> str:
        return self._text(value).rjust(self.width)


def _ends(length: int, shorten: bool, edge: int) -> tuple[list[int], bool]:
    """Which entries of a dimension are shown, and whether some are left out in the middle."""
    if not shorten or length <= 2 * edge:
        return list(range(length)), False
    return [*range(edge), *range(length - edge, length)], True


def _shown(values: Array, shorten: bool, edge: int) -> Array:
    for axis, length in enumerate(values.shape):
        values = values.take(_ends(length, shorten, edge)[0], axis)
    return values


def _body(values: Array, indent: int, shorten: bool, numbers: _Numbers, options: Options) -> str:
    if values.ndim == 0:
        return numbers(values.item())
    kept, cut = _ends(len(values), shorten, options.edgeitems)
    middle = options.edgeitems
    if values.ndim == 1:
        texts = [numbers(values[k].item()) for k in kept]
        if cut:
            texts.insert(middle, " ...")
        per_line = max(1, (options.linewidth - indent) // (numbers.width + 2))
        lines = [", ".join(texts[k : k + per_line]) for k in range(0, len(texts), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    parts = [_body(values[k], indent + 1, shorten, numbers, options) for k in kept]
    if cut:
        parts.insert(middle, "...")
    return "[" + ("," + "\n" * (values.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _with_notes(text: str, notes: list[str], options: Options, indent: int) -> str:
    """Notes go on the last line as long as they fit."""
    used = len(text) - text.rfind("\n") + 1
    for note in notes:
        if used + len(note) + 2 > options.linewidth:
            text += ",\n" + " " * indent + note
            used = indent + len(note)
        else:
            text += ", " + note
            used += len(note) + 2
    return text + ")"


def tensor_text(x: Tensor) -> str:
    """As PyTorch prints it, with the device where it is not the cpu."""
    options, empty = _options[0], x.layout.numel == 0
    notes = [f"device='{x.device}'"] if x.device.name != "cpu" else []
    if empty and x.ndim != 1:
        notes.append(f"size={tuple(x.shape)}")
    if x.dtype.name not in (("float32",) if empty else ("float32", "int64", "bool")):
        notes.append(f"dtype={x.dtype!r}")
    if x.node is not None:
        notes.append(f"grad_fn=<{x.node.name}>")
    elif x.requires_grad:
        notes.append("requires_grad=True")
    head = "Parameter containing:\n" if hasattr(x, "_is_parameter") else ""
    start, indent = head + "tensor(", len("tensor(")
    readback = x.readback()
    if in_trio_task() and not readback.is_done():
        return _with_notes(f"{start}<pending>", [f"shape={list(x.shape)}", *notes], options, indent)
    values = readback.wait()
    if empty:
        return _with_notes(f"{start}[]", notes, options, indent)
    shorten = x.layout.numel > options.threshold
    numbers = _Numbers(_shown(values, shorten, options.edgeitems), options)
    return _with_notes(start + _body(values, indent, shorten, numbers, options), notes, options, indent)
