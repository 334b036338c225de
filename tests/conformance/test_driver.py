"""What `runtime.driver` asks of a driver, held against each of them."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from rasptorch.runtime.buffer import Memory
from tests.support.manual import PATIENCE, started

from .conftest import COUNT, Subject, values


def test_traits_make_sense(subject: Subject) -> None:
    traits = subject.driver.traits
    assert traits.name and traits.kind in ("host", "discrete", "integrated", "software")
    for size in (traits.alignment, traits.hazard_alignment):
        assert size > 0 and size & (size - 1) == 0
    assert traits.alignment % traits.hazard_alignment == 0
    assert traits.storage_buffers >= 4 and traits.reduce_chunk > 1
    assert traits.max_range >= 1 << 27 and traits.max_block >= 1 << 28


@pytest.mark.parametrize("memory", list(Memory))
def test_blocks(subject: Subject, memory: Memory) -> None:
    one, other = subject.driver.allocate(1 << 16, memory), subject.driver.allocate(100, memory)
    subject.blocks += [one, other]
    assert (one.nbytes, other.nbytes, one.memory) == (1 << 16, 100, memory)
    assert one.key != other.key
    if memory is not Memory.DEVICE or subject.driver.traits.kind != "discrete":
        assert one.bytes is not None and other.bytes is not None
        assert one.bytes.size == 1 << 16 and one.bytes.ctypes.data % 64 == 0
        one.bytes[:], other.bytes[:] = 7, 9
        assert (one.bytes == 7).all() and (other.bytes == 9).all()


def test_too_much_memory_is_a_memory_error(subject: Subject) -> None:
    if subject.manual is not None:
        subject.manual.memory_limit = 1 << 30
    with pytest.raises(MemoryError):
        subject.driver.allocate(1 << 50, Memory.DEVICE)
    subject.buffer(1.0)  # there is memory for what fits


def test_blocks_come_and_go(subject: Subject) -> None:
    for _ in range(50):
        block = subject.driver.allocate(1 << 20, Memory.DEVICE)
        subject.driver.free(block)


def test_a_submission_computes_and_raises_its_timeline(subject: Subject) -> None:
    x, y = subject.buffer(3.0), subject.buffer(0.0)
    timeline = subject.driver.timeline()
    assert timeline.completed() == 0
    subject.submit(timeline, 1, subject.recording(x, y), 2.0, 0.5)
    subject.wait(timeline, 1)
    assert timeline.completed() == 1
    assert (values(x), values(y)) == ([3.0], [6.5])
    assert subject.statistics.dispatches == 1


def test_values_may_leave_gaps(subject: Subject) -> None:
    x = subject.buffer(1.0)
    timeline = subject.driver.timeline()
    subject.submit(timeline, 5, subject.recording(x, x), 2.0, 0.0)
    subject.wait(timeline, 5)
    assert timeline.completed() == 5 and values(x) == [2.0]


def test_submissions_of_one_timeline_run_in_order(subject: Subject) -> None:
    x = subject.buffer(0.0)
    timeline = subject.driver.timeline()
    expected = 0.0
    for k in range(1, 9):
        subject.submit(timeline, k, subject.recording(x, x), 2.0, float(k))
        expected = expected * 2 + k
    subject.wait(timeline, 8)
    assert values(x) == [expected]


def test_a_recording_runs_again_with_other_scalars(subject: Subject) -> None:
    x = subject.buffer(1.0)
    timeline, recording = subject.driver.timeline(), subject.recording(x, x)
    for k in range(1, 5):
        subject.submit(timeline, k, recording, float(k), 1.0)
        if not subject.driver.traits.reentrant_recordings:
            subject.wait(timeline, k)
    subject.wait(timeline, 4)
    assert values(x) == [((1 * 1 + 1) * 2 + 1) * 3 * 4.0 + 4 + 1]


def test_a_released_recording_frees_its_place(subject: Subject) -> None:
    x = subject.buffer(1.0)
    timeline = subject.driver.timeline()
    for k in range(1, 40):
        recording = subject.recording(x, x)
        subject.submit(timeline, k, recording, 1.0, 1.0)
        subject.wait(timeline, k)
        recording.release()
        subject.recordings.remove(recording)
    assert values(x) == [40.0]


def test_buffers_lie_where_they_are_said_to(subject: Subject) -> None:
    """Two buffers in one block: each kernel stays within its own."""
    x = subject.buffer(1.0)
    whole = x.block.bytes
    assert whole is not None
    whole[:] = 0
    x.view(COUNT * 4).view("float32")[:] = 4.0
    timeline = subject.driver.timeline()
    subject.submit(timeline, 1, subject.recording(x, x), 1.0, 1.0)
    subject.wait(timeline, 1)
    assert values(x) == [5.0]
    assert not whole[: x.offset].any() and not whole[x.offset + COUNT * 4 :].any()


def test_a_submission_waits_for_other_timelines(subject: Subject) -> None:
    x, y, z = subject.buffer(2.0), subject.buffer(0.0), subject.buffer(0.0)
    a, b, c = (subject.driver.timeline() for _ in range(3))
    subject.submit(a, 1, subject.recording(x, y), 3.0, 0.0)
    subject.submit(b, 1, subject.recording(y, z), 1.0, 1.0, [(a, 1)])
    subject.submit(c, 1, subject.recording(z, x), 10.0, 0.0, [(a, 1), (b, 1)])
    subject.wait(c, 1)
    assert (a.completed(), b.completed(), c.completed()) == (1, 1, 1)
    assert (values(y), values(z), values(x)) == ([6.0], [7.0], [70.0])


def test_waiting_returns_when_any_point_is_reached(subject: Subject) -> None:
    x = subject.buffer(1.0)
    reached, never = subject.driver.timeline(), subject.driver.timeline()
    subject.submit(reached, 1, subject.recording(x, x), 1.0, 1.0)
    subject.finish()
    while reached.completed() < 1:
        subject.driver.wait([(never, 1), (reached, 1)], 20.0, subject.driver.interrupts())
    assert never.completed() == 0 and values(x) == [2.0]


def test_waiting_ends_at_its_timeout(subject: Subject) -> None:
    never = subject.driver.timeline()
    for timeout in (0.0, 0.03):
        began = monotonic()
        subject.driver.wait([(never, 1)], timeout, subject.driver.interrupts())
        assert monotonic() - began < PATIENCE / 2
    assert never.completed() == 0


def test_an_interrupt_wakes_everybody(subject: Subject) -> None:
    driver = subject.driver
    never, before, inside = driver.timeline(), driver.interrupts(), threading.Barrier(4)

    def wait() -> int:
        inside.wait(PATIENCE)
        while driver.interrupts() == before:
            driver.wait([(never, 1)], PATIENCE, before)
        return driver.interrupts()

    waiting = [started(wait) for _ in range(3)]
    inside.wait(PATIENCE)
    driver.interrupt()
    assert [w.result(PATIENCE) for w in waiting] == [before + 1] * 3


def test_an_interrupt_is_not_missed(subject: Subject) -> None:
    """One that comes between looking and waiting ends the wait at once."""
    driver = subject.driver
    never, before = driver.timeline(), driver.interrupts()
    driver.interrupt()
    began = monotonic()
    driver.wait([(never, 1)], PATIENCE, before)
    assert monotonic() - began < PATIENCE / 2
    driver.wait([(never, 1)], 0.01, driver.interrupts())  # and later waits are not ended by it


def test_interrupts_from_many_threads_all_count(subject: Subject) -> None:
    driver, before = subject.driver, subject.driver.interrupts()

    def interrupt_often() -> None:
        for _ in range(100):
            driver.interrupt()

    threads = [started(interrupt_often) for _ in range(4)]
    for thread in threads:
        thread.result(PATIENCE)
    assert driver.interrupts() == before + 400


def test_many_threads_wait_for_one_submission(subject: Subject) -> None:
    x = subject.buffer(1.0)
    timeline = subject.driver.timeline()

    def wait() -> int:
        while timeline.completed() < 1:
            subject.driver.wait([(timeline, 1)], PATIENCE, subject.driver.interrupts())
        return int(timeline.completed())

    waiting = [started(wait) for _ in range(4)]
    subject.submit(timeline, 1, subject.recording(x, x), 1.0, 1.0)
    subject.finish()
    assert [w.result(PATIENCE) for w in waiting] == [1] * 4


def test_times_are_there_when_asked_for(subject: Subject) -> None:
    x = subject.buffer(1.0)
    timeline = subject.driver.timeline()
    plain = subject.recording(x, x)
    subject.submit(timeline, 1, plain, 1.0, 1.0)
    subject.wait(timeline, 1)
    assert subject.driver.kernel_seconds(plain) is None
    subject.driver.timestamps = True
    timed = subject.recording(x, x)
    subject.submit(timeline, 2, timed, 1.0, 1.0)
    subject.wait(timeline, 2)
    times = subject.driver.kernel_seconds(timed)
    assert times is not None and len(times) == 1 and 0 <= times[0] < PATIENCE
