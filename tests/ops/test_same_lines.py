"""The same lines with PyTorch and with rasptorch: details that programs notice, each once a difference."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close

from .values import pair

Run = Callable[[Any, Callable[..., Any]], Any]
NAN = float("nan")


def _unsqueezed(m: Any, t: Any) -> Any:
    x = t([1.0, 2.0])
    return x.unsqueeze_(0), x.squeeze_(0).squeeze_(), x.unsqueeze_(-1).transpose_(0, 1).mul_(2).t_().swapaxes_(1, 0), x.swapdims_(0, 1)


def _bits_written(m: Any, t: Any) -> Any:
    x = t([1.0, 2.0])
    x.view(m.int32)[0] = 7
    return x


LINES: dict[str, Run] = {
    # Python numbers beside integers wrap as the dtype does; what is stored as it is has to fit
    "uint8 +": lambda m, t: (t([1, 44, 255], "uint8") + 300, t([1], "uint8") - 3, 300 - t([1], "uint8"), t([7], "uint8") * -1),
    "uint8 //": lambda m, t: (t([1, 200], "uint8") // -2, t([1, 200], "uint8") % -3, t([1, 200], "uint8") & 300),
    "uint8 ==": lambda m, t: (t([44], "uint8") == 300, t([1, 200], "uint8") < 300, t([1], "uint8") > -1),
    "uint8 in place": lambda m, t: (t([1, 44], "uint8").add_(-2), t([1], "uint8").fill_(-1), t([1], "uint8").masked_fill(t([True]), -1)),
    "int32 +": lambda m, t: (t([5], "int32") + (2**40 + 3), t([5], "int32") < 2**40, t([5], "int32") * -(2**33 + 1)),
    # 16-bit numbers add up in 32 bits
    "float16 mean": lambda m, t: (m.mean(t([6e4, 6e4], "float16")), t([[6e4, 6e4], [1.0, 2.0]], "float16").mean(1, True)),
    "float16 norm": lambda m, t: (m.norm(t([300.0, 400.0], "float16")), m.norm(t([30.0, 40.0], "float16"), 3)),
    "float16 norm 32": lambda m, t: m.norm(t([300.0, 400.0], "float16"), dtype=m.float32),
    "float16 var": lambda m, t: (m.var(t([6e4] * 3, "float16")), m.std(input=t([6e4] * 3, "float16")), t([300.0, -400.0], "float16").std()),
    "float16 pairs": lambda m, t: (*m.std_mean(t([6e4] * 3, "float16")), *m.var_mean(t([6e4] * 3, "bfloat16"), 0, keepdim=True)),
    "float16 dist": lambda m, t: m.dist(t([300.0, 400.0], "float16"), t([0.0, 0.0], "float16")),
    "float16 einsum": lambda m, t: m.einsum("i,i", t([300.0, 400.0], "float16"), t([300.0, -225.0], "float16")),
    # a factor of zero leaves nothing of its tensor
    "addmm": lambda m, t: m.addmm(t([NAN]), t([[1.0, 2.0]]), t([[1.0], [2.0]]), beta=0),
    "addmv": lambda m, t: m.addmv(t([NAN]), t([[1.0, 2.0]]), t([1.0, 2.0]), beta=0, alpha=2),
    "baddbmm": lambda m, t: m.baddbmm(t([NAN]), t([[[1.0, 2.0]]]), t([[[1.0], [2.0]]]), beta=0),
    "alpha": lambda m, t: (m.add(t([1.0]), 1, alpha=2), m.sub(t([1.0]), 2, alpha=3), m.rsub(t([1.0]), 2), t([1.0]).add_(1, alpha=2)),
    # no dimensions
    "all of none": lambda m, t: (m.all(t([[True, False]]), dim=()), m.any(t([[2.0, 0.0, NAN]]), dim=()), m.any(t([[2, 0]]), [], True)),
    # other forms
    "unbiased": lambda m, t: (t([1.0, 2.0]).var(False), t([1.0, 2.0]).std(False), m.std(t([1.0, 2.0]), True), t([1.0, 2.0]).var(0, False)),
    "unbiased, keepdim": lambda m, t: (t([1.0, 2.0]).std(0, True, True), m.var(t([[1.0, 2.0]]), 1, False, True), t([1.0]).var(0, False)),
    "unbiased pairs": lambda m, t: (*m.var_mean(t([1.0, 2.0]), False), *m.std_mean(t([[1.0, 2.0]]), 1, False, True)),
    "sizes by name": lambda m, t: (m.zeros(size=(2,)), m.ones(size=[1, 2], dtype=m.int32), m.full(size=(2,), fill_value=1.5)),
    "shapes by name": lambda m, t: (t([[1.0, 2.0]]).reshape(shape=(2, 1)), t([[1.0]]).view(size=(1,)), m.reshape(t(1.0), shape=(1,))),
    "dims by name": lambda m, t: (t([[1.0, 2.0]]).permute(dims=(1, 0)), t([1.0]).expand(size=(2, 2)), m.tile(t([1.0, 2.0]), dims=(2,))),
    "stretched by name": lambda m, t: (t([1.0]).expand(size=[3]), t([1.0, 2.0]).repeat(repeats=(2, 1))),
    "split by name": lambda m, t: (*t([1.0, 2.0]).split(split_size=1), *m.split(t([1.0, 2.0]), split_size_or_sections=[1, 1])),
    "operands by name": lambda m, t: (t([1.0]).mul(other=2), t([2.0]).pow(exponent=3), t([1.0]).clamp_min(min=1.5), t([1.0]).eq(other=1)),
    "names of dtypes": lambda m, t: (m.zeros(1, dtype=m.float), m.zeros(1, dtype=m.int), m.zeros(1, dtype=m.half)),
    "numbers": lambda m, t: (t([m.inf, -m.inf, m.nan, m.pi, m.e]), t([1.0, 2.0])[:, m.newaxis]),
    "NumPy's numbers": lambda m, t: (t([[1.0, 2.0]]).reshape(np.prod((1, 2))), t([1.0]).view(np.int64(1), -1), t([1.0]).sum(np.int64(0))),
    "where": lambda m, t: (t([1.0, 2.0]).where(t([True, False]), 0.0), t([1, 2]).where(t([True, False]), t([5.5, 6.5]))),
    "repeats only": lambda m, t: m.repeat_interleave(t([1, 2, 0, 3], "int32")),
    "einsum by numbers": lambda m, t: m.einsum(t([[1.0, 2.0]]), [0, 1], t([1.0, 2.0]), [1], [0]),
    "einsum by numbers 2": lambda m, t: m.einsum(t([[1.0, 2.0], [3.0, 4.0]]), [..., 0], t([1.0, 2.0]), [0]),
    "einsum by numbers 3": lambda m, t: m.einsum(t([[1.0, 2.0], [3.0, 4.0]]), [40, 40]),
    "shapes in place": _unsqueezed,
    "diagonal": lambda m, t: (t([[1, 2], [3, 4], [5, 6]], "int32").fill_diagonal_(9), t([[[1, 2], [3, 4]]] * 2, "int32").fill_diagonal_(0)),
    "diagonal turned": lambda m, t: t([[1.0, 2.0], [3.0, 4.0]]).t().fill_diagonal_(7),
    "bits": lambda m, t: (t([1.0, NAN]).view(m.int32), t([1, 2], "int32").view(dtype=m.float32), t(1.0).view(m.int32)),
    "bits as they are": lambda m, t: t([1.0]).view(m.float32),
    "bits narrow": lambda m, t: (t([1, 515], "int32").view(m.uint8), t([[1, 2], [3, 4]], "int32").view(m.float16)),
    "bits wide": lambda m, t: (t([0, 0, 0, 0, 1, 2, 3, 4], "uint8").view(m.int32), t([0, 0, 0, 0, 1, 2, 3, 4], "uint8")[4:].view(m.int32)),
    "bits turned": lambda m, t: t([[1, 2], [3, 4]], "int32").t().view(m.float32),
    "bits written": _bits_written,
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_same_values(name: str, device: str) -> None:
    ours = LINES[name](rt, lambda values, dtype=None: rt.tensor(values, dtype=dtype, device=device))
    theirs = LINES[name](torch, lambda values, dtype=None: torch.tensor(values, dtype=dtype and getattr(torch, dtype)))
    for a, b in zip(*[list(r) if isinstance(r, tuple) else [r] for r in (ours, theirs)], strict=True):
        assert_close(a, b)


REFUSED: dict[str, Run] = {
    "full": lambda m, t: m.full((2,), 300, dtype=m.uint8), "fill_": lambda m, t: t([1], "uint8").fill_(300),
    "tensor": lambda m, t: t([1, 300], "uint8"), "tensor wide": lambda m, t: t([2**40], "int32"),
    "clamp": lambda m, t: t([1], "uint8").clamp(-1, 300), "clamp_": lambda m, t: t([1], "uint8").clamp_(max=300),
    "masked_fill": lambda m, t: t([1], "uint8").masked_fill(t([True]), 256), "nan": lambda m, t: m.full((2,), NAN, dtype=m.int64),
    "leaf": lambda m, t: t([1.0]).requires_grad_().unsqueeze_(0), "bits": lambda m, t: t([1, 2, 3], "uint8").view(m.int32),
    "bits apart": lambda m, t: t([[1, 2], [3, 4]], "int32").t().view(m.uint8), "bits 0-d": lambda m, t: t(1.0).view(m.uint8),
    "bits from": lambda m, t: t([1, 2, 3, 4, 5], "uint8")[1:].view(m.int32),
    "numbers": lambda m, t: m.einsum(t([1.0]), [52]), "diagonal": lambda m, t: t([1.0]).fill_diagonal_(1),
    "addmm": lambda m, t: m.addmm(t([1.0, 2.0]), t([[1.0]]), t([[2.0]]), beta=0),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_both_refuse(name: str) -> None:
    with pytest.raises((RuntimeError, ValueError, OverflowError)):
        REFUSED[name](torch, lambda values, dtype=None: torch.tensor(values, dtype=dtype and getattr(torch, dtype)))
    with pytest.raises((rt.RasptorchError, OverflowError, ValueError)):
        REFUSED[name](rt, lambda values, dtype=None: rt.tensor(values, dtype=dtype))


def test_numbers_that_do_not_fit_end_nothing(device: str) -> None:
    """A number out of range once failed the submission, and with it the device."""
    x = rt.tensor([1, 2], dtype=rt.uint8, device=device)
    for number, run in itertools.product((300, -1, 2**70), (lambda x, n: x + n, lambda x, n: x == n, lambda x, n: rt.where(x > 1, x, n))):
        run(x, number).tolist()
    big = rt.tensor([1, 2], dtype=rt.int32, device=device) + 2**70
    assert big.tolist() == [1, 2] and (x + 1).tolist() == [2, 3]


def test_gradients_of_16_bit_reductions(device: str) -> None:
    for run in (lambda x: x.mean(), lambda x: x.var(), lambda x: x.norm(), lambda x: x.std(0), lambda x: x.norm(3)):
        x, y = pair([3.0, 4.0, -1.0], "float16", device=device)
        run(x.requires_grad_()).backward()
        run(y.requires_grad_()).backward()
        assert_close(x.grad, y.grad, rtol=2e-3)


def test_shapes_in_place_keep_the_tape(device: str) -> None:
    x, y = pair([1.0, 2.0], device=device)
    for leaf in (x, y):
        z = leaf.requires_grad_() * 2
        z.unsqueeze_(0).mul_(3)
        (z * z).sum().backward()
        assert z.shape == (1, 2)
    assert_close(x.grad, y.grad)


def test_means_of_16_bits_take_one_kernel(device: str) -> None:
    from tests.support.counting import counting

    x = rt.rand(8, 8, device=device).half()
    rt.synchronize(device)
    with counting(device) as n:
        kept = x.mean(1)
        rt.synchronize(device)
    assert (n.dispatches, kept.dtype) == (1, rt.float16)


def test_other_names_of_dtypes_and_devices(device: str) -> None:
    assert (rt.long, rt.double, rt.float, rt.int, rt.half) == (rt.int64, rt.float64, rt.float32, rt.int32, rt.float16)
    found = rt.zeros(1, device=device).device
    assert (found.type, found.index) == (("cpu", None) if found.name == "cpu" else ("vulkan", int(found.name.removeprefix("vulkan:"))))
