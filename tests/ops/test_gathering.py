"""index_select, gather, take and take_along_dim against PyTorch: dtypes, layouts, shapes of nothing, indices out of range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close
from tests.support.counting import counting

from .values import LAYOUTS, TORCH, random

Run = Callable[[Any, Any, Callable[..., Any]], Any]


def ints(m: Any, device: str) -> Callable[..., Any]:
    """Integers in library ``m``: of ours on ``device``."""

    def make(values: Any, dtype: str = "int64") -> Any:
        return rt.tensor(values, dtype=dtype, device=device) if m is rt else torch.tensor(values, dtype=TORCH[dtype])

    return make


def drawn(shape: tuple[int, ...], low: int, high: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).integers(low, high, shape)


# Of tensors of shape [4, 6] in every layout; the index fits whatever comes out.
TAKEN: dict[str, Run] = {
    "first": lambda m, x, i: m.index_select(x, 0, i([0, 0, x.shape[0] - 1])),
    "last": lambda m, x, i: x.index_select(-1, i([x.shape[-1] - 1, 0])),
    "one": lambda m, x, i: m.index_select(x, -1, i(0)),
    "none": lambda m, x, i: m.index_select(x, 0, i([])),
    "int32": lambda m, x, i: m.index_select(x, 0, i([0], "int32")),
    "gather": lambda m, x, i: m.gather(x, 0, i(drawn((3, *x.shape[1:]), 0, x.shape[0]))),
    "gather last": lambda m, x, i: x.gather(-1, i(drawn((*x.shape[:-1], 2), 0, x.shape[-1]))),
    "gather smaller": lambda m, x, i: m.gather(x, 0, i(drawn((2, *[max(n - 1, 0) for n in x.shape[1:]]), 0, x.shape[0]))),
    "gather none": lambda m, x, i: m.gather(x, 0, i(np.zeros((0, *x.shape[1:]), np.int64))),
    "take": lambda m, x, i: m.take(x, i(drawn((3, 2), -x.numel(), x.numel()))),
    "take one": lambda m, x, i: x.take(i(x.numel() - 1)),
    "along": lambda m, x, i: m.take_along_dim(x, i(drawn((*[1] * (x.ndim - 1), 5), 0, x.shape[-1])), x.ndim - 1),
    "along flat": lambda m, x, i: m.take_along_dim(x.contiguous(), i([0, x.numel() - 1])),
}


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("empty", "0-d")])
@pytest.mark.every_driver
def test_layouts(layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), device=device))
    for name, run in TAKEN.items():
        assert_close(run(rt, x, ints(rt, device)), run(torch, y, ints(torch, device)), what=name)


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.every_driver
def test_dtypes(dtype: str, device: str) -> None:
    if dtype == "float64" and device != "cpu":
        return
    x, y = random((4, 6), dtype, device)
    for name, run in TAKEN.items():
        assert_close(run(rt, x, ints(rt, device)), run(torch, y, ints(torch, device)), what=name)


def test_large_integers_stay_exact(device: str) -> None:
    x = rt.tensor([2**53 + 1, -(2**62) - 1, 3], device=device)
    assert x.take(rt.tensor([[1, 0]], device=device)).tolist() == [[-(2**62) - 1, 2**53 + 1]]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_of_nothing(shape: tuple[int, int], device: str) -> None:
    (x, y), i, j = random(shape, device=device), ints(rt, device), ints(torch, device)
    for dim in (0, 1):
        none = np.zeros((0, 0), np.int64)
        assert_close(x.index_select(dim, i([])), y.index_select(dim, j(np.zeros(0, np.int64))))
        assert_close(x.gather(dim, i(none)), y.gather(dim, j(none)))
    assert_close(x.take(i(none)), y.take(j(none)))
    axis = shape.index(0)
    with pytest.raises(IndexError, match=r"^index_select: there are 2 indices \(shape \[2\]\) into a dimension of length 0"):
        x.index_select(axis, i([0, 0]))
    with pytest.raises(IndexError, match="^take: there are 1 indices"):
        x.take(i(0))
    assert x.index_select(1 - axis, i([2, 1])).shape == y.index_select(1 - axis, j([2, 1])).shape


def test_single_elements(device: str) -> None:
    x, y, i, j = *random((), device=device), ints(rt, device), ints(torch, device)
    for index in (0, [0]):
        assert_close(x.index_select(0, i(index)), y.index_select(0, j(index)))
        assert_close(x.gather(0, i(index)), y.gather(0, j(index)))
        assert_close(x.take(i(index)), y.take(j(index)))
    assert_close(x.gather(0, i([0, 0])), y.gather(0, j([0, 0])))


def test_special_values(device: str) -> None:
    values = [float("nan"), float("inf"), -float("inf"), -0.0, 1e-40]
    x = rt.tensor(values, device=device)
    assert_close(x.take(rt.tensor([4, 3, 2, 1, 0], device=device)), torch.tensor(values).flip(0), signed_zeros=True)


@pytest.mark.parametrize("rows", [True, False])
def test_gradients_of_repeated_indices(rows: bool, device: str) -> None:
    (x, y), (g, w) = random((50, 16), device=device), random((700, 16), device=device, seed=1)
    index = drawn((700,), 0, 5) if rows else drawn((700, 16), 0, 50)
    take = (lambda t, i: t.index_select(0, i)) if rows else (lambda t, i: t[:, :16].take_along_dim(i, 0))
    take(x.requires_grad_(), rt.tensor(index, device=device)).backward(g)
    take(y.requires_grad_(), torch.tensor(index)).backward(w)
    assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-5)


def test_gradients_are_the_same_bits_every_time(device: str) -> None:
    index, (g, _) = rt.tensor(drawn((3000,), 0, 7), device=device), random((3000, 3), device=device)
    found = []
    for _ in range(3):
        x = rt.zeros(7, 3, device=device, requires_grad=True)
        x.index_select(0, index).backward(g)
        assert x.grad is not None
        found.append(x.grad.numpy())
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_one_kernel_with_its_neighbours(device: str) -> None:
    """What is gathered is computed with at once; checking a short index of many rows is a kernel of its own."""
    x, _ = random((40, 16), device=device)
    rows, each = rt.tensor(drawn((9,), 0, 40), device=device), rt.tensor(drawn((40, 4), 0, 16), device=device)
    rt.synchronize(device)
    for run, dispatches in (
        (lambda: (x.index_select(0, rows) * 2.0 + 1.0).relu(), 2),
        (lambda: (x.gather(1, each) * 2.0 + 1.0).relu(), 1),
        (lambda: (x.T.take(each) - 1.0).exp(), 1),
    ):
        with counting(device) as n:
            kept = run()
            rt.synchronize(device)
        assert (n.dispatches, n.submissions) == (dispatches, 1), kept.shape


OUT_OF_RANGE: list[tuple[Callable[[rt.Tensor, Any], Any], str]] = [
    (lambda x, i: x.index_select(1, i([0, 3])), "^index_select: index 3 is out of range; indices go from 0 to 2"),
    (lambda x, i: x.index_select(0, i([-1])), "^index_select: index -1 is out of range; indices go from 0 to 1"),
    (lambda x, i: x.gather(1, i([[0], [7]])), "^gather: index 7 is out of range; indices go from 0 to 2"),
    (lambda x, i: x.take(i([5, -7])), "^take: index -7 is out of range; indices go from -6 to 5"),
    (lambda x, i: x.take_along_dim(i([[2]]), 0), "^take_along_dim: index 2 is out of range; indices go from 0 to 1"),
]


@pytest.mark.parametrize(("run", "text"), OUT_OF_RANGE, ids=[text for _, text in OUT_OF_RANGE])
def test_out_of_range_is_raised_at_the_next_wait(run: Any, text: str, device: str) -> None:
    out = run(rt.ones(2, 3, device=device), ints(rt, device))
    with pytest.raises(IndexError, match=text):
        out.numpy()
    assert rt.ones(2, device=device).tolist() == [1.0, 1.0]


ERRORS: list[tuple[Callable[[rt.Tensor, Any], Any], type[Exception], str]] = [
    (lambda x, i: x.index_select(2, i([0])), IndexError, "^index_select: dimension 2 is out of range"),
    (lambda x, i: x.index_select(0, i([[0]])), rt.ShapeError, r"^index_select: index is a vector, got shape \[1, 1\]"),
    (lambda x, i: x.index_select(0, x[0]), rt.DTypeError, "^index_select: indices are int64, int32 or uint8, got float32"),
    (lambda x, i: x[0, 0].index_select(0, i([0, 0])), rt.ShapeError, "^index_select: of a 0-d tensor there is one element"),
    (lambda x, i: x.gather(0, i([0])), rt.ShapeError, r"^gather: index of shape \[1\] must have 2 dimensions"),
    (lambda x, i: x.gather(0, i([[0] * 4])), rt.ShapeError, r"^gather: .* no longer than \[2, 3\] apart from dimension 0"),
    (lambda x, i: x.gather(0, i(0)), rt.ShapeError, r"^gather: index of shape \[\] has another number of dimensions"),
    (lambda x, i: x.take_along_dim(i([0]), 0), rt.ShapeError, r"^take_along_dim: the tensor \[2, 3\] and indices \[1\]"),
    (lambda x, i: x.take_along_dim(i([[0] * 4]), 0), rt.ShapeError, "^take_along_dim: shapes"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3), ints(rt, "cpu"))


@pytest.mark.drivers("lavapipe")
def test_two_devices_do_not_mix(device: str) -> None:
    with pytest.raises(rt.DeviceError, match="^index_select: operands are on "):
        rt.ones(2, device=device).index_select(0, rt.tensor([0]))
