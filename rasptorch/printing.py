"""``repr`` of tensors: values where they are there, ``<pending>`` where printing would block a Trio loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .runtime.waiting import in_trio_task

if TYPE_CHECKING:
    from .tensor import Tensor


def tensor_text(x: Tensor) -> str:
    """As PyTorch prints it, with the device where it is not the cpu."""
    tail = ""
    if x.device.name != "cpu":
        tail += f", device='{x.device}'"
    if x.dtype.name not in ("float32", "int64", "bool"):
        tail += f", dtype={x.dtype!r}"
    if x.node is not None:
        tail += f", grad_fn=<{x.node.name}>"
    elif x.requires_grad:
        tail += ", requires_grad=True"
    head = "Parameter containing:\n" if hasattr(x, "_is_parameter") else ""
    readback = x.readback()
    if in_trio_task() and not readback.is_done():
        return f"{head}tensor(<pending>, shape={list(x.shape)}{tail})"
    values = readback.wait()
    if x.layout.numel == 0:
        return f"{head}tensor([], size={list(x.shape)}{tail})"
    text = np.array2string(values, separator=", ", prefix="tensor(", precision=4, floatmode="maxprec_equal", threshold=1000)
    return f"{head}tensor({text}{tail})"
