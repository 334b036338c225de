"""Which devices the tests run on, and under which names they are known in this process.

``cpu``        the host driver ``lavapipe``   Mesa's software Vulkan ``swiftshader`` a second, independent
software Vulkan ``gpu``        whatever Vulkan device the library picks on this machine by itself (a real
GPU, where there is one)
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

KINDS = ("cpu", "lavapipe", "swiftshader", "gpu")
_MANIFESTS = {
    "lavapipe": ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"),
    "swiftshader": ("/usr/lib/chromium*", "/usr/lib64/chromium*", "/opt/google/chrome"),
}
_PATTERNS = {"lavapipe": "lvp_icd*.json", "swiftshader": "vk_swiftshader_icd.json"}
_SAY = {"lavapipe": "llvmpipe", "swiftshader": "SwiftShader"}  # what the drivers call themselves
_PACKAGES = {
    "lavapipe": "mesa-vulkan-drivers libvulkan1",
    "swiftshader": "chromium-common libvulkan1",
}


class MissingDriver(Exception):
    """A driver the tests need is not installed; says how to get it."""


def manifest(kind: str) -> Path | None:
    """The loader manifest of a software driver, if it is installed."""
    for folder in _MANIFESTS[kind]:
        root, pattern = Path(folder).anchor, str(Path(folder).relative_to("/"))
        for place in sorted(Path(root).glob(pattern)):
            found = sorted(place.glob(_PATTERNS[kind]))
            if found:
                return found[0]
    return None


def choose_drivers(kinds: tuple[str, ...]) -> None:
    """Tell the Vulkan loader which drivers to load: before anything touches Vulkan.

    With ``gpu`` the machine's own drivers are left as they are.
    """
    os.environ.setdefault("RASPTORCH_CACHE_DIR", "off")  # tests neither need nor change what the user's cache holds
    if "gpu" in kinds:
        return
    found = [str(path) for path in (manifest(kind) for kind in _MANIFESTS) if path is not None]
    for variable in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):  # loaders before 1.3.207 read the second one
        os.environ[variable] = ":".join(found)


@cache
def device_name(kind: str) -> str:
    """The name to pass as ``device=...``. Raises `MissingDriver` when the driver is not there: a test must
    not be skipped.
    """
    if kind in ("cpu", "gpu"):
        return kind
    from rasptorch.runtime.vulkan.loader import instance
    from rasptorch.runtime.vulkan.physical import describe

    seen = []
    for index, handle in enumerate(instance().physical_devices):
        name = describe(index, handle).name
        if _SAY[kind] in name:
            return f"vulkan:{index}"
        seen.append(name)
    raise MissingDriver(
        f"the tests need {kind}: apt install {_PACKAGES[kind]} (manifest: {manifest(kind)}; "
        f"Vulkan devices found: {', '.join(seen) or 'none'}), or leave it out with --devices=cpu"
    )
