"""Transforms of batches: what they compute, what they refuse, and that a batch's random numbers are its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rasptorch import data
from rasptorch.data.randomness import making_batch

IMAGES = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)


def made(transform: Any, batch: Any, number: int = 0) -> Any:
    with making_batch((7, 0), number):
        return transform(batch)


def test_to_float_and_normalize() -> None:
    change = data.Compose([data.ToFloat(), data.Normalize([0.1, 0.2, 0.3], [1.0, 2.0, 4.0])])
    expected = (IMAGES / 255.0 - np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1)) / np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    out = change(IMAGES)
    assert out.dtype == np.float32 and np.allclose(out, expected, atol=1e-6)
    assert data.ToFloat()(np.array([0.5])).tolist() == [0.5]
    with pytest.raises(data.DataError, match=r"2 values for the channels of a batch of shape \[2, 3, 4, 5\]"):
        data.Normalize([0.0, 1.0], [1.0, 1.0])(IMAGES)
    with pytest.raises(data.DataError, match="must not be 0"):
        data.Normalize(0.0, 0.0)


@pytest.mark.parametrize(("flip", "axis"), [(data.RandomHorizontalFlip, 3), (data.RandomVerticalFlip, 2)])
def test_flips(flip: Any, axis: int) -> None:
    assert (made(flip(1.0), IMAGES) == np.flip(IMAGES, axis)).all()
    assert (made(flip(0.0), IMAGES) == IMAGES).all()
    many = np.tile(IMAGES[:1], (400, 1, 1, 1))
    mirrored = (made(flip(0.25), many) != many).any((1, 2, 3))
    assert 60 < mirrored.sum() < 140
    with pytest.raises(data.DataError, match="between 0 and 1"):
        flip(2.0)


@pytest.mark.parametrize("batch", [IMAGES, IMAGES[:, 0]], ids=["channels", "plain"])
def test_crop(batch: Any) -> None:
    out = made(data.RandomCrop((2, 3)), batch)
    assert out.shape == (*batch.shape[:-2], 2, 3) and out.flags.c_contiguous
    for image, source in zip(out, batch, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(source, (2, 3), axis=(-2, -1))
        places = [(r, c) for r in range(3) for c in range(3) if (windows[..., r, c, :, :] == image).all()]
        assert len(places) == 1
    many = made(data.RandomCrop((4, 5), padding=1, fill=9), np.ones((300, 4, 5)))
    assert {int(image[0, 0]) for image in many} == {1, 9}
    with pytest.raises(data.DataError, match="9 x 9 does not fit into images of 6 x 7, padding included"):
        made(data.RandomCrop(9, padding=1), IMAGES)
    with pytest.raises(data.DataError, match=r"images are .* got shape \[4\]"):
        made(data.RandomCrop(1), np.zeros(4))


def test_one_hot() -> None:
    assert data.OneHot(3)(np.array([[2, 0]])).tolist() == [[[0, 0, 1], [1, 0, 0]]]
    with pytest.raises(data.DataError, match="from 0 to 3, expected 0 to 2"):
        data.OneHot(3)(np.array([0, 3]))
    with pytest.raises(data.DataError, match="float64"):
        data.OneHot(3)(np.array([0.0]))


def test_random_numbers_belong_to_the_batch() -> None:
    one, two, again = (made(lambda b: data.batch_random().random(4).tolist(), None, number) for number in (1, 2, 1))
    assert one == again != two
    with pytest.raises(data.DataError, match="no batch is being made"):
        data.batch_random()
