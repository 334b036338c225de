"""What a captured function may not do, and captures among streams and threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rasptorch as rt
from rasptorch import Tensor
from rasptorch.runtime import capture as captures
from rasptorch.runtime import settings
from rasptorch.runtime.capture import CaptureError
from rasptorch.runtime.manual_driver import ManualDriver, manual_device
from tests.support.manual import PATIENCE, Manual, started

from .looking import here, ramp


# -- errors -------------------------------------------------------------------------------------------------------
def misdeeds(device: str) -> dict[str, Callable[[Tensor], Any]]:
    other = rt.device(device).new_stream("another")
    helper = rt.capture(lambda x: x - 1)
    helper(ramp(3, device))

    def on_another_stream(x: Tensor) -> Tensor:
        with rt.stream(other):
            return x * 2

    def on_another_device(x: Tensor) -> Tensor:
        elsewhere = next(d for d in (rt.device("cpu"), rt.device(device)) if d is not x.device)
        rt.ones(2, device=elsewhere) * 2
        return x

    return {
        "numpy": lambda x: (x * 2).numpy(),
        "item": lambda x: x * (x.sum()).item(),
        "truth": lambda x: x if x[0] > 1 else -x,
        "readback": lambda x: (x * 2).readback(),
        "print": lambda x: f"{x * 2}",
        "of something old": lambda x: x.tolist(),
        "synchronize": lambda x: [x * 2, rt.synchronize(device)],
        "synchronize first": lambda x: [rt.synchronize(device), x * 2],
        "flush": lambda x: [x * 2, rt.current_stream(device).flush()],
        "wait": lambda x: [x * 2, rt.current_stream(device).record().wait()],
        "wait for": lambda x: [x * 2, rt.current_stream(device).wait_for(other.record())],
        "stream": on_another_stream,
        "nested, known": lambda x: helper(x * 2),
        "nested, first": lambda x: rt.capture(lambda y: y + 1)(x),
        "nested, itself": lambda x: rt.capture(lambda y: y + 1)(x * 2),
        "fresh": lambda x: rt.capture(lambda: rt.ones(2, device=device), device=device)(),
        "unhashable": lambda x: {1, 2},
    } | ({"device": on_another_device} if device != "cpu" else {})


NAMES = [
    "numpy", "item", "truth", "readback", "print", "of something old", "synchronize", "synchronize first", "flush", "wait", "wait for",
    "stream", "nested, known", "nested, first", "nested, itself", "fresh", "unhashable",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_replayed_is_an_error(device: str, name: str) -> None:
    """And afterwards everything is usable: the stream, the tensors, the function."""
    x, state = ramp(3, device), ramp(3, device)
    bad = [True]
    misdeed = misdeeds(device)[name]

    @rt.capture
    def f(x: Tensor) -> Any:
        state.add_(1)
        return misdeed(x) if bad[0] else x * 3

    for _ in range(2):
        with pytest.raises(CaptureError):
            f(x)
        assert captures.active == [] and rt.current_stream(device).capturing is None
    assert state.tolist() == [0, 1, 2], "nothing of it was run"
    assert (x + state).tolist() == [0, 2, 4]
    bad[0] = False
    assert [f(x).tolist() for _ in range(3)] == [[0, 3, 6]] * 3
    assert state.tolist() == [3, 4, 5] and f.captures == 1


def test_a_second_device_is_an_error() -> None:
    with manual_device(ManualDriver(automatic=True)) as (device, _):
        f = rt.capture(lambda x: (x * 2, rt.ones(2, device="cpu") + 1))
        x = rt.ones(3, device=device)
        with pytest.raises(CaptureError, match="one device and one stream"):
            f(x)
        assert (x * 2).tolist() == [2, 2, 2] and rt.ones(2).tolist() == [1, 1]


def test_an_exception_inside_leaves_nothing_behind(device: str) -> None:
    x, state = ramp(3, device), ramp(3, device)
    made: list[Tensor] = []

    @rt.capture
    def f(x: Tensor, fail: bool) -> Tensor:
        state.mul_(2)
        made.append(x + 1)
        if fail:
            raise KeyError("mine")
        return made[-1] * state

    with pytest.raises(KeyError, match="mine"):
        f(x, True)
    with pytest.raises(KeyError, match="mine"):
        (made[0] + 1).numpy()  # it was never computed: whoever kept it learns why
    assert f.captures == 0 and state.tolist() == [0, 1, 2]
    made.clear()
    for k in range(3):
        assert f(x, False).tolist() == [0, 2 * 2 * 2**k, 3 * 4 * 2**k]
    made.clear()


def test_running_out_of_memory_at_a_replay() -> None:
    driver = ManualDriver(automatic=True)
    with manual_device(driver) as (device, _), settings.override(pool_block=1 << 16):
        f = rt.capture(lambda x: (x * 2).reshape(-1, 1) @ x.reshape(1, -1))
        x = rt.ones(100, device=device)
        assert f(x).shape == (100, 100)
        driver.memory_limit = driver.allocated
        kept = []
        with pytest.raises(rt.OutOfMemory):
            for _ in range(20):
                kept.append(f(x))
        driver.memory_limit = None
        kept.clear()
        assert f(x).numpy().sum() == 2 * 100 * 100


def test_a_failed_stream_refuses_replays(manual: Manual) -> None:
    device, driver = manual
    f = rt.capture(lambda x: x * 2)
    x = rt.ones(3, device=device)
    f(x)
    driver.finish_all()
    f(x)
    driver.fail(rt.DeviceLost("gone"))
    driver.finish()
    with pytest.raises(rt.DeviceLost, match="gone"):
        device.default_stream.flush().wait()
    with pytest.raises(rt.DeviceLost, match="gone"):
        f(x)


# -- streams and threads ------------------------------------------------------------------------------------------
def test_each_stream_has_a_capture_of_its_own(manual: Manual) -> None:
    device, driver = manual
    f = rt.capture(lambda x: x * 2)
    x = rt.ones(3, device=device)
    device.flush()
    driver.finish_all()
    other = device.new_stream()
    for _ in range(2):
        f(x)
        with rt.stream(other):
            f(x)
    assert f.captures == 2
    assert driver.order("submitted")[1:] == [(0, 2), (1, 1), (0, 3), (1, 2)]
    driver.finish_all()


def test_replays_are_ordered_with_other_streams(device: str) -> None:
    """Also where the other stream's commands are still being gathered."""
    state = here(np.zeros(1000, np.float32), device)
    other = rt.Stream(device)
    f = rt.capture(lambda x: state.mul_(2).add_(x))
    x, expected = here(np.ones(1000, np.float32), device), 0.0
    for _ in range(6):
        with rt.stream(other):
            state.add_(3)
        f(x)
        expected = (expected + 3) * 2 + 1
        with rt.stream(other):
            seen = state * 1
        state.sub_(1)
        expected -= 1
        assert seen.tolist()[0] == expected + 1
    assert state.tolist() == [expected] * 1000


def test_threads_share_a_captured_function(device: str) -> None:
    f = rt.capture(lambda x: (x * 2 + 1).sum())

    def work(seed: int) -> list[float]:
        return [f(here(np.full(50, float(seed + k), np.float32), device)).item() for k in range(15)]

    streams = [rt.Stream(device) for _ in range(4)]

    def apart(seed: int) -> list[float]:
        with rt.stream(streams[seed]):
            return work(seed)

    running = [started(lambda seed=seed: apart(seed)) for seed in range(4)]  # type: ignore[misc]
    for seed, future in enumerate(running):
        assert future.result(PATIENCE) == [50.0 * (2 * (seed + k) + 1) for k in range(15)]
    assert f.captures == 4


def test_other_threads_during_a_capture(device: str) -> None:
    """Their work on other streams goes on, unnoticed; on the stream that is being captured it is refused."""
    inside, go_on = threading.Event(), threading.Event()
    old = ramp(3, device)
    own = rt.Stream(device)

    @rt.capture
    def f(x: Tensor) -> Tensor:
        y = x * 2
        inside.set()
        assert go_on.wait(PATIENCE)
        return y + 1

    x = ramp(3, device)
    future = started(lambda: f(x))
    assert inside.wait(PATIENCE)
    try:
        with pytest.raises(CaptureError, match="another thread is capturing"):
            old + 1
        with pytest.raises(CaptureError, match="another thread is capturing"):
            rt.capture(lambda x: x)(old)
        assert old.tolist() == [0, 1, 2], "what was there before can be read"
        with rt.stream(own):
            assert (rt.ones(3, device=device) * 5).tolist() == [5, 5, 5]
        rt.synchronize(device)
    finally:
        go_on.set()
    assert future.result(PATIENCE).tolist() == [1, 3, 5]
    assert (old + 1).tolist() == [1, 2, 3]
    assert f(old).tolist() == [1, 3, 5] and f.captures == 1


@pytest.mark.trio
async def test_under_trio(manual: Manual) -> None:
    device, driver = manual
    f = rt.capture(lambda x: x * 2)
    x = rt.ones(3, device=device)
    made = [f(x) for _ in range(8)]  # more than may be in flight: enqueueing never waits here
    driver.finish_all()
    for out in made:
        assert list(await out.tolist()) == [2, 2, 2]

    async def awaits() -> None:
        await device.default_stream.flush()

    g = rt.capture(lambda x: [x * 2, awaits().send(None)])
    with pytest.raises(CaptureError):
        g(x)
    driver.finish_all()
