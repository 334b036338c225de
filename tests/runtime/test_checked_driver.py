"""Each check of the checked driver fires on a plan, or a course of events, that was broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import rasptorch as rt
from rasptorch.runtime import device as devices
from rasptorch.runtime import settings
from rasptorch.runtime.buffer import Memory
from rasptorch.runtime.checked_driver import POISON, CheckedDriver
from rasptorch.runtime.device import Device
from rasptorch.runtime.errors import CheckFailed
from rasptorch.runtime.hazards import Access
from rasptorch.runtime.manual_driver import ManualDriver, manual_device
from rasptorch.runtime.plan.plan import Kernel, Operand, Plan
from rasptorch.runtime.plan.planner import make_plan


@contextmanager
def checked(**traits: Any) -> Iterator[tuple[Device, ManualDriver, CheckedDriver]]:
    with settings.override(check=True), manual_device(ManualDriver(**traits)) as (device, driver):
        assert isinstance(device.driver, CheckedDriver)
        yield device, driver, device.driver


@contextmanager
def breaking(monkeypatch: pytest.MonkeyPatch, change: Callable[[Plan], None]) -> Iterator[None]:
    """Every plan made inside is broken by ``change``."""

    def wrong(*args: Any) -> Plan:
        plan = make_plan(*args)
        change(plan)
        return plan

    with monkeypatch.context() as patched:
        patched.setattr("rasptorch.runtime.plan.cache.make_plan", wrong)
        yield


def swapped(kernel: Kernel, **operands: tuple[Operand, ...]) -> Kernel:
    return replace(kernel, **operands)  # type: ignore[arg-type]


def two_products(device: Device) -> rt.Tensor:
    """Two kernels that nothing can fuse, the first one's result a temporary."""
    a = rt.ones(8, 8, device=device)
    device.flush()
    return (a @ a) @ a


def test_a_right_plan_passes() -> None:
    with checked() as (device, driver, _):
        later = two_products(device).readback()
        device.flush()
        driver.finish_all()
        assert later.wait()[0, 0] == 64


def test_an_access_outside_its_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    def reach_too_far(plan: Plan) -> None:
        (kernel,) = plan.levels[0]
        far = replace(kernel.inputs[0], access=Access(kernel.inputs[0].value, 0, 1 << 20))
        plan.levels = ((swapped(kernel, inputs=(far, *kernel.inputs[1:])),), *plan.levels[1:])

    with checked() as (device, _, _):
        a = rt.ones(8, 8, device=device)
        device.flush()
        b = a @ a
        with breaking(monkeypatch, reach_too_far), pytest.raises(CheckFailed, match=r"matmul \[8, 8\]: bytes 0 to 1048576"):
            device.flush()
        del b


def test_strides_that_leave_the_access(monkeypatch: pytest.MonkeyPatch) -> None:
    def stride(plan: Plan) -> None:
        (kernel,) = plan.levels[0]
        wide = replace(kernel.inputs[0], strides=(9, 1))
        plan.levels = ((swapped(kernel, inputs=(wide, *kernel.inputs[1:])),), *plan.levels[1:])

    with checked() as (device, _, _):
        a = rt.ones(8, 8, device=device)
        device.flush()
        b = a @ a
        with (
            breaking(monkeypatch, stride),
            pytest.raises(CheckFailed, match="walks bytes 0 to 284 of value 0, but says 0 to 256"),
        ):
            device.flush()
        del b


def test_a_conflict_on_one_level(monkeypatch: pytest.MonkeyPatch) -> None:
    def flatten(plan: Plan) -> None:
        plan.levels = (tuple(plan.kernels),)

    with checked() as (device, _, _):
        x = rt.ones(8, 8, device=device)
        device.flush()
        y = x @ x
        x.copy_(y @ y)
        with breaking(monkeypatch, flatten), pytest.raises(CheckFailed, match="on level 0, without a barrier between them, mat"):
            device.flush()


def test_temporaries_that_share_bytes_while_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def squeeze(plan: Plan) -> None:
        plan.offsets = dict.fromkeys(plan.offsets, 0)

    with checked() as (device, _, _):
        a = rt.ones(8, 8, device=device)
        device.flush()
        out = (a @ a) @ (a @ a.t())
        with breaking(monkeypatch, squeeze), pytest.raises(CheckFailed, match="share bytes and are both alive on level 0"):
            device.flush()
        del out


def test_a_temporary_outside_the_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    def shrink(plan: Plan) -> None:
        plan.arena = 64

    with checked() as (device, _, _):
        out = two_products(device)
        with breaking(monkeypatch, shrink), pytest.raises(CheckFailed, match="lies at 0 to 256 of an arena of 64"):
            device.flush()
        del out


def test_a_value_read_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def turn_round(plan: Plan) -> None:
        plan.levels = tuple(reversed(plan.levels))

    with checked() as (device, _, _):
        out = two_products(device)
        with breaking(monkeypatch, turn_round), pytest.raises(CheckFailed, match=r"reads bytes 0 to 256 .* before they are"):
            device.flush()
        del out


def test_an_output_that_nothing_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(plan: Plan) -> None:
        plan.levels = plan.levels[:-1]

    with checked() as (device, _, _):
        out = two_products(device)
        with breaking(monkeypatch, forget), pytest.raises(CheckFailed, match="nothing writes all 256 bytes of value"):
            device.flush()
        del out


def test_a_value_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(plan: Plan) -> None:
        plan.offsets = {}

    with checked() as (device, _, _):
        out = two_products(device)
        with breaking(monkeypatch, lose), pytest.raises(CheckFailed, match="has no memory"):
            device.flush()
        del out


def test_too_few_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    with checked() as (device, _, driver):
        out = two_products(device)
        right = driver.record
        monkeypatch.setattr(driver, "record", lambda plan, buffers, counts: right(plan, buffers[:-1], counts))
        with pytest.raises(CheckFailed, match="a plan for 3 buffers was bound to 2"):
            device.flush()
        del out


def test_memory_used_after_it_was_given_back() -> None:
    with checked() as (device, driver, inner):
        x = rt.ones(8, device=device)
        device.flush()
        driver.finish_all()
        assert x.storage.slot.buffer is not None
        block = x.storage.slot.buffer.block
        inner.free(block)
        x.add_(1)
        with pytest.raises(CheckFailed, match=f"bound to block {block.key}, which was given back"):
            device.flush()
        with pytest.raises(CheckFailed, match="given back twice"):
            inner.free(block)
        del device.pool._free[block]  # or the pool would give it back once more


def test_memory_given_back_to_the_driver_while_in_use() -> None:
    with checked() as (device, driver, inner):
        x = rt.ones(8, device=device)
        device.flush()
        assert x.storage.slot.buffer is not None
        with pytest.raises(CheckFailed, match=r"was given back to the driver while submission 1 \(.*\) still uses them"):
            inner.free(x.storage.slot.buffer.block)
        driver.finish_all()


@pytest.mark.parametrize("whom", ["the host", "another stream"])
def test_memory_handed_on_while_in_use(whom: str) -> None:
    """The pool is told that the buffer is free: its fences were lost."""
    with checked() as (device, driver, _):
        x = rt.ones(8, device=device)
        device.flush()
        stream = None if whom == "the host" else device.new_stream()
        slot = x.storage.slot
        buffer, slot.buffer = slot.buffer, None
        assert buffer is not None
        device.pool.give_back(buffer, None)
        with pytest.raises(CheckFailed, match=r"was handed to .* while submission 1 \(.*\) still uses them"):
            device.pool.allocate(32, buffer.block.memory, stream)
        driver.finish_all()


def test_streams_that_race() -> None:
    with checked() as (device, driver, _):
        x = rt.ones(8, device=device)
        device.flush()
        driver.finish_all()
        other = device.new_stream()
        with device.using(other):
            x.add_(1)
        other.flush()
        x.storage.slot.written = None  # the engine forgets who wrote it
        x.storage.slot.used = None
        x.mul_(2)
        with pytest.raises(CheckFailed, match=r"does not wait for submission 1 of another stream \(.*\), and both use bytes"):
            device.default_stream.flush()
        driver.finish_all()


def test_an_order_through_a_third_stream_is_enough() -> None:
    with checked() as (device, driver, _):
        a, b = device.new_stream(), device.new_stream()
        x = rt.ones(8, device=device)
        with device.using(a):
            y = x + 1
        with device.using(b):
            z = y + 1
            z.add_(x)  # x was written on a stream that b only waits for by way of a
        later = z.readback()
        device.flush()
        driver.finish_all()
        assert later.wait().tolist() == [4] * 8


def test_a_recording_submitted_while_it_runs() -> None:
    with checked(reentrant_recordings=False) as (device, driver, inner):
        x = rt.ones(8, device=device)
        device.flush()
        driver.finish_all()
        x.add_(1)
        device.flush()
        ((_, entries),) = next(reversed(device.plans._plans.values())).recordings.items()
        recording = entries[0].recording
        stream = device.default_stream
        with pytest.raises(CheckFailed, match="was submitted while it runs"):
            inner.submit(stream.timeline, 3, recording, [1.0], [], device.statistics)
        driver.finish_all()
        with pytest.raises(CheckFailed, match="comes after 2 on one timeline"):
            inner.submit(stream.timeline, 2, recording, [1.0], [], device.statistics)
        with pytest.raises(CheckFailed, match="waits for 9, which nobody has submitted"):
            inner.submit(stream.timeline, 3, recording, [1.0], [(device.new_stream().timeline, 9)], device.statistics)
        recording.release()
        with pytest.raises(CheckFailed, match="after its release"):
            inner.submit(stream.timeline, 3, recording, [1.0], [], device.statistics)
        with pytest.raises(CheckFailed, match="released twice"):
            recording.release()


def test_memory_that_changes_hands_is_poisoned() -> None:
    with checked() as (device, driver, _):
        y = rt.ones(16, device=device)
        device.flush()
        driver.finish_all()
        assert y.tolist() == [1.0] * 16
        buffer = device.pool.allocate(64, Memory.DEVICE, None)
        assert (buffer.view(buffer.nbytes) == POISON).all()
        device.pool.give_back(buffer, None)


def test_memory_in_use_is_not_poisoned() -> None:
    """The same stream may get bytes that its own unfinished work still uses: nobody but the device may write them."""
    with checked() as (device, driver, _):
        x = rt.full((64,), 3.0, device=device)
        later = (x * 2).readback()
        device.flush()
        del x
        for _ in range(3):
            y = rt.zeros(64, device=device)
            device.default_stream.submit()
            del y
        driver.finish_all()
        assert later.wait().tolist() == [6.0] * 64


def test_a_failed_device_is_held_to_nothing() -> None:
    with checked() as (device, driver, _):
        x = rt.ones(8, device=device)
        device.flush()
        driver.fail(rt.DeviceLost("gone"))
        driver.finish()
        with pytest.raises(rt.DeviceLost):
            x.numpy()
        del x
        device.pool.allocate(64, Memory.UPLOAD, None)


def test_every_device_can_be_checked(device: str) -> None:
    """A device of its own, with the checks on, beside the one that other tests use."""
    found = devices.get(device)
    if isinstance(found.driver, CheckedDriver):
        inner: Any = type(found.driver.inner)
    else:
        inner = type(found.driver)
    made = inner() if device == "cpu" else inner(found.driver.physical)  # type: ignore[attr-defined]
    own = Device(f"{device}, checked", CheckedDriver(made))
    try:
        x = rt.tensor(np.arange(60, dtype=np.float32).reshape(6, 10), device=own)
        y = ((x @ x.t()).relu() - 3).sum(0) * 2
        expected = 2 * (np.maximum(x.numpy() @ x.numpy().T, 0) - 3).sum(0)
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5)
        other = own.new_stream()
        with own.using(other):
            z = y + 1
        z.mul_(y)
        np.testing.assert_allclose(z.numpy(), expected * (expected + 1), rtol=1e-4)
    finally:
        own.close()
