"""One step and ten steps of every optimiser with any options land where PyTorch's do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch import nn, optim
from rasptorch.optim.muon import orthogonalized
from tests.support.compare import assert_close
from tests.support.counting import counting

SHAPES = [(3, 4), (5,), (), (2, 3, 2)]
rate, decay = st.sampled_from([1e-3, 0.03]), st.sampled_from([0.0, 0.05])
below = st.sampled_from([0.0, 0.5, 0.97])
betas = st.tuples(st.sampled_from([0.0, 0.8, 0.9]), st.sampled_from([0.0, 0.9, 0.999]))
eps, flag = st.sampled_from([1e-8, 1e-4]), st.booleans()
ADAM = {"lr": rate, "betas": betas, "eps": eps, "weight_decay": decay, "amsgrad": flag, "maximize": flag}
OPTIONS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": rate, "momentum": below, "dampening": below, "weight_decay": decay, "nesterov": flag, "maximize": flag},
    "Adam": {**ADAM, "decoupled_weight_decay": flag},
    "AdamW": ADAM,
    "RMSprop": {
        "lr": rate, "alpha": below, "eps": eps, "weight_decay": decay, "momentum": below, "centered": flag, "maximize": flag,
    },
    "Adagrad": {
        "lr": rate, "lr_decay": decay, "weight_decay": decay, "initial_accumulator_value": decay, "eps": eps, "maximize": flag,
    },
    "Adadelta": {"lr": rate, "rho": below, "eps": eps, "weight_decay": decay, "maximize": flag},
    "NAdam": {
        "lr": rate, "betas": betas, "eps": eps, "weight_decay": decay, "momentum_decay": st.sampled_from([0.0, 4e-3, 0.1]),
        "decoupled_weight_decay": flag, "maximize": flag,
    },
}  # fmt: skip


MUON: dict[str, Any] = {
    "lr": rate, "weight_decay": decay, "momentum": below, "nesterov": flag, "ns_steps": st.integers(1, 5), "eps": st.just(1e-7),
    "ns_coefficients": st.sampled_from([(3.4445, -4.775, 2.0315), (2.0, -1.5, 0.5)]),
    "adjust_lr_fn": st.sampled_from([None, "original", "match_rms_adamw"]),
}  # fmt: skip


def pairs(device: str, seed: int) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=s).astype(np.float32) for s in SHAPES]
    return [nn.Parameter(rt.tensor(v, device=device)) for v in values], [torch.nn.Parameter(torch.tensor(v)) for v in values]


def steps(ours: list[Any], theirs: list[Any], a: Any, b: Any, count: int, seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    for _ in range(count):
        for p, q in zip(ours, theirs, strict=True):
            # Away from 0: where the root of a tiny number is divided by, every library has its own rounding.
            g = (rng.uniform(0.5, 2.0, tuple(q.shape)) * rng.choice([-1, 1], tuple(q.shape))).astype(np.float32)
            p.grad, q.grad = rt.tensor(g, device=p.device), torch.tensor(g)
        a.step()
        b.step()


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_as_pytorch(name: str, device: str, data: st.DataObject) -> None:
    options = {key: data.draw(values, key) for key, values in OPTIONS[name].items()}
    if name == "SGD" and (options["momentum"] == 0 or options["dampening"]):
        options["nesterov"] = False
    if name == "RMSprop" and options["centered"] and options["alpha"] == 0:
        options["alpha"] = 0.5  # the variance of one number is 0: rounding decides what is divided by
    if name == "RMSprop" and options["centered"]:
        options["eps"] = 1e-2
    ours, theirs = pairs(device, 3)
    a, b = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for count in (1, 9):
        steps(ours, theirs, a, b, count, count)
        for k, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            assert_close(p, q, 2e-4, 2e-5, what=f"parameter {k} with {options}")
    for p, q in zip(ours, theirs, strict=True):
        for key, value in b.state[q].items():
            if value is not None and key != "step":
                assert_close(rt.tensor(a.state[p][key]), value, 2e-4, 2e-5, check_dtype=False, what=key)


@pytest.mark.parametrize("name", [n for n in OPTIONS if n != "SGD"])
def test_states_go_both_ways(name: str) -> None:
    """PyTorch's state goes on here, and ours there; the keys are the same."""
    ours, theirs = pairs("cpu", 4)
    a, b = getattr(optim, name)(ours, lr=0.01), getattr(torch.optim, name)(theirs, lr=0.01)
    steps(ours, theirs, a, b, 3, 0)
    c = getattr(optim, name)(ours, lr=7.0)
    c.load_state_dict(b.state_dict())
    steps(ours, theirs, c, b, 2, 1)
    mine = c.state_dict()
    assert mine["state"][0].keys() == b.state_dict()["state"][0].keys()
    back = {
        "param_groups": b.state_dict()["param_groups"],
        "state": {
            k: {n: torch.tensor(v.numpy() if isinstance(v, rt.Tensor) else float(v)) for n, v in s.items()}
            for k, s in mine["state"].items()
        },
    }
    d = getattr(torch.optim, name)(theirs, lr=3.0)
    d.load_state_dict(back)
    steps(ours, theirs, c, d, 2, 2)
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p, q, 1e-4, 1e-5)


@pytest.mark.parametrize("name", ["Adam", "NAdam", "RMSprop", "Adadelta"])
def test_counting_on_the_device(name: str, device: str) -> None:
    """``capturable``: the same numbers, and the count is a tensor."""
    ours, theirs = pairs(device, 5)
    a, b = getattr(optim, name)(ours, lr=0.01, capturable=True), getattr(torch.optim, name)(theirs, lr=0.01)
    steps(ours, theirs, a, b, 6, 3)
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p, q, 2e-5, 1e-6)
        assert a.state[p]["step"].item() == 6
    state = a.state_dict()
    c = getattr(optim, name)(ours, lr=0.01)
    c.load_state_dict(state)
    steps(ours, theirs, c, b, 2, 4)
    assert all(c.state[p]["step"].item() == 8 and a.state[p]["step"].item() == 6 for p in ours)
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p, q, 2e-5, 1e-6)


@pytest.mark.parametrize("name", OPTIONS)
def test_made_before_the_model_moves(name: str, device: str) -> None:
    """Parameters stay the same objects, and state that is there already comes along."""
    model, its = nn.Linear(4, 3), torch.nn.Linear(4, 3)
    model.load_state_dict(its.state_dict())
    a, b = getattr(optim, name)(model.parameters(), lr=0.05), getattr(torch.optim, name)(its.parameters(), lr=0.05)
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    for number, place in enumerate(("cpu", device, device, "cpu")):
        model.to(place)
        a.zero_grad()
        b.zero_grad()
        (model(rt.tensor(x, device=place)) ** 2).sum().backward()
        (its(torch.tensor(x)) ** 2).sum().backward()
        a.step()
        b.step()
        for p, q in zip(model.parameters(), its.parameters(), strict=True):
            assert str(p.device) == str(rt.device(place))
            assert_close(p.cpu(), q, 1e-3, 1e-4, what=f"after step {number}")


def test_pairs_of_names_and_parameters() -> None:
    model = nn.Linear(2, 2)
    optimizer = optim.AdamW(model.named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


# -- Muon ---------------------------------------------------------------------------------------------------------
def test_orthogonalized(device: str) -> None:
    """The published iteration, computed in float64; and what it is for: singular values close to 1."""
    x = np.random.default_rng(0).normal(size=(2, 6, 10))
    wanted = x / np.sqrt((x * x).sum((1, 2), keepdims=True))
    for _ in range(5):
        gram = wanted @ wanted.swapaxes(1, 2)
        wanted = 3.4445 * wanted + (-4.7750 * gram + 2.0315 * gram @ gram) @ wanted
    got = orthogonalized(rt.tensor(x.astype(np.float32), device=device)).numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)
    tall = orthogonalized(rt.tensor(x.swapaxes(1, 2).astype(np.float32), device=device)).numpy()
    np.testing.assert_allclose(tall, wanted.swapaxes(1, 2), rtol=1e-3, atol=1e-4)
    values = np.linalg.svd(got, compute_uv=False)
    assert values.min() > 0.4 and values.max() < 1.3


@pytest.mark.parametrize("options", [{}, {"nesterov": False, "weight_decay": 0.0}, {"adjust_lr_fn": "match_rms_adamw", "momentum": 0.5}])
def test_muon_as_pytorch(options: dict[str, Any], device: str) -> None:
    """PyTorch computes the iteration in bfloat16, so a step may differ by a few hundredths of itself."""
    rng = np.random.default_rng(1)
    values = [rng.normal(size=s).astype(np.float32) for s in ((6, 4), (4, 6), (8, 8), (4, 6))]
    ours = [nn.Parameter(rt.tensor(v, device=device)) for v in values]
    theirs = [torch.nn.Parameter(torch.tensor(v)) for v in values]
    a, b = optim.Muon(ours, lr=0.1, **options), torch.optim.Muon(theirs, lr=0.1, **options)
    steps(ours, theirs, a, b, 5, 0)
    assert a.state_dict()["state"][0].keys() == b.state_dict()["state"][0].keys()
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p, q, 0.02, 0.02)
        assert_close(a.state[p]["momentum_buffer"], b.state[q]["momentum_buffer"], 1e-5, 1e-6)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=st.fixed_dictionaries(MUON))
def test_muon_with_any_options(options: dict[str, Any], device: str) -> None:
    """PyTorch's without its rounding to bfloat16."""
    rng = np.random.default_rng(2)
    values = [rng.normal(size=s).astype(np.float32) for s in ((6, 4), (4, 6), (3, 3))]
    ours = [nn.Parameter(rt.tensor(v, device=device)) for v in values]
    theirs = [torch.nn.Parameter(torch.tensor(v)) for v in values]
    a, b = optim.Muon(ours, **options), torch.optim.Muon(theirs, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
        for count in (1, 9):
            steps(ours, theirs, a, b, count, count)
            for k, (p, q) in enumerate(zip(ours, theirs, strict=True)):
                assert_close(p, q, 1e-3, 1e-3, what=f"parameter {k} with {options}")


def test_every_optimiser_is_in_a_table() -> None:
    public = {name for name in optim.__all__ if isinstance(getattr(optim, name), type)} - {"Optimizer"}
    assert public == {*OPTIONS, "Muon"}, public ^ {*OPTIONS, "Muon"}


def test_muon_leaves_the_rest_to_adamw(device: str) -> None:
    ours, theirs = pairs(device, 6)
    a = optim.Muon(ours, lr=0.02, adamw_lr=0.003, adamw_weight_decay=0.1)
    b = torch.optim.AdamW(theirs[1:], lr=0.003, weight_decay=0.1)
    assert [group["use_muon"] for group in a.param_groups] == [True, False]
    steps(ours, theirs, a, b, 4, 0)
    for p, q in zip(ours[1:], theirs[1:], strict=True):
        assert_close(p, q, 1e-5, 1e-6)
    state = a.state_dict()
    c = optim.Muon(ours)
    c.load_state_dict(state)
    assert c.param_groups[1]["lr"] == 0.003 and c.state_dict()["state"].keys() == {0, 1, 2, 3}
    with pytest.raises(ValueError, match=r"takes matrices, got a parameter of shape \[5\]"):
        optim.Muon([{"params": ours[1:], "use_muon": True}])
    with pytest.raises(ValueError, match="adjust_lr_fn"):
        optim.Muon(ours, adjust_lr_fn="best")
    with pytest.raises(ValueError, match="three ns_coefficients"):
        optim.Muon(ours, ns_coefficients=(1.0, 2.0))  # type: ignore[arg-type]


@pytest.mark.fresh
def test_muon_takes_matrices_of_one_shape_together(device: str) -> None:
    def dispatches(count: int) -> int:
        ps = [nn.Parameter(rt.rand(8, 4, device=device)) for _ in range(count)]
        optimizer = optim.Muon(ps, lr=0.1)
        for p in ps:
            p.grad = rt.rand(8, 4, device=device)
        for _ in range(2):
            optimizer.step()
        with counting(device) as n, rt.forbid_waiting():
            optimizer.step()
        assert n.plan_misses == 0 and n.submissions == 1
        return n.dispatches

    if device != "cpu":
        assert dispatches(12) <= dispatches(2) + 1
    else:
        assert dispatches(2) < 40
