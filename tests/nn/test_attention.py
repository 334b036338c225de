"""Scaled dot-product attention and `MultiheadAttention`: values, gradients and weights are PyTorch's; memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rasptorch as rt
from rasptorch import nn
from rasptorch.autograd import gradcheck
from rasptorch.nn import functional as F
from rasptorch.ops import attention
from tests.support.compare import assert_close
from tests.support.counting import counting

from .both import array, compare

NEAR = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(params=["whole", "blocks"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """With the probabilities kept, or in blocks of two queries."""
    if request.param == "blocks":
        monkeypatch.setattr(attention, "SCORES_KEPT", 0)
        monkeypatch.setattr(attention, "BLOCK", 2 * 2 * 3 * 7 * 4)
    yield request.param


def _qkv() -> tuple[Any, Any, Any]:
    return array(2, 3, 5, 4), array(2, 3, 7, 4, seed=1), array(2, 3, 7, 6, seed=2)


MASKS: dict[str, Any] = {
    "none": None,
    "bool": np.random.default_rng(0).random((5, 7)) < 0.6,
    "nothing": np.arange(5)[:, None] + np.zeros((5, 7)) != 2,
    "keys": np.random.default_rng(1).random((2, 1, 1, 7)) < 0.6,
    "float": array(5, 7, seed=5),
    "heads": array(3, 5, 7, seed=5),
}


@pytest.mark.parametrize("mask", MASKS)
def test_attention(mask: str, how: str, device: str) -> None:
    given = MASKS[mask]
    m, t = (None, None) if given is None else (rt.tensor(given, device=device), torch.tensor(given))
    # PyTorch's own second derivatives are NaN for a query without keys.
    compare(device, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, m), lambda q, k, v: TF.scaled_dot_product_attention(q, k, v, t),
            *_qkv(), second=mask != "nothing", **NEAR)  # fmt: skip


def test_causal_and_scaled(how: str, device: str) -> None:
    def run(f: Any) -> Any:
        return lambda q, k, v: f(q, k, v, is_causal=True, scale=0.3)

    compare(device, run(F.scaled_dot_product_attention), run(TF.scaled_dot_product_attention), *_qkv(), **NEAR)
    q = array(3, 6, 4)  # more queries than keys
    k = array(3, 4, 4, seed=1)
    compare(device, run(F.scaled_dot_product_attention), run(TF.scaled_dot_product_attention), q, k, k, **NEAR)


def test_the_mask_gets_a_gradient(how: str, device: str) -> None:
    for shape in ((5, 7), (3, 1, 7), (2, 3, 5, 7)):
        compare(device, F.scaled_dot_product_attention, TF.scaled_dot_product_attention, *_qkv(), array(*shape, seed=4), **NEAR)


def test_grouped_queries(how: str, device: str) -> None:
    def run(f: Any) -> Any:
        return lambda q, k, v: f(q, k, v, enable_gqa=True)

    q, k, v = array(2, 6, 5, 4), array(2, 3, 7, 4, seed=1), array(2, 3, 7, 6, seed=2)
    compare(device, run(F.scaled_dot_product_attention), run(TF.scaled_dot_product_attention), q, k, v, **NEAR)


def test_extreme_scores(how: str, device: str) -> None:
    q, k, v = _qkv()
    ours, theirs = F.scaled_dot_product_attention, TF.scaled_dot_product_attention
    compare(device, ours, theirs, q * 1e3, k * 1e2, v, second=False, rtol=1e-3, atol=1e-2)


def test_dropout_drops_the_same_in_backward(how: str, device: str) -> None:
    """With values that are the identity the result is what was kept; and the gradient is that of those probabilities."""
    p = 0.3
    q, k = (rt.tensor(array(2, 3, 5, 4, seed=s), device=device, requires_grad=True) for s in (0, 1))
    v = rt.eye(5, device=device).expand(2, 3, 5, 5).contiguous().requires_grad_()
    rt.manual_seed(0)
    out = F.scaled_dot_product_attention(q, k, v, dropout_p=p)
    kept = out.detach().numpy() != 0
    assert 0.4 < kept.mean() < 0.9
    weights = array(2, 3, 5, 5, seed=8)
    out.backward(rt.tensor(weights, device=device))
    a, b, c = (torch.tensor(x.detach().numpy(), requires_grad=True) for x in (q, k, v))
    chances = torch.softmax(a @ b.mT / 2, -1) * torch.tensor(kept) / (1 - p)
    wanted = chances @ c
    wanted.backward(torch.tensor(weights))
    assert_close(out, wanted, 1e-4, 1e-5)
    for x, y in ((q, a), (k, b), (v, c)):
        assert_close(x.grad, y.grad, 1e-3, 1e-5)


def test_dropout_in_a_captured_function(device: str) -> None:
    """A replay draws anew, in forward and in backward the same."""
    q, k = (rt.tensor(array(1, 16, 4, seed=s), device=device) for s in (0, 1))
    v = rt.eye(16, device=device, dtype=rt.float32).unsqueeze(0)

    @rt.capture
    def step(v: rt.Tensor) -> tuple[rt.Tensor, rt.Tensor]:
        v = v.detach().requires_grad_()
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
        (slope,) = rt.autograd.grad(out, v, rt.eye(16, device=device).unsqueeze(0))
        return out, slope

    pairs = [(o.detach().numpy(), s.detach().numpy()) for o, s in (step(v) for _ in range(3))]
    assert not np.array_equal(pairs[1][0], pairs[2][0])
    for out, slope in pairs:
        assert_close(slope, out.transpose(0, 2, 1).copy(), 1e-5, 1e-6)


def test_captured_forward_and_backward(how: str, device: str) -> None:
    """Replays give what eager calls give, for inputs that the capture has not seen, and keep no memory from one to the next."""

    def slopes(*leaves: rt.Tensor) -> tuple[rt.Tensor, ...]:
        leaves = tuple(x.detach().requires_grad_() for x in leaves)
        out = F.scaled_dot_product_attention(*leaves, is_causal=True)
        return out.detach(), *rt.autograd.grad(out, leaves, rt.ones_like(out))

    replay = rt.capture(slopes)
    used = []
    for seed in range(4):
        leaves = [rt.tensor(array(*x.shape, seed=3 * seed + k), device=device) for k, x in enumerate(_qkv())]
        for got, expected in zip(replay(*leaves), slopes(*leaves), strict=True):
            assert_close(got, expected, 1e-5, 1e-6)
        del got, expected
        used.append(rt.statistics(device).bytes_in_use)
    assert used[2] == used[3]


def test_gradients_by_differences(how: str) -> None:
    q, k, v = (rt.tensor(x.astype(np.float64), requires_grad=True) for x in _qkv())
    gradcheck(F.scaled_dot_product_attention, [q, k, v])


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_shape(data: st.DataObject) -> None:
    size = st.integers(1, 6)
    batch = data.draw(st.lists(st.integers(1, 3), max_size=2))
    queries, keys, e, f = (data.draw(size) for _ in range(4))
    causal = data.draw(st.booleans())

    def run(function: Any) -> Any:
        return lambda q, k, v: function(q, k, v, is_causal=causal)

    compare("cpu", run(F.scaled_dot_product_attention), run(TF.scaled_dot_product_attention), array(*batch, queries, e),
            array(*batch, keys, e, seed=1), array(*batch, keys, f, seed=2), second=False, **NEAR)  # fmt: skip


def _long(device: str) -> float:
    """Megabytes at the most of temporaries while attention of 1x4x4096x64 goes forward and backward."""
    leaves = [rt.rand(1, 4, 4096, 64, device=device, requires_grad=True) for _ in range(3)]
    weights = rt.rand(1, 4, 4096, 64, device=device)
    rt.synchronize(device)
    before = rt.statistics(device).bytes_in_use
    rt.device(device).statistics.bytes_peak = before
    out = F.scaled_dot_product_attention(*leaves)
    q, k, v = (torch.tensor(x.detach()[0, 1].numpy()) for x in leaves)
    assert_close(out[0, 1, 100], torch.softmax(q[100] @ k.T / 8, -1) @ v, 1e-3, 1e-4)
    out.backward(weights)
    rt.synchronize(device)
    peak = rt.statistics(device).bytes_peak
    results = 4 * out.numel() * out.element_size()  # the result and three gradients stay
    assert leaves[2].grad is not None and np.isfinite(leaves[2].grad.numpy()).all()
    return (peak - before - results) / 1e6


@pytest.mark.parametrize("device", [pytest.param("cpu"), pytest.param("lavapipe", marks=pytest.mark.slow)], indirect=True)
def test_long_inputs_take_little_memory(device: str) -> None:
    assert _long(device) < 48  # and 64 with the result and the gradients: nothing of the size queries times keys (268 MB)


# -- the module ------------------------------------------------------------------------------------------------------
OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_first": True},
    {"bias": False, "batch_first": True},
    {"kdim": 5, "vdim": 3},
]


def _pair(options: dict[str, Any], device: str) -> tuple[nn.MultiheadAttention, torch.nn.MultiheadAttention]:
    theirs = torch.nn.MultiheadAttention(8, 2, **options)
    for n, p in enumerate(theirs.parameters()):
        p.data = torch.tensor(array(*p.shape, seed=n) * 0.4)
    ours = nn.MultiheadAttention(8, 2, **options, device=device)
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    return ours, theirs


def _same(ours: nn.Module, theirs: torch.nn.Module, device: str, arrays: list[Any], call: Any) -> None:
    """Outputs, gradients of inputs and of parameters."""
    xs = [rt.tensor(a, device=device, requires_grad=True) for a in arrays]
    ys = [torch.tensor(a, requires_grad=True) for a in arrays]
    a, b = call(ours, *xs), call(theirs, *ys)
    assert_close(a, b, 1e-4, 1e-5)
    weights = array(*a.shape, seed=11)
    a.backward(rt.tensor(weights, device=device))
    b.backward(torch.tensor(weights))
    for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
        assert_close(x.grad, y.grad, 1e-3, 1e-4, what=f"input {k}")
    for (key, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert_close(p.grad, q.grad, 1e-3, 1e-4, what=key)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_multihead(options: dict[str, Any], need_weights: bool, device: str) -> None:
    ours, theirs = _pair(options, device)
    shape = (2, 5) if options.get("batch_first") else (5, 2)
    keys = (2, 7) if options.get("batch_first") else (7, 2)
    arrays = [array(*shape, 8), array(*keys, options.get("kdim", 8), seed=1), array(*keys, options.get("vdim", 8), seed=2)]
    _same(ours, theirs, device, arrays, lambda m, q, k, v: m(q, k, v, need_weights=need_weights)[0])
    _same(ours, theirs, device, [a[0] if options.get("batch_first") else a[:, 0] for a in arrays], lambda m, q, k, v: m(q, k, v)[0])


@pytest.mark.filterwarnings("ignore:Support for mismatched")
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("mask", ["bool", "float", "heads", None])
@pytest.mark.parametrize("padding", ["bool", "float", None])
def test_self_attention_with_masks(padding: str | None, mask: str | None, batch_first: bool, device: str) -> None:
    ours, theirs = _pair({"batch_first": batch_first}, device)
    generator = np.random.default_rng(3)
    masks = {"bool": generator.random((5, 5)) < 0.3, "float": array(5, 5), "heads": generator.random((4, 5, 5)) < 0.3, None: None}
    paddings = {"bool": np.arange(5) >= np.array([[4], [3]]), "float": array(2, 5), None: None}
    m, p = masks[mask], paddings[padding]
    if m is not None and mask != "float":
        m[..., 0] = False

    def call(module: Any, x: Any) -> Any:
        made = (lambda a: rt.tensor(a, device=device)) if module is ours else torch.tensor
        return module(
            x, x, x, key_padding_mask=None if p is None else made(p), need_weights=False, attn_mask=None if m is None else made(m)
        )[0]

    _same(ours, theirs, device, [array(2, 5, 8) if batch_first else array(5, 2, 8)], call)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_appended_keys(data: st.DataObject, device: str) -> None:
    """A learned one, one of zeros, or both, with any masks; seen by every query, whatever the masks hide."""
    draw, size = data.draw, st.integers(1, 5)
    n, queries, keys = draw(size), draw(size), draw(size)
    learned, zero = draw(st.sampled_from([(True, False), (False, True), (True, True)]))
    apart, first, need = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    options = {"add_bias_kv": learned, "add_zero_attn": zero, "batch_first": first, "bias": draw(st.booleans())}
    ours, theirs = _pair({**options, **({"kdim": 5, "vdim": 3} if apart else {})}, device)
    rng = np.random.default_rng(2)
    heads = draw(st.booleans())
    masks = {"none": None, "bool": rng.random((2 * n, queries, keys) if heads else (queries, keys)) < 0.5, "float": array(queries, keys)}
    paddings = {"none": None, "bool": rng.random((n, keys)) < 0.5, "float": array(n, keys)}
    mask, padding = masks[draw(st.sampled_from(list(masks)))], paddings[draw(st.sampled_from(list(paddings)))]

    def call(module: Any, *xs: Any) -> Any:
        made = (lambda a: rt.tensor(a, device=device)) if module is ours else torch.tensor
        m, p = (None if a is None else made(a) for a in (mask, padding))
        out, weights = module(*xs, key_padding_mask=p, need_weights=need, attn_mask=m)
        if not need:
            return out
        assert weights.shape == (n, queries, keys + learned + zero)
        return out * weights.sum()

    sizes = ((queries, 8), (keys, 5 if apart else 8), (keys, 3 if apart else 8))
    arrays = [array(*((n, length) if first else (length, n)), f, seed=k) for k, (length, f) in enumerate(sizes)]
    _same(ours, theirs, device, arrays, call)


def test_appended_keys_are_not_hidden_from_causal_queries(device: str) -> None:
    ours, theirs = _pair({"add_bias_kv": True}, device)
    x, mask = array(5, 2, 8), np.triu(np.ones((5, 5), bool), 1)
    xs, m = [rt.tensor(x, device=device)] * 3, rt.tensor(mask, device=device)
    wanted = theirs(*[torch.tensor(x)] * 3, attn_mask=torch.tensor(mask))[0]
    for need in (False, True):
        assert_close(ours(*xs, is_causal=True, need_weights=need)[0], wanted, 1e-4, 1e-5)
        assert_close(ours(*xs, attn_mask=m, is_causal=True, need_weights=need)[0], wanted, 1e-4, 1e-5)
    assert_close(ours(*[y[:, 0] for y in xs])[0], theirs(*[torch.tensor(x[:, 0])] * 3)[0], 1e-4, 1e-5)


def test_weights(device: str) -> None:
    ours, theirs = _pair({"batch_first": True}, device)
    x, mask = array(2, 5, 8), np.triu(np.ones((5, 5), bool), 1)
    for average in (True, False):
        _, a = ours(*[rt.tensor(x, device=device)] * 3, attn_mask=rt.tensor(mask, device=device), average_attn_weights=average)
        _, b = theirs(*[torch.tensor(x)] * 3, attn_mask=torch.tensor(mask), average_attn_weights=average)
        assert_close(a, b, 1e-4, 1e-5)
    causal, none = ours(*[rt.tensor(x, device=device)] * 3, need_weights=False, is_causal=True)
    assert none is None
    assert_close(causal, theirs(*[torch.tensor(x)] * 3, attn_mask=torch.tensor(mask))[0], 1e-4, 1e-5)
    assert_close(ours(*[rt.tensor(x, device=device)] * 3, is_causal=True)[0], causal, 1e-4, 1e-5)


def test_dropout_of_the_module_is_used(device: str) -> None:
    layer, x = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True, device=device), rt.tensor(array(2, 5, 8), device=device)
    for need in (False, True):
        a, b = (layer.train()(x, x, x, need_weights=need)[0].detach().numpy() for _ in range(2))
        assert not np.array_equal(a, b)
        a, b = (layer.eval()(x, x, x, need_weights=need)[0].detach().numpy() for _ in range(2))
        assert np.array_equal(a, b)


@pytest.mark.fresh
def test_how_many_dispatches(device: str) -> None:
    """Projection, scores, softmax, values, projection; backward two products for each of these but the softmax, and its slope's sum."""
    layer = nn.MultiheadAttention(16, 4, batch_first=True, device=device)
    x = rt.tensor(array(2, 8, 16), device=device, requires_grad=True)
    for _ in range(2):
        with counting(device) as forward:
            out, _ = layer(x, x, x, need_weights=False)
            rt.device(device).stream().flush()
        with counting(device) as backward:
            out.sum().backward()
            rt.device(device).stream().flush()
        x.grad = None
        layer.zero_grad()
    assert forward.dispatches == 5
    assert backward.dispatches <= 12


def test_what_is_refused() -> None:
    q = rt.ones(2, 3, 4)
    with pytest.raises(ValueError, match="not both"):
        F.scaled_dot_product_attention(q, q, q, rt.zeros(3, 3), is_causal=True)
    with pytest.raises(rt.ShapeError, match="same number of features"):
        F.scaled_dot_product_attention(q, rt.ones(2, 3, 5), q)
    with pytest.raises(rt.DTypeError, match="attn_mask is bool"):
        F.scaled_dot_product_attention(q, q, q, rt.tensor([1]))
    with pytest.raises(rt.ShapeError, match="does not split into 3 heads"):
        nn.MultiheadAttention(8, 3)
    with pytest.raises(rt.ShapeError, match=r"key is \[length, n, 8\]"):
        nn.MultiheadAttention(8, 2)(rt.ones(3, 2, 8), rt.ones(3, 2, 7), rt.ones(3, 2, 8))
    with pytest.raises(rt.ShapeError, match=r"key_padding_mask is \[2, keys\]"):
        nn.MultiheadAttention(8, 2)(*[rt.ones(3, 2, 8)] * 3, key_padding_mask=rt.ones(3, 2))
