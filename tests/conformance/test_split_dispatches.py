"""Dispatches too large for a small GPU go out in pieces, with the same results."""

from __future__ import annotations

import numpy as np
import pytest

import rasptorch as rt
from rasptorch.nn import functional as F
from rasptorch.runtime import settings
from rasptorch.runtime.vulkan.split import pieces
from tests.support.counting import counting

pytestmark = [pytest.mark.drivers("lavapipe", "swiftshader")]


def test_pieces_cover_everything_once() -> None:
    for groups, work, limit in (((7, 1, 1), 70, 20), ((5, 9, 1), 900, 100), ((3, 4, 6), 720, 50), ((1, 1, 1), 99, 1)):
        found = pieces(groups, work, limit)
        cells = [
            (base[0] + x, base[1] + y, base[2] + z)
            for base, count in found
            for x in range(count[0]) for y in range(count[1]) for z in range(count[2])
        ]  # fmt: skip
        assert len(cells) == len(set(cells)) == groups[0] * groups[1] * groups[2]


def test_small_work_stays_whole() -> None:
    assert pieces((9, 9, 9), 100, 100) == [((0, 0, 0), (9, 9, 9))]
    assert pieces((9, 9, 9), 100, 0) == [((0, 0, 0), (9, 9, 9))]


def test_results_are_the_same(device: str) -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal((3, 70, 70)).astype(np.float32) for _ in range(2))

    def run() -> list[np.ndarray]:
        x, y = rt.tensor(a, device=device), rt.tensor(b, device=device)
        images, kernel = x.reshape(2, 3, 50, 49), y[:, :4, :3].reshape(4, 3, 1, 3)
        resized = [F.conv2d(images, kernel, padding=1), F.max_pool2d(images, 3, 2), F.interpolate(images, 30, mode="bilinear")]
        return [
            (x * y + 1).numpy(), x.sum(2).numpy(), (x @ y).relu().numpy(), x.log_softmax(-1).numpy(), *(r.numpy() for r in resized),
        ]  # fmt: skip

    whole = run()
    with settings.override(dispatch_work=4000), counting(device) as n:
        parts = run()
    assert n.dispatches > 16
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one, other)
