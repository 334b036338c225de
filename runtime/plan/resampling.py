"""What resampling kernels know of their axis: the attributes of their commands, in one object."""

from __future__ import annotations

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
CURVE: Final = -0.75  # of cubic interpolation: the slope one place away (Keys, IEEE Trans. ASSP 29, 1981, whose a this is)


@dataclass(frozen=True, slots=True)
class Resampling:
    """``[outer, source, inner]`` becomes ``[outer, target, inner]``; if ``adjoint``, the other way round.

    ``scale`` is how far neighbouring target places lie apart in the source. A target place takes the source place it falls on
    (``nearest``: of its start, ``nearest-exact``: of its middle), the two around its middle (``linear``), those around it when the first
    and last places of both meet (``linear, corners aligned``), the four around it weighed by a cubic (``cubic``, with corners aligned or
    not; what would lie outside is the place at the edge), or the mean of all that it covers (``area``).
    """

    outer: int
    inner: int
    source: int
    target: int
    mode: str
    scale: float
    adjoint: bool
