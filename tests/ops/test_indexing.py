"""Indexing by tensors, arrays, lists and masks against PyTorch and NumPy: reading, assigning, gradients, what waits and what does not."""

from __future__ import annotations

import random as chance
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import trio

import rasptorch as rt
from tests.support.compare import assert_close
from tests.support.counting import counting

from .index_expressions import expression, tensors
from .values import TORCH, random

INT = np.array
MASK = np.array([[True, False, True], [False, False, True]])
# Of a tensor of shape [4, 2, 3, 5].
INDICES: dict[str, Any] = {
    "vector": (INT([2, 0, 2]),), "negative": (INT([-1, 3]),), "matrix": (INT([[0, 1], [3, 3]]),), "list": ([1, 0],),
    "two": (INT([0, 3]), INT([1, 0])), "stretched": (INT([[0], [3]]), INT([1, 0, 1])), "last": (..., INT([4, 4, 0])),
    "apart": (INT([0, 1]), slice(None), INT([2, 0])), "apart by an integer": (INT([0, 1]), 1, INT([2, 0])),
    "by none": (INT([0, 1]), None, INT([1, 0])), "after slice": (slice(1, None, 2), INT([1, 0, 0])),
    "middle": (slice(None), INT([1, 0, 1]), INT([0, 2, 2])), "one number": (INT(2),), "number between": (INT([0, 1]), INT(1), INT([2, 0])),
    "all four": (INT([0, 3]), INT([1, 1]), INT([2, 0]), INT([4, 0])), "none chosen": (INT([], dtype=np.int64),),
    "mask": (INT([True, False, True, True]),), "mask of two": (slice(None), MASK),
    "mask and vector": (INT([True, False, True, True]), INT([1, 0, 1])),
    "mask of none": (np.zeros(4, bool),), "mask last": (..., INT([True, False, False, True, True])), "true": (True,), "false": (False,),
    "whole mask": (np.arange(120).reshape(4, 2, 3, 5) % 7 == 0,), "list of booleans": ([True, False, False, True],),
}  # fmt: skip
SOURCES: dict[str, Callable[[Any], Any]] = {
    "plain": lambda x: x, "permuted": lambda x: x.permute(3, 1, 0, 2).permute(2, 1, 3, 0), "stepped": lambda x: x,
}  # fmt: skip


def pair(source: str, device: str, dtype: str = "float32") -> tuple[Any, Any]:
    if source == "permuted":
        return tuple(t.permute(3, 1, 2, 0) for t in random((5, 2, 3, 4), dtype, device))  # type: ignore[return-value]
    if source == "stepped":
        return tuple(t[1::2, :, ::2, 1:] for t in random((8, 2, 6, 6), dtype, device))  # type: ignore[return-value]
    return random((4, 2, 3, 5), dtype, device)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.every_driver
def test_reading(source: str, device: str) -> None:
    x, y = pair(source, device)
    for name, index in INDICES.items():
        assert_close(x[tensors(index, rt, device)], y[tensors(index, torch, device)], what=name)


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.every_driver
def test_dtypes(dtype: str, device: str) -> None:
    if dtype == "float64" and device != "cpu":
        return
    for name in ("stretched", "apart", "mask", "middle"):
        (x, y), index = pair("plain", device, dtype), INDICES[name]
        assert_close(x[tensors(index, rt, device)], y[tensors(index, torch, device)], what=name)
        if name == "mask" and dtype == "int64" and not rt.device(device).driver.traits.int64:
            continue  # choosing is computing
        x[tensors(index, rt, device)] = 1
        y[tensors(index, torch, device)] = 1
        assert_close(x, y, what=name)


@pytest.mark.every_driver
def test_large_integers_stay_exact(device: str) -> None:
    x = rt.tensor([[2**53 + 1], [-(2**62) - 1], [3]], device=device)
    assert x[rt.tensor([1, 0], device=device), 0].tolist() == [-(2**62) - 1, 2**53 + 1]
    assert x[[True, False, True]].tolist() == [[2**53 + 1], [3]]


def test_arrays_and_lists_are_indices(device: str) -> None:
    x, y = pair("plain", device)
    for index in ([0, 2], np.array([0, 2]), (0, [1, 0]), (slice(None), [[0], [1]], np.array([2, 0])), range(2)):
        assert_close(x[index], y[index])
    assert x[[]].shape == (0, 2, 3, 5)


@pytest.mark.parametrize("seed", range(4))
def test_random_expressions_read_as_pytorch(seed: int, device: str) -> None:
    for number in range(40 if device == "cpu" else 10):
        r = chance.Random(1000 * seed + number)
        shape = tuple(r.choice([1, 2, 3, 4]) for _ in range(r.randint(1, 4)))
        index, (x, y) = expression(r, shape), random(shape, device=device)
        mine = tensors(index, rt, device)
        try:
            theirs = y.requires_grad_()[tensors(index, torch, device)]
        except IndexError:  # shapes that do not stretch, masks of another shape
            with pytest.raises(IndexError):
                x[mine].numpy()
            continue
        ours = x.requires_grad_()[mine]
        assert_close(ours, theirs, what=f"x{list(shape)}[{index}]")
        if theirs.requires_grad:
            (ours * ours).sum().backward()
            (theirs * theirs).sum().backward()
            assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-5, what=f"gradient of x{list(shape)}[{index}]")


@pytest.mark.parametrize("seed", range(4))
def test_random_expressions_assign_as_pytorch(seed: int, device: str) -> None:
    for number in range(30 if device == "cpu" else 8):
        r = chance.Random(5000 * seed + number)
        shape = tuple(r.choice([1, 2, 3, 4]) for _ in range(r.randint(1, 4)))
        index, (x, y) = expression(r, shape), random(shape, device=device)
        mine, theirs = tensors(index, rt, device), tensors(index, torch, device)
        try:
            named = tuple(y[theirs].shape)
        except IndexError:
            with pytest.raises(IndexError):
                x[mine] = 0.0
                x.numpy()
            continue
        for value in (0.5, named, named[-1:]):
            v, w = (value, value) if isinstance(value, float) else random(value, device=device, seed=3)
            x[mine] = v
            y[theirs] = w
            assert_close(x, y, what=f"x{list(shape)}[{index}] = {value}")


@pytest.mark.parametrize("seed", range(3))
def test_random_expressions_as_numpy(seed: int) -> None:
    """Without integers beside arrays, of which NumPy makes arrays, too."""
    for number in range(40):
        r = chance.Random(9000 * seed + number)
        shape = tuple(r.choice([1, 2, 3, 4]) for _ in range(r.randint(1, 4)))
        index = expression(r, shape)
        if any(isinstance(e, (bool, int)) or np.shape(e) == () for e in index):
            continue
        x, _ = random(shape)
        try:
            expected = x.numpy()[index]
        except IndexError:
            continue
        assert_close(x[tensors(index, rt, "cpu")], expected, what=f"x{list(shape)}[{index}]")


@pytest.mark.parametrize("source", SOURCES)
def test_the_last_of_equals_stays(source: str, device: str) -> None:
    x, y = pair(source, device)
    index = np.array([1, 3, 1, 1])
    (v, _), (w, _) = random((4, 2, 3, 5), device=device, seed=1), random((4, 2, 4, 5), device=device, seed=2)
    expected = y.numpy().copy()
    x[rt.tensor(index, device=device)] = v
    expected[index] = v.numpy()
    x[:, :, rt.tensor([2, 0, 2, 0], device=device)] = w
    expected[:, :, [2, 0]] = w.numpy()[:, :, 2:]
    assert_close(x, expected)
    x[rt.tensor([0, 0], device=device), 1, rt.tensor([2, 2], device=device), rt.tensor([4, 4], device=device)] = rt.tensor(
        [5.0, 6.0], device=device
    )
    expected[0, 1, 2, 4] = 6.0
    assert_close(x, expected)


def test_assigning_a_part_of_itself(device: str) -> None:
    x, _ = random((4, 3), device=device)
    expected = x.numpy()
    x[rt.tensor([0, 1, 2], device=device)] = x[1:]
    expected[[0, 1, 2]] = expected[1:].copy()
    assert_close(x, expected)


MASKED: dict[str, tuple[Any, tuple[int, ...]]] = {
    "number": ((MASK,), ()), "vector": ((MASK,), (3,)), "one": ((MASK,), (1,)), "rows": ((INT([True, False]),), (1, 3)),
    "row": ((INT([False, True]),), (3,)), "columns": ((slice(None), INT([True, False, True])), (2, 2)),
    "column": ((slice(None), INT([True, False, True])), (2, 1)), "none": ((np.zeros((2, 3), bool),), (0,)), "whole": ((True,), (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.every_driver
def test_masked_assignment_does_not_wait(name: str, device: str) -> None:
    index, shape = MASKED[name]
    (x, y), (v, w) = random((2, 3), device=device), random(shape, device=device, seed=1)
    ours = tensors(index, rt, device)
    rt.synchronize(device)
    with rt.forbid_waiting():
        x[ours] = v
    y[tensors(index, torch, device)] = w
    assert_close(x, y)


def test_masked_assignment_of_a_number_is_one_kernel(device: str) -> None:
    x, y = random((50, 30), device=device)
    mask = rt.tensor(y.numpy() > 0.5, device=device)
    rt.synchronize(device)
    with counting(device) as n:
        x[mask] = 0.0
        rt.synchronize(device)
    assert (n.dispatches, n.submissions) == (1, 1)
    y[y > 0.5] = 0.0
    assert_close(x, y)


@pytest.mark.parametrize("given", [0, 2, 4])
def test_masked_assignment_of_the_wrong_number_of_values(given: int, device: str) -> None:
    x = rt.ones(2, 3, device=device)
    x[rt.tensor(MASK, device=device)] = rt.zeros(given, device=device)
    text = rf"^x\[mask\] = value: {given} entries, more \(or, below 0, fewer\) true elements than that: index {3 - given} "
    with pytest.raises(IndexError, match=text):
        x.numpy()


def test_gradients_of_assignment(device: str) -> None:
    for name, shape in (("two", (2, 3, 5)), ("mask", (3, 2, 3, 5)), ("apart", (2, 2, 5)), ("after slice", ())):
        (x, y), (v, w) = random((4, 2, 3, 5), device=device), random(shape, device=device, seed=1)
        x.requires_grad_(), y.requires_grad_(), v.requires_grad_(), w.requires_grad_()
        index = INDICES[name]
        out, expected = x * 2, y * 2
        out[tensors(index, rt, device)] = v * v
        expected[tensors(index, torch, device)] = w * w
        (out * out).sum().backward()
        (expected * expected).sum().backward()
        assert_close(out, expected, what=name)
        assert_close(x.grad, y.grad, what=name)
        assert_close(v.grad, w.grad, rtol=1e-4, what=name)


def test_versions_and_leaves(device: str) -> None:
    index = rt.tensor([0, 2], device=device)
    x = rt.ones(3, device=device, requires_grad=True)
    with pytest.raises(RuntimeError, match="^setitem: a leaf tensor that requires gradients"):
        x[index] = 0.0
    y = x * 2
    z = y * y
    y[index] = 0.0
    with pytest.raises(RuntimeError, match="^mul: a value of shape .* was changed in place"):
        z.sum().backward()


@pytest.mark.fresh
def test_dispatches(device: str) -> None:
    """A pair of index tensors: both checks, and the look-up with what follows, are one kernel where they are of one shape."""
    x, _ = random((64, 48), device=device)
    i, j = (rt.tensor(np.arange(40) % n, device=device) for n in (64, 48))
    rt.synchronize(device)
    with counting(device) as n:
        kept = x[i, j] * 2.0
        rt.synchronize(device)
    assert (n.dispatches, n.submissions) == (1, 1) and kept.shape == (40,)
    with counting(device) as n:
        rows = x[i].relu()
        rt.synchronize(device)
    assert (n.dispatches, n.submissions) == (2, 1) and rows.shape == (40, 48)


# -- sizes that only the device knows -----------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(), (0,), (7,), (4, 6), (3, 1, 5), (70, 90)], ids=str)
@pytest.mark.every_driver
def test_nonzero(shape: tuple[int, ...], device: str) -> None:
    for dtype in ("bool", "int32", "float32", "uint8"):
        x, y = random(shape, dtype, device)
        if dtype == "float32":
            x, y = x.relu(), y.relu()
        assert_close(rt.nonzero(x), torch.nonzero(y))
        assert_close(rt.argwhere(x), torch.argwhere(y))
        for found in (x.nonzero(as_tuple=True), rt.where(x)):
            expected = torch.nonzero(y, as_tuple=True)
            assert len(found) == len(expected)
            for a, b in zip(found, expected, strict=True):
                assert_close(a, b)


def test_nonzero_of_special_values(device: str) -> None:
    values = [0.0, -0.0, float("nan"), float("inf"), 1e-20]
    assert_close(rt.nonzero(rt.tensor(values, device=device)), torch.nonzero(torch.tensor(values)))


def test_masked_select(device: str) -> None:
    (x, y), (m, n) = random((4, 1, 6), device=device), random((3, 6), "bool", device)
    for a, b in ((x, y), (x.T, y.mT.transpose(0, 1).mT)):
        if a.shape == b.shape and a.ndim == 3 and a.shape[-1] == 6:
            assert_close(rt.masked_select(a, m), torch.masked_select(b, n))
    out, expected = x.requires_grad_().masked_select(m), y.requires_grad_().masked_select(n)
    (out * out).sum().backward()
    (expected * expected).sum().backward()
    assert_close(x.grad, y.grad)


def test_counting_waits_and_says_so(device: str) -> None:
    x = rt.ones(5, device=device)
    mask = rt.tensor([True, False, True, True, False], device=device)

    async def main() -> None:
        for run in (lambda: x[mask], lambda: rt.nonzero(x), lambda: x.masked_select(mask)):
            with pytest.raises(rt.BlockingInTrio, match=r"would block the Trio loop: index with `await rasptorch.nonzero_async\("):
                run()
        places = await rt.nonzero_async(mask, as_tuple=True)
        assert (await x[places].numpy()).tolist() == [1.0, 1.0, 1.0]
        assert (await (await rt.nonzero_async(mask)).numpy()).tolist() == [[0], [2], [3]]

    trio.run(main)


OUT_OF_RANGE: list[tuple[Callable[[rt.Tensor, Any], Any], str]] = [
    (lambda x, i: x[i([0, 2])], r"^x\[...\] along dimension 0: index 2 is out of range; indices go from -2 to 1"),
    (lambda x, i: x[None, :, i([[-4]])], r"^x\[...\] along dimension 1: index -4 is out of range; indices go from -3 to 2"),
]


@pytest.mark.parametrize(("run", "text"), OUT_OF_RANGE, ids=[text for _, text in OUT_OF_RANGE])
def test_out_of_range_is_raised_at_the_next_wait(run: Any, text: str, device: str) -> None:
    out = run(rt.ones(2, 3, device=device), lambda values: rt.tensor(values, device=device))
    with pytest.raises(IndexError, match=text):
        out.numpy()
    target = rt.ones(2, 3, device=device)
    target[rt.tensor([5], device=device)] = 0.0
    with pytest.raises(IndexError, match=r"^x\[...\] along dimension 0: index 5 is out of range"):
        target.numpy()


def _set(x: rt.Tensor, index: Any, value: Any) -> None:
    x[index] = value


ERRORS: list[tuple[Callable[[rt.Tensor], Any], type[Exception], str]] = [
    (lambda x: x[rt.tensor([0.5])], rt.DTypeError, "^an index tensor holds integers or booleans, got float32"),
    (lambda x: x[rt.tensor([0], dtype=rt.uint8)], IndexError, "^a uint8 tensor could be a mask or an index"),
    (lambda x: x[rt.tensor([True])], IndexError, r"^a mask of shape \[1\] does not fit dimensions 0 to 0 of shape \[2, 3\]"),
    (lambda x: x[rt.tensor([0, 1]), rt.tensor([0, 1, 2])], IndexError, "^index tensors do not broadcast"),
    (lambda x: x[[0], [0], [0]], IndexError, r"^3 indices for a tensor of 2 dimensions"),
    (lambda x: x[["a"]], IndexError, "^an index of .* is no index"),
    (lambda x: x[{0}], IndexError, "^set cannot index a tensor"),
    (lambda x: x[:0][[0]], IndexError, r"^x\[...\] along dimension 0: there are 1 indices \(shape \[1\]\) into a dimension of length 0"),
    (lambda x: _set(x, [0], rt.ones(4)), rt.ShapeError, r"^setitem: shape \[4\] does not stretch to \[1, 3\]"),
    (lambda x: _set(x, rt.ones(2, 3) > 0, rt.ones(2, 3)), rt.ShapeError, r"^x\[mask\] = value: shape \[2, 3\] does not stretch"),
    (lambda x: x.masked_select(x), rt.DTypeError, "^masked_select: mask is bool, got float32"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_say_what_to_write(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3))


@pytest.mark.drivers("lavapipe")
def test_two_devices_do_not_mix(device: str) -> None:
    with pytest.raises(rt.DeviceError, match=r"^x\[...\]: operands are on "):
        rt.ones(2, device=device)[rt.tensor([0])]
