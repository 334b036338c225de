"""Batch and instance normalisation: layers that keep running moments for evaluation."""

from __future__ import annotations

from typing import Any, ClassVar

from ..autograd.mode import no_grad
from ..ops.checked_index import from_integers
from ..ops.creation import filled, full, ones, zeros
from ..ops.functions import reciprocal
from ..ops.normalization import batch_norm, instance_norm
from ..ops.views import cast, copy_into
from ..runtime import dtype as dt
from ..runtime.errors import ShapeError
from ..tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter


def _number(value: int, device: Any) -> Tensor:
    """An int64 of no dimensions, by way of int32: devices without int64 arithmetic have it as well."""
    return cast(full((), value, dtype=dt.int32, device=device), dt.int64)


class _Running(Module):
    """Weight and bias per channel, and running moments in buffers, each of them if asked for."""

    ranks: ClassVar[tuple[int, ...]] = ()
    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool, device: Any, dtype: Any,
        bias: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        at = {"dtype": dtype, "device": device}
        self.register_parameter("weight", Parameter(ones(num_features, **at)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_features, **at)) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, **at) if tracked else None)
        self.register_buffer("running_var", ones(num_features, **at) if tracked else None)
        self.register_buffer("num_batches_tracked", _number(0, device) if tracked else None)

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        for buffer, value in ((self.running_mean, 0), (self.running_var, 1)):
            if buffer is not None:
                filled("reset_running_stats", buffer.layout, value, buffer)
        if self.num_batches_tracked is not None:
            copy_into(self.num_batches_tracked, _number(0, self.num_batches_tracked.device))

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and `reset_running_stats`."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check(self, x: Tensor) -> None:
        if x.ndim not in self.ranks:
            wanted = " or ".join(f"{rank}-dimensional" for rank in self.ranks)
            raise ShapeError(f"{type(self).__name__}: input is {wanted}, got shape {list(x.shape)}")

    def _count_batch(self) -> Any:
        """One more batch is seen; the part by which running moments move: a number, or a 0-d tensor where all batches count alike."""
        seen = self.num_batches_tracked
        if seen is None:
            return 0.0 if self.momentum is None else self.momentum
        with no_grad():
            # By way of int32, which devices without int64 arithmetic compute in.
            copy_into(seen, cast(cast(seen, dt.int32) + 1, dt.int64))
            return reciprocal(from_integers(seen, dt.float32)) if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Running):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = dt.float32, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        by_batch = self.training or self.running_mean is None
        if by_batch and self.training and self.running_mean is not None:
            return batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, True, self._count_batch(), self.eps
            )
        running = (None, None) if by_batch else (self.running_mean, self.running_var)
        return batch_norm(input, *running, self.weight, self.bias, by_batch, 0.0, self.eps)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of ``[n, channels]`` or ``[n, channels, length]``.

    ``momentum`` None: running moments are the plain averages over all batches. Without ``track_running_stats`` the batch's
    moments are used in evaluation, too.
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of ``[n, channels, height, width]``; see `BatchNorm1d`."""

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of ``[n, channels, depth, height, width]``; see `BatchNorm1d`."""

    ranks = (5,)


class _InstanceNorm(_Running):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = dt.float32, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        if input.ndim == self.ranks[0]:  # one sample by itself
            return self.forward(input.unsqueeze(0)).squeeze(0)
        if input.shape[1] != self.num_features:
            name = type(self).__name__
            raise ShapeError(f"{name}: input has {input.shape[1]} channels (shape {list(input.shape)}), not {self.num_features}")
        assert self.momentum is not None
        by_sample = self.training or self.running_mean is None
        return instance_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, by_sample, self.momentum, self.eps
        )


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each sample normalised by itself, in ``[n, channels, length]`` or ``[channels, length]``."""

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each sample normalised by itself, in ``[n, channels, height, width]`` or without ``n``."""

    ranks = (3, 4)
