"""Inside `autocast` every layer gives the dtype that PyTorch's gives, and nearly the same values; and a network trains with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from rasptorch import amp, nn
from rasptorch.nn import functional as F
from tests.support.compare import assert_close

from .both import array

NUMBERS, SERIES, IMAGES = array(5, 4, 8), array(2, 4, 9), array(2, 4, 6, 6)
VOLUME = array(2, 4, 3, 2, 2)
CLASSES = np.arange(20, dtype=np.int64).reshape(5, 4) % 4  # of `NUMBERS` with its dimensions turned around
SIGNS = np.where(array(5, seed=3) > 0, 1.0, -1.0).astype(np.float32)
PLAIN = [
    "CELU", "ELU", "GELU", "SELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "Mish", "PReLU", "ReLU", "ReLU6",
    "Sigmoid", "SiLU", "Softplus", "Softsign", "Tanh", "Identity", "Flatten",
]  # fmt: skip
PAIRED = ["MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCEWithLogitsLoss", "CosineSimilarity"]
Case = tuple[tuple[Any, ...], dict[str, Any], tuple[Any, ...]]

# The layer's arguments, its options, and its inputs.
CASES: dict[str, Case] = {
    **{name: ((), {}, (NUMBERS,)) for name in PLAIN},
    **{name: ((), {}, (NUMBERS, array(5, 4, 8, seed=1))) for name in PAIRED},
    **{name: ((), {"p": 0.0}, (IMAGES if name == "Dropout2d" else SERIES,)) for name in ("Dropout", "Dropout1d", "Dropout2d")},
    **{name: ((8, 6), {}, (NUMBERS,)) for name in ("RNN", "LSTM", "GRU")},
    **{name: ((8, 6), {}, (NUMBERS[0],)) for name in ("RNNCell", "LSTMCell", "GRUCell")},
    **{name: ((4, 6, 3), {}, (SERIES,)) for name in ("Conv1d", "ConvTranspose1d")},
    **{name: ((4, 6, 3), {"stride": 2}, (IMAGES,)) for name in ("Conv2d", "ConvTranspose2d")},
    **{name: ((2,), {}, (SERIES,)) for name in ("MaxPool1d", "AvgPool1d", "AdaptiveAvgPool1d", "AdaptiveMaxPool1d")},
    **{name: ((4,), {}, (IMAGES,)) for name in ("MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "BatchNorm2d", "InstanceNorm2d")},
    "AdaptiveMaxPool2d": ((4,), {}, (IMAGES,)),
    **{name: ((4,), {}, (SERIES,)) for name in ("BatchNorm1d", "InstanceNorm1d")},
    **{name: ((-1,), {}, (NUMBERS,)) for name in ("Softmax", "LogSoftmax")},
    "BatchNorm3d": ((4,), {}, (VOLUME,)),
    "BCELoss": ((), {}, (NUMBERS * 0.2 + 0.5, array(5, 4, 8, seed=1) * 0.2 + 0.5)),
    "Bilinear": ((8, 8, 3), {}, (NUMBERS, NUMBERS)),
    "CosineEmbeddingLoss": ((), {}, (NUMBERS[:, 0], NUMBERS[:, 1], SIGNS)),
    "CrossEntropyLoss": ((), {}, (NUMBERS.transpose(0, 2, 1)[:, :4].reshape(5, 4, 4), CLASSES)),
    "Embedding": ((5, 6), {}, (CLASSES,)),
    "GroupNorm": ((2, 4), {}, (IMAGES,)),
    "HingeEmbeddingLoss": ((), {}, (NUMBERS[:, 0, 0], SIGNS)),
    "KLDivLoss": ((), {}, (NUMBERS, array(5, 4, 8, seed=1, low=0.1))),
    "LayerNorm": ((8,), {}, (NUMBERS,)),
    "Linear": ((8, 6), {}, (NUMBERS,)),
    "MarginRankingLoss": ((), {}, (NUMBERS[:, 0, 0], NUMBERS[:, 0, 1], SIGNS)),
    "MultiheadAttention": ((8, 2), {}, (NUMBERS,) * 3),
    "NLLLoss": ((), {}, (NUMBERS.transpose(0, 2, 1)[:, :4].reshape(5, 4, 4), CLASSES)),
    "PixelShuffle": ((2,), {}, (IMAGES,)),
    "PixelUnshuffle": ((2,), {}, (IMAGES,)),
    "RMSNorm": ((8,), {}, (NUMBERS,)),
    "Threshold": ((0.1, 2.0), {}, (NUMBERS,)),
    "Transformer": ((8, 2, 1, 1, 16, 0.0), {}, (NUMBERS, NUMBERS)),
    "TransformerDecoderLayer": ((8, 2, 16, 0.0), {}, (NUMBERS, NUMBERS)),
    "TransformerEncoderLayer": ((8, 2, 16, 0.0), {}, (NUMBERS,)),
    "TripletMarginLoss": ((), {}, (NUMBERS[:, 0], NUMBERS[:, 1], NUMBERS[:, 2])),
    "Unflatten": ((2, (2, 4)), {}, (NUMBERS,)),
    "Upsample": ((), {"scale_factor": 2, "mode": "bilinear"}, (IMAGES,)),
    "ZeroPad2d": ((1,), {}, (IMAGES,)),
}  # fmt: skip
# Made of layers that are listed, or without a counterpart.
OTHERS = {
    "GaussianKL", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "PositionalEncoding", "Sequential",
    "TransformerDecoder", "TransformerEncoder",
}  # fmt: skip

# The lists that PyTorch has for its GPUs, which are ours, name these; its CPU leaves them in the dtype they are given,
# which inputs of 16 bits show.
FULL_ON_ITS_GPUS = {
    "CosineSimilarity", "GroupNorm", "LayerNorm", "LogSoftmax", "RMSNorm", "Softmax", "Softplus", "Upsample", "Transformer",
    "TransformerDecoderLayer", "TransformerEncoderLayer",
}  # fmt: skip
LOW_ON_ITS_GPUS = {"GRU", "GRUCell", "LSTMCell"}
REFUSED_16_BITS = {"Bilinear"}  # by PyTorch's CPU: not all tensors have the same dtype


def _pair(name: str, device: str) -> tuple[nn.Module, torch.nn.Module]:
    args, options, _ = CASES[name]
    theirs = getattr(torch.nn, name)(*args, **options)
    for n, p in enumerate(theirs.parameters()):
        p.data = torch.tensor(array(*p.shape, seed=n) * 0.3)
    ours = getattr(nn, name)(*args, **options).to(device)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def _flat(found: Any) -> list[Any]:
    return [y for x in found for y in _flat(x)] if isinstance(found, tuple) else [] if found is None else [found]


def _wanted(name: str, its: Any, half: bool, number: int) -> str:
    if half and name in FULL_ON_ITS_GPUS:
        return "float32"
    if name in LOW_ON_ITS_GPUS:
        return "bfloat16"
    if name == "MultiheadAttention" and number == 1:
        return "float32"  # the weights are a softmax
    return str(its.dtype).removeprefix("torch.")


def test_every_layer_is_listed() -> None:
    layers = {n for n in nn.__all__ if isinstance(getattr(nn, n), type) and issubclass(getattr(nn, n), nn.Module)}
    assert layers == set(CASES) | OTHERS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_dtypes_and_values_are_those_of_pytorch(name: str, half: bool, device: str) -> None:
    if half and name in REFUSED_16_BITS:
        return
    ours, theirs = _pair(name, device)
    inputs = [a if a.dtype == np.int64 else torch.tensor(a).to(torch.bfloat16 if half else torch.float32) for a in CASES[name][2]]
    wide = [torch.tensor(a) if isinstance(a, np.ndarray) else a.float() for a in inputs]
    exact = _flat(theirs(*wide))
    with torch.autocast("cpu", torch.bfloat16):
        its = _flat(theirs(*[torch.tensor(a) if isinstance(a, np.ndarray) else a for a in inputs]))
    mine = [rt.tensor(a.numpy(), device=device) for a in wide]
    mine = [x.to(rt.bfloat16) if half and x.dtype is rt.float32 else x for x in mine]
    with rt.autocast("cpu" if device == "cpu" else "gpu", rt.bfloat16):
        made = _flat(ours(*mine))
    assert len(made) == len(its)
    for k, (a, b, c) in enumerate(zip(made, its, exact, strict=True)):
        assert a.dtype.name == _wanted(name, b, half, k), (a.dtype, b.dtype)
        _near(a, c)
    if half or not list(ours.parameters()):
        return
    sum((a.to(rt.float32) * a.to(rt.float32)).sum() for a in made[:1]).backward()
    sum((c * c).sum() for c in exact[:1]).backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert p.grad.dtype is rt.float32
        _near(p.grad, q.grad, 0.15)


def _near(made: rt.Tensor, wanted: torch.Tensor, share: float = 0.06) -> None:
    """Within what 8 bits of precision leave, of each and of the largest."""
    assert_close(made.cpu().to(rt.float32), wanted, share, share * float(wanted.detach().abs().max().clamp(min=1e-3)))


# -- functions without a layer ---------------------------------------------------------------------------------------
X, Y = array(4, 6), array(4, 6, seed=1)
# Two matrices to a value, and whether the dtype is the low one, float32, or that of the arguments.
FUNCTIONS: dict[str, tuple[Callable[[Any, Any, Any], Any], str]] = {
    "attention": (lambda lib, x, y: lib.nn.functional.scaled_dot_product_attention(x, y, y), "low"),
    "attention with a mask": (lambda lib, x, y: lib.nn.functional.scaled_dot_product_attention(x, y, y, x[:, :4]), "low"),
    "mm": (lambda lib, x, y: lib.mm(x, y.T), "low"),
    "mv": (lambda lib, x, y: lib.mv(x, y[0]), "low"),
    "einsum": (lambda lib, x, y: lib.einsum("ij,kj->ik", x, y), "low"),
    "dot": (lambda lib, x, y: lib.dot(x[0], y[0]), "given"),
    "vdot": (lambda lib, x, y: lib.vdot(x[0], y[0]), "given"),
    "tensordot": (lambda lib, x, y: lib.tensordot(x, y, 2), "given"),
    "cumprod": (lambda lib, x, y: lib.cumprod(x, 1), "full"),
    "cumsum": (lambda lib, x, y: lib.cumsum(x, 1), "full"),
    "logsumexp": (lambda lib, x, y: lib.logsumexp(x, 1), "full"),
    "cdist": (lambda lib, x, y: lib.cdist(x, y), "full"),
    "dist": (lambda lib, x, y: lib.dist(x, y), "full"),
    "norm": (lambda lib, x, y: lib.norm(x), "full"),
    "sum": (lambda lib, x, y: x.sum(0), "full"),
    "prod": (lambda lib, x, y: x.prod(0), "full"),
    "amax": (lambda lib, x, y: x.amax(0), "given"),
    "sort": (lambda lib, x, y: lib.sort(x)[0], "given"),
}


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, half: bool, device: str) -> None:
    function, kind = FUNCTIONS[name]
    own = rt.bfloat16 if half else rt.float32
    x, y = (rt.tensor(a, device=device).to(own) for a in (X, Y))
    with rt.autocast("cpu" if device == "cpu" else "gpu", rt.bfloat16):
        made = function(rt, x, y)
    assert made.dtype is {"low": rt.bfloat16, "full": rt.float32, "given": own}[kind]
    _near(made, function(torch, torch.tensor(X), torch.tensor(Y)))


def test_where_two_dtypes_meet(device: str) -> None:
    """Products that are sensitive take the wider one."""
    x, y = rt.tensor(X[0], device=device), rt.tensor(Y[0], device=device).to(rt.bfloat16)
    with rt.autocast("cpu" if device == "cpu" else "gpu", rt.bfloat16):
        assert rt.dot(x, y).dtype is rt.float32 and rt.dot(y, y).dtype is rt.bfloat16


# -- a network -------------------------------------------------------------------------------------------------------
def _networks(device: str) -> tuple[nn.Module, torch.nn.Module]:
    def made(lib: Any) -> Any:
        return lib.Sequential(
            lib.Conv2d(2, 6, 3, padding=1), lib.BatchNorm2d(6), lib.ReLU(), lib.ConvTranspose2d(6, 4, 2, stride=2), lib.GroupNorm(2, 4),
            lib.PReLU(), lib.MaxPool2d(2), lib.Flatten(), lib.Linear(4 * 36, 3),
        )  # fmt: skip

    theirs = made(torch.nn)
    for n, p in enumerate(theirs.parameters()):
        p.data = torch.tensor(array(*p.shape, seed=n) * 0.3)
    ours = made(nn).to(device)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_a_convolutional_network_trains_and_steps_over_overflows(device: str) -> None:
    ours, theirs = _networks(device)
    x, t = array(8, 2, 6, 6), np.arange(8) % 3
    mine, its = rt.optim.SGD(ours.parameters(), lr=0.05, momentum=0.9), torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    name = "cpu" if device == "cpu" else "gpu"
    scaler = amp.GradScaler(name, init_scale=2.0**40, backoff_factor=2.0**-30)
    inputs, targets = rt.tensor(x, device=device), rt.tensor(t, device=device)

    def step() -> rt.Tensor:
        mine.zero_grad()
        with rt.autocast(name, rt.float16):
            loss = F.cross_entropy(ours(inputs), targets)
        scaler.scale(loss).backward()
        scaler.step(mine)
        scaler.update()
        return loss

    before = [p.detach().numpy() for p in ours.parameters()]
    with rt.forbid_waiting():
        step()
    assert scaler.get_scale() == 2.0**10  # it overflowed, and nothing changed
    for p, q in zip(ours.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q)
    losses = [step() for _ in range(8)]
    wanted = []
    for _ in range(8):
        its.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(t))
        loss.backward()
        its.step()
        wanted.append(loss.item())
    assert scaler.get_scale() == 2.0**10
    np.testing.assert_allclose([loss.item() for loss in losses], wanted, rtol=0.03, atol=0.01)
    assert losses[-1].item() < 0.6 * losses[0].item()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        _near(p, q.detach())
