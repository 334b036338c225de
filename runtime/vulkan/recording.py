"""Recorded command buffers: a plan bound to buffers, submitted as often as it repeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..buffer import Buffer, Memory
from ..driver import KernelTimes
from .compile import CompiledPlan, Dispatch, bound
from .descriptors import NO_FORMAT, STORAGE, UNIFORM_DYNAMIC, DescriptorSet
from .loader import api, check, structure
from .parameters import Scalars
from .spirv import PARAM_BYTES
from .timestamps import Timestamps

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..statistics import Statistics
    from .driver import VulkanDriver

COMPUTE_STAGE, HOST_STAGE = 0x800, 0x4000
SHADER_READ, SHADER_WRITE, UNIFORM_READ, HOST_READ = 0x20, 0x40, 0x8, 0x2000


class VulkanRecording:
    """Holds its command buffer, its parameters and its descriptor sets until `release`."""

    __slots__ = (
        "_block", "_driver", "_order", "_pointer", "_scalars", "_sets", "_stamps", "_words", "barriers", "commands", "dispatches",
        "__weakref__",
    )  # fmt: skip

    def __init__(
        self, driver: VulkanDriver, plan: Plan, compiled: CompiledPlan, buffers: Sequence[Buffer], statistics: Statistics
    ) -> None:
        self._driver = driver
        self._sets: list[DescriptorSet] = []
        places = _places(plan, buffers)
        levels = bound(compiled, places, driver, statistics)
        self.dispatches = sum(len(d.pieces) for level in levels for d in level)
        self.barriers = 0
        self._stamps: Timestamps | None = None
        self._block: Any = None
        self.commands: Any = None
        try:
            if driver.timestamps and compiled.kernels > 0 and driver.physical.limits["timestamp_ps"] > 0:
                self._stamps = Timestamps(driver, compiled.kernels + 1)
            offsets = self._write_parameters(levels)
            self.commands = driver.new_commands()
            self._record(levels, places, offsets)
        except BaseException:  # no memory, or Ctrl-C
            self.release()
            raise
        self._pointer = api().ffi.new("VkCommandBuffer[]", [self.commands])

    # -- parameters -----------------------------------------------------------------------------------------------
    def _write_parameters(self, levels: list[list[Dispatch]]) -> list[int]:
        """Lay out all dispatches' parameters in one mapped buffer; returns their byte offsets."""
        unit = max(16, self._driver.physical.limits["uniform_alignment"])
        offsets, at, scalars = [], 0, []
        everything = [d for level in levels for d in level]
        for dispatch in everything:
            offsets.append(at)
            at += -(-4 * len(dispatch.parameters.words) // unit) * unit
        self._block = self._driver.parameter_blocks.take(at + PARAM_BYTES)
        self._words = self._block.bytes.view(np.uint32)
        for dispatch, offset in zip(everything, offsets, strict=True):
            words, first = dispatch.parameters.words, offset // 4
            self._words[first : first + len(words)] = np.array(words, np.int64).astype(np.uint32)
            for word, position, dtype in dispatch.parameters.scalars:
                scalars.append((first + word, position, dtype))
        self._scalars = Scalars(scalars)
        return offsets

    def write_scalars(self, values: Sequence[float]) -> None:
        self._scalars.write(self._words, values)

    # -- commands -------------------------------------------------------------------------------------------------
    def _record(self, levels: list[list[Dispatch]], places: dict[int, tuple[Any, int]], offsets: list[int]) -> None:
        vk = api()
        lib, driver, commands = vk.lib, self._driver, self.commands
        begin = structure("VkCommandBufferBeginInfo", "COMMAND_BUFFER_BEGIN_INFO", flags=4)  # may be pending more than once
        check(lib.vkBeginCommandBuffer(commands, begin), "vkBeginCommandBuffer")
        stamps = self._stamps
        if stamps is not None:
            stamps.begin(commands)
        parameters = driver.sets.find(UNIFORM_DYNAMIC, ((self._block.handle.buffer, 0, PARAM_BYTES, NO_FORMAT),))
        self._sets.append(parameters)
        number = 0
        self._order: list[int] = []
        for level in levels:
            # Also before the first: earlier submissions on this queue may still be writing what it reads.
            self._barrier()
            for dispatch in level:
                self._dispatch(dispatch, places, parameters, offsets[number])
                number += 1
                for kernel in dispatch.kernels if stamps is not None else ():  # the first of merged kernels gets the time of all
                    assert stamps is not None
                    self._order.append(kernel)
                    stamps.mark(commands, len(self._order))
        if stamps is not None:
            stamps.end(commands)
        lib.vkCmdPipelineBarrier(
            commands, COMPUTE_STAGE, HOST_STAGE, 0, 1, driver.to_host, 0, vk.ffi.NULL, 0, vk.ffi.NULL
        )
        check(lib.vkEndCommandBuffer(commands), "vkEndCommandBuffer")

    def _barrier(self) -> None:
        vk = api()
        vk.lib.vkCmdPipelineBarrier(
            self.commands, COMPUTE_STAGE, COMPUTE_STAGE, 0, 1, self._driver.between, 0, vk.ffi.NULL, 0, vk.ffi.NULL
        )
        self.barriers += 1

    def _dispatch(self, dispatch: Dispatch, places: dict[int, tuple[Any, int]], parameters: DescriptorSet, offset: int) -> None:
        vk = api()
        lib, driver, commands = vk.lib, self._driver, self.commands
        ranges = []
        for (value, first, size), format_ in zip(dispatch.bindings, dispatch.formats, strict=True):
            buffer, base = places[value]
            ranges.append((buffer, base + first, size, format_))
        storage = driver.sets.find(STORAGE, tuple(ranges))
        self._sets.append(storage)
        driver.two_sets[0], driver.two_sets[1] = parameters.handle, storage.handle
        driver.one_offset[0] = offset
        lib.vkCmdBindPipeline(commands, 1, dispatch.pipeline)
        lib.vkCmdBindDescriptorSets(commands, 1, dispatch.layout, 0, 2, driver.two_sets, 1, driver.one_offset)
        for start, count in dispatch.pieces:
            if any(start):
                lib.vkCmdDispatchBase(commands, *start, *count)
            else:
                lib.vkCmdDispatch(commands, *count)  # synchronisation validation does not see the other one

    @property
    def pointer(self) -> Any:
        return self._pointer

    def kernel_seconds(self) -> KernelTimes | None:
        """Time of each kernel of the last finished submission, in the plan's order."""
        times = None if self._stamps is None else self._stamps.read()
        if times is not None:
            times[:] = [seconds for _, seconds in sorted(zip(self._order, times, strict=True))]
        return times

    def release(self) -> None:
        driver = self._driver
        if driver.closed:
            return
        if self.commands is not None:
            driver.free_commands(self.commands)
        for used in self._sets:
            driver.sets.leave(used)
        if self._block is not None:
            driver.parameter_blocks.give_back(self._block)
        if self._stamps is not None:
            self._stamps.release()
        self.commands = self._block = self._stamps = None
        self._sets = []


def _places(plan: Plan, buffers: Sequence[Buffer]) -> dict[int, tuple[Any, int]]:
    """VkBuffer and byte offset of every value."""
    places = {v: (b.block.handle.buffer, b.offset) for v, b in zip(plan.bound, buffers, strict=False)}
    for value, piece, offset in plan.spots():
        arena = buffers[len(plan.bound) + piece]
        places[value] = (arena.block.handle.buffer, arena.offset + offset)
    return places


class ParameterBlocks:
    """Small mapped blocks for parameters, by size class; given back by recordings that are gone."""

    def __init__(self, driver: VulkanDriver) -> None:
        self._driver = driver
        self._free: dict[int, list[Any]] = {}
        self._all: list[Any] = []

    def take(self, nbytes: int) -> Any:
        size = 1 << max(12, (nbytes - 1).bit_length())
        free = self._free.get(size)
        if free:
            return free.pop()
        block = self._driver.allocate(size, Memory.UPLOAD)
        self._all.append(block)
        return block

    def give_back(self, block: Any) -> None:
        self._free.setdefault(block.nbytes, []).append(block)

    def destroy(self) -> None:
        for block in self._all:
            self._driver.free(block)
