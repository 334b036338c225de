"""What a user of PyTorch would guess: names of arguments, what they mean at the edges, and what is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import rasptorch as rt
from rasptorch import nn, optim
from rasptorch.nn import functional as F
from tests.support.compare import assert_close

from .both import array, compare

# Deprecated in PyTorch, or without a meaning here.
LEFT = {"size_average", "reduce", "_stacklevel", "_weight", "_freeze", "device", "dtype", "min_value", "max_value", "args", "kwargs"}
MORE = {"generator", "device", "dtype", "_", "__", "args", "kwargs", "parts"}


def _names(made: Callable[..., Any], left: set[str]) -> list[str]:
    return [name for name in inspect.signature(made).parameters if name not in left]


def _pairs() -> dict[str, tuple[Any, Any]]:
    """Whatever both libraries have: functions, and what layers are made and called with."""
    found = {f"F.{n}": (getattr(F, n), getattr(TF, n)) for n in F.__all__ if hasattr(TF, n)}
    for name in nn.__all__:
        ours, theirs = getattr(nn, name), getattr(torch.nn, name, None)
        if isinstance(ours, type) and isinstance(theirs, type) and issubclass(ours, nn.Module) and ours is not nn.Module:
            found |= {f"{name}()": (ours.__init__, theirs.__init__), f"{name}.forward": (ours.forward, theirs.forward)}
    for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "NAdam"):
        found[f"optim.{name}"] = getattr(optim, name).__init__, getattr(torch.optim, name).__init__
    return found | {f"utils.{n}": (getattr(nn.utils, n), getattr(torch.nn.utils, n)) for n in nn.utils.__all__}


PAIRS = _pairs()
# Those whose arguments PyTorch does not name, and containers, which are not called.
UNNAMED = {
    *(f"F.{kind}_pool{dims}d" for kind in ("adaptive_max", "max") for dims in (1, 2)),
    *(f"{name}()" for name in ("RNN", "LSTM", "GRU", "Sequential", "Identity")),
    *(f"{name}.forward" for name in ("ModuleList", "ModuleDict", "ParameterList", "ParameterDict")),
}


def _told(made: Any) -> bool:
    """Functions of PyTorch's that are no Python have no names to compare."""
    try:
        inspect.signature(made)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name, (_, theirs) in PAIRS.items() if name not in UNNAMED and _told(theirs)])
def test_arguments_have_pytorchs_names(name: str) -> None:
    ours, theirs = PAIRS[name]
    wanted = _names(theirs, LEFT)
    assert set(wanted) <= set(_names(ours, set())), sorted(set(wanted) - set(_names(ours, set())))
    if not name.startswith("optim."):  # whose options are given by name
        assert [n for n in _names(ours, MORE) if n in wanted] == wanted


def test_permission_to_work_in_place(device: str) -> None:
    """Whoever holds the input still has it."""
    x = rt.tensor(array(2, 3, 4, 4), device=device)
    kept = x.numpy().copy()
    for name in ("relu", "relu6", "elu", "celu", "selu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh", "leaky_relu"):
        assert_close(getattr(F, name)(x, inplace=True), getattr(TF, name)(torch.tensor(kept)))
    assert_close(F.threshold(x, 0.1, 2.0, True), TF.threshold(torch.tensor(kept), 0.1, 2.0))
    for name, y in (("dropout", x), ("dropout1d", x[0]), ("dropout2d", x)):
        np.testing.assert_array_equal(getattr(F, name)(y, 0.5, False, True).numpy(), y.numpy())
    np.testing.assert_array_equal(x.numpy(), kept)
    np.testing.assert_array_equal(F.relu(input=x).numpy(), nn.ReLU()(input=x).numpy())


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 2), (1, 2, 3, 2)])
def test_softmax_without_a_dimension(shape: tuple[int, ...]) -> None:
    x = array(*shape)
    for ours, theirs in ((nn.Softmax(), torch.nn.Softmax()), (nn.LogSoftmax(), torch.nn.LogSoftmax())):
        with pytest.warns(UserWarning, match=r"softmax: dim is not given, so it is [01]"):
            mine = ours(rt.tensor(x))
        with pytest.warns(UserWarning, match="Implicit dimension"):
            wanted = theirs(torch.tensor(x))
        assert_close(mine, wanted)
        assert repr(ours) == repr(theirs)


def test_similarity_broadcasts_before_it_takes_a_dimension(device: str) -> None:
    for first, second, dim in (((4, 3, 2), (3, 2), 1), ((3, 1), (1, 5), 0), ((2, 4), (3, 2, 4), -1)):
        compare(device, lambda a, b, d=dim: F.cosine_similarity(a, b, dim=d), lambda a, b, d=dim: TF.cosine_similarity(a, b, dim=d),
                array(*first), array(*second, seed=1), rtol=1e-3, atol=1e-4)  # fmt: skip


def test_triplets(device: str) -> None:
    arrays = [array(4, 3, seed=s) for s in range(3)]
    for options in ({"swap": True}, {"swap": True, "p": 3.0, "reduction": "none"}, {"p": float("inf")}, {"p": 1.0, "margin": 0.3}):
        compare(device, nn.TripletMarginLoss(**options), torch.nn.TripletMarginLoss(**options), *arrays, second=False, rtol=1e-3, atol=1e-4)
    for options in ({"margin": 0.0}, {"margin": -1.0}, {"p": 0.0}):
        (name,) = options
        with pytest.raises(ValueError, match=rf"TripletMarginLoss: {name} is larger than 0, got {options[name]}"):
            nn.TripletMarginLoss(**options)


def test_margins_compare_what_has_the_same_dimensions(device: str) -> None:
    x, target = rt.ones(4, device=device), rt.ones(4, 1, device=device)
    with pytest.raises(rt.ShapeError, match=r"as many dimensions as each other, got \[4\], \[4\] and \[4, 1\]"):
        nn.MarginRankingLoss()(x, x, target)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_weights_of_elements(name: str, device: str) -> None:
    x, y, w = array(3, 4), array(3, 4, seed=1), array(3, 4, seed=2, low=0.1)
    for reduction in ("mean", "sum", "none"):
        ours, theirs = (
            lambda a, b, c, m=module, r=reduction: getattr(m, name)(a, b, reduction=r, weight=c) for module in (F, TF)
        )
        compare(device, ours, theirs, x, y, w, second=False, rtol=1e-4, atol=1e-5)
    with pytest.raises(rt.ShapeError, match=rf"{name}: weight has the input's shape \[3, 4\], got \[4\]"):
        getattr(F, name)(rt.tensor(x), rt.tensor(y), weight=rt.ones(4))


def test_divergence_from_what_is_no_probability(device: str) -> None:
    target = np.array([0.0, -0.5, 0.3, np.nan], np.float32)
    logs = array(4)
    assert_close(F.kl_div(rt.tensor(logs, device=device), rt.tensor(target, device=device), "none"),
                 TF.kl_div(torch.tensor(logs), torch.tensor(target), reduction="none"))  # fmt: skip


# -- batches of nothing ----------------------------------------------------------------------------------------------
EMPTY: dict[str, tuple[str, tuple[Any, ...], tuple[int, ...]]] = {
    "rnn": ("RNN", (3, 4), (5, 0, 3)), "gru": ("GRU", (3, 4, 2), (5, 0, 3)), "lstm": ("LSTM", (3, 4), (5, 0, 3)),
    "batch": ("BatchNorm2d", (3,), (0, 3, 2, 2)), "conv": ("Conv2d", (2, 3, 2), (0, 2, 4, 4)), "linear": ("Linear", (3, 4), (0, 3)),
    "attention": ("TransformerEncoderLayer", (4, 2, 8, 0.0), (3, 0, 4)), "upsample": ("Upsample", (None, 2, "bicubic"), (0, 2, 3, 3)),
}  # fmt: skip


@pytest.mark.parametrize("case", EMPTY)
def test_a_batch_of_nothing(case: str, device: str) -> None:
    """Results are empty, gradients zero, running moments as they were."""
    name, args, shape = EMPTY[case]
    theirs = getattr(torch.nn, name)(*args)
    ours = getattr(nn, name)(*args).to(device)
    ours.load_state_dict(theirs.state_dict())
    x, y = rt.zeros(shape, device=device, requires_grad=True), torch.zeros(shape, requires_grad=True)
    a, b = ours(x), theirs(y)
    for _ in range(2):
        a, b = (out[0] if isinstance(out, tuple) else out for out in (a, b))
    assert tuple(a.shape) == tuple(b.shape) and a.numel() == 0
    a.sum().backward()
    b.sum().backward()
    assert x.grad.shape == shape
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(p.grad if p.grad is not None else np.zeros(p.shape, np.float32), q.grad)
    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], value)


def test_pixels_of_nothing(device: str) -> None:
    """PyTorch's have no gradient, or another shape, there."""
    for shape, shuffled in (((1, 8, 0, 3), (1, 2, 0, 6)), ((0, 4, 3, 3), (0, 1, 6, 6))):
        x = rt.zeros(shape, device=device, requires_grad=True)
        out = F.pixel_shuffle(x, 2)
        assert out.shape == shuffled and F.pixel_unshuffle(out, 2).shape == shape
        out.sum().backward()
        assert x.grad.shape == shape


# -- optimisers ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "NAdam"])
def test_ways_to_compute_a_step(name: str) -> None:
    """``foreach`` and ``fused`` are what is done anyway."""
    made = getattr(optim, name)
    results = []
    for options in ({}, {"foreach": True}, {"foreach": False}, {"fused": True} if name in ("SGD", "Adam", "AdamW", "Adagrad") else {}):
        p = nn.Parameter(rt.ones(3))
        p.grad = rt.full((3,), 0.5)
        optimizer = made([p], lr=0.1, **options)
        optimizer.step()
        results.append(p.tolist())
    assert results.count(results[0]) == len(results)
    with pytest.raises(NotImplementedError, match=f"{name}: steps are not recorded"):
        made([nn.Parameter(rt.ones(3))], lr=0.1, differentiable=True)
    with pytest.raises(TypeError, match=f"{name}: lr is a number, got a tensor"):
        made([nn.Parameter(rt.ones(3))], lr=rt.tensor(0.1))


def test_a_learning_rate_that_pytorch_had_as_a_tensor() -> None:
    theirs = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=torch.tensor(0.25))
    ours = optim.Adam([nn.Parameter(rt.ones(2))])
    ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[0]["lr"] == 0.25 and isinstance(ours.param_groups[0]["lr"], float)


# -- containers ------------------------------------------------------------------------------------------------------
def test_lists_print_what_is_alike_once() -> None:
    def built(m: Any) -> Any:
        inner = m.ModuleList([m.Linear(1, 2) for _ in range(3)])
        return m.ModuleList([m.ReLU(), inner, inner, m.ReLU(), m.Linear(1, 2)])

    assert repr(built(nn)) == repr(built(torch.nn))
    assert repr(nn.ModuleList()) == repr(torch.nn.ModuleList())


def test_sequences_in_pieces_and_put_together() -> None:
    def built(m: Any) -> list[Any]:
        net = m.Sequential(m.ReLU(), m.Linear(2, 2), m.Tanh())
        longer = m.Sequential(m.ELU())
        longer += net[:1]
        named = m.Sequential(m.ReLU(), m.Sequential(m.Tanh()))
        named.set_submodule("1.0", m.SiLU())
        named.set_submodule("1.more", m.SiLU())
        return [net[1:], net[1:].state_dict().keys(), net + longer, net[:1] * 3, 2 * net[:1], longer, named, m.ParameterDict().get("a", 3)]

    assert [repr(made) for made in built(nn)] == [repr(made).replace("odict", "dict") for made in built(torch.nn)]
    net = nn.Sequential(nn.ReLU(), nn.Tanh())
    assert repr(net[1:].append(nn.ELU())) == "Sequential(\n  (1): Tanh()\n  (2): ELU(alpha=1.0)\n)"
    with pytest.raises(ValueError, match="once or more often, got 0"):
        net * 0
    for other in (3, "a"):
        with pytest.raises(TypeError):
            net + other
    with pytest.raises(AttributeError, match=r"Sequential has no part '1\.new': Tanh has no module 'new'"):
        net.set_submodule("1.new", nn.ReLU(), strict=True)
    with pytest.raises(AttributeError, match="has no module 'training'"):
        net.set_submodule("1.training", nn.ReLU())
    with pytest.raises(TypeError, match="must be a Module, got int"):
        net.set_submodule("1", 3)
    with pytest.raises(ValueError, match="names no part"):
        net.set_submodule("", nn.ReLU())


def test_containers_of_nothing() -> None:
    for name in ("ModuleList", "ModuleDict", "ParameterList", "ParameterDict"):
        assert len(getattr(nn, name)(None)) == 0
