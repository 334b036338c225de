"""What resampling kernels know of their axis: the attributes of their commands, in one object."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

NEAREST: Final = "nearest"
NEAREST_EXACT: Final = "nearest-exact"
LINEAR: Final = "linear"
CORNERS: Final = "linear, corners aligned"
CUBIC: Final = "cubic"
CUBIC_CORNERS: Final = "cubic, corners aligned"
AREA: Final = "area"

WEIGHED: Final = (LINEAR, CORNERS, CUBIC, CUBIC_CORNERS)  # modes of which the places' distances count
CUBICS: Final = (CUBIC, CUBIC_CORNERS)
CURVE: Final = -0.75  # of cubic interpolation: the slope one place away (Keys, IEEE Trans. ASSP 29, 1981, whose a this is)
TERMS: Final = 4096  # places that one invocation walks: bounds the rounding error, and some devices cut long loops off
MARGIN: Final = 2  # target places more than the scale says: it is rounded


@dataclass(frozen=True, slots=True)
class Resampling:
    """``[outer, source, inner]`` becomes ``[outer, target, inner]``; if ``adjoint``, the other way round.

    ``scale`` is how far neighbouring target places lie apart in the source. A target place takes the source place it falls on
    (``nearest``: of its start, ``nearest-exact``: of its middle), the two around its middle (``linear``), those around it when the first
    and last places of both meet (``linear, corners aligned``), the four around it weighed by a cubic (``cubic``, with corners aligned or
    not; what would lie outside is the place at the edge), or the mean of all that it covers (``area``).

    With several ``shares`` each of them walks some of the places that an element takes, and the output is ``[shares, outer, ..., inner]``:
    what is left to do is adding those up.
    """

    outer: int
    inner: int
    source: int
    target: int
    mode: str
    scale: float
    adjoint: bool
    shares: int = 1

    @property
    def reach(self) -> float:
        """How far from a source place, in source places, the target places begin that may take it."""
        return 2.0 if self.mode in CUBICS else 1.0

    @property
    def longest(self) -> int:
        """How many places an invocation would walk at most, if there were no shares."""
        if not self.adjoint:
            return min(self.source, -(-self.source // self.target) + 1) if self.mode == AREA else 1
        ratio = self.target / max(self.source, 1) if self.mode == AREA else 1 / max(self.scale, 1e-30)
        return min(self.target, math.ceil((2 * self.reach + 1) * ratio) + 2 * MARGIN + 2)

    @property
    def share(self) -> int:
        """How many places each of the shares walks, but for the last one."""
        return -(-self.longest // self.shares)
