"""Samplers: in which order a loader asks for items, and which of them make a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from ..ops.random import Generator
from .errors import DataError
from .randomness import permutation, take_key, uniforms

T = TypeVar("T", covariant=True)


class Sampler(Generic[T]):
    """Base of samplers. Subclasses define ``__iter__``, and ``__len__`` where it is known.

    A sampler that is random draws when ``__iter__`` is called, and has its generator in ``generator``: then a run that is
    resumed goes on with the same order.
    """

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__()")


class SequentialSampler(Sampler[int]):
    """``0..n-1`` in order."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Every item once per pass in random order; with ``replacement``, ``num_samples`` independent choices."""

    def __init__(
        self, data_source: Sized, replacement: bool = False, num_samples: int | None = None, generator: Generator | None = None
    ) -> None:
        if num_samples is not None and num_samples < 0:
            raise DataError(f"RandomSampler: num_samples cannot be negative, got {num_samples}")
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, wanted = len(self.data_source), self.num_samples
        if n == 0 and wanted:
            raise DataError(f"RandomSampler: {wanted} samples of an empty dataset")
        key = take_key(self.generator)
        if self.replacement:
            return iter((uniforms(key, wanted) * n).astype(np.intp).tolist())
        order: list[int] = permutation(key, n).tolist()
        while len(order) < wanted:  # as PyTorch does: whole passes, each in an order of its own
            order += permutation(take_key(self.generator), n).tolist()
        return iter(order[:wanted])

    def __len__(self) -> int:
        return self.num_samples


class WeightedRandomSampler(Sampler[int]):
    """``num_samples`` items, each chosen with a probability in proportion to its weight.

    Without replacement no item comes twice: those with the largest ``log(u) / weight`` are taken (Efraimidis and Spirakis,
    Information Processing Letters 97, 2006).
    """

    def __init__(
        self, weights: Sequence[float], num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or not np.isfinite(self.weights).all() or (self.weights < 0).any():
            raise DataError("WeightedRandomSampler: weights are one finite number per item, none of them negative")
        possible = int(np.count_nonzero(self.weights))
        if num_samples < 1 or possible == 0 or (not replacement and num_samples > possible):
            raise DataError(f"WeightedRandomSampler: {num_samples} samples of {possible} items whose weight is not 0")
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        key = take_key(self.generator)
        if self.replacement:
            steps = np.cumsum(self.weights)
            found = np.searchsorted(steps, uniforms(key, self.num_samples) * steps[-1], side="right")
            last = int(np.flatnonzero(self.weights)[-1])  # rounding may lead past it
            return iter(np.minimum(found, last).tolist())
        with np.errstate(divide="ignore"):
            keys = np.log1p(-uniforms(key, len(self.weights))) / self.weights
        keys[self.weights == 0] = -np.inf
        return iter(np.argsort(-keys, kind="stable")[: self.num_samples].tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of ``batch_size`` indices of another sampler; the last may be shorter, unless ``drop_last``."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise DataError(f"BatchSampler: batch_size is a whole number of at least 1, got {batch_size!r}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        return in_batches(iter(self.sampler), self.batch_size, self.drop_last)

    def __len__(self) -> int:
        return batches_of(len(self.sampler), self.batch_size, self.drop_last)  # type: ignore[arg-type]  # as len() of it


def batches_of(n: int, size: int, drop_last: bool) -> int:
    """How many batches ``n`` items make."""
    return n // size if drop_last else -(-n // size)


def in_batches(items: Iterator[Any], size: int, drop_last: bool) -> Iterator[list[Any]]:
    """Lists of ``size`` items."""
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch and not drop_last:
        yield batch
