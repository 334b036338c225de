"""What pooling kernels know of their windows: the attributes of their commands, in one object."""

from __future__ import annotations

from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Windows:
    """``planes`` of (height, width) ``inputs``; output ``y`` sees inputs ``y * stride - padding + i * dilation`` for ``i < size``."""

    planes: int
    inputs: Pair
    outputs: Pair
    size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    @property
    def sharing(self) -> Pair:
        """How many windows at most see one input, per axis."""
        first, second = (-(-((k - 1) * d + 1) // s) for k, d, s in zip(self.size, self.dilation, self.stride, strict=True))
        return first, second
