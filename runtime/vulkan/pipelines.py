"""Compute pipelines: made when first needed, and kept on disk between runs."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import settings
from .descriptors import Formats, Layouts
from .loader import api, check, structure
from .physical import Physical

if TYPE_CHECKING:
    from ..statistics import Statistics


def cache_file(physical: Physical) -> Path | None:
    """Where this device's pipeline cache is kept; None when it is switched off."""
    wish = settings.current.cache_dir
    if wish == "off":
        return None
    folder = Path(wish) if wish else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rasptorch"
    name = hashlib.sha256(physical.uuid + physical.name.encode() + str(physical.driver_version).encode()).hexdigest()[:16]
    return folder / f"pipelines-{name}.bin"


class Pipelines:
    """Pipelines by shader key."""

    def __init__(self, device: Any, physical: Physical, layouts: Layouts) -> None:
        self._device = device
        self._layouts = layouts
        self._file = cache_file(physical)
        self._made: dict[object, Any] = {}
        self._saved = 0
        self._cache = self._open_cache()

    def get(self, key: object, formats: Formats, emit: Any, statistics: Statistics) -> Any:
        """The pipeline for ``key``; ``emit()`` gives its SPIR-V when it must be made."""
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(emit(), formats)
            statistics.pipelines_created += 1
        return found

    def _make(self, code: bytes, formats: Formats) -> Any:
        vk = api()
        ffi, lib = vk.ffi, vk.lib
        words = ffi.new("uint32_t[]", len(code) // 4)
        ffi.memmove(words, code, len(code))
        info = structure("VkShaderModuleCreateInfo", "SHADER_MODULE_CREATE_INFO", codeSize=len(code), pCode=words)
        module = ffi.new("VkShaderModule *")
        check(lib.vkCreateShaderModule(self._device, info, ffi.NULL, module), "vkCreateShaderModule")
        name = ffi.new("char[]", b"main")
        pipeline_info = structure(
            "VkComputePipelineCreateInfo", "COMPUTE_PIPELINE_CREATE_INFO", layout=self._layouts.pipeline(formats),
            flags=0x10,  # VK_PIPELINE_CREATE_DISPATCH_BASE: large dispatches go out in pieces
        )  # fmt: skip
        stage = pipeline_info.stage
        stage.sType, stage.stage, stage.module, stage.pName = 18, 0x20, module[0], name
        out = ffi.new("VkPipeline *")
        result = lib.vkCreateComputePipelines(self._device, self._cache, 1, pipeline_info, ffi.NULL, out)
        lib.vkDestroyShaderModule(self._device, module[0], ffi.NULL)
        check(result, "vkCreateComputePipelines")
        return out[0]

    def _open_cache(self) -> Any:
        vk = api()
        try:
            data = self._file.read_bytes() if self._file is not None else b""
        except OSError:
            data = b""  # none yet, or not readable: pipelines are then simply made anew
        blob = vk.ffi.new("char[]", data) if data else vk.ffi.NULL
        info = structure("VkPipelineCacheCreateInfo", "PIPELINE_CACHE_CREATE_INFO", initialDataSize=len(data), pInitialData=blob)
        out = vk.ffi.new("VkPipelineCache *")
        check(vk.lib.vkCreatePipelineCache(self._device, info, vk.ffi.NULL, out), "vkCreatePipelineCache")
        return out[0]

    def save(self) -> None:
        """Write the cache if it has grown, through a temporary file: other processes never see half of it."""
        if self._file is None or len(self._made) == self._saved:
            return
        vk = api()
        size = vk.ffi.new("size_t *")
        if vk.lib.vkGetPipelineCacheData(self._device, self._cache, size, vk.ffi.NULL) or not size[0]:
            return
        data = vk.ffi.new("char[]", size[0])
        check(vk.lib.vkGetPipelineCacheData(self._device, self._cache, size, data), "vkGetPipelineCacheData")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._file.parent)
            with os.fdopen(handle, "wb") as out:
                out.write(bytes(vk.ffi.buffer(data, size[0])))
            os.replace(temporary, self._file)
            self._saved = len(self._made)
        except OSError:
            self._file = None  # a read-only home: no cache, everything else works

    def destroy(self) -> None:
        vk = api()
        for pipeline in self._made.values():
            vk.lib.vkDestroyPipeline(self._device, pipeline, vk.ffi.NULL)
        vk.lib.vkDestroyPipelineCache(self._device, self._cache, vk.ffi.NULL)
