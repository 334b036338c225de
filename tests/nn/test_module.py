"""What `Module` does with attributes, names, state and hooks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import nn
from tests.support.compare import assert_close

from .both import array


class Net(nn.Module):
    """One of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(4, 2))
        self.scale = nn.Parameter(rt.ones(2))
        self.register_buffer("seen", rt.zeros(1))
        self.register_buffer("cache", rt.zeros(1), persistent=False)
        self.note = "plain"

    def forward(self, x: rt.Tensor) -> rt.Tensor:
        return self.rest(self.first(x)) * self.scale


class TorchNet(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.rest = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(4, 2))
        self.scale = torch.nn.Parameter(torch.ones(2))
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("cache", torch.zeros(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(self.first(x)) * self.scale


def test_names_are_pytorchs() -> None:
    ours, theirs = Net(), TorchNet()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
    assert [n for n, _ in ours.named_children()] == [n for n, _ in theirs.named_children()]
    assert [n for n, _ in ours.named_parameters("x", recurse=False)] == ["x.scale"]
    assert len(list(ours.modules())) == 5 and len(list(ours.children())) == 2
    assert len(list(ours.buffers())) == 2
    assert repr(ours) == repr(theirs).replace("TorchNet", "Net")


def test_state_comes_from_and_goes_to_pytorch(device: str) -> None:
    """Both directions, and outputs and gradients are equal afterwards."""
    ours, theirs = Net().to(device), TorchNet()
    result = ours.load_state_dict(theirs.state_dict())
    assert result == ([], [])
    x = array(5, 3)
    a, b = ours(rt.tensor(x, device=device)), theirs(torch.tensor(x))
    assert_close(a, b)
    (a * a).sum().backward()
    (b * b).sum().backward()
    for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert_close(p.grad, q.grad, what=name)
    fresh = TorchNet()
    fresh.load_state_dict({name: torch.tensor(value.numpy()) for name, value in ours.state_dict().items()})
    assert_close(a, fresh(torch.tensor(x)))


def test_what_does_not_fit_is_listed() -> None:
    net = Net()
    before = net.first.bias.detach().numpy()
    state: dict[str, Any] = {name: value.clone() + 1 for name, value in net.state_dict().items()}
    state["first.weight"] = rt.ones(3, 4)
    del state["scale"]
    state["strange"] = rt.ones(1)
    with pytest.raises(RuntimeError, match="load_state_dict: what was given does not fit Net") as caught:
        net.load_state_dict(state)
    for line in (
        "missing: scale",
        "unexpected: strange",
        "shape of first.weight: [3, 4] in the dictionary, [4, 3]",
    ):
        assert line in str(caught.value)
    assert_close(net.first.bias, before)  # nothing was loaded
    with pytest.raises(RuntimeError, match=r"shape of first\.weight"):
        net.load_state_dict(state, strict=False)
    del state["first.weight"]
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["scale", "first.weight"] and result.unexpected_keys == ["strange"]
    assert_close(net.first.bias, before + 1)
    with pytest.raises(TypeError, match="dictionary of tensors"):
        net.load_state_dict([1])


def test_loading_converts_and_copies() -> None:
    net = nn.Linear(2, 2)
    given = rt.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=rt.float64)
    net.load_state_dict({"weight": given, "bias": np.array([5, 6])})
    assert net.weight.dtype is rt.float32 and net.weight.requires_grad
    given.zero_()
    assert_close(net.weight, np.array([[1, 2], [3, 4]], np.float32))
    assert_close(net.bias, np.array([5, 6], np.float32))


def test_state_shares_memory_unless_cloned() -> None:
    net = nn.Linear(2, 2)
    state = net.state_dict()
    assert not state["weight"].requires_grad
    nn.init.zeros_(net.weight)
    assert_close(state["weight"], np.zeros((2, 2), np.float32))
    assert net.state_dict(keep_vars=True)["weight"] is net.weight


# -- attributes ---------------------------------------------------------------------------------------------
def test_assigning_registers_and_replaces() -> None:
    net = nn.Module()
    net.x = nn.Parameter(rt.ones(1))
    assert list(net._parameters) == ["x"] and net.x.requires_grad
    net.x = None
    assert net.x is None and list(net.parameters()) == []
    net.x = nn.Linear(1, 1)
    assert list(net._parameters) == [] and list(net._modules) == ["x"]
    net.x = nn.Parameter(rt.zeros(1))
    assert list(net._modules) == [] and len(list(net.parameters())) == 1
    with pytest.raises(TypeError, match=r"x is a Parameter or None, got Tensor"):
        net.x = rt.ones(1)
    del net.x
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'x'"):
        _ = net.x
    net.x = rt.ones(1)  # a plain attribute now
    assert list(net.named_buffers()) == [] and "x" in net.__dict__
    net.x = nn.Parameter(rt.ones(1))
    assert "x" not in net.__dict__
    with pytest.raises(AttributeError):
        del net.nothing


def test_buffers_stay_buffers() -> None:
    net = Net()
    net.seen = rt.ones(1)
    assert_close(net.state_dict()["seen"], np.ones(1, np.float32))
    with pytest.raises(TypeError, match="seen is a Tensor or None"):
        net.seen = 3
    net.seen = None
    assert "seen" not in net.state_dict()
    assert "seen" in dir(net) and "first" in dir(net) and "scale" in dir(net)


def test_what_cannot_be_registered() -> None:
    net = Net()
    with pytest.raises(KeyError, match="dot"):
        net.register_buffer("a.b", rt.ones(1))
    with pytest.raises(KeyError, match="already has an attribute 'note'"):
        net.register_parameter("note", nn.Parameter(rt.ones(1)))
    with pytest.raises(TypeError, match="must be a Parameter or None"):
        net.register_parameter("new", rt.ones(1))
    with pytest.raises(TypeError, match="must be a Tensor or None"):
        net.register_buffer("new", 1)
    with pytest.raises(TypeError, match="must be a Module or None"):
        net.add_module("new", rt.ones(1))
    with pytest.raises(TypeError, match="a string"):
        net.add_module(1, nn.Identity())


def test_super_init_is_asked_for() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Identity()

    with pytest.raises(AttributeError, match=r"call super\(\).__init__\(\) first in Forgetful"):
        Forgetful()
    with pytest.raises(NotImplementedError, match="Module does not define forward"):
        nn.Module()(1)


def test_a_shared_parameter_comes_once() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    net.double()
    assert net[1].weight is net[0].weight and net[1].weight.dtype is rt.float64


# -- parameters ---------------------------------------------------------------------------------------------
def test_parameters_are_tensors() -> None:
    p = nn.Parameter([1.0, 2.0])
    assert isinstance(p, nn.Parameter) and isinstance(p, rt.Tensor) and p.requires_grad and p.is_leaf
    assert not isinstance(rt.ones(1), nn.Parameter) and not isinstance(p * 1, nn.Parameter)
    assert not isinstance(p.detach(), nn.Parameter) and not isinstance(3, nn.Parameter)
    assert repr(p) == "Parameter containing:\ntensor([1., 2.], requires_grad=True)"
    frozen = nn.Parameter(rt.tensor([1, 2]), requires_grad=False)
    assert not frozen.requires_grad and frozen.dtype is rt.int64
    with pytest.raises(TypeError, match="cannot be subclassed"):
        type("Own", (nn.Parameter,), {})


def test_a_parameter_shares_a_tensors_memory() -> None:
    source = rt.zeros(4)
    p = nn.Parameter(source[1:3])
    with rt.no_grad():
        p.fill_(1.0)
    assert_close(source, np.array([0, 1, 1, 0], np.float32))


def test_deepcopy_is_independent() -> None:
    net = Net()
    net(rt.ones(1, 3)).sum().backward()
    other = copy.deepcopy(net)
    assert isinstance(other.scale, nn.Parameter) and other.scale is not net.scale
    assert_close(other.scale.grad, net.scale.grad)
    nn.init.zeros_(net.scale)
    assert_close(other.scale, np.ones(2, np.float32))
    assert list(other.state_dict()) == list(net.state_dict())


# -- converting ---------------------------------------------------------------------------------------------
def test_to_keeps_the_objects(device: str) -> None:
    net = Net()
    before = list(net.parameters())
    values = [p.detach().numpy() for p in before]
    net(rt.ones(1, 3)).sum().backward()
    assert net.to(device) is net
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    here = rt.device(device)
    for p, value in zip(net.parameters(), values, strict=True):
        assert p.device is here and p.is_leaf and isinstance(p, nn.Parameter)
        assert p.grad is not None and p.grad.device is here
        assert_close(p, value)
    assert net.seen.device is here
    optimizer = rt.optim.SGD(before, lr=1.0)
    optimizer.step()
    assert not np.array_equal(net.scale.detach().numpy(), values[0])
    net.cpu()
    assert net.scale.device.name == "cpu"


def test_to_a_dtype_leaves_integers() -> None:
    net = Net()
    net.register_buffer("count", rt.zeros(1, dtype=rt.int64))
    assert net.double().scale.dtype is rt.float64 and net.count.dtype is rt.int64
    assert net.half().first.weight.dtype is rt.float16
    assert net.to("cpu", rt.float32, True).seen.dtype is rt.float32 and net.to("cpu", non_blocking=True) is net
    assert net.to(rt.ones(1, dtype=rt.float64)).seen.dtype is rt.float64
    assert net.float()(rt.ones(1, 3)).dtype is rt.float32
    with pytest.raises(TypeError, match="floating-point"):
        net.to(rt.int32)


def test_converting_between_forward_and_backward_is_noticed() -> None:
    net = nn.PReLU()
    out = net(rt.ones(1, 2, requires_grad=True)).sum()
    net.double()
    with pytest.raises(RuntimeError, match="changed in place"):
        out.backward()


# -- modes, gradients, hooks --------------------------------------------------------------------------------
def test_train_and_eval_reach_everything() -> None:
    net = nn.Sequential(nn.Sequential(nn.Dropout()), nn.Dropout())
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    with pytest.raises(ValueError, match="True or False"):
        net.train("yes")  # type: ignore[arg-type]


def test_gradients_on_and_off_and_away() -> None:
    net = Net()
    net.requires_grad_(False)
    assert not net(rt.ones(1, 3)).requires_grad
    net.requires_grad_()
    net(rt.ones(1, 3)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net.scale.grad is not None and (net.scale.grad.numpy() == 0).all()
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_apply_goes_from_the_leaves_up() -> None:
    names: list[str] = []
    net = Net()
    assert net.apply(lambda m: names.append(type(m).__name__)) is net
    assert names == ["Linear", "ReLU", "Linear", "Sequential", "Net"]


def test_hooks() -> None:
    net = nn.Identity()
    calls: list[Any] = []
    first = net.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    second = net.register_forward_hook(lambda m, args, out: calls.append((m, args, out)))
    third = net.register_forward_hook(lambda m, args, out: out * 10)
    assert net(1) == 20
    assert calls == [(net, (2,), 2)]
    first.remove()
    first.remove()
    second.remove()
    with third:
        assert net(1) == 10
    assert net(1) == 1 and len(calls) == 1


def test_parts_by_name() -> None:
    net = Net()
    assert net.get_submodule("rest.1") is net.rest[1] and net.get_submodule("") is net
    with pytest.raises(AttributeError, match=r"no part 'rest\.7'"):
        net.get_submodule("rest.7")
