"""Whether operations are taped: as context managers and decorators, per thread and per Trio task."""

from __future__ import annotations

import threading

import pytest
import trio

import rasptorch as rt


def taped() -> bool:
    """What an operation shows, and what the library says: always the same."""
    x = rt.ones(1, requires_grad=True)
    result = (x * 2).requires_grad
    assert result == rt.is_grad_enabled() == ((x[0]).grad_fn is not None) == (x.sum().requires_grad)
    return result


def test_contexts_nest() -> None:
    assert taped()
    with rt.no_grad():
        assert not taped()
        with rt.enable_grad():
            assert taped()
            with rt.inference_mode():
                assert not taped()
            assert taped()
        assert not taped()
    assert taped()


def test_an_exception_ends_them() -> None:
    with pytest.raises(KeyError), rt.no_grad():
        raise KeyError
    assert taped()


def test_one_object_may_be_entered_again() -> None:
    mode = rt.no_grad()
    with mode, mode:
        assert not taped()
    assert taped()


def test_decorators() -> None:
    @rt.no_grad()
    def without(a: int, *, b: int) -> tuple[int, bool]:
        """What it does."""
        return a + b, taped()

    @rt.enable_grad()
    def with_() -> bool:
        return taped()

    assert without(1, b=2) == (3, False) and without.__doc__ == "What it does."
    with rt.no_grad():
        assert with_()
    assert taped()


def test_set_grad_enabled() -> None:
    with rt.set_grad_enabled(False):
        assert not taped()
        with rt.set_grad_enabled(True):
            assert taped()
        assert not taped()
    assert taped()
    rt.set_grad_enabled(False)
    assert not taped()
    rt.set_grad_enabled(True)
    assert taped()


def test_threads_do_not_see_each_other() -> None:
    seen: list[bool] = []
    with rt.no_grad():
        thread = threading.Thread(target=lambda: seen.append(taped()))
        thread.start()
        thread.join()
        assert not taped()
    assert seen == [True]


@pytest.mark.trio
async def test_tasks_do_not_see_each_other() -> None:
    inside, checked = trio.Event(), trio.Event()

    async def without() -> None:
        with rt.no_grad():
            inside.set()
            await checked.wait()
            assert not taped()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(without)
        await inside.wait()
        assert taped()
        checked.set()


@pytest.mark.trio
async def test_backward_in_a_task(device: str) -> None:
    x = rt.tensor([1.0, 2.0], device=device, requires_grad=True)
    (x * x).sum().backward()
    assert x.grad is not None
    assert (await x.grad.readback()).tolist() == [2, 4]


def test_leaving_gradients_alone_saves_nothing() -> None:
    x = rt.ones(3, requires_grad=True)
    with rt.no_grad():
        y = (x * x).exp()
    assert y.is_leaf and y.grad_fn is None and not y.requires_grad
