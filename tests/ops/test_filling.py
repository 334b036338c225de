"""Tensors filled with random numbers: the distributions' moments and ranges, equal numbers on every device, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

COUNT = 40_000
# Per method: a call, and the values that this share of the numbers is below.
DRAWN: dict[str, tuple[Any, dict[float, float]]] = {
    "normal_": (lambda x, g: x.normal_(2, 3, generator=g), {2.0: 0.5, 5.0: 0.8413, -1.0: 0.1587}),
    "log_normal_": (lambda x, g: x.log_normal_(1, 0.5, generator=g), {math.e: 0.5, math.exp(1.5): 0.8413}),
    "uniform_": (lambda x, g: x.uniform_(-1, 3, generator=g), {-1.0: 0.0, 0.0: 0.25, 2.0: 0.75, 3.001: 1.0}),
    "exponential_": (lambda x, g: x.exponential_(2, generator=g), {0.0: 0.0, math.log(2) / 2: 0.5, 1.5: 1 - math.exp(-3)}),
    "cauchy_": (lambda x, g: x.cauchy_(1, 2, generator=g), {1.0: 0.5, 3.0: 0.75, -1.0: 0.25}),
    "geometric_": (lambda x, g: x.geometric_(0.3, generator=g), {0.5: 0.0, 1.5: 0.3, 2.5: 0.51}),
    "bernoulli_": (lambda x, g: x.bernoulli_(0.3, generator=g), {-0.5: 0.0, 0.5: 0.7, 1.5: 1.0}),
    "random_": (lambda x, g: x.random_(-2, 6, generator=g), {-2.5: 0.0, -1.5: 0.125, 1.5: 0.5, 5.5: 1.0}),
}  # fmt: skip


@pytest.mark.every_driver
@pytest.mark.parametrize("name", DRAWN)
def test_distributions(name: str, device: str) -> None:
    run, shares = DRAWN[name]
    x = rt.empty(COUNT, device=device)
    assert run(x, rt.Generator(5)) is x
    values = x.numpy()
    for bound, share in shares.items():
        assert abs((values < bound).mean() - share) < 0.015, bound
    assert_close(run(rt.empty(COUNT), rt.Generator(5)), torch.from_numpy(values.copy()), rtol=1e-4, atol=1e-5)
    again = run(rt.empty(COUNT, device=device), rt.Generator(6))
    assert not np.array_equal(again.numpy(), values)


def test_other_dtypes_layouts_and_bounds(device: str) -> None:
    for dtype in ("float16", "bfloat16"):
        for name in ("normal_", "uniform_", "exponential_", "bernoulli_", "random_"):
            x = rt.full((50, 3), -9.0, dtype=dtype, device=device)
            assert getattr(x.T[1:], name)().dtype is x.dtype
            assert (x[:, 0] == -9).all().item() and not (x[:, 1] == -9).any().item()
    for dtype, most in (("uint8", 255), ("bool", 1), ("int32", 2**31 - 1)):
        x = rt.zeros(2000, dtype=dtype, device=device).random_(generator=rt.Generator(2))
        assert 0 <= int(x.numpy().min()) < most / 2 < int(x.numpy().max()) <= most
    x = rt.zeros(2000, device=device).random_(7)
    assert sorted(set(x.tolist())) == list(range(7))
    assert rt.zeros(500, dtype="int32", device=device).geometric_(0.9).numpy().min() == 1
    chance = rt.tensor([0.0, 1.0], device=device)
    assert rt.empty(100, 2, dtype="int32", device=device).bernoulli_(chance).float().mean(0).tolist() == [0, 1]
    assert rt.zeros(9, dtype="int64").random_().numpy().min() > 0


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda x: x.normal_(0, -1), ValueError, "^normal_: a standard deviation is not negative, got -1"),
    (lambda x: x.log_normal_(0, 0), ValueError, "^log_normal_: a standard deviation is above 0, got 0"),
    (lambda x: x.uniform_(1, 0), ValueError, "^uniform_: the first bound is not above the second, got 1 and 0"),
    (lambda x: x.exponential_(0), ValueError, "^exponential_: lambd is above 0, got 0"),
    (lambda x: x.cauchy_(0, 0), ValueError, "^cauchy_: sigma is above 0, got 0"),
    (lambda x: x.geometric_(1), ValueError, "^geometric_: p is between 0 and 1, got 1"),
    (lambda x: x.bernoulli_(2), ValueError, "^bernoulli_: p is from 0 to 1, got 2"),
    (lambda x: x.random_(3, 3), ValueError, "^random_: the first bound is below the second, got 3 and 3"),
    (lambda x: x.byte().random_(0, 300), ValueError, "^random_: uint8 does not hold all numbers from 0 to 299"),
    (lambda x: x.int().normal_(), rt.DTypeError, "^normal_ fills floating-point tensors, this one is int32; see random_"),
    (lambda x: x.requires_grad_().uniform_(), RuntimeError, "^uniform_: a leaf tensor that requires gradients"),
    (lambda x: x[:1].expand(4, 3).normal_(), RuntimeError, "^normal_: several elements of this expanded tensor"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(2, 3))
