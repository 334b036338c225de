"""Physical devices: which to take, what they can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import settings
from ..driver import Traits
from ..dtype import float64
from ..errors import DeviceError, MissingDeviceError
from ..opcodes import OPCODES
from . import functions
from .loader import api, enumerate_, instance, structure

_KINDS = {1: "integrated", 2: "discrete", 3: "virtual", 4: "software"}
_PREFERENCE = {"discrete": 0, "integrated": 1, "virtual": 2, "software": 3}
HOST_VISIBLE, HOST_COHERENT, HOST_CACHED, DEVICE_LOCAL = 2, 4, 8, 1


@dataclass(frozen=True)
class Physical:
    """One Vulkan device of this machine, as it describes itself."""

    index: int
    handle: Any
    name: str
    kind: str
    api_version: tuple[int, int]
    driver_version: int
    queue_family: int
    memory_types: tuple[int, ...]
    limits: dict[str, int]
    int64: bool
    float64: bool
    storage8: bool
    storage16: bool
    timeline: bool
    preserve_nan: bool
    subgroup: int
    uuid: bytes
    driver: str = ""

    def memory_type(self, wanted: list[int], allowed: int) -> int | None:
        """The first memory type among ``allowed`` (a bit mask) that has all flags of the first satisfiable entry."""
        for flags in wanted:
            for number, has in enumerate(self.memory_types):
                if allowed >> number & 1 and has & flags == flags:
                    return number
        return None

    def traits(self) -> Traits:
        """What the planner may know."""
        alignment = max(256, *(self.limits[f"{kind}_alignment"] for kind in ("storage", "uniform", "texel")))
        return Traits(
            name=self.name,
            kind="integrated" if self.kind == "virtual" else self.kind,
            alignment=alignment,
            hazard_alignment=max(16, self.limits["storage_alignment"]),  # kernels read in pieces of 16 bytes
            max_range=self.limits["storage_range"],
            max_block=self.limits["allocation"],
            storage_buffers=min(8, self.limits["storage_buffers"]),
            parallelism={"software": 64, "integrated": 2048}.get(self.kind, 65536),
            texels=self.limits["texels"],
            reduce_chunk=1024,
            timestamp_every=16 if self.kind == "software" else 1,
            int64=self.int64,
            float64=self.float64,
            missing=frozenset((o, "float64") for o in OPCODES if not functions.supported(o, float64, int64=True, float64=True)),
        )


def describe(index: int, handle: Any) -> Physical:
    """Ask a physical device for everything we use."""
    vk = api()
    ffi, lib = vk.ffi, vk.lib
    twelve = structure("VkPhysicalDeviceVulkan12Features", "PHYSICAL_DEVICE_VULKAN_1_2_FEATURES")
    eleven = structure("VkPhysicalDeviceVulkan11Features", "PHYSICAL_DEVICE_VULKAN_1_1_FEATURES", pNext=twelve)
    features = structure("VkPhysicalDeviceFeatures2", "PHYSICAL_DEVICE_FEATURES_2", pNext=eleven)
    lib.vkGetPhysicalDeviceFeatures2(handle, features)
    about = structure("VkPhysicalDeviceVulkan12Properties", "PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES")
    more = structure("VkPhysicalDeviceVulkan11Properties", "PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES", pNext=about)
    properties = structure("VkPhysicalDeviceProperties2", "PHYSICAL_DEVICE_PROPERTIES_2", pNext=more)
    lib.vkGetPhysicalDeviceProperties2(handle, properties)
    memory = ffi.new("VkPhysicalDeviceMemoryProperties *")
    lib.vkGetPhysicalDeviceMemoryProperties(handle, memory)
    families = enumerate_("vkGetPhysicalDeviceQueueFamilyProperties", "VkQueueFamilyProperties", handle)
    compute = [k for k, family in enumerate(families) if family.queueFlags & 2]
    timestamp_bits = families[compute[0]].timestampValidBits if compute else 0
    p = properties.properties
    limits = p.limits
    return Physical(
        index=index,
        handle=handle,
        name=ffi.string(p.deviceName).decode(),
        kind=_KINDS.get(p.deviceType, "virtual"),
        api_version=(p.apiVersion >> 22, p.apiVersion >> 12 & 0x3FF),
        driver_version=p.driverVersion,
        queue_family=compute[0] if compute else -1,
        memory_types=tuple(memory.memoryTypes[k].propertyFlags for k in range(memory.memoryTypeCount)),
        limits={
            "storage_alignment": limits.minStorageBufferOffsetAlignment,
            "uniform_alignment": limits.minUniformBufferOffsetAlignment,
            "texel_alignment": limits.minTexelBufferOffsetAlignment,
            "texels": limits.maxTexelBufferElements,
            "storage_range": limits.maxStorageBufferRange,
            "allocation": more.maxMemoryAllocationSize,
            "storage_buffers": limits.maxPerStageDescriptorStorageBuffers,
            "groups": min(65535, limits.maxComputeWorkGroupCount[0]),
            "invocations": limits.maxComputeWorkGroupInvocations,
            "shared_memory": limits.maxComputeSharedMemorySize,
            # Picoseconds per tick; 0 where the queue has no timestamps.
            "timestamp_ps": round(limits.timestampPeriod * 1000) if timestamp_bits else 0,
            "timestamp_bits": timestamp_bits,
        },
        int64=bool(features.features.shaderInt64),
        float64=bool(features.features.shaderFloat64),
        storage8=bool(twelve.storageBuffer8BitAccess),
        storage16=bool(eleven.storageBuffer16BitAccess),
        timeline=bool(twelve.timelineSemaphore),
        preserve_nan=bool(about.shaderSignedZeroInfNanPreserveFloat32),
        subgroup=more.subgroupSize,
        uuid=bytes(ffi.buffer(p.pipelineCacheUUID)),
        driver=f"{ffi.string(about.driverName).decode()} {ffi.string(about.driverInfo).decode()}".strip(),
    )


def unsuitable(device: Physical) -> str:
    """Why a device cannot be used; empty when it can."""
    if device.api_version < (1, 2):
        return f"has Vulkan {device.api_version[0]}.{device.api_version[1]}, 1.2 is needed"
    if device.queue_family < 0:
        return "has no queue that computes"
    if not device.timeline:
        return "has no timeline semaphores"
    return ""


def all_devices() -> list[Physical]:
    return [describe(k, handle) for k, handle in enumerate(instance().physical_devices)]


def choose(name: str) -> Physical:
    """The device meant by ``gpu`` or ``vulkan:N``.

    ``gpu`` is the first suitable one: discrete before integrated before software, or what RASPTORCH_DEVICE says.
    """
    found = all_devices()
    listing = "; ".join(f"vulkan:{d.index} is {d.name} ({d.kind})" for d in found) or "none"
    if name != "gpu":
        text = name.removeprefix("vulkan:")
        if not text.isdigit():
            raise DeviceError(f"there is no device {name!r}: write 'vulkan:' and a number; this machine has: {listing}")
        if int(text) >= len(found):
            raise MissingDeviceError(f"there is no device {name}; this machine has: {listing}")
        return _suitable(found[int(text)])
    wish = settings.current.device
    if wish:
        matching = [d for d in found if wish == str(d.index) or (not wish.isdigit() and wish.lower() in d.name.lower())]
        if not matching:
            raise MissingDeviceError(f"RASPTORCH_DEVICE={wish!r} matches no Vulkan device; this machine has: {listing}")
        return _suitable(matching[0])
    usable = sorted((d for d in found if not unsuitable(d)), key=lambda d: (_PREFERENCE[d.kind], d.index))
    if not usable:
        reasons = "; ".join(f"{d.name} {unsuitable(d)}" for d in found) or "the loader lists none"
        raise MissingDeviceError(
            f"no usable Vulkan device: {reasons}; install a driver (Debian, Raspberry Pi OS: `apt install mesa-vulkan-drivers`), "
            "or use device='cpu'"
        )
    return usable[0]


def _suitable(device: Physical) -> Physical:
    reason = unsuitable(device)
    if reason:
        raise MissingDeviceError(f"vulkan:{device.index} ({device.name}) cannot be used: it {reason}")
    return device
