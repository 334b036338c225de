"""Datasets: what can be asked for its items by number, and what can only be gone through."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..ops.random import Generator
from ..runtime import dtype as dt
from ..runtime.readback import Readback
from ..tensor import Tensor
from .collate import BFloat16
from .errors import DataError
from .randomness import permutation, take_key

T = TypeVar("T", covariant=True)


class Dataset(Generic[T]):
    """Base of datasets with items by number. Subclasses define ``__getitem__`` and ``__len__``.

    A loader with workers calls ``__getitem__`` from several threads. A dataset that can fetch many items at once also
    defines ``__getitems__(indices)``: a list of items, or a whole `Collated` batch.
    """

    def __getitem__(self, index: int) -> T:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__()")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not define __len__()")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Generic[T]):
    """Base of datasets that can only be gone through, such as a stream of records. Subclasses define ``__iter__``.

    A loader goes through it once per pass, on one thread at a time and in order, whatever the number of its workers; these
    share the rest of the work.
    """

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__()")


class Collated:
    """A whole batch from ``__getitems__``: nothing is left to be put together."""

    __slots__ = ("batch",)

    def __init__(self, batch: Any) -> None:
        self.batch = batch


class TensorDataset(Dataset[tuple[Any, ...]]):
    """Items are the rows of tensors or arrays of equal length: ``ds[i]`` is ``(t[i] for t in tensors)``.

    Batches are gathered on the host. Of tensors (``[n, ...]``) that takes the values they have now: reading them starts here and is
    waited for when the first batch is made, also for tensors of a GPU. Transforms get the values of bfloat16 tensors as float32 arrays;
    batches of them are bfloat16.
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise DataError("TensorDataset: at least one tensor is needed")
        self.tensors = tuple(t if isinstance(t, (Tensor, np.ndarray)) else np.asarray(t) for t in tensors)
        for t in self.tensors:
            if t.ndim == 0:
                raise DataError("TensorDataset: tensors have a first dimension of items, one of these is 0-d")
        if len({len(t) for t in self.tensors}) > 1:
            raise DataError(f"TensorDataset: tensors of equal length are needed, got {[len(t) for t in self.tensors]}")
        self._columns: list[NDArray[Any] | Readback[NDArray[Any]]] = [
            t.readback() if isinstance(t, Tensor) else t for t in self.tensors
        ]

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(t[index] for t in self.tensors)

    def __getitems__(self, indices: Sequence[int]) -> Collated:
        rows = np.asarray(indices, np.intp)
        arrays = [(c.wait() if isinstance(c, Readback) else c)[rows] for c in self._columns]
        narrow = [isinstance(t, Tensor) and t.dtype is dt.bfloat16 for t in self.tensors]
        return Collated(tuple(BFloat16(a) if short else a for a, short in zip(arrays, narrow, strict=True)))

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset[Any]):
    """Those items of a dataset that ``indices`` names, in that order."""

    def __init__(self, dataset: Dataset[Any], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        return fetch(self.dataset, [int(self.indices[i]) for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset[Any]):
    """The items of several datasets, one after the other."""

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise DataError("ConcatDataset: at least one dataset is needed")
        self.cumulative_sizes = list(accumulate(len(d) for d in self.datasets))

    def __getitem__(self, index: int) -> Any:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"item {index} of a dataset of {n}")
        index %= n
        which = bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


def fetch(dataset: Any, indices: Sequence[int]) -> Any:
    """The items of these numbers as a list, or as a `Collated` batch. An item that raises is named in a note of its error."""
    many = getattr(dataset, "__getitems__", None)
    if many is not None:
        return many(indices)
    items = []
    for index in indices:
        try:
            items.append(dataset[index])
        except BaseException as problem:
            problem.add_note(f"raised by item {index} of the {type(dataset).__name__}")
            raise
    return items


def random_split(dataset: Dataset[Any], lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """Disjoint random parts of a dataset: ``lengths`` are numbers of items, or fractions that add up to 1.

    With fractions, items left over by rounding down go one each to the first parts, as in PyTorch.
    """
    n = len(dataset)
    counts = [int(length) for length in lengths]
    if any(isinstance(length, float) for length in lengths):
        if any(not 0.0 <= length <= 1.0 for length in lengths) or abs(sum(lengths) - 1.0) > 1e-6:
            raise DataError(f"random_split: fractions are between 0 and 1 and add up to 1, got {list(lengths)}")
        counts = [int(n * length) for length in lengths]
        for k in range(n - sum(counts)):
            counts[k % len(counts)] += 1
    if sum(counts) != n or min(counts, default=0) < 0:
        raise DataError(f"random_split: lengths add up to the dataset's {n} items, got {list(lengths)}")
    order = permutation(take_key(generator), n)
    ends = list(accumulate(counts))
    return [Subset(dataset, order[end - count : end].tolist()) for count, end in zip(counts, ends, strict=True)]
