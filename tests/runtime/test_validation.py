"""The validation layers, set up as tools/test.sh sets them up, do see a barrier that is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from tests.support import drivers

drivers.choose_drivers(())
import rasptorch as rt
from rasptorch.runtime.vulkan import loader
from rasptorch.runtime.vulkan.recording import VulkanRecording

if sys.argv[1] == "without":
    VulkanRecording._barrier = lambda self: None
device = drivers.device_name("lavapipe")
x = rt.ones(64, 64, device=device)
work = {
    "storage buffers": lambda: x.sum(1).softmax(0).sum().item(),
    "texel buffers": lambda: ((x @ x) @ x)[0, 0].item(),
}[sys.argv[2]]
work()
assert rt.statistics(device).dispatches >= 2, "nothing depends on anything"
print("\\n".join(loader.validation_messages))
"""


def messages(barriers: str, work: str) -> str:
    environment = dict(os.environ)
    environment.update(
        VK_INSTANCE_LAYERS="VK_LAYER_KHRONOS_validation",
        VK_LAYER_ENABLES="VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT",
        VK_KHRONOS_VALIDATION_VALIDATE_SYNC="true",
        RASPTORCH_CHECK="0",
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, barriers, work], env=environment, cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.drivers("lavapipe")
@pytest.mark.parametrize("work", ["storage buffers", "texel buffers"])
def test_a_missing_barrier_is_seen(device: str, work: str) -> None:
    assert "SYNC-HAZARD" in messages("without", work)


@pytest.mark.drivers("lavapipe")
@pytest.mark.parametrize("work", ["storage buffers", "texel buffers"])
def test_with_its_barriers_nothing_is_seen(device: str, work: str) -> None:
    assert messages("with", work) == ""
