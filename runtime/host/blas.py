"""NumPy's BLAS on one thread, while the host driver shares matrix products out among threads of its own.

OpenBLAS's threads spin while they wait for each other. Where something else runs on the same cores, a loader of data say, a
product of a millisecond then takes a hundred. Threads that sleep until they are needed do not. Where NumPy uses another
library than OpenBLAS it is left alone, and so are its threads.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_lock = threading.Lock()
_inside = 0  # submissions that compute right now
_before = 0  # threads that BLAS used when the first of them began


@cache
def _controls() -> tuple[Callable[[], int], Callable[[int], Any]] | None:
    """How to ask for and set the number of threads; None where no OpenBLAS is loaded."""
    try:
        maps = Path("/proc/self/maps").read_text("utf-8")
    except OSError:
        return None
    paths = {line.split(maxsplit=5)[5] for line in maps.splitlines() if "openblas" in line}
    for path in sorted(paths):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue  # deleted since, or not a library of this process's kind
        for prefix in ("scipy_", ""):
            for suffix in ("64_", "", "_64"):
                get = getattr(library, f"{prefix}openblas_get_num_threads{suffix}", None)
                put = getattr(library, f"{prefix}openblas_set_num_threads{suffix}", None)
                if get is not None and put is not None:
                    return get, put
    return None


def shared_out() -> bool:
    """Whether products can be shared out among threads here, each of which calls BLAS for itself."""
    return _controls() is not None


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS calls inside, of any thread, use the calling thread only. The number of threads comes back afterwards."""
    global _inside, _before
    controls = _controls()
    if controls is None:
        yield
        return
    get, put = controls
    with _lock:
        _inside += 1
        if _inside == 1:
            _before = get()
            put(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                put(_before)
