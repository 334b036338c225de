"""Hooks of optimisers are called when PyTorch calls them, with the same arguments, and change the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rasptorch as rt
from rasptorch import nn, optim
from tests.support.counting import counting


def _steps(library: Any, parameter: Any, half: Any) -> list[Any]:
    """What hooks of an optimiser see, and what the parameter becomes."""
    seen: list[Any] = []
    optimizer = library.SGD([parameter], lr=0.5)

    def note(name: str) -> Any:
        def hook(o: Any, args: Any, kwargs: Any) -> None:
            seen.append((name, o is optimizer, args[0] is optimizer, len(args), sorted(kwargs), parameter.sum().item()))

        return hook

    handles = [optimizer.register_step_pre_hook(note("before")), optimizer.register_step_post_hook(note("after"))]

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (parameter * parameter).sum()
        loss.backward()
        return loss

    seen.append(optimizer.step(closure=closure).item())
    swap = optimizer.register_step_pre_hook(lambda o, args, kwargs: (args, {"closure": lambda: half(parameter)}))
    seen.append(optimizer.step(closure=closure).item())
    for handle in (*handles, swap):
        handle.remove()
    parameter.grad = None
    seen.append(optimizer.step(closure=closure).item())
    return [*seen, parameter.sum().item()]


def test_around_a_step(device: str) -> None:
    def half(parameter: Any) -> Any:
        parameter.grad = None
        loss = (parameter * 0.5).sum()
        loss.backward()
        return loss

    mine = _steps(optim, nn.Parameter(rt.tensor([1.0, 2.0], device=device)), half)
    wanted = _steps(torch.optim, torch.nn.Parameter(torch.tensor([1.0, 2.0])), half)
    assert mine == wanted


def test_a_hook_that_clips_reads_nothing_back(device: str) -> None:
    parameter = nn.Parameter(rt.ones(4, device=device))
    optimizer = optim.Adam([parameter], lr=0.1)

    def clip(o: Any, args: Any, kwargs: Any) -> None:
        nn.utils.clip_grad_norm_([parameter], 1.0)

    optimizer.register_step_pre_hook(clip)
    optimizer.register_step_post_hook(lambda o, args, kwargs: o.zero_grad())
    with rt.forbid_waiting():
        parameter.grad = rt.full((4,), 8.0, device=device)
        with counting(device) as n:
            optimizer.step()
    assert parameter.grad is None and n.submissions == 1


def _states(library: Any, parameter: Any) -> list[Any]:
    seen: list[Any] = []
    a, b = library.Adagrad([parameter], lr=0.5), library.Adagrad([parameter], lr=0.1)
    a.register_state_dict_pre_hook(lambda o: seen.append("saving"))
    a.register_state_dict_pre_hook(lambda o: seen.append("first"), prepend=True)
    a.register_state_dict_post_hook(lambda o, state: {**state, "note": 3})
    a.register_state_dict_post_hook(lambda o, state: seen.append(sorted(state)))
    state = a.state_dict()

    def renamed(o: Any, state: Any) -> Any:
        seen.append(state.pop("note"))
        state["param_groups"] = [{**group, "lr": 7.0} for group in state["param_groups"]]
        return state

    b.register_load_state_dict_pre_hook(renamed)
    b.register_load_state_dict_post_hook(lambda o: seen.append(o.param_groups[0]["lr"]))
    b.load_state_dict(state)
    return [*seen, sorted(state), state["param_groups"][0]["lr"]]


def test_around_the_state() -> None:
    mine = _states(optim, nn.Parameter(rt.ones(2)))
    assert mine == _states(torch.optim, torch.nn.Parameter(torch.ones(2)))
    assert mine[:3] == ["first", "saving", ["note", "param_groups", "state"]]


def test_what_a_hook_may_not_return() -> None:
    optimizer = optim.SGD([nn.Parameter(rt.ones(2))], lr=0.1)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 5)
    with pytest.raises(RuntimeError, match=r"SGD: a hook before a step returns None or \(args, kwargs\), got int"):
        optimizer.step()
