"""Vulkan objects, counted where they are made and destroyed, and held against the engine's own books.

Between tests everything that exists must be something the engine knows of: a block of the pool, a kept recording, a cached
descriptor set. What exists and is not known is lost, and nobody will ever destroy it.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any
from weakref import WeakSet

# What is counted, and the calls that make and destroy it.
CALLS = {
    "buffers": ("vkCreateBuffer", "vkDestroyBuffer"),
    "memory": ("vkAllocateMemory", "vkFreeMemory"),
    "buffer views": ("vkCreateBufferView", "vkDestroyBufferView"),
    "semaphores": ("vkCreateSemaphore", "vkDestroySemaphore"),
    "shader modules": ("vkCreateShaderModule", "vkDestroyShaderModule"),
    "pipelines": ("vkCreateComputePipelines", "vkDestroyPipeline"),
    "pipeline caches": ("vkCreatePipelineCache", "vkDestroyPipelineCache"),
    "pipeline layouts": ("vkCreatePipelineLayout", "vkDestroyPipelineLayout"),
    "set layouts": ("vkCreateDescriptorSetLayout", "vkDestroyDescriptorSetLayout"),
    "descriptor pools": ("vkCreateDescriptorPool", "vkDestroyDescriptorPool"),
    "descriptor sets": ("vkAllocateDescriptorSets", "vkFreeDescriptorSets"),
    "command pools": ("vkCreateCommandPool", "vkDestroyCommandPool"),
    "command buffers": ("vkAllocateCommandBuffers", "vkFreeCommandBuffers"),
    "query pools": ("vkCreateQueryPool", "vkDestroyQueryPool"),
}
COUNTED = {call: (kind, by) for kind, calls in CALLS.items() for call, by in zip(calls, (1, -1), strict=True)}
WITH_THEIR_POOL = ("descriptor sets", "command buffers")  # destroyed with it: nobody frees them one by one at the end

Counts = dict[str, int]
_live: dict[int, Counter[str]] = {}  # by the address of the VkDevice
_left_behind: list[str] = []  # found when a device was destroyed
_recordings: WeakSet[Any] = WeakSet()


class CountingLib:
    """The Vulkan functions; those that make and destroy objects are counted. One at a time: one object per call."""

    def __init__(self, lib: Any, ffi: Any) -> None:
        self._lib, self._ffi = lib, ffi

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._lib, name)
        if name in COUNTED:
            function = self._counting(function, *COUNTED[name])
        elif name == "vkDestroyDevice":
            function = self._closing(function)
        setattr(self, name, function)
        return function

    def _address(self, device: Any) -> int:
        return int(self._ffi.cast("uintptr_t", device))

    def _counting(self, function: Any, kind: str, by: int) -> Any:
        def counted(device: Any, *rest: Any) -> Any:
            result = function(device, *rest)
            if by < 0 or result >= 0:
                _live.setdefault(self._address(device), Counter())[kind] += by
            return result

        return counted

    def _closing(self, function: Any) -> Any:
        def closing(device: Any, *rest: Any) -> Any:
            counts = _live.pop(self._address(device), Counter())
            for kind, count in counts.items():
                if count and kind not in WITH_THEIR_POOL:
                    _left_behind.append(f"{count} {kind} were still there when their device was destroyed")
            return function(device, *rest)

        return closing


def count_from_now_on() -> None:
    """Before Vulkan is first used in this process. Does nothing where there is no Vulkan loader."""
    from rasptorch.runtime.errors import MissingDeviceError
    from rasptorch.runtime.vulkan import loader
    from rasptorch.runtime.vulkan.recording import VulkanRecording

    try:
        api = loader.api()
    except MissingDeviceError:
        return
    object.__setattr__(api, "lib", CountingLib(api.lib, api.ffi))
    begin = VulkanRecording.__init__

    def noted(self: Any, *args: Any) -> None:
        _recordings.add(self)
        begin(self, *args)

    VulkanRecording.__init__ = noted  # type: ignore[method-assign]


def existing(driver: Any) -> Counter[str]:
    """What there is on a driver's device, as Vulkan was asked for it."""
    from rasptorch.runtime.vulkan.loader import api

    return _live.get(int(api().ffi.cast("uintptr_t", driver._device)), Counter())


def known(device: Any) -> Counts:
    """What the engine knows there is."""
    driver = device.driver
    recordings = [r for r in _recordings if r._driver is driver and r.commands is not None]
    sets = {id(s) for s in driver.sets._sets.values()} | {id(s) for r in recordings for s in r._sets}
    blocks = len(device.pool._free) + len(driver.parameter_blocks._all)
    return {
        "buffers": blocks, "memory": blocks, "buffer views": len(driver.sets._views), "semaphores": len(driver._timelines),
        "shader modules": 0, "pipelines": len(driver.pipelines._made), "pipeline caches": 1,
        "pipeline layouts": len(driver.layouts._pipelines), "set layouts": len(driver.layouts._sets) + 1,
        "descriptor pools": len(driver.sets._pools), "descriptor sets": len(sets), "command pools": 1,
        "command buffers": len(recordings), "query pools": sum(r._stamps is not None for r in recordings),
    }  # fmt: skip


def lost() -> list[str]:
    """Vulkan objects that exist and that nobody will ever destroy, or that are gone and still believed in."""
    found, _left_behind[:] = list(_left_behind), []
    if "rasptorch.runtime.vulkan.driver" not in sys.modules:
        return found
    from rasptorch.runtime import device as devices
    from rasptorch.runtime.vulkan.driver import VulkanDriver

    for device in devices.opened():
        if not isinstance(device.driver, VulkanDriver) or device.default_stream.failure is not None:
            continue
        with device.lock:
            there, booked = existing(device.driver), known(device)
        found += [
            f"{device}: {there[kind]} {kind} exist, the engine knows of {booked[kind]}" for kind in booked if there[kind] != booked[kind]
        ]
    return found
