"""Twenty steps of every optimiser with every combination of its options land where PyTorch's do."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import nn, optim
from tests.support.compare import assert_close
from tests.support.counting import counting

STEPS = 20

SGD = [
    {"lr": 0.05, "momentum": m, "dampening": d, "weight_decay": w, "nesterov": n, "maximize": x}
    for m, d, w, n, x in product([0.0, 0.9], [0.0, 0.3], [0.0, 0.1], [False, True], [False, True])
    if not (n and (m == 0 or d)) and not (d and m == 0)
]
ADAM = [
    {"lr": 0.02, "betas": b, "weight_decay": w, "amsgrad": a, "maximize": x}
    for b, w, a, x in product([(0.9, 0.999), (0.5, 0.9)], [0.0, 0.1], [False, True], [False, True])
]
CASES = [("SGD", o) for o in SGD] + [("Adam", o) for o in ADAM] + [("AdamW", o) for o in ADAM]
IDS = [f"{n}-{'-'.join(str(v) for v in o.values())}" for n, o in CASES]


def start(dtype: str = "float32") -> list[Any]:
    rng = np.random.default_rng(3)
    return [rng.normal(size=shape).astype(dtype) for shape in ((3, 4), (5,), ())]


def gradients(step: int, values: list[Any]) -> list[Any]:
    """Gradients that only depend on the step: errors do not feed back, and their signs change."""
    rng = np.random.default_rng([17, step])
    return [rng.normal(size=v.shape).astype(v.dtype) for v in values]


def trajectories(name: str, options: dict[str, Any], device: str, dtype: str = "float32") -> tuple[Any, ...]:
    """Parameters and optimisers of both libraries after all steps; the last parameter has a gradient now and
    then.
    """
    values = start(dtype)
    ours = [nn.Parameter(rt.tensor(v, device=device)) for v in values]
    theirs = [torch.nn.Parameter(torch.tensor(v)) for v in values]
    a, b = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(STEPS):
        for k, g in enumerate(gradients(step, values)):
            skip = k == 2 and step % 3 == 0
            ours[k].grad = None if skip else rt.tensor(g, device=device)
            theirs[k].grad = None if skip else torch.tensor(g)
        a.step()
        b.step()
    return ours, theirs, a, b


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_trajectory(name: str, options: dict[str, Any], device: str) -> None:
    ours, theirs, a, b = trajectories(name, options, device)
    for k, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        assert_close(p, q, 1e-5, 1e-6, what=f"parameter {k}")
        for key, value in b.state[q].items():
            mine = a.state[p][key]
            assert_close(mine, value, 1e-5, 1e-6, what=f"{key} of {k}") if key != "step" else None
        if "step" in b.state[q]:
            assert a.state[p]["step"] == int(b.state[q]["step"])


@pytest.mark.parametrize(("name", "options"), [CASES[-1], CASES[len(SGD) - 1]], ids=["AdamW", "SGD"])
def test_in_float64(name: str, options: dict[str, Any]) -> None:
    ours, theirs, _, _ = trajectories(name, options, "cpu", "float64")
    for p, q in zip(ours, theirs, strict=True):
        assert p.dtype is rt.float64
        assert_close(p, q, 1e-12, 1e-14)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_half_precision_computes_in_single(name: str) -> None:
    """Adam's eps of 1e-8 is 0 in float16; a parameter that never has a gradient other than 0 must not become
    NaN.
    """
    p = nn.Parameter(rt.ones(4, dtype=rt.float16))
    optimizer = getattr(optim, name)([p], lr=0.25)
    for _ in range(3):
        p.grad = rt.tensor([0.0, 1.0, -1.0, 0.0], dtype=rt.float16)
        optimizer.step()
    assert p.dtype is rt.float16
    assert_close(p, np.array([1.0, 0.25, 1.75, 1.0], np.float16), 1e-2, 0)


def test_gradients_through_a_model(device: str) -> None:
    """The whole path: model, loss, backward, step, against PyTorch."""
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(16, 5)).astype(np.float32), rng.integers(0, 3, 16)
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    ours = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).to(device)
    ours.load_state_dict(theirs.state_dict())
    a = optim.SGD(ours.parameters(), lr=0.2, momentum=0.9, nesterov=True)
    b = torch.optim.SGD(theirs.parameters(), lr=0.2, momentum=0.9, nesterov=True)
    data, target = rt.tensor(x, device=device), rt.tensor(t, device=device)
    for _ in range(STEPS):
        a.zero_grad()
        nn.functional.cross_entropy(ours(data), target).backward()
        a.step()
        b.zero_grad()
        torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(t)).backward()
        b.step()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert_close(p, q, 1e-4, 1e-5, what=name)


# -- what a step costs --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "options", "commands"),
    [
        ("SGD", {"lr": 0.1}, 1),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, 1),
        ("Adam", {}, 1),
        ("AdamW", {}, 1),
        ("Adam", {"amsgrad": True}, 2),
    ],
    ids=["sgd", "momentum", "adam", "adamw", "amsgrad"],
)
def test_commands_of_a_step(name: str, options: dict[str, Any], commands: int, device: str) -> None:
    """One per parameter, whatever the options; no readback, no wait, and the learning rate is no new plan."""
    ps = [nn.Parameter(rt.ones(3, device=device)) for _ in range(4)]
    optimizer = getattr(optim, name)(ps, **options)

    def step() -> None:
        with rt.forbid_waiting():
            for p in ps:
                p.grad = grads[id(p)]
            optimizer.step()
        rt.device(device).stream().flush().wait()

    grads = {id(p): rt.ones(3, device=device) for p in ps}
    for _ in range(2):
        step()
    for group in optimizer.param_groups:
        group["lr"] *= 0.5
    with counting(device) as counts:
        step()
    assert counts.commands == commands * len(ps)
    assert counts.plan_misses == 0 and counts.readbacks == 0 and counts.submissions == 1


def test_the_version_goes_up() -> None:
    """Gradients that need the old value of a parameter say so instead of using the new one."""
    p = nn.Parameter(rt.ones(3))
    loss = (p * p).sum()
    p.grad = rt.ones(3)
    optim.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


# -- groups -------------------------------------------------------------------------------------------------
def test_groups_have_their_own_options() -> None:
    p, q = nn.Parameter(rt.ones(1)), nn.Parameter(rt.ones(1))
    optimizer = optim.SGD([{"params": [p], "lr": 1.0}, {"params": q}], lr=0.1)
    optimizer.add_param_group({"params": iter([nn.Parameter(rt.ones(1))]), "momentum": 0.5})
    assert [g["lr"] for g in optimizer.param_groups] == [1.0, 0.1, 0.1]
    assert [g["momentum"] for g in optimizer.param_groups] == [0.0, 0.0, 0.5]
    p.grad, q.grad = rt.ones(1), rt.ones(1)
    optimizer.step()
    assert p.item() == 0.0 and q.item() == pytest.approx(0.9)
    assert "Parameter Group 2" in repr(optimizer) and "lr: 1.0" in repr(optimizer)


def test_zero_grad_and_closure() -> None:
    p = nn.Parameter(rt.ones(2))
    optimizer = optim.SGD([p], lr=0.5)

    def closure() -> rt.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with rt.no_grad():
        assert optimizer.step(closure).item() == 2.0
    assert_close(p, np.zeros(2, np.float32))
    kept = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is not None and (p.grad.numpy() == 0).all() and p.grad.storage is kept.storage
    optimizer.zero_grad()
    assert p.grad is None
    assert optimizer.step() is None


def test_what_is_refused() -> None:
    p = nn.Parameter(rt.ones(2))
    with pytest.raises(ValueError, match="SGD got no parameters"):
        optim.SGD([])
    with pytest.raises(TypeError, match="iterable of tensors"):
        optim.SGD(p)
    with pytest.raises(TypeError, match="got float"):
        optim.SGD([1.0])
    with pytest.raises(ValueError, match="only leaves"):
        optim.SGD([p * 2])
    with pytest.raises(ValueError, match="more than once"):
        optim.SGD([p, p])
    with pytest.raises(ValueError, match="lr cannot be negative"):
        optim.Adam([p], lr=-1.0)
    with pytest.raises(ValueError, match="betas"):
        optim.Adam([p], betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        optim.SGD([p], nesterov=True)
    with pytest.raises(TypeError, match="not a set"):
        optim.SGD([{"params": {p}}])
    with pytest.raises(TypeError, match="a dictionary"):
        optim.SGD([p]).add_param_group([p])  # type: ignore[arg-type]
    p.grad = rt.ones(3)
    with pytest.raises(rt.ShapeError, match=r"different shapes: \[2\], \[3\]"):
        optim.SGD([p]).step()
    with pytest.raises(NotImplementedError, match="_update"):
        optim.Optimizer([p], {}).step()


# -- state --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "options"), [CASES[len(SGD) - 1], CASES[-1]], ids=["SGD", "AdamW"])
def test_state_goes_on(name: str, options: dict[str, Any], device: str) -> None:
    """Ten steps, state saved and loaded into a new optimiser, ten more: as twenty in one go."""
    whole, _, _, _ = trajectories(name, options, device)
    values = start()
    ps = [nn.Parameter(rt.tensor(v, device=device)) for v in values]
    optimizer = getattr(optim, name)(ps, **options)
    for step in range(STEPS):
        if step == STEPS // 2:
            state = optimizer.state_dict()
            optimizer = getattr(optim, name)(ps, lr=123.0)
            optimizer.load_state_dict(state)
            for kept in state["state"].values():
                for value in kept.values():
                    if isinstance(value, rt.Tensor):
                        value.fill_(float("nan"))  # what was loaded is a copy
        for k, g in enumerate(gradients(step, values)):
            ps[k].grad = None if k == 2 and step % 3 == 0 else rt.tensor(g, device=device)
        optimizer.step()
    for p, q in zip(ps, whole, strict=True):
        assert_close(p, q.detach().numpy(), 0.0, 0.0)


@pytest.mark.parametrize(("name", "options"), [CASES[len(SGD) - 1], CASES[-1]], ids=["SGD", "AdamW"])
def test_state_of_pytorch_is_taken(name: str, options: dict[str, Any]) -> None:
    ours, theirs, a, b = trajectories(name, options, "cpu")
    c = getattr(optim, name)(ours, lr=5.0)
    c.load_state_dict(b.state_dict())
    assert {k: v for k, v in c.param_groups[0].items() if k in a.param_groups[0]} == a.param_groups[0]
    for k, g in enumerate(gradients(99, start())):
        ours[k].grad, theirs[k].grad = rt.tensor(g), torch.tensor(g)
    c.step()
    b.step()
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p, q, 1e-5, 1e-6)


def test_the_shape_of_the_state() -> None:
    _, _, a, b = trajectories(*CASES[-1], device="cpu")
    mine, its = a.state_dict(), b.state_dict()
    assert mine["state"].keys() == its["state"].keys()
    assert all(mine["state"][k].keys() == its["state"][k].keys() for k in mine["state"])
    assert [g["params"] for g in mine["param_groups"]] == [g["params"] for g in its["param_groups"]]
    with pytest.raises(ValueError, match="2 parameter groups, the optimiser has 1"):
        a.load_state_dict({"state": {}, "param_groups": mine["param_groups"] * 2})
    with pytest.raises(ValueError, match="group 0 has 2 parameters"):
        a.load_state_dict({"state": {}, "param_groups": [{**mine["param_groups"][0], "params": [0, 1]}]})
