"""Running the actions of `tests.plan.programs` on a device."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rasptorch as rt
from rasptorch import Tensor
from rasptorch.runtime import settings

from .programs import Action

Array = NDArray[Any]
NAMED = {"bool": rt.bool_, "uint8": rt.uint8, "int32": rt.int32, "float32": rt.float32}


def _sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return rt.sum(x, axes, keep) if x.dtype is rt.float32 else rt.sum(x, axes, keep, dtype=rt.int32)


# What gives a new tensor.
MAKES: dict[str, Callable[..., Tensor]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "maximum": rt.maximum, "minimum": rt.minimum,
    "add_number": operator.add, "mul_number": operator.mul, "rsub_number": lambda x, n: n - x,
    "clamp": lambda x: rt.maximum(rt.minimum(x, 8.0), -8.0), "logical_not": rt.logical_not,
    "neg": operator.neg, "abs": rt.abs, "relu": rt.relu, "tanh": rt.tanh, "sigmoid": rt.sigmoid,
    "hypot": lambda x: rt.sqrt(x * x + 1.0), "gauss": lambda x: rt.exp(-(x * x)),
    "lt": operator.lt, "ge": operator.ge, "eq": operator.eq, "where": rt.where,
    "cast": lambda x, to: x.to(NAMED[to]), "below_200": lambda x: (x.to(rt.int32) % 200).to(rt.uint8),
    "look_up": lambda x, i: x.take(i % x.numel()),
    "index": operator.getitem, "transpose": rt.transpose, "reshape": rt.reshape, "unsqueeze": rt.unsqueeze,
    "expand": lambda x, shape: x.expand(shape), "sum": _sum, "mean": rt.mean, "amax": rt.amax, "amin": rt.amin, "any": rt.any,
    "all": rt.all, "matmul": operator.matmul,
}  # fmt: skip
# What changes its first operand.
CHANGES: dict[str, Callable[..., object]] = {
    "mul_number_": Tensor.mul_, "add_": Tensor.add_, "sub_": Tensor.sub_, "maximum_": Tensor.maximum_, "copy_": Tensor.copy_,
    "fill_": Tensor.fill_,
}  # fmt: skip


class Run:
    """One execution. ``streams``: how many the program's are mapped to (1: everything on the default one).

    ``alone``: every action is a submission of its own, and nothing is fused.
    """

    def __init__(self, device: str, streams: int = 1, alone: bool = False) -> None:
        self._device = rt.device(device)
        self._streams = [self._device.default_stream, *(rt.Stream(device) for _ in range(streams - 1))]
        self._alone = alone
        self._pool: list[Tensor] = []
        self._reads: list[Any] = []

    def __call__(self, actions: Sequence[Action]) -> list[Array]:
        with settings.override(fuse=not self._alone):
            for action in actions:
                with rt.stream(self._streams[action.stream % len(self._streams)]):
                    self._do(action)
                if self._alone:
                    self._device.flush()
            self._pool.clear()
            return [value if isinstance(value, np.ndarray) else value.wait() for value in self._reads]

    def _do(self, action: Action) -> None:
        what, extra = action.what, action.extra
        operands = [self._pool[k] for k in action.operands]
        if what == "clamp":
            self._pool[action.operands[0]] = MAKES[what](*operands)
        elif what in MAKES:
            self._pool.append(MAKES[what](*operands, *extra))
        elif what in CHANGES:
            CHANGES[what](*operands, *extra)
        elif what == "tensor":
            self._pool.append(rt.tensor(extra[0], device=self._device))
        elif what == "full":
            shape, number, dtype = extra
            self._pool.append(rt.full(shape, number, dtype=NAMED[dtype], device=self._device))
        elif what == "arange":
            count, shape, dtype = extra
            self._pool.append(rt.arange(count, dtype=NAMED[dtype], device=self._device).reshape(shape))
        elif what == "delete":
            del self._pool[action.operands[0]]
        elif what == "flush":
            self._device.flush()
        elif what == "read":
            self._reads.append(np.asarray(operands[0].readback().wait()))
        else:
            assert what == "read_later", what
            self._reads.append(operands[0].readback())
