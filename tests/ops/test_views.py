"""Views against PyTorch: values, shapes, which of them share memory, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

import rasptorch as rt
from tests.support.compare import assert_close
from tests.support.counting import counting

from .table import VIEWS
from .values import LAYOUTS, random

View = Callable[[Any], Any]

# On tensors of shape [4, 6], whatever their layout.
TAKEN: dict[str, View] = {
    "reshape": lambda x: x.reshape(3, 8),
    "reshape -1": lambda x: x.reshape(-1, 2),
    "reshape tuple": lambda x: x.reshape((2, 2, 6)),
    "reshape more": lambda x: x.reshape(2, 1, 2, 3, 2),
    "view split": lambda x: x.view(2, 2, 6),
    "flatten": lambda x: x.flatten(),
    "permute": lambda x: x.permute(1, 0),
    "permute tuple": lambda x: x.permute((-1, 0)),
    "transpose": lambda x: x.transpose(-1, 0),
    "t": lambda x: x.t(),
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "unsqueeze": lambda x: x.unsqueeze(1),
    "unsqueeze last": lambda x: x.unsqueeze(-1),
    "squeeze nothing": lambda x: x.squeeze(),
    "squeeze": lambda x: x.unsqueeze(0).unsqueeze(2).squeeze(),
    "squeeze one": lambda x: x.unsqueeze(0).unsqueeze(2).squeeze(0),
    "squeeze other": lambda x: x.squeeze(1),
    "expand": lambda x: x[:, None].expand(-1, 3, 6),
    "expand lead": lambda x: x.expand(2, 4, 6),
    "broadcast_to": lambda x: x[:1].broadcast_to((3, 6)),
    "expand_as": lambda x: x[:1].expand_as(x),
    "narrow": lambda x: x.narrow(1, 2, 3),
    "narrow negative": lambda x: x.narrow(-1, -2, 2),
    "narrow nothing": lambda x: x.narrow(0, 4, 0),
    "select": lambda x: x.select(0, -1),
    "unflatten": lambda x: x.unflatten(1, (2, 3)),
    "unflatten -1": lambda x: x.unflatten(-1, (-1, 2)),
    "row": lambda x: x[1],
    "element": lambda x: x[-1, -1],
    "slices": lambda x: x[1:3, 2:],
    "steps": lambda x: x[::2, 1::3],
    "beyond": lambda x: x[2:100, -100:2],
    "empty": lambda x: x[3:1],
    "ellipsis": lambda x: x[..., 1],
    "new axes": lambda x: x[None, :, None, 2:4],
    "everything": lambda x: x[...],
    "as_strided": lambda x: x.as_strided((2, 3), (4, 1)),
    "as_strided overlapping": lambda x: x.as_strided((3, 2, 2), (2, 1, 1), 5),
    "as_strided nothing": lambda x: x.as_strided((2, 0), (1, 1), 9),
}
# Where [4, 6] comes from.
SOURCES: dict[str, View] = {
    "plain": lambda x: x[:4, :6].clone(),
    "offset": lambda x: x[2:6, 1:7],
    "transposed": lambda x: x[:6, :4].transpose(0, 1),
    "stepped": lambda x: x[::2, 1:7],
    "expanded": lambda x: x[:1, :6].expand(4, 6),
    "column": lambda x: x[:4, :1].expand(4, 6),
}


def shares(x: rt.Tensor, y: rt.Tensor) -> bool:
    return x.storage is y.storage


def torch_shares(x: torch.Tensor, y: torch.Tensor) -> bool:
    return x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", TAKEN)
def test_views_are_pytorchs(name: str, source: str) -> None:
    x, y = (SOURCES[source](t) for t in random((8, 8)))
    try:
        expected = TAKEN[name](y)
    except RuntimeError:
        with pytest.raises(rt.ShapeError, match=r"^view: .* cannot be seen as .* without a copy; use reshape"):
            TAKEN[name](x)
        return
    found = TAKEN[name](x)
    assert_close(found, expected)
    assert found.size() == tuple(expected.shape)
    assert shares(found, x) == torch_shares(expected, y), "one of them made a copy"
    for dim, (n, s) in enumerate(zip(expected.shape, expected.stride(), strict=True)):
        assert n == 1 or expected.numel() == 0 or found.stride(dim) == s


@pytest.mark.parametrize("source", ["offset", "transposed", "stepped", "expanded"])
def test_views_on_devices(source: str, device: str) -> None:
    """Every view is read back, and computed with, on the device."""
    x, y = (SOURCES[source](t) for t in random((8, 8), device=device))
    for name, take in TAKEN.items():
        if not name.startswith("view"):
            assert_close(take(x) + 1, take(y) + 1, what=name)


def test_views_run_no_command(device: str) -> None:
    x, _ = random((4, 6), device=device)
    with counting(device) as n:
        kept = [take(x) for name, take in TAKEN.items()]
    assert n.commands == n.submissions == 0
    assert all(shares(view, x) for view in kept)


@pytest.mark.parametrize("case", [case for case in VIEWS if len(case.inputs) == 1], ids=lambda case: case.id)
def test_views_of_other_dtypes(case: Any) -> None:
    shape = case.inputs[0][0]
    for dtype in ("bool", "uint8", "int64", "bfloat16"):
        x, y = random(shape, dtype)
        assert_close(case.run(rt, x), case.run(torch, y))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pieces(layout: str, device: str) -> None:
    x, y = (LAYOUTS[layout](t) for t in random((4, 6), device=device))
    for dim in range(-y.ndim, y.ndim):
        takes: list[View] = [
            lambda t, dim=dim: t.split(2, dim),
            lambda t, dim=dim: t.chunk(3, dim),
            lambda t, dim=dim: t.unbind(dim),
            lambda t, dim=dim: t.split([1, t.shape[dim] - 1], dim) if t.shape[dim] else t.split([0], dim),
        ]
        for take in takes:
            found, expected = take(x), take(y)
            assert len(found) == len(expected)
            for a, b in zip(found, expected, strict=True):
                assert_close(a, b)
                assert shares(a, x)


def test_functions_are_the_methods() -> None:
    x, _ = random((2, 3, 4))
    pairs = [
        (rt.reshape(x, 6, 4), x.reshape(6, 4)), (rt.permute(x, 2, 0, 1), x.permute(2, 0, 1)),
        (rt.transpose(x, 0, 2), x.transpose(0, 2)), (rt.t(x[0]), x[0].t()), (rt.flatten(x, 1), x.flatten(1)),
        (rt.unflatten(x, 2, (2, 2)), x.unflatten(2, (2, 2))), (rt.unsqueeze(x, 0), x.unsqueeze(0)),
        (rt.squeeze(x[:1], 0), x[:1].squeeze(0)), (rt.broadcast_to(x, (5, 2, 3, 4)), x.broadcast_to((5, 2, 3, 4))),
        (rt.narrow(x, 1, 0, 2), x.narrow(1, 0, 2)), (rt.select(x, 1, 1), x.select(1, 1)),
        (rt.split(x, 2, 1)[0], x.split(2, 1)[0]), (rt.chunk(x, 2)[1], x.chunk(2)[1]), (rt.unbind(x)[1], x.unbind()[1]),
    ]  # fmt: skip
    for a, b in pairs:
        assert (a.shape, a.stride(), a.offset) == (b.shape, b.stride(), b.offset) and shares(a, x) and shares(b, x)


def test_clone_and_contiguous(device: str) -> None:
    x, y = random((4, 6), device=device)
    for a, b in ((x, y), (x.T, y.T)):
        copy = a.clone()
        assert_close(copy, b)
        assert copy.is_contiguous() and not shares(copy, a)
        assert a.contiguous().is_contiguous() and (a.contiguous() is a) == b.is_contiguous()
    copy = rt.clone(x)
    x.zero_()
    assert_close(copy, y)


def test_writing_through_a_view_is_seen(device: str) -> None:
    x, y = random((4, 6), device=device)
    for t in (x, y):
        column = t.T[2]
        rows = t.reshape(2, 12)
        rows[1] = 5.0
        column.mul_(3.0)
    assert_close(x, y)


@pytest.mark.parametrize(
    "shape", [shape for n in range(1, 5) for shape in itertools.product((1, 2, 3), repeat=n) if n < 4 or sum(shape) < 8], ids=str
)
def test_reshape_shares_memory_exactly_where_pytorch_does(shape: tuple[int, ...]) -> None:
    """All permutations of small shapes into all factorisations of their size."""
    x, y = random(shape)
    size = y.numel()
    targets = [t for n in range(1, 4) for t in itertools.product(range(1, size + 1), repeat=n) if torch.Size(t).numel() == size]
    for order in itertools.permutations(range(len(shape))):
        a, b = x.permute(*order), y.permute(*order)
        for target in targets:
            try:
                b.view(target)
                expected = True
            except RuntimeError:
                expected = False
            found = a.reshape(target)
            assert shares(found, x) == expected, (order, target)
            if expected:
                assert_close(found, b.reshape(target))


INDICES = [
    0, -1, 2, slice(None), slice(1, 3), slice(None, None, 2), slice(-2, None), slice(5, 2), None, ..., (0, 1), (..., 0),
    (slice(None), None, 1), (None, ..., None), (slice(1, None), -1), (slice(None, 3, 2), slice(1, 4, 2)), (1, ..., 1),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "stepped"])
def test_assignment(index: Any, layout: str, device: str) -> None:
    (x, y), (v, w) = random((7, 16), device=device), random((), device=device, seed=1)
    a, b = LAYOUTS[layout](x), LAYOUTS[layout](y)
    for t, number in ((a, v), (b, w)):
        t[index] = 2.5
        t[index] = number
        t[index] = t[index] * 2
        t[index] = t[0:1, 0:1] if t[index].ndim >= 2 else t[0, 0]
    assert_close(x, y)


def test_assignment_converts_and_stretches(device: str) -> None:
    x, y = random((4, 6), device=device)
    x[1:3] = rt.arange(6, device=device)
    y[1:3] = torch.arange(6)
    x[0] = [1, 2, 3, 4, 5, 6]
    y[0] = torch.tensor([1, 2, 3, 4, 5, 6])
    x[3, ::2] = True
    y[3, ::2] = True
    x[:, 1] = rt.ones(1, 1, 4, device=device)
    y[:, 1] = torch.ones(1, 1, 4)
    assert_close(x, y)


def test_overlapping_assignment(device: str) -> None:
    x, y = random((6,), device=device)
    expected = y.clone()
    expected[1:] = y[:-1]
    x[1:] = x[:-1]
    assert_close(x, expected)


ERRORS = [
    (lambda: rt.ones(2, 3).reshape(4), rt.ShapeError, r"^reshape: 6 elements of shape \[2, 3\] do not make \[4\]"),
    (lambda: rt.ones(2, 3).reshape(-1, -1), rt.ShapeError, "^reshape: only one size can be -1"),
    (lambda: rt.ones(2, 3).reshape(4, -1), rt.ShapeError, "^reshape: 6 elements"),
    (lambda: rt.ones(2, 3).reshape(2.0, 3), rt.ShapeError, "^reshape: sizes are whole numbers"),
    (lambda: rt.ones(2, 3).T.view(6), rt.ShapeError, "^view: shape .* use reshape"),
    (lambda: rt.ones(2, 3).permute(0, 0), rt.ShapeError, r"^permute: \[0, 0\] does not name each"),
    (lambda: rt.ones(2, 3).transpose(0, 2), IndexError, "^transpose: dimension 2 is out of range"),
    (lambda: rt.ones(2, 3).unsqueeze(4), IndexError, "^unsqueeze: dimension 4 is out of range"),
    (lambda: rt.ones(2, 3).expand(3), rt.ShapeError, r"^expand: \[3\] has fewer dimensions"),
    (lambda: rt.ones(2, 3).expand(4, 3), rt.ShapeError, r"^expand: shape \[2, 3\] does not stretch to \[4, 3\]"),
    (lambda: rt.ones(2, 3).expand(-1, 2, 3), rt.ShapeError, "^expand: "),
    (lambda: rt.ones(2, 3).narrow(1, 2, 2), IndexError, "^narrow: 2 entries from 2 on are outside dimension 1 of length 3"),
    (lambda: rt.ones(2, 3).split(0), rt.ShapeError, "^split: pieces need at least one entry"),
    (lambda: rt.ones(2, 3).split([1, 3], 1), rt.ShapeError, r"^split: sizes \[1, 3\] add up to 4"),
    (lambda: rt.ones(2, 3).chunk(0), rt.ShapeError, "^chunk: needs at least one chunk"),
    (lambda: rt.ones(2, 3).unflatten(1, (2, 2)), rt.ShapeError, "^unflatten: dimension 1 of length 3 does not split"),
    (lambda: rt.ones(2, 2, 2).t(), rt.ShapeError, "^t: takes at most 2 dimensions"),
    (lambda: rt.ones(2).mT, rt.ShapeError, "^mT: needs at least 2 dimensions"),
    (lambda: rt.ones(2, 3).as_strided((2,), (1, 1)), rt.ShapeError, r"^as_strided: sizes \[2\] and strides \[1, 1\] are not equally many"),
    (lambda: rt.ones(2, 3).as_strided((2,), (-1,)), rt.ShapeError, r"^as_strided: strides are whole numbers and not negative, got \[-1\]"),
    (lambda: rt.ones(2, 3).as_strided((2,), (1,), -1), rt.ShapeError, r"^as_strided: storage offsets .* got \[-1\]"),
    (lambda: rt.ones(2, 3).as_strided((2, 2), (4, 1), 1), rt.ShapeError, r"^as_strided: .* from 1 on reach element 6 of a storage of 6"),
    (lambda: rt.ones(2, 3)[2], IndexError, r"^index 2 is out of range for dimension 0 of length 2"),
    (lambda: rt.ones(2, 3)[0, 0, 0], IndexError, r"^3 indices for a tensor of 2 dimensions"),
    (lambda: rt.ones(2, 3)[..., ...], IndexError, "^an index can have one ellipsis"),
    (lambda: rt.ones(2, 3)[::-1], IndexError, "^slices need a positive step"),
    (lambda: rt.ones(2, 3)["a"], IndexError, "^str cannot index a tensor"),
    (lambda: rt.ones(*(1,) * 9), rt.ShapeError, "^tensors have at most 8 dimensions"),
    (lambda: len(rt.ones(())), TypeError, "^a 0-d tensor has no length"),
    (lambda: list(rt.ones(())), TypeError, "^cannot iterate over a 0-d tensor"),
    (lambda: rt.ones(2, 3).size(2), IndexError, "^size: dimension 2"),
    (lambda: rt.ones(2, 3).__setitem__(0, rt.ones(4)), rt.ShapeError, r"^copy_: shape \[4\] does not stretch to \[3\]"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_errors_name_the_operation(run: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run()


def test_what_a_tensor_says_of_itself() -> None:
    x, y = random((2, 3, 4), "float64")
    assert (x.dim(), x.ndim, x.numel(), x.element_size(), len(x)) == (3, 3, 24, 8, 2)
    assert (x.size(), x.size(-1), x.stride(), x.stride(1)) == ((2, 3, 4), 4, (12, 4, 1), 4)
    assert x.is_contiguous() and not x.T.is_contiguous()
    assert [tuple(row.shape) for row in x] == [(3, 4), (3, 4)]
    assert x.alias().storage is x.storage and x.detach().storage is x.storage
    assert y.dim() == x.dim()


@pytest.mark.every_driver
def test_copies_of_64_bits_are_whole(device: str) -> None:
    """Also where the device has no numbers of 64 bits and would see the lower halves, or nothing."""
    floats = torch.tensor([[0.1, -1e300], [float("nan"), 5e-324]], dtype=torch.float64)
    assert_close(rt.tensor(floats.numpy(), device=device).T.clone(), floats.T, rtol=0, atol=0)
    values = torch.tensor([[2**53 + 1, -(2**63), 5], [-1, 2**63 - 1, 1 << 32]])
    x = rt.tensor(values.numpy(), device=device)
    for run in (lambda t: t.clone(), lambda t: t.T.clone(), lambda t: t[:, 1:].clone(), lambda t: t.T.reshape(-1)):
        assert_close(run(x), run(values))
    assert_close(rt.cat([x[:, :1], x[:, 1:]], 1), values)
    out = rt.tensor([[0, 0, 0]] * 2, device=device)
    out[1:, :] = x[0, 1]
    assert out.tolist() == [[0] * 3, [-(2**63)] * 3]


def test_gradients_of_strided_views_are_pytorchs(device: str) -> None:
    """Of what is seen several times, outside of the source, and of sources that see themselves several times."""
    forms: list[tuple[View, tuple[Any, ...]]] = [
        (lambda x: x[1:], ((2, 3), (4, 1), 2)), (lambda x: x.T, ((3, 3), (1, 2), 4)),
        (lambda x: x[:, :1].expand(4, 5), ((4, 3), (6, 0), 0)),
        (lambda x: x.unfold(1, 3, 1), ((5, 2), (2, 1), 7)), (lambda x: x[2, 3], ((2, 2), (7, 1), 9)), (lambda x: x[3:], ((0,), (1,), 2)),
        (lambda x: x[2:], ((3,), (1,), 1)),
    ]  # fmt: skip
    for source, form in forms:
        x, y = (t.requires_grad_() for t in random((4, 6), device=device))
        weight, other = random(form[0], device=device, seed=3)
        (source(x * 1).as_strided(*form) * weight).sum().backward()
        (source(y * 1).as_strided(*form) * other).sum().backward()
        assert_close(x.grad, y.grad, what=str(form))
