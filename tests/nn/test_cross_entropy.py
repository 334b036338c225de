"""Cross entropy and negative log-likelihood against PyTorch, and class numbers out of range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import rasptorch as rt
from rasptorch import nn
from rasptorch.nn import functional as F
from tests.support.compare import assert_close

from .both import array, compare

pytestmark = pytest.mark.every_driver  # also where there is no int64 arithmetic

SHAPES = [(7, 4), (4,), (3, 4, 5), (2, 4, 3, 2)]
CLASSES = 4


def numbers(shape: tuple[int, ...], seed: int = 0) -> Any:
    """Class numbers for logits of ``shape``."""
    wanted = shape[1:] if len(shape) == 1 else (shape[0], *shape[2:])
    return np.random.default_rng(seed).integers(0, CLASSES, wanted)


def weights(weighted: bool, device: str) -> tuple[rt.Tensor | None, torch.Tensor | None]:
    if not weighted:
        return None, None
    values = array(CLASSES, seed=5, low=0.2)
    return rt.tensor(values, device=device), torch.tensor(values)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_numbers(
    shape: tuple[int, ...], reduction: str, weighted: bool, smoothing: float, device: str
) -> None:
    target = numbers(shape)
    target[target == 3] = 2
    if target.ndim:
        target.reshape(-1)[0] = 3  # ignored
    w, tw = weights(weighted, device)
    ignored = 3 if target.ndim else -100
    compare(
        device,
        lambda x: F.cross_entropy(x, rt.tensor(target, device=device), w, ignored, reduction, smoothing),
        lambda x: TF.cross_entropy(
            x, torch.tensor(target), tw, ignore_index=ignored, reduction=reduction, label_smoothing=smoothing
        ),
        array(*shape),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_probabilities(
    shape: tuple[int, ...], reduction: str, weighted: bool, smoothing: float, device: str
) -> None:
    w, tw = weights(weighted, device)
    compare(
        device,
        lambda x, t: F.cross_entropy(x, t, w, reduction=reduction, label_smoothing=smoothing),
        lambda x, t: TF.cross_entropy(x, t, tw, reduction=reduction, label_smoothing=smoothing),
        array(*shape),
        array(*shape, seed=1, low=0.0, high=1.0),
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_negative_log_likelihood(weighted: bool, reduction: str, device: str) -> None:
    shape = (3, 4, 5)
    target = numbers(shape)
    target[0, 0] = -100
    w, tw = weights(weighted, device)
    compare(
        device,
        lambda x: F.nll_loss(x, rt.tensor(target, device=device), w, reduction=reduction),
        lambda x: TF.nll_loss(x, torch.tensor(target), tw, reduction=reduction),
        array(*shape),
    )


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_numbers_of_any_integer_type(dtype: str, device: str) -> None:
    x, t = array(6, CLASSES), numbers((6, CLASSES))
    ours = F.cross_entropy(rt.tensor(x, device=device), rt.tensor(t, dtype=dtype, device=device))
    assert_close(ours, TF.cross_entropy(torch.tensor(x), torch.tensor(t)))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float32"])
def test_one_hot_of_any_type(dtype: str, device: str) -> None:
    x, t = array(6, CLASSES), numbers((6, CLASSES))
    one_hot = np.eye(CLASSES, dtype=dtype)[t]
    ours = F.cross_entropy(
        rt.tensor(x, device=device), rt.tensor(one_hot, device=device), label_smoothing=0.2
    )
    assert_close(ours, TF.cross_entropy(torch.tensor(x), torch.tensor(t), label_smoothing=0.2))


def test_a_strided_target(device: str) -> None:
    x, t = array(5, CLASSES, 3), numbers((3, CLASSES, 5))
    ours = F.cross_entropy(rt.tensor(x, device=device), rt.tensor(t, device=device).T)
    assert_close(ours, TF.cross_entropy(torch.tensor(x), torch.tensor(t.T)))


def test_certain_wrong_logits(device: str) -> None:
    """Large logits stay finite; classes of probability 0 do not spoil the others."""
    x = np.array([[1e4, 0.0, -1e4], [0.0, -np.inf, 1.0]], np.float32)
    t = np.array([1, 0])
    ours = F.cross_entropy(rt.tensor(x, device=device), rt.tensor(t, device=device), reduction="none")
    assert_close(ours, TF.cross_entropy(torch.tensor(x), torch.tensor(t), reduction="none"))


@pytest.mark.parametrize("ignored", [-100, 3], ids=["no class", "a class"])
def test_many_rows(ignored: int, device: str) -> None:
    """As many as several threads share on the host; some of them do not count."""
    x, t = array(30_000, CLASSES), np.random.default_rng(0).integers(0, CLASSES, 30_000)
    t[::7] = ignored
    mine, other = rt.tensor(x, device=device, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours = F.cross_entropy(mine, rt.tensor(t, device=device), ignore_index=ignored)
    theirs = TF.cross_entropy(other, torch.tensor(t), ignore_index=ignored)
    (ours * 3).backward()
    (theirs * 3).backward()
    assert_close(ours, theirs)
    assert_close(mine.grad, other.grad)


@pytest.mark.parametrize("ignored", [-100, 1])
def test_gradients_of_its_gradient(ignored: int, device: str) -> None:
    x, t = array(5, CLASSES), numbers((5, CLASSES))
    found = []
    for m, f, options in ((rt, F, {"device": device}), (torch, TF, {})):
        logits = m.tensor(x, requires_grad=True, **options)
        loss = f.cross_entropy(logits, m.tensor(t, **options), ignore_index=ignored)
        (first,) = m.autograd.grad(loss, (logits,), create_graph=True)
        (second,) = m.autograd.grad((first * first).sum(), (logits,))
        found.append((first.detach(), second))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs)


def test_no_rows(device: str) -> None:
    x = rt.zeros(0, CLASSES, device=device, requires_grad=True)
    loss = F.cross_entropy(x, rt.zeros(0, dtype=rt.int64, device=device))
    loss.backward()
    assert np.isnan(loss.item()) and x.grad is not None and x.grad.shape == (0, CLASSES)


@pytest.mark.parametrize("number", [(1 << 32) + 1, 1 << 31, 1 - (1 << 32)])
def test_numbers_that_32_bits_do_not_hold(number: int, device: str) -> None:
    loss = F.cross_entropy(rt.zeros(2, CLASSES, device=device), rt.tensor([0, number], device=device))
    with pytest.raises(IndexError, match=r"cross_entropy: target: index -?2147483\d+ is out of range"):
        loss.item()


def test_nothing_but_ignored() -> None:
    x = rt.tensor(array(2, 3), requires_grad=True)
    t = rt.tensor([-100, -100])
    loss = F.cross_entropy(x, t)
    loss.backward()
    assert np.isnan(loss.item())
    assert x.grad is not None and x.grad.tolist() == [[0.0] * 3] * 2
    assert F.cross_entropy(x, t, reduction="sum").item() == 0.0


def test_in_float64_and_float16() -> None:
    x, t = array(6, CLASSES), numbers((6, CLASSES))
    for ours, theirs in ((rt.float64, torch.float64), (rt.float16, torch.float16)):
        loss = F.cross_entropy(rt.tensor(x, dtype=ours), rt.tensor(t))
        assert_close(loss, TF.cross_entropy(torch.tensor(x).to(theirs), torch.tensor(t)))


@pytest.mark.parametrize("bad", [4, 100, -1, -101])
def test_a_number_out_of_range(bad: int, device: str) -> None:
    target = rt.tensor([0, 1, bad], device=device)
    loss = F.cross_entropy(rt.zeros(3, CLASSES, device=device), target)
    with pytest.raises(IndexError, match=rf"cross_entropy: target: index {bad} is out of range; .* 0 to 3"):
        loss.item()
    assert np.isfinite(loss.item())  # reported once; the device goes on
    rt.synchronize(device)


def test_the_operation_is_named(device: str) -> None:
    loss = F.nll_loss(rt.zeros(1, 2, device=device), rt.tensor([2], device=device))
    with pytest.raises(IndexError, match="nll_loss: target: index 2"):
        loss.item()
    made = F.one_hot(rt.tensor([0, -1], dtype=rt.int32, device=device), 2, dtype=rt.int32)
    with pytest.raises(IndexError, match="one_hot: index: index -1"):
        made.numpy()


def test_an_index_is_checked_although_nobody_reads_the_loss(device: str) -> None:
    F.cross_entropy(rt.zeros(1, 2, device=device), rt.tensor([5], device=device))
    with pytest.raises(IndexError, match="index 5"):
        rt.synchronize(device)


def test_an_ignored_number_is_no_error(device: str) -> None:
    x, t = array(3, CLASSES), np.array([1, 77, 2])
    loss = F.cross_entropy(rt.tensor(x, device=device), rt.tensor(t, device=device), ignore_index=77)
    assert_close(loss, TF.cross_entropy(torch.tensor(x), torch.tensor(t), ignore_index=77))


def test_nothing_is_waited_for(device: str) -> None:
    x = rt.tensor(array(3, CLASSES), device=device, requires_grad=True)
    t = rt.tensor([0, 1, 2], device=device)
    with rt.forbid_waiting():
        F.cross_entropy(x, t, label_smoothing=0.1).backward()
    assert x.grad is not None and x.grad.shape == (3, CLASSES)
    rt.synchronize(device)


def test_one_hot(device: str) -> None:
    t = np.array([[0, 2], [1, 1]])
    assert_close(F.one_hot(rt.tensor(t), 3), TF.one_hot(torch.tensor(t), 3))
    ours = F.one_hot(rt.tensor(t, device=device), 3, dtype=rt.float32)
    assert_close(ours, TF.one_hot(torch.tensor(t), 3).float())
    with pytest.raises(ValueError, match="num_classes"):
        F.one_hot(rt.tensor(t), 0)


def test_modules() -> None:
    x, t = array(6, CLASSES), numbers((6, CLASSES))
    w, tw = weights(True, "cpu")
    for name, options in (("CrossEntropyLoss", {"label_smoothing": 0.1}), ("NLLLoss", {})):
        ours = getattr(nn, name)(w, ignore_index=2, reduction="sum", **options)
        theirs = getattr(torch.nn, name)(tw, ignore_index=2, reduction="sum", **options)
        assert_close(ours(rt.tensor(x), rt.tensor(t)), theirs(torch.tensor(x), torch.tensor(t)))


def test_what_is_refused() -> None:
    x = rt.zeros(3, 4)
    with pytest.raises(rt.ShapeError, match=r"wants class numbers of shape \[3\], got \[4\]"):
        F.cross_entropy(x, rt.tensor([0, 1, 2, 3]))
    with pytest.raises(rt.ShapeError, match="holds probabilities and has the input's shape"):
        F.cross_entropy(x, rt.tensor([0.0, 1.0, 2.0]))
    with pytest.raises(rt.ShapeError, match=r"weight has one entry for each of 4 classes, got shape \[3\]"):
        F.cross_entropy(x, rt.tensor([0, 1, 2]), rt.ones(3))
    with pytest.raises(ValueError, match="label_smoothing"):
        F.cross_entropy(x, rt.tensor([0, 1, 2]), label_smoothing=1.5)
    with pytest.raises(ValueError, match="reduction"):
        F.nll_loss(x, rt.tensor([0, 1, 2]), reduction="avg")
    with pytest.raises(rt.DTypeError, match="not defined for int64"):
        F.cross_entropy(rt.zeros(3, 4, dtype=rt.int64), rt.tensor([0, 1, 2]))
    with pytest.raises(rt.ShapeError, match="0-d"):
        F.cross_entropy(rt.tensor(1.0), rt.tensor(0))
