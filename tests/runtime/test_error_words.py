"""Errors that only the data shows: kernels note the first one and stay in bounds, the next sync point raises it."""

from __future__ import annotations

import pytest

import rasptorch as rt
from rasptorch.ops.checked_index import checked_index
from tests.support.manual import Manual

pytestmark = pytest.mark.every_driver


def indices(values: list[int], device: object) -> rt.Tensor:
    return rt.tensor(values, dtype=rt.int32, device=device)


def test_the_first_offence_is_reported_where_somebody_waits(device: str) -> None:
    found = checked_index(indices([0, 3, 9, -1], device), 4, "test: index")  # enqueueing does not complain
    with pytest.raises(IndexError, match=r"test: index: index 9 is out of range; indices go from -4 to 3"):
        rt.synchronize(device)
    # Told once; the rest of the result is right, and an index out of range reads element 0.
    assert found.tolist() == [0, 3, 0, 3]


def test_indices_that_may_not_be_negative(device: str) -> None:
    checked_index(indices([0, -1], device), 4, "test: class", wrap=False)
    with pytest.raises(IndexError, match=r"test: class: index -1 is out of range; indices go from 0 to 3"):
        rt.synchronize(device)


def test_good_indices_raise_nothing(device: str) -> None:
    assert checked_index(indices([-4, -1, 0, 3], device), 4, "test: good").tolist() == [0, 3, 0, 3]
    rt.synchronize(device)


def test_a_value_that_was_read_with_the_error_can_be_read_again(device: str) -> None:
    later = checked_index(indices([7], device), 4, "test: again").readback()
    with pytest.raises(IndexError, match="test: again: index 7"):
        later.wait()
    assert later.wait().tolist() == [0]


def test_only_the_first_of_several_offences_is_kept(device: str) -> None:
    first = checked_index(indices([5], device), 4, "test: one")
    second = checked_index(indices([6], device), 4, "test: two")
    with pytest.raises(IndexError, match="test: one: index 5"):
        rt.synchronize(device)
    rt.synchronize(device)
    assert (first.tolist(), second.tolist()) == ([0], [0])


def test_an_error_in_a_large_tensor_is_found(device: str) -> None:
    values = rt.arange(300_000, dtype=rt.int32, device=device)
    checked_index(values, 299_999, "test: large")
    with pytest.raises(IndexError, match="test: large: index 299999 is out of range; indices go from -299999 to 299998"):
        rt.synchronize(device)


def test_the_note_is_made_although_nobody_wants_the_result(device: str) -> None:
    checked_index(indices([4], device), 4, "test: unused")
    with pytest.raises(IndexError, match="test: unused: index 4"):
        rt.synchronize(device)


def test_streams_share_the_words(device: str) -> None:
    found = rt.device(device)
    other = found.new_stream()
    with found.using(other):
        checked_index(indices([8], device), 4, "test: elsewhere")
    checked_index(indices([1], device), 4, "test: here")
    with pytest.raises(IndexError, match="test: elsewhere: index 8"):
        rt.synchronize(device)
    rt.synchronize(device)


def test_an_error_is_not_seen_before_its_submission_is_done(manual: Manual) -> None:
    device, driver = manual
    x = rt.ones(2, device=device).readback()
    device.flush()
    checked_index(indices([3], device), 3, "test: later")
    device.flush()
    driver.finish()
    assert x.wait().tolist() == [1, 1]
    driver.finish()
    with pytest.raises(IndexError, match="test: later"):
        rt.synchronize(device)


@pytest.mark.trio
async def test_awaiting_raises_it_too(device: str) -> None:
    later = checked_index(indices([4], device), 4, "test: awaited").readback()
    with pytest.raises(IndexError, match="test: awaited: index 4"):
        await later
    assert (await later).tolist() == [0]
