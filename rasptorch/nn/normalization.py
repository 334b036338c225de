"""Layers that normalise over features, groups or channels of each sample; `rasptorch.nn.batchnorm` has those over batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ops.creation import ones, zeros
from ..ops.normalization import group_norm, layer_norm, rms_norm
from ..runtime import dtype as dt
from ..runtime.errors import ShapeError
from ..tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter


def _affine(module: Module, shape: tuple[int, ...], weight: bool, bias: bool | None, device: Any, dtype: Any) -> None:
    """A weight of ones and a bias of zeros, each of them None if not wanted; no bias at all where ``bias`` is None."""
    module.register_parameter("weight", Parameter(ones(shape, dtype=dtype, device=device)) if weight else None)
    if bias is not None:
        module.register_parameter("bias", Parameter(zeros(shape, dtype=dtype, device=device)) if bias else None)


class _Affine(Module):
    weight: Tensor | None

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                init.constant_(parameter, 1.0 if name == "weight" else 0.0)


class LayerNorm(_Affine):
    """Mean 0 and variance 1 over the last dimensions, which are ``normalized_shape``; scaled by ``weight``, shifted by ``bias``."""

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
        device: Any = None, dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        _affine(self, self.normalized_shape, elementwise_affine, elementwise_affine and bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        about = f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        return f"{about}, bias={self.bias is not None}"


class RMSNorm(_Affine):
    """The input over its root mean square in the last dimensions, which are ``normalized_shape``; scaled by ``weight``."""

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True,
        device: Any = None, dtype: Any = dt.float32,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        _affine(self, self.normalized_shape, elementwise_affine, None, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Affine):
    """``[n, num_channels, ...]`` normalised in each of ``num_groups`` groups of channels; scaled and shifted per channel."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None, dtype: Any = dt.float32,
        *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ShapeError(f"GroupNorm: {num_channels} channels are not {num_groups} groups of the same size")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        _affine(self, (num_channels,), affine, affine and bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"
