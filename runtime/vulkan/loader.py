"""The Vulkan loader: the instance, the physical devices, and what the validation layers have to say.

Vulkan is touched at the first call, never at import. Set-up goes through cffi like everything else; the ``vulkan`` package
supplies the declarations.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

from .. import settings
from ..errors import DeviceError, MissingDeviceError, VulkanError

validation_messages: list[str] = []
_HOW = (
    "install the Vulkan loader and a driver (Debian, Raspberry Pi OS: `apt install libvulkan1 mesa-vulkan-drivers`), or use "
    "device='cpu'; `python -m rasptorch info` shows what is found"
)
_lock = threading.Lock()


@dataclass(frozen=True)
class Api:
    """cffi's two halves: ``ffi`` makes structures, ``lib`` calls functions."""

    ffi: Any
    lib: Any


@cache
def api() -> Api:
    """Open the loader library; `MissingDeviceError` where there is none."""
    try:
        from vulkan._vulkan import ffi, lib
    except OSError as problem:
        raise MissingDeviceError(f"there is no Vulkan loader on this machine (libvulkan.so.1: {problem}): {_HOW}") from None
    return Api(ffi, lib)


def check(result: int, call: str) -> None:
    """Raise for a negative VkResult."""
    if result < 0:
        raise VulkanError(call, result)


def structure(type_name: str, kind: str, **fields: Any) -> Any:
    """A zeroed structure with its ``sType``; the caller keeps alive what ``fields`` point to."""
    import vulkan._vulkan as names

    made = api().ffi.new(f"{type_name} *", fields)
    made.sType = getattr(names, f"VK_STRUCTURE_TYPE_{kind}")
    return made


def enumerate_(call: str, item: str, *args: Any) -> list[Any]:
    """Vulkan's two-step listing: count, then fill."""
    vk = api()
    function = getattr(vk.lib, call)
    count = vk.ffi.new("uint32_t *")
    function(*args, count, vk.ffi.NULL)
    items = vk.ffi.new(f"{item}[]", max(1, count[0]))
    function(*args, count, items)
    return [items[k] for k in range(count[0])]


def _validating() -> bool:
    return settings.current.validate or "validation" in os.environ.get("VK_INSTANCE_LAYERS", "")


class Instance:
    """One per process."""

    def __init__(self) -> None:
        vk = api()
        ffi = vk.ffi
        self.process = os.getpid()
        self._keep: list[Any] = []
        name = self._kept(ffi.new("char[]", b"rasptorch"))
        application = self._kept(
            structure(
                "VkApplicationInfo", "APPLICATION_INFO", pApplicationName=name, pEngineName=name, apiVersion=1 << 22 | 2 << 12
            )
        )
        info = structure("VkInstanceCreateInfo", "INSTANCE_CREATE_INFO", pApplicationInfo=application)
        if settings.current.validate:
            self._enable_layers(info)
        extensions = {
            ffi.string(e.extensionName)
            for e in enumerate_("vkEnumerateInstanceExtensionProperties", "VkExtensionProperties", ffi.NULL)
        }
        listening = _validating() and b"VK_EXT_debug_utils" in extensions
        if listening:
            names = self._kept([ffi.new("char[]", b"VK_EXT_debug_utils")])
            info.ppEnabledExtensionNames = self._kept(ffi.new("char *[]", names))
            info.enabledExtensionCount = 1
        handle = ffi.new("VkInstance *")
        result = vk.lib.vkCreateInstance(info, ffi.NULL, handle)
        if result == -9:  # VK_ERROR_INCOMPATIBLE_DRIVER
            raise MissingDeviceError(f"the Vulkan loader found no driver: {_HOW}")
        check(result, "vkCreateInstance")
        self.handle = handle[0]
        if listening:
            self._listen()
        self.physical_devices = enumerate_("vkEnumeratePhysicalDevices", "VkPhysicalDevice", self.handle)

    def _kept(self, value: Any) -> Any:
        self._keep.append(value)
        return value

    def _enable_layers(self, info: Any) -> None:
        ffi = api().ffi
        names = self._kept([ffi.new("char[]", b"VK_LAYER_KHRONOS_validation")])
        info.ppEnabledLayerNames = self._kept(ffi.new("char *[]", names))
        info.enabledLayerCount = 1
        features = self._kept(ffi.new("VkValidationFeatureEnableEXT[]", [4]))  # synchronisation validation
        info.pNext = self._kept(
            structure(
                "VkValidationFeaturesEXT", "VALIDATION_FEATURES_EXT", enabledValidationFeatureCount=1,
                pEnabledValidationFeatures=features,
            )
        )  # fmt: skip

    def _listen(self) -> None:
        vk = api()
        ffi = vk.ffi

        @ffi.callback("PFN_vkDebugUtilsMessengerCallbackEXT")  # type: ignore[untyped-decorator, unused-ignore]
        def hear(severity: int, kinds: int, data: Any, user: Any) -> int:
            validation_messages.append(ffi.string(data.pMessage).decode(errors="replace"))
            return 0

        self._kept(hear)
        create = ffi.cast(
            "PFN_vkCreateDebugUtilsMessengerEXT",
            vk.lib.vkGetInstanceProcAddr(self.handle, b"vkCreateDebugUtilsMessengerEXT"),
        )
        info = structure(
            "VkDebugUtilsMessengerCreateInfoEXT", "DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT",
            messageSeverity=0x1100, messageType=0x6, pfnUserCallback=hear,  # warnings and errors; validation, performance
        )  # fmt: skip
        messenger = self._kept(ffi.new("VkDebugUtilsMessengerEXT *"))
        check(create(self.handle, info, ffi.NULL, messenger), "vkCreateDebugUtilsMessengerEXT")


_instance: Instance | None = None


def instance() -> Instance:
    """The instance; `DeviceError` in a process that was forked after it was made."""
    global _instance
    if _instance is not None and _instance.process != os.getpid():
        raise DeviceError(
            "Vulkan was started before fork() and cannot be used in the child: use threads, or processes started with the "
            "'spawn' method"
        )
    with _lock:
        if _instance is None:
            _instance = Instance()
        return _instance


def device_names() -> list[str]:
    """``vulkan:0``, ``vulkan:1``, ...: none where there is no loader or no driver."""
    try:
        return [f"vulkan:{k}" for k in range(len(instance().physical_devices))]
    except MissingDeviceError:
        return []
