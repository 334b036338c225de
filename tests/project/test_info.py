"""``python -m rasptorch info``, here and on machines that lack something."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import rasptorch as rt
from rasptorch import __main__ as front
from rasptorch import info
from rasptorch.runtime import device as devices
from rasptorch.runtime import settings

from .tree import ROOT


def run(*arguments: str, path: Sequence[Path] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    """Python with ``path`` in front of everything else, at the root of the checkout."""
    environment = {"PYTHONPATH": ":".join(map(str, (*path, ROOT))), **variables}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def no_loader(tmp_path: Path) -> Path:
    """A folder with a `vulkan` package that fails as the real one does where there is no loader."""
    package = tmp_path / "vulkan"
    package.mkdir()
    (package / "__init__.py").write_text("from vulkan._vulkan import *\n", "utf-8")
    (package / "_vulkan.py").write_text("raise OSError('cannot load library libvulkan.so.1')\n", "utf-8")
    return tmp_path


def section(text: str, title: str) -> list[str]:
    found = re.search(rf"^{title}\n((?:  .*\n?)+)", text, re.MULTILINE)
    assert found is not None, text
    return [line.strip() for line in found[1].splitlines()]


def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["info"]) == 0
    text = capsys.readouterr().out
    assert section(text, "Versions")[0].startswith(f"rasptorch {rt.__version__} ")
    assert any(line.startswith("cpu: ") for line in section(text, "Devices"))
    for entry in settings.TABLE:
        assert (
            sum(
                f" {entry.variable} " in f" {line}"
                for line in section(text, "Environment variables in force")
            )
            == 1
        )
    assert section(text, "Things to look at")


def test_every_vulkan_device_is_told_of(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    front.main(["info"])
    lines = section(capsys.readouterr().out, "Devices")
    opened = rt.device(device)
    assert any(line.startswith(f"{opened.name}: {opened.driver.traits.name}") for line in lines)
    reports = devices.vulkan_devices()
    assert sum(report.chosen for report in reports) == 1
    assert [report.passed_over == "" for report in reports] == [report.chosen for report in reports]
    for report in reports:
        assert report.limits["storage_buffers"] >= 4 and report.memory and report.doubts == ()
        assert report.features["timeline semaphores"]
    assert sum("'gpu' is this one" in line for line in lines) == 1


def test_the_wish_for_a_device_is_explained() -> None:
    reports = devices.vulkan_devices()
    last = len(reports) - 1
    with settings.override(device=str(last)):
        wished = devices.vulkan_devices()
    assert wished[last].chosen
    assert all(f"asks for vulkan:{last}" in report.passed_over for report in wished[:last])
    with settings.override(device="no such device"):
        assert all("matches no Vulkan device" in report.passed_over for report in devices.vulkan_devices())
        assert any("'gpu' has no device to use" in line for line in info.devices())


def test_variables_of_the_environment_have_a_star(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RASPTORCH_STAGING", "auto")
    monkeypatch.delenv("RASPTORCH_MATMUL", raising=False)
    monkeypatch.setenv("VK_INSTANCE_LAYERS", "some layer")
    lines = list(info.variables())
    assert [line[0] for line in lines if "RASPTORCH_STAGING" in line or "RASPTORCH_MATMUL" in line] == [
        "*",
        " ",
    ]
    assert any("VK_INSTANCE_LAYERS" in line and "some layer" in line for line in lines)


def test_without_a_loader(no_loader: Path) -> None:
    done = run("-m", "rasptorch", "info", path=[no_loader])
    assert done.returncode == 0, done.stderr
    lines = section(done.stdout, "Devices")
    assert len(lines) == 2 and lines[0].startswith("cpu: ")
    assert "no Vulkan loader" in lines[1] and "apt install libvulkan1" in lines[1]


def test_without_a_driver() -> None:
    done = run("-m", "rasptorch", "info", VK_DRIVER_FILES="nothing.json", VK_ICD_FILENAMES="nothing.json")
    assert done.returncode == 0, done.stderr
    assert "found no driver" in section(done.stdout, "Devices")[1]


def test_without_a_command() -> None:
    done = run("-m", "rasptorch")
    assert done.returncode == 2 and "info" in done.stderr


MISSING = """
import rasptorch as rt
assert rt.devices() == ["cpu"]
assert float((rt.ones(3) * 2).sum()) == 6
try:
    rt.ones(3, device="gpu")
except rt.MissingDeviceError as problem:
    print(problem)
"""


def test_the_library_works_without_a_loader(no_loader: Path) -> None:
    done = run("-c", MISSING, path=[no_loader])
    assert done.returncode == 0, done.stderr
    assert "apt install libvulkan1" in done.stdout and "device='cpu'" in done.stdout


def test_two_copies_of_a_module_are_seen() -> None:
    home = Path(info.__file__).parent
    engine = str((home / "runtime" / "stream.py").resolve())
    loaded = [("rasptorch.runtime.stream", engine), ("math", None), ("json", "elsewhere/json.py")]
    assert list(info.copies_of_modules(loaded)) == []
    (twice,) = info.copies_of_modules([*loaded, ("runtime.stream", engine)])
    assert "loaded 2 times, as rasptorch.runtime.stream and runtime.stream" in twice
    (strange,) = info.copies_of_modules([*loaded, ("rasptorch.tensor", "elsewhere/rasptorch/tensor.py")])
    assert "rasptorch.tensor is loaded from elsewhere" in strange


def test_several_installations_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "rasptorch"
    copy.mkdir()
    (copy / "__init__.py").write_text("", "utf-8")
    monkeypatch.setattr(sys, "path", [str(ROOT)])
    before = list(info.several_installations())
    monkeypatch.setattr(sys, "path", [str(ROOT), str(tmp_path)])
    found = set(info.several_installations()) - set(before)
    assert len(found) == 1 and "2 copies of rasptorch" in found.pop()


def test_devices_of_one_name_are_seen() -> None:
    assert list(info.same_names(["a", "b"])) == []
    (said,) = info.same_names(["a", "b", "a"])
    assert "2 devices are called 'a' (vulkan:0, vulkan:2)" in said


def test_a_driver_that_lies_is_seen() -> None:
    from dataclasses import replace

    from rasptorch.runtime.vulkan.physical import all_devices
    from rasptorch.runtime.vulkan.report import MemoryType, _doubts

    real = all_devices()[0]
    lying = replace(
        real, limits=real.limits | {"shared_memory": 100, "storage_alignment": 48, "uniform_alignment": 512}
    )
    said = "; ".join(_doubts(lying, (MemoryType("cached", 0),)))
    assert "shared_memory is 100" in said and "storage_alignment is 48, which is no power of two" in said
    assert "uniform_alignment is 512, Vulkan allows at most 256" in said and "it has no memory" in said


def test_which_kernels_follow_from_the_features() -> None:
    from dataclasses import replace

    from rasptorch.runtime.vulkan.physical import all_devices
    from rasptorch.runtime.vulkan.report import selected

    real = all_devices()[0]
    small = replace(real, kind="integrated", storage8=False, storage16=False, int64=False, float64=False)
    assert selected(small)["matmul"] == "wide" and selected(small)["int64"] == "stored only"
    assert selected(small)["bool and uint8"] == selected(small)["float16 and bfloat16"] == "whole words and atomic operations"
    assert selected(replace(real, kind="discrete"))["matmul"].startswith("tiled")
    with settings.override(matmul="vector"):
        assert selected(real)["matmul"] == "vector, as RASPTORCH_MATMUL says"


def test_the_report_for_programs() -> None:
    done = run("-m", "rasptorch", "info", "--json", RASPTORCH_FUSE="0")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["versions"]["rasptorch"] == rt.__version__ and found["set"] == ["RASPTORCH_FUSE"]
    assert found["settings"]["RASPTORCH_FUSE"] is False and len(found["settings"]) == len(settings.TABLE)
    assert found["vulkan"] and all(device["kernels"]["matmul"] and device["limits"] for device in found["vulkan"])
    assert found["pools"]["cpu"]["submissions"] == 0


def test_pools_and_caches_of_a_program_that_runs(tmp_path: Path) -> None:
    rt.ones(1000).sum().item()
    lines = list(info.pools())
    assert any(line.startswith("cpu: ") and "bytes in use" in line and "peak" in line for line in lines)
    assert any("plans: " in line for line in lines)
    with settings.override(cache_dir="off"):
        assert any("kept nowhere" in line for line in info.pools())
    with settings.override(cache_dir=str(tmp_path)):
        assert any(f"nothing yet in {tmp_path}" in line for line in info.pools())


def test_what_is_missing_for_a_gpu(tmp_path: Path) -> None:
    assert [line.split(" (")[0] for line in info.missing_gpu(tmp_path)] == ["there is no GPU here"]
    board = tmp_path / "proc/device-tree/model"
    board.parent.mkdir(parents=True)
    board.write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    assert "although this is a Raspberry Pi 5 Model B Rev 1.0: enable" in next(info.missing_gpu(tmp_path))
    (tmp_path / "dev/dri").mkdir(parents=True)
    (tmp_path / "dev/dri/renderD128").touch()
    assert ["/dev/dri/renderD128 is there" in line for line in info.missing_gpu(tmp_path)] == [True]
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    assert "nvidia-vulkan-icd" in next(info.missing_gpu(tmp_path))
