"""Every error the library raises on purpose. All derive from `RasptorchError` and from the built-in users expect."""

from __future__ import annotations


class RasptorchError(Exception):
    """Base of all of them."""


class ShapeError(RasptorchError, ValueError):
    """Shapes do not fit the operation."""


class DTypeError(RasptorchError, TypeError):
    """The operation, or the device, does not take this element type."""


class DeviceError(RasptorchError, RuntimeError):
    """Tensors of two devices met, or a device does not exist."""


class MissingDeviceError(DeviceError):
    """The device asked for is not on this machine; says what was looked for and how to get it."""


class OutOfMemory(RasptorchError, MemoryError):
    """The pool could not get memory, also after trimming; carries a summary of who holds what."""


class DeviceLost(RasptorchError, RuntimeError):
    """The device failed while it had work. Its stream is finished; make the tensors anew."""


class BlockingInTrio(RasptorchError, RuntimeError):
    """Something would have blocked the Trio loop; says what to await instead."""


class WaitingForbidden(RasptorchError, RuntimeError):
    """A wait happened inside ``with forbid_waiting():``."""


class TooMuchInFlight(RasptorchError, RuntimeError):
    """A Trio task enqueued past the hard limit without ``await stream.has_room()``."""


class CheckFailed(RasptorchError, AssertionError):
    """`RASPTORCH_CHECK=1` found the engine breaking its own contract."""


class VulkanError(RasptorchError, RuntimeError):
    """A Vulkan call failed; carries the call and the result code."""

    def __init__(self, call: str, result: int) -> None:
        super().__init__(f"{call} failed with VkResult {result}")
        self.call = call
        self.result = result
