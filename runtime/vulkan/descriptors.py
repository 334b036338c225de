"""Descriptor sets: one for the parameters (set 0), one per combination of buffers (set 1), kept by the buffers they name."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from .loader import api, check, structure
from .spirv import PARAM_BYTES

TEXELS, STORAGE, UNIFORM_DYNAMIC = 4, 7, 8
NO_FORMAT, R32F, RGBA32F = 0, 100, 109  # VkFormat of texel buffers; storage buffers have none
COMPUTE = 0x20
POOL_SETS = 256
KEPT = 4096  # sets without a recording that uses them

Range = tuple[Any, int, int, int]  # VkBuffer, offset, size, format
Formats = tuple[int, ...]  # of the bindings of set 1


class Layouts:
    """Set and pipeline layouts by the formats of the bindings; made when first needed."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self.parameters = self._set_layout([UNIFORM_DYNAMIC])
        self._sets: dict[tuple[bool, ...], Any] = {}
        self._pipelines: dict[tuple[bool, ...], Any] = {}

    def operands(self, formats: Formats) -> Any:
        texels = tuple(f != NO_FORMAT for f in formats)
        if texels not in self._sets:
            self._sets[texels] = self._set_layout([TEXELS if t else STORAGE for t in texels])
        return self._sets[texels]

    def pipeline(self, formats: Formats) -> Any:
        texels = tuple(f != NO_FORMAT for f in formats)
        if texels not in self._pipelines:
            vk = api()
            layouts = vk.ffi.new("VkDescriptorSetLayout[]", [self.parameters, self.operands(formats)])
            info = structure("VkPipelineLayoutCreateInfo", "PIPELINE_LAYOUT_CREATE_INFO", setLayoutCount=2, pSetLayouts=layouts)
            out = vk.ffi.new("VkPipelineLayout *")
            check(vk.lib.vkCreatePipelineLayout(self._device, info, vk.ffi.NULL, out), "vkCreatePipelineLayout")
            self._pipelines[texels] = out[0]
        return self._pipelines[texels]

    def _set_layout(self, types: list[int]) -> Any:
        vk = api()
        bindings = vk.ffi.new("VkDescriptorSetLayoutBinding[]", max(1, len(types)))
        for k, kind in enumerate(types):
            bindings[k].binding, bindings[k].descriptorType = k, kind
            bindings[k].descriptorCount, bindings[k].stageFlags = 1, COMPUTE
        info = structure(
            "VkDescriptorSetLayoutCreateInfo", "DESCRIPTOR_SET_LAYOUT_CREATE_INFO", bindingCount=len(types), pBindings=bindings
        )
        out = vk.ffi.new("VkDescriptorSetLayout *")
        check(vk.lib.vkCreateDescriptorSetLayout(self._device, info, vk.ffi.NULL, out), "vkCreateDescriptorSetLayout")
        return out[0]

    def destroy(self) -> None:
        vk = api()
        for layout in self._pipelines.values():
            vk.lib.vkDestroyPipelineLayout(self._device, layout, vk.ffi.NULL)
        for layout in (self.parameters, *self._sets.values()):
            vk.lib.vkDestroyDescriptorSetLayout(self._device, layout, vk.ffi.NULL)


class DescriptorSet:
    """A set, its views of texel buffers, and how many recordings use it."""

    __slots__ = ("forgotten", "handle", "key", "pool", "users", "views")

    def __init__(self, handle: Any, pool: Any, key: tuple[Any, ...], views: list[Any]) -> None:
        self.handle = handle
        self.pool = pool
        self.key = key
        self.views = views
        self.users = 0
        self.forgotten = False  # one of its buffers is gone


class SetCache:
    """Sets by what they name; sets that no recording uses any more are kept for a while, then freed."""

    def __init__(self, device: Any, layouts: Layouts) -> None:
        self._device = device
        self._layouts = layouts
        self._pools: list[Any] = []
        self._sets: OrderedDict[tuple[Any, ...], DescriptorSet] = OrderedDict()
        self._idle = 0
        self._views: dict[int, Any] = {}  # all there are, by address
        self._info = api().ffi.new("VkDescriptorBufferInfo[16]")
        self._texels = api().ffi.new("VkBufferView[16]")
        self._writes = api().ffi.new("VkWriteDescriptorSet[16]")
        for k in range(16):
            self._writes[k].sType = 35  # VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET
            self._writes[k].dstBinding, self._writes[k].descriptorCount = k, 1
            self._writes[k].pBufferInfo = self._info + k
            self._writes[k].pTexelBufferView = self._texels + k

    def find(self, kind: int, ranges: tuple[Range, ...]) -> DescriptorSet:
        """The set of descriptors of type ``kind`` (of texels where a range has a format); the caller is one more user of it."""
        ffi = api().ffi
        key = (kind, *[(int(ffi.cast("uintptr_t", b)), o, s, f) for b, o, s, f in ranges])
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = self._make(kind, ranges, key)
        elif found.users == 0:
            self._idle -= 1
        found.users += 1
        return found

    def leave(self, used: DescriptorSet) -> None:
        """A recording that used the set is gone."""
        used.users -= 1
        if used.users == 0 and used.forgotten:
            self._free(used)
        elif used.users == 0:
            self._idle += 1
            self._sets.move_to_end(used.key)
            if self._idle > KEPT:
                self._forget_idle(KEPT // 2)

    def forget_block(self, buffer: Any) -> None:
        """The buffer is about to be destroyed: sets that name it must not be found again, as handles come back."""
        address = int(api().ffi.cast("uintptr_t", buffer))
        for key, entry in list(self._sets.items()):
            if any(address == part[0] for part in key[1:]):
                del self._sets[key]
                entry.forgotten = True
                if entry.users == 0:  # otherwise recordings that are never submitted again still hold it
                    self._idle -= 1
                    self._free(entry)

    def _forget_idle(self, count: int) -> None:
        for entry in [e for e in self._sets.values() if e.users == 0][:count]:
            del self._sets[entry.key]
            self._idle -= 1
            self._free(entry)

    def _free(self, entry: DescriptorSet) -> None:
        vk = api()
        vk.lib.vkFreeDescriptorSets(self._device, entry.pool, 1, vk.ffi.new("VkDescriptorSet[]", [entry.handle]))
        for view in entry.views:
            vk.lib.vkDestroyBufferView(self._device, view, vk.ffi.NULL)
            del self._views[int(vk.ffi.cast("uintptr_t", view))]

    def _make(self, kind: int, ranges: tuple[Range, ...], key: tuple[Any, ...]) -> DescriptorSet:
        vk = api()
        formats = tuple(r[3] for r in ranges)
        layout = self._layouts.parameters if kind == UNIFORM_DYNAMIC else self._layouts.operands(formats)
        handle, pool = self._allocate(layout)
        views = []
        for k, (buffer, offset, size, format_) in enumerate(ranges):
            info, write = self._info[k], self._writes[k]
            info.buffer, info.offset, info.range = buffer, offset, size
            write.dstSet, write.descriptorType = handle, TEXELS if format_ else kind
            if format_:
                self._texels[k] = self._view(buffer, offset, size, format_)
                views.append(self._texels[k])
        vk.lib.vkUpdateDescriptorSets(self._device, len(ranges), self._writes, 0, vk.ffi.NULL)
        return DescriptorSet(handle, pool, key, views)

    def _view(self, buffer: Any, offset: int, size: int, format_: int) -> Any:
        vk = api()
        info = structure("VkBufferViewCreateInfo", "BUFFER_VIEW_CREATE_INFO", buffer=buffer, offset=offset, range=size)
        info.format = format_
        out = vk.ffi.new("VkBufferView *")
        check(vk.lib.vkCreateBufferView(self._device, info, vk.ffi.NULL, out), "vkCreateBufferView")
        self._views[int(vk.ffi.cast("uintptr_t", out[0]))] = out[0]
        return out[0]

    def _allocate(self, layout: Any) -> tuple[Any, Any]:
        vk = api()
        layouts = vk.ffi.new("VkDescriptorSetLayout[]", [layout])
        out = vk.ffi.new("VkDescriptorSet *")
        for pool in reversed(self._pools):
            info = structure(
                "VkDescriptorSetAllocateInfo", "DESCRIPTOR_SET_ALLOCATE_INFO", descriptorPool=pool, descriptorSetCount=1,
                pSetLayouts=layouts,
            )  # fmt: skip
            if vk.lib.vkAllocateDescriptorSets(self._device, info, out) == 0:
                return out[0], pool
        self._pools.append(self._new_pool())
        return self._allocate(layout)

    def _new_pool(self) -> Any:
        vk = api()
        sizes = vk.ffi.new("VkDescriptorPoolSize[3]")
        sizes[0].type, sizes[0].descriptorCount = STORAGE, POOL_SETS * 8
        sizes[1].type, sizes[1].descriptorCount = UNIFORM_DYNAMIC, POOL_SETS
        sizes[2].type, sizes[2].descriptorCount = TEXELS, POOL_SETS * 4
        info = structure(
            "VkDescriptorPoolCreateInfo", "DESCRIPTOR_POOL_CREATE_INFO", flags=1, maxSets=POOL_SETS, poolSizeCount=3,
            pPoolSizes=sizes,
        )  # fmt: skip
        out = vk.ffi.new("VkDescriptorPool *")
        check(vk.lib.vkCreateDescriptorPool(self._device, info, vk.ffi.NULL, out), "vkCreateDescriptorPool")
        return out[0]

    def destroy(self) -> None:
        vk = api()
        for view in self._views.values():
            vk.lib.vkDestroyBufferView(self._device, view, vk.ffi.NULL)
        for pool in self._pools:
            vk.lib.vkDestroyDescriptorPool(self._device, pool, vk.ffi.NULL)


PARAMETER_RANGE = PARAM_BYTES
