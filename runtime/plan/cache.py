"""Plans by signature, and recordings by the buffers they were bound to. Both are bounded; the oldest unused go first."""

from __future__ import annotations

from collections import OrderedDict, deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .. import settings
from .plan import Plan
from .planner import make_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..buffer import Buffer
    from ..device import Device
    from ..stream import Stream


class PlanCache:
    """One device's plans. Called with the device's lock held."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._plans: OrderedDict[tuple[object, ...], Plan] = OrderedDict()

    def find(self, key: Sequence[object], living: tuple[int, ...]) -> tuple[Plan, bool, float]:
        """The plan for a batch, whether it was there already, and the seconds it took to make if not."""
        join = settings.current.fuse
        signature = (*key, living, join, settings.current.dispatch_work)
        plan = self._plans.get(signature)
        if plan is not None:
            self._plans.move_to_end(signature)
            self._device.statistics.plan_hits += 1
            return plan, True, 0.0
        began = perf_counter()
        plan = make_plan(key, living, self._device.driver.traits, self._device.error_layout, join)
        self._plans[signature] = plan
        while len(self._plans) > max(1, settings.current.plan_cache):
            _, old = self._plans.popitem(last=False)
            self._device.recordings.forget(old)
        self._device.statistics.plan_misses += 1
        return plan, False, perf_counter() - began


class Recorded:
    """A recording and the last submission of it."""

    __slots__ = ("recording", "stream", "timed", "value")

    def __init__(self, recording: Any, timed: bool, stream: Stream, value: int) -> None:
        self.recording = recording
        self.timed = timed
        self.stream = stream
        self.value = value

    def busy(self) -> bool:
        return self.stream.failure is None and self.value > self.stream.completed()


class RecordingCache:
    """Finds or makes recordings; old ones are released once no submission of theirs is unfinished."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._leaving: list[Recorded] = []
        self._abandoned: deque[Plan] = deque()
        self._on_borrowed: dict[int, list[tuple[Plan, tuple[object, ...]]]] = {}  # by block: recordings on others' memory

    def abandon(self, plan: Plan) -> None:
        """From any thread, also from the garbage collector: whoever kept ``plan`` outside of the plan cache is gone."""
        self._abandoned.append(plan)

    def find(self, plan: Plan, buffers: list[Buffer], stream: Stream, value: int) -> tuple[Any, bool]:
        """A recording of ``plan`` on ``buffers`` for submission ``value`` of ``stream``; and whether it existed."""
        while self._abandoned:
            self.forget(self._abandoned.popleft())
        device = self._device
        while device.pool.departed:
            self._forget_block(device.pool.departed.pop())
        if self._leaving:
            self._release_idle()
        key = tuple([buffer.key for buffer in buffers])
        entries = plan.recordings.get(key)
        if entries is None:
            entries = plan.recordings[key] = []
        else:
            plan.recordings.move_to_end(key)
        timed = device.observers.wants_timestamps and self._to_be_measured(plan)
        reentrant = device.driver.traits.reentrant_recordings and not timed  # it holds the times of one submission
        for entry in entries:
            if entry.timed is timed and (reentrant or not entry.busy()):
                if timed:
                    entry.stream.retire()  # observers get the times before they are measured anew
                entry.stream, entry.value = stream, value
                device.statistics.recordings_reused += 1
                return entry.recording, True
        device.driver.timestamps = timed
        recording = device.driver.record(plan, buffers, device.statistics)
        entries.append(Recorded(recording, timed, stream, value))
        device.statistics.recordings_made += 1
        for buffer in buffers:
            if buffer.block.borrowed:
                self._on_borrowed.setdefault(buffer.block.key, []).append((plan, key))
        while len(plan.recordings) > max(1, settings.current.recordings):
            _, old = plan.recordings.popitem(last=False)
            self._leaving.extend(old)
        return recording, False

    def _to_be_measured(self, plan: Plan) -> bool:
        """The first two times that observers see a plan, and then one in several."""
        epoch = self._device.observers.epoch
        seen, number = plan.observed
        number = number if seen == epoch else 0
        plan.observed = epoch, number + 1
        every = settings.current.timestamp_every or self._device.driver.traits.timestamp_every
        return number < 2 or number % every == 0

    def forget(self, plan: Plan) -> None:
        for entries in plan.recordings.values():
            self._leaving.extend(entries)
        plan.recordings.clear()
        self._release_idle()

    def _forget_block(self, block: int) -> None:
        """What was recorded on a borrowed block would keep its owner's memory alive."""
        for plan, key in self._on_borrowed.pop(block, ()):
            self._leaving.extend(plan.recordings.pop(key, ()))

    def _release_idle(self) -> None:
        busy = []
        for entry in self._leaving:
            if entry.busy():
                busy.append(entry)
            else:
                if entry.timed:
                    entry.stream.retire()  # observers get its times while they are there
                entry.recording.release()
        self._leaving = busy
