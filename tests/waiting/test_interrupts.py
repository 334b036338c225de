"""Ctrl-C during a wait, or in the middle of work: the error arrives, and everything is usable afterwards."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import rasptorch as rt
from rasptorch.runtime.fence import Fence
from rasptorch.runtime.interrupts import Uninterrupted
from rasptorch.runtime.manual_driver import ManualDriver, manual_device
from tests.support.manual import PATIENCE, Manual, started


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def default_handling() -> Iterator[None]:
    """Ctrl-C as in any program, whatever the test runner has made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_blocking_wait(manual: Manual) -> None:
    device, driver = manual
    later = rt.full((2,), 4.0, device=device).readback()
    device.flush()

    def press_when_waiting() -> None:
        driver.until_waiting(1)
        press_ctrl_c()

    with default_handling():
        thread = started(press_when_waiting)
        with pytest.raises(KeyboardInterrupt):
            later.wait()
        thread.result(PATIENCE)
    assert device.default_stream.failure is None
    driver.finish()
    assert later.wait().tolist() == [4, 4]
    assert (rt.ones(2, device=device) + 1).readback().is_done() is False


@pytest.mark.every_driver
def test_ctrl_c_ends_a_wait_inside_the_driver(device: str) -> None:
    """Where Vulkan waits, nobody knows of Python's signals."""
    x = rt.ones(4, device=device)
    x.numpy()
    stream = rt.device(device).new_stream()
    stream.submitted = 1  # so it says
    inside = threading.Event()

    def press() -> None:
        inside.wait(PATIENCE)
        press_ctrl_c()

    with default_handling():
        thread = started(press)
        with pytest.raises(KeyboardInterrupt):
            inside.set()
            Fence(stream, 1).wait()
        thread.result(PATIENCE)
    stream.submitted = 0
    assert (x + 1).tolist() == [2] * 4


def test_ctrl_c_in_the_middle_of_a_kernel_waits_for_its_end() -> None:
    """On the cpu device whoever waits may run the submission itself, and half of one cannot be run again."""
    from rasptorch.runtime.device import Device
    from rasptorch.runtime.host.driver import HostDriver

    pressed: list[bool] = []

    class Pressing(HostDriver):
        def record(self, *args: Any) -> Any:
            made = super().record(*args)

            def press(scalars: Any) -> None:
                if not pressed and threading.current_thread() is threading.main_thread():
                    pressed.append(True)
                    press_ctrl_c()

            made.runners.insert(0, press)
            return made

        def submit(self, *args: Any) -> None:
            with self._running:  # the worker cannot begin before this thread waits
                super().submit(*args)
                self._jobs_seen = len(self._jobs)

    device = Device("cpu, pressing", Pressing())
    device.driver._worker = threading.current_thread()  # type: ignore[attr-defined]  # no worker: we run it ourselves
    x = rt.zeros(3, device=device)
    with default_handling(), pytest.raises(KeyboardInterrupt):
        for _ in range(3):
            x.add_(1)
            x.numpy()
    assert pressed == [True] and device.default_stream.failure is None
    before = x.tolist()[0]
    x.add_(1)
    assert x.tolist() == [before + 1] * 3
    device.driver._worker = None  # type: ignore[attr-defined]
    device.close()


def test_ctrl_c_while_submitting_is_held_back() -> None:
    class Pressing(ManualDriver):
        def submit(self, *args: Any) -> None:
            press_ctrl_c()
            super().submit(*args)

    with manual_device(Pressing(automatic=True)) as (device, driver), default_handling():
        x = rt.ones(2, device=device)
        with pytest.raises(KeyboardInterrupt):
            device.flush()
        assert driver.order() == [(0, 1)] and device.default_stream.submitted == 1
        assert device.default_stream.failure is None
        with pytest.raises(KeyboardInterrupt):
            x.add_(1)
            device.flush()
        assert x.tolist() == [2, 2]


def test_ctrl_c_while_enqueueing_leaves_the_batch_whole(manual: Manual) -> None:
    """Wherever in `Stream.enqueue` it comes, the command is in the batch as a whole or not at all."""
    import sys

    device, driver = manual
    x = rt.zeros(4, device=device)
    device.flush()
    driver.finish_all()
    stream = device.default_stream
    code = type(stream).enqueue.__code__
    done = 0

    def interrupted_at(line: int) -> bool:
        """One ``x.add_(1)``, interrupted when it comes to that line of `enqueue`."""
        seen = 0

        def trace(frame: Any, event: str, arg: Any) -> Any:
            nonlocal seen
            if frame.f_code is not code:
                return None
            if event == "line":
                seen += 1
                if seen == line:
                    raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            x.add_(1)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    before = sys.gettrace()
    try:
        line, commands = 1, 0
        while interrupted_at(line):
            line += 1
            batch = stream._batch
            assert batch.commands in (commands, commands + 1)
            commands = batch.commands
            assert (len(batch.key), len(batch.scalars), len(batch.slots)) == (5 * commands, commands, min(commands, 1))
        done = stream._batch.commands
    finally:
        sys.settrace(before)
    assert line > 10 and done >= 1
    device.flush()
    driver.finish_all()
    assert x.tolist() == [done] * 4


def test_held_back_signals_arrive_once_at_the_end() -> None:
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with Uninterrupted():
            with Uninterrupted():
                press_ctrl_c()
                press_ctrl_c()
                assert seen == []
            assert seen == []
        assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_hold_nothing_back() -> None:
    def enter() -> Any:
        with Uninterrupted():
            return signal.getsignal(signal.SIGINT)

    assert started(enter).result(PATIENCE) is signal.getsignal(signal.SIGINT)
