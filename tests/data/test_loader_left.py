"""Loaders left before their end, in every way: at the next line no thread is there any more, and nothing hangs."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from rasptorch import data
from rasptorch.data import prefetch
from tests.support.manual import PATIENCE, started

from .test_loader import Recorder, threads, until

ROOT = Path(__file__).resolve().parents[2]
SOME = pytest.mark.parametrize("workers", [1, 4])


class Body(Exception):
    """Raised by the body of a loop."""


class Slow(Recorder):
    """Takes long enough that a thread is always at an item when the loop is left."""

    def __getitem__(self, index: int) -> Any:
        sleep(0.02)
        return super().__getitem__(index)


@SOME
def test_break(workers: int) -> None:
    ds = Slow(1000)
    for _ in data.DataLoader(ds, 2, num_workers=workers):
        assert len(threads()) == workers
        break
    assert not threads()
    assert len(ds.fetched) < 50


@SOME
def test_an_exception_in_the_body(workers: int) -> None:
    with pytest.raises(Body):
        for _ in data.DataLoader(Slow(1000), 2, num_workers=workers):
            raise Body
    assert not threads()


@SOME
def test_a_function_that_returns_from_the_loop(workers: int) -> None:
    def first() -> Any:
        for batch in data.DataLoader(Slow(1000), 2, num_workers=workers):
            return batch
        return None

    assert first()[1].tolist() == [0, 1] and not threads()


@SOME
def test_half_read(workers: int) -> None:
    batches = iter(data.DataLoader(Slow(1000), 2, num_workers=workers))
    next(batches)
    next(batches)
    assert len(threads()) == workers
    del batches
    assert not threads()
    data.DataLoader(Slow(1000), 2, num_workers=workers).batches()  # not read at all
    assert not threads()


@SOME
def test_closed(workers: int) -> None:
    batches = iter(data.DataLoader(Slow(1000), 2, num_workers=workers))
    next(batches)
    batches.close()
    assert not threads()
    assert list(batches) == []
    batches.close()


@SOME
def test_in_a_cycle(workers: int) -> None:
    """What only the collector finds."""
    ring: list[Any] = [iter(data.DataLoader(Slow(1000), 2, num_workers=workers))]
    next(ring[0])
    ring.append(ring)
    del ring
    gc.collect()
    assert not threads()


def test_closing_waits_for_what_a_thread_is_at() -> None:
    ds = Recorder(10)
    ds.gate.clear()
    batches = iter(data.DataLoader(ds, 2, num_workers=2))
    closing = started(batches.close)
    sleep(0.02)
    assert not closing.done()
    ds.gate.set()
    closing.result(PATIENCE)
    assert not threads()


def test_a_thread_that_takes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's next line is reached all the same; who is to blame is said, and the thread ends with its batch."""
    monkeypatch.setattr(prefetch, "PATIENCE", 0.05)
    ds = Recorder(100)
    ds.gate.clear()
    batches = iter(data.DataLoader(ds, 1, num_workers=1))
    with pytest.warns(RuntimeWarning, match=r"loader worker 1 did not finish a batch within 0\.05 s"):
        del batches
    assert threads() == ["loader worker 1"]
    ds.gate.set()
    until(lambda: not threads())


def test_dropped_by_one_of_its_own_threads() -> None:
    """The last reference goes in a worker: it cannot wait for itself, nor for those who wait for it."""
    held: list[Any] = []
    read = threading.Event()

    class Dropping(Recorder):
        def __getitem__(self, index: int) -> Any:
            if index == 3:
                read.wait(PATIENCE)
                held.clear()
            return super().__getitem__(index)

    held.append(iter(data.DataLoader(Dropping(100), 1, num_workers=3)))
    next(held[0])
    began = monotonic()
    read.set()
    until(lambda: not held and not threads())
    assert monotonic() - began < prefetch.PATIENCE


def test_a_loop_within_a_worker() -> None:
    """A dataset that reads a loader of its own and leaves it: those threads are waited for as anywhere."""
    after: list[int] = []

    class Nested(Recorder):
        def __getitem__(self, index: int) -> Any:
            for _ in data.DataLoader(Slow(50), 2, num_workers=2):
                break
            after.append(sum(name != "loader worker 1" for name in threads()))
            return super().__getitem__(index)

    assert len(list(data.DataLoader(Nested(4), 2, num_workers=1))) == 2
    assert after == [0] * 4 and not threads()


def test_interrupted_while_it_is_waited_for() -> None:
    """A finaliser raises nothing, so Ctrl-C in it comes right after it."""
    ds = Recorder(100)
    batches = iter(data.DataLoader(ds, 1, num_workers=1))
    ds.gate.clear()
    until(lambda: len(threads()) == 1)
    began = monotonic()
    interrupting = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        del batches
        sleep(prefetch.PATIENCE * 2)
    assert monotonic() - began < prefetch.PATIENCE
    interrupting.join()
    ds.gate.set()
    until(lambda: not threads())


SCRIPT = """
import sys, threading
from rasptorch import data
from rasptorch.data import prefetch
prefetch.PATIENCE = 0.3

class Items(data.Dataset):
    def __getitem__(self, index):
        if index == 2 and "stuck" in sys.argv:
            entered.set()
            threading.Event().wait()
        return float(index)
    def __len__(self):
        return 10**6

entered = threading.Event()
batches = iter(data.DataLoader(Items(), 1, num_workers=3))
next(batches)
if "stuck" in sys.argv:
    entered.wait()
if "cycle" in sys.argv:
    ring = [batches]; ring.append(ring)
if "raise" in sys.argv:
    raise SystemExit(3)
print("end")
"""


@pytest.mark.parametrize(("how", "status"), [("plain", 0), ("cycle", 0), ("raise", 3), ("stuck", 0)])
def test_the_end_of_the_program(how: str, status: int) -> None:
    """With threads that are making batches, and with one that never comes back."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout == ("" if how == "raise" else "end\n")
