"""Streams and memory: what is dropped finishes, what is given back waits for whoever still uses it."""

from __future__ import annotations

import gc
from weakref import ref

import numpy as np
import pytest

import rasptorch as rt
from rasptorch.runtime import settings
from rasptorch.runtime.manual_driver import ManualDriver, manual_device
from tests.support.manual import Manual

from .test_streams import filled, two_streams


# -- lifetimes ----------------------------------------------------------------------------------------------------
def test_a_stream_that_is_dropped_finishes_its_work(manual: Manual) -> None:
    """In flight, and also what it had only gathered."""
    device, driver = manual
    x = filled(device, 1.0)
    stream = rt.Stream(device)
    with rt.stream(stream):
        x.add_(1)
        stream.flush()
        x.mul_(10)
    del stream
    gc.collect()
    later = x.readback()
    device.flush()
    driver.finish_all()
    assert later.wait().tolist() == [20] * 4


def test_a_dropped_stream_goes_once_it_is_done() -> None:
    with manual_device(ManualDriver()) as (device, driver), settings.override(plan_cache=1, recordings=1):
        stream = rt.Stream(device)
        gone = ref(stream)
        with rt.stream(stream):
            kept = rt.ones(4, device=device) + 1
        stream.flush()
        del stream
        driver.finish_all()
        assert kept.tolist() == [2] * 4, "its values outlive it"
        del kept
        x = rt.ones(3, device=device) * 2  # other plans take the place of what remembers it
        device.flush()
        driver.finish_all()
        x = x * 2
        device.flush()
        driver.finish_all()
        gc.collect()
        assert gone() is None
        assert x.tolist() == [4, 4, 4]


def test_memory_of_one_stream_is_not_given_to_another_too_early(manual: Manual) -> None:
    """Bytes that unfinished work of a stream uses may go to that stream's later work, and to nobody else's."""
    device, driver = manual
    with two_streams(manual) as (one, other):
        with rt.stream(one):
            x = rt.full((1000,), 1.0, device=device)
            out = x * 2
        one.flush()
        used = x.storage.slot.buffer
        assert used is not None
        place, key = (used.block.key, used.offset), used.key
        del x, used
        with rt.stream(other):
            theirs = rt.full((1000,), 5.0, device=device)
        other.flush()
        got = theirs.storage.slot.buffer
        assert got is not None and got.key != key
        with rt.stream(one):
            mine = rt.full((1000,), 7.0, device=device)
        one.flush()
        again = mine.storage.slot.buffer
        assert again is not None and (again.block.key, again.offset) == place, "the same stream's work comes after"
        driver.finish(timeline=other.timeline)
        driver.finish_all()
        assert (out.tolist()[0], theirs.tolist()[0], mine.tolist()[0]) == (2, 5, 7)


def test_memory_that_another_stream_reads_waits_for_it(manual: Manual) -> None:
    """Freed while a second stream's unfinished work still reads it: even its own stream must not have it yet."""
    device, driver = manual
    with two_streams(manual) as (one, other):
        with rt.stream(one):
            x = rt.full((1000,), 3.0, device=device)
        one.flush()
        driver.finish_all()
        with rt.stream(other):
            read = x + 1
        other.flush()
        used = x.storage.slot.buffer
        assert used is not None
        key = used.key
        del x, used
        with rt.stream(one):
            fresh = rt.full((1000,), 9.0, device=device)
        one.flush()
        got = fresh.storage.slot.buffer
        assert got is not None and got.key != key
        driver.finish(timeline=one.timeline)
        driver.finish(timeline=other.timeline)
        assert (read.tolist()[0], fresh.tolist()[0]) == (4, 9)
        del fresh, got
        with rt.stream(one):
            later = rt.full((1000,), 2.0, device=device)
        one.flush()
        driver.finish_all()
        assert later.tolist()[0] == 2


def test_arenas_of_two_streams_are_apart(manual: Manual) -> None:
    device, driver = manual
    a, b = rt.rand(16, 16, device=device), rt.rand(16, 16, device=device)
    device.flush()
    driver.finish_all()
    with two_streams(manual) as (one, other):
        made = []
        for stream, x in ((one, a), (other, b)):
            with rt.stream(stream):
                made.append(((x @ x) @ x).readback())
            stream.flush()
        driver.finish(timeline=other.timeline)  # in the other order than they were submitted
        driver.finish(timeline=one.timeline)
        for x, out in zip((a, b), made, strict=True):
            value = x.numpy()
            np.testing.assert_allclose(out.wait(), value @ value @ value, rtol=1e-5)


@pytest.mark.every_driver
def test_many_streams_at_once(device: str) -> None:
    """A tensor goes round over four streams while each of them works on its own, too."""
    streams = [rt.Stream(device) for _ in range(4)]
    ball, expected = rt.zeros(5000, device=device), 0.0
    own = [rt.zeros(5000, device=device) for _ in streams]
    for turn in range(24):
        stream = streams[turn % 4]
        with rt.stream(stream):
            own[turn % 4].add_(float(turn))
            ball = ball * 0.5 + own[turn % 4]
        if turn % 5 == 0:
            stream.flush()
        mine = sum(k for k in range(turn + 1) if k % 4 == turn % 4)
        expected = expected * 0.5 + mine
    np.testing.assert_allclose(ball.numpy(), np.full(5000, expected), rtol=1e-5)
