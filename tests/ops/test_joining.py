"""Joining, repeating, padding, diagonals, windows and grids against PyTorch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close
from tests.support.counting import counting

from .joining_cases import JOINING, padded
from .values import LAYOUTS, TORCH, pair, random

Run = Callable[[Any, Any], Any]

# Of a tensor of shape [4, 6], whatever its layout.
TAKEN: dict[str, Run] = {
    "cat": lambda m, x: m.cat([x, x[:1], x[3:1]]), "cat columns": lambda m, x: m.cat((x, x[:, :2], x), -1),
    "concat": lambda m, x: m.concat([x]), "concatenate": lambda m, x: m.concatenate([x, x], dim=1),
    "stack": lambda m, x: m.stack([x, x + 1]), "stack last": lambda m, x: m.stack((x, x), -1),
    "stack one": lambda m, x: m.stack([x], 1), "hstack": lambda m, x: m.hstack([x, x]),
    "vstack": lambda m, x: m.vstack([x, x[0]]), "hstack vectors": lambda m, x: m.hstack([x[0], x[1, :2]]),
    "hstack numbers": lambda m, x: m.hstack([x[0, 0], x[1, 1]]), "vstack numbers": lambda m, x: m.vstack([x[0, 0], x[1, 1]]),
    "roll": lambda m, x: m.roll(x, 5), "roll back": lambda m, x: x.roll(-1, 0), "roll far": lambda m, x: m.roll(x, 20, 1),
    "roll two": lambda m, x: m.roll(x, (1, 2), (1, 0)), "roll twice": lambda m, x: m.roll(x, (1, 2), (1, 1)),
    "roll 0": lambda m, x: m.roll(x, 0, 0), "repeat": lambda m, x: x.repeat(2, 3),
    "repeat lead": lambda m, x: x.repeat(2, 1, 1), "repeat none": lambda m, x: x.repeat((1, 0)),
    "repeat copy": lambda m, x: x.repeat(1, 1), "tile": lambda m, x: m.tile(x, (2,)),
    "tile method": lambda m, x: x.tile(2, 1, 2), "interleave": lambda m, x: m.repeat_interleave(x, 2),
    "interleave dim": lambda m, x: x.repeat_interleave(3, dim=-1), "interleave none": lambda m, x: x.repeat_interleave(0, 0),
    "interleave one": lambda m, x: x.repeat_interleave(1, 1), "pad": lambda m, x: padded(m, x, (1, 2)),
    "pad both": lambda m, x: padded(m, x, [0, 2, 3, 0], value=2.5), "pad cut": lambda m, x: padded(m, x, (-1, -2, 1, -1)),
    "pad nothing": lambda m, x: padded(m, x, (0, 0)),
    "pad lead": lambda m, x: padded(m, x[None, None], (1, 0, 0, 1, 2, 0, 0, 1), "constant", 1.0),
    "reflect": lambda m, x: padded(m, x, (3, 2), mode="reflect"),
    "replicate": lambda m, x: padded(m, x, (8, 0), mode="replicate"),
    "circular": lambda m, x: padded(m, x, (6, 3), mode="circular"),
    "replicate 2": lambda m, x: padded(m, x[None], (1, 2, 3, 0), mode="replicate"),
    "reflect 2": lambda m, x: padded(m, x[None], (1, 2, 3, 0), mode="reflect"),
    "circular 2": lambda m, x: padded(m, x[None], (1, 2, 4, 0), mode="circular"), "diagonal": lambda m, x: x.diagonal(),
    "diagonal 2": lambda m, x: m.diagonal(x, 2), "diagonal -1": lambda m, x: x.diagonal(-1, 1, 0),
    "diagonal far": lambda m, x: x.diagonal(6), "diagonal three": lambda m, x: x.reshape(2, 2, 6).diagonal(1, 0, -1),
    "diag": lambda m, x: m.diag(x, 1), "diag vector": lambda m, x: m.diag(x[1]),
    "diag vector 2": lambda m, x: x[:, 0].diag(-2), "diag_embed": lambda m, x: m.diag_embed(x),
    "diag_embed 1": lambda m, x: x.diag_embed(1, 0, 2), "tril": lambda m, x: m.tril(x), "tril 2": lambda m, x: x.tril(2),
    "tril -9": lambda m, x: x.tril(-9), "triu": lambda m, x: m.triu(x), "triu -1": lambda m, x: x.triu(-1),
    "triu batch": lambda m, x: x.reshape(2, 2, 6).triu(3), "unfold": lambda m, x: x.unfold(1, 3, 1),
    "unfold 2": lambda m, x: x.unfold(0, 2, 2), "unfold apart": lambda m, x: x.unfold(-1, 1, 4),
    "unfold twice": lambda m, x: x.unfold(0, 2, 1).unfold(1, 3, 2), "unfold 0": lambda m, x: x.unfold(0, 0, 3),
    "movedim": lambda m, x: m.movedim(x, 0, -1), "moveaxis": lambda m, x: m.moveaxis(x[None], (0, 2), (2, 1)),
    "swapaxes": lambda m, x: x.swapaxes(0, 1), "swapdims": lambda m, x: m.swapdims(x, -1, 0),
    "ravel": lambda m, x: m.ravel(x), "meshgrid": lambda m, x: m.meshgrid(x[0], x[:, 1], indexing="ij")[0],
    "meshgrid xy": lambda m, x: m.meshgrid(x[0], x[:, 1], x[1, :2], indexing="xy")[1],
    "meshgrid one": lambda m, x: m.meshgrid(x[0], x[0, 0], indexing="xy")[0],
    "meshgrid single": lambda m, x: m.meshgrid([x[0]], indexing="xy")[0],
}  # fmt: skip
SOURCES: dict[str, Callable[[Any], Any]] = {
    "plain": lambda x: x[:4, :6].clone(), "offset": lambda x: x[2:6, 1:7], "transposed": lambda x: x[:6, :4].transpose(0, 1),
    "stepped": lambda x: x[::2, 1:7], "expanded": lambda x: x[:1, :6].expand(4, 6),
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_values(source: str, device: str) -> None:
    x, y = (SOURCES[source](t) for t in random((8, 8), device=device))
    for name, take in TAKEN.items():
        assert_close(take(rt, x), take(torch, y), what=name)


@pytest.mark.parametrize("name", TAKEN)
def test_dtypes(name: str) -> None:
    for dtype in ("bool", "uint8", "int64", "bfloat16", "float64"):
        if dtype == "bool" and ("pad" in name or name == "stack"):
            continue  # PyTorch pads booleans with numbers
        x, y = random((4, 6), dtype)
        try:
            expected = TAKEN[name](torch, y)
        except RuntimeError:  # of padding: not there in PyTorch for this dtype
            assert name.split()[0] in ("reflect", "replicate")
            continue
        assert_close(TAKEN[name](rt, x), expected, what=dtype)


@pytest.mark.parametrize("case", [c for c in JOINING if len(c.inputs) == 1], ids=lambda case: case.id)
def test_of_nothing(case: Any) -> None:
    """With a dimension of length 0, where PyTorch takes one."""
    shape = list(case.inputs[0][0])
    for axis in range(len(shape)):
        x, y = random([0 if a == axis else n for a, n in enumerate(shape)])
        try:
            expected = case.run(torch, y)
        except (RuntimeError, IndexError):
            continue
        assert_close(case.run(rt, x), expected, what=str(y.shape))


def test_views_run_no_command(device: str) -> None:
    x, _ = random((4, 6), device=device)
    with counting(device) as n:
        kept = [x.diagonal(1), x.unfold(1, 3, 1), x.movedim(0, 1), x.swapaxes(0, 1), x.ravel(), *rt.meshgrid(x[0], x[:, 0])]
        rt.synchronize()
    assert n.commands == 0
    assert all(t.storage is x.storage for t in kept)


def test_results_are_copies(device: str) -> None:
    x, _ = random((4, 6), device=device)
    copies = [
        rt.cat([x]), rt.roll(x, 0), rt.roll(x, 6, 1), x.repeat(1, 1), rt.tile(x, (1,)), x.repeat_interleave(1, 0), rt.diag(x),
        rt.pad(x, (0, 0)), rt.pad(x, (0, 0), mode="circular"), rt.pad(x, (-1, 0)),
    ]  # fmt: skip
    assert all(t.storage is not x.storage for t in copies)


@pytest.mark.parametrize(("a", "b"), list(itertools.product(TORCH, TORCH)))
def test_cat_promotes(a: str, b: str) -> None:
    (x, y), (v, w) = random((2, 3), a), random((2, 1), b, seed=1)
    assert_close(rt.cat([x, v], 1), torch.cat([y, w], 1))
    assert_close(rt.stack([x[:, :1], v]), torch.stack([y[:, :1], w]))


def test_cat_passes_over_what_is_empty(device: str) -> None:
    x, y = random((2, 3), device=device)
    assert_close(rt.cat([rt.zeros(0, device=device), x]), torch.cat([torch.zeros(0), y]))
    assert_close(rt.cat([rt.zeros(0, device=device)] * 2), torch.cat([torch.zeros(0)] * 2))
    assert_close(rt.cat([x[:0], x, x[:0]]), torch.cat([y[:0], y, y[:0]]))


def test_cat_of_many(device: str) -> None:
    """More pieces than any kernel has buffers; each is one command."""
    x, y = random((100, 3), device=device)
    with counting(device) as n:
        out = rt.cat([row * 2 for row in x])
        assert_close(out, (y * 2).reshape(-1))
    assert n.commands <= 200 and n.submissions <= 3


def test_gradients_reach_every_piece(device: str) -> None:
    (x, y), (v, w) = random((2, 3), device=device), random((2, 1), "float16", device, seed=1)
    constant = rt.ones(2, 2, device=device)
    (rt.cat([x.requires_grad_(), constant, v.requires_grad_(), x], 1) ** 2).sum().backward()
    (torch.cat([y.requires_grad_(), torch.ones(2, 2), w.requires_grad_(), y], 1) ** 2).sum().backward()
    assert_close(x.grad, y.grad)
    assert_close(v.grad, w.grad)
    assert constant.grad is None


def test_in_place_after_joining(device: str) -> None:
    """What was joined may be changed afterwards: nothing looks at it any more."""
    x, y = random((2, 3), device=device)
    x.requires_grad_()
    doubled = x * 2
    out = rt.cat([doubled, x])
    doubled.zero_()
    out.sum().backward()
    assert_close(out, torch.cat([y * 2, y]))
    assert x.grad is not None and x.grad.tolist() == [[3.0] * 3] * 2


def test_writing_through_a_diagonal(device: str) -> None:
    x, y = random((3, 4), device=device)
    for t in (x, y):
        t.diagonal(1).mul_(3.0)
        t.diagonal().fill_(7.0)
        t.unfold(1, 2, 2)[0] = 1.0
    assert_close(x, y)


def test_triangles_of_special_values(device: str) -> None:
    x, y = pair([[float("nan"), float("inf")], [float("nan"), 1.0]], device=device)
    assert_close(rt.tril(x, -1), torch.tril(y, -1))
    assert_close(rt.triu(x), torch.triu(y))


def test_high_ranks(device: str) -> None:
    x, y = random((2, 1, 2, 1, 2, 1, 2), device=device)
    assert_close(x.repeat(2, 3, 1, 2, 1, 2, 2), y.repeat(2, 3, 1, 2, 1, 2, 2))
    assert_close(rt.stack([x, x], 3), torch.stack([y, y], 3))
    with pytest.raises(rt.ShapeError, match="^tensors have at most 8 dimensions"):
        x.repeat(2, 2, 1, 1, 1, 1, 1, 1, 1)


ONES = (2, 3)
ERRORS: list[tuple[Callable[[rt.Tensor], Any], type[Exception], str]] = [
    (lambda x: rt.cat([]), ValueError, "^cat: there is no tensor to join"),
    (lambda x: rt.cat(x), TypeError, r"^cat takes a sequence of tensors, got one tensor of shape \[2, 3\]"),
    (lambda x: rt.cat([x, 1]), TypeError, "^cat takes tensors, got int"),
    (lambda x: rt.cat([x, x.sum()]), rt.ShapeError, "^cat: piece 1 is 0-d .* use stack"),
    (lambda x: rt.cat([x, x[:, :2]]), rt.ShapeError, r"^cat: shapes \[2, 3\] and \[2, 2\] \(piece 1\) may only differ in dimension 0"),
    (lambda x: rt.cat([x, x], 2), IndexError, "^cat: dimension 2 is out of range"),
    (lambda x: rt.stack([x, x[0]]), rt.ShapeError, r"^stack: tensors have one shape, got \[2, 3\] and \[3\] \(number 1\)"),
    (lambda x: rt.roll(x, (1, 2), 0), rt.ShapeError, "^roll: 2 shifts for 1 dimensions"),
    (lambda x: x.repeat(2), rt.ShapeError, r"^repeat: \[2\] has fewer entries than shape \[2, 3\]"),
    (lambda x: x.tile(-1), rt.ShapeError, "^tile: numbers of repetitions are whole and not negative"),
    (lambda x: x.repeat_interleave(x), rt.DTypeError, "^repeat_interleave: repeats are a vector of whole numbers, got float32"),
    (lambda x: x.repeat_interleave(1.5), TypeError, "^repeat_interleave: repeats is one whole number or a tensor, got float"),
    (lambda x: x.repeat_interleave(-1), rt.ShapeError, "^repeat_interleave: repeats cannot be negative"),
    (lambda x: rt.pad(x, (1,)), rt.ShapeError, r"^pad: \[1\] does not give two widths"),
    (lambda x: rt.pad(x, (1, 1, 1, 1, 1, 1)), rt.ShapeError, r"^pad: .* at most 2 dimensions \(shape \[2, 3\]\)"),
    (lambda x: rt.pad(x, (1, 1), "mirror"), ValueError, "^pad: mode is one of constant, reflect, replicate, circular, got 'mirror'"),
    (lambda x: rt.pad(x, (-2, -2)), rt.ShapeError, r"^pad: \[-2, -2\] cuts off more than shape \[2, 3\] has"),
    (lambda x: rt.pad(x, (3, 0), "reflect"), rt.ShapeError, r"^pad: mode 'reflect' takes its border of 3 and 0 .* which has 2 to give"),
    (lambda x: rt.pad(x, (-1, 0), "circular"), rt.ShapeError, "^pad: mode 'circular' takes no negative widths"),
    (lambda x: rt.pad(x, (1, 0), "circular", 2), ValueError, "^pad: mode 'circular' takes no value, got 2"),
    (lambda x: x[0].diagonal(), rt.ShapeError, r"^diagonal: needs at least 2 dimensions, got shape \[3\]"),
    (lambda x: x.diagonal(0, 1, -1), rt.ShapeError, "^diagonal: a diagonal needs two different dimensions"),
    (lambda x: rt.diag(x[None]), rt.ShapeError, r"^diag: takes 1 or 2 dimensions, got shape \[1, 2, 3\]"),
    (lambda x: rt.diag_embed(x, 0, 1, 1), rt.ShapeError, "^diag_embed: a diagonal needs two different dimensions"),
    (lambda x: x[0].tril(), rt.ShapeError, r"^tril: needs at least 2 dimensions, got shape \[3\]"),
    (lambda x: x.unfold(1, 4, 1), rt.ShapeError, "^unfold: windows of 4 entries, 1 apart, do not lie in dimension 1 of length 3"),
    (lambda x: x.unfold(1, 1, 0), rt.ShapeError, "^unfold: .* step at least 1"),
    (lambda x: rt.movedim(x, (0, 1), 1), rt.ShapeError, "^movedim: .* must name as many dimensions, each once"),
    (lambda x: rt.meshgrid(x), rt.ShapeError, r"^meshgrid: takes vectors and numbers, got shape \[2, 3\]"),
    (lambda x: rt.meshgrid(x[0], indexing="yx"), ValueError, "^meshgrid: indexing is 'ij' or 'xy', got 'yx'"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run(rt.ones(ONES))


@pytest.mark.drivers("lavapipe")
def test_two_devices_do_not_mix(device: str) -> None:
    with pytest.raises(rt.DeviceError, match=r"^cat: operands are on cpu and vulkan:\d"):
        rt.cat([rt.ones(2), rt.ones(2, device=device)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stacking_layouts(layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), device=device))
    assert_close(rt.stack([x, x]), torch.stack([y, y]))
    assert_close(rt.roll(x, 1), torch.roll(y, 1))
