"""What `tools/benchmark.py` measures: the same work in NumPy, rasptorch and PyTorch.

To add a workload, write a function that returns a `Workload` and name it in `WORKLOADS`. `_functional` makes all variants of a
function of arrays, `_stepping` those of a training step; anything else may yield its own.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import rasptorch as rt
from rasptorch.runtime import settings
from tools import lenet, mlp, transformer_block

T = TypeVar("T")
Array = NDArray[Any]
FOUR_MI = 4 << 20
LEARNING_RATE = 0.01
CHECKED_STEPS = 20


@dataclass
class Variant:
    """One way to do a workload's work. ``run`` does it ``inner`` times; it is finished when that returns."""

    name: str
    run: Callable[[], object]
    result: (
        Callable[[], Array] | None
    )  # to be compared with NumPy's; None where another variant's is the same
    inner: int = 1
    device: str = ""
    samples: list[float] = field(default_factory=list)  # seconds per iteration
    rounds: list[float] = field(default_factory=list)  # their median in each round
    error: float = math.nan
    counts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Workload:
    """``amount`` of ``unit`` per iteration turns seconds into a speed; ``variants`` takes devices and whether
    to include torch.
    """

    key: str
    title: str
    amount: float
    unit: str
    tolerance: float
    variants: Callable[[Sequence[str], bool], Iterator[Variant]]


def _random(seed: int, *shapes: tuple[int, ...]) -> list[Array]:
    generator = np.random.RandomState(seed)
    return [generator.randn(*shape).astype(np.float32) for shape in shapes]


def _unfused(run: Callable[[], T]) -> Callable[[], T]:
    """The same with a kernel for every operation."""

    def alone() -> T:
        with settings.override(fuse=False):
            return run()

    return alone


# -- a function of arrays, in all its variants ---------------------------------------------------------------
def _functional(
    inputs: Sequence[Array],
    function: Callable[..., Any],
    numpy_function: Callable[..., Any],
    *,
    steady: int = 4,
    into: Callable[..., Any] | None = None,
    torch_function: Callable[..., Any] | None = None,
) -> Callable[[Sequence[str], bool], Iterator[Variant]]:
    """Variants of ``function(*tensors)``. ``into(library, out, *tensors)`` does the same with ``out=`` in every operation and returns
    ``out``; ``library`` is `rasptorch`, `torch` or NumPy under their names.
    """

    def variants(devices: Sequence[str], torch_too: bool) -> Iterator[Variant]:
        expected = np.asarray(numpy_function(*inputs))
        yield Variant("numpy", lambda: numpy_function(*inputs), lambda: expected)
        if into is not None:
            out = np.empty_like(expected)
            yield Variant("numpy, no alloc", lambda: into(NumPy, out, *inputs), lambda: np.array(into(NumPy, out, *inputs)))
        for device in devices:
            tensors = [rt.tensor(x, device=device) for x in inputs]
            yield from _on_device(device, tensors, function, steady)
            if into is not None:
                yield _without_memory(device, tensors, into, expected.shape, steady)
        if torch_too:
            import torch

            theirs = [torch.from_numpy(x) for x in inputs]
            of_torch = torch_function or function
            yield Variant("torch", lambda: of_torch(*theirs), lambda: np.asarray(of_torch(*theirs)))
            if into is not None:
                kept = torch.empty(expected.shape)
                yield Variant(
                    "torch, no alloc", lambda: into(torch, kept, *theirs), lambda: np.array(into(torch, kept, *theirs))
                )

    return variants


class NumPy:
    """Its functions under PyTorch's names."""

    mul, add, sub, sqrt, matmul, sum = np.multiply, np.add, np.subtract, np.sqrt, np.matmul, staticmethod(np.sum)

    @staticmethod
    def clamp_min(x: Array, low: float, out: Array) -> Array:
        return np.maximum(x, low, out=out)


def _on_device(
    device: str, tensors: Sequence[rt.Tensor], function: Callable[..., Any], steady: int
) -> Iterator[Variant]:
    def value() -> Array:
        return np.asarray(function(*tensors).numpy())

    def computed() -> None:
        kept = function(*tensors)  # alive until it is done: results that nobody can see are not computed
        rt.synchronize(device)
        del kept

    def several() -> None:
        kept = [function(*tensors) for _ in range(steady)]
        rt.synchronize(device)
        del kept

    replay = rt.capture(function)

    def replayed() -> None:
        kept = replay(*tensors)
        rt.synchronize(device)
        del kept

    yield Variant(f"{device}, readback", value, value, device=device)
    yield Variant(f"{device}, compute", _unfused(computed), _unfused(value), device=device)
    yield Variant(f"{device}, fused", computed, value, device=device)
    yield Variant(f"{device}, captured", replayed, lambda: np.asarray(replay(*tensors).numpy()), device=device)
    yield Variant(f"{device}, steady", several, value, steady, device)


def _without_memory(
    device: str, tensors: Sequence[rt.Tensor], into: Callable[..., Any], shape: tuple[int, ...], steady: int
) -> Variant:
    """Every result written to the same tensor; each in a batch of its own, since what a batch overwrites unread is not computed."""
    out = rt.empty(shape, device=device)
    stream = rt.current_stream(device)

    def run() -> None:
        for _ in range(steady):
            into(rt, out, *tensors)
            stream.flush()
        rt.synchronize(device)

    return Variant(f"{device}, no alloc", run, lambda: np.asarray(into(rt, out, *tensors).numpy()), steady, device)


# -- the workloads -------------------------------------------------------------------------------------------
def _chain(x: Any, a: Any, b: Any) -> Any:
    for _ in range(100):
        x = x * a
        x = x + b
    return x


def _chain_into(library: Any, out: Any, x: Any, a: Any, b: Any) -> Any:
    for _ in range(100):
        x = library.mul(x, a, out=out)
        x = library.add(x, b, out=out)
    return out


def _w1() -> Workload:
    x, a, b = _random(1, (64, 64), (64, 64), (64, 64))
    inputs = x, np.float32(1) + np.float32(0.001) * a, np.float32(0.001) * b
    made = _functional(inputs, _chain, _chain, steady=8, into=_chain_into)
    return Workload("w1", "200 operations in a chain, 64 x 64", 200, "op/s", 1e-4, made)


def _relu_into(library: Any, out: Any, x: Any, y: Any) -> Any:
    library.mul(x, y, out=out)
    library.add(out, x, out=out)
    return library.clamp_min(out, 0.0, out=out)  # PyTorch's relu has no out=


def _w2() -> Workload:
    made = _functional(
        _random(2, (FOUR_MI,), (FOUR_MI,)),
        lambda x, y: (x * y + x).relu(),
        lambda x, y: np.maximum(x * y + x, 0),
        into=_relu_into,
    )
    return Workload("w2", "relu(x * y + x), 4 Mi floats", 12 * FOUR_MI / 1e9, "GB/s", 1e-5, made)


def _nine(x: Any, y: Any, relu: Callable[[Any], Any], sqrt: Callable[[Any], Any]) -> Any:
    d = relu((x * y + x) * 0.5) - y
    return sqrt(d * d + 1.0) - x


def _nine_into(library: Any, out: Any, x: Any, y: Any) -> Any:
    library.mul(x, y, out=out)
    library.add(out, x, out=out)
    library.mul(out, 0.5, out=out)
    library.clamp_min(out, 0.0, out=out)
    library.sub(out, y, out=out)
    library.mul(out, out, out=out)
    library.add(out, 1.0, out=out)
    library.sqrt(out, out=out)
    return library.sub(out, x, out=out)


def _e9() -> Workload:
    made = _functional(
        _random(9, (FOUR_MI,), (FOUR_MI,)),
        lambda x, y: _nine(x, y, lambda v: v.relu(), lambda v: v.sqrt()),
        lambda x, y: _nine(x, y, lambda v: np.maximum(v, 0), np.sqrt),
        into=_nine_into,
    )
    return Workload("e9", "9 elementwise operations, 4 Mi floats", 12 * FOUR_MI / 1e9, "GB/s", 1e-4, made)


def _w3(n: int) -> Workload:
    made = _functional(
        _random(3, (n, n), (n, n)),
        lambda a, b: a @ b,
        lambda a, b: a @ b,
        into=lambda library, out, a, b: library.matmul(a, b, out=out),
    )
    return Workload(f"w3.{n}", f"matmul, {n} x {n}", 2 * n**3 / 1e9, "GFLOP/s", 1e-4, made)


def _w7() -> Workload:
    made = _functional(
        _random(2, (FOUR_MI,)),
        lambda x: x.sum(),
        lambda x: x.sum(),
        into=lambda library, out, x: library.sum(x, 0, out=out),
    )
    return Workload("w7", "sum, 4 Mi floats", 4 * FOUR_MI / 1e9, "GB/s", 1e-4, made)


def _w8() -> Workload:
    def variants(devices: Sequence[str], torch_too: bool) -> Iterator[Variant]:
        one = np.full(1, 3.0, np.float32)
        yield Variant("numpy", lambda: [float((one * 2)[0]) for _ in range(100)], lambda: one * 2, 100)
        for device in devices:
            yield _scalar(f"{device}, readback", rt.tensor(one, device=device), device)
        if torch_too:
            import torch

            yield _scalar("torch", torch.from_numpy(one))

    return Workload("w8", "one small operation and its value as a Python number", 1, "1/s", 1e-6, variants)


def _scalar(name: str, tensor: Any, device: str = "") -> Variant:
    return Variant(
        name,
        lambda: [(tensor * 2).item() for _ in range(10)],
        lambda: np.array([(tensor * 2).item()]),
        10,
        device,
    )


# -- training ------------------------------------------------------------------------------------------------
def _models(key: str, what: str, example: Any) -> Callable[[], Workload]:
    """Training steps of one of the models in this folder: by hand in NumPy, in rasptorch in all variants, in PyTorch."""

    def variants(devices: Sequence[str], torch_too: bool) -> Iterator[Variant]:
        yield _training("numpy", example.ByHand(LEARNING_RATE).step, float)
        for device in devices:
            yield from _stepping(descent(rt, example, lambda v, d=device: rt.tensor(v, device=d)), device)  # type: ignore[misc]
        if torch_too:
            import torch

            yield _training("torch", descent(torch, example, torch.from_numpy), _item)

    return lambda: Workload(key, f"training step, {what}", 1, "step/s", 1e-3, variants)


def descent(library: Any, example: Any, tensor: Callable[[Array], Any]) -> Callable[[], Any]:
    """A step of plain gradient descent that returns the loss; the same lines for rasptorch and PyTorch."""
    nn = importlib.import_module(f"{library.__name__}.nn")
    x, target = map(tensor, example.data())
    model, loss_of = example.model(nn, tensor), getattr(nn.functional, example.LOSS)
    optimizer = importlib.import_module(f"{library.__name__}.optim").SGD(model.parameters(), lr=LEARNING_RATE)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(model(x), target)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _stepping(step: Callable[[], Any], device: str) -> Iterator[Variant]:
    """A training step that returns its loss, in all variants; the captured one goes on from where the others have led."""
    replay = rt.capture(step, device=device)
    yield _training(f"{device}, readback", step, _item, device)
    yield Variant(f"{device}, compute", _unfused(_repeat(step, 1, device)), None, 1, device)
    yield Variant(f"{device}, fused", _repeat(step, 1, device), None, 1, device)
    yield Variant(f"{device}, captured", _repeat(replay, 1, device), None, 1, device)
    yield Variant(f"{device}, steady", _repeat(step, 10, device), None, 10, device)


def _repeat(step: Callable[[], Any], times: int, device: str) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            step()
        rt.synchronize(device)

    return run


def _training(name: str, step: Callable[[], Any], value: Callable[[Any], float], device: str = "") -> Variant:
    """Its result is the losses of the first steps: take it before anything is measured."""
    return Variant(
        name,
        lambda: value(step()),
        lambda: np.array([value(step()) for _ in range(CHECKED_STEPS)]),
        1,
        device,
    )


def _item(loss: Any) -> float:
    return float(loss.item())


WORKLOADS: tuple[Callable[[], Workload], ...] = (
    _w1, _w2, _e9, lambda: _w3(256), lambda: _w3(512), lambda: _w3(1024),
    _models("w4", "MLP 784-512-512-10, batch 64", mlp), _models("w5", "LeNet 28 x 28, batch 32", lenet),
    _models("w6", "transformer block, 8 x 64 x 128", transformer_block), _w7, _w8,
)  # fmt: skip
