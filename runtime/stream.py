"""An ordered queue of commands on one device.

Enqueueing writes a few integers into the open batch. `flush` plans it (or finds its plan), binds it to memory and submits
it once. Nothing here waits, except that a script with too many submissions in flight waits for the oldest.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from weakref import finalize

from . import capture, settings, waiting
from .batch import Batch
from .buffer import Buffer, Memory
from .capture import Captured, CaptureError, Recording
from .errors import DeviceError, OutOfMemory
from .fence import Fence
from .interrupts import Uninterrupted
from .storage import Placed, Slot, Storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .command import CommandSpec
    from .device import Device
    from .plan.plan import Plan

    Slots = Sequence[Slot] | Mapping[int, Slot]  # storages by their numbers in a plan

_numbers = count(1)


class Stream:
    """Make one with ``device.new_stream()``. Threads may share it: every call takes the device's lock."""

    def __init__(self, device: Device, name: str = "") -> None:
        self.device: Final = device
        self.name: Final = name or f"{device.name}/stream{next(_numbers)}"
        with device.lock:  # several threads may make streams at once
            self.timeline: Final[Any] = device.driver.timeline()
        finalize(self, device.driver.drop, self.timeline).atexit = False
        self.submitted = 0
        self.failure: BaseException | None = None
        self.abandoned: BaseException | None = None  # why the last batch that could not run did not
        self._batch = Batch()
        self._lock: Final = device.lock
        self._unfinished: deque[tuple[int, Any, Plan]] = deque()
        self._done = 0
        self._crowded = False
        self._waited = False  # whether who submits will block until it is done
        self._held = 0  # blocks of `together` that are open
        self._wanted: list[Fence] = []  # what the next submission has to wait for because the user said so
        self.capturing: Recording | None = None

    def __repr__(self) -> str:
        return f"Stream({self.name}, submitted={self.submitted}, completed={self.completed()})"

    @property
    def open_batch(self) -> int:
        """The number of the batch being gathered; storages it uses carry it."""
        return self._batch.id

    # -- enqueueing -----------------------------------------------------------------------------------------------
    def enqueue(
        self,
        spec: CommandSpec,
        inputs: Sequence[Placed],
        scalars: Sequence[float] = (),
        targets: Sequence[Placed] = (),
        memory: Memory = Memory.DEVICE,
    ) -> list[Storage]:
        """Add a command; returns the storages of its new outputs.

        ``inputs`` and ``targets`` (written in place) exist; new outputs go into ``memory``. Raises the stream's failure if it
        has failed, `TooMuchInFlight` past the hard limit inside Trio.
        """
        if self._crowded:
            self._make_room()  # first: where it raises, nothing has been enqueued
        if capture.active:
            capture.check_stream(self)
        watched = self.device.observers.wants_commands
        began = perf_counter() if watched else 0.0
        with self._lock:
            if self.failure is not None:
                raise self.failure
            for x in targets:
                if x.storage.slot.readbacks:
                    self.keep_readbacks(x.storage.slot)
            batch = self._batch
            ident, key, slots = batch.id, batch.key, batch.slots
            marks = len(key), len(slots), len(batch.scalars)
            try:
                key.append(spec)
                for x in (*inputs, *targets) if targets else inputs:
                    slot = x.storage.slot
                    key.append(slot.index if slot.batch == ident else self._adopt(slot))
                    key.append(x.offset)
                if spec.notes_errors:
                    slot = self.device.error_slot()
                    key.append(slot.index if slot.batch == ident else self._adopt(slot))
                    key.append(0)
                made = []
                fresh = batch.fresh
                for nbytes in spec.fresh:
                    index = len(slots)
                    slot = Slot(self, nbytes, memory, ident, index)
                    fresh.append(index)
                    slots.append(slot)
                    made.append(Storage(slot))  # now, so that a flush below sees that somebody holds it
                if scalars:
                    batch.scalars.extend(scalars)
                batch.nbytes += spec.nbytes
                if not batch.commands:
                    self.device.gathering_streams.add(self)  # lives on until its commands are submitted
                for x in targets:
                    x.storage.slot.dirty = ident
                batch.commands += 1  # last: from here on the command is in
            except BaseException:  # an operand that failed, or Ctrl-C
                batch.cut(*marks)
                raise
            if watched:
                seconds = perf_counter() - began
                for observer in self.device.observers.active:
                    if observer.wants_commands:
                        observer.command_enqueued(self, spec, began, seconds)
            now = settings.current
            if batch.commands >= now.flush_commands or batch.nbytes >= now.idle_bytes:
                self._maybe_flush(batch, now)
        return made

    def _adopt(self, slot: Slot) -> int:
        if slot.batch and self.device.several_streams:
            self.take_over(slot)
        return self._batch.adopt(slot)

    def take_over(self, slot: Slot) -> None:
        """A storage is known to one open batch only: submit the one that knows it, ours comes after that."""
        holder = self.device.gathering(slot)
        if holder is not None:
            holder.submit()

    def keep_readbacks(self, slot: Slot) -> None:
        """Somebody reads this storage's mapped memory later; copy the value aside before it is overwritten."""
        readers, slot.readbacks = slot.readbacks or [], None
        for reader in readers:
            readback = reader()
            if readback is not None:
                readback.move_aside(self)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is enqueued in this block is not torn apart by a flush that only the amount of work asked for."""
        with self._lock:
            self._held += 1
        try:
            yield
        finally:
            with self._lock:
                self._held -= 1
                now, batch = settings.current, self._batch
                if batch.commands and (batch.commands >= now.flush_commands or batch.nbytes >= now.idle_bytes):
                    self._maybe_flush(batch, now)

    def _maybe_flush(self, batch: Batch, now: settings.Settings) -> None:
        if self.capturing is not None or self._held:
            return
        full = batch.commands >= now.flush_commands or batch.nbytes >= now.flush_bytes
        if full or self.submitted == self.completed():
            with Uninterrupted():
                self._flush()

    # -- submitting -----------------------------------------------------------------------------------------------
    def flush(self) -> Fence:
        """Submit what is gathered, if anything; returns the fence of the last submission."""
        self.submit()
        fence = Fence(self, self.submitted)
        if self._crowded:
            self._make_room()
        return fence

    def submit(self, *, waited: bool = False) -> None:
        """As `flush`, but never waits for room: for those who wait for something anyway, or may not wait.

        ``waited``: this thread will block until it is done.
        """
        with self._lock:
            if self.capturing is not None:
                # For another thread, what is being captured has not happened yet.
                capture.refuse("submitting commands (synchronising, waiting, changing streams)")
            elif self._batch.commands:
                self._waited = waited
                try:
                    with Uninterrupted():
                        self._flush()
                finally:
                    self._waited = False

    def _flush(self) -> Plan:
        if self.failure is not None:
            raise self.failure
        batch, self._batch = self._batch, Batch()
        self.device.gathering_streams.discard(self)
        try:
            living = batch.living()
            plan, hit, seconds = self.device.plans.find(batch.key, living)
            for observer in self.device.observers.active:
                observer.batch_planned(self, plan, batch, living, hit, seconds)
            self.launch(batch.slots, plan, batch.scalars, batch.commands)
        except BaseException as problem:
            self._abandon(batch, problem)
            raise
        return plan

    def launch(self, slots: Slots, plan: Plan, scalars: Sequence[float], commands: int) -> None:
        """Bind ``plan`` to memory and submit it. ``slots`` are the storages by their numbers in the plan."""
        device = self.device
        began = perf_counter()
        buffers, arenas = self._bind(slots, plan)
        value = self.submitted + 1
        recording, reused = self._submit(slots, plan, scalars, buffers, arenas, value)
        uses, several = {self: value}, device.several_streams
        for index in plan.bound:
            slot = slots[index]
            slot.used = {**slot.used, **uses} if several and slot.used else uses
        fence = Fence(self, value)
        for index in plan.written:
            slots[index].written = fence
        if arenas:
            self._give_back(arenas, slots, plan, uses)
        self._unfinished.append((value, recording, plan))
        counters = device.statistics
        counters.commands += commands
        counters.kernels_fused += plan.fused
        counters.submissions += 1
        for observer in device.observers.active:
            observer.batch_submitted(self, fence, plan, commands, reused, began, perf_counter() - began)
        if self._waited:  # who waits will look
            counters.in_flight += 1
        else:
            self._retire()
        self._crowded = len(self._unfinished) > settings.current.in_flight

    def _bind(self, slots: Slots, plan: Plan) -> tuple[list[Buffer], list[Buffer]]:
        """A buffer for every value that outlives the batch, and the arena for all that do not (and for outputs carved from it)."""
        pool = self.device.pool
        carved = plan.carved
        arenas: list[Buffer] = []
        buffers = []
        try:
            if plan.arena:
                for nbytes in plan.arenas():
                    arenas.append(pool.allocate(nbytes, Memory.DEVICE, self))
            for index in plan.bound:
                slot = slots[index]
                if slot.buffer is None:
                    if index in carved and slot.memory is Memory.DEVICE:
                        slot.buffer = pool.part(arenas[0], carved[index], slot.nbytes)
                    else:
                        slot.buffer = pool.allocate(slot.nbytes, slot.memory, self)
                buffers.append(slot.buffer)
        except BaseException:
            self._give_back(arenas, slots, plan, None)
            raise
        return buffers, arenas

    def _give_back(
        self, arenas: Sequence[Buffer], slots: Slots, plan: Plan, uses: dict[Stream, int] | None
    ) -> None:
        """Give back what no output was carved from: all of the arena, as a rule."""
        pool = self.device.pool
        if not plan.carved or not arenas:
            for arena in arenas:
                pool.give_back(arena, uses)
            return
        (arena,) = arenas  # outputs are only carved from an arena in one piece
        for start, nbytes in plan.gaps:
            pool.give_back(pool.part(arena, start, nbytes), uses)
        for index, start in plan.carved.items():
            part, buffer = pool.part(arena, start, slots[index].nbytes), slots[index].buffer
            if buffer is None or buffer.key != part.key:  # it had one already, or wants other memory
                pool.give_back(part, uses)

    def _submit(
        self, slots: Slots, plan: Plan, scalars: Sequence[float], buffers: list[Buffer],
        arenas: list[Buffer], value: int,
    ) -> tuple[Any, bool]:  # fmt: skip
        device = self.device
        observers = device.observers.active
        began = perf_counter() if observers else 0.0
        try:
            recording, reused = device.recordings.find(plan, buffers + arenas, self, value)
            if observers and not reused:
                seconds = perf_counter() - began
                for observer in observers:
                    observer.recording_made(self, plan, began, seconds)
            waits = self._waits(slots, plan) if device.several_streams else ()
            device.driver.submit(self.timeline, value, recording, scalars, waits, device.statistics, self._waited)
        except BaseException as problem:
            self._give_back(arenas, slots, plan, None)
            device.poison(problem)
            raise
        self.submitted = value
        return recording, reused

    def _waits(self, slots: Slots, plan: Plan) -> list[tuple[Any, int]]:
        """What other streams must have finished first: the last writer of what we read, every user of what we write."""
        waits: dict[Stream, int] = {}
        for fence in self._wanted:
            waits[fence.stream] = max(fence.value, waits.get(fence.stream, 0))
        self._wanted = []
        for index in plan.bound:
            written = slots[index].written
            if written is not None and written.stream is not self:
                waits[written.stream] = max(written.value, waits.get(written.stream, 0))
        for index in plan.written:
            for stream, value in (slots[index].used or {}).items():
                if stream is not self:
                    waits[stream] = max(value, waits.get(stream, 0))
        return [(stream.timeline, value) for stream, value in waits.items() if value > stream.completed()]

    def _abandon(self, batch: Batch, problem: BaseException) -> None:
        """The batch could not even start (no memory): what it would have made is marked, what existed is untouched."""
        self.abandoned = problem
        for index in batch.fresh:
            batch.slots[index].failure = problem
        if not isinstance(problem, OutOfMemory):
            self.poison(problem)

    # -- ordering and capture, for users --------------------------------------------------------------------------
    def record(self) -> Fence:
        """The fence of everything enqueued so far; nothing is submitted by asking."""
        with self._lock:
            return Fence(self, self.submitted + (self._batch.commands > 0))

    def wait_for(self, fence: Fence) -> None:
        """What is enqueued here from now on runs after ``fence``. Only enqueues; the device does the waiting."""
        if fence.stream.device is not self.device:
            raise DeviceError(
                f"{self.name} cannot wait for a fence of {fence.stream.device}: await it, or wait for it, on the host"
            )
        with self._lock:
            if fence.stream is not self:
                self.submit()
                if fence.value > fence.stream.submitted:
                    fence.stream.submit()
                self._wanted.append(fence)

    def synchronize(self) -> Fence | None:
        """Wait until everything enqueued so far is done; in a Trio task: ``await stream.synchronize()``."""
        fence = self.flush()
        if waiting.in_trio_task():
            return fence
        fence.wait()
        return None

    def begin_capture(self) -> Recording:
        """From now on commands are kept together until `end_capture`; nothing else may submit them."""
        capture.refuse("another capture")
        with self._lock:
            if self.capturing is not None:
                raise CaptureError(f"another thread is capturing a function on {self.name}")
            self.submit()
            self.capturing = Recording(self)
            capture.active.append(self.capturing)
            return self.capturing

    def end_capture(self, inputs: Sequence[Slot], results: Sequence[Storage]) -> Captured | None:
        """Run what was gathered, and keep it. None if there was nothing to run."""
        with self._lock:
            recording, batch = self._end_recording(), self._batch
            if recording is None or not batch.commands:
                return None
            plan = self._flush()
            return Captured(self, batch, plan, inputs, results, recording)

    def cancel_capture(self, problem: BaseException) -> None:
        """Forget what was gathered since `begin_capture`: the function did not come to its end."""
        with self._lock:
            self._end_recording()
            batch, self._batch = self._batch, Batch()
            self.device.gathering_streams.discard(self)
            for index in batch.fresh:
                batch.slots[index].failure = problem

    def _end_recording(self) -> Recording | None:
        recording, self.capturing = self.capturing, None
        if recording is not None:
            capture.active.remove(recording)
        return recording

    def set_aside(self) -> tuple[Recording | None, Batch]:
        """Gather a batch of its own for a while, in the middle of a capture; `take_back` goes on with the capture."""
        kept = self.capturing, self._batch
        self.capturing, self._batch = None, Batch()
        return kept

    def take_back(self, kept: tuple[Recording | None, Batch]) -> None:
        self.capturing, self._batch = kept
        if self._batch.commands:
            self.device.gathering_streams.add(self)

    def commands_gathered(self) -> int:
        return self._batch.commands

    def scalars_so_far(self) -> int:
        return len(self._batch.scalars)

    # -- finishing ------------------------------------------------------------------------------------------------
    def in_flight(self) -> int:
        """How many submissions nobody has seen to be done yet."""
        return len(self._unfinished)

    def completed(self) -> int:
        """The value of the last submission that is done; never waits, never raises."""
        if self._done < self.submitted:
            try:
                self._done = self.timeline.completed()
            except Exception as problem:
                self.device.poison(problem)
        return self._done

    def poison(self, problem: BaseException) -> None:
        """Nothing after the completed value will ever be done: every waiter wakes with ``problem``, enqueueing raises it."""
        if self.failure is None:
            self.failure = problem
            for observer in self.device.observers.active:
                observer.stream_failed(self, problem)
            self.device.driver.interrupt()

    def retire(self) -> None:
        """Take note of finished submissions."""
        with self._lock:
            self._retire()

    def _retire(self) -> None:
        done = self.completed()
        unfinished = self._unfinished
        while unfinished and unfinished[0][0] <= done:
            value, recording, _ = unfinished.popleft()
            observers = self.device.observers
            if observers.active:
                times = self.device.driver.kernel_seconds(recording) if observers.wants_timestamps else None
                for observer in observers.active:
                    observer.batch_finished(self, Fence(self, value), times)
        device = self.device
        device.statistics.in_flight = device.in_flight() if device.several_streams else len(unfinished)

    async def has_room(self) -> None:
        """In a Trio task: come back when another submission can go out without piling up. Always a checkpoint."""
        await waiting.wait_trio(Fence(self, self._last_over(settings.current.in_flight - 1)))

    def make_room_if_crowded(self) -> None:
        if self._crowded:
            self._make_room()

    def _make_room(self) -> None:
        """Back-pressure, outside the lock: a script waits for the oldest submission; Trio must come and ask."""
        last = self._last_over(settings.current.in_flight)
        if last:
            waiting.wait_for_room(self, last)
            self._last_over(settings.current.in_flight)

    def _last_over(self, limit: int) -> int:
        """The submission that must be done before no more than ``limit`` are unfinished; 0: there are not so many."""
        with self._lock:
            self._retire()
            over = len(self._unfinished) - limit
            self._crowded = len(self._unfinished) > settings.current.in_flight
            return self._unfinished[over - 1][0] if over > 0 else 0

    def new_storage(self, nbytes: int) -> Storage:
        """A storage that nothing has written yet."""
        return Storage(Slot(self, nbytes))
