"""Configurations of layers drawn at random: what a table's rows are made with, and what comes of running one in both libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch import nn
from tests.support.compare import assert_close

from .both import Array, array

NEAR = {"rtol": 5e-4, "atol": 2e-4}


@dataclass
class Case:
    """One configuration. Arrays become tensors of either library, in options and keywords without gradients; functions among ``args``
    are called with the library's ``nn``. Inputs of floating-point numbers have gradients.
    """

    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    training: bool = True


class Draw:
    """Short words for what hypothesis draws. Arrays are never twice the same."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self._arrays = 0

    def of(self, *values: Any) -> Any:
        return self._data.draw(st.sampled_from(values))

    def flag(self) -> bool:
        return bool(self.of(False, True))

    def number(self, low: int = 1, high: int = 4) -> int:
        return self._data.draw(st.integers(low, high))

    def numbers(self, count: int, low: int = 1, high: int = 4) -> tuple[int, ...]:
        return tuple(self.number(low, high) for _ in range(count))

    def shape(self, least: int = 0, most: int = 3, low: int = 1, high: int = 4) -> tuple[int, ...]:
        return self.numbers(self.number(least, most), low, high)

    def flags(self, names: str) -> dict[str, bool]:
        return {name: self.flag() for name in names.split()}

    def array(self, *shape: int, low: float = -2.0, high: float = 2.0) -> Array:
        self._arrays += 1
        return array(*shape, seed=self._arrays, low=low, high=high)

    def whole(self, below: int, *shape: int) -> Array:
        self._arrays += 1
        return np.random.default_rng(self._arrays).integers(0, below, shape)


Row = Callable[[Draw], Case]


def _with(value: Any, make: Callable[[Array], Any]) -> Any:
    """The same structure, with ``make`` of every array."""
    if isinstance(value, np.ndarray):
        return make(value)
    if isinstance(value, tuple):
        return tuple(_with(part, make) for part in value)
    return {key: _with(part, make) for key, part in value.items()} if isinstance(value, dict) else value


def tensors(value: Any) -> Iterator[Any]:
    """The tensors in tuples and dictionaries, in order."""
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors(part)
    elif isinstance(value, (rt.Tensor, torch.Tensor)):
        yield value


def _build(library: Any, build: Any, case: Case, plain: Callable[[Array], Any]) -> Any:
    args = tuple(a(library) if callable(a) else a for a in _with(case.args, plain))
    return build(*args, **_with(case.options, plain)).train(case.training)


def same(name: str, case: Case, device: str, theirs: Any = None) -> None:
    """The same module with the same parameters: outputs, buffers afterwards, gradients of inputs and parameters."""

    def leaf(a: Array) -> rt.Tensor:
        return rt.tensor(a, device=device, requires_grad=a.dtype.kind == "f")

    its = _build(torch.nn, theirs or getattr(torch.nn, name), case, torch.tensor)
    for n, p in enumerate(its.parameters()):
        p.data = torch.tensor(array(*p.shape, seed=n, low=-1.0, high=1.0))
    mine = _build(nn, getattr(nn, name), case, rt.tensor).to(device)
    mine.load_state_dict(its.state_dict())
    xs = _with(case.inputs, leaf)
    ys = _with(case.inputs, lambda a: torch.tensor(a, requires_grad=a.dtype.kind == "f"))
    made = list(tensors(mine(*xs, **_with(case.keywords, lambda a: rt.tensor(a, device=device)))))
    wanted = list(tensors(its(*ys, **_with(case.keywords, torch.tensor))))
    assert len(made) == len(wanted)
    for n, (a, b) in enumerate(zip(made, wanted, strict=True)):
        assert_close(a, b, **NEAR, what=f"output {n}")
        assert a.requires_grad == b.requires_grad, f"output {n}: requires_grad"
    for key, value in its.state_dict().items():
        assert_close(mine.state_dict()[key], value, **NEAR, what=f"{key} after forward")
    both = [(a, b, array(*a.shape, seed=n)) for n, (a, b) in enumerate(zip(made, wanted, strict=True)) if b.requires_grad]
    if both:
        rt.autograd.backward([a for a, _, _ in both], [rt.tensor(w, device=device) for _, _, w in both])
        torch.autograd.backward([b for _, b, _ in both], [torch.tensor(w) for _, _, w in both])
    compared = [(f"of input {n}", x, y) for n, (x, y) in enumerate(zip(tensors(xs), tensors(ys), strict=True))]
    compared += [(f"of {key}", p, q) for (key, p), q in zip(mine.named_parameters(), its.parameters(), strict=True)]
    for what, x, y in compared:
        if y.grad is None:
            assert x.grad is None or not np.abs(x.grad.numpy()).any(), f"gradient {what}"
        else:
            assert x.grad is not None, f"no gradient {what}"
            assert_close(x.grad, y.grad, **NEAR, what=f"gradient {what}")
