"""What this machine's Vulkan devices say of themselves, for people: `python -m rasptorch info`."""

from __future__ import annotations

from dataclasses import dataclass

from .. import settings
from ..errors import DeviceError
from . import matmul
from .loader import api, instance
from .physical import Physical, choose, describe, unsuitable
from .pipelines import cache_file

_FLAGS = (
    (0x1, "device local"),
    (0x2, "host visible"),
    (0x4, "coherent"),
    (0x8, "cached"),
    (0x10, "lazily allocated"),
    (0x20, "protected"),
    (0x40, "device coherent"),
    (0x80, "device uncached"),
)
# Vulkan 1.2, table "Required Limits": a driver that promises less is not to be believed.
_REQUIRED_AT_LEAST = {
    "storage_range": 1 << 27,
    "allocation": 1 << 30,
    "storage_buffers": 4,
    "groups": 65535,
    "invocations": 128,
    "shared_memory": 16384,
}
_REQUIRED_AT_MOST = {"storage_alignment": 256, "uniform_alignment": 256}


@dataclass(frozen=True, slots=True)
class MemoryType:
    """``heap`` is the size of the heap it is taken from, in bytes."""

    flags: str
    heap: int


@dataclass(frozen=True, slots=True)
class VulkanReport:
    """One device. ``unusable`` says why it cannot be used (empty: it can); ``chosen`` whether ``"gpu"`` means
    it; ``passed_over`` why it does not. ``limits`` in bytes or counts; ``features`` those the library makes
    use of. ``kernels`` says which variants of kernels follow from them. ``cache`` is where compiled kernels are
    kept (empty: nowhere), ``cached`` the bytes there. ``doubts`` are statements of the driver that cannot be true.
    """

    index: int
    name: str
    kind: str
    driver: str
    driver_version: int
    api_version: tuple[int, int]
    limits: dict[str, int]
    features: dict[str, bool]
    kernels: dict[str, str]
    cache: str
    cached: int
    memory: tuple[MemoryType, ...]
    unusable: str
    chosen: bool
    passed_over: str
    doubts: tuple[str, ...]


def report() -> list[VulkanReport]:
    """Raises `MissingDeviceError` where there is no loader, or no driver for it."""
    devices = [describe(k, handle) for k, handle in enumerate(instance().physical_devices)]
    try:
        chosen: Physical | None = choose("gpu")
        refused = ""
    except DeviceError as problem:
        chosen, refused = None, str(problem)
    return [_describe(device, chosen, refused) for device in devices]


def _describe(device: Physical, chosen: Physical | None, refused: str) -> VulkanReport:
    memory = _memory(device)
    cache = cache_file(device)
    is_chosen = chosen is not None and chosen.index == device.index
    return VulkanReport(
        index=device.index,
        name=device.name,
        kind=device.kind,
        driver=device.driver,
        driver_version=device.driver_version,
        api_version=device.api_version,
        limits={k: v for k, v in device.limits.items() if not k.startswith("timestamp")}
        | {"subgroup": device.subgroup},
        features={
            "timeline semaphores": device.timeline,
            "64-bit integers": device.int64,
            "64-bit floats": device.float64,
            "8-bit storage": device.storage8,
            "16-bit storage": device.storage16,
            "NaN preserved": device.preserve_nan,
            "timestamps": device.limits["timestamp_ps"] > 0,
        },
        kernels=selected(device),
        cache="" if cache is None else str(cache),
        cached=cache.stat().st_size if cache is not None and cache.is_file() else 0,
        memory=memory,
        unusable=unsuitable(device),
        chosen=is_chosen,
        passed_over="" if is_chosen else _why_not(device, chosen, refused),
        doubts=tuple(_doubts(device, memory)),
    )


def selected(device: Physical) -> dict[str, str]:
    """Which variants of kernels a device gets, and what it does without."""
    traits = device.traits()
    wish = settings.current.matmul
    if wish != "auto":
        products = f"{wish}, as RASPTORCH_MATMUL says"
    elif traits.kind == "software":
        products = f"{matmul.TEXEL.name}, {matmul.TALL.name} from {matmul.LARGE:,} multiplications"
    else:
        products = f"{matmul.TILED.name} where plain, else {matmul.WIDE.name}" if traits.kind == "discrete" else matmul.WIDE.name
    through = "whole words and atomic operations"
    return {
        "matmul": products,
        "reductions": f"up to {traits.reduce_chunk:,} elements per invocation, shared by up to {traits.parallelism:,} invocations",
        "kernels take": f"up to {traits.storage_buffers} tensors",
        "bool and uint8": "8-bit storage" if device.storage8 else through,
        "float16 and bfloat16": "16-bit storage" if device.storage16 else through,
        "int64": "computed" if traits.int64 else "stored only",
        "float64": "computed, but for transcendental functions" if traits.float64 else "not available",
        "timestamps": "each kernel is measured" if device.limits["timestamp_ps"] else "none: profiles see whole submissions only",
    }


def _why_not(device: Physical, chosen: Physical | None, refused: str) -> str:
    reason = unsuitable(device)
    if reason:
        return f"it {reason}"
    if chosen is None:
        return refused
    if settings.current.device:
        return f"RASPTORCH_DEVICE={settings.current.device!r} asks for vulkan:{chosen.index}"
    if chosen.kind != device.kind:
        return f"vulkan:{chosen.index} is {chosen.kind}, which goes before {device.kind}"
    first = f"vulkan:{chosen.index} is {chosen.kind} too and comes first"
    return f"{first}; RASPTORCH_DEVICE={device.index} chooses this one"


def _memory(device: Physical) -> tuple[MemoryType, ...]:
    vk = api()
    found = vk.ffi.new("VkPhysicalDeviceMemoryProperties *")
    vk.lib.vkGetPhysicalDeviceMemoryProperties(device.handle, found)
    return tuple(
        MemoryType(
            ", ".join(name for bit, name in _FLAGS if found.memoryTypes[k].propertyFlags & bit) or "plain",
            int(found.memoryHeaps[found.memoryTypes[k].heapIndex].size),
        )
        for k in range(found.memoryTypeCount)
    )


def _doubts(device: Physical, memory: tuple[MemoryType, ...]) -> list[str]:
    """Limits that contradict Vulkan, or the device itself."""
    limits = device.limits
    said = [
        f"{name} is {limits[name]:,}, Vulkan requires at least {least:,}"
        for name, least in _REQUIRED_AT_LEAST.items()
        if limits[name] < least
    ]
    said += [
        f"{name} is {limits[name]:,}, Vulkan allows at most {most:,}"
        for name, most in _REQUIRED_AT_MOST.items()
        if limits[name] > most
    ]
    said += [
        f"{name} is {limits[name]:,}, which is no power of two"
        for name in _REQUIRED_AT_MOST
        if limits[name] & (limits[name] - 1) or not limits[name]
    ]
    largest = max((m.heap for m in memory), default=0)
    if largest == 0:
        said.append("it has no memory")
    return said
