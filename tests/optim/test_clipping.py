"""Clipping and vectors of parameters equal PyTorch's, wait for nothing, and share dispatches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import nn
from rasptorch.nn import utils
from tests.support.compare import assert_close
from tests.support.counting import counting

SHAPES = [(16, 12), (12,), (5,), (), (3, 4, 2)]


def models(device: str, scale: float = 1.0, shapes: Any = SHAPES) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(8)
    ours, theirs = [], []
    for k, shape in enumerate(shapes):
        values, gradient = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
        p, q = nn.Parameter(rt.tensor(values, device=device)), torch.nn.Parameter(torch.tensor(values))
        if k != 2:  # one has no gradient
            p.grad, q.grad = rt.tensor(gradient * np.float32(scale), device=device), torch.tensor(gradient * np.float32(scale))
        ours.append(p)
        theirs.append(q)
    return ours, theirs


@pytest.mark.parametrize("norm_type", [1.0, 2, 3.5, float("inf"), -float("inf")])
@pytest.mark.parametrize("bound", [0.5, 1e4])
def test_norm(norm_type: float, bound: float, device: str) -> None:
    ours, theirs = models(device)
    with rt.forbid_waiting():
        mine = utils.clip_grad_norm_(ours, bound, norm_type)
    assert_close(mine, torch.nn.utils.clip_grad_norm_(theirs, bound, norm_type), 1e-5, 1e-7)
    for p, q in zip(ours, theirs, strict=True):
        if q.grad is None:
            assert p.grad is None
        else:
            assert_close(p.grad, q.grad, 1e-5, 1e-7)
    both = [p.grad for p in ours if p.grad is not None], [q.grad for q in theirs if q.grad is not None]
    assert_close(utils.get_total_norm(both[0], norm_type), torch.nn.utils.get_total_norm(both[1], norm_type), 1e-5, 1e-7)


def test_value(device: str) -> None:
    ours, theirs = models(device)
    with rt.forbid_waiting():
        utils.clip_grad_value_(ours, 0.7)
    torch.nn.utils.clip_grad_value_(theirs, 0.7)
    for p, q in zip(ours, theirs, strict=True):
        assert q.grad is None or bool((p.grad.cpu() == rt.tensor(q.grad)).all())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite(bad: float, device: str) -> None:
    ours, theirs = models(device)
    with rt.no_grad():
        ours[0].grad[0, 0] = bad
    theirs[0].grad[0, 0] = bad
    with pytest.raises(RuntimeError, match="is not finite"):
        utils.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    assert bool(ours[1].grad.isfinite().all())
    mine = utils.clip_grad_norm_(ours, 1.0)
    its = torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    assert_close(mine, its)
    assert_close(ours[1].grad, theirs[1].grad)


def test_nothing_and_one_tensor() -> None:
    p = nn.Parameter(rt.ones(3))
    assert utils.clip_grad_norm_([p], 1.0).item() == 0.0
    p.grad = rt.full((3,), 2.0)
    assert utils.clip_grad_norm_(p, 1.0).item() == pytest.approx(12**0.5)
    p.grad = rt.ones(3, dtype=rt.float16)
    assert utils.get_total_norm([p.grad]).dtype is rt.float32


def test_vectors(device: str) -> None:
    ours, theirs = models(device)
    vector = utils.parameters_to_vector(ours)
    assert_close(vector, torch.nn.utils.parameters_to_vector(theirs))
    (vector * vector).sum().backward()
    assert_close(ours[2].grad, 2 * theirs[2].detach())
    storages = [p.storage for p in ours]
    utils.vector_to_parameters(vector.detach() * 3, ours)
    assert [p.storage for p in ours] == storages
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p, 3 * q.detach())
    with pytest.raises(rt.ShapeError, match=r"have 234 elements, the vector has shape \[3\]"):
        utils.vector_to_parameters(rt.ones(3, device=device), ours)


@pytest.mark.fresh
def test_dispatches(device: str) -> None:
    """Sixteen gradients from an earlier batch: as many dispatches as for a few."""
    ours, _ = models(device, shapes=[(64, 48), (48,)] * 8)
    for p in ours:
        p.grad = rt.rand(*p.shape, device=device)
    counts = []
    for call in (
        lambda: utils.clip_grad_norm_(ours, 1.0), lambda: utils.clip_grad_value_(ours, 0.5), lambda: utils.parameters_to_vector(ours),
    ):  # fmt: skip
        rt.synchronize(device)
        with counting(device) as n, rt.forbid_waiting():
            kept = call()
            rt.device(device).flush()
        del kept
        counts.append(n.dispatches)
        assert n.submissions == 1 and n.readbacks == 0
    assert device == "cpu" or (counts[0] <= 8 and counts[1] <= 2 and counts[2] <= 2)
