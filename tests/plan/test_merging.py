"""The same program on many tensors is one dispatch, wherever they lie, and gives the bits of one dispatch each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rasptorch as rt
from rasptorch import Tensor, nn, optim
from rasptorch.runtime import settings
from tests.plan.looking import here
from tests.support.counting import counting

pytestmark = [pytest.mark.every_driver, pytest.mark.fresh]

SIZES = [(1,), (2,), (3,), (), (4,), (5,), (7, 3), (1023,), (1024,), (1025,), (33, 129), (8, 8, 8)]


def in_place(device: str, tensors: list[Tensor], change: Callable[[int, Tensor], Any]) -> Any:
    """Change all tensors in one batch; the statistics of it."""
    rt.synchronize(device)
    with counting(device) as n:
        for k, tensor in enumerate(tensors):
            change(k, tensor)
        rt.device(device).flush()
    return n


def alike(device: str, start: Callable[[], list[Tensor]], change: Callable[[int, Tensor], Any], dispatches: int) -> None:
    """Merged into so many dispatches, the tensors get the bits that one dispatch each gives them."""
    merged, alone = start(), start()
    n = in_place(device, merged, change)
    with settings.override(fuse=False):
        plain = in_place(device, alone, change)
    if device != "cpu":
        assert n.dispatches == dispatches and plain.dispatches > dispatches
    for a, b in zip(merged, alone, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def drawn(device: str, dtype: str = "float32", sizes: Any = SIZES) -> list[Tensor]:
    rng = np.random.default_rng(5)
    return [here((rng.normal(size=s) * 4 + 4).astype(dtype), device) for s in sizes]


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "bool", "int32"])
def test_any_size_any_dtype(dtype: str, device: str) -> None:
    if dtype == "bool":
        alike(device, lambda: drawn(device, dtype), lambda k, t: t.logical_not_(), 1)
    else:
        # Each has a number of its own.
        alike(device, lambda: drawn(device, dtype), lambda k, t: t.mul_(3 + k), 1)


def test_neighbours_are_left_alone(device: str) -> None:
    """Pieces of one tensor that begin anywhere, with gaps between them."""

    def run() -> tuple[Any, Any]:
        whole = here(np.arange(999, dtype=np.float32), device)
        n = in_place(device, [whole[a:b] for a, b in ((1, 4), (64, 128), (200, 261), (300, 301))], lambda k, t: t.mul_(-2 - k))
        return whole.numpy(), n

    got, n = run()
    with settings.override(fuse=False):
        wanted, _ = run()
    np.testing.assert_array_equal(got, wanted)
    if device != "cpu":
        assert n.dispatches <= 3  # pieces that begin at a multiple of four elements are another shader


def test_more_tensors_than_a_table_has_rows(device: str) -> None:
    sizes = [(5 + k % 3,) for k in range(150)]
    alike(device, lambda: drawn(device, sizes=sizes), lambda k, t: t.mul_(k), 3)


def test_large_ones_go_alone(device: str) -> None:
    sizes = [(1 << 20,), (1 << 20,), (10,), (20,)]
    alike(device, lambda: drawn(device, sizes=sizes), lambda k, t: t.mul_(2), 3)


def test_two_programs_on_interleaved_memory(device: str) -> None:
    """What is bound overlaps, so a barrier comes between; the validation layers would say so otherwise."""

    def change(k: int, t: Tensor) -> Any:
        return t.mul_(3) if k % 2 else t.exp_()

    sizes = [(64,)] * 8
    tensors = drawn(device, sizes=sizes)
    n = in_place(device, tensors, change)
    if device != "cpu":
        assert (n.dispatches, n.barriers) == (2, 2)
    alike(device, lambda: drawn(device, sizes=sizes), change, 2)


def test_tensors_of_several_blocks(device: str) -> None:
    """Some were uploaded, some were computed: on most devices these lie in memory of different kinds."""

    def start() -> list[Tensor]:
        made = drawn(device, sizes=[(40,)] * 6)
        return made[:3] + [t + 1 for t in made[3:]]

    merged = start()
    n = in_place(device, merged, lambda k, t: t.mul_(2))
    assert device == "cpu" or n.dispatches <= 2
    for k, (a, b) in enumerate(zip(merged, start(), strict=True)):
        np.testing.assert_array_equal(a.numpy(), b.numpy() * 2, err_msg=str(k))


def test_one_element_operands(device: str) -> None:
    """A scale that lies on the device is read by all of them."""
    scale = here(np.float32(0.25), device)
    alike(device, lambda: drawn(device, sizes=SIZES[4:]), lambda k, t: t.mul_(scale), 1)


def test_walked_by_coordinates(device: str) -> None:
    sizes = [(6, 8), (10, 4), (3, 12), (5, 20)]

    def change(k: int, t: Tensor) -> Any:
        return t.T.mul_(2 + k) if k < 2 else t[:, ::2].mul_(2 + k)

    alike(device, lambda: drawn(device, sizes=sizes), change, 2)


@pytest.mark.parametrize("name", ["sum", "amax"])
def test_sums_of_many_tensors(name: str, device: str) -> None:
    """Whole tensors, short and long ones, and rows of each."""
    sizes = [(64,), (128,), (1028,), (64, 64), (512, 40), (200, 300), (7,), (31,)]

    def run(dim: int | None) -> tuple[list[Any], Any]:
        tensors = drawn(device, sizes=sizes)
        rt.synchronize(device)
        with counting(device) as n:
            made = [getattr(t * t, name)(*(() if dim is None else (dim,))) for t in tensors]
            rt.device(device).flush()
        return [m.numpy() for m in made], n

    for dim in (None, -1):
        merged, n = run(dim)
        with settings.override(fuse=False):
            alone, plain = run(dim)
        for a, b in zip(merged, alone, strict=True):
            np.testing.assert_array_equal(a, b)
        if device != "cpu":
            assert n.dispatches <= 6 < plain.dispatches


def test_profile_still_names_every_kernel(device: str) -> None:
    tensors = drawn(device, sizes=[(64,)] * 5)
    rt.synchronize(device)
    with rt.profile() as recorded:
        in_place(device, tensors, lambda k, t: t.mul_(2))
        rt.synchronize(device)
    assert "mul" in recorded.table()


@pytest.mark.parametrize(
    ("name", "options", "most"),
    [("SGD", {"lr": 0.1}, 1), ("SGD", {"lr": 0.1, "momentum": 0.9}, 1), ("Adam", {}, 1), ("Adam", {"amsgrad": True}, 2)],
)
def test_an_optimisers_step_is_a_few_dispatches(name: str, options: dict[str, Any], most: int, device: str) -> None:
    """Sixteen parameters whose gradients come from an earlier batch."""
    rng = np.random.default_rng(1)
    shapes = [(64, 48), (48,)] * 8
    values, gradients = ([rng.normal(size=s).astype(np.float32) for s in shapes] for _ in range(2))

    def run() -> tuple[list[Any], Any]:
        parameters = [nn.Parameter(here(v, device)) for v in values]
        optimizer = getattr(optim, name)(parameters, **options)
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = here(g, device)
        for _ in range(2):
            optimizer.step()
        with counting(device) as n:
            optimizer.step()
        return [p.detach().numpy() for p in parameters], n

    merged, n = run()
    with settings.override(fuse=False):
        alone, plain = run()
    for a, b in zip(merged, alone, strict=True):
        np.testing.assert_array_equal(a, b)
    assert n.commands == plain.commands and n.plan_misses == 0 and n.submissions == 1
    if device != "cpu":
        assert n.dispatches <= most < 16 <= plain.dispatches
