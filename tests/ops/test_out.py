"""``out=``: PyTorch's values in the tensor that was given, in as few kernels as without, and errors that name both sides."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

import rasptorch as rt
from rasptorch import ops
from tests.support.compare import assert_close
from tests.support.counting import counting

from .values import random

Run = Callable[..., Any]

# One call for each operation that takes `out`: of two positive matrices [4, 4].
CALLS: dict[str, Run] = {
    "addmm": lambda m, x, y, **o: m.addmm(x, x, y, beta=0.5, **o),
    "addcmul": lambda m, x, y, **o: m.addcmul(x, x, y, value=2, **o),
    "addcdiv": lambda m, x, y, **o: m.addcdiv(x, x, y, value=2, **o),
    "add": lambda m, x, y, **o: m.add(x, y, alpha=2, **o),
    "div": lambda m, x, y, **o: m.div(x, y, rounding_mode="floor", **o),
    "bmm": lambda m, x, y, **o: m.bmm(x[None], y[None], **o),
    "dot": lambda m, x, y, **o: m.dot(x[0], y[0], **o),
    "vdot": lambda m, x, y, **o: m.vdot(x[0], y[0], **o),
    "mv": lambda m, x, y, **o: m.mv(x, y[0], **o),
    "ger": lambda m, x, y, **o: m.ger(x[0], y[0], **o),
    "outer": lambda m, x, y, **o: m.outer(x[0], y[0], **o),
    "tensordot": lambda m, x, y, **o: m.tensordot(x, y, 1, **o),
    "cat": lambda m, x, y, **o: m.cat([x, y], 1, **o),
    "concat": lambda m, x, y, **o: m.concat([x, y], 1, **o),
    "concatenate": lambda m, x, y, **o: m.concatenate([x, y], 1, **o),
    "stack": lambda m, x, y, **o: m.stack([x, y], 1, **o),
    "hstack": lambda m, x, y, **o: m.hstack([x, y], **o),
    **{name: lambda m, x, y, name=name, **o: getattr(m, name)([x, y], **o) for name in ("column_stack", "dstack", "row_stack")},
    "vstack": lambda m, x, y, **o: m.vstack([x, y], **o),
    "clamp": lambda m, x, y, **o: m.clamp(x, 0.5, 1.0, **o),
    "clip": lambda m, x, y, **o: m.clip(x, 0.5, 1.0, **o),
    "lerp": lambda m, x, y, **o: m.lerp(x, y, 0.3, **o),
    "where": lambda m, x, y, **o: m.where(x > y, x, y, **o),
    "bucketize": lambda m, x, y, **o: m.bucketize(x, y[0].sort().values, **o),
    "searchsorted": lambda m, x, y, **o: m.searchsorted(x.sort().values, y, **o),
    "cross": lambda m, x, y, **o: m.cross(x[:3], y[:3], 0, **o),
    "gather": lambda m, x, y, **o: m.gather(x, 1, m.argsort(y), **o),
    "take_along_dim": lambda m, x, y, **o: m.take_along_dim(x, m.argsort(y), 1, **o),
    "index_select": lambda m, x, y, **o: m.index_select(x, 1, m.argsort(y[0]), **o),
    "index_add": lambda m, x, y, **o: m.index_add(x, 1, m.argsort(y[0]), y, alpha=2, **o),
    "index_copy": lambda m, x, y, **o: m.index_copy(x, 1, m.argsort(y[0]), y, **o),
    "kthvalue": lambda m, x, y, **o: m.kthvalue(x, 2, **o),
    "topk": lambda m, x, y, **o: m.topk(x, 2, **o),
    "median": lambda m, x, y, **o: m.median(x, 1, **o),
    "nanmedian": lambda m, x, y, **o: m.nanmedian(x, 1, **o),
    "addmv": lambda m, x, y, **o: m.addmv(x[0], x, y[0], alpha=2, **o),
    "addr": lambda m, x, y, **o: m.addr(x, x[0], y[0], alpha=2, **o),
    "addbmm": lambda m, x, y, **o: m.addbmm(x, x[None], y[None], alpha=2, **o),
    "baddbmm": lambda m, x, y, **o: m.baddbmm(x, x[None], y[None], alpha=2, **o),
    "mode": lambda m, x, y, **o: m.mode(x, 1, **o),
    "quantile": lambda m, x, y, **o: m.quantile(x, 0.3, 1, **o),
    "nanquantile": lambda m, x, y, **o: m.nanquantile(x, 0.3, 1, **o),
    "cummax": lambda m, x, y, **o: m.cummax(x, 1, **o),
    "cummin": lambda m, x, y, **o: m.cummin(x, 1, **o),
    "cumprod": lambda m, x, y, **o: m.cumprod(x, 1, **o),
    "logcumsumexp": lambda m, x, y, **o: m.logcumsumexp(x, 1, **o),
    "multinomial": lambda m, x, y, **o: m.multinomial(x, 2, **o),
    "cumsum": lambda m, x, y, **o: m.cumsum(x, 1, **o),
    "logsumexp": lambda m, x, y, **o: m.logsumexp(x, 1, **o),
    "norm": lambda m, x, y, **o: m.norm(x, 2, 1, **o),
    "max": lambda m, x, y, **o: m.max(x, 1, **o),
    "min": lambda m, x, y, **o: m.min(x, 1, **o),
    "aminmax": lambda m, x, y, **o: m.aminmax(x, dim=1, **o),
    "isnan": lambda m, x, y, **o: m.eq(x, x, **o),
    "mul_add_relu": lambda m, x, y, **o: m.add(x, y, **o),
    "masked_fill": lambda m, x, y, **o: m.add(x, y, **o),
}  # fmt: skip
ONE_DIM = ("sum", "mean", "prod", "amax", "amin", "any", "all", "argmax", "argmin", "nansum", "nanmean")
MAKING: dict[str, Run] = {
    "zeros": lambda m, **o: m.zeros(2, 3, **o),
    "ones": lambda m, **o: m.ones((2, 3), **o),
    "empty": lambda m, **o: m.empty(2, 3, **o),
    "full": lambda m, **o: m.full((2, 3), 7, **o),
    "arange": lambda m, **o: m.arange(1, 7, 2, **o),
    "linspace": lambda m, **o: m.linspace(0, 1, 5, **o),
    "logspace": lambda m, **o: m.logspace(0, 1, 5, **o),
    "eye": lambda m, **o: m.eye(3, 4, **o),
    "rand": lambda m, **o: m.rand(2, 3, **o),
    "randn": lambda m, **o: m.randn(2, 3, **o),
    "randperm": lambda m, **o: m.randperm(6, **o),
}
INTEGERS = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift", "bitwise_right_shift"}
# `is...` of PyTorch has no out, and random numbers are others; these are checked by the errors below.
NOT_IN_TORCH = {"bernoulli", "multinomial", "isnan", "isinf", "isfinite", "mul_add_relu", "masked_fill", "relu"}
TAKE_OUT = [
    name for name in ops.__all__
    if not inspect.isclass(getattr(ops, name)) and "out" in inspect.signature(getattr(ops, name)).parameters
]  # fmt: skip


def call(name: str) -> Run:
    if name in CALLS:
        return CALLS[name]
    if name in ONE_DIM or name in ("var", "std"):
        return lambda m, x, y, **o: getattr(m, name)(x, dim=1, **o)
    count = sum(p.default is p.empty for p in inspect.signature(getattr(ops, name)).parameters.values())
    return lambda m, x, y, **o: getattr(m, name)(*(x, y)[:count], **o)


@pytest.mark.parametrize("name", [n for n in TAKE_OUT if n not in MAKING and n not in NOT_IN_TORCH])
def test_written_where_told(name: str, device: str) -> None:
    dtype = "int32" if name in INTEGERS else "float32"
    (x, y), (v, w) = random((4, 4), dtype, device, low=0.2, high=0.9), random((4, 4), dtype, device, low=0.3, high=0.9, seed=1)
    expected = call(name)(torch, y, w)
    several = isinstance(expected, tuple)
    wanted = list(expected) if several else [expected]
    targets = [rt.zeros(*t.shape, dtype=str(t.dtype).removeprefix("torch."), device=device) for t in wanted]
    found = call(name)(rt, x, v, out=tuple(targets) if several else targets[0])
    assert (found[0] if several else found) is targets[0]
    for ours, theirs in zip(targets, wanted, strict=True):
        assert_close(ours, theirs)
        assert ours.storage.version > 0


@pytest.mark.parametrize("name", MAKING)
def test_made_where_told(name: str, device: str) -> None:
    expected = MAKING[name](torch)
    target = rt.zeros(*expected.shape, dtype=rt.float64 if device == "cpu" else rt.float32, device=device) - 5
    assert MAKING[name](rt, out=target) is target
    if name in ("rand", "randn", "randperm"):
        assert (target != -5).all().item()
    elif name != "empty":
        assert_close(target, expected.to(torch.float64), check_dtype=False, rtol=1e-6)
    with pytest.raises(rt.ShapeError, match=f"^{name}: the result has shape .*, out .*not resized"):
        MAKING[name](rt, out=rt.zeros(99, device=device))
    with pytest.raises(rt.DTypeError, match=f"^{name}: the result is float32 and out int32"):
        MAKING[name](rt, dtype=rt.float32, out=rt.zeros(*expected.shape, dtype=rt.int32, device=device))


@pytest.mark.parametrize("name", [n for n in TAKE_OUT if n not in MAKING])
def test_errors_name_both_sides(name: str) -> None:
    dtype = "int32" if name in INTEGERS else "float32"
    x, v = random((4, 4), dtype, low=0.2, high=0.9)[0], random((4, 4), dtype, low=0.3, high=0.9, seed=1)[0]
    called = {"isnan": "eq", "mul_add_relu": "add", "masked_fill": "add"}.get(name, name)
    result = call(name)(rt, x, v)
    count = len(result) if isinstance(result, tuple) else 1

    def outs(t: Any) -> Any:
        return (t,) * count if count > 1 else t

    with pytest.raises(rt.ShapeError, match=r": the result has shape \[.*\], out \[7, 9\]; out is not resized"):
        call(name)(rt, x, v, out=outs(rt.zeros(7, 9, dtype=(result[0] if count > 1 else result).dtype)))
    with pytest.raises(TypeError, match="out is a tensor"):
        call(name)(rt, x, v, out=outs([1]) if count == 1 else outs(1))
    if called not in INTEGERS:
        with pytest.raises(RuntimeError, match=r"results written with out= have no gradient"):
            call(name)(rt, x.clone().requires_grad_(), v, out=outs(rt.zeros(4, 4)))


def test_dtypes_of_out() -> None:
    x, y = random((3,), "int32")
    # Elementwise operations convert, to no other kind of number that holds less; others do not.
    assert_close(rt.add(x, 1, out=rt.zeros(3)), torch.add(y, 1, out=torch.zeros(3)))
    assert_close(rt.mul(x, 2, out=rt.zeros(3, dtype=rt.uint8)), torch.mul(y, 2, out=torch.zeros(3, dtype=torch.uint8)))
    with pytest.raises(rt.DTypeError, match="^exp: the result is float32 and out int32"):
        rt.exp(x, out=x)
    with pytest.raises(rt.DTypeError, match="^matmul: the result is float32 and out float64"):
        rt.matmul(rt.ones(2, 2), rt.ones(2, 2), out=rt.zeros(2, 2, dtype=rt.float64))


@pytest.mark.drivers("lavapipe")
def test_devices_of_out(device: str) -> None:
    with pytest.raises(rt.DeviceError, match=rf"^add: the result is on {device}, out on cpu"):
        rt.add(rt.ones(2, device=device), 1, out=rt.ones(2))


def test_gradients_and_out() -> None:
    x, out = rt.ones(2, requires_grad=True), rt.zeros(2)
    with rt.no_grad():
        assert rt.mul(x, 3, out=out).tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="^cat: results written with out="):
        rt.cat([x, out], out=rt.zeros(4))
    with pytest.raises(RuntimeError, match="^add: results written with out="):
        rt.add(out, 1, out=x)
    w = rt.ones(2, requires_grad=True)
    loss = (w * out).sum()
    rt.exp(rt.zeros(2), out=out)
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()
    with pytest.raises(RuntimeError, match="share memory"):
        rt.exp(rt.zeros(2, 3), out=rt.zeros(3).expand(2, 3))


def test_out_may_be_an_operand(device: str) -> None:
    (x, y), (v, w) = random((5, 5), device=device), random((5, 5), device=device, seed=1)
    rt.add(x, v, out=x)
    rt.add(x, x.T, out=x)
    rt.matmul(x, v, out=x)
    rt.sub(x[:-1], v[1:], out=v[:-1])
    expected = y + w
    expected = (expected + expected.T) @ w
    assert_close(x, expected, rtol=1e-5)
    w[:-1] = expected[:-1] - w[1:].clone()
    assert_close(v, w, rtol=1e-5)


@pytest.mark.parametrize("layout", ["plain", "transposed", "part"])
@pytest.mark.parametrize("name", ["exp", "add", "sum", "matmul"])
def test_no_kernel_more_than_without(name: str, layout: str, device: str) -> None:
    """Also for results large enough that enqueueing alone would have them submitted."""
    size = 700
    x, v = rt.rand(size, size, device=device), rt.rand(size, size, device=device)
    shape = (size,) if name == "sum" else (size, size)
    target = rt.zeros(*[2 * n for n in shape], device=device)
    target = target[tuple(slice(n) for n in shape)] if layout == "part" else rt.zeros(*shape, device=device)
    target = target.T if layout == "transposed" else target
    run = call(name)
    run(rt, x, v)
    rt.synchronize(device)
    with counting(device) as plain:
        expected = run(rt, x, v)
        rt.synchronize(device)
    with counting(device) as written:
        run(rt, x, v, out=target)
        rt.synchronize(device)
    assert written.dispatches == plain.dispatches
    assert written.submissions == 1
    assert_close(target, expected.numpy())


def test_names_of_operands() -> None:
    x = rt.tensor([1.0, 2.0])
    assert rt.add(input=x, other=x).tolist() == rt.mul(x, other=2).tolist() == [2, 4]
    assert rt.pow(input=x, exponent=2).tolist() == [1, 4]
    assert rt.where(condition=x > 1, input=x, other=0.0).tolist() == [0, 2]
    assert [places.tolist() for places in rt.where(condition=x > 1)] == [places.tolist() for places in rt.where(x > 1)] == [[1]]
    assert rt.clamp_max(x, max=1).tolist() == [1, 1]
    with pytest.raises(TypeError, match=r"^exp\(input, \*, out=None\) takes no dim"):
        rt.exp(x, dim=1)
    with pytest.raises(TypeError, match="^mul takes 2 operands, got 1"):
        rt.mul(x, out=x)
