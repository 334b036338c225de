"""Timestamps of a recording's kernels, copied by the device itself to where the host reads them.

Asking the driver instead (``vkGetQueryPoolResults``) may stop everything: Mesa's software driver waits until the whole device is idle.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..driver import KernelTimes
from .loader import api, check, structure

if TYPE_CHECKING:
    from .driver import VulkanDriver

_TOP, _COMPUTE, _TRANSFER, _HOST = 0x1, 0x800, 0x1000, 0x4000
_TRANSFER_WRITE, _HOST_READ = 0x1000, 0x2000
_WHOLE, _WAIT = 1, 2  # 64 bits each; all of them


class Timestamps:
    """``count`` of them for one recording: `begin`, a `mark` after each kernel, `end`; `read` once a submission is done."""

    def __init__(self, driver: VulkanDriver, count: int) -> None:
        vk = api()
        self._driver: Final = driver
        self._count: Final = count
        info = structure("VkQueryPoolCreateInfo", "QUERY_POOL_CREATE_INFO", queryType=2, queryCount=count)  # timestamps
        out = vk.ffi.new("VkQueryPool *")
        self._block: Final[Any] = driver.parameter_blocks.take(8 * count)
        result = vk.lib.vkCreateQueryPool(driver.logical, info, vk.ffi.NULL, out)
        if result < 0:
            driver.parameter_blocks.give_back(self._block)
        check(result, "vkCreateQueryPool")
        self._queries: Final[Any] = out[0]
        driver.query_pools[int(vk.ffi.cast("uintptr_t", out[0]))] = out[0]
        # Software drivers run commands one after the other. Told to wait for the kernels before, they would stop all their threads.
        self._stage: Final = _TOP if driver.traits.kind == "software" else _COMPUTE

    def begin(self, commands: Any) -> None:
        api().lib.vkCmdResetQueryPool(commands, self._queries, 0, self._count)
        self.mark(commands, 0)

    def mark(self, commands: Any, number: int) -> None:
        """The time when everything before this is done."""
        api().lib.vkCmdWriteTimestamp(commands, self._stage, self._queries, number)

    def end(self, commands: Any) -> None:
        vk = api()
        buffer = self._block.handle.buffer
        vk.lib.vkCmdCopyQueryPoolResults(commands, self._queries, 0, self._count, buffer, 0, 8, _WHOLE | _WAIT)
        seen = structure("VkMemoryBarrier", "MEMORY_BARRIER", srcAccessMask=_TRANSFER_WRITE, dstAccessMask=_HOST_READ)
        vk.lib.vkCmdPipelineBarrier(commands, _TRANSFER, _HOST, 0, 1, seen, 0, vk.ffi.NULL, 0, vk.ffi.NULL)

    def read(self) -> KernelTimes:
        """Seconds between neighbours, of the last submission that is done."""
        limits = self._driver.physical.limits
        ticks = self._block.bytes[: 8 * self._count].view(np.uint64).tolist()
        tick = limits["timestamp_ps"] * 1e-12
        wrap = (1 << limits["timestamp_bits"]) - 1  # the counter starts again at 0 past this
        seconds = [((after - before) & wrap) * tick for before, after in pairwise(ticks)]
        return KernelTimes(seconds, (ticks[0] & wrap) * tick)

    def release(self) -> None:
        vk = api()
        del self._driver.query_pools[int(vk.ffi.cast("uintptr_t", self._queries))]
        vk.lib.vkDestroyQueryPool(self._driver.logical, self._queries, vk.ffi.NULL)
        self._driver.parameter_blocks.give_back(self._block)
