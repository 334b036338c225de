"""Making tensors, bringing them to the host, between devices and dtypes."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import INF, NAN, TORCH, pair, random, special

DATA: list[Any] = [
    1, 2.5, True, [1, 2], [1.0, 2], [[True, False]], [], [[], []], np.float64(2.5), np.arange(6).reshape(2, 3),
    np.arange(6.0)[::2], np.arange(6, dtype=np.float32).reshape(2, 3).T, np.zeros((2, 0), np.uint8), (1, (2)),
    np.array([1, 2], dtype=">i4"), [np.float32(1.5)], range(3),
]  # fmt: skip


@pytest.mark.parametrize("data", DATA, ids=repr)
def test_tensor(data: Any, device: str) -> None:
    x = rt.tensor(data, device=device)
    native = np.asarray(data)
    wanted = torch.tensor(native.astype(native.dtype.newbyteorder("=")) if isinstance(data, np.ndarray) else data)
    if isinstance(data, list) and data and isinstance(data[0], np.float32):
        wanted = wanted.to(torch.float32)
    assert_close(x, wanted)
    assert x.device.name == rt.device(device).name and x.is_leaf and not x.requires_grad


@pytest.mark.parametrize("dtype", TORCH)
def test_values_survive_the_round_trip(dtype: str, device: str) -> None:
    x, y = pair(special(dtype), dtype, device)
    assert_close(x, y, rtol=0, atol=0, signed_zeros=True)
    assert x.element_size() == y.element_size()


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_nothing_goes_through_float32(dtype: str, device: str) -> None:
    x = rt.tensor(np.array([2**53 - 1, 12345678901], dtype), device=device)
    assert x.tolist() == [2**53 - 1, 12345678901]


def test_data_is_copied_at_the_call(device: str) -> None:
    array = np.ones(3, np.float32)
    tensors = [rt.tensor(array, device=device), rt.asarray(array, device=device), rt.Tensor(array, device=device)]
    if device == "cpu":
        tensors += [rt.as_tensor(array)]
    sums = [t + 0 for t in tensors]
    array[:] = 7
    assert all(t.tolist() == [1, 1, 1] for t in tensors + sums)
    read = tensors[0].numpy()
    read[:] = 9
    assert tensors[0].tolist() == [1, 1, 1]


def test_tensors_of_tensors(device: str) -> None:
    x, _ = random((2, 3), device=device)
    assert rt.asarray(x) is x and rt.asarray(x, dtype="float32", device=device) is x
    for made in (rt.tensor(x), rt.tensor(x, dtype="float64"), rt.asarray(x, dtype="int32"), rt.Tensor(x)):
        assert made.storage is not x.storage
    assert rt.tensor(x, requires_grad=True).requires_grad and rt.Tensor([1.0], requires_grad=True).requires_grad


@pytest.mark.parametrize("dtype", TORCH)
def test_constants(dtype: str, device: str) -> None:
    wanted = TORCH[dtype]
    assert_close(rt.zeros(2, 3, dtype=dtype, device=device), torch.zeros(2, 3, dtype=wanted))
    assert_close(rt.ones((2, 3), dtype=dtype, device=device), torch.ones(2, 3, dtype=wanted))
    assert_close(rt.full((3,), 1, dtype=dtype, device=device), torch.full((3,), 1, dtype=wanted))
    assert rt.empty(2, 0, dtype=dtype, device=device).shape == (2, 0)
    like = rt.empty((4,), dtype=dtype, device=device)
    assert_close(rt.zeros_like(like), torch.zeros(4, dtype=wanted))
    assert_close(rt.ones_like(like), torch.ones(4, dtype=wanted))
    assert_close(rt.full_like(like, 1), torch.full((4,), 1, dtype=wanted))
    assert rt.empty_like(like).layout is like.layout
    assert rt.zeros_like(like, dtype="bool").dtype is rt.bool_


@pytest.mark.parametrize("value", [True, 3, -7, 2.5, NAN, INF, -0.0, 1e-30])
def test_full_takes_its_dtype_from_the_value(value: Any, device: str) -> None:
    assert_close(rt.full((2,), value, device=device), torch.full((2,), value), signed_zeros=True)
    assert_close(rt.full((), fill_value=value, device=device), torch.full((), value), signed_zeros=True)


ARANGE = [(5,), (2, 7), (1, 10, 3), (5, 0, -2), (0,), (3, 3), (0.0, 1.0, 0.25), (1, 2, 0.3), (-1.5, 2.5), (5, 2)]


@pytest.mark.parametrize("bounds", [b for b in ARANGE if b != (5, 2)], ids=str)
def test_arange(bounds: tuple[Any, ...], device: str) -> None:
    assert_close(rt.arange(*bounds, device=device), torch.arange(*bounds))


def test_arange_backwards_is_empty_or_an_error() -> None:
    assert rt.arange(5, 2).shape == (0,)
    with pytest.raises(ValueError, match="^arange: the step must not be 0"):
        rt.arange(1, 2, 0)
    with pytest.raises(TypeError, match="^arange takes 1 to 3 bounds"):
        rt.arange()


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float64", "float16"])
def test_arange_dtypes(dtype: str) -> None:
    assert_close(rt.arange(1, 20, 2, dtype=dtype), torch.arange(1, 20, 2, dtype=TORCH[dtype]))


def test_linspace_and_eye(device: str) -> None:
    for bounds in ((0, 1, 5), (-2.5, 2.5, 7), (3, 1, 2), (1, 2, 1), (1, 2, 0)):
        assert_close(rt.linspace(*bounds, device=device), torch.linspace(*bounds))
    for size in ((3,), (2, 4), (4, 2), (0,)):
        assert_close(rt.eye(*size, device=device), torch.eye(*size))
    assert_close(rt.eye(2, dtype="int64", device=device), torch.eye(2, dtype=torch.int64))


@pytest.mark.parametrize(("source", "target"), list(itertools.product(TORCH, TORCH)))
def test_casting(source: str, target: str) -> None:
    x, y = random((5,), source, low=0, high=4) if source != "uint8" else pair([0, 1, 200, 255], source)
    assert_close(x.to(target), y.to(TORCH[target]))
    assert_close(x.to(getattr(rt, target)), y.to(TORCH[target]))
    assert (x.to(target) is x) == (source == target)


def test_special_values_are_cast_as_by_pytorch(device: str) -> None:
    x, y = pair([NAN, INF, -INF, 0.0, -0.0, 1e-40, 70000.0, 1e-8, 1 + 2**-9, 1 + 3 * 2**-9], device=device)
    for target in ("float16", "bfloat16", "bool"):
        assert_close(x.to(target), y.to(TORCH[target]), rtol=0, atol=0)
    x, y = pair([2.7, -2.7, 0.5, -0.5, 2**30 + 0.0], device=device)
    for target in ("int32", "bool"):
        assert_close(x.to(target), y.to(TORCH[target]))


@pytest.mark.parametrize(
    ("method", "dtype"),
    [
        ("float", "float32"),
        ("double", "float64"),
        ("half", "float16"),
        ("int", "int32"),
        ("long", "int64"),
        ("bool", "bool"),
    ],
)
def test_casting_methods(method: str, dtype: str) -> None:
    x, y = random((3,))
    assert_close(getattr(x, method)(), getattr(y, method)())
    assert getattr(x, method)().dtype.name == dtype


@pytest.mark.drivers("lavapipe")
@pytest.mark.parametrize("dtype", TORCH)
def test_between_devices(dtype: str, device: str) -> None:
    x, y = random((3, 4), dtype)
    there = x.to(device)
    assert there.device.name == device and there is there.to(device)
    assert_close(there, y)
    assert_close(there.T.cpu(), y.T)
    assert_close(x.to(device, "float32"), y.float())
    assert_close(rt.ones(1).to(there), torch.ones(1).to(y.dtype))


@pytest.mark.drivers("lavapipe")
def test_gradients_cross_devices(device: str) -> None:
    x = rt.ones(3, requires_grad=True)
    (x.to(device) * rt.tensor([1.0, 2.0, 3.0], device=device)).sum().backward()
    assert x.grad is not None and x.grad.device.name == "cpu" and x.grad.tolist() == [1, 2, 3]


@pytest.mark.drivers("lavapipe")
def test_gpu_is_a_device(device: str) -> None:
    x = rt.ones(2).gpu()
    assert x.device.name.startswith("vulkan:") and x.cpu().tolist() == [1, 1]


@pytest.mark.drivers("lavapipe")
def test_default_device(device: str) -> None:
    before = rt.get_default_device()
    rt.set_default_device(device)
    try:
        made = [rt.zeros(1), rt.tensor([1]), rt.arange(3), rt.rand(2), rt.eye(2), rt.full((1,), 2), rt.empty(1)]
        assert {t.device.name for t in made} == {device}
        assert rt.get_default_device().name == device
    finally:
        rt.set_default_device("cpu")
    assert rt.zeros(1).device is before


def test_to_the_host(device: str) -> None:
    x = rt.tensor([[1.5, -2.0], [NAN, INF]], device=device)
    assert x[:1].tolist() == [[1.5, -2.0]]
    assert rt.tensor(3, device=device).item() == 3 and isinstance(rt.tensor(3, device=device).item(), int)
    assert rt.tensor([[True]], device=device).item() is True
    assert float(x[0, 0]) == 1.5 and int(x[0, 1]) == -2 and bool(x[0, 0])
    assert [1, 2, 3][rt.tensor(1, device=device)] == 2
    assert np.asarray(x).dtype == np.float32 and np.asarray(x, dtype=np.float64).dtype == np.float64
    assert f"{x[0, 0]:.3f}" == "1.500" and f"{x[0, 0]}" == repr(x[0, 0])
    assert x.readback().wait()[0, 0] == 1.5
    with pytest.raises(rt.ShapeError, match=r"^item: only one element .* shape \[2, 2\]"):
        x.item()
    with pytest.raises(rt.ShapeError, match=r"^bool\(\): only one element"):
        bool(x)
    with pytest.raises(TypeError, match="a tensor of float32 cannot be used as an index"):
        [1][x[0, 0]]


def test_repr(device: str) -> None:
    where = "" if device == "cpu" else f", device='{device}'"
    assert repr(rt.tensor([1.0, 2.5], device=device)) == f"tensor([1.0000, 2.5000]{where})"
    assert repr(rt.tensor([1, 2], dtype="int32", device=device)) == f"tensor([1, 2]{where}, dtype=rasptorch.int32)"
    assert repr(rt.zeros(0, 3, device=device)) == f"tensor([]{where}, size=(0, 3))"
    x = rt.tensor([1.0], device=device, requires_grad=True)
    assert repr(x).endswith("requires_grad=True)") and "grad_fn=<mul>" in repr(x * 2)


def test_copies_and_pickles_say_what_to_do() -> None:
    with pytest.raises(TypeError, match="rasptorch.save"):
        pickle.dumps(rt.ones(1))
    assert pickle.loads(pickle.dumps(rt.float32)) is rt.float32
    assert copy.copy(rt.bool_) is rt.bool_


ERRORS = [
    (lambda: rt.tensor([[1], [1, 2]]), rt.ShapeError, "^tensor: nested sequences of uneven lengths"),
    (lambda: rt.tensor("text"), rt.DTypeError, "^tensor: str of"),
    (lambda: rt.tensor([1j]), rt.DTypeError, "^tensor: list of complex128"),
    (lambda: rt.tensor([1], dtype="float8"), rt.DTypeError, "'float8' is not a dtype; use one of: bool"),
    (lambda: rt.tensor(np.zeros(1, np.int16)), rt.DTypeError, "^arrays of int16 cannot become a tensor"),
    (lambda: rt.zeros(-1), rt.ShapeError, "^zeros: sizes cannot be negative"),
    (lambda: rt.ones(2.5), TypeError, "^ones: sizes are whole numbers"),
    (lambda: rt.zeros(1, device="tpu"), rt.DeviceError, "there is no device 'tpu'"),
    (lambda: rt.from_numpy([1]), TypeError, "^from_numpy takes a NumPy array, got list"),
    (lambda: rt.linspace(0, 1, -1), rt.ShapeError, "^linspace: steps cannot be negative"),
    (lambda: rt.full((2,)), TypeError, r"^full\(\) missing 1 required positional argument: .fill_value"),
    (lambda: rt.tensor([1], requires_grad=True), rt.RasptorchError, "^only floating-point tensors can require gradients"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run()


@pytest.mark.drivers("lavapipe")
def test_a_tensor_that_is_too_large_is_refused(device: str) -> None:
    limit = rt.device(device).driver.traits.max_range
    with pytest.raises(rt.ShapeError, match=r"^zeros|^full: shape .* takes at most .* split it"):
        rt.zeros(limit // 4 + 1, device=device)
