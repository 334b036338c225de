"""Random numbers for data: on the host, from a `rasptorch.Generator`, the same whatever thread asks for them.

Each pass over a loader takes one draw of its generator. What is random in batch ``k`` of that pass comes from Philox with the draw
as its key and ``k`` in its counter, so it depends neither on the number of workers nor on which of them is quicker.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ..ops import random as device_random
from ..ops.random import Generator
from .errors import DataError

Key = tuple[int, int]  # a generator's seed, and the number of the draw


def take_key(generator: Generator | None) -> Key:
    """One draw of ``generator`` (None: of the one that `rasptorch.manual_seed` seeds)."""
    number, low, high = (value & 0xFFFFFFFF for value in (generator or device_random.default_generator).draw())
    return low | high << 32, number


def philox(key: Key, counter: int = 0) -> np.random.Philox:
    """NumPy's Philox for one draw; runs of other ``counter`` do not meet."""
    return np.random.Philox(key=np.array(key, np.uint64), counter=np.array([0, 0, counter, 1], np.uint64))


def permutation(key: Key, n: int) -> NDArray[np.intp]:
    """``0..n-1`` in random order. It sorts raw bits of the generator, which no version of NumPy will change."""
    return np.argsort(philox(key).random_raw(n), kind="stable")


def uniforms(key: Key, n: int) -> NDArray[np.float64]:
    """``n`` numbers in [0, 1)."""
    return np.ldexp((philox(key).random_raw(n) >> np.uint64(11)).astype(np.float64), -53)


class _OfThisThread(threading.local):
    place: tuple[Key, int] | None = None
    generator: np.random.Generator | None = None


_here = _OfThisThread()


@contextmanager
def making_batch(key: Key, number: int) -> Iterator[None]:
    """In this block, `batch_random` belongs to batch ``number``."""
    before = _here.place, _here.generator
    _here.place, _here.generator = (key, number), None
    try:
        yield
    finally:
        _here.place, _here.generator = before


def batch_random() -> np.random.Generator:
    """The random numbers of the batch that is being made, for datasets, transforms and collate functions.

    They follow from the loader's seed, the pass over it and the batch's number, not from the thread. `DataError` outside of a loader.
    """
    if _here.place is None:
        raise DataError("batch_random: no batch is being made here; it is for what a DataLoader calls")
    if _here.generator is None:
        key, number = _here.place
        _here.generator = np.random.Generator(philox(key, number + 1))
    return _here.generator
