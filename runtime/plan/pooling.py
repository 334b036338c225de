"""What pooling kernels know of their windows: the attributes of their commands, in one object."""

from __future__ import annotations

import math
from dataclasses import dataclass

LONGEST = 32_768  # entries or places that an invocation walks: some software devices cut a loop off after 65,535 turns
SHARE_LEAST = 4096  # places that are worth another invocation

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

    @property
    def turns(self) -> int:
        """How often the loops over one window turn around."""
        return self.size[0] * (1 + self.size[1])

    def shares(self, parallelism: int) -> int:
        """How many invocations look at one window: more than one where it is long, or where there are few."""
        size = math.prod(self.size)
        wanted = -(-4 * parallelism // max(self.planes * math.prod(self.outputs), 1))
        return max(min(wanted, size // SHARE_LEAST), -(-size // LONGEST), 1 + (self.turns > LONGEST))
