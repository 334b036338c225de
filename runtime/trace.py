"""A recording of what the engine did.

`Tracer` is an observer that keeps what it is told. What it is told during a program costs that program time,
so it keeps bare facts; what they mean is worked out afterwards. `rasptorch.profile` is how users come by it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from .kernel_labels import KernelLabel, PlanLabels, commands_of, fusing, label
from .observers import Observer

if TYPE_CHECKING:
    from .batch import Batch
    from .command import CommandSpec
    from .device import Device
    from .driver import KernelTimes
    from .fence import Fence
    from .plan.plan import Plan
    from .stream import Stream

Site = tuple[str, int, str]  # file, line, function
# This library's own folders, the engine's by the name it was imported from: whoever calls from elsewhere is a call site.
_PACKAGE = sys.modules[__name__.partition(".")[0]].__file__ or ""
_OWN = tuple(os.path.dirname(os.path.abspath(file)) + os.sep for file in (__file__, _PACKAGE))


class Where(NamedTuple):
    """A stream by name."""

    device: str
    stream: str


class Span(NamedTuple):
    """Something a host thread did; times are ``perf_counter()`` seconds."""

    category: str  # "plan", "record", "submit", "wait", "await", "transfer", "task", "idle", "user", "user async"
    name: str
    began: float
    ended: float
    thread: int
    where: Where
    arguments: dict[str, Any]


class Command(NamedTuple):
    """A command as it was enqueued; ``site`` is the line outside of this library that asked for it."""

    name: str
    began: float
    ended: float
    thread: int
    where: Where
    site: Site | None


# A `Command` while the program runs, flat: the garbage collector leaves plain tuples of strings and numbers alone.
_Raw = tuple[str, float, float, int, str, str, str, int, str]


class Instant(NamedTuple):
    """Something without a length: a value that was asked for, a failure."""

    category: str
    name: str
    at: float
    thread: int
    arguments: dict[str, Any]


class Level(NamedTuple):
    """Bytes of a device's pool at one moment."""

    device: str
    at: float
    used: int
    reserved: int


@dataclass(slots=True)
class Submission:
    """One submission, from its driver call to when somebody saw that it was done.

    ``began`` and ``seconds`` are those of recording and submitting it. ``operations`` are the commands of its batch in order, None
    for those that were enqueued before the recording began; empty for replays of captured functions. ``started`` and ``ended`` are
    the device's, filled in by `trace_clock.place_on_host_clock`; ``exact`` tells whether they were measured, ``estimate`` is what its
    kernels are taken to last where they were not.
    """

    device: str
    stream: str
    value: int
    labels: PlanLabels
    commands: int
    thread: int
    began: float
    seconds: float
    operations: Sequence[Command | None] = ()
    seen: float | None = None
    times: KernelTimes | None = None
    estimate: Sequence[float] = ()
    started: float = 0.0
    ended: float = 0.0
    exact: bool = False

    def origins(self, number: int) -> list[Command]:
        """The commands that became kernel ``number``, as far as they were seen."""
        known = self.labels.commands
        if known is None or len(self.operations) != self.commands:
            return []
        return [command for k in known[number] if (command := self.operations[k]) is not None]


@dataclass(slots=True)
class _Planned:
    """What is known of a batch between its planning and its submission."""

    plan: Plan
    operations: Sequence[_Raw | None]
    seconds: float | None  # None: the plan was there


@dataclass(slots=True)
class Tracer(Observer):
    """Keeps what it is told. One tracer may watch several devices; calls may come from any thread.

    ``task_name`` says in which task the caller is, if it is in one.
    """

    wants_timestamps: bool = True
    wants_commands: bool = True
    task_name: Callable[[], str] = str
    origin: float = field(default_factory=perf_counter)
    ended: float = 0.0
    main: int = 0  # the thread that began the recording
    spans: list[Span] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    instants: list[Instant] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    submissions: list[Submission] = field(default_factory=list)
    threads: dict[int, str] = field(default_factory=dict)
    steps: dict[int, float] = field(default_factory=dict)  # per thread that runs Trio, when the task that runs now was resumed
    _open: dict[tuple[Stream, int], Submission] = field(default_factory=dict)
    _here: threading.local = field(default_factory=threading.local)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _wheres: dict[Stream, Where] = field(default_factory=dict)
    _raw: list[_Raw] = field(default_factory=list)
    _gathered: dict[int, list[_Raw]] = field(default_factory=dict)  # by the batch's number
    _submitted: list[tuple[Submission, Sequence[_Raw | None]]] = field(default_factory=list)
    _planned: dict[Stream, _Planned] = field(default_factory=dict)
    _labels: dict[int, PlanLabels] = field(default_factory=dict)
    _unexplained: list[tuple[PlanLabels, Device, list[object], tuple[int, ...], bool]] = field(default_factory=list)

    # -- what the engine tells -----------------------------------------------------------------------------------
    def command_enqueued(self, stream: Stream, spec: CommandSpec, began: float, seconds: float) -> None:
        device, name = self._wheres.get(stream) or self._where(stream)
        site = call_site(3) or _NO_SITE  # of whoever called the library that called the stream
        made = (spec.name, began, began + seconds, self.thread(), device, name, *site)
        batch = stream.open_batch
        gathered = self._gathered.get(batch)
        if gathered is None:
            gathered = self._gathered[batch] = []
        gathered.append(made)
        self._raw.append(made)

    def batch_planned(
        self, stream: Stream, plan: Plan, batch: Batch, living: tuple[int, ...], hit: bool, seconds: float
    ) -> None:
        seen: Sequence[_Raw | None] = self._gathered.pop(batch.id, ())
        missing = batch.commands - len(seen)
        # Streams tell of planning when they are about to submit: `batch_submitted` comes next, with the time.
        self._planned[stream] = _Planned(plan, [*[None] * missing, *seen] if missing else seen, None if hit else seconds)
        known = self._labelled(plan)
        if known.commands is None and self.wants_commands:
            known.commands = ()  # found out when the recording is over
            self._unexplained.append((known, stream.device, batch.key, living, fusing()))

    def recording_made(self, stream: Stream, plan: Plan, began: float, seconds: float) -> None:
        self._span(stream, "record", "record", began, seconds, {"kernels": len(self._labelled(plan).kernels)})

    def batch_submitted(
        self,
        stream: Stream,
        fence: Fence,
        plan: Plan,
        commands: int,
        reused: bool,
        began: float,
        seconds: float,
    ) -> None:
        where = self._where(stream)
        planned = self._planned.pop(stream, None)
        if planned is None or planned.plan is not plan:  # a replay
            planned = _Planned(plan, (), None)
        made = Submission(*where, fence.value, self._labelled(plan), commands, self.thread(), began, seconds)
        self.submissions.append(made)
        self._submitted.append((made, planned.operations))
        self._open[stream, fence.value] = made
        if planned.seconds is not None:
            found = {"commands": commands, "kernels": len(made.labels.kernels), "fused": plan.fused}
            self._span(stream, "plan", "plan", began - planned.seconds, planned.seconds, found)
        told = {"submission": fence.value, "commands": commands, "recording": "reused" if reused else "made"}
        self._span(stream, "submit", "submit", began, seconds, told)
        self._level(stream.device)

    def batch_finished(self, stream: Stream, fence: Fence, kernel_seconds: KernelTimes | None) -> None:
        found = self._open.pop((stream, fence.value), None)
        if found is not None:  # else it was submitted before the tracer came
            found.seen = perf_counter()
            found.times = kernel_seconds
            self._level(stream.device)

    def waited(self, fence: Fence, began: float, seconds: float, blocking: bool) -> None:
        told: dict[str, Any] = {"submission": fence.value, "site": call_site()}
        task = self.task_name()
        if task:
            told["task"] = task
        category = "wait" if blocking else "await"
        self._span(fence.stream, category, f"{category} submission {fence.value}", began, seconds, told)

    def readback_asked(self, stream: Stream, nbytes: int) -> None:
        self._instant(stream, "transfer", "value asked for", {"bytes": nbytes})

    def transferred(self, stream: Stream, direction: str, nbytes: int, began: float, seconds: float) -> None:
        self._span(stream, "transfer", direction, began, seconds, {"bytes": nbytes})
        self._level(stream.device)

    def stream_failed(self, stream: Stream, failure: BaseException) -> None:
        self._instant(stream, "failure", "stream failed", {"error": f"{type(failure).__name__}: {failure}"})

    # -- what others tell ----------------------------------------------------------------------------------------
    def told(self, category: str, name: str, began: float, ended: float, thread: int, **arguments: Any) -> None:
        """A span of something that is not the engine's."""
        self.spans.append(Span(category, name, began, ended, thread, _NOWHERE, arguments))

    def thread(self) -> int:
        """A number of the calling thread's own. The system's numbers are given out again when threads end."""
        try:
            return self._here.number  # type: ignore[no-any-return]  # whatever `thread` put there
        except AttributeError:
            found = self._here.number = next(self._numbers)
            self.threads[found] = threading.current_thread().name
            return found

    def finish(self) -> None:
        """The recording is over: find out what is left to find out, and let go of the engine's objects."""
        self.ended = perf_counter()
        commands: dict[int, Command] = {}
        for raw in self._raw:
            name, began, ended, thread, device_name, stream_name, file, line, function = raw
            site = (file, line, function) if line else None
            commands[id(raw)] = Command(name, began, ended, thread, Where(device_name, stream_name), site)
        self.commands = list(commands.values())
        for submission, operations in self._submitted:
            submission.operations = [None if raw is None else commands[id(raw)] for raw in operations]
        for known, device, key, living, join in self._unexplained:
            known.commands = commands_of(known.plan, device, key, living, join)
        self._raw.clear()
        self._submitted.clear()
        self._unexplained.clear()
        self._open.clear()
        self._wheres.clear()
        self._labels.clear()
        self._planned.clear()
        self._gathered.clear()

    def _span(
        self, stream: Stream, category: str, name: str, began: float, seconds: float, arguments: dict[str, Any]
    ) -> None:
        self.spans.append(Span(category, name, began, began + seconds, self.thread(), self._where(stream), arguments))

    def _instant(self, stream: Stream, category: str, name: str, arguments: dict[str, Any]) -> None:
        told = {**self._where(stream)._asdict(), **arguments}
        self.instants.append(Instant(category, name, perf_counter(), self.thread(), told))

    def _level(self, device: Device) -> None:
        counters = device.statistics
        self.levels.append(Level(device.name, perf_counter(), counters.bytes_in_use, counters.bytes_reserved))

    def _where(self, stream: Stream) -> Where:
        """The stream's name, with a number where another stream has the same."""
        found = self._wheres.get(stream)
        if found is None:
            same = sum(other.name == stream.name for other in self._wheres)
            name = f"{stream.name} ({same + 1})" if same else stream.name
            found = self._wheres[stream] = Where(stream.device.name, name)
        return found

    def _labelled(self, plan: Plan) -> PlanLabels:
        found = self._labels.get(id(plan))
        if found is None:
            labels: tuple[KernelLabel, ...] = tuple(map(label, plan.kernels))
            found = self._labels[id(plan)] = PlanLabels(plan, labels)
        return found


_NOWHERE = Where("", "")
_NO_SITE: Site = ("", 0, "")
_inside: dict[str, bool] = {}


def call_site(depth: int = 1) -> Site | None:
    """The innermost line of the calling thread that is not this library's; at least ``depth`` callers up."""
    inside = _inside
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        name = frame.f_code.co_filename
        if name not in inside:
            inside[name] = os.path.abspath(name).startswith(_OWN)
        if not inside[name]:
            return name, frame.f_lineno, frame.f_code.co_name
        frame = frame.f_back
    return None


# Recordings under way, for those who have something to tell that is not the engine's.
active: list[Tracer] = []
