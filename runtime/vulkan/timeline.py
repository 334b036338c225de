"""Timeline semaphores: a counter the device raises and anybody can wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import DeviceLost
from .loader import api, check, structure

DEVICE_LOST = -4


def _lost(*_: object) -> int:
    """Asked for the counter of a semaphore that is gone."""
    return DEVICE_LOST


class VulkanTimeline:
    """One semaphore; ``completed`` asks the driver each time, which costs about a microsecond.

    ``last`` is the highest value that a submission will raise it to.
    """

    __slots__ = ("_counter", "_device", "_get", "handle", "last")

    def __init__(self, device: Any) -> None:
        vk = api()
        kind = structure("VkSemaphoreTypeCreateInfo", "SEMAPHORE_TYPE_CREATE_INFO", semaphoreType=1)
        info = structure("VkSemaphoreCreateInfo", "SEMAPHORE_CREATE_INFO", pNext=kind)
        out = vk.ffi.new("VkSemaphore *")
        check(vk.lib.vkCreateSemaphore(device, info, vk.ffi.NULL, out), "vkCreateSemaphore")
        self.handle = out[0]
        self.last = 0
        self._device = device
        self._counter = vk.ffi.new("uint64_t *")
        self._get = vk.lib.vkGetSemaphoreCounterValue

    def completed(self) -> int:
        result = self._get(self._device, self.handle, self._counter)
        if result < 0:
            raise DeviceLost(f"the device was lost (VkResult {result}): its tensors are gone; make them anew in a new process")
        return int(self._counter[0])

    def signal(self, value: int) -> None:
        """Raise it from the host."""
        info = structure("VkSemaphoreSignalInfo", "SEMAPHORE_SIGNAL_INFO", semaphore=self.handle, value=value)
        check(api().lib.vkSignalSemaphore(self._device, info), "vkSignalSemaphore")

    def destroy(self) -> None:
        vk = api()
        self._get = _lost
        vk.lib.vkDestroySemaphore(self._device, self.handle, vk.ffi.NULL)


def wait_any(device: Any, points: Sequence[tuple[VulkanTimeline, int]], timeout: float | None) -> None:
    """Block until one of the points is reached, or ``timeout`` seconds have passed."""
    vk = api()
    count = len(points)
    semaphores = vk.ffi.new("VkSemaphore[]", [t.handle for t, _ in points])
    values = vk.ffi.new("uint64_t[]", [v for _, v in points])
    info = structure(
        "VkSemaphoreWaitInfo", "SEMAPHORE_WAIT_INFO", flags=1, semaphoreCount=count, pSemaphores=semaphores, pValues=values
    )
    nanoseconds = (1 << 63) if timeout is None else max(0, int(timeout * 1e9))
    result = vk.lib.vkWaitSemaphores(device, info, nanoseconds)
    if result < 0:
        raise DeviceLost(
            f"the device was lost while waiting (VkResult {result}): its tensors are gone; make them anew in a new process"
        )
