"""Two ways to do the same thing, of which the faster one is taken: which one that is depends on what else the machine does."""

from __future__ import annotations

from time import perf_counter

PATIENCE = 200  # times as long as it took, until the slower way is tried again: trying costs half a percent
SAMPLES = 3  # measurements that an estimate is the median of
CLEARLY = 2.0  # times slower: no more measurements needed


class Race:
    """Say `choose` before, and `took` after. Not for several threads at once."""

    __slots__ = ("_again", "_times")

    def __init__(self) -> None:
        self._times: tuple[list[float], list[float]] = ([], [])
        self._again = 0.0  # when to try the slower one

    def choose(self) -> int:
        """0 or 1."""
        first, second = self._times
        if not (first and second):
            return 1 if first else 0
        slower = int(self._estimate(1) > self._estimate(0))
        known = min(len(first), len(second)) == SAMPLES or self._estimate(slower) > CLEARLY * self._estimate(1 - slower)
        if not known:
            return int(len(second) < len(first))
        return slower if perf_counter() >= self._again else 1 - slower

    def took(self, way: int, seconds: float) -> None:
        times = self._times[way]
        times.append(seconds)
        if len(times) > SAMPLES:
            del times[0]
        if self._times[1 - way] and self._estimate(way) >= self._estimate(1 - way):
            self._again = perf_counter() + PATIENCE * seconds

    def _estimate(self, way: int) -> float:
        times = sorted(self._times[way])
        return times[(len(times) - 1) // 2]
