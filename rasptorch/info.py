"""What this machine has and what the library makes of it: `python -m rasptorch info`."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .runtime import device as devices_
from .runtime import settings
from .runtime.errors import DeviceError

if TYPE_CHECKING:
    from .runtime.vulkan.report import VulkanReport

_PACKAGES = ("numpy", "vulkan", "cffi", "trio")
_LOADER_VARIABLES = (
    "VK_DRIVER_FILES",
    "VK_ADD_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_INSTANCE_LAYERS",
    "VK_LOADER_DRIVERS_SELECT",
    "VK_LOADER_DRIVERS_DISABLE",
)
_BYTES = ("storage_range", "allocation", "shared_memory")


def text(version: str) -> str:
    """The whole report, for the library's ``version``. Never fails because something is missing: it is there
    to tell.
    """
    sections = (
        ("Versions", versions(version)),
        ("Devices", devices()),
        ("Pools and caches", pools()),
        ("Environment variables in force", variables()),
        ("Things to look at", doubts()),
    )
    return (
        "\n\n".join(f"{title}\n" + "\n".join(f"  {line}" for line in lines) for title, lines in sections)
        + "\n"
    )


def as_json(version: str) -> str:
    """The same for programs: an object with the sections' contents."""
    reports, problem = _vulkan()
    found = {
        "versions": {
            "rasptorch": version,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            **{name: _version(name) for name in _PACKAGES},
        },
        "cpu": devices_.get("cpu").driver.traits.name,
        "vulkan": [asdict(report) for report in reports],
        "vulkan missing": problem,
        "pools": {device.name: asdict(device.statistics.snapshot()) for device in devices_.opened()},
        "settings": {entry.variable: getattr(settings.current, entry.field) for entry in settings.TABLE},
        "set": [entry.variable for entry in settings.TABLE if os.environ.get(entry.variable)],
        "loader": {name: os.environ[name] for name in _LOADER_VARIABLES if os.environ.get(name)},
        "doubts": [doubt for doubt in doubts() if doubt != "nothing"],
    }
    return json.dumps(found, indent=1) + "\n"


def versions(version: str) -> Iterator[str]:
    yield f"rasptorch {version} in {os.path.dirname(os.path.abspath(__file__))}"
    yield f"Python {platform.python_version()} ({sys.executable})"
    yield f"{platform.platform()}, {os.cpu_count()} cores"
    for name in _PACKAGES:
        yield f"{name} {_version(name)}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "is not installed"


# -- devices -------------------------------------------------------------------------------------------------
def devices() -> Iterator[str]:
    """The cpu, then what Vulkan has, or what to do where it has nothing."""
    traits = devices_.get("cpu").driver.traits
    yield f"cpu: {traits.name}; always there"
    reports, problem = _vulkan()
    if problem:
        yield f"no Vulkan device: {problem}"
    for report in reports:
        yield from _lines_of(report)
    if reports and not any(report.chosen for report in reports):
        yield f"'gpu' has no device to use: {reports[0].passed_over}"


def _vulkan() -> tuple[list[VulkanReport], str]:
    """The Vulkan devices, or why there are none."""
    try:
        return devices_.vulkan_devices(), ""
    except (DeviceError, ImportError) as problem:
        return [], str(problem)


def _lines_of(report: VulkanReport) -> Iterator[str]:
    use = "'gpu' is this one" if report.chosen else f"not 'gpu': {report.passed_over}"
    if report.unusable:
        use = f"cannot be used: it {report.unusable}"
    yield f"vulkan:{report.index}: {report.name} ({report.kind}); {use}"
    api = ".".join(map(str, report.api_version))
    yield f"    Vulkan {api}, driver {report.driver or 'unnamed'} (version {report.driver_version:#x})"
    limits = ", ".join(
        f"{name.replace('_', ' ')} {_amount(name, value)}" for name, value in report.limits.items()
    )
    yield f"    limits: {limits}"
    for has, word in ((True, "has"), (False, "has not")):
        found = [name for name, value in report.features.items() if value is has]
        if found:
            yield f"    {word}: {', '.join(found)}"
    for what, how in report.kernels.items():
        yield f"    {what}: {how}"
    for number, kind in enumerate(report.memory):
        yield f"    memory type {number}: {kind.flags}; of a heap of {_size(kind.heap)}"


def _amount(name: str, value: int) -> str:
    return _size(value) if name in _BYTES else f"{value:,}"


def _size(nbytes: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if nbytes >= unit:
            return f"{nbytes / unit:.4g} {name}"
    return f"{nbytes} B"


def pools() -> Iterator[str]:
    """Memory and plans of the devices that this program has opened, and the compiled kernels on disk."""
    for device in devices_.opened():
        counts = device.statistics
        yield f"{device}: {device.pool.summary()}"
        yield (
            f"    {counts.submissions:,} submissions; plans: {counts.plan_misses:,} made, {counts.plan_hits:,} found again; "
            f"recordings: {counts.recordings_made:,} made, {counts.recordings_reused:,} used again"
        )
    for report in _vulkan()[0]:
        kept = f"{_size(report.cached)} in {report.cache}" if report.cached else f"nothing yet in {report.cache}"
        yield f"vulkan:{report.index}: compiled kernels: {kept if report.cache else 'kept nowhere (RASPTORCH_CACHE_DIR=off)'}"


# -- settings ------------------------------------------------------------------------------------------------
def variables() -> Iterator[str]:
    """Every setting with its value, a star where the environment sets it; then what steers the loader."""
    width = max(len(entry.variable) for entry in settings.TABLE)
    for entry in settings.TABLE:
        star = "*" if os.environ.get(entry.variable) else " "
        value = getattr(settings.current, entry.field)
        yield f"{star} {entry.variable:<{width}} = {value!r:<12} {entry.meaning}"
    for name in _LOADER_VARIABLES:
        if os.environ.get(name):
            yield f"* {name:<{width}} = {os.environ[name]}"


# -- what may be wrong ---------------------------------------------------------------------------------------
def doubts() -> list[str]:
    reports, _ = _vulkan()
    found = [
        *copies_of_modules(
            (name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items())
        ),
        *several_installations(),
        *same_names([report.name for report in reports]),
        *(
            f"vulkan:{report.index} ({report.name}) says: {doubt}"
            for report in reports
            for doubt in report.doubts
        ),
    ]
    if reports and all(report.kind == "software" for report in reports):
        found.append(
            "all Vulkan devices are software: they compute on the processor, usually slower than device='cpu'"
        )
    if all(report.kind == "software" for report in reports):
        found += missing_gpu(Path("/"))
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        found.append(f"NumPy {np.__version__} is older than 2.0, the oldest that is supported")
    return found or ["nothing"]


def missing_gpu(root: Path) -> Iterator[str]:
    """Where no GPU is to be used: what this machine lacks for one, and how to get it. ``root`` is that of its file system."""
    nodes = sorted((root / "dev/dri").glob("renderD*")) if (root / "dev/dri").is_dir() else []
    board = root / "proc/device-tree/model"
    model = board.read_text("utf-8", "replace").strip("\0 \n") if board.is_file() else ""
    if (root / "proc/driver/nvidia").is_dir():
        yield "an NVIDIA driver is loaded, but its Vulkan part is not found: install it (Debian: `apt install nvidia-vulkan-icd`)"
    elif not nodes:
        yield (
            "there is no GPU here (no /dev/dri/renderD*)"
            + (f", although this is a {model}: enable its driver (config.txt: dtoverlay=vc4-kms-v3d)" if "Raspberry" in model else "")
            + "; a container needs to be given it: `docker run --device /dev/dri ...`"
        )
    for node in nodes:
        if not os.access(node, os.R_OK | os.W_OK):
            yield f"/{node.relative_to(root)} may not be opened: `sudo usermod -aG render $USER`, then log in again"
        else:
            yield (
                f"/{node.relative_to(root)} is there, but no Vulkan driver for it: `apt install mesa-vulkan-drivers` "
                "(Raspberry Pi 4 and 5, AMD, Intel), or the maker's driver"
            )


def copies_of_modules(loaded: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    """Modules of ours that are loaded from one file under two names, or under one name from two places.

    ``loaded`` are names and files. A second copy has its own device table and its own dtypes: comparisons
    fail for no visible reason.
    """
    home = os.path.realpath(os.path.dirname(os.path.abspath(__file__)))
    ours = (
        home,
        os.path.realpath(os.path.join(home, "runtime")),
        os.path.realpath(os.path.join(home, "shaders")),
    )
    names: dict[str, list[str]] = {}
    for name, path in loaded:
        if name == "__main__" or not path:
            continue
        real = os.path.realpath(path)
        if real.startswith(tuple(folder + os.sep for folder in ours)):
            names.setdefault(real, []).append(name)
        elif name == "rasptorch" or name.startswith("rasptorch."):
            yield f"{name} is loaded from {path}, which is not part of the copy in {home}"
    for real, both in names.items():
        if len(both) > 1:
            yield f"{real} is loaded {len(both)} times, as {' and '.join(sorted(both))}"


def several_installations() -> Iterator[str]:
    """More than one copy of the library that ``import rasptorch`` could find."""
    found = list(
        dict.fromkeys(
            os.path.realpath(os.path.join(entry or ".", "rasptorch"))
            for entry in sys.path
            if os.path.isfile(os.path.join(entry or ".", "rasptorch", "__init__.py"))
        )
    )
    if len(found) > 1:
        places = ", ".join(found)
        yield f"there are {len(found)} copies of rasptorch on sys.path, the first one counts: {places}"
    installed = {str(d.locate_file("")) for d in metadata.distributions(name="rasptorch")}
    if len(installed) > 1:
        yield f"rasptorch is installed {len(installed)} times: {', '.join(sorted(installed))}"


def same_names(names: Sequence[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            which = ", ".join(f"vulkan:{k}" for k, other in enumerate(names) if other == name)
            yield (
                f"{count} devices are called {name!r} ({which}): choose by number, "
                "RASPTORCH_DEVICE by name takes the first"
            )
