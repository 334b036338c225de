"""Readers: what is in the files, and errors that name the file and the byte."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rasptorch import data

PIXELS = 3072


def idx(array: Any, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


# -- IDX ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("kind", "dtype"), [(8, ">u1"), (9, ">i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")], ids=str
)
def test_idx(tmp_path: Path, packed: bool, kind: int, dtype: str) -> None:
    array = np.arange(-3, 9).reshape(3, 4).astype(dtype)
    content = idx(array, kind)
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(content) if packed else content)
    found = data.read_idx(path)
    assert found.dtype == np.dtype(dtype).newbyteorder("=") and (found == array).all()


@pytest.mark.parametrize(
    ("change", "offset", "said"),
    [
        (lambda c: c[:-2], 22, "the file ends early"),
        (lambda c: c + b"x", 24, "there is more after the values"),
        (lambda c: b"\1" + c[1:], 0, "begins with two zero bytes"),
        (lambda c: c[:2] + b"\7" + c[3:], 2, "type 0x07"),
        (lambda c: c[:9], 9, "ends inside its 2 dimensions"),
        (lambda c: b"", 0, "begins with two zero bytes"),
        (lambda c: b"\0\0\x08\x03" + b"\xff" * 12, 16, "the file ends early"),
    ],
)
def test_idx_that_is_wrong(tmp_path: Path, change: Any, offset: int, said: str) -> None:
    path = tmp_path / "wrong"
    path.write_bytes(change(idx(np.zeros((3, 4), np.uint8))))
    with pytest.raises(data.DataFormatError, match=said) as caught:
        data.read_idx(path)
    assert caught.value.offset == offset and caught.value.path == str(path)
    assert str(caught.value).startswith(f"{path}, at byte {offset}: ")


def test_idx_cut_inside_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx(np.random.default_rng(0).integers(0, 255, (100, 100)).astype(np.uint8)))[:5000])
    with pytest.raises(data.DataFormatError, match="cannot be unpacked any further"):
        data.read_idx(path)


def test_mnist(tmp_path: Path) -> None:
    images = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.array([7, 1], np.uint8))))
    ds = data.MNIST(tmp_path, train=False)
    image, label = ds[1]
    assert len(ds) == 2 and (image == images[1:2]).all() and image.shape == (1, 4, 5) and label == 1 and label.dtype == np.int64
    assert data.FashionMNIST(tmp_path, train=False)[0][1] == 7
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte, train-images-idx3-ubyte.gz"):
        data.MNIST(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.array([7], np.uint8)))
    with pytest.raises(data.DataFormatError, match="1 labels for 2 images"):
        data.MNIST(tmp_path, train=False)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(images))
    with pytest.raises(data.DataFormatError, match="expected uint8 of 1 dimensions, got uint8 of 3"):
        data.MNIST(tmp_path, train=False)


# -- CIFAR --------------------------------------------------------------------------------------------------------
def records(labels: list[tuple[int, ...]]) -> bytes:
    return b"".join(bytes(label) + bytes([k] * PIXELS) for k, label in enumerate(labels))


def test_cifar10(tmp_path: Path) -> None:
    for k in range(1, 6):
        (tmp_path / f"data_batch_{k}.bin").write_bytes(records([(k,), (9,)]))
    (tmp_path / "test_batch.bin").write_bytes(records([(0,)]))
    train = data.CIFAR10(tmp_path)
    assert len(train) == 10 and [int(train[k][1]) for k in range(0, 10, 2)] == [1, 2, 3, 4, 5]
    assert train[1][0].shape == (3, 32, 32) and (train[1][0] == 1).all()
    assert len(data.CIFAR10(tmp_path, train=False)) == 1


def test_cifar100(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(records([(19, 99), (3, 4)]))
    assert [int(label) for _, label in (data.CIFAR100(tmp_path)[k] for k in range(2))] == [99, 4]
    assert int(data.CIFAR100(tmp_path, coarse=True)[0][1]) == 19


@pytest.mark.parametrize(
    ("content", "offset", "said"),
    [
        (records([(1,), (2,)])[:-1], PIXELS + 1, "records are 3073 bytes, the last has 3072"),
        (b"", 0, "the file is empty"),
        (records([(1,), (10,)]), PIXELS + 1, "label 10 of record 1; labels go from 0 to 9"),
    ],
)
def test_cifar_that_is_wrong(tmp_path: Path, content: bytes, offset: int, said: str) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(data.DataFormatError, match=said) as caught:
        data.read_cifar(path)
    assert caught.value.offset == offset


# -- CSV ----------------------------------------------------------------------------------------------------------
def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('a,"b, c",kind\n1,2.5,dog\n\n"-3",4e1,cat\n0,0,dog\n', "utf-8-sig")
    ds = data.CSVDataset(path, "kind")
    assert ds.names == ["a", "b, c"] and ds.classes == ["cat", "dog"]
    assert [(row.tolist(), int(label)) for row, label in (ds[k] for k in range(3))] == [([1, 2.5], 1), ([-3, 40], 0), ([0, 0], 1)]
    path.write_text("1;2\n3;4\n")
    table, names = data.read_csv(path, delimiter=";", header=False)
    assert table.tolist() == [[1, 2], [3, 4]] and names == ["0", "1"] and table.dtype == np.float32
    numbers = data.CSVDataset(path, -1, delimiter=";", header=False)
    assert numbers[1][1] == 4.0 and numbers[1][1].dtype == np.float32
    classes = data.CSVDataset(path, 1, delimiter=";", header=False, classes=True)
    assert classes.classes == ["2", "4"] and classes[1][1] == 1


@pytest.mark.parametrize(
    ("content", "offset", "said"),
    [
        (b"a,b\n1,2\n3,x\n", 8, "column 'b' is 'x', not a number"),
        (b"a,b\n1,2\n3\n", 8, "line 3 has 1 fields, those before 2"),
        (b"a,b\n1,2\n3,\xff\n", 10, "not UTF-8"),
        (b"a,b\n", 4, "there are no rows"),
        (b'a,b\n1,"2\n', 4, "line 2: unexpected end of data"),
    ],
)
def test_csv_that_is_wrong(tmp_path: Path, content: bytes, offset: int, said: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(data.DataFormatError, match=said) as caught:
        data.read_csv(path)
    assert caught.value.offset == offset
    (tmp_path / "y.csv").write_text("a,b\n1,2\n")
    for target in ("c", 2):
        with pytest.raises(data.DataError, match="has no column"):
            data.CSVDataset(tmp_path / "y.csv", target)


# -- images -------------------------------------------------------------------------------------------------------
def test_image_folder(tmp_path: Path) -> None:
    from PIL import Image

    for name, colour in (("b/one.png", (1, 2, 3)), ("a/deep/two.PNG", (4, 5, 6)), ("a/notes.txt", None)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if colour is None:
            path.write_text("no image")
        else:
            Image.new("RGB", (5, 4), colour).save(path)
    ds = data.ImageFolder(tmp_path)
    assert ds.classes == ["a", "b"] and len(ds) == 2
    image, label = ds[1]
    assert image.shape == (3, 4, 5) and image[:, 0, 0].tolist() == [1, 2, 3] and label == 1
    small = data.ImageFolder(tmp_path, mode="L", size=(2, 3))
    ((images, labels),) = data.DataLoader(small, 2, num_workers=2)
    assert images.shape == (2, 1, 2, 3) and labels.tolist() == [0, 1]
    with pytest.raises(FileNotFoundError, match="no subfolder with images"):
        data.ImageFolder(tmp_path / "b")
    with pytest.raises(data.DataError, match="got 'CMYK'"):
        data.ImageFolder(tmp_path, mode="CMYK")


def test_an_image_that_is_wrong(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "a" / "x.png"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50, 3)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(data.DataFormatError, match="not an image that Pillow can read") as caught:
        data.ImageFolder(tmp_path)[0]
    assert caught.value.path == str(path) and 0 < caught.value.offset <= 3000
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(data.DataFormatError):
        data.ImageFolder(tmp_path)[0]


def test_digits() -> None:
    ds = data.Digits()
    image, label = ds[0]
    assert len(ds) == 1797 and image.shape == (1, 8, 8) and image.dtype == np.float32 and label == 0
    assert 0.0 <= image.min() < image.max() <= 1.0


@pytest.mark.parametrize(("module", "make", "extra"), [("PIL", data.ImageFolder, "images"), ("sklearn.datasets", data.Digits, "digits")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, module: str, make: Any, extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.Image", None)
    with pytest.raises(ImportError, match=rf"pip install 'rasptorch\[{extra}\]'"):
        make(".") if extra == "images" else make()
