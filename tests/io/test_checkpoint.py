"""`rt.save` and `rt.load`: every dtype bit for bit, all of a training's state, and files that are wrong."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

import rasptorch as rt
from rasptorch import nn
from rasptorch.io import CheckpointError, checkpoint
from rasptorch.io.atomic import replacing
from rasptorch.runtime import readback as readback_module
from tests.support.manual import PATIENCE, Manual, manual, started

__all__ = ["manual"]
DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "uint8", "bool")
VALUES = {
    "bool": [0, 1, 1, 0, 1, 0, 0, 1],
    "uint8": [0, 255, 1, 2, 3, 4, 5, 6],
    "int32": [0, -1, 7, -(2**31), 2**31 - 1, 5, 6, 8],
    "int64": [0, 2**53 + 1, -(2**63), 2**63 - 1, -1, 5, 6, 8],
}
SPECIAL = [0.0, -0.0, 1.0, float("inf"), -float("inf"), float("nan"), 1e-40, 3.14159]


def bits(x: rt.Tensor) -> bytes:
    from rasptorch.ops.transfer import readback_bytes

    return readback_bytes(x).wait().tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_bit_for_bit(dtype: str, device: str, tmp_path: Path) -> None:
    x = rt.tensor(np.array(VALUES.get(dtype, SPECIAL)).reshape(2, 4), dtype=dtype, device=device)
    rt.save({"x": x, "turned": x.T, "part": x[1], "empty": x[:0], "one": x[0, 2]}, tmp_path / "f")
    found = rt.load(tmp_path / "f")
    for name, source in (("x", x), ("turned", x.T), ("part", x[1]), ("empty", x[:0]), ("one", x[0, 2])):
        y = found[name]
        assert y.dtype is x.dtype and y.shape == source.shape and str(y.device) == device
        assert bits(y) == bits(source)


def test_values_of_all_kinds(tmp_path: Path) -> None:
    value = {
        "numbers": [1, -(2**70), 2.5, 1e-300, True, None, "text \u2713"],
        "odd": (float("inf"), -float("inf"), 0.1 + 0.2, -0.0),
        3: {(1, "a"): rt.float16, "device": rt.device("cpu")},
        "array": np.arange(6, dtype=">i2").reshape(2, 3),
        "number": np.float64(0.1),
        "empty": [[], (), {}],
    }
    rt.save(value, tmp_path / "f")
    found = rt.load(tmp_path / "f")
    assert (found.pop("array") == value.pop("array")).all()
    assert found == value and isinstance(found["odd"], tuple) and str(found["odd"][3]) == "-0.0"
    assert list(found) == ["numbers", "odd", 3, "number", "empty"]
    rt.save([float("nan")], tmp_path / "f")
    assert str(rt.load(tmp_path / "f")) == "[nan]"


def test_sharing_and_gradients_are_kept(tmp_path: Path) -> None:
    w = rt.ones(2, requires_grad=True)
    rt.save([w, w, w.detach(), rt.ones(2)], tmp_path / "f")
    a, b, c, d = rt.load(tmp_path / "f")
    assert a is b and a.requires_grad and not c.requires_grad and d is not c


def test_a_model_and_its_optimizer(device: str, tmp_path: Path) -> None:
    def made() -> tuple[nn.Module, rt.optim.Optimizer]:
        model = nn.Sequential(nn.Linear(3, 4, device=device), nn.Tanh(), nn.Linear(4, 1, device=device))
        return model, rt.optim.Adam(model.parameters(), lr=0.1)

    def steps(model: nn.Module, optimizer: rt.optim.Optimizer) -> bytes:
        for k in range(3):
            optimizer.zero_grad()
            model(rt.full((5, 3), k, dtype=rt.float32, device=device)).sum().backward()
            optimizer.step()
        return b"".join(bits(p.detach()) for p in model.parameters())

    one, other = made(), made()
    steps(*one)
    rt.save({"model": one[0].state_dict(), "optimizer": one[1].state_dict()}, tmp_path / "f")
    found = rt.load(tmp_path / "f", device=device)
    other[0].load_state_dict(found["model"])
    other[1].load_state_dict(found["optimizer"])
    assert steps(*one) == steps(*other)


def test_other_devices(tmp_path: Path) -> None:
    rt.save({"x": rt.ones(2)}, tmp_path / "f")
    assert str(rt.load(tmp_path / "f", device="cpu")["x"].device) == "cpu"
    saved = checkpoint.Saving({"x": rt.ones(2)})
    saved._blobs[0].about["device"] = "vulkan:99"
    saved.write(tmp_path / "f")
    with pytest.raises(rt.MissingDeviceError) as caught:
        rt.load(tmp_path / "f")
    assert "was saved from vulkan:99; load(path, device=...)" in caught.value.__notes__[0]
    assert rt.load(tmp_path / "f", device="cpu")["x"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [1, object()]}, r"\['a'\]\[1\] is a object"),
        (nn.Linear(1, 1), r"the object is a Linear; .*; save its state_dict\(\)"),
        ([np.array(["x"])], "an array of <U1"),
        ({"f": print}, r"\['f'\] is a builtin_function_or_method"),
    ],
)
def test_what_cannot_be_saved_is_named(value: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=said):
        rt.save(value, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


# -- files that are wrong -----------------------------------------------------------------------------------------
def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    rt.save({"x": rt.arange(100), "y": [1, 2]}, path)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError) as caught:
            rt.load(path)
        assert str(caught.value).startswith(str(path))
    path.write_bytes(content + b"x")
    with pytest.raises(CheckpointError, match=f"has {len(content) + 1} bytes instead of {len(content)}"):
        rt.load(path)


def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    """Or lies in the padding, and the values are the same."""
    path = tmp_path / "f"
    rt.save({"x": rt.arange(40), "y": [1, 2]}, path)
    content = path.read_bytes()
    unnoticed = 0
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        try:
            found = rt.load(path)
        except CheckpointError:
            continue
        unnoticed += 1
        assert found["x"].tolist() == list(range(40)) and found["y"] == [1, 2]
    assert unnoticed < 2 * 64


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for content in (b"", b"hello", pickle.dumps({"x": 1}), os.urandom(5000)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"f is not a file that rasptorch\.save wrote"):
            rt.load(path)
    with pytest.raises(FileNotFoundError):
        rt.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("tree", "blobs"),
    [
        ({"code": "print"}, []),
        ({"list": 3}, []),
        ({"tensor": 0}, []),
        ({"tensor": 0}, [{"kind": "array"}]),
        ({"dtype": "complex64"}, []),
        ([1], []),
        ({"dict": [[{"list": []}, 1]]}, []),
        ({"tensor": 0}, [{"kind": "tensor", "offset": -500, "nbytes": 4, "crc32": 0}]),
        ({"array": 0}, [{"kind": "array", "dtype": "|O", "shape": [0], "offset": 0, "nbytes": 0, "crc32": 0}]),
        ({"tensor": 0}, [{"kind": "tensor", "dtype": "float32", "shape": [3], "offset": 0, "nbytes": 0, "crc32": 0, "device": "cpu"}]),
    ],
)
def test_headers_that_make_no_sense(tree: Any, blobs: Any, tmp_path: Path) -> None:
    import zlib

    header = json.dumps({"tree": tree, "blobs": blobs}).encode()
    start = checkpoint._aligned(32 + len(header))
    path = tmp_path / "f"
    fixed = checkpoint._FIXED.pack(checkpoint.MAGIC, 1, zlib.crc32(header), len(header), start)
    path.write_bytes((fixed + header).ljust(start, b"\0"))
    with pytest.raises(CheckpointError):
        rt.load(path)


def test_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(checkpoint._FIXED.pack(checkpoint.MAGIC, 2, 0, 0, 32))
    with pytest.raises(CheckpointError, match="version 2 of the format; this library reads version 1"):
        rt.load(tmp_path / "f")


# -- atomic -------------------------------------------------------------------------------------------------------
def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"half")
        file.flush()
        _ = 1 / 0
    assert path.read_bytes() == b"before" and [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_killed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"before")
    code = (
        "import os, signal, sys\nfrom rasptorch.io.atomic import replacing\n"
        "with replacing(sys.argv[1]) as file:\n    file.write(b'much longer than after')\n    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 2
    with replacing(path) as file:  # what the killed one has left is used again
        file.write(b"after")
    assert path.read_bytes() == b"after" and [p.name for p in tmp_path.iterdir()] == ["f"]


def test_savers_of_one_path_take_turns(tmp_path: Path) -> None:
    path, inside = tmp_path / "f", threading.Event()

    def second() -> None:
        with replacing(path) as file:
            inside.set()
            file.write(b"second")

    with replacing(path) as file:
        other = started(second)
        file.write(b"first")
        assert not inside.wait(0.05)
    other.result(PATIENCE)
    assert path.read_bytes() == b"second" and [p.name for p in tmp_path.iterdir()] == ["f"]


# -- waiting ------------------------------------------------------------------------------------------------------
def test_a_snapshot_only_enqueues_and_is_of_now(manual: Manual, tmp_path: Path) -> None:
    device, driver = manual
    x = rt.arange(5, device=device)
    with rt.forbid_waiting():
        saving = checkpoint.Saving({"x": x})
        x.mul_(100)
        device.default_stream.flush()
    writing = started(lambda: saving.write(tmp_path / "f"))
    driver.until_waiting(1)
    assert not writing.done()
    driver.finish_all()
    writing.result(PATIENCE)
    assert rt.load(tmp_path / "f", device="cpu")["x"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.trio
async def test_under_trio(device: str, tmp_path: Path) -> None:
    x = rt.arange(5, dtype=rt.float32, device=device)
    saving = rt.save({"x": x}, tmp_path / "f")
    x.mul_(100)
    with trio.fail_after(PATIENCE):
        await saving
    assert (await rt.load(tmp_path / "f")["x"].numpy()).tolist() == [0, 1, 2, 3, 4]


def test_a_value_moved_aside_while_it_is_taken(manual: Manual, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the end of a wait and the copying of the value, another thread may overwrite the tensor."""
    device, driver = manual
    driver.automatic = True
    x = rt.arange(5, device=device)
    readback = x.readback()
    plain, overwritten = readback_module.wait_blocking, []

    def wait(fence: rt.Fence, timeout: float | None = None) -> None:
        plain(fence, timeout)
        if not overwritten:
            overwritten.append(x.add_(1))

    monkeypatch.setattr(readback_module, "wait_blocking", wait)
    assert readback.wait().tolist() == [0, 1, 2, 3, 4]
    assert x.tolist() == [1, 2, 3, 4, 5]
