"""The pool on a driver that only counts: reuse, fences, alignment, limits, trimming, running out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rasptorch.runtime import settings
from rasptorch.runtime.buffer import Block, Buffer, Memory
from rasptorch.runtime.driver import Traits
from rasptorch.runtime.errors import OutOfMemory
from rasptorch.runtime.pool import Pool
from rasptorch.runtime.statistics import Statistics

KiB = 1 << 10


class CountingDriver:
    """Gives out blocks without memory, up to ``most`` bytes."""

    def __init__(self, most: int = 1 << 40, alignment: int = 256) -> None:
        self.traits = Traits(name="counting", kind="host", alignment=alignment)
        self.blocks: list[Block] = []
        self.most = most

    def allocate(self, nbytes: int, memory: Memory) -> Block:
        if sum(block.nbytes for block in self.blocks) + nbytes > self.most:
            raise MemoryError
        self.blocks.append(Block(nbytes, memory, None, None))
        return self.blocks[-1]

    def free(self, block: Block) -> None:
        self.blocks.remove(block)


class FakeStream:
    """A stream as far as the pool looks: how far it has come, and whether it failed."""

    def __init__(self) -> None:
        self.done = 0
        self.failure: BaseException | None = None

    def completed(self) -> int:
        return self.done


class Setting:
    """A pool with everything around it."""

    def __init__(self, most: int = 1 << 40) -> None:
        self.driver = CountingDriver(most)
        self.statistics = Statistics()
        self.reclaimed = 0
        self.on_reclaim: Any = lambda: None
        self.pool = Pool(self.driver, self.statistics, self._reclaim)  # type: ignore[arg-type]

    def _reclaim(self) -> None:
        self.reclaimed += 1
        self.on_reclaim()

    def take(self, nbytes: int, stream: Any = None, memory: Memory = Memory.DEVICE) -> Buffer:
        return self.pool.allocate(nbytes, memory, stream)

    def give(self, buffer: Buffer, **uses: Any) -> None:
        self.pool.give_back(buffer, uses.get("uses"))


def place_of(buffer: Buffer) -> tuple[int, int]:
    return buffer.block.key, buffer.offset


def test_many_buffers_share_one_block() -> None:
    s = Setting()
    buffers = [s.take(1000) for _ in range(100)]
    assert len(s.driver.blocks) == s.statistics.allocations == 1
    assert len({place_of(b) for b in buffers}) == 100
    assert all(b.offset % 256 == 0 and b.nbytes == 1024 for b in buffers)
    assert s.statistics.bytes_in_use == s.statistics.bytes_peak == 102_400
    assert s.statistics.bytes_reserved == settings.current.pool_block


def test_bytes_are_used_again() -> None:
    s = Setting()
    first = s.take(1000)
    where = place_of(first)
    s.give(first)
    assert place_of(s.take(900)) == where
    assert s.statistics.bytes_in_use == 1024


def test_the_same_stream_gets_busy_bytes_at_once_and_others_do_not() -> None:
    s, one, two = Setting(), FakeStream(), FakeStream()
    first = s.take(1000, one)
    where = place_of(first)
    s.give(first, uses={one: 5})
    assert place_of(s.take(1000, two)) != where
    assert place_of(s.take(1000, None)) != where, "the host must not write what a kernel still reads"
    again = s.take(1000, one)
    assert place_of(again) == where
    s.give(again, uses={one: 6})
    one.done = 5
    assert place_of(s.take(1000, two)) != where
    one.done = 6
    assert place_of(s.take(1000, two)) == where


def test_bytes_used_by_two_streams_wait_for_both() -> None:
    s, one, two = Setting(), FakeStream(), FakeStream()
    first = s.take(1000, one)
    where = place_of(first)
    s.give(first, uses={one: 1, two: 1})
    assert place_of(s.take(1000, one)) != where
    two.done = 1
    assert place_of(s.take(1000, one)) == where


def test_bytes_taken_early_stay_busy_when_they_come_back_unused() -> None:
    """A stream took bytes that its own unfinished work uses, and then could not submit (no memory for the
    rest).
    """
    s, one = Setting(), FakeStream()
    first = s.take(1000, one)
    where = place_of(first)
    s.give(first, uses={one: 1})
    again = s.take(1000, one)
    assert place_of(again) == where
    s.give(again)
    assert place_of(s.take(1000, None)) != where, "submission 1 still uses them"
    one.done = 1
    assert place_of(s.take(1000, None)) == where


def test_a_failed_stream_keeps_nothing() -> None:
    s, one = Setting(), FakeStream()
    first = s.take(1000, one)
    where = place_of(first)
    s.give(first, uses={one: 5})
    one.failure = RuntimeError("lost")
    assert place_of(s.take(1000)) == where


def test_neighbours_are_joined_when_nothing_else_fits() -> None:
    s = Setting(most=16 << 20)
    pieces = [s.take(1 << 20) for _ in range(16)]
    for piece in pieces:
        s.give(piece)
    whole = s.take(16 << 20)
    assert (whole.offset, whole.nbytes) == (0, 16 << 20) and len(s.driver.blocks) == 1


def test_joined_bytes_wait_for_all_their_fences() -> None:
    s, one, two = Setting(most=16 << 20), FakeStream(), FakeStream()
    halves = [s.take(8 << 20, stream) for stream in (one, two)]
    s.give(halves[0], uses={one: 1})
    s.give(halves[1], uses={two: 1})
    with pytest.raises(OutOfMemory):
        s.take(16 << 20, one)
    two.done = 1
    assert s.take(16 << 20, one).nbytes == 16 << 20


def test_best_fit() -> None:
    s = Setting()
    kept = []
    for size in (64 * KiB, 8 * KiB, 16 * KiB):
        kept.append((s.take(size), s.take(256)))
    for large, _ in kept:
        s.give(large)
    assert place_of(s.take(8 * KiB)) == place_of(kept[1][0])
    assert place_of(s.take(9 * KiB)) == place_of(kept[2][0])


def test_kinds_of_memory_are_apart() -> None:
    s = Setting()
    kinds = {memory: s.take(100, memory=memory).block for memory in Memory}
    assert len(set(kinds.values())) == 3 and all(block.memory is memory for memory, block in kinds.items())


def test_large_buffers_get_blocks_of_their_own_size() -> None:
    s = Setting()
    big = s.take(100 << 20)
    assert big.block.nbytes == 100 << 20
    s.give(big)
    assert s.pool.trim() == 100 << 20 and not s.driver.blocks


def test_trimming_keeps_what_is_used() -> None:
    s, stream = Setting(), FakeStream()
    kept, gone, busy = s.take(20 << 20), s.take(30 << 20), s.take(40 << 20, stream)
    s.give(gone)
    s.give(busy, uses={stream: 1})
    assert s.pool.trim() == 30 << 20
    assert {b.nbytes for b in s.driver.blocks} == {20 << 20, 40 << 20}
    stream.done = 1
    assert s.pool.trim() == 40 << 20
    s.give(kept)
    assert s.pool.trim() == 20 << 20 and s.statistics.bytes_reserved == s.statistics.bytes_in_use == 0


def test_when_memory_is_short_blocks_are_smaller() -> None:
    s = Setting(most=1 << 20)
    assert s.take(1000).block.nbytes == 64 * KiB
    assert s.statistics.bytes_reserved == 64 * KiB


def test_running_out_waits_for_unfinished_work_first() -> None:
    s, stream = Setting(most=16 << 20), FakeStream()
    s.give(s.take(10 << 20, stream), uses={stream: 1})

    def finish() -> None:
        stream.done = 1

    s.on_reclaim = finish
    assert s.take(12 << 20).nbytes == 12 << 20
    assert s.reclaimed == 1


def test_running_out_gives_unused_blocks_back() -> None:
    s = Setting(most=48 << 20)
    s.give(s.take(16 << 20))
    s.take(16 << 20)
    s.give(s.take(10 << 20, memory=Memory.UPLOAD))
    assert s.take(30 << 20).nbytes == 30 << 20, "the idle upload block had to go"


def test_running_out_says_who_holds_what() -> None:
    s = Setting(most=16 << 20)
    s.take(10 << 20)
    text = r"no room for 16,777,216 bytes of device memory on counting: 10,485,760 bytes in use, 16,777,216 reserved in 1"
    with pytest.raises(OutOfMemory, match=text):
        s.take(16 << 20)
    with pytest.raises(MemoryError):
        s.take(7 << 20)
    assert s.take(6 << 20).nbytes == 6 << 20, "the pool goes on"


def test_the_limit() -> None:
    s = Setting()
    with settings.override(pool_limit=1 << 20):
        s.take(512 * KiB)
        with pytest.raises(OutOfMemory, match=r"limit 1,048,576 \(RASPTORCH_POOL_LIMIT\)"):
            s.take(1 << 20)
        s.take(512 * KiB)


def test_every_buffer_can_be_poisoned() -> None:
    s = Setting()
    seen: list[tuple[Buffer, Any]] = []
    s.pool.poison = lambda buffer, stream: seen.append((buffer, stream))
    stream = FakeStream()
    assert [(s.take(10), None), (s.take(20, stream), stream)] == seen


def test_nothing_is_not_nowhere() -> None:
    s = Setting()
    assert place_of(s.take(0)) != place_of(s.take(0))


def test_closing_gives_everything_back() -> None:
    s = Setting()
    kept = s.take(1000)
    s.pool.close()
    assert not s.driver.blocks and s.statistics.bytes_reserved == 0
    s.give(kept)
    s.pool.collect()
    assert s.statistics.bytes_in_use == 0


class PoolMachine(RuleBasedStateMachine):
    """Any sequence of takes, gives and finished submissions: buffers that may be in use never overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.setting = Setting(most=40 << 20)
        self.streams = [FakeStream(), FakeStream()]
        self.submitted = [0, 0]
        self.held: list[tuple[Buffer, int | None]] = []  # and who took it
        self.busy: list[tuple[Buffer, int, int]] = []  # given back, used by submission of stream

    @rule(size=st.integers(0, 6 << 20), who=st.sampled_from([None, 0, 1]))
    def take(self, size: int, who: int | None) -> None:
        stream = None if who is None else self.streams[who]
        try:
            buffer = self.setting.take(size, stream)
        except OutOfMemory:
            return
        for other, _ in self.held:
            assert not self.overlap(buffer, other)
        for other, user, value in self.busy:
            if value > self.streams[user].done and user != who:
                assert not self.overlap(buffer, other), "given away while another stream uses it"
        self.held.append((buffer, who))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 100), also=st.sets(st.sampled_from([0, 1])))
    def give(self, which: int, also: set[int]) -> None:
        """Used by whoever took it, perhaps by others, and given back."""
        buffer, who = self.held.pop(which % len(self.held))
        uses = {}
        for user in also | ({who} if who is not None else set()):
            self.submitted[user] += 1
            self.busy.append((buffer, user, self.submitted[user]))
            uses[self.streams[user]] = self.submitted[user]
        self.setting.give(buffer, uses=uses or None)

    @rule(user=st.sampled_from([0, 1]))
    def finish(self, user: int) -> None:
        if self.streams[user].done < self.submitted[user]:
            self.streams[user].done += 1

    @rule()
    def trim(self) -> None:
        self.setting.pool.trim()

    @staticmethod
    def overlap(a: Buffer, b: Buffer) -> bool:
        return a.block is b.block and a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes

    @invariant()
    def the_books_are_right(self) -> None:
        self.setting.pool.collect()
        statistics = self.setting.statistics
        assert statistics.bytes_in_use == sum(b.nbytes for b, _ in self.held)
        assert statistics.bytes_reserved == sum(b.nbytes for b in self.setting.driver.blocks) <= 40 << 20
        for buffer, _ in self.held:
            assert buffer.block in self.setting.driver.blocks
            assert buffer.offset + buffer.nbytes <= buffer.block.nbytes


PoolMachine.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPool = PoolMachine.TestCase
