"""Sequential, lists and dictionaries of modules, lists of parameters."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import nn
from tests.support.compare import assert_close


def three() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


def test_sequential_runs_in_order() -> None:
    net = three()
    x = rt.ones(4, 2)
    assert_close(net(x), net[2](net[1](net[0](x))).detach().numpy())
    assert len(net) == 3 and [type(m).__name__ for m in net] == ["Linear", "ReLU", "Linear"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert repr(net) == repr(
        torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    )


def test_sequential_with_names() -> None:
    net = nn.Sequential(OrderedDict([("fc1", nn.Linear(2, 3)), ("act", nn.Tanh())]))
    net.add_module("fc2", nn.Linear(3, 1))
    assert list(net.state_dict()) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert net.fc1 is net[0] and net.fc2 is net[-1]
    part = net[1:]
    assert [n for n, _ in part.named_children()] == ["act", "fc2"] and part[0] is net.act
    net.append(nn.ReLU())
    assert [n for n, _ in net.named_children()] == ["fc1", "act", "fc2", "3"]
    with pytest.raises(ValueError, match="names are positions"):
        net.insert(0, nn.ReLU())
    assert net(rt.ones(1, 2)).shape == (1, 1)


def test_sequential_changes() -> None:
    net = three()
    last = net[-1]
    assert list(net[1:].state_dict()) == ["2.weight", "2.bias"] and net[1:][1] is last
    net[1] = nn.Tanh()
    assert isinstance(net[1], nn.Tanh)
    net.insert(0, nn.Identity())
    assert isinstance(net[0], nn.Identity) and net[3] is last and list(net._modules) == ["0", "1", "2", "3"]
    assert net.pop(0) is not None and len(net) == 3
    del net[1]
    assert [n for n, _ in net.named_children()] == ["0", "1"] and net[1] is last
    net.extend([nn.ReLU(), nn.ReLU()])
    del net[1:3]
    assert len(net) == 2 and net.pop() is not last
    with pytest.raises(IndexError, match="position 5 is out of range for 1 parts"):
        net[5]
    with pytest.raises(TypeError, match="integers and slices"):
        net["0"]
    with pytest.raises(TypeError, match="must be a Module"):
        net.append(rt.ones(1))
    net[0] = None
    with pytest.raises(TypeError, match="part '0' is None"):
        net(rt.ones(1))


def test_module_list() -> None:
    layers = nn.ModuleList([nn.Linear(1, 1) for _ in range(2)])
    layers += [nn.Linear(1, 1)]
    assert isinstance(layers, nn.ModuleList) and len(layers) == 3
    assert [n for n, _ in layers.named_parameters()][-1] == "2.bias"
    assert isinstance(layers[:2], nn.ModuleList) and layers[:2][1] is layers[1]
    with pytest.raises(NotImplementedError, match="ModuleList"):
        layers(rt.ones(1))
    owner = nn.Module()
    owner.layers = layers
    assert "layers.0.weight" in owner.state_dict()


def test_module_dict() -> None:
    parts = nn.ModuleDict({"a": nn.Linear(1, 2)})
    parts.update([("b", nn.ReLU())])
    parts["c"] = nn.Tanh()
    assert list(parts) == list(parts.keys()) == ["a", "b", "c"] and "b" in parts and len(parts) == 3
    assert [k for k, _ in parts.items()] == ["a", "b", "c"] and len(list(parts.values())) == 3
    assert list(parts.state_dict()) == ["a.weight", "a.bias"]
    b = parts["b"]
    assert parts.pop("b") is b and "b" not in parts
    del parts["c"]
    with pytest.raises(KeyError):
        parts["c"]
    with pytest.raises(TypeError, match="must be a Module"):
        parts["x"] = rt.ones(1)
    merged = nn.ModuleDict(parts)
    assert merged["a"] is parts["a"]
    parts.clear()
    assert len(parts) == 0


def test_parameter_list() -> None:
    given = nn.Parameter(rt.ones(2))
    params = nn.ParameterList([given, rt.zeros(3)])
    params.append([1.0, 2.0]).extend([rt.ones(1)])
    assert len(params) == 4 and params[0] is given and params[-1].shape == (1,)
    assert all(isinstance(p, nn.Parameter) for p in params)
    assert [n for n, _ in params.named_parameters()] == ["0", "1", "2", "3"]
    params[1] = rt.ones(5)
    assert params[1].shape == (5,) and len(list(params.parameters())) == 4
    assert "(1): Parameter of float32, shape [5], on cpu" in repr(params)
    with pytest.raises(IndexError, match="position 4 is out of range"):
        params[4]
    sum((p.sum() for p in params), rt.zeros(())).backward()
    assert_close(given.grad, np.ones(2, np.float32))
