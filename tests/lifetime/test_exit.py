"""How programs end: with work in flight, by Ctrl-C, by an error. Quickly, quietly, and with the right exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.support.drivers import choose_drivers

BEGIN = """
import sys
import rasptorch as rt

device = sys.argv[1]
"""
QUICK = 20.0  # seconds, start of Python and compiling of shaders included, on a slow and busy machine


def start(program: str, device: str) -> subprocess.Popen[str]:
    choose_drivers(("gpu",) if device == "gpu" else ())
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", BEGIN + program, device],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, output and errors; a program that hangs is killed, and the test fails."""
    began = monotonic()
    try:
        out, errors = process.communicate(timeout=3 * QUICK)
    except subprocess.TimeoutExpired:
        process.kill()
        out, errors = process.communicate()
        pytest.fail(f"the program hung\n{out}\n{errors}")
    assert monotonic() - began < QUICK
    return process.returncode, out.strip(), errors.strip()


ENDINGS = {
    "work in flight": """
x = rt.ones(200, 200, device=device)
for _ in range(3):
    x = x @ x * 0.001
    rt.device(device).flush()
print("end")
""",
    "work only gathered": """
x = rt.ones(200, 200, device=device)
y = x @ x
print("end")
""",
    "a readback nobody waited for": """
later = (rt.ones(1000, device=device) * 2).readback()
rt.device(device).flush()
print("end")
""",
    "tensors in globals and cycles": """
holder = [rt.ones(1000, device=device)]
holder.append(holder)
rt.keep = holder
holder[0].numpy()
print("end")
""",
    "a watcher that still lingers": """
import trio

async def main():
    assert (await (rt.ones(10, device=device) + 1).sum().item()) == 20

trio.run(main)
print("end")
""",
    "a thread that is still waiting": """
import threading
from rasptorch.runtime.fence import Fence

stream = rt.device(device).new_stream()
stream.submitted = 1  # so it says: nothing will ever finish it
waiting = threading.Event()

def wait():
    waiting.set()
    try:
        Fence(stream, 1).wait()
    except rt.RasptorchError:
        pass

threading.Thread(target=wait, daemon=True).start()
waiting.wait()
stream.submitted = 0
print("end")
""",
    "threads that still enqueue": """
import threading

x = rt.ones(64, device=device)
begun = threading.Barrier(3)

def work():
    begun.wait()
    try:
        while True:
            (x + 1).numpy()
    except rt.RasptorchError:
        pass  # the device is closed

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
for _ in range(10):
    (x * 2).numpy()
print("end")
""",
    "gradients of a graph that is still there": """
w = rt.ones(50, 50, device=device, requires_grad=True)
loss = ((w @ w).relu() ** 2).sum()
loss.backward()
again = (w * loss).sum()
rt.device(device).flush()
print("end")
""",
}


@pytest.mark.parametrize("program", ENDINGS.values(), ids=ENDINGS.keys())
def test_the_program_ends(device: str, program: str) -> None:
    assert ended(start(program, device)) == (0, "end", "")


def test_sys_exit_with_work_in_flight(device: str) -> None:
    program = """
x = rt.ones(300, 300, device=device)
for _ in range(3):
    x = x @ x * 0.001
    rt.device(device).flush()
sys.exit(7)
"""
    assert ended(start(program, device)) == (7, "", "")


def test_an_error_with_work_in_flight(device: str) -> None:
    program = """
x = rt.ones(300, 300, device=device)
y = x @ x
rt.device(device).flush()
raise LookupError("the program's own")
"""
    status, out, errors = ended(start(program, device))
    assert (status, out) == (1, "")
    assert errors.count("Traceback") == 1 and errors.endswith("LookupError: the program's own")


INTERRUPTED = {
    "a loop of steps": """
x = rt.ones(200, 200, device=device)
print("ready")
while True:
    x = (x @ x).relu() * 0.001
    x.numpy()
""",
    "enqueueing": """
x = rt.zeros(10, device=device)
print("ready")
while True:
    x = x + 1
""",
    "waiting": """
from rasptorch.runtime.fence import Fence

rt.ones(3, device=device).numpy()
stream = rt.device(device).new_stream()
stream.submitted = 1
try:
    print("ready")
    Fence(stream, 1).wait()
finally:
    stream.submitted = 0
""",
    "a Trio program": """
import trio

async def work():
    x = rt.ones(100, 100, device=device)
    while True:
        x = (x @ x).relu() * 0.001
        await x.numpy()

async def main():
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(work)
        await trio.sleep(0)
        print("ready")

try:
    trio.run(main)
except* KeyboardInterrupt:
    raise KeyboardInterrupt from None
""",
}


@pytest.mark.parametrize("program", INTERRUPTED.values(), ids=INTERRUPTED.keys())
def test_ctrl_c(device: str, program: str) -> None:
    process = start("import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n" + program, device)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    status, errors = pressed_until_ended(process)
    assert status == -signal.SIGINT, errors
    assert errors.endswith("KeyboardInterrupt")
    assert "Error" not in errors and "DeviceLost" not in errors and "CheckFailed" not in errors


def pressed_until_ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """As people do: Python drops the Ctrl-C that it notices while it calls a ``__del__``, and says so."""
    for _ in range(8):
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=QUICK / 4)
        except subprocess.TimeoutExpired:
            continue
        return process.returncode, errors.strip()
    process.kill()
    pytest.fail(f"the program did not end\n{process.communicate()}")
