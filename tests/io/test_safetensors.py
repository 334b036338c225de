"""safetensors files, against the library's own readers and writers for PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import trio

import rasptorch as rt
from rasptorch.io import safetensors as files
from tests.io.test_checkpoint import DTYPES, bits

SOURCE = torch.tensor([[0.0, 1.0, 2.5], [-3.0, 100.0, float("inf")]])


def of_torch(dtype: str) -> torch.Tensor:
    source = SOURCE if "float" in dtype else SOURCE.nan_to_num(posinf=9).abs()
    return source.to(getattr(torch, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_read_what_pytorch_wrote(dtype: str, device: str, tmp_path: Path) -> None:
    source = of_torch(dtype)
    safetensors.torch.save_file({"a": source, "b.c": source[1].clone(), "none": source[:0].clone()}, tmp_path / "f", {"k": "v"})
    found = files.load_file(tmp_path / "f", device=device)
    assert set(found) == {"a", "b.c", "none"} and found["none"].shape == (0, 3)
    assert found["a"].dtype.name == dtype and str(found["a"].device) == device
    assert bits(found["a"]) == source.view(torch.uint8).numpy().tobytes()
    assert bits(found["b.c"]) == source[1].view(torch.uint8).numpy().tobytes()
    assert files.load_metadata(tmp_path / "f") == {"k": "v"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_pytorch_reads_what_we_wrote(dtype: str, device: str, tmp_path: Path) -> None:
    source = of_torch(dtype)
    x = rt.tensor(source.float().numpy(), dtype=dtype, device=device)
    files.save_file({"a": x, "turned": x.T}, tmp_path / "f", {"k": "v"})
    found = safetensors.torch.load_file(tmp_path / "f")
    assert found["a"].dtype is source.dtype and torch.equal(found["a"], source) and torch.equal(found["turned"], source.T)
    assert files.load_metadata(tmp_path / "f") == {"k": "v"}
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int16, torch.uint16])
def test_unknown_dtypes_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    safetensors.torch.save_file({"odd": torch.zeros(2).to(dtype)}, tmp_path / "f")
    with pytest.raises(rt.DTypeError, match=r"f: odd is of \w+; there are BOOL, U8"):
        files.load_file(tmp_path / "f")


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: b"", lambda c: c[:4], lambda c: b"\xff" * 8 + c[8:], lambda c: c + b"x"])
def test_files_that_are_wrong(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "f"
    files.save_file({"a": rt.ones(5)}, path)
    path.write_bytes(change(path.read_bytes()))
    for read in (files.load_file, files.load_metadata):
        with pytest.raises(files.SafetensorsError, match=str(path)):
            read(path)


def test_only_tensors(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="'a' is a list"):
        files.save_file({"a": [1]}, tmp_path / "f")  # type: ignore[dict-item]


@pytest.mark.trio
async def test_under_trio(tmp_path: Path) -> None:
    x = rt.arange(3)
    saving = files.save_file({"x": x}, tmp_path / "f")
    x.mul_(5)
    with trio.fail_after(20):
        await saving
    assert safetensors.torch.load_file(tmp_path / "f")["x"].tolist() == [0, 1, 2]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install 'rasptorch\[safetensors\]'"):
        files.load_file(tmp_path / "f")
