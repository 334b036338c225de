"""Tensors as they are now, as bytes on their way to the host: taking a snapshot only enqueues."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..autograd.mode import no_grad
from ..ops.transfer import readback_bytes
from ..ops.views import clone
from ..runtime.readback import Readback
from ..tensor import Tensor

Bytes = NDArray[np.uint8]


def snapshot(tensors: Iterable[Tensor]) -> list[Readback[Bytes]]:
    """The tensors' bytes, row-major. What is enqueued afterwards does not change them, and nothing waits for them.

    Where reading is a copy on the device anyway, that is the snapshot; where memory is mapped, a copy is made first, so that
    later steps need not put the old values aside one by one.
    """
    out = []
    streams = {}
    with no_grad():
        for x in tensors:
            source = x.detach()
            out.append(readback_bytes(source if x.device.stages_copies else clone(source)))
            streams[x.device] = x.device.stream()
    for stream in streams.values():
        stream.flush()
    return out
