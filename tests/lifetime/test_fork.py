"""After fork() the child has no device: it is told so, at once and whatever it tries."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import rasptorch as rt
from tests.support.manual import PATIENCE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork() on this system")


def in_child(function: Callable[[], Any]) -> Any:
    """What ``function`` returns in a forked child. A child that hangs is killed, and the test fails."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python itself warns of fork() where there are threads: that is the point here
        child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            try:
                answer = function()
            except BaseException:
                answer = traceback.format_exc()
            os.write(writing, pickle.dumps(answer))
        finally:
            os._exit(0)
    os.close(writing)
    watchdog = threading.Timer(PATIENCE, os.kill, (child, signal.SIGKILL))
    watchdog.start()
    with os.fdopen(reading, "rb") as answers:
        data = answers.read()
    os.waitpid(child, 0)
    watchdog.cancel()
    watchdog.join()
    assert data, "the child hung"
    return pickle.loads(data)


def refused(*uses: Callable[[], Any]) -> list[str]:
    """What each of them raised; anything but a `DeviceError` shows."""
    said = []
    for use in uses:
        try:
            said.append(f"returned {use()!r}")
        except rt.DeviceError as problem:
            said.append(str(problem))
        except BaseException as problem:
            said.append(repr(problem))
    return said


@pytest.mark.drivers("cpu", "lavapipe", "swiftshader")
def test_touching_a_device_in_the_child(device: str) -> None:
    x = rt.ones(4, device=device)
    x.numpy()
    later, gathered = x.readback(), x + 1

    def uses() -> list[str]:
        return refused(
            lambda: rt.ones(3, device=device), lambda: rt.tensor([1.0], device=device), lambda: x + 1,
            lambda: x.add_(1), lambda: x.numpy(), lambda: x.sum().item(), lambda: later.wait(), lambda: gathered.numpy(),
            lambda: rt.synchronize(device), lambda: rt.synchronize(), lambda: rt.statistics(device),
            lambda: rt.device(device), lambda: repr(x), lambda: x.to("cpu" if device != "cpu" else "gpu"),
        )  # fmt: skip

    for said in in_child(uses):
        assert "before fork() and cannot be used in the child" in said
        assert "'spawn'" in said
    assert gathered.tolist() == [2] * 4 and later.wait().tolist() == [1] * 4


@pytest.mark.drivers("lavapipe")
def test_the_default_gpu_in_the_child(device: str) -> None:
    assert rt.ones(2, device="gpu").tolist() == [1, 1]
    (said,) = in_child(lambda: refused(lambda: rt.ones(2, device="gpu")))
    assert "was opened before fork()" in said


@pytest.mark.drivers("lavapipe")
def test_a_vulkan_device_that_is_first_opened_in_the_child(device: str) -> None:
    """The loader and its drivers were started in the parent; their threads are not in the child."""
    names = [name for name in rt.devices() if name.startswith("vulkan:")]
    from rasptorch.runtime import device as devices

    for name in names:
        rt.device(name)
    known = dict(devices._devices)

    def uses() -> list[str]:
        devices._devices.clear()  # as if the parent had opened none of them
        return refused(*(partial(rt.ones, 2, device=name) for name in names))

    for said in in_child(uses):
        assert "Vulkan was started before fork() and cannot be used in the child" in said
    assert devices._devices == known


def test_a_lock_that_was_held_while_forking(device: str) -> None:
    """Another thread was in the middle of an operation: the child must not wait for it."""
    found, inside, leave = rt.device(device), threading.Event(), threading.Event()
    x = rt.ones(2, device=device)
    x.numpy()

    def hold() -> None:
        with found.lock:
            inside.set()
            leave.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(PATIENCE)
    try:
        said = in_child(lambda: refused(lambda: x + 1, lambda: rt.tensor([1.0], device=device), x.numpy))
    finally:
        leave.set()
        thread.join()
    assert all("was opened before fork()" in text for text in said), said


def test_tensors_may_die_in_the_child(device: str) -> None:
    box = [rt.ones(100, device=device)]
    box[0].numpy()

    def drop() -> int:
        box.clear()
        return len(box)

    assert in_child(drop) == 0
    assert box[0].tolist() == [1] * 100


def test_the_child_may_end_as_programs_end(device: str) -> None:
    """Not by ``os._exit``: the exit handlers run, and leave the parent's devices alone."""
    import sys

    rt.ones(100, device=device).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        from rasptorch.runtime import device as devices

        status = 1
        try:
            devices.close_all()
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (rt.ones(3, device=device) + 1).tolist() == [2] * 3
