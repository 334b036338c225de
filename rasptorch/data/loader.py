"""`DataLoader`: batches of a dataset on a device, made by threads ahead of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, Final
from weakref import ReferenceType, ref

from ..ops.creation import device_of
from ..ops.random import Generator, default_generator
from ..runtime.device import Device
from ..runtime.stream import Stream
from .batches import Batches, Job
from .collate import changed, default_collate, mapped, on_device, plain
from .crew import Crew, Workers
from .dataset import Collated, IterableDataset, fetch
from .errors import DataError
from .randomness import Key, making_batch, take_key
from .sampler import BatchSampler, RandomSampler, SequentialSampler, batches_of, in_batches

Transform = Callable[[Any], Any]


class DataLoader:
    """Batches of ``dataset``, as tensors on ``device`` (None: the default device). ``for`` in scripts, ``async for`` under Trio.

    - ``batch_size``, ``shuffle``, ``sampler``, ``batch_sampler``, ``drop_last`` as in PyTorch. ``batch_size=None`` gives single
      items, not put together.
    - ``num_workers`` threads make batches ahead of time, at most ``prefetch_factor`` (2) for each of them, and upload them (on a stream
      of their own where uploads are commands). 0: a batch is made when it is asked for. The batches are the same.
    - ``worker_init_fn(number)`` is called in each thread before it makes batches. With ``persistent_workers`` threads stay from pass to
      pass, as long as the loader lives; a pass that is still going on ends when another one begins. ``timeout``: seconds to wait for a
      batch (0: for ever), after which `DataTimeout` is raised; the thread that takes so long is not waited for.
    - ``seed`` (or ``generator``) decides order and random transforms: each pass takes one draw of the generator, two if it shuffles.
      Without either it is the generator that ``rasptorch.manual_seed`` seeds.
    - ``collate_fn(items)`` makes a batch of arrays from a list of items; without one, items' entries are stacked, ``[n, ...]`` each,
      and numbers become arrays of shape ``[n]``. Then ``transform`` changes the inputs (the first entry of a
      tuple, or the batch itself) and ``target_transform`` the second entry: functions of whole arrays, ``[n, ...]``.

    What a worker raises is raised by the loop, when the batch's turn comes, with the worker's traceback and notes that name the batch
    and the item. Options that do not go together raise `DataError` here. ``pin_memory`` is accepted and changes nothing: uploads always
    start in memory that the device reads.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = True,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        *,
        generator: Generator | None = None,
        seed: int | None = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        device: str | Device | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
    ) -> None:
        self.dataset: Final = dataset
        self.iterable: Final = isinstance(dataset, IterableDataset)
        self.batch_size: Final = batch_size if batch_sampler is None else None
        self.drop_last: Final = drop_last
        self.num_workers: Final = num_workers
        self.prefetch_factor: Final = 2 if prefetch_factor is None else prefetch_factor
        self.timeout: Final = timeout
        self.worker_init_fn: Final = worker_init_fn
        self.persistent_workers: Final = persistent_workers
        self.pin_memory: Final = pin_memory
        self.device = device
        self.collate_fn: Final = collate_fn or (default_collate if batch_size is not None or batch_sampler is not None else _as_is)
        self.transform: Final = transform
        self.target_transform: Final = target_transform
        _check_options(self, shuffle, sampler, batch_sampler, generator, seed)
        self.generator: Final = Generator(seed) if seed is not None else generator
        self.sampler: Any = sampler
        if sampler is None and not self.iterable and batch_sampler is None:
            self.sampler = RandomSampler(dataset, generator=self.generator) if shuffle else SequentialSampler(dataset)
        self.batch_sampler: Any = batch_sampler
        if batch_sampler is None and not self.iterable and batch_size is not None:
            self.batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self._uploads: dict[Device, Stream] = {}
        self._crew: Crew | None = None
        self._going_on: ReferenceType[Batches] | None = None  # the pass that the crew is at

    def __len__(self) -> int:
        """How many batches a pass has. `TypeError` where the dataset has no length."""
        if not self.iterable:
            return len(self.batch_sampler if self.batch_sampler is not None else self.sampler)
        n = len(self.dataset)
        return n if self.batch_size is None else batches_of(n, self.batch_size, self.drop_last)

    def __iter__(self) -> Batches:
        """A new pass over the data, for scripts and threads."""
        return self.batches()

    def __aiter__(self) -> Batches:
        """A new pass over the data, for Trio tasks: waiting for a batch lets other tasks run."""
        return self.batches()

    def batches(self, start: int = 0, device: str | Device | None = None) -> Batches:
        """A pass over the data: what ``iter(loader)`` gives. It begins with batch number ``start``; those before are not made.

        ``device`` stands in for the loader's own.
        """
        if start < 0:
            raise DataError(f"batches: start is the number of a batch, got {start}")
        place = device if device is not None else self.device
        target = device_of(place)
        key = take_key(self.generator)
        jobs = islice(enumerate(self._parts()), start, None)
        make = _Maker(self, key, target, self._upload_stream(target))
        passed = Batches(jobs, make, self._workers(), start)
        self._going_on = ref(passed)
        return passed

    def _workers(self) -> Workers:
        """The threads of a new pass."""
        if self.persistent_workers:
            earlier = None if self._going_on is None else self._going_on()
            if earlier is not None:
                earlier.stop()
            if self._crew is None or not self._crew.usable:
                self._crew = Crew(self.num_workers, self.worker_init_fn)
        ahead = self.num_workers * self.prefetch_factor
        return Workers(self.num_workers, ahead, self.timeout, self.worker_init_fn, self._crew)

    def _parts(self) -> Iterator[Any]:
        """What each batch is made of: indices, or items of an iterable dataset."""
        if self.iterable:
            items = iter(self.dataset)
            return items if self.batch_size is None else in_batches(items, self.batch_size, self.drop_last)
        return iter(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def _upload_stream(self, device: Device) -> Stream | None:
        """Where uploads are commands they get a stream of their own, kept from pass to pass."""
        if not device.stages_copies:
            return None
        if device not in self._uploads:
            self._uploads[device] = device.new_stream(f"{device}/loader")
        return self._uploads[device]

    # -- to go on later -------------------------------------------------------------------------------------------
    def _generators(self) -> list[Generator]:
        samplers: tuple[Any, ...] = (self, self.sampler, self.batch_sampler, getattr(self.batch_sampler, "sampler", None))
        found = [s.generator or default_generator for s in samplers if hasattr(s, "generator")]
        return list(dict.fromkeys(g for g in found if isinstance(g, Generator)))

    def state_dict(self) -> dict[str, Any]:
        """The state of all generators that a pass draws from: load it, and the next pass is the one that came next here."""
        return {"generators": [list(generator.get_state()) for generator in self._generators()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict` of a loader made like this one."""
        generators, states = self._generators(), state["generators"]
        if len(generators) != len(states):
            raise DataError(f"load_state_dict: {len(states)} generators, this loader draws from {len(generators)}")
        for generator, values in zip(generators, states, strict=True):
            generator.set_state(tuple(values))


class _Maker:
    """Makes batches; knows nothing of threads."""

    def __init__(self, loader: DataLoader, key: Key, device: Device, stream: Stream | None) -> None:
        self._dataset = None if loader.iterable else loader.dataset
        self._single = loader.batch_size is None and loader.batch_sampler is None
        self._collate = loader.collate_fn
        self._transforms = loader.transform, loader.target_transform
        self._key = key
        self._device = device
        self._stream = stream

    def __call__(self, job: Job) -> Any:
        number, part = job
        try:
            with self._uploading(), making_batch(self._key, number):
                batch = mapped(self._transformed(self._collated(part)), lambda value: on_device(value, self._device))
                if self._stream is not None:
                    self._stream.flush()  # now, not when the batch is first used
                return batch
        except BaseException as problem:
            problem.add_note(f"raised while the loader made batch {number}{self._described(part)}")
            raise

    def _uploading(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else self._device.using(self._stream)

    def _collated(self, part: Any) -> Any:
        if self._dataset is None:
            return self._collate(part)
        if self._single:
            return self._collate(self._dataset[part])
        items = fetch(self._dataset, part)
        return items.batch if isinstance(items, Collated) and self._collate is default_collate else self._collate(_listed(items))

    def _transformed(self, batch: Any) -> Any:
        inputs, targets = self._transforms
        if inputs is None and targets is None:
            return batch
        if not isinstance(batch, (tuple, list)):
            if targets is not None:
                raise DataError("target_transform changes the second entry of a batch, and these batches are no tuples")
            return batch if inputs is None else changed(batch, inputs)
        entries = list(batch)
        for k, change in enumerate((inputs, targets)):
            if change is not None:
                entries[k] = changed(entries[k], change)
        return tuple(entries)

    def _described(self, part: Any) -> str:
        if self._dataset is None:
            return ""
        indices = [part] if self._single else list(part)
        return f" of items {', '.join(map(str, indices[:8]))}{', ...' if len(indices) > 8 else ''}"


def _listed(items: Any) -> Any:
    """For a collate function of the user's, also a whole batch comes as a list of items."""
    return list(zip(*map(plain, items.batch), strict=True)) if isinstance(items, Collated) else items


def _as_is(item: Any) -> Any:
    return item


def _check_options(loader: DataLoader, shuffle: bool, sampler: Any, batch_sampler: Any, generator: Any, seed: int | None) -> None:
    """Options that do not go together."""
    if loader.iterable and (shuffle or sampler is not None or batch_sampler is not None):
        raise DataError("DataLoader: an iterable dataset has an order of its own: no shuffle, sampler or batch_sampler")
    if sampler is not None and shuffle:
        raise DataError("DataLoader: the sampler decides the order: leave shuffle out")
    if batch_sampler is not None and (loader.drop_last or shuffle or sampler is not None):
        raise DataError("DataLoader: the batch_sampler decides what makes a batch: leave shuffle, sampler and drop_last out")
    if loader.batch_size is None and loader.drop_last:
        raise DataError("DataLoader: without a batch_size there is no last batch to drop")
    if loader.batch_size is not None and (not isinstance(loader.batch_size, int) or loader.batch_size < 1):
        raise DataError(f"DataLoader: batch_size is a whole number of at least 1, got {loader.batch_size!r}")
    if loader.num_workers < 0 or loader.prefetch_factor < 1:
        raise DataError(
            f"DataLoader: num_workers is at least 0 and prefetch_factor at least 1, got {loader.num_workers} and {loader.prefetch_factor}"
        )
    if not loader.timeout >= 0:
        raise DataError(f"DataLoader: timeout is at least 0 seconds (0: wait for ever), got {loader.timeout}")
    if loader.num_workers == 0 and (loader.timeout or loader.persistent_workers):
        raise DataError("DataLoader: timeout and persistent_workers are about workers, and there are none: give num_workers")
    if generator is not None and seed is not None:
        raise DataError("DataLoader: a seed makes a generator of its own: give one of the two")
