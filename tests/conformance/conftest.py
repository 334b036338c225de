"""Every driver, each also inside the checked driver; what they run is given to them by hand, without device or stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import rasptorch as rt
from rasptorch.runtime import dtype as dt
from rasptorch.runtime.buffer import Block, Buffer, Memory
from rasptorch.runtime.checked_driver import CheckedDriver
from rasptorch.runtime.command import CommandSpec, Program, step
from rasptorch.runtime.driver import Driver
from rasptorch.runtime.host.driver import HostDriver
from rasptorch.runtime.layout import layout_of
from rasptorch.runtime.manual_driver import ManualDriver
from rasptorch.runtime.plan.planner import make_plan
from rasptorch.runtime.statistics import Statistics
from rasptorch.runtime.vulkan.driver import open_driver
from tests.conftest import CHOSEN
from tests.support import drivers

DRIVERS = {"host": "cpu", "manual": "cpu", "lavapipe": "lavapipe", "swiftshader": "swiftshader", "gpu": "gpu"}
COUNT = 300


class Subject:
    """A driver, and enough of an engine to give it work: ``x = x * factor + term`` on ``COUNT`` floats."""

    def __init__(self, driver: Driver, manual: ManualDriver | None) -> None:
        self.driver = driver
        self.manual = manual
        self.statistics = Statistics()
        self.blocks: list[Block] = []
        self.recordings: list[Any] = []

    def finish(self) -> None:
        """Let a manual driver finish what was submitted; the others do so by themselves."""
        if self.manual is not None:
            self.manual.finish_all()

    def wait(self, timeline: Any, value: int) -> None:
        self.finish()
        while timeline.completed() < value:
            self.driver.wait([(timeline, value)], 20.0, self.driver.interrupts())

    def buffer(self, value: float, memory: Memory = Memory.READBACK) -> Buffer:
        block = self.driver.allocate(1 << 16, memory)
        self.blocks.append(block)
        made = Buffer(None, block, self.driver.traits.alignment, COUNT * 4)  # type: ignore[arg-type]
        made.view(COUNT * 4).view("float32")[:] = value
        return made

    def recording(self, source: Buffer, target: Buffer) -> Any:
        """``target = source * scalars[0] + scalars[1]``, in place where both are one buffer."""
        device = rt.device("cpu")
        layout = layout_of(device, dt.float32, (COUNT,))
        f = dt.float32
        program = Program((f,), (f, f), (step("mul", f, (0, 1)), step("add", f, (3, 2))), (4,))
        spec = CommandSpec("elementwise", "line", (layout,), (layout,), program, in_place=1)
        same = source is target
        key: list[object] = [spec, 0, 0, 0 if same else 1, 0]
        plan = make_plan(key, (), self.driver.traits, device.error_layout)
        made = self.driver.record(plan, [source] if same else [source, target], self.statistics)
        self.recordings.append(made)
        return made

    def submit(
        self, timeline: Any, value: int, recording: Any, factor: float, term: float, waits: Any = ()
    ) -> None:
        self.driver.submit(timeline, value, recording, [factor, term], list(waits), self.statistics)

    def close(self) -> None:
        for recording in self.recordings:
            recording.release()
        for block in self.blocks:
            self.driver.free(block)
        self.driver.close()


def values(buffer: Buffer) -> list[float]:
    """The different values in a buffer."""
    return sorted(set(buffer.view(COUNT * 4).view("float32").tolist()))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.stash[CHOSEN]
    names = [n for n, kind in DRIVERS.items() if (kind in chosen if chosen else n != "gpu")]
    both = [f"{name}{how}" for name in names for how in ("", "-checked")]
    metafunc.parametrize("subject", both, indirect=True, ids=both)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    name, _, how = request.param.partition("-")
    inner: Driver
    manual = None
    if name == "host":
        inner = HostDriver()
    elif name == "manual":
        inner = manual = ManualDriver()
    else:
        inner, _ = open_driver(drivers.device_name(name))
    made = Subject(CheckedDriver(inner) if how else inner, manual)
    yield made
    made.finish()
    made.close()
