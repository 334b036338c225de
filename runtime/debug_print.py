"""Prints what the engine does: the observer that ``RASPTORCH_DEBUG`` installs on every device.

1: devices as they are opened. 2: a line per submission. 3: the kernels of each plan when it is made. 4: also
waits, transfers and finished submissions. Lines go to standard error, one write each, so that threads do not
mix theirs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from . import settings
from .kernel_labels import kernel_kind, kernel_name, kernel_shape, touched
from .observers import Observer

if TYPE_CHECKING:
    from .batch import Batch
    from .device import Device
    from .driver import KernelTimes
    from .fence import Fence
    from .plan.plan import Kernel, Operand, Plan
    from .stream import Stream


class DebugPrinter(Observer):
    """Prints for one device; ``level`` is read from the settings when it is made."""

    def __init__(self, device: Device, level: int | None = None) -> None:
        self.level: Final = settings.current.debug if level is None else level
        self._plan = "hit", 0.0
        traits = device.driver.traits
        if self.level >= 1:
            largest = size(traits.max_range).strip()
            text = (
                f"{traits.name} ({traits.kind}), tensors up to {largest}, "
                f"{traits.storage_buffers} storage buffers, "
                f"int64 {_yes(traits.int64)}, float64 {_yes(traits.float64)}"
            )
            _say(device.name, "opened", text)

    def batch_planned(
        self, stream: Stream, plan: Plan, batch: Batch, living: tuple[int, ...], hit: bool, seconds: float
    ) -> None:
        self._plan = ("hit" if hit else "miss"), seconds
        if self.level >= 3 and not hit:
            for number, level in enumerate(plan.levels):
                for kernel in level:
                    _say(stream.name, f"level {number}", kernel_line(kernel))

    def batch_submitted(
        self,
        stream: Stream,
        fence: Fence,
        plan: Plan,
        commands: int,
        reused: bool,
        began: float,
        seconds: float,
    ) -> None:
        if self.level < 2:
            return
        found, planning = self._plan
        kernels = plan.kernels
        _say(
            stream.name, f"#{fence.value}",
            f"{commands:5d} commands {len(kernels):4d} kernels {plan.fused:5d} fused "
            f"{len(plan.levels):4d} levels  plan {found:<4} {duration(planning)}  "
            f"{'reused' if reused else 'record'} {duration(seconds)}  "
            f"touches {size(touched(kernels))}  temporaries {size(plan.arena)}",
        )  # fmt: skip

    def batch_finished(self, stream: Stream, fence: Fence, kernel_seconds: KernelTimes | None) -> None:
        if self.level >= 4:
            time = "" if kernel_seconds is None else f", device time {duration(sum(kernel_seconds)).strip()}"
            _say(stream.name, f"#{fence.value}", f"finished{time}")

    def waited(self, fence: Fence, began: float, seconds: float, blocking: bool) -> None:
        if self.level >= 4:
            how = "a thread blocked" if blocking else "a task waited"
            _say(fence.stream.name, f"#{fence.value}", f"{how} for {duration(seconds).strip()}")

    def transferred(self, stream: Stream, direction: str, nbytes: int, began: float, seconds: float) -> None:
        if self.level >= 4:
            _say(stream.name, direction, f"{size(nbytes).strip()} in {duration(seconds).strip()}")

    def stream_failed(self, stream: Stream, failure: BaseException) -> None:
        if self.level >= 1:
            _say(stream.name, "failed", f"{type(failure).__name__}: {failure}")


def kernel_line(kernel: Kernel) -> str:
    """``elementwise  mul+add  64x64  f(...)``: kind, operations, domain, operands."""
    operands = ", ".join(map(_operand, kernel.inputs)) + " -> " + ", ".join(map(_operand, kernel.outputs))
    noted = "" if kernel.errors is None else ", notes errors"
    return f"{kernel_kind(kernel):<11} {kernel_name(kernel):<24} {kernel_shape(kernel):<18} {operands}{noted}"


def _operand(operand: Operand) -> str:
    """``%3+64:float32(64,1)``: value number, first element, dtype, strides."""
    offset = f"+{operand.offset}" if operand.offset else ""
    return f"%{operand.value}{offset}:{operand.dtype.name}({','.join(map(str, operand.strides))})"


def size(nbytes: int) -> str:
    """Ten characters: ``  48.0 KiB``."""
    amount = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    digits = 0 if unit == "B" else 1
    return "  no limit" if nbytes >= 1 << 62 else f"{amount:6.{digits}f} {unit:<3}"


def duration(seconds: float) -> str:
    """Eleven characters: ``   123.4 us``."""
    if seconds >= 1:
        return f"{seconds:8.3f} s "
    return f"{seconds * 1e3:8.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:8.1f} us"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _say(who: str, what: str, text: str) -> None:
    sys.stderr.write(f"{who:<18} {what:<9} {text}\n")
