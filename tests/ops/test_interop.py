"""Memory shared with NumPy, PyTorch, DLPack and the buffer protocol: both sides see one another's changes, and order is kept."""

from __future__ import annotations

import array
import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch.runtime.sharing import SharingError
from tests.support.compare import assert_close

from .values import TORCH, pair, random

NUMPY = [name for name in TORCH if name != "bfloat16"]


@pytest.mark.parametrize("dtype", NUMPY)
def test_from_numpy_is_the_array(dtype: str) -> None:
    values = np.arange(12).reshape(3, 4).astype(dtype)
    x = rt.from_numpy(values)
    assert x.dtype.name == dtype
    assert x.device.name == "cpu"
    values[1, 2] = 1
    assert_close(x, values)
    x[0].fill_(1)
    rt.synchronize("cpu")
    assert (values[0] == 1).all()


def test_in_place_operations_write_into_the_array() -> None:
    values = np.ones((4, 3), np.float32)
    x = rt.from_numpy(values)
    x.mul_(3).add_(x)
    x.T[1].sub_(1)
    rt.synchronize("cpu")
    assert values.tolist() == [[6, 5, 6]] * 4


VIEWS = {
    "transposed": lambda a: a.T,
    "stepped": lambda a: a[1::2, ::3],
    "part": lambda a: a[1:, 2:5],
    "column": lambda a: a[:, 3],
    "stretched": lambda a: np.broadcast_to(a[:1], (5, 6)),
    "new axis": lambda a: a[:, None],
    "empty": lambda a: a[:0],
}


@pytest.mark.parametrize("name", [n for n in VIEWS if n != "stretched"])
def test_views_of_one_array_are_one_storage(name: str) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    whole, view = rt.from_numpy(values), rt.from_numpy(VIEWS[name](values))
    expected = torch.from_numpy(values.copy())
    if name != "empty":
        assert view.storage is whole.storage
    assert_close(view, VIEWS[name](values))
    # Nothing is synchronised in between: the engine orders its accesses through both.
    whole.add_(1)
    view.mul_(2)
    found = whole + 0
    expected.add_(1)
    if name != "empty":
        torch.from_numpy(VIEWS[name](expected.numpy())).mul_(2)
    assert_close(found, expected)


def test_bytes_that_overlap_in_part_are_refused() -> None:
    theirs = torch.zeros(16)
    first = rt.from_dlpack(theirs[4:])  # all that it says is an address and a shape
    with pytest.raises(SharingError, match="overlap memory that another tensor shares"):
        rt.from_dlpack(theirs)
    part = rt.from_dlpack(theirs[6:8])
    assert part.storage is first.storage
    del first, part
    assert rt.from_dlpack(theirs).shape == (16,)


def test_read_only_arrays_are_copied_with_a_warning() -> None:
    values = np.arange(3.0)
    values.flags.writeable = False
    with pytest.warns(UserWarning, match="^from_numpy: this memory is read-only"):
        x = rt.from_numpy(values)
    x.add_(1)
    assert x.tolist() == [1, 2, 3]
    assert values.tolist() == [0, 1, 2]


ARRAY_ERRORS = [
    (lambda: np.arange(4.0)[::-1], SharingError, "strides .* use .copy"),
    (lambda: np.arange(4, dtype=">i4"), rt.DTypeError, "other byte order"),
    (lambda: np.arange(4, dtype=np.uint16), rt.DTypeError, "arrays of uint16"),
    (lambda: np.zeros(3, np.dtype([("a", "u1"), ("b", "<f4")]))["b"], SharingError, "strides"),
    (lambda: np.zeros(9, np.uint8)[1:].view(np.float32), SharingError, "not aligned"),
    (lambda: [1.0], TypeError, "from_numpy takes a NumPy array, got list"),
]


@pytest.mark.parametrize(("make", "kind", "text"), ARRAY_ERRORS, ids=[text for _, _, text in ARRAY_ERRORS])
def test_arrays_that_cannot_be_tensors(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        rt.from_numpy(make())


def test_a_field_of_records_is_shared() -> None:
    records = np.zeros(3, np.dtype([("a", "<i4"), ("b", "<f4")]))
    rt.from_numpy(records["b"]).add_(rt.arange(3.0))
    rt.synchronize("cpu")
    assert records["b"].tolist() == [0, 1, 2]
    assert records["a"].tolist() == [0, 0, 0]


def test_memory_goes_back_to_its_owner() -> None:
    values = np.ones(1000, np.float32)
    gone = weakref.ref(values)
    x = rt.from_numpy(values)
    (x * 2).numpy()
    del values, x
    rt.zeros(3).numpy()  # the engine lets go when it next runs something
    gc.collect()
    assert gone() is None


def test_a_tensor_outlives_the_array_it_came_from() -> None:
    x = rt.from_numpy(np.arange(5.0))
    y = x + 1
    del x
    gc.collect()
    assert y.tolist() == [1, 2, 3, 4, 5]


def test_shared_memory_works_with_captures_and_gradients() -> None:
    values = np.arange(3, dtype=np.float32)
    x = rt.from_numpy(values).requires_grad_()
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 2, 4]
    state = rt.from_numpy(values)
    step = rt.capture(lambda: state.add_(1))
    for _ in range(3):
        step()
    rt.synchronize("cpu")
    assert values.tolist() == [3, 4, 5]


# -- buffers ------------------------------------------------------------------------------------------------------
def test_frombuffer_shares() -> None:
    memory = bytearray(np.arange(6, dtype=np.int32).tobytes())
    x, y = rt.frombuffer(memory, dtype=rt.int32, count=4, offset=8), torch.frombuffer(memory, dtype=torch.int32, count=4, offset=8)
    assert_close(x, y)
    x.add_(1)
    rt.synchronize("cpu")
    assert_close(x, y)
    numbers = array.array("d", [1.0, 2.0])
    rt.frombuffer(numbers, dtype=rt.float64).mul_(2)
    rt.synchronize("cpu")
    assert numbers.tolist() == [2, 4]
    assert rt.frombuffer(memory, dtype=rt.bfloat16).dtype is rt.bfloat16
    assert rt.frombuffer(memoryview(memory)[4:], dtype=rt.int32).storage is x.storage
    assert rt.frombuffer(bytearray(4), dtype=rt.float32, requires_grad=True).requires_grad


def test_frombuffer_refuses() -> None:
    with pytest.raises(ValueError, match="^frombuffer: "):
        rt.frombuffer(bytearray(5), dtype=rt.float32)
    with pytest.raises(ValueError, match="^frombuffer: both the buffer"):
        rt.frombuffer(bytearray(), dtype=rt.float32)
    with pytest.warns(UserWarning, match="^frombuffer: this memory is read-only"):
        assert rt.frombuffer(b"\x01\x02", dtype=rt.uint8).tolist() == [1, 2]


@pytest.mark.parametrize(
    "data",
    [bytearray(b"abc"), memoryview(b"abc"), array.array("d", [1.5, 2.0]), array.array("h", [1, -2])],
    ids=["bytearray", "memoryview", "doubles", "shorts"],
)
def test_tensor_of_buffers_is_pytorchs(data: Any) -> None:
    assert_close(rt.tensor(data), torch.tensor(list(data)))
    assert rt.tensor(b"abc").tolist() == [97, 98, 99]
    assert rt.tensor(data, dtype=rt.float32).dtype is rt.float32


# -- DLPack -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", TORCH)
def test_pytorch_reads_and_writes_our_memory(dtype: str) -> None:
    x, _ = random((3, 4), dtype)
    x = x.T[1:]
    theirs = torch.from_dlpack(x)
    assert theirs.dtype is TORCH[dtype]
    assert_close(x, theirs)
    theirs[0, 0] = 1
    assert_close(x, theirs)
    x.fill_(0)
    rt.synchronize("cpu")
    assert_close(x, theirs)


@pytest.mark.parametrize("dtype", TORCH)
def test_we_read_and_write_pytorchs_memory(dtype: str) -> None:
    _, theirs = random((3, 4), dtype)
    x = rt.from_dlpack(theirs[:, 1:])
    assert x.dtype.name == dtype
    assert_close(x, theirs[:, 1:])
    x.fill_(1)
    rt.synchronize("cpu")
    assert theirs[:, 1:].float().eq(1).all()


def test_numpy_both_ways() -> None:
    x = rt.arange(6, dtype=rt.float32).reshape(2, 3)
    values = np.from_dlpack(x)
    values[0, 0] = 9
    back = rt.from_dlpack(values)
    assert back.storage is x.storage
    back.add_(1)
    assert x.tolist() == [[10, 2, 3], [4, 5, 6]]
    assert np.from_dlpack(x[:0]).shape == (0, 3)


def test_what_comes_back_is_the_same_storage() -> None:
    x = rt.zeros(4)
    y = rt.from_dlpack(torch.from_dlpack(x)[1:3])
    assert y.storage is x.storage
    x.add_(1)
    y.mul_(5)
    x.add_(1)
    assert x.tolist() == [2, 6, 6, 2]


def test_exporting_keeps_the_memory_and_sees_everything_enqueued() -> None:
    x = rt.zeros(1000)
    for _ in range(20):
        x.add_(1)
    theirs = torch.from_dlpack(x)
    assert theirs.eq(20).all()
    del x
    gc.collect()
    rt.full((1000,), 7.0).numpy()
    assert theirs.eq(20).all()
    fresh = rt.empty(3)
    torch.from_dlpack(fresh).fill_(4)
    assert fresh.tolist() == [4, 4, 4]


def test_copies_through_dlpack() -> None:
    theirs = torch.zeros(3)
    x = rt.from_dlpack(theirs, copy=True)
    x.add_(1)
    rt.synchronize()
    assert theirs.tolist() == [0, 0, 0]
    y = rt.zeros(3)
    np.from_dlpack(y, copy=True)[:] = 1
    assert y.tolist() == [0, 0, 0]


@pytest.mark.drivers("lavapipe")
def test_devices_and_dlpack(device: str) -> None:
    x = rt.arange(3.0, device=device)
    assert x.__dlpack_device__()[0] == 7
    with pytest.raises(BufferError, match="nobody can share the memory of"):
        x.__dlpack__()
    assert np.from_dlpack(x, device="cpu").tolist() == [0, 1, 2]
    assert rt.from_dlpack(torch.ones(2), device=device).device is x.device
    with pytest.raises(BufferError, match="is not shared with"):
        rt.from_dlpack(torch.ones(2), device=device, copy=False)


def test_dlpack_refuses() -> None:
    with pytest.raises(BufferError, match="requires gradients is not exported; use .detach"):
        torch.from_dlpack(rt.ones(2, requires_grad=True))
    with pytest.raises(TypeError, match="from_dlpack takes an object with __dlpack__, got list"):
        rt.from_dlpack([1])

    class Elsewhere:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self) -> object:
            raise AssertionError("never asked")

    with pytest.raises(BufferError, match="on another device"):
        rt.from_dlpack(Elsewhere())
    with pytest.raises(rt.RasptorchError, match="inside a captured function"):
        rt.capture(lambda x: torch.from_dlpack(x))(rt.ones(2))


# -- arrays, copies, pickles --------------------------------------------------------------------------------------
def test_asarray_shares_where_told_to() -> None:
    values = np.arange(3, dtype=np.float32)
    assert rt.asarray(values).add_(1).tolist() == [1, 2, 3]
    rt.asarray(values, copy=False).add_(5)
    rt.synchronize()
    assert values.tolist() == [5, 6, 7]
    with pytest.raises(BufferError, match="what is asked for is a copy"):
        rt.asarray(values, dtype=rt.int32, copy=False)
    with pytest.raises(BufferError, match="list has no memory to share"):
        rt.asarray([1, 2], copy=False)
    x = rt.ones(2)
    assert rt.asarray(x) is x
    assert rt.asarray(x, copy=True).storage is not x.storage
    with pytest.raises(ValueError, match="copy=False"):
        rt.asarray(x, dtype=rt.int32, copy=False)
    assert rt.asarray([1.0], requires_grad=True).requires_grad


def test_arrays_of_tensors_are_copies(device: str) -> None:
    x, y = pair([1.5, 2.5], device=device)
    values = np.asarray(x)
    values += 1
    assert_close(x, y)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.array(x).flags.owndata
    with pytest.raises(ValueError, match="np.from_dlpack shares"):
        np.asarray(x, copy=False)


def test_tensors_that_require_gradients_are_not_read_by_accident(device: str) -> None:
    x = rt.ones(2, device=device, requires_grad=True)
    for read in (lambda: x.numpy(), lambda: np.asarray(x)):
        with pytest.raises(RuntimeError, match=r"requires gradients would lose them: use \.detach"):
            read()
    assert x.numpy(force=True).tolist() == [1, 1]
    assert x.detach().numpy().tolist() == x.tolist()
    assert (x.sum() * 2).item() == 4


def test_pickling_points_at_save() -> None:
    with pytest.raises(TypeError, match="rasptorch.save"):
        pickle.dumps(rt.ones(2))


def test_copies(device: str) -> None:
    x = rt.tensor([[1.0, 2.0], [3.0, 4.0]], device=device, requires_grad=True)
    same, deep = x.__copy__(), copy.deepcopy(x)
    assert copy.copy(x).storage is x.storage
    assert same.storage is x.storage
    assert same.requires_grad and same.is_leaf
    assert deep.storage is not x.storage
    assert deep.requires_grad and deep.tolist() == x.tolist()
    both = copy.deepcopy([x, x, x.detach()[0]])
    assert both[0] is both[1]
    with pytest.raises(rt.RasptorchError, match=r"use \.detach"):
        copy.deepcopy(x * 2)
    assert_close(copy.deepcopy(x.detach().T), torch.tensor([[1.0, 3.0], [2.0, 4.0]]))
