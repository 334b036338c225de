"""Recording what the engine does: ``with rt.profile("trace.json") as p: ...`` and ``print(p.table())``.

What is recorded: enqueueing, planning, recording, submitting, waiting, transfers, Trio tasks, and the time of each kernel on its
device. The file opens in ``chrome://tracing`` and at https://ui.perfetto.dev.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..runtime import device as devices_
from ..runtime import trace
from ..runtime.device import Device
from ..runtime.statistics import Statistics
from ..runtime.trace import Tracer
from ..runtime.trace_clock import by_device, place_on_host_clock
from ..runtime.waiting import in_trio_task, task_name
from .chrome import chrome_trace
from .tables import text
from .totals import (
    DeviceTotal,
    KernelTotal,
    MarkTotal,
    OperationTotal,
    WaitTotal,
    device_totals,
    kernel_totals,
    mark_totals,
    operation_totals,
    wait_totals,
)  # fmt: skip

if TYPE_CHECKING:
    from .tasks import TrioRuns


class profile:
    """Record what the engine does inside a ``with`` block.

    ``path``: where to write the trace (Chrome trace-event JSON) when the block is left; None: nowhere, see `save`.
    ``devices``: names or devices to watch; None: all that are open, and those that are opened inside the block.
    ``timestamps``: measure kernels. Costs a little per kernel, and kernels that could run side by side do so less on some devices. Where
    it stops the whole device, as on Mesa's software driver, only some submissions of a plan are measured (``RASPTORCH_TIMESTAMP_EVERY``),
    and the others' kernels are taken to last as long. Without it, only whole submissions are seen, from outside.
    ``commands``: record each operation as it is enqueued, with the line that asked for it (one or two microseconds and about 300
    bytes each).

    Leaving the block waits for the work that was submitted; in a Trio task write ``async with``, else what is not done by then is
    marked as unfinished. When the block is left by an exception, nothing is waited for. Several recordings may be under way.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        devices: Sequence[str | Device] | None = None,
        *,
        timestamps: bool = True,
        commands: bool = True,
    ) -> None:
        self.path = path
        self.tracer = Tracer(timestamps, commands, task_name)
        self.seconds = 0.0
        self._names = devices
        self._watched: list[Device] = []
        self._before: dict[Device, Statistics] = {}
        self._counts: dict[str, Statistics] = {}
        self._runs: TrioRuns | None = None

    # -- recording -------------------------------------------------------------------------------------------
    def __enter__(self) -> profile:
        if self._watched or self.seconds:
            raise RuntimeError("a profile records one block: make a new one")
        chosen = devices_.opened() if self._names is None else [devices_.get(name) for name in self._names]
        self.tracer.origin = perf_counter()
        if "trio" in sys.modules:
            from .tasks import TrioRuns

            self._runs = TrioRuns(self.tracer)
        self.tracer.main = self.tracer.thread()
        for device in dict.fromkeys(chosen):
            self._watch(device)
        if self._names is None:
            devices_.on_open.append(self._watch)
        trace.active.append(self.tracer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            if problem is None and not in_trio_task():
                for device in self._watched:
                    for fence in device.flush():
                        fence.wait()
        finally:
            self._leave()

    async def __aenter__(self) -> profile:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            if problem is None:
                for device in self._watched:
                    for fence in device.flush():
                        await fence
        finally:
            self._leave()

    def _watch(self, device: Device) -> None:
        self._watched.append(device)
        self._before[device] = device.statistics.snapshot()
        device.observers.add(self.tracer)

    def _leave(self) -> None:
        trace.active.remove(self.tracer)
        if self._runs is not None:
            self._runs.stop()
        if self._names is None:
            devices_.on_open.remove(self._watch)
        for device in self._watched:
            for stream in list(device.streams):
                if stream.failure is None:
                    stream.retire()
            device.observers.remove(self.tracer)
            self._counts[device.name] = device.statistics.snapshot() - self._before[device]
        self.tracer.finish()
        self.seconds = self.tracer.ended - self.tracer.origin
        for submissions in by_device(self.tracer.submissions).values():
            place_on_host_clock(submissions)
        if self.path is not None:
            self.save(self.path)

    # -- results ---------------------------------------------------------------------------------------------
    def trace(self) -> dict[str, Any]:
        """The recording as a Chrome trace-event JSON object; times in microseconds from the start of the block."""
        return chrome_trace(self.tracer)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `trace` to a file."""
        content = json.dumps(self.trace(), separators=(",", ":"))
        with open(path, "w", encoding="utf-8") as out:
            out.write(content)

    def save_html(self, path: str | os.PathLike[str], title: str = "") -> None:
        """Write one page that shows the recording in a browser; it needs nothing else."""
        from .page import page

        content = page(self.tracer, self._counts, self.seconds, title)
        with open(path, "w", encoding="utf-8") as out:
            out.write(content)

    def kernels(self) -> list[KernelTotal]:
        """Totals per kernel and device, the longest first; empty without timestamps."""
        return kernel_totals(self.tracer)

    def operations(self) -> list[OperationTotal]:
        """Host time of enqueueing per operation and calling line, the longest first; empty with ``commands=False``."""
        return operation_totals(self.tracer)

    def waits(self) -> list[WaitTotal]:
        """Who waited, where and for how long, the longest first."""
        return wait_totals(self.tracer)

    def marks(self) -> list[MarkTotal]:
        """What the program marked with `record_function`, and how much of it went on while a device computed."""
        return mark_totals(self.tracer)

    def devices(self) -> list[DeviceTotal]:
        """Totals per device, in the order they were used."""
        return device_totals(self.tracer, self._counts)

    def table(self, rows: int = 30) -> str:
        """All totals as text; at most ``rows`` of each kind."""
        return text(self.devices(), self.kernels(), self.operations(), self.waits(), self.marks(), self.seconds, rows)
