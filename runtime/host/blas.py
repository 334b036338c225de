"""The BLAS that NumPy brought: on how many threads it computes, and products that NumPy cannot ask it for.

OpenBLAS's threads spin while they wait for each other, and for a tenth of a second after. Where something else runs on the same cores,
a loader of data say, a product of a millisecond then takes a hundred, and whatever the host driver does on several threads takes twice as
long. So the driver shares products out among threads of its own (`helpers.py`), with BLAS on one thread each. Where NumPy uses another
library than OpenBLAS it is left alone, and so are its threads.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..dtype import float32, float64
from .calls import Call

Array = NDArray[Any]

# Terms of a sum that OpenBLAS adds up in one go, whoever shares a product out, so that its bits are the same: by its name for a processor.
_DEPTHS = {b"SkylakeX": 448, b"Haswell": 320, b"Zen": 320}
_LEAST_DEPTH = 240
_ROW_MAJOR, _PLAIN, _TRANSPOSED = (ctypes.c_int(value) for value in (101, 111, 112))

_lock = threading.Lock()
_inside = 0  # how many want one thread right now
_before = 0  # threads that BLAS used when the first of them began


@dataclass(frozen=True, slots=True)
class OpenBlas:
    """Its functions; ``gemm`` by dtype. They are called with objects of ctypes that are made beforehand, some of type ``integer``.

    ``core`` is its name for the processor, and ``depth`` how many terms of a sum it adds up in one go there.
    """

    get_threads: Callable[[], int]
    set_threads: Callable[[int], Any]
    gemm: Mapping[np.dtype[Any], tuple[Callable[..., None], Callable[[float], Any]]]
    integer: Callable[[int], Any]
    core: bytes
    depth: int


@cache
def found() -> OpenBlas | None:
    """The OpenBLAS that this process has loaded; None where there is none."""
    try:
        maps = Path("/proc/self/maps").read_text("utf-8")
    except OSError:
        return None
    for path in sorted({line.split(maxsplit=5)[5] for line in maps.splitlines() if "openblas" in line}):
        try:
            library, quick = ctypes.CDLL(path), ctypes.PyDLL(path)
        except OSError:
            continue  # deleted since, or not a library of this process's kind
        for prefix in ("scipy_", ""):
            for suffix, integer in (("64_", ctypes.c_int64), ("", ctypes.c_int), ("_64", ctypes.c_int64)):
                names = ["openblas_get_num_threads", "openblas_set_num_threads", "openblas_get_corename", "cblas_sgemm", "cblas_dgemm"]
                # Who lets go of the interpreter for the quick ones would have to wait for it if another thread has just been woken.
                functions = [getattr(library if "gemm" in name else quick, f"{prefix}{name}{suffix}", None) for name in names]
                if None not in functions:
                    return _openblas(functions, integer)
    return None


def _openblas(functions: Sequence[Any], integer: Callable[[int], Any]) -> OpenBlas:
    get, put, name, single, double = functions
    name.restype = ctypes.c_char_p
    single.restype = double.restype = put.restype = None
    gemm = {float32.numpy: (single, ctypes.c_float), float64.numpy: (double, ctypes.c_double)}
    core = bytes(name())
    return OpenBlas(get, put, gemm, integer, core, _DEPTHS.get(core, _LEAST_DEPTH))


def shared_out() -> bool:
    """Whether products can be shared out among threads here, each of which calls BLAS for itself."""
    return found() is not None


def depth() -> int:
    """Terms of a sum that are added up in one call."""
    library = found()
    return _LEAST_DEPTH if library is None else library.depth


class _OneThread:
    """BLAS calls inside, of any thread, use the calling thread only. The number of threads comes back afterwards."""

    __slots__ = ()

    def __enter__(self) -> None:
        global _inside, _before
        library = found()
        if library is None:
            return
        with _lock:
            _inside += 1
            if _inside == 1:
                _before = library.get_threads()
                library.set_threads(1)

    def __exit__(self, *raised: object) -> None:
        global _inside
        library = found()
        if library is None:
            return
        with _lock:
            _inside -= 1
            if _inside == 0:
                library.set_threads(_before)


one_thread: Final = _OneThread()


class _ManyThreads:
    """Inside of `one_thread`: BLAS calls use as many threads as before it."""

    __slots__ = ()

    def __enter__(self) -> None:
        library = found()
        if library is not None:
            library.set_threads(_before)

    def __exit__(self, *raised: object) -> None:
        library = found()
        if library is not None:
            library.set_threads(1)


many_threads: Final = _ManyThreads()


def _operand(library: OpenBlas, x: Array) -> tuple[Any, Any, Any] | None:
    """A matrix as BLAS takes it: whether turned, where, elements from line to line. None where neither rows nor columns are contiguous."""
    (rows, columns), (down, along), size = x.shape, x.strides, x.itemsize
    if (along == size or columns == 1) and (rows == 1 or (down >= columns * size and down % size == 0)):
        turned, step = _PLAIN, max(columns, down // size if rows > 1 else 1)
    elif (down == size or rows == 1) and (columns == 1 or (along >= rows * size and along % size == 0)):
        turned, step = _TRANSPOSED, max(rows, along // size if columns > 1 else 1)
    else:
        return None
    return turned, ctypes.c_void_p(x.ctypes.data), library.integer(step)


def product(a: Array, b: Array, out: Array, *, add: bool = False, terms: int | None = None) -> list[Call] | None:
    """What computes ``a @ b`` of two matrices into ``out``, or adds it to that; every sum in the same pieces however it is shared out.

    ``terms`` is how long those are at most. The memory that the three lie in must stay where it is. None where BLAS is not OpenBLAS or does
    not take operands like these.
    """
    library = found()
    if library is None or out.dtype not in library.gemm or a.dtype != out.dtype or b.dtype != out.dtype or not a.size or not b.size:
        return None
    gemm, real = library.gemm[out.dtype]
    target = _operand(library, out)
    if target is None or target[0] is not _PLAIN:
        return None
    rows, columns = (library.integer(n) for n in out.shape)
    calls: list[Call] = []
    parts = -(-a.shape[1] // (terms or library.depth))
    for low, high in pairwise(a.shape[1] * k // parts for k in range(parts + 1)):
        left, right = _operand(library, a[:, low:high]), _operand(library, b[low:high])
        if left is None or right is None:
            return None
        sizes = rows, columns, library.integer(high - low)
        factor, before = real(1.0), real(1.0 if add or low else 0.0)
        operands = factor, *left[1:], *right[1:], before, *target[1:]
        calls.append((_multiply, ((a, b, out), gemm, (_ROW_MAJOR, left[0], right[0], *sizes, *operands))))
    return calls


def _multiply(kept: tuple[Array, ...], gemm: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """``kept`` is the memory that the arguments point into."""
    gemm(*arguments)
