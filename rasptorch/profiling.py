"""Profiling: ``with rt.profile("trace.json") as p: ...`` and ``print(p.table())``.

What is recorded is what the engine does: enqueueing, planning, submitting, waiting, transfers, and the time
of each kernel on its device. The file opens in ``chrome://tracing`` and at https://ui.perfetto.dev.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Sequence
from time import perf_counter
from types import TracebackType
from typing import Any

from .chrome_trace import chrome_trace
from .profile_totals import DeviceTotal, KernelTotal, device_totals, devices_text, kernel_totals, kernels_text
from .runtime import device as devices_
from .runtime.device import Device
from .runtime.trace import Tracer, by_device, place_on_host_clock
from .runtime.waiting import in_trio_task


class profile:
    """Record what the engine does inside a ``with`` block.

    ``path``: where to write the trace (Chrome trace-event JSON) when the block is left; None: nowhere, see
    `save`.
    ``devices``: names or devices to watch; None: all that are open, and those that are opened inside the
    block.
    ``timestamps``: measure every kernel. Costs a little per kernel, and kernels that could run side by side
    do so less on some devices; without it, only whole submissions are seen, from outside.
    ``commands``: record each operation as it is enqueued (about a microsecond and 200 bytes each).

    Leaving the block waits for the work that was submitted; in a Trio task write ``async with``, else what is
    not done by then is marked as unfinished. When the block is left by an exception, nothing is waited for.
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
        self.tracer = Tracer(timestamps, commands)
        self.seconds = 0.0
        self._names = devices
        self._watched: list[Device] = []

    # -- recording -------------------------------------------------------------------------------------------
    def __enter__(self) -> profile:
        if self._watched or self.seconds:
            raise RuntimeError("a profile records one block: make a new one")
        chosen = devices_.opened() if self._names is None else [devices_.get(name) for name in self._names]
        self.tracer.origin = perf_counter()
        for device in dict.fromkeys(chosen):
            self._watch(device)
        if self._names is None:
            devices_.on_open.append(self._watch)
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
        device.observers.add(self.tracer)

    def _leave(self) -> None:
        if self._names is None:
            devices_.on_open.remove(self._watch)
        for device in self._watched:
            for stream in list(device.streams):
                if stream.failure is None:
                    stream.retire()
            device.observers.remove(self.tracer)
        self.seconds = perf_counter() - self.tracer.origin
        self.tracer.forget()
        for submissions in by_device(self.tracer.submissions).values():
            place_on_host_clock(submissions)
        if self.path is not None:
            self.save(self.path)

    # -- results ---------------------------------------------------------------------------------------------
    def trace(self) -> dict[str, Any]:
        """The recording as a Chrome trace-event JSON object; times in microseconds from the start of the
        block.
        """
        return chrome_trace(self.tracer)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `trace` to a file."""
        with open(path, "w", encoding="utf-8") as out:
            json.dump(self.trace(), out, separators=(",", ":"))

    def kernels(self) -> list[KernelTotal]:
        """Totals per kernel and device, the longest first; empty without timestamps."""
        return kernel_totals(self.tracer)

    def devices(self) -> list[DeviceTotal]:
        """Totals per device, in the order they were used."""
        return device_totals(self.tracer)

    def table(self, rows: int = 30) -> str:
        """Both totals as text; at most ``rows`` kernels."""
        return "\n\n".join((devices_text(self.devices(), self.seconds), kernels_text(self.kernels(), rows)))


# -- the command-line tool -----------------------------------------------------------------------------------
def main(arguments: Sequence[str]) -> int:
    """``[-o trace.json] [--table] script.py [args...]``: run a script under the profiler; its exit status is
    ours.
    """
    import argparse

    parser = argparse.ArgumentParser(
        "profile.py", description="Run a script and record what the engine does."
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where to write the trace (default: trace.json, unless --table)",
    )
    parser.add_argument("--table", action="store_true", help="print a summary to standard error")
    parser.add_argument("--no-timestamps", action="store_true", help="do not measure single kernels")
    parser.add_argument("script")
    parser.add_argument("args", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    path = options.output or (None if options.table else "trace.json")
    recorded = profile(path, timestamps=not options.no_timestamps)
    status = _run(options.script, options.args, recorded)
    if options.table:
        print(recorded.table(), file=sys.stderr)
    if path is not None:
        print(f"trace written to {path}", file=sys.stderr)
    return status


def _run(script: str, arguments: Sequence[str], recorded: profile) -> int:
    """Run it as Python would, except that its exceptions pass through here."""
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    with recorded:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as leaving:
            if isinstance(leaving.code, str):
                print(leaving.code, file=sys.stderr)
                return 1
            return leaving.code or 0
    return 0
