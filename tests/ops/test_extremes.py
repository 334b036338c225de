"""max and min with their places, norms, counts and running sums against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import FLOATS, INF, LAYOUTS, NAN, TORCH, pair, random

SHAPES = [(), (1,), (5,), (2, 3), (2, 3, 4)]
SPECIALS = [
    [1.0, NAN, 2.0], [NAN, NAN, INF], [INF, -INF, 1.0], [-INF, -INF, -INF], [INF, INF, 0.0], [-0.0, 0.0, -0.0], [2.0, 5.0, 5.0],
    [1e-30, 1e30, 1.0], [0.0, 0.0, 0.0], [NAN, NAN, NAN],
]  # fmt: skip
NORMS: tuple[Any, ...] = ("fro", 1, 2, INF, -INF, 0, 3, 0.5, -1)
OVER: dict[str, Any] = {
    "nansum": lambda m, x, **o: m.nansum(x, **o), "nanmean": lambda m, x, **o: m.nanmean(x, **o),
    "var_mean": lambda m, x, **o: m.var_mean(x, **o), "std_mean": lambda m, x, **o: m.std_mean(x, correction=0, **o),
    **{f"norm {p}": lambda m, x, p=p, **o: m.norm(x, p, **o) for p in NORMS},
}  # fmt: skip


def compare(found: Any, expected: Any, what: str = "") -> None:
    if isinstance(expected, torch.Tensor):
        assert_close(found, expected, what=what)
        return
    assert isinstance(found, tuple) and len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, what=what)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["max", "min"])
def test_places(name: str, shape: tuple[int, ...], device: str) -> None:
    x, y = random(shape, device=device)
    assert_close(getattr(rt, name)(x), getattr(torch, name)(y))
    for dim in range(-y.ndim, y.ndim) if y.ndim else (0, -1):
        for keepdim in (False, True):
            found, expected = getattr(x, name)(dim, keepdim), getattr(y, name)(dim, keepdim)
            compare(found, expected, f"dim={dim}, keepdim={keepdim}")
            assert found.values is found[0] and found.indices is found[1]
    compare(x.aminmax(), y.aminmax())
    for dim in range(-y.ndim, y.ndim):
        compare(rt.aminmax(x, dim=dim, keepdim=True), torch.aminmax(y, dim=dim, keepdim=True))


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("name", ["max", "min"])
def test_places_of_every_dtype(name: str, dtype: str) -> None:
    (x, y), (v, w) = random((3, 4), dtype), random((4,), dtype, seed=1)
    compare(getattr(rt, name)(x, dim=1), getattr(torch, name)(y, dim=1))
    assert_close(getattr(rt, name)(x), getattr(torch, name)(y))
    assert_close(getattr(x, name)(v), getattr(y, name)(w))
    assert_close(getattr(rt, name)(x, other=v), getattr(torch, name)(y, other=w))


@pytest.mark.parametrize("name", ["max", "min", "aminmax", *OVER])
def test_special_values(name: str, device: str) -> None:
    x, y = pair(SPECIALS, device=device)
    run = OVER.get(name, lambda m, x, **o: getattr(m, name)(x, **o))
    if name in ("var_mean", "std_mean"):  # PyTorch's one pass makes NaN of infinite means, and 1e30 squared overflows
        x, y = pair([SPECIALS[k] for k in (0, 1, 2, 5, 6)], device=device)
    compare(run(rt, x, dim=1), run(torch, y, dim=1))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "empty"])
def test_layouts(layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), device=device))
    for dim in range(y.ndim):
        compare(x.max(dim), y.max(dim))
        assert_close(x.cumsum(dim), y.cumsum(dim))
        assert_close(x.norm(dim=dim), y.norm(dim=dim))


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OVER)
def test_dimensions(name: str, shape: tuple[int, ...]) -> None:
    x, y = random(shape)
    run = OVER[name]
    for dim in (None, *range(-y.ndim, y.ndim), *([(0, y.ndim - 1)] if y.ndim > 1 else [])):
        for keepdim in (False, True):
            compare(run(rt, x, dim=dim, keepdim=keepdim), run(torch, y, dim=dim, keepdim=keepdim), f"dim={dim}, keepdim={keepdim}")


@pytest.mark.parametrize("dtype", TORCH)
def test_sums_and_counts_of_every_dtype(dtype: str, device: str) -> None:
    if device != "cpu" and dtype == "float64":
        return
    x, y = random((3, 4), dtype, device)
    assert_close(x.count_nonzero(1), y.count_nonzero(1))
    assert_close(rt.count_nonzero(x, (0, 1)), torch.count_nonzero(y, (0, 1)))
    assert_close(x.nansum(0), y.nansum(0))
    assert_close(x.cumsum(0), y.cumsum(0))
    if dtype in FLOATS:
        assert_close(x.norm(), y.norm(), rtol=1e-2 if dtype == "bfloat16" else None)
        assert_close(x.nanmean(1), y.nanmean(1))
    else:
        for name in ("norm", "nanmean"):
            with pytest.raises(rt.DTypeError, match=f"^{name} is not defined for {dtype}"):
                getattr(x, name)()
    if dtype == "int32":
        assert_close(x.norm(dtype="float32"), y.float().norm())
        assert_close(rt.cumsum(x, 1, dtype="int32"), torch.cumsum(y, 1, dtype=torch.int32))


@pytest.mark.parametrize("name", ["max", "min"])
def test_gradients_go_to_the_first_of_equals(name: str) -> None:
    for values in ([2.0, 5.0, 5.0, 2.0], [NAN, 1.0, NAN], [INF, INF, -INF], [3.0]):
        x, y = pair([values, values[::-1]])
        (getattr(x.requires_grad_(), name)(1).values ** 2).sum().backward()
        (getattr(y.requires_grad_(), name)(1).values ** 2).sum().backward()
        assert_close(x.grad, y.grad, what=str(values))
        x, y = pair(values)
        getattr(x.requires_grad_(), name)().backward()
        getattr(y.requires_grad_(), name)().backward()
        assert_close(x.grad, y.grad, what=f"all of {values}")
    x, y = pair(3.0)
    getattr(x.requires_grad_(), name)(0).values.backward()
    assert x.grad is not None and x.grad.item() == 1.0


def test_choosing_twice_is_the_same_graph() -> None:
    x, _ = random((3, 4), device="cpu")
    values, indices = rt.max(x.requires_grad_(), 1)
    assert values.requires_grad and not indices.requires_grad
    values.sum().backward(retain_graph=True)
    values.sum().backward()
    assert x.grad is not None and x.grad.sum().item() == 6.0


@pytest.mark.parametrize("p", [p for p in NORMS if p not in (0, 0.5, -1)])
def test_gradient_of_a_norm_that_is_zero(p: Any) -> None:
    x, y = pair([[0.0, 0.0], [3.0, -4.0]])
    x.requires_grad_().norm(p, 1).sum().backward()
    y.requires_grad_().norm(p, 1).sum().backward()
    assert_close(x.grad, y.grad)


@pytest.mark.parametrize("length", [1, 2, 7, 64, 1000, 4097])
def test_long_running_sums(length: int, device: str) -> None:
    x, y = random((2, length), device=device, low=-1, high=1)
    assert_close(x.cumsum(1), y.double().cumsum(1).float(), rtol=1e-5, atol=1e-4)
    assert_close(x.T.cumsum(0), y.T.double().cumsum(0).float(), rtol=1e-5, atol=1e-4)
    whole, wanted = random((length,), "int32", device)
    assert_close(rt.cumsum(whole * 1_000_003, 0, dtype="int32"), torch.cumsum(wanted * 1_000_003, 0, dtype=torch.int32))


def test_running_sums_of_special_values(device: str) -> None:
    x, y = pair([[1.0, INF, 2.0, -INF, 3.0], [1.0, NAN, 2.0, 3.0, 4.0], [-INF, 1.0, 2.0, 3.0, 4.0]], device=device)
    assert_close(x.cumsum(1), y.cumsum(1))
    assert_close(x.cumsum(0), y.cumsum(0))


def test_nothing_to_reduce(device: str) -> None:
    x, y = random((2, 0, 3), device=device)
    for run in (lambda t: t.cumsum(1), lambda t: t.nansum(1), lambda t: t.norm(2, 1), lambda t: t.max(0).indices):
        assert_close(run(x), run(y))
    assert_close(x.count_nonzero(), y.count_nonzero())


ERRORS = [
    (lambda x: x[:, :0].max(), rt.ShapeError, r"^max: nothing to choose from in shape \[2, 0\]; give a dim"),
    (lambda x: x[:, :0].min(1), rt.ShapeError, r"^min: nothing to choose from along dimension 1 of shape \[2, 0\]"),
    (lambda x: x.max(2), IndexError, "^max: dimension 2 is out of range"),
    (lambda x: x.min(keepdim=True), TypeError, "^min: keepdim needs a dim"),
    (lambda x: x.norm("nuc"), ValueError, "^norm: p is a number, inf, -inf or 'fro', got 'nuc'"),
    (lambda x: x.cumsum(2), IndexError, "^cumsum: dimension 2 is out of range"),
    (lambda x: rt.aminmax(x[:, :0], dim=1), rt.ShapeError, "^amin: nothing to choose from"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3))
