"""Whether OpenBLAS's own threads are awake, in which case they had better compute a large product than be in the way.

After a product that the program asked NumPy for they spin for a tenth of a second, and take half of a core from the driver's helpers. A
short product's helper gets in; one of ten milliseconds takes twice as long. The clocks of those threads tell that they ran meanwhile. Then
large products are left to them for a while, and afterwards not, for long enough that they fall asleep unless the program keeps them awake.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from time import perf_counter

SPREAD = 2.0  # seconds that large products are then OpenBLAS's
CALM = 0.15  # seconds afterwards that they are not
BUSY = 0.3  # of the time of a product that OpenBLAS's threads ran beside it, from which they are in the way
_TASKS = Path("/proc/self/task")


def native_threads() -> list[int]:
    """Threads of this process that Python does not know and that nobody named: OpenBLAS's are among them."""
    try:
        own = (_TASKS / str(os.getpid()) / "comm").read_bytes()
        known = {thread.native_id for thread in threading.enumerate()}
        others = [int(entry.name) for entry in _TASKS.iterdir() if int(entry.name) not in known]
        return [number for number in others if (_TASKS / str(number) / "comm").read_bytes() == own]
    except OSError:
        return []


class Spinning:
    """``spread`` is whether OpenBLAS computes large products. Call `before` and `after` where the driver's threads did."""

    __slots__ = ("_calm_until", "_clocks", "_spread_until")

    def __init__(self) -> None:
        self._clocks = [(~number << 3) | 6 for number in native_threads()]  # as Linux numbers the clocks of threads
        self._spread_until = self._calm_until = 0.0

    @property
    def spread(self) -> bool:
        return perf_counter() < self._spread_until

    def before(self) -> float:
        """Seconds that those threads have run."""
        try:
            return sum(time.clock_gettime(clock) for clock in self._clocks)
        except OSError:  # a thread has ended
            self._clocks = [(~number << 3) | 6 for number in native_threads()]
            return 0.0

    def after(self, before: float, seconds: float) -> None:
        """A product has taken ``seconds``."""
        now = perf_counter()
        if now >= self._calm_until and before and self.before() - before > BUSY * seconds:
            self._spread_until, self._calm_until = now + SPREAD, now + SPREAD + CALM
