"""The Vulkan driver: one logical device, one compute queue, timeline semaphores."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import settings
from ..buffer import Block, Buffer, Memory
from ..driver import KernelTimes
from ..errors import DeviceLost, VulkanError
from . import memory
from .access import Abilities
from .compile import compile_plan
from .descriptors import Layouts, SetCache
from .loader import api, check, structure
from .physical import Physical, choose
from .pipelines import Pipelines
from .recording import HOST_READ as HOST_READ_ACCESS
from .recording import SHADER_READ, SHADER_WRITE, UNIFORM_READ, ParameterBlocks, VulkanRecording
from .timeline import DEVICE_LOST, VulkanTimeline, wait_any

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..statistics import Statistics


def open_driver(name: str) -> tuple[VulkanDriver, str]:
    """The driver of the device called ``gpu`` or ``vulkan:N``, and that device's full name."""
    physical = choose(name)
    return VulkanDriver(physical), f"vulkan:{physical.index}"


SLOW_WORK = 100_000_000  # element operations that take an integrated GPU of the Pi's size about a tenth of a second


class VulkanDriver:
    name = "vulkan"

    def __init__(self, physical: Physical) -> None:
        self.physical = physical
        self.traits = physical.traits()
        self.abilities = Abilities(physical.storage8, physical.storage16, physical.int64, physical.preserve_nan)
        self.closed = False
        self.timestamps = False
        self._device, self._queue = self._open()
        self.layouts = Layouts(self._device)
        self.sets = SetCache(self._device, self.layouts)
        self.pipelines = Pipelines(self._device, physical, self.layouts)
        self.parameter_blocks = ParameterBlocks(self)
        self._command_pool = self._new_command_pool()
        self._timelines: list[VulkanTimeline] = []
        self._dropped: deque[VulkanTimeline] = deque()
        self.query_pools: dict[int, Any] = {}  # all there are, by address
        self._wake = self.timeline()
        self._interrupts = 0
        self._interrupting = threading.Condition()
        self._inside = 0  # threads in `wait`
        self._prepare()

    def _open(self) -> tuple[Any, Any]:
        vk = api()
        ffi, lib = vk.ffi, vk.lib
        physical = self.physical
        priority = ffi.new("float[]", [1.0])
        queue = structure(
            "VkDeviceQueueCreateInfo", "DEVICE_QUEUE_CREATE_INFO", queueFamilyIndex=physical.queue_family, queueCount=1,
            pQueuePriorities=priority,
        )  # fmt: skip
        twelve = structure(
            "VkPhysicalDeviceVulkan12Features", "PHYSICAL_DEVICE_VULKAN_1_2_FEATURES", timelineSemaphore=1,
            storageBuffer8BitAccess=int(physical.storage8),
        )  # fmt: skip
        eleven = structure(
            "VkPhysicalDeviceVulkan11Features", "PHYSICAL_DEVICE_VULKAN_1_1_FEATURES", pNext=twelve,
            storageBuffer16BitAccess=int(physical.storage16),
        )  # fmt: skip
        features = structure("VkPhysicalDeviceFeatures2", "PHYSICAL_DEVICE_FEATURES_2", pNext=eleven)
        features.features.shaderInt64, features.features.shaderFloat64 = int(physical.int64), int(physical.float64)
        info = structure(
            "VkDeviceCreateInfo", "DEVICE_CREATE_INFO", pNext=features, queueCreateInfoCount=1, pQueueCreateInfos=queue
        )
        device = ffi.new("VkDevice *")
        check(lib.vkCreateDevice(physical.handle, info, ffi.NULL, device), "vkCreateDevice")
        handle = ffi.new("VkQueue *")
        lib.vkGetDeviceQueue(device[0], physical.queue_family, 0, handle)
        return device[0], handle[0]

    def _prepare(self) -> None:
        """Structures of the hot path, made once."""
        ffi = api().ffi
        self.between = structure(
            "VkMemoryBarrier", "MEMORY_BARRIER", srcAccessMask=SHADER_WRITE | SHADER_READ,
            dstAccessMask=SHADER_READ | SHADER_WRITE | UNIFORM_READ,
        )  # fmt: skip
        self.to_host = structure("VkMemoryBarrier", "MEMORY_BARRIER", srcAccessMask=SHADER_WRITE, dstAccessMask=HOST_READ_ACCESS)
        self.two_sets = ffi.new("VkDescriptorSet[2]")
        self.one_offset = ffi.new("uint32_t[1]")
        self._signal = ffi.new("VkSemaphore[1]")
        self._signal_value = ffi.new("uint64_t[1]")
        self._values = structure(
            "VkTimelineSemaphoreSubmitInfo", "TIMELINE_SEMAPHORE_SUBMIT_INFO", signalSemaphoreValueCount=1,
            pSignalSemaphoreValues=self._signal_value,
        )  # fmt: skip
        self._submit = structure(
            "VkSubmitInfo", "SUBMIT_INFO", pNext=self._values, commandBufferCount=1, signalSemaphoreCount=1,
            pSignalSemaphores=self._signal,
        )  # fmt: skip
        self._queue_submit = api().lib.vkQueueSubmit

    # -- memory ---------------------------------------------------------------------------------------------------
    def allocate(self, nbytes: int, memory_: Memory) -> Block:
        if nbytes > self.traits.max_block:
            raise MemoryError(f"{nbytes:,} bytes in one piece; {self.traits.name} gives at most {self.traits.max_block:,}")
        return memory.allocate(self._device, self.physical, nbytes, memory_)

    def free(self, block: Block) -> None:
        self.sets.forget_block(block.handle.buffer)
        memory.free(self._device, block)

    # -- work -----------------------------------------------------------------------------------------------------
    def timeline(self) -> VulkanTimeline:
        self._destroy_dropped()
        made = VulkanTimeline(self._device)
        self._timelines.append(made)
        return made

    def drop(self, timeline: VulkanTimeline) -> None:
        self._dropped.append(timeline)

    def _destroy_dropped(self) -> None:
        """Destroy the semaphores of streams that are gone, once nothing on the device will raise them any more."""
        for _ in range(len(self._dropped)):
            timeline = self._dropped.popleft()
            if timeline.completed() < timeline.last:
                self._dropped.append(timeline)
            else:
                self._timelines.remove(timeline)
                timeline.destroy()

    def record(self, plan: Plan, buffers: Sequence[Buffer], statistics: Statistics) -> VulkanRecording:
        if plan.compiled is None:
            plan.compiled = compile_plan(plan, self, statistics)
        return VulkanRecording(self, plan, plan.compiled, buffers, statistics)

    def submit(
        self, timeline: VulkanTimeline, value: int, recording: VulkanRecording, scalars: Sequence[float],
        waits: Sequence[tuple[VulkanTimeline, int]], statistics: Statistics, waited: bool = False,
    ) -> None:  # fmt: skip
        ffi = api().ffi
        recording.write_scalars(scalars)
        submit, values = self._submit, self._values
        submit.pCommandBuffers = recording.pointer
        self._signal[0] = timeline.handle
        self._signal_value[0] = timeline.last = value
        count = len(waits)
        submit.waitSemaphoreCount = values.waitSemaphoreValueCount = count
        kept = ()
        if count:
            semaphores = ffi.new("VkSemaphore[]", [t.handle for t, _ in waits])
            wait_values = ffi.new("uint64_t[]", [v for _, v in waits])
            stages = ffi.new("VkPipelineStageFlags[]", [0x800] * count)
            kept = (semaphores, wait_values, stages)  # type: ignore[assignment]
            submit.pWaitSemaphores, values.pWaitSemaphoreValues, submit.pWaitDstStageMask = semaphores, wait_values, stages
        result = self._queue_submit(self._queue, 1, submit, ffi.NULL)
        del kept
        if result < 0:
            raise DeviceLost(f"vkQueueSubmit failed with VkResult {result}: the device's tensors are gone")
        statistics.dispatches += recording.dispatches
        statistics.barriers += recording.barriers

    def wait(self, points: Sequence[tuple[VulkanTimeline, int]], timeout: float | None, interrupts: int) -> None:
        with self._interrupting:
            if self.closed or self._interrupts > interrupts:
                return
            self._inside += 1
        try:
            wait_any(self._device, [*points, (self._wake, interrupts + 1)], timeout)
        finally:
            with self._interrupting:
                self._inside -= 1
                self._interrupting.notify_all()

    def interrupts(self) -> int:
        return self._interrupts

    def interrupt(self) -> None:
        with self._interrupting:  # the semaphore's value may only rise
            self._interrupts += 1
            try:
                self._wake.signal(self._interrupts)
            except VulkanError as problem:
                if problem.result != DEVICE_LOST:  # then every wait has been told already
                    raise

    def kernel_seconds(self, recording: VulkanRecording) -> KernelTimes | None:
        return recording.kernel_seconds()

    def dispatch_work(self) -> int:
        """Element operations one dispatch may take; 0: any number."""
        wish = settings.current.dispatch_work
        return wish if wish >= 0 else (SLOW_WORK if self.physical.kind == "integrated" else 0)

    # -- command buffers and queries ------------------------------------------------------------------------------
    def _new_command_pool(self) -> Any:
        vk = api()
        info = structure("VkCommandPoolCreateInfo", "COMMAND_POOL_CREATE_INFO", queueFamilyIndex=self.physical.queue_family)
        out = vk.ffi.new("VkCommandPool *")
        check(vk.lib.vkCreateCommandPool(self._device, info, vk.ffi.NULL, out), "vkCreateCommandPool")
        return out[0]

    def new_commands(self) -> Any:
        vk = api()
        info = structure(
            "VkCommandBufferAllocateInfo", "COMMAND_BUFFER_ALLOCATE_INFO", commandPool=self._command_pool, commandBufferCount=1
        )
        out = vk.ffi.new("VkCommandBuffer *")
        check(vk.lib.vkAllocateCommandBuffers(self._device, info, out), "vkAllocateCommandBuffers")
        return out[0]

    def free_commands(self, commands: Any) -> None:
        vk = api()
        vk.lib.vkFreeCommandBuffers(self._device, self._command_pool, 1, vk.ffi.new("VkCommandBuffer[]", [commands]))

    @property
    def logical(self) -> Any:
        """The VkDevice."""
        return self._device

    def leave(self) -> None:
        self.pipelines.save()

    def close(self) -> None:
        vk = api()
        vk.lib.vkDeviceWaitIdle(self._device)
        self.interrupt()
        with self._interrupting:
            self.closed = True
            self._interrupting.wait_for(lambda: self._inside == 0)
        self.pipelines.save()
        self.parameter_blocks.destroy()
        self.sets.destroy()
        self.pipelines.destroy()
        self.layouts.destroy()
        vk.lib.vkDestroyCommandPool(self._device, self._command_pool, vk.ffi.NULL)
        for queries in self.query_pools.values():
            vk.lib.vkDestroyQueryPool(self._device, queries, vk.ffi.NULL)
        for timeline in self._timelines:
            timeline.destroy()
        vk.lib.vkDestroyDevice(self._device, vk.ffi.NULL)
