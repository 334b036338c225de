"""Random numbers: the published generator, the same bits everywhere, the right distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest

import rasptorch as rt


def test_the_same_seed_gives_the_same_bits_on_every_device(device: str) -> None:
    for seed in (0, 1, 2**40 + 7, -1):
        ours = rt.rand(1001, generator=rt.Generator(seed), device=device).numpy()
        host = rt.rand(1001, generator=rt.Generator(seed)).numpy()
        assert np.array_equal(ours, host)


def test_seeding(device: str) -> None:
    rt.manual_seed(5)
    first, second = rt.rand(4, device=device).tolist(), rt.rand(4, device=device).tolist()
    rt.manual_seed(5)
    assert rt.rand(4, device=device).tolist() == first != second
    generator = rt.Generator(9)
    state = generator.get_state()
    drawn = rt.randn(3, generator=generator, device=device).tolist()
    generator.set_state(state)
    assert rt.randn(3, generator=generator, device=device).tolist() == drawn
    assert generator.initial_seed() == 9
    assert rt.Generator().initial_seed() != rt.Generator().initial_seed()


def test_nothing_depends_on_batching(device: str) -> None:
    a, b = rt.Generator(3), rt.Generator(3)
    together = [rt.rand(5, generator=a, device=device) for _ in range(3)]
    apart = [rt.rand(5, generator=b, device=device).tolist() for _ in range(3)]
    assert [t.tolist() for t in together] == apart


def test_uniform(device: str) -> None:
    x = rt.rand(100_000, generator=rt.Generator(1), device=device).numpy()
    assert 0.0 <= x.min() < 1e-3 and 1 - 1e-3 < x.max() < 1.0
    counts = np.histogram(x, 100, (0, 1))[0]
    chi = ((counts - 1000) ** 2 / 1000).sum()
    assert chi < 160, "99 degrees of freedom: 160 is beyond 1 in 10,000"
    assert np.array_equal(x * 2**24, np.floor(x * 2**24))


def test_normal(device: str) -> None:
    x = rt.randn(100_000, generator=rt.Generator(2), device=device).numpy().astype(np.float64)
    assert abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02
    assert abs((x**3).mean()) < 0.05 and abs((x**4).mean() - 3) < 0.15
    for edge in (-1.0, 0.5, 2.0):
        assert abs((x < edge).mean() - 0.5 * (1 + math.erf(edge / math.sqrt(2)))) < 0.01
    assert np.isfinite(x).all()


def test_bernoulli(device: str) -> None:
    p = rt.tensor([[0.0, 1.0, 0.25]], device=device).expand(40_000, 3)
    x = rt.bernoulli(p, generator=rt.Generator(4)).numpy()
    assert set(np.unique(x)) == {0.0, 1.0}
    assert x[:, 0].max() == 0 and x[:, 1].min() == 1 and abs(x[:, 2].mean() - 0.25) < 0.015
    assert p.bernoulli().dtype is rt.float32


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_dtypes_and_shapes(dtype: str) -> None:
    for make in (rt.rand, rt.randn):
        x = make(2, 3, dtype=dtype, requires_grad=True)
        assert x.dtype.name == dtype and x.shape == (2, 3) and x.requires_grad and x.is_leaf
    like = rt.zeros(3, 0, dtype=dtype)
    assert rt.rand_like(like).layout is like.layout and rt.randn_like(like).layout is like.layout
    assert rt.rand(()).shape == ()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_uniforms_of_short_floats_stay_below_one(dtype: str) -> None:
    assert rt.rand(200_000, dtype=dtype, generator=rt.Generator(0)).to("float32").amax().item() < 1.0


def test_whole_numbers_are_refused() -> None:
    with pytest.raises(rt.DTypeError, match="rand gives floating-point numbers, not int32"):
        rt.rand(2, dtype="int32")
