"""autocast picks the dtypes PyTorch's picks; GradScaler skips steps that overflow on the device, and nothing waits."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import amp, nn, optim
from rasptorch.nn import functional as F
from tests.support.compare import assert_close
from tests.support.counting import counting

RNG = np.random.default_rng(4)


def kind(device: str) -> str:
    return "cpu" if device == "cpu" else "gpu"


# -- autocast -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("low", ["float16", "bfloat16"])
def test_dtypes_are_those_of_pytorch(low: str, device: str) -> None:
    x, w, b = (RNG.normal(size=s).astype(np.float32) for s in ((4, 6), (5, 6), (5,)))

    def run(lib: Any, functional: Any, put: Any) -> list[Any]:
        tx, tw, tb = put(x), put(w), put(b)
        h = functional.linear(tx, tw, tb)
        return [
            h, tx @ tw.T, lib.bmm(tx.reshape(1, 4, 6), tw.T.reshape(1, 6, 5)), h * 2, h + tx[:, :5], lib.relu(h), lib.addmm(tb, tx, tw.T),
            functional.softmax(h, -1), functional.log_softmax(h, -1), lib.exp(h), lib.log(lib.exp(h)), h.sum(), h.cumsum(0),
            functional.mse_loss(h, tx[:, :5]), functional.cross_entropy(h, h.argmax(1)), functional.l1_loss(h, h * 0.5), h.prod(1),
            h.norm(), lib.rsqrt(h * h + 1), h.pow(2), lib.tanh(h), lib.einsum("ij,kj->ik", tx, tw),
        ]  # fmt: skip

    with rt.autocast(kind(device), low):
        mine = run(rt, F, lambda v: rt.tensor(v, device=device))
    with torch.autocast("cpu", getattr(torch, low)):
        # PyTorch's list for its CPU has fewer float32 operations than the one for GPUs, which ours is.
        its = run(torch, torch.nn.functional, torch.tensor)
    full = range(7, 19)
    for k, (a, b_) in enumerate(zip(mine, its, strict=True)):
        wanted = rt.float32 if k in full or k in (4, 19) else getattr(rt, low)
        assert a.dtype is wanted, k
        np.testing.assert_allclose(
            a.cpu().to(rt.float32).numpy(), b_.float().numpy(), rtol=0.1, atol=0.1, err_msg=str(k)
        )


def test_where_it_holds(device: str) -> None:
    name = kind(device)
    x = rt.ones(3, 3, device=device)
    assert (x @ x).dtype is rt.float32 and not rt.is_autocast_enabled(name)
    with rt.autocast(name, rt.bfloat16):
        assert (x @ x).dtype is rt.bfloat16 and rt.get_autocast_dtype(name) is rt.bfloat16
        with rt.autocast(name, "float16"):
            assert (x @ x).dtype is rt.float16
        with rt.autocast(name, enabled=False):
            assert (x @ x).dtype is rt.float32
        with rt.autocast("gpu" if name == "cpu" else "cpu"):
            assert (x @ x).dtype is rt.bfloat16
        found = []
        thread = threading.Thread(target=lambda: found.append((x @ x).dtype))
        thread.start()
        thread.join()
        assert found == [rt.float32]
    with rt.autocast("gpu" if name == "cpu" else "cpu"):
        assert (x @ x).dtype is rt.float32

    @rt.autocast(name)
    def product(y: rt.Tensor) -> rt.Tensor:
        """Decorated."""
        return y @ y

    assert product(x).dtype is (rt.bfloat16 if name == "cpu" else rt.float16) and product.__doc__ == "Decorated."
    assert (x @ x).dtype is rt.float32
    with pytest.raises(rt.DTypeError, match="float16 or bfloat16, got float32"):
        rt.autocast(name, rt.float32)
    with pytest.raises(ValueError, match="'cpu' or 'gpu'"):
        rt.autocast("tpu")


def test_float64_is_left_alone() -> None:
    x = rt.ones(2, 2, dtype=rt.float64)
    with rt.autocast("cpu"):
        assert (x @ x).dtype is rt.float64 and x.exp().dtype is rt.float64


def test_gradients_have_the_parameters_dtype(device: str) -> None:
    """Also when backward is called inside."""
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    ours = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(device)
    ours.load_state_dict(theirs.state_dict())
    x, t = RNG.normal(size=(5, 6)).astype(np.float32), RNG.integers(0, 3, 5)
    torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(t)).backward()
    for inside in (True, False):
        ours.zero_grad()
        with rt.autocast(kind(device), rt.float16):
            loss = F.cross_entropy(ours(rt.tensor(x, device=device)), rt.tensor(t, device=device))
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        assert loss.dtype is rt.float32
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert p.grad is not None and p.grad.dtype is rt.float32
            assert_close(p.grad, q.grad, 0.02, 0.003)


def test_captured_functions_tell_it_apart(device: str) -> None:
    x = rt.ones(2, 2, device=device)
    product = rt.capture(lambda y: y @ y)
    assert product(x).dtype is rt.float32
    with rt.autocast(kind(device), rt.float16):
        assert product(x).dtype is rt.float16
    assert product(x).dtype is rt.float32


# -- the scaler ---------------------------------------------------------------------------------------------------
def gradients(ps: list[Any], scale: float, bad: float | None = None, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    made = []
    for k, p in enumerate(ps):
        g = rng.uniform(0.5, 1.5, p.shape).astype(np.float32)
        made.append(g.copy())
        g *= np.float32(scale)
        if bad is not None and k == 1:
            g.reshape(-1)[-1] = bad
        p.grad = rt.tensor(g, device=p.device)
    return made


OPTIMIZERS = {
    "SGD": {"lr": 0.1}, "SGD-momentum": {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    "Adam": {"lr": 0.05}, "AdamW": {"lr": 0.05, "amsgrad": True}, "RMSprop": {"lr": 0.05, "momentum": 0.5, "centered": True, "eps": 1e-2},
    "Adagrad": {"lr": 0.1, "lr_decay": 0.1}, "Adadelta": {}, "NAdam": {"lr": 0.05}, "Muon": {"lr": 0.05},
}  # fmt: skip


@pytest.mark.parametrize(("case", "bad"), [*((c, float("inf")) for c in OPTIMIZERS), ("Adam", float("nan"))])
def test_an_overflow_changes_nothing(case: str, bad: float, device: str) -> None:
    """Nor does it count as a step: what follows is what would be without it. At the first step, and later."""
    name = case.split("-")[0]
    start = [RNG.normal(size=s).astype(np.float32) for s in ((4, 3), (5,), (2, 2))]

    def make() -> tuple[list[Any], Any]:
        ps = [nn.Parameter(rt.tensor(v, device=device)) for v in start]
        return ps, getattr(optim, name)(ps, **OPTIMIZERS[case])

    (ps, scaled), (qs, plain) = make(), make()
    scaler = amp.GradScaler(kind(device), init_scale=1024.0)
    scale = 1024.0
    for step, overflow in enumerate((True, False, True, False)):
        with rt.forbid_waiting():
            before = [p.detach().clone() for p in ps]
            states = [{k: v.clone() for k, v in scaled.state[p].items() if isinstance(v, rt.Tensor)} for p in ps]
            made = gradients(ps, scale, bad if overflow else None, step)
            scaler.scale(rt.ones((), device=device))
            scaler.step(scaled)
            scaler.update()
        if overflow:
            scale /= 2
            for p, b, state in zip(ps, before, states, strict=True):
                np.testing.assert_array_equal(p.detach().numpy(), b.detach().numpy())
                for key, value in state.items():
                    np.testing.assert_array_equal(scaled.state[p][key].numpy(), value.numpy(), err_msg=key)
        else:
            for q, g in zip(qs, made, strict=True):
                q.grad = rt.tensor(g, device=device)
            plain.step()
            for p, q in zip(ps, qs, strict=True):
                assert_close(p, q, 2e-5, 1e-6, what=f"after step {step}")
        assert scaler.get_scale() == scale


def test_the_scale_grows(device: str) -> None:
    """As PyTorch's does, good and bad steps mixed."""
    mine = amp.GradScaler(kind(device), init_scale=8.0, growth_factor=3.0, backoff_factor=0.25, growth_interval=2)
    its = torch.amp.GradScaler("cpu", init_scale=8.0, growth_factor=3.0, backoff_factor=0.25, growth_interval=2)
    p, q = nn.Parameter(rt.ones(2, device=device)), torch.nn.Parameter(torch.ones(2))
    a, b = optim.SGD([p], lr=0.1), torch.optim.SGD([q], lr=0.1)
    for bad in (False, False, False, True, False, True, False, False):
        g = np.array([1.0, np.inf if bad else 2.0], np.float32)
        mine.scale(rt.ones((), device=device))
        its.scale(torch.ones(()))
        p.grad, q.grad = rt.tensor(g, device=device), torch.tensor(g)
        for scaler, optimizer in ((mine, a), (its, b)):
            scaler.step(optimizer)
            scaler.update()
        assert mine.get_scale() == its.get_scale()
        assert mine.state_dict() == its.state_dict()
        assert_close(p, q, 1e-5, 1e-7)
    mine.update(5.0)
    other = amp.GradScaler(kind(device))
    other.load_state_dict(mine.state_dict())
    assert other.get_scale() == 5.0 and other.state_dict() == mine.state_dict()
    other.load_state_dict(its.state_dict())
    assert other.get_scale() == its.get_scale()


def test_unscaled_to_be_clipped(device: str) -> None:
    ps = [nn.Parameter(rt.ones(3, device=device)) for _ in range(4)]
    optimizer = optim.SGD(ps, lr=1.0)
    scaler = amp.GradScaler(kind(device), init_scale=256.0)
    made = gradients(ps, 256.0)
    with rt.forbid_waiting():
        scaler.scale(rt.ones((), device=device))
        scaler.unscale_(optimizer)
        total = nn.utils.clip_grad_norm_(ps, 1.0)
        scaler.step(optimizer)
        scaler.update()
    wanted = np.sqrt(sum((g * g).sum() for g in made))
    assert total.item() == pytest.approx(wanted, rel=1e-5)
    for p, g in zip(ps, made, strict=True):
        assert_close(p, 1 - g / np.float32(wanted), 1e-5, 1e-6)


def test_training_in_float16_captured(device: str) -> None:
    """A loss that underflows in float16 without scaling; the whole step captured, some of them overflowing."""
    rng = np.random.default_rng(0)
    x, t = (rt.tensor(rng.normal(size=s).astype(np.float32), device=device) for s in ((32, 8), (32, 1)))
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)).to(device)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    scaler = amp.GradScaler(kind(device), init_scale=2.0**40, growth_interval=50)

    @rt.capture
    def step(inputs: rt.Tensor, targets: rt.Tensor) -> rt.Tensor:
        optimizer.zero_grad()
        with rt.autocast(kind(device), rt.float16):
            loss = F.mse_loss(model(inputs), targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    with rt.forbid_waiting():
        losses = [step(x, t) for _ in range(60)]
    values = [loss.item() for loss in losses]
    assert step.captures == 1
    assert values[0] == values[1] and np.isfinite(values).all()  # the first steps overflow
    assert values[-1] < 0.5 * values[0] and scaler.get_scale() < 2.0**40
    count = optimizer.state[next(model.parameters())]["step"].item()
    assert 20 < count < 60


@pytest.mark.fresh
def test_dispatches_of_a_step(device: str) -> None:
    ps = [nn.Parameter(rt.rand(*s, device=device)) for s in [(64, 48), (48,)] * 8]
    optimizer = optim.Adam(ps)
    scaler = amp.GradScaler(kind(device))
    scaler.scale(rt.ones((), device=device))
    for _ in range(3):
        for p in ps:
            p.grad = rt.rand(*p.shape, device=device)
        rt.synchronize(device)
        with counting(device) as n, rt.forbid_waiting():
            scaler.step(optimizer)
            scaler.update()
            rt.device(device).flush()
    assert n.readbacks == 0 and n.plan_misses == 0
    assert device == "cpu" or n.dispatches <= 14


def test_what_is_refused(device: str) -> None:
    p = nn.Parameter(rt.ones(2, device=device))
    optimizer = optim.SGD([p], lr=0.1)
    scaler = amp.GradScaler(device)
    for call, problem in (
        (lambda: scaler.step(optimizer), "has a gradient"),
        (lambda: scaler.update(), "without a step"),
        (lambda: scaler.scale(3.0), "got float"),
        (lambda: scaler.step(optimizer, closure=lambda: None), "no closure"),
        (lambda: scaler.load_state_dict({}), "empty"),
        (lambda: amp.GradScaler(growth_factor=1.0), "above 1"),
        (lambda: amp.GradScaler(backoff_factor=1.0), "between 0 and 1"),
    ):
        with pytest.raises((RuntimeError, ValueError, TypeError), match=problem):
            call()
    p.grad = rt.ones(2, device=device)
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"after step\(\)"):
        scaler.unscale_(optimizer)
    half = nn.Parameter(rt.ones(2, dtype=rt.float16))
    half.grad = rt.ones(2, dtype=rt.float16)
    with pytest.raises(ValueError, match="keep parameters in float32"):
        amp.GradScaler("cpu").unscale_(optim.SGD([half], lr=0.1))


def test_not_enabled() -> None:
    p = nn.Parameter(rt.ones(2))
    optimizer = optim.SGD([p], lr=0.5)
    scaler = amp.GradScaler(enabled=False)
    loss = (p * 1).sum()
    assert scaler.scale(loss) is loss and scaler.get_scale() == 1.0 and scaler.state_dict() == {} and not scaler.is_enabled()
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert p.tolist() == [0.5, 0.5]


def test_lists_of_outputs() -> None:
    scaler = amp.GradScaler("cpu", init_scale=4.0)
    made = scaler.scale({"a": [rt.ones(1)], "b": (rt.ones(()),)})
    assert made["a"][0].item() == 4.0 and made["b"][0].item() == 4.0
    scaler.set_growth_factor(3.0)
    scaler.set_backoff_factor(0.25)
    scaler.set_growth_interval(7)
    assert (scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()) == (3.0, 0.25, 7)
