"""Hooks around modules as PyTorch calls them, lookups by name, state that is taken over, and the remaining containers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import nn
from tests.support.compare import assert_close

from .both import array


class Two(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Any, y: Any, *, factor: float = 1.0) -> Any:
        return self.fc(x) * factor, x * y


class TorchTwo(torch.nn.Module):
    """The same in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 3)

    def forward(self, x: Any, y: Any, *, factor: float = 1.0) -> Any:
        return self.fc(x) * factor, x * y


def _pair(device: str) -> tuple[nn.Module, torch.nn.Module]:
    ours, theirs = Two().to(device), TorchTwo()
    theirs.load_state_dict({key: torch.tensor(value.numpy()) for key, value in ours.state_dict().items()})
    return ours, theirs


def _run(module: Any, make: Any, seen: list[Any]) -> Any:
    module.register_full_backward_hook(lambda m, grad_input, grad_output: seen.append((*grad_input, *grad_output)))
    x, y = make(array(2, 3)), make(array(2, 3, seed=1))
    a, b = module(x, y, factor=2.0)
    ((a * a).sum() + (b * 3).sum()).backward()
    return x, y


def test_backward_hooks_see_what_pytorchs_do(device: str) -> None:
    ours, theirs = _pair(device)
    mine: list[Any] = []
    wanted: list[Any] = []
    x, y = _run(ours, lambda a: rt.tensor(a, device=device, requires_grad=True), mine)
    v, w = _run(theirs, lambda a: torch.tensor(a, requires_grad=True), wanted)
    assert len(mine) == len(wanted) == 1
    for g, h in zip(mine[0], wanted[0], strict=True):
        assert_close(g, h, 1e-4, 1e-5)
    assert_close(x.grad, v.grad, 1e-4, 1e-5)
    assert_close(y.grad, w.grad, 1e-4, 1e-5)
    assert_close(ours.fc.weight.grad, theirs.fc.weight.grad, 1e-4, 1e-5)


def test_backward_hooks_replace_and_go_away() -> None:
    layer = nn.Linear(3, 2)
    handle = layer.register_full_backward_hook(lambda m, grad_input, grad_output: (grad_input[0] * 0 + 7,))
    x = rt.ones(1, 3, requires_grad=True)
    layer(x).sum().backward()
    assert (x.grad.numpy() == 7).all()
    handle.remove()
    x.grad = None
    layer(x).sum().backward()
    assert not (x.grad.numpy() == 7).any()


def _change(module: Any, make: Any, seen: list[Any], only: int | None) -> list[Any]:
    """Gradients of inputs and parameters with hooks that change everything, twice over the same graph. ``only``: of one output."""
    module.register_full_backward_pre_hook(lambda m, out: seen.append(out) or tuple(g if g is None else g * 2 for g in out))
    module.register_full_backward_pre_hook(lambda m, out: seen.append("first"), prepend=True)
    module.register_full_backward_hook(lambda m, into, out: seen.append((*into, *out)) or tuple(g if g is None else g + 1 for g in into))
    x, y = make(array(2, 3)), make(array(2, 3, seed=1))
    a, b = module(x, y)
    total = b.sum() * 4 if only == 1 else a.sum() * 3 + b.sum() * 4
    for _ in range(2):
        total.backward(retain_graph=True)
    return [x.grad, y.grad, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize("only", [None, 1])
def test_backward_hooks_change_several_gradients(only: int | None, device: str) -> None:
    ours, theirs = _pair(device)
    mine: list[Any] = []
    wanted: list[Any] = []
    mine.append(_change(ours, lambda a: rt.tensor(a, device=device, requires_grad=True), mine, only))
    wanted.append(_change(theirs, lambda a: torch.tensor(a, requires_grad=True), wanted, only))
    assert len(mine) == len(wanted) == 7
    for a, b in zip(mine, wanted, strict=True):
        assert isinstance(b, str) == isinstance(a, str)
        for g, h in zip(a, b, strict=True):
            assert (g is None) == (h is None)
            if isinstance(h, torch.Tensor):
                assert_close(g, h, 1e-4, 1e-5)


def test_a_hook_before_backward_replaces_one_gradient(device: str) -> None:
    layer = nn.Linear(3, 2).to(device)
    layer.register_full_backward_pre_hook(lambda m, grad_output: grad_output[0] * 5)
    x = rt.ones(1, 3, device=device)
    layer(x).sum().backward()
    assert (layer.bias.grad.numpy() == 5).all() and (layer.weight.grad.numpy() == 5).all()


def test_backward_hooks_return_what_fits() -> None:
    two = Two()
    handle = two.register_full_backward_hook(lambda m, grad_input, grad_output: grad_input[0])
    x = rt.ones(1, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="Two: a backward hook returned 1 gradients in place of grad_input, which is 2"):
        two(x, x)[0].sum().backward()
    handle.remove()
    handle = two.register_full_backward_pre_hook(lambda m, grad_output: grad_output[:1])
    with pytest.raises(RuntimeError, match="returned 1 gradients in place of grad_output, which is 2"):
        two(x, x)[0].sum().backward()
    handle.remove()
    two.register_full_backward_hook(lambda m, grad_input, grad_output: (rt.ones(1, 3), None))
    with pytest.raises(RuntimeError, match="gradients for inputs that require none"):
        two(x.detach(), x.detach())[0].sum().backward()


class Said(nn.Module):
    """A part that keeps a note in the state, as hooks let it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.heard: list[Any] = []
        self.fc.register_state_dict_pre_hook(lambda m, prefix, keep_vars: self.heard.append(("saving", prefix, keep_vars)))
        self.fc.register_state_dict_post_hook(self._note)
        self.fc.register_load_state_dict_pre_hook(self._renamed)
        self.fc.register_load_state_dict_post_hook(lambda m, keys: self.heard.append(("loaded", m.weight[0, 0].item())))

    def _note(self, module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
        state[f"{prefix}note"] = state.pop(f"{prefix}weight")
        assert metadata["version"] == 1

    def _renamed(self, module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any, strict: bool, *lists: list[str]) -> None:
        state[f"{prefix}weight"] = state.pop(f"{prefix}note")
        self.heard.append(("loading", prefix, strict, *map(len, lists)))


def test_hooks_of_the_state(device: str) -> None:
    model = nn.Sequential(Said()).to(device)
    part = model[0]
    state = model.state_dict()
    assert list(state) == ["0.fc.bias", "0.fc.note"] and part.heard == [("saving", "0.fc.", False)]
    part.heard.clear()
    given = {key: value * 0 + 3 for key, value in state.items()}
    assert model.load_state_dict(given) == ([], [])
    assert part.heard == [("loading", "0.fc.", True, 0, 0, 0), ("loaded", 3.0)] and list(given) == list(state)
    with pytest.raises(RuntimeError, match=r"missing: 0\.fc\.bias"):
        model.load_state_dict({"0.fc.note": given["0.fc.note"]})
    handle = model.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    model.load_state_dict({"0.fc.note": given["0.fc.note"] * 2})
    assert part.fc.weight[0, 0].item() == 6
    with pytest.raises(RuntimeError, match="unexpected: other"):
        model.load_state_dict({**given, "other": rt.ones(1)})
    handle.remove()
    for register in (model.register_state_dict_post_hook, model.register_load_state_dict_post_hook):
        with register(lambda *_: 1), pytest.raises(RuntimeError, match="in place and returns None"):
            model.load_state_dict(model.state_dict())
    model.register_load_state_dict_pre_hook(lambda m, state, prefix, metadata, strict, missing, unexpected, errors: errors.append("no"))
    before = part.fc.weight.numpy(force=True)
    with pytest.raises(RuntimeError, match="does not fit Sequential\n  no"):
        model.load_state_dict({"0.fc.note": given["0.fc.note"] * 9, "0.fc.bias": given["0.fc.bias"]})
    np.testing.assert_array_equal(part.fc.weight.numpy(force=True), before)


def test_to_empty(device: str) -> None:
    """Shapes, dtypes and parameters stay, memory is new; nothing is waited for."""
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3).to(rt.float16))
    weight, old = net[0].weight, net[0].weight.storage
    with rt.forbid_waiting():
        assert net.to_empty(device=device) is net
    assert net[0].weight is weight and weight.storage is not old and weight.requires_grad
    assert all(x.device is rt.device(device) for x in net.state_dict().values())
    assert [x.dtype for x in net[1].state_dict().values()] == [rt.float16] * 4 + [rt.int64]
    net.load_state_dict({key: np.ones(value.shape) for key, value in net.state_dict().items()})
    assert (net[1].running_var.numpy() == 1).all()
    inner = net[0].weight.storage
    net.to_empty(device="cpu", recurse=False)
    assert net[0].weight.storage is inner


def test_backward_hooks_without_inputs_gradients() -> None:
    layer, seen = nn.Linear(3, 2), []
    layer.register_full_backward_hook(lambda m, grad_input, grad_output: seen.append((grad_input, grad_output[0].shape)))
    layer(rt.ones(1, 3)).sum().backward()
    assert seen == [((None,), (1, 2))] and layer.weight.grad is not None
    with rt.no_grad():
        layer(rt.ones(1, 3))
    assert len(seen) == 1


def test_forward_hooks_with_keywords_and_in_front() -> None:
    calls: list[str] = []
    layer = Two()
    layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"factor": 0.0}), with_kwargs=True)
    layer.register_forward_hook(lambda m, args, kwargs, out: calls.append(f"kwargs {kwargs}"), with_kwargs=True)
    layer.register_forward_hook(lambda m, args, out: calls.append("last"))
    handle = layer.register_forward_hook(lambda m, args, out: calls.append("first"), prepend=True)
    out, _ = layer(rt.ones(1, 3), rt.ones(1, 3), factor=5.0)
    assert (out.detach().numpy() == 0).all()
    assert calls == ["first", "kwargs {'factor': 0.0}", "last"]
    handle.remove()
    layer(rt.ones(1, 3), rt.ones(1, 3))
    assert len(calls) == 5
    layer.register_forward_pre_hook(lambda m, args, kwargs: args[:1], with_kwargs=True)
    with pytest.raises(TypeError, match=r"returns None or \(args, kwargs\)"):
        layer(rt.ones(1, 3), rt.ones(1, 3), factor=5.0)


def test_lookups_by_name() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert net.get_parameter("0.weight") is net[0].weight
    assert net.get_buffer("1.running_mean") is net[1].running_mean
    with pytest.raises(AttributeError, match=r"Sequential has no buffer '0\.weight': Linear has no 'weight'"):
        net.get_buffer("0.weight")
    assert net.bfloat16()[0].weight.dtype is rt.bfloat16


def test_state_that_is_taken_over(device: str) -> None:
    """The given memory, dtype and device; parameters stay the objects that an optimiser knows."""
    net = nn.Linear(2, 3)
    weight = net.weight
    given = {"weight": rt.tensor(array(3, 2), device=device).to(rt.float16), "bias": array(3)}
    net.load_state_dict(given, assign=True)
    assert net.weight is weight and weight.dtype is rt.float16 and weight.device is rt.device(device)
    assert weight.storage is given["weight"].storage and weight.requires_grad and isinstance(weight, nn.Parameter)
    assert_close(net.bias, given["bias"])
    with pytest.raises(RuntimeError, match="missing: bias"):
        net.load_state_dict({"weight": given["weight"]}, assign=True)


def test_dictionaries_and_lists_of_parameters() -> None:
    made = nn.ParameterDict({"a": rt.ones(2), "b": rt.zeros(3)})
    theirs = torch.nn.ParameterDict({"a": torch.ones(2), "b": torch.zeros(3)})
    assert list(made.state_dict()) == list(theirs.state_dict()) == ["a", "b"]
    assert "a" in made and len(made) == 2 and list(made) == ["a", "b"] and list(made.keys()) == ["a", "b"]
    assert isinstance(made["a"], nn.Parameter) and made["a"].requires_grad
    assert [p.shape for p in made.values()] == [(2,), (3,)]
    assert made.pop("a").shape == (2,) and [k for k, _ in made.items()] == ["b"]
    made["c"] = rt.ones(4)
    del made["b"]
    assert list(made) == ["c"] and "Parameter of float32, shape [4]" in repr(made)
    made.clear()
    assert len(made) == 0 and list(made.parameters()) == []
    listed = nn.ParameterList([rt.ones(1), rt.ones(2)])
    listed += [rt.ones(3)]
    assert len(listed) == 3 and [p.shape for p in listed[1:]] == [(2,), (3,)] and listed[1:][0] is listed[1]
    modules = nn.ModuleList([nn.Identity()]) + nn.ModuleList([nn.ReLU()])
    assert len(modules) == 2 and isinstance(modules[1], nn.ReLU)


@pytest.mark.filterwarnings("ignore:.*nested")
def test_a_model_of_every_layer_exchanges_state_with_pytorch(device: str) -> None:
    """In both directions, key by key and value by value."""

    def made(of: Any, **at: Any) -> list[Any]:
        return [
            of.Linear(3, 4, **at), of.Bilinear(2, 3, 4, **at), of.PReLU(3, **at), of.BatchNorm1d(3, **at),
            of.BatchNorm2d(3, momentum=None, **at), of.InstanceNorm2d(3, affine=True, track_running_stats=True, **at),
            of.LayerNorm((2, 3), **at), of.RMSNorm(4, **at), of.GroupNorm(2, 4, **at), of.RNN(2, 3, 2, **at),
            of.LSTM(2, 3, bidirectional=True, **at), of.GRU(2, 3, bias=False, **at), of.RNNCell(2, 3, **at), of.LSTMCell(2, 3, **at),
            of.GRUCell(2, 3, **at), of.MultiheadAttention(4, 2, kdim=3, **at), of.Transformer(4, 2, 1, 1, 8, **at),
            of.CrossEntropyLoss(), of.Dropout(0.2),
        ]  # fmt: skip

    ours, theirs = nn.ModuleList(made(nn, device=device)), torch.nn.ModuleList(made(torch.nn))
    for n, (key, value) in enumerate(theirs.state_dict().items()):
        if not key.endswith("num_batches_tracked"):
            value.copy_(torch.tensor(array(*value.shape, seed=n)))
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    fresh = torch.nn.ModuleList(made(torch.nn))
    fresh.load_state_dict({key: torch.tensor(np.asarray(value.numpy())) for key, value in ours.state_dict().items()})
    for key, value in fresh.state_dict().items():
        assert_close(value, theirs.state_dict()[key], 0.0, 0.0, what=key)
