"""Blocks: a VkDeviceMemory with one VkBuffer over it, mapped from the start where the host can see it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..buffer import Block, Memory
from ..errors import VulkanError
from .loader import api, check, structure
from .physical import DEVICE_LOCAL, HOST_CACHED, HOST_COHERENT, HOST_VISIBLE, Physical

STORAGE, UNIFORM, TRANSFER_SOURCE, TRANSFER_TARGET, UNIFORM_TEXEL = 0x20, 0x10, 1, 2, 4
_MAPPED = HOST_VISIBLE | HOST_COHERENT


class Handle(NamedTuple):
    """What Vulkan knows a block by."""

    buffer: Any
    memory: Any


def _wishes(memory: Memory, kind: str) -> list[int]:
    """Memory flags, best first."""
    if memory is Memory.DEVICE:
        return (
            [DEVICE_LOCAL] if kind == "discrete" else [DEVICE_LOCAL | _MAPPED | HOST_CACHED, DEVICE_LOCAL | _MAPPED, DEVICE_LOCAL]
        )
    if memory is Memory.UPLOAD:
        return [_MAPPED]
    return [_MAPPED | HOST_CACHED, _MAPPED]


def allocate(device: Any, physical: Physical, nbytes: int, memory: Memory) -> Block:
    """A block of ``nbytes``. Raises `MemoryError` when the device has no more."""
    vk = api()
    ffi, lib = vk.ffi, vk.lib
    usage = STORAGE | UNIFORM | TRANSFER_SOURCE | TRANSFER_TARGET | UNIFORM_TEXEL
    info = structure("VkBufferCreateInfo", "BUFFER_CREATE_INFO", size=nbytes, usage=usage)
    buffer = ffi.new("VkBuffer *")
    _memory_check(lib.vkCreateBuffer(device, info, ffi.NULL, buffer), "vkCreateBuffer", nbytes)
    needs = ffi.new("VkMemoryRequirements *")
    lib.vkGetBufferMemoryRequirements(device, buffer[0], needs)
    number = physical.memory_type(_wishes(memory, physical.kind), needs.memoryTypeBits)
    if number is None:
        lib.vkDestroyBuffer(device, buffer[0], ffi.NULL)
        raise VulkanError(f"looking for {memory.value} memory", -1)
    request = structure("VkMemoryAllocateInfo", "MEMORY_ALLOCATE_INFO", allocationSize=needs.size, memoryTypeIndex=number)
    held = ffi.new("VkDeviceMemory *")
    result = lib.vkAllocateMemory(device, request, ffi.NULL, held)
    if result < 0:
        lib.vkDestroyBuffer(device, buffer[0], ffi.NULL)
        _memory_check(result, "vkAllocateMemory", nbytes)
    handle, mapped = Handle(buffer[0], held[0]), None
    try:
        _memory_check(lib.vkBindBufferMemory(device, buffer[0], held[0], 0), "vkBindBufferMemory", nbytes)
        if physical.memory_types[number] & HOST_VISIBLE:
            pointer = ffi.new("void **")
            _memory_check(lib.vkMapMemory(device, held[0], 0, nbytes, 0, pointer), "vkMapMemory", nbytes)
            mapped = np.frombuffer(ffi.buffer(pointer[0], nbytes), np.uint8)
    except BaseException:
        _destroy(device, handle)
        raise
    return Block(nbytes, memory, handle, mapped)


def free(device: Any, block: Block) -> None:
    _destroy(device, block.handle)


def _destroy(device: Any, handle: Handle) -> None:
    vk = api()
    vk.lib.vkDestroyBuffer(device, handle.buffer, vk.ffi.NULL)
    vk.lib.vkFreeMemory(device, handle.memory, vk.ffi.NULL)


def _memory_check(result: int, call: str, nbytes: int) -> None:
    if result in (-1, -2):  # out of host memory, out of device memory
        raise MemoryError(f"{call} of {nbytes:,} bytes failed (VkResult {result})")
    check(result, call)
