"""The helpers find what they are there to find."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch.runtime import device as devices
from rasptorch.runtime.device import Device
from rasptorch.runtime.vulkan.driver import open_driver
from rasptorch.runtime.vulkan.timestamps import Timestamps

from . import aftercheck, drivers, vulkan_objects
from .compare import assert_close
from .counting import counting
from .gradients import check_device_gradients

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.1]),
        ([NAN], [1.0]),
        ([1.0], [NAN]),
        ([INF], [-INF]),
        ([INF], [3e38]),
        ([3e38], [INF]),
        ([1.0], [[1.0]]),
    ],
)
def test_differences_are_found(actual: list[float], expected: list[float]) -> None:
    with pytest.raises(AssertionError):
        assert_close(rt.tensor(actual), torch.tensor(expected))


def test_equal_values_pass() -> None:
    values = [1.0, NAN, INF, -INF, -0.0]
    assert_close(rt.tensor(values), torch.tensor(values), signed_zeros=True)
    assert_close(rt.tensor([1 << 60]), np.array([1 << 60]))


def test_dtypes_and_signs_of_zero_are_found() -> None:
    with pytest.raises(AssertionError, match="dtype float32, expected float64"):
        assert_close(rt.tensor([1.0]), np.array([1.0]))
    assert_close(rt.tensor([1.0]), np.array([1.0]), check_dtype=False)
    with pytest.raises(AssertionError, match="at \\[0\\]"):
        assert_close(rt.tensor([0.0]), torch.tensor([-0.0]), signed_zeros=True)
    with pytest.raises(AssertionError, match="1 of 1 values differ"):
        assert_close(rt.tensor([1 << 60]), np.array([(1 << 60) + 1]))


def test_bfloat16_is_compared_as_float32() -> None:
    assert_close(rt.tensor([1.5, -2.0], dtype=rt.bfloat16), torch.tensor([1.5, -2.0], dtype=torch.bfloat16))


def test_counting(device: str) -> None:
    x = rt.ones(3, device=device)
    with counting(device) as n:
        (x + x).numpy()
    assert (n.submissions, n.readbacks, n.commands) == (1, 1, 2)


def test_a_thread_left_running_is_found() -> None:
    before, stop = set(threading.enumerate()), threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten")
    thread.start()
    try:
        assert aftercheck.left_over_threads(before) == ["forgotten"]
    finally:
        stop.set()
        thread.join()
    assert aftercheck.left_over_threads(before) == []


def test_a_leaked_buffer_is_found() -> None:
    held = aftercheck.bytes_in_use()
    kept = [rt.ones(1000)]
    assert any("cpu: " in line for line in aftercheck.leaked(held))
    kept.clear()
    assert aftercheck.leaked(held) == []


@pytest.mark.drivers("lavapipe")
def test_a_lost_vulkan_object_is_found(device: str) -> None:
    driver = devices.get(device).driver
    assert vulkan_objects.lost() == []
    known = vulkan_objects.existing(driver)["query pools"]
    stamps = Timestamps(driver, 4)  # nobody's
    found = vulkan_objects.lost()
    stamps.release()
    assert found == [f"{devices.get(device)}: {known + 1} query pools exist, the engine knows of {known}"]
    assert vulkan_objects.lost() == []


@pytest.mark.drivers("lavapipe", "swiftshader")
def test_closing_a_device_leaves_no_vulkan_object(device: str) -> None:
    driver, full = open_driver(device)
    another = Device(f"{full} again", driver)
    x = rt.arange(6, dtype=rt.float32, device=another)
    assert (x.reshape(2, 3) @ x.reshape(3, 2) + 1).relu().sum().item() == 95.0
    assert vulkan_objects.existing(driver)["command buffers"] > 0
    del x
    another.close()
    assert not vulkan_objects.existing(driver) and vulkan_objects.lost() == []


def test_devices_have_different_names() -> None:
    names = [drivers.device_name(kind) for kind in ("cpu", "lavapipe", "swiftshader")]
    assert len(set(names)) == 3
    assert set(names) <= set(rt.devices())


@pytest.mark.drivers("cpu", "lavapipe", "swiftshader")
def test_the_device_is_the_one_that_was_named(device: str, request: pytest.FixtureRequest) -> None:
    said = devices.get(device).driver.traits.name
    kind = request.node.callspec.id
    assert {"cpu": "NumPy", "lavapipe": "llvmpipe", "swiftshader": "SwiftShader"}.get(kind, "") in said


def test_gradients_on_devices(device: str) -> None:
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    index = np.array([0, 1])
    check_device_gradients(lambda a, b, i: ((a @ b).tanh(), (a * 2)[i.shape[0] - 1]), [x, x.T, index], device)

    def wrong(a: rt.Tensor) -> rt.Tensor:
        return a * a if a.dtype is rt.float64 else a * a.detach()

    with pytest.raises(AssertionError, match="^gradient of input 0"):
        check_device_gradients(wrong, [x], device)
