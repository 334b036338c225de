"""The import direction of the design (section 7), read from the source: nothing is imported to check it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import permutations

import pytest

from .imports import Import, imports
from .tree import PACKAGE_FOLDERS, module_name, none_of, parsed, python_files

# From the bottom up: a module imports from its own layer and from those before it in this table, whether at
# import or inside a function; `if TYPE_CHECKING:` is free. Names are relative to `rasptorch`. "x" is the
# module x itself (for a package, its __init__.py), "x.*" everything inside. The closest entry counts.
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("shaders", ("shaders", "shaders.*")),
    (
        "words of the engine and the driver protocol",
        (
            "runtime",
            "runtime.errors",
            "runtime.interrupts",
            "runtime.settings",
            "runtime.dtype",
            "runtime.layout",
            "runtime.opcodes",
            "runtime.division",
            "runtime.statistics",
            "runtime.storage",
            "runtime.kernel",
            "runtime.command",
            "runtime.buffer",
            "runtime.hazards",
            "runtime.driver",
        ),
    ),
    (
        "parts of the engine",
        (
            "runtime.plan",
            "runtime.plan.*",
            "runtime.batch",
            "runtime.pool",
            "runtime.staging",
            "runtime.observers",
            "runtime.trace",
            "runtime.trace_clock",
            "runtime.kernel_labels",
            "runtime.debug_print",
        ),
    ),
    (
        "drivers",
        (
            "runtime.host",
            "runtime.host.*",
            "runtime.vulkan",
            "runtime.vulkan.*",
            "runtime.checked_driver",
        ),
    ),
    ("streams, fences and waiting", ("runtime.stream", "runtime.capture", "runtime.fence", "runtime.sharing", "runtime.waiting")),
    ("devices and readbacks", ("runtime.device", "runtime.readback", "runtime.manual_driver")),
    ("autograd", ("autograd.*",)),
    # autograd/__init__.py gathers what users name; the others of its modules here compute with tensors.
    (
        "tensors",
        (
            "tensor", "tensor.*", "printing", "ops", "ops.*", "autograd", "autograd.function", "autograd.gradcheck", "autograd.gradients",
            "autograd.functional",
        ),
    ),
    ("what is built on tensors", ("*",)),
    ("data and files", ("data", "data.*", "io", "io.*")),
    ("training", ("train", "train.*")),
    ("the front", ("", "__main__")),
)

DRIVERS = ("rasptorch.runtime.host", "rasptorch.runtime.vulkan")


@cache
def modules() -> dict[str, str]:
    """Import name to file, of everything that is shipped."""
    return {module_name(name): name for name in python_files(*PACKAGE_FOLDERS)}


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    name = modules()[module]
    return tuple(imports(parsed(name), module, name.endswith("/__init__.py"), modules().keys()))


def layer_of(module: str) -> int | None:
    """Index into LAYERS; None for a module of the engine or the shaders that the table does not name."""
    places = {entry: index for index, (_, entries) in enumerate(LAYERS) for entry in entries}
    name = module.removeprefix("rasptorch").removeprefix(".")
    if name in places:
        return places[name]
    parents = name.split(".")[:-1]
    for length in range(len(parents), 0, -1):
        found = places.get(".".join(parents[:length]) + ".*")
        if found is not None:
            return found
    return None if name.startswith("runtime.") else places["*"]


def place(module: str, found: Import) -> str:
    return f"{modules()[module]}:{found.line} imports {found.module}"


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def ours(module: str) -> Iterator[Import]:
    return (found for found in imports_of(module) if found.is_of("rasptorch"))


def test_every_module_of_the_engine_is_in_the_table() -> None:
    assert modules(), "no Python file was found"
    missing = [module for module in modules() if layer_of(module) is None]
    none_of(missing, "modules of the engine for which LAYERS in this file has no place")


def test_imports_go_down() -> None:
    upward = []
    for module in modules():
        own = layer_of(module)
        for found in ours(module):
            other = layer_of(found.module)
            if own is not None and other is not None and other > own:
                upward.append(f"{place(module, found)}: {LAYERS[own][0]!r} is below {LAYERS[other][0]!r}")
    none_of(upward, "imports that go up")


def test_drivers_do_not_know_each_other() -> None:
    pairs = list(permutations(DRIVERS, 2))
    meetings = [
        place(module, found)
        for module in modules()
        for one, other in pairs
        if is_inside(module, one)
        for found in imports_of(module)
        if found.is_of(other)
    ]
    none_of(meetings, "drivers that import each other")


def test_only_the_engine_sees_its_drivers() -> None:
    seen = [
        place(module, found)
        for module in modules()
        if not is_inside(module, "rasptorch.runtime")
        for found in imports_of(module)
        if any(found.is_of(driver) for driver in DRIVERS)
    ]
    none_of(seen, "imports of a driver from outside of the engine")


def test_the_engine_sees_no_tensors() -> None:
    inside = [module for module in modules() if is_inside(module, "rasptorch.runtime")]
    assert inside, "no module of the engine was found"
    outward = [
        place(module, found)
        for module in inside
        for found in ours(module)
        if not found.is_of("rasptorch.runtime") and not found.is_of("rasptorch.shaders")
    ]
    none_of(outward, "imports from the engine to what is built on it")


def importers_of(package: str, *folders: str) -> set[str]:
    """Files below ``folders`` that import a module of ``package``."""
    return {
        name
        for name in python_files(*folders)
        for found in imports(parsed(name), module_name(name), name.endswith("/__init__.py"))
        if found.is_of(package)
    }


def test_only_the_vulkan_driver_imports_vulkan() -> None:
    files = importers_of("vulkan", *PACKAGE_FOLDERS, "examples", "tools")
    none_of(
        (f for f in files if not f.startswith("runtime/vulkan/")), "importers of vulkan outside of its driver"
    )


def test_only_waiting_imports_trio_in_the_engine() -> None:
    none_of(importers_of("trio", "runtime") - {"runtime/waiting.py"}, "importers of trio in the engine")


@pytest.mark.parametrize("folder", ["runtime", "shaders"])
def test_packages_go_by_their_full_name(folder: str) -> None:
    """``import runtime`` works in a checkout and loads a second copy of the engine."""
    none_of(importers_of(folder), f"files that import {folder}, not rasptorch.{folder}")


def test_the_engine_has_no_import_cycle() -> None:
    inside = {module for module in modules() if module.startswith("rasptorch.runtime.")}
    graph = {
        module: {found.module for found in ours(module) if found.early} & inside - {module}
        for module in inside
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))


SAMPLE = """
import typing
from typing import TYPE_CHECKING
from . import pool
from .plan import fuse as f, Plan
from ..tensor import Tensor
if TYPE_CHECKING:
    import trio
elif typing.TYPE_CHECKING:
    import vulkan
else:
    import late
def g():
    import vulkan._vulkan
    importlib.import_module("math")
"""


def test_the_reader_of_imports() -> None:
    known = {"rasptorch.runtime.pool", "rasptorch.runtime.plan.fuse"}
    found = list(imports(ast.parse(SAMPLE), "rasptorch.runtime.stream", False, known))
    assert [(i.module, i.early) for i in found if i.module != "typing"] == [
        ("rasptorch.runtime.pool", True),
        ("rasptorch.runtime.plan.fuse", True),
        ("rasptorch.runtime.plan", True),
        ("rasptorch.tensor", True),
        ("late", True),
        ("vulkan._vulkan", False),
        ("math", False),
    ]


def test_layers_are_found_by_the_closest_entry() -> None:
    names = {
        "rasptorch": "the front",
        "rasptorch.nn.linear": "what is built on tensors",
        "rasptorch.data.loader": "data and files",
        "rasptorch.train": "training",
        "rasptorch.autograd.tape": "autograd",
        "rasptorch.autograd.gradcheck": "tensors",
        "rasptorch.runtime.plan.fuse": "parts of the engine",
        "rasptorch.shaders.manifest": "shaders",
    }
    for module, layer in names.items():
        index = layer_of(module)
        assert index is not None and LAYERS[index][0] == layer
    assert layer_of("rasptorch.runtime.surprise") is None
