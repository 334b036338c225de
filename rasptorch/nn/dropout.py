"""Dropout (Srivastava et al., JMLR 15, 2014), scaled while training so that nothing is left to do afterwards.
"""

from __future__ import annotations

from ..tensor import Tensor
from . import functional as F
from .module import Module


class _Dropping(Module):
    """A probability, and permission to work in place."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"{type(self).__name__}: p is a probability between 0 and 1, got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropping):
    """While training each element is zero with probability ``p`` and otherwise divided by ``1 - p``; no
    change in evaluation.

    Numbers come from the default generator: seed it with `rasptorch.manual_seed`. ``inplace`` is accepted as
    permission.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)


class Dropout1d(_Dropping):
    """`Dropout` of whole channels: of ``[n, channels, length]`` or ``[channels, length]``."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout1d(input, self.p, self.training)


class Dropout2d(_Dropping):
    """`Dropout` of whole channels: of ``[n, channels, height, width]`` or ``[channels, height, width]``."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training)
