"""The table of the design's section 6, row by row: what waits, what is awaited, and what says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trio

import rasptorch as rt
from tests.support.counting import counting
from tests.support.manual import PATIENCE, Manual


def one(device: Any) -> rt.Tensor:
    return rt.full((1,), 2.0, device=device) * 1.5


# -- in a script --------------------------------------------------------------------------------------------------
def test_script_numpy_item_tolist_wait_and_return_the_value(device: str) -> None:
    x = rt.arange(3, dtype=rt.float32, device=device) + 1
    array = x.numpy()
    assert type(array) is np.ndarray and array.dtype == np.float32 and array.tolist() == [1, 2, 3]
    array[:] = 0  # the caller owns it
    values = x.tolist()
    assert type(values) is list and values == [1.0, 2.0, 3.0]
    item = one(device).item()
    assert type(item) is float and item == 3.0
    assert type((rt.ones(1, dtype=rt.int32, device=device)).item()) is int


def test_script_readback_is_asked_for_its_value(device: str) -> None:
    later = one(device).readback()
    assert isinstance(later, rt.Readback)
    value = later.wait(timeout=PATIENCE)
    assert later.is_done() and value.tolist() == [3.0]
    assert later.wait() is value


def test_script_synchronize_waits(device: str) -> None:
    later = one(device).readback()
    assert rt.synchronize(device) is None
    with rt.forbid_waiting():
        assert later.is_done() and later.wait().tolist() == [3.0]


def test_script_conversions_wait(device: str) -> None:
    assert float(one(device)) == 3.0
    assert int(one(device)) == 3
    assert bool(one(device)) is True
    assert bool(one(device) - 3) is False
    assert np.asarray(one(device)).tolist() == [3.0]
    assert np.asarray(one(device), dtype=np.int64).dtype == np.int64
    assert repr(one("cpu")) == "tensor([3.])"
    assert "3." in repr(one(device)) and f"{one(device):.2f}" == "3.00"


def test_script_conversions_take_one_element_only(device: str) -> None:
    with pytest.raises(rt.ShapeError, match=r"float\(\): only one element .* shape \[2\]"):
        float(rt.ones(2, device=device))
    with pytest.raises(rt.ShapeError, match=r"bool\(\)"):
        bool(rt.ones(0, device=device))
    with pytest.raises(rt.ShapeError, match=r"item"):
        rt.ones(2, device=device).item()


# -- in a Trio task -----------------------------------------------------------------------------------------------
@pytest.mark.trio
async def test_trio_numpy_item_tolist_are_awaited(device: str) -> None:
    x = rt.arange(3, dtype=rt.float32, device=device) + 1
    later: Any = x.numpy()
    assert isinstance(later, rt.Readback)
    array = await later
    assert type(array) is np.ndarray and array.tolist() == [1, 2, 3]
    assert await x.tolist() == [1.0, 2.0, 3.0]
    item = await one(device).item()
    assert type(item) is float and item == 3.0


@pytest.mark.trio
async def test_trio_a_readback_is_awaited_as_often_as_wanted(device: str) -> None:
    later = one(device).readback()
    assert (await later).tolist() == [3.0]
    assert (await later).tolist() == [3.0] and later.is_done()


@pytest.mark.trio
async def test_trio_synchronize_is_awaited(device: str) -> None:
    later = one(device).readback()
    assert await rt.synchronize(device) is None
    assert later.is_done()
    with rt.forbid_waiting():
        assert (await later).tolist() == [3.0]


@pytest.mark.trio
async def test_trio_everything_awaitable_is_a_checkpoint(device: str) -> None:
    done = one(device).readback()
    await done
    waits: list[Any] = [
        lambda: done,
        lambda: rt.synchronize(device),
        lambda: rt.device(device).default_stream.flush(),
        lambda: rt.device(device).default_stream.has_room(),
    ]
    for wait in waits:
        with trio.CancelScope() as scope:
            scope.cancel()
            await wait()
        assert scope.cancelled_caught


CONVERSIONS = {
    "float": float,
    "int": int,
    "bool": bool,
    "np.asarray": np.asarray,
    "format": lambda x: format(x, ".1f"),
}


@pytest.mark.trio
@pytest.mark.parametrize("name", CONVERSIONS)
async def test_trio_conversions_need_the_value_to_be_there(manual: Manual, name: str) -> None:
    device, driver = manual
    convert: Any = CONVERSIONS[name]
    x = one(device)
    for gathered in (True, False):
        with pytest.raises(rt.BlockingInTrio, match=r"use `await t\.item\(\)` or `await t\.numpy\(\)`"):
            convert(x)
        if gathered:
            device.flush()
    driver.finish()
    expected = {"int": 3, "bool": True, "np.asarray": np.array([3.0]), "format": "3.0"}.get(name, 3.0)
    assert convert(x) == expected


@pytest.mark.trio
async def test_trio_repr_shows_what_is_pending(manual: Manual) -> None:
    device, driver = manual
    x = one(device)
    assert "<pending>" in repr(x) and "shape=[1]" in repr(x)
    device.flush()
    assert "<pending>" in repr(x) and "<pending>" in f"{x}"
    driver.finish()
    assert "3." in repr(x) and "pending" not in repr(x)


@pytest.mark.trio
async def test_trio_blocking_waits_are_refused(manual: Manual) -> None:
    device, driver = manual
    later = one(device).readback()
    for wait in (later.wait, device.default_stream.flush().wait):
        with pytest.raises(rt.BlockingInTrio, match="`await` the fence or readback"):
            wait()
    driver.finish_all()
    assert later.wait().tolist() == [3.0]  # does not block any more


@pytest.mark.trio
async def test_trio_threads_of_its_own_may_block(device: str) -> None:
    x = one(device)
    assert await trio.to_thread.run_sync(x.item) == 3.0
    assert (await trio.to_thread.run_sync(x.numpy)).tolist() == [3.0]
    assert await trio.to_thread.run_sync(float, x) == 3.0
    assert await trio.to_thread.run_sync(x.readback().wait) == [3.0]
    await trio.to_thread.run_sync(rt.synchronize, device)

    def back_in_the_loop() -> None:
        with pytest.raises(rt.BlockingInTrio):
            float(rt.ones(1, device=device) + 1)

    await trio.to_thread.run_sync(trio.from_thread.run_sync, back_in_the_loop)


# -- nothing else waits -------------------------------------------------------------------------------------------
def test_enqueueing_never_waits(manual: Manual) -> None:
    """Forward, backward, an update, a flush: all while nothing at all gets done."""
    device, driver = manual
    w = rt.ones(4, 4, device=device, requires_grad=True)
    with rt.forbid_waiting(), counting(device) as n:
        loss = (rt.ones(2, 4, device=device) @ w).relu().sum()
        loss.backward()
        assert w.grad is not None
        with rt.no_grad():
            w -= 0.5 * w.grad
        later = w.readback()
        device.default_stream.flush()
    assert n.submissions == 1 and n.waits == 0
    driver.finish_all()
    assert later.wait().tolist() == [[0.0] * 4] * 4


def test_forbidden_waits_say_what_would_have_waited(manual: Manual) -> None:
    device, driver = manual
    x = one(device)
    device.flush()
    with rt.forbid_waiting():
        for wait in (x.numpy, x.item, lambda: float(x), lambda: repr(x), lambda: rt.synchronize(device)):
            with pytest.raises(rt.WaitingForbidden, match=r"waiting for Fence\(manual.*\) would wait"):
                wait()
    driver.finish()
    assert x.item() == 3.0


@pytest.mark.trio
async def test_awaiting_is_forbidden_too(manual: Manual) -> None:
    device, driver = manual
    later = one(device).readback()
    with rt.forbid_waiting(), pytest.raises(rt.WaitingForbidden):
        await later
    driver.finish_all()
    assert (await later).tolist() == [3.0]


@pytest.mark.trio
async def test_trio_a_value_is_there_although_an_open_batch_reads_it(device: str) -> None:
    x = one(device)
    await x.item()
    y = x + 1
    assert float(x) == 3.0
    assert await y.item() == 4.0
